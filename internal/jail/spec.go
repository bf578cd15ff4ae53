package jail

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The bounds of a Spec, far above what any guest needs.
const (
	maxSpec  = 1 << 20 // bytes of JSON
	maxArgs  = 4096
	maxText  = 128 << 10 // bytes of an argument, as the kernel has it
	maxPath  = 4095      // bytes of a path, as the kernel has it
	maxBinds = 512
	maxLinks = 512
	maxFiles = 1024
)

// A Spec is what the stage makes of its process, and the program that it becomes.
type Spec struct {
	// Program is executed with Args, the program's name not among them, and with Env
	// and nothing else in its environment. It is a path below the new root.
	Program string   `json:"program"`
	Args    []string `json:"args,omitempty"`
	Env     []string `json:"env,omitempty"`

	// UID and GID are whom the program runs as. Both are 0 for one that goes on as whom
	// it was started, in a user namespace; root is never anybody to run as.
	UID uint32 `json:"uid,omitempty"`
	GID uint32 `json:"gid,omitempty"`

	// Files is how many files the program inherits, from descriptor 3 on, besides
	// standard input, output and error. All others are closed.
	Files int `json:"files,omitempty"`

	// Binds are the files and directories of the host that are below the new root, all
	// read-only, and Links the symbolic links there. There is nothing else.
	Binds []Bind `json:"binds,omitempty"`
	Links []Link `json:"links,omitempty"`

	// Proc puts a proc file system into the new root, which shows the program itself
	// and none of the kernel's own files.
	Proc bool `json:"proc,omitempty"`

	// OOMScoreAdj says how early the kernel ends the program when memory runs out, from 0
	// to 1000; see proc(5).
	OOMScoreAdj int `json:"oom_score_adj,omitempty"`

	// OpenFiles is how many files it may have open (RLIMIT_NOFILE); 0 leaves the limit.
	OpenFiles uint64 `json:"open_files,omitempty"`
}

// A Bind is a file or directory of the host that is seen in the new root under the
// same name or another one.
type Bind struct {
	From string `json:"from"`         // no component may be a symbolic link
	To   string `json:"to,omitempty"` // below the new root; empty is From

	// Device is set for a node of a character device. Without it nodes do not work,
	// wherever they are in what is bound.
	Device bool `json:"device,omitempty"`
}

// to returns the name in the new root.
func (b Bind) to() string {
	if b.To == "" {
		return b.From
	}
	return b.To
}

// A Link is a symbolic link in the new root.
type Link struct {
	Name   string `json:"name"`
	Target string `json:"target"` // relative or absolute; what it leads to need not exist
}

// Parse reads a Spec and checks it. The error says what is wrong with the first thing
// that is.
func Parse(data []byte) (Spec, error) {
	var s Spec
	if len(data) > maxSpec {
		return s, fmt.Errorf("the spec has more than %d bytes", maxSpec)
	}
	if !utf8.Valid(data) {
		return s, errors.New("the spec is no UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return Spec{}, fmt.Errorf("the spec: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return Spec{}, errors.New("the spec: there is more behind it")
	}
	if err := s.Validate(); err != nil {
		return Spec{}, err
	}
	return s, nil
}

// Validate returns an error if a stage would refuse s.
func (s Spec) Validate() error {
	if err := checkPath(s.Program); err != nil {
		return fmt.Errorf("program: %w", err)
	}
	if len(s.Args)+len(s.Env) > maxArgs {
		return fmt.Errorf("more than %d arguments and variables", maxArgs)
	}
	for _, a := range slices.Concat(s.Args, s.Env) {
		if len(a) >= maxText || strings.ContainsRune(a, 0) {
			return errors.New("an argument or variable is too long, or has a zero byte")
		}
	}
	for _, v := range s.Env {
		if i := strings.IndexByte(v, '='); i <= 0 {
			return fmt.Errorf("variable %.40q has no name", v)
		}
	}
	switch {
	case (s.UID == 0) != (s.GID == 0):
		return errors.New("user or group is root")
	case s.UID == 1<<32-1 || s.GID == 1<<32-1:
		return errors.New("user or group is -1, which the kernel reads as: as it is")
	case s.Files < 0 || s.Files > maxFiles:
		return fmt.Errorf("%d files, expected 0 to %d", s.Files, maxFiles)
	case s.OOMScoreAdj < 0 || s.OOMScoreAdj > 1000:
		return fmt.Errorf("OOM score %d, expected 0 to 1000", s.OOMScoreAdj)
	case len(s.Binds) > maxBinds || len(s.Links) > maxLinks:
		return fmt.Errorf("more than %d binds or %d links", maxBinds, maxLinks)
	}
	return s.validateRoot()
}

// validateRoot checks that everything in the new root has one place of its own.
func (s Spec) validateRoot() error {
	names := make([]string, 0, len(s.Binds)+len(s.Links)+1)
	if s.Proc {
		names = append(names, "/proc")
	}
	for _, b := range s.Binds {
		if err := errors.Join(checkPath(b.From), checkPath(b.to())); err != nil {
			return fmt.Errorf("bind: %w", err)
		}
		if b.From == "/proc" || strings.HasPrefix(b.From, "/proc/") {
			return fmt.Errorf("bind %q: it is another process's", b.From)
		}
		names = append(names, b.to())
	}
	for _, l := range s.Links {
		if err := checkPath(l.Name); err != nil {
			return fmt.Errorf("link: %w", err)
		}
		if l.Target == "" || len(l.Target) > maxPath || strings.ContainsFunc(l.Target, unicode.IsControl) {
			return fmt.Errorf("link %q: to nothing that is a path", l.Name)
		}
		names = append(names, l.Name)
	}
	taken := make(map[string]bool, len(names))
	for _, name := range names {
		if taken[name] {
			return fmt.Errorf("%q is there twice", name)
		}
		taken[name] = true
	}
	for _, name := range names {
		for dir := path.Dir(name); dir != "/"; dir = path.Dir(dir) {
			if taken[dir] {
				return fmt.Errorf("%q is inside of %q", name, dir)
			}
		}
	}
	return nil
}

// checkPath returns an error if p is not the one absolute way to write a path below
// the root.
func checkPath(p string) error {
	switch {
	case p == "":
		return errors.New("no path")
	case len(p) > maxPath:
		return fmt.Errorf("a path of more than %d bytes", maxPath)
	case strings.ContainsFunc(p, unicode.IsControl):
		return fmt.Errorf("path %.80q has control characters", p)
	case p[0] != '/':
		return fmt.Errorf("path %.80q is relative", p)
	case p == "/":
		return errors.New("the path is the root")
	case path.Clean(p) != p:
		return fmt.Errorf("path %.80q is not clean", p)
	}
	return nil
}
