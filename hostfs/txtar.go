package hostfs

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

func sortedKeys(m map[string]*node) []string { return slices.Sorted(maps.Keys(m)) }

// The marks of the txtar form, which is that of golang.org/x/tools/txtar with
// links, directories and bytes added.
const (
	markerBegin = "-- "
	markerEnd   = " --"
	markerLink  = " -> "
	markerHex   = " (hex)"
)

// A lineError is what is wrong with one line of a txtar.
type lineError struct {
	line int
	err  error
}

func (e *lineError) Error() string { return fmt.Sprintf("line %d: %v", e.line, e.err) }
func (e *lineError) Unwrap() error { return e.err }

// ParseTxtar reads a saved machine in txtar form and the comment before its first
// entry. In the form
//
//	-- sys/class/dmi/id/product_name --
//	-- sys/bus/pci/devices/0000:00:02.0 -> ../../../devices/pci0000:00/0000:00:02.0 --
//	-- sys/devices/pci0000:00/0000:00:02.0/config (hex) --
//	-- sys/class/power_supply/ --
//
// the first is a file with the lines that follow it, the second a link, the third
// a file with its bytes in hexadecimal, white space between them at will, and the
// fourth a directory. Text that does not end in a newline gets one.
//
// A name must be a path below the root without . and .. elements; a name that
// occurs twice, or is below a file or a link, is an error. Errors name the line.
// The result is within [MaxSaved], [MaxEntries] and [MaxFile], else the error is
// [ErrTooLarge].
func ParseTxtar(data []byte) (t *Tree, comment string, err error) {
	if len(data) > maxStream {
		return nil, "", fmt.Errorf("%d bytes of txtar, at most %d are allowed: %w", len(data), maxStream, ErrTooLarge)
	}
	b := newBuilder()
	head, body, line := "", 0, 0 // the entry whose body is being read, where it begins, its line
	finish := func(end int) error {
		if line == 0 {
			comment = string(data[:end])
			return nil
		}
		if err := b.addTxtar(head, data[body:end]); err != nil {
			return &lineError{line, err}
		}
		return nil
	}
	for at, n := 0, 1; at < len(data); n++ {
		end := len(data)
		if i := bytes.IndexByte(data[at:], '\n'); i >= 0 {
			end = at + i + 1
		}
		h, ok, err := marker(bytes.TrimSuffix(data[at:end], []byte("\n")))
		if err != nil {
			return nil, "", &lineError{n, err}
		}
		if ok {
			if err := finish(at); err != nil {
				return nil, "", err
			}
			head, body, line = h, end, n
		}
		at = end
	}
	if err := finish(len(data)); err != nil {
		return nil, "", err
	}
	return b.tree(), comment, nil
}

// marker returns what a marker line holds between its dashes.
func marker(line []byte) (head string, ok bool, err error) {
	if !bytes.HasPrefix(line, []byte(markerBegin)) {
		return "", false, nil
	}
	if b, cut := bytes.CutSuffix(line, []byte("\r")); cut && bytes.HasSuffix(b, []byte(markerEnd)) {
		return "", false, fmt.Errorf("the line ends in CR LF; save the file with LF line ends")
	}
	if !bytes.HasSuffix(line, []byte(markerEnd)) || len(line) < len(markerBegin)+len(markerEnd) {
		return "", false, nil
	}
	return strings.TrimSpace(string(line[len(markerBegin) : len(line)-len(markerEnd)])), true, nil
}

func (b *builder) addTxtar(head string, body []byte) error {
	blank := len(bytes.TrimSpace(body)) == 0
	// The head is trimmed: give the arrow back the space that a missing side leaves.
	if name, target, ok := strings.Cut(" "+head+" ", markerLink); ok {
		name, target = strings.TrimSpace(name), strings.TrimSpace(target)
		if err := checkTarget(name, target); err != nil {
			return err
		}
		if !blank {
			return fmt.Errorf("text follows the link %s; a link has none", quoteShort(name))
		}
		return b.add(name, &node{target: target})
	}
	if name, ok := strings.CutSuffix(head, "/"); ok {
		if !blank {
			return fmt.Errorf("text follows the directory %s; without the / at its end it would be a file", quoteShort(head))
		}
		return b.add(name, &node{children: map[string]*node{}})
	}
	name, isHex := strings.CutSuffix(head, markerHex)
	name = strings.TrimSpace(name)
	size := int64(len(body))
	if isHex {
		size /= 2
	}
	if err := b.reserve(name, size); err != nil {
		return err
	}
	if !isHex {
		if len(body) > 0 && body[len(body)-1] != '\n' {
			body = append(slices.Clip(body), '\n')
		}
		return b.add(name, &node{data: slices.Clone(body)})
	}
	digits := bytes.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, body)
	data := make([]byte, hex.DecodedLen(len(digits)))
	if _, err := hex.Decode(data, digits); err != nil {
		return fmt.Errorf("the bytes of %s are not hexadecimal: %w; write two digits a byte", quoteShort(name), err)
	}
	return b.add(name, &node{data: data})
}

// FormatTxtar writes t in the form that [ParseTxtar] reads, entries in the order of
// their names, comment first. A file is written as text if it is printable UTF-8
// that ends in a newline or is empty and has no line that looks like a marker,
// else as bytes. Parsing the result gives t and comment again, comment with a
// newline at its end. Names and targets that the form cannot hold, those with a
// control character, with " -> " or with white space at an end, are an error.
func FormatTxtar(t *Tree, comment string) ([]byte, error) {
	if comment != "" && !strings.HasSuffix(comment, "\n") {
		comment += "\n"
	}
	if !plainLines([]byte(comment)) {
		return nil, fmt.Errorf("the comment has a line that looks like a marker; change it")
	}
	out := bytes.NewBufferString(comment)
	err := t.visit(func(name string, n *node) error {
		if err := writable(name, n); err != nil {
			return err
		}
		switch {
		case len(n.children) > 0: // what is in it says so
		case n.children != nil:
			fmt.Fprintf(out, "-- %s/ --\n", name)
		case n.target != "":
			fmt.Fprintf(out, "-- %s -> %s --\n", name, n.target)
		case isText(n.data):
			fmt.Fprintf(out, "-- %s --\n%s", name, n.data)
		default:
			fmt.Fprintf(out, "-- %s (hex) --\n", name)
			for chunk := range slices.Chunk(n.data, 32) {
				fmt.Fprintf(out, "%x\n", chunk)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

func writable(name string, n *node) error {
	if err := checkName(name); err != nil {
		return err
	}
	if strings.Contains(" "+name+" ", markerLink) || strings.HasSuffix(name, markerHex) || strings.TrimSpace(name) != name {
		return fmt.Errorf("txtar cannot hold the name %s; save as .tar", quoteShort(name))
	}
	if n.target == "" {
		return nil
	}
	if strings.TrimSpace(n.target) != n.target {
		return fmt.Errorf("txtar cannot hold the target %s of the link %s; save as .tar", quoteShort(n.target), quoteShort(name))
	}
	return checkTarget(name, n.target)
}

func isText(data []byte) bool {
	if len(data) == 0 {
		return true
	}
	if data[len(data)-1] != '\n' || !utf8.Valid(data) || !plainLines(data) {
		return false
	}
	return bytes.IndexFunc(data, func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }) < 0
}

// plainLines says that no line of data would be taken for a marker.
func plainLines(data []byte) bool {
	for line := range bytes.Lines(data) {
		line = bytes.TrimRight(line, "\r\n")
		if bytes.HasPrefix(line, []byte(markerBegin)) && bytes.HasSuffix(line, []byte(markerEnd)) {
			return false
		}
	}
	return true
}
