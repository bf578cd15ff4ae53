package sim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/hostfs"
)

// Conform runs script on fsys and returns a transcript: each line of the script
// with what came of it. The same script must give the same transcript on the real
// kernel and on the simulated one. A line is empty, a comment, or
//
//	write NAME VALUE      "ok" or the name of the error
//	read NAME             the content, quoted
//	uevent NAME KEY       the value of KEY in a uevent file, "none" if it is not there
//	link NAME             the last element of the link's target
//	exists NAME           "yes" or "no"
//	appears NAME          "yes" as soon as it is there, "no" after five seconds
//	vanishes NAME         "yes" as soon as it is gone, "no" after five seconds
//	group ADDRESS         sets $group, which later names may hold
//
// VALUE is a word, a quoted Go string, or N*CHARACTER. An error means that script
// cannot be understood, with the line's number.
func Conform(fsys hostfs.FS, script []byte) ([]byte, error) {
	var out bytes.Buffer
	group := "none"
	n := 0
	for line := range bytes.Lines(script) {
		n++
		text := strings.TrimSuffix(string(line), "\n")
		if text == "" || strings.HasPrefix(text, "#") {
			fmt.Fprintln(&out, text)
			continue
		}
		verb, rest, _ := strings.Cut(text, " ")
		name, value, _ := strings.Cut(rest, " ")
		name = strings.ReplaceAll(name, "$group", group)
		var result string
		switch verb {
		case "write":
			data, err := scriptValue(value)
			if err != nil {
				return nil, fmt.Errorf("line %d: value %s: %w", n, value, err)
			}
			result = outcome(fsys.WriteFile(name, data), "ok")
		case "read":
			data, err := fs.ReadFile(fsys, name)
			result = outcome(err, strconv.Quote(string(data)))
		case "uevent":
			result = ueventValue(fsys, name, value)
		case "link":
			target, err := hostfs.ReadLinkBase(fsys, name)
			result = outcome(err, target)
		case "exists":
			result = yesNo(there(fsys, name))
		case "appears":
			result = yesNo(eventually(func() bool { return there(fsys, name) }))
		case "vanishes":
			result = yesNo(eventually(func() bool { return !there(fsys, name) }))
		case "group":
			target, err := hostfs.ReadLinkBase(fsys, devicesDir+name+"/iommu_group")
			if err == nil {
				group = target
			}
			result = outcome(err, "ok")
		default:
			return nil, fmt.Errorf("line %d: %q is no command", n, verb)
		}
		fmt.Fprintf(&out, "%s => %s\n", text, result)
	}
	return out.Bytes(), nil
}

func scriptValue(v string) ([]byte, error) {
	if strings.HasPrefix(v, `"`) {
		s, err := strconv.Unquote(v)
		return []byte(s), err
	}
	if count, char, ok := strings.Cut(v, "*"); ok {
		n, err := strconv.Atoi(count)
		if err != nil || n < 0 || n > 1<<20 {
			return nil, errors.New("expected a number before the *")
		}
		return bytes.Repeat([]byte(char), n), nil
	}
	return []byte(v), nil
}

// outcome is ok, or the name of the number in err.
func outcome(err error, ok string) string {
	var errno syscall.Errno
	switch {
	case err == nil:
		return ok
	case errors.As(err, &errno):
		return unix.ErrnoName(errno)
	case errors.Is(err, io.ErrShortWrite):
		return "short write"
	}
	return err.Error()
}

func ueventValue(fsys fs.FS, name, key string) string {
	data, err := fs.ReadFile(fsys, name)
	for line := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), key+"="); ok {
			return v
		}
	}
	return outcome(err, "none")
}

func there(fsys fs.FS, name string) bool {
	_, err := fs.Lstat(fsys, name)
	return err == nil
}

func eventually(ok func() bool) bool {
	for deadline := time.Now().Add(5 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
