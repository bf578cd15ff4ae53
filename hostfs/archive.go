package hostfs

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of a saved machine that is packed in one file. Such a file is untrusted:
// it may come with a bug report.
const (
	// MaxSaved is the most that the files of a saved machine hold together, in bytes.
	MaxSaved = 256 << 20
	// MaxEntries is the most files, links and directories of a saved machine.
	MaxEntries = 1_000_000

	maxName    = 4096 // PATH_MAX
	maxElement = 255  // NAME_MAX
	maxStream  = 2 * MaxSaved
)

// A builder makes a tree of the entries of an archive. It follows no link, so no
// entry lands elsewhere than its name says.
type builder struct {
	root    node
	entries int
	bytes   int64
}

func newBuilder() *builder { return &builder{root: node{children: map[string]*node{}}} }

func (b *builder) tree() *Tree { return &Tree{root: &b.root} }

// checkName says what is wrong with the name of an entry.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("an entry has no name; give the path below /, as in sys/class/dmi/id/product_name")
	case strings.HasPrefix(name, "/"):
		return fmt.Errorf("name %s is absolute; leave out the leading /", quoteShort(name))
	case len(name) > maxName:
		return fmt.Errorf("name %s has %d bytes; at most %d are allowed", quoteShort(name), len(name), maxName)
	case !utf8.ValidString(name):
		return fmt.Errorf("name %s is not UTF-8", quoteShort(name))
	case strings.ContainsFunc(name, isControl):
		return fmt.Errorf("name %s holds a control character", quoteShort(name))
	}
	for elem := range strings.SplitSeq(name, "/") {
		switch {
		case elem == "":
			return fmt.Errorf("name %s has an empty element; write one / between elements", quoteShort(name))
		case elem == "." || elem == "..":
			return fmt.Errorf("name %s has the element %s; write the path from the root of the machine", quoteShort(name), elem)
		case len(elem) > maxElement:
			return fmt.Errorf("name %s has an element of %d bytes; at most %d are allowed", quoteShort(name), len(elem), maxElement)
		}
	}
	if !fs.ValidPath(name) {
		return fmt.Errorf("name %s is not a path", quoteShort(name))
	}
	return nil
}

func checkTarget(name, target string) error {
	switch {
	case target == "":
		return fmt.Errorf("the link %s has no target", quoteShort(name))
	case len(target) > maxName:
		return fmt.Errorf("the link %s has a target of %d bytes; at most %d are allowed", quoteShort(name), len(target), maxName)
	case strings.ContainsFunc(target, isControl) || !utf8.ValidString(target):
		return fmt.Errorf("the link %s has a target with a control character or not in UTF-8: %s", quoteShort(name), quoteShort(target))
	}
	return nil
}

func isControl(r rune) bool { return unicode.Is(unicode.C, r) }

// quoteShort quotes s and cuts what nobody would read.
func quoteShort(s string) string {
	if len(s) > 80 {
		return fmt.Sprintf("%q...", s[:80])
	}
	return fmt.Sprintf("%q", s)
}

func (b *builder) count(n int, bytes int64) error {
	if b.entries += n; b.entries > MaxEntries {
		return fmt.Errorf("more than %d files, links and directories: %w", MaxEntries, ErrTooLarge)
	}
	if b.bytes += bytes; b.bytes > MaxSaved {
		return fmt.Errorf("its files hold more than %d bytes together: %w", MaxSaved, ErrTooLarge)
	}
	return nil
}

// reserve checks that a file of size bytes is within the bounds, before it is read.
func (b *builder) reserve(name string, size int64) error {
	if size > MaxFile {
		return fmt.Errorf("file %s has %d bytes, at most %d are allowed: %w", quoteShort(name), size, MaxFile, ErrTooLarge)
	}
	return b.count(0, size)
}

// add places n at name and makes the directories above it. A directory that
// stands already is not an error, anything else that does is one.
func (b *builder) add(name string, n *node) error {
	if err := checkName(name); err != nil {
		return err
	}
	dir := &b.root
	for i := 0; ; {
		end := strings.IndexByte(name[i:], '/')
		if end < 0 {
			return b.place(dir, name, name[i:], n)
		}
		elem := name[i : i+end]
		i += end + 1
		next := dir.children[elem]
		switch {
		case next == nil:
			next = &node{children: map[string]*node{}}
			dir.children[elem] = next
			if err := b.count(1, 0); err != nil {
				return err
			}
		case next.target != "":
			return fmt.Errorf("%s is below the link %s; write the path the link points to", quoteShort(name), quoteShort(name[:i-1]))
		case next.children == nil:
			return fmt.Errorf("%s is below the file %s; one of the two names is wrong", quoteShort(name), quoteShort(name[:i-1]))
		}
		dir = next
	}
}

func (b *builder) place(dir *node, name, base string, n *node) error {
	switch old := dir.children[base]; {
	case old == nil:
	case old.children != nil && n.children != nil:
		return nil
	case old.children != nil:
		return fmt.Errorf("%s is a directory already; one of the two entries is wrong", quoteShort(name))
	default:
		return fmt.Errorf("%s occurs twice; remove one of the entries", quoteShort(name))
	}
	dir.children[base] = n
	return b.count(1, 0)
}

// file finds the regular file name among the entries so far.
func (b *builder) file(name string) *node {
	n := &b.root
	for elem := range strings.SplitSeq(name, "/") {
		if n = n.children[elem]; n == nil {
			return nil
		}
	}
	if n.children != nil || n.target != "" {
		return nil
	}
	return n
}

// visit calls f for every entry below t in the order of their names, directories
// before what is in them.
func (t *Tree) visit(f func(name string, n *node) error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.top().visit("", f)
}

func (n *node) visit(prefix string, f func(string, *node) error) error {
	for _, base := range sortedKeys(n.children) {
		child := n.children[base]
		if err := f(prefix+base, child); err != nil {
			return err
		}
		if err := child.visit(prefix+base+"/", f); err != nil {
			return err
		}
	}
	return nil
}
