package hostfs

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Tree is a machine held in memory: directories, files and symbolic links. It
// implements [fs.ReadFileFS], [fs.ReadDirFS], [fs.ReadLinkFS] and [FS]. Links are
// followed as after a chroot: no link leads out of the tree.
//
// The zero Tree is an empty one. A Tree may be used by many goroutines at once.
type Tree struct {
	mu   sync.Mutex
	root *node
	own  *owner // whose nodes may be changed in place
}

// A node is a directory when children is not nil, a link when target is not
// empty, else a file. Trees share nodes after a Clone; a directory is changed only
// by the tree that owns it, and a file or link never: it is replaced.
type node struct {
	data     []byte
	target   string
	children map[string]*node
	own      *owner // of a directory
}

// An owner is told from others by its address.
type owner struct{ _ byte }

// As the kernel limits the links in one path, and its length.
const (
	maxLinks    = 40
	maxElements = 4096
)

func (n *node) mode() fs.FileMode {
	switch {
	case n.children != nil:
		return fs.ModeDir | 0o755
	case n.target != "":
		return fs.ModeSymlink | 0o777
	}
	return 0o644
}

// What walk is for.
const (
	look   = iota // the directories may be another tree's, too
	change        // the directories on the way are this tree's own
	create        // those that are missing are made
)

// walk finds name, following links in all but the last element, and in the last
// one if follow is set. It returns the directory that holds the last element and
// that element's name, and the node itself, nil if there is none.
func (t *Tree) walk(name string, follow bool, purpose int) (dir *node, base string, found *node, err error) {
	t.top()
	if purpose != look {
		t.root = t.owned(t.root)
	}
	if !fs.ValidPath(name) {
		return nil, "", nil, fs.ErrInvalid
	}
	if name == "." {
		return nil, "", t.root, nil
	}
	stack := []*node{t.root} // the directories above, for ..
	rest := strings.Split(name, "/")
	links, elements := 0, 0
	for {
		if elements++; elements > maxElements {
			return nil, "", nil, fmt.Errorf("more than %d elements: %w", maxElements, fs.ErrInvalid)
		}
		elem := rest[0]
		rest = rest[1:]
		dir = stack[len(stack)-1]
		switch elem {
		case "", ".":
			found = dir
		case "..":
			if len(stack) > 1 {
				stack = stack[:len(stack)-1]
			}
			found = stack[len(stack)-1]
		default:
			base = elem
			found = dir.children[elem]
			switch {
			case found == nil && purpose == create && len(rest) > 0:
				found = newDir(t.own)
				dir.children[elem] = found
			case found != nil && found.children != nil && purpose != look:
				found = t.owned(found)
				dir.children[elem] = found
			}
			switch {
			case found == nil && len(rest) > 0:
				return nil, "", nil, fs.ErrNotExist
			case found == nil:
				return dir, base, nil, nil
			case found.target != "" && (follow || len(rest) > 0):
				if links++; links > maxLinks {
					return nil, "", nil, fmt.Errorf("more than %d links: %w", maxLinks, fs.ErrInvalid)
				}
				if strings.HasPrefix(found.target, "/") {
					stack = stack[:1]
				}
				rest = append(strings.Split(found.target, "/"), rest...)
			case found.children != nil && len(rest) > 0:
				stack = append(stack, found)
			case len(rest) > 0:
				return nil, "", nil, fmt.Errorf("%s is not a directory: %w", elem, fs.ErrNotExist)
			}
		}
		if len(rest) == 0 {
			return dir, base, found, nil
		}
	}
}

// top returns the root directory, also of the zero Tree.
func (t *Tree) top() *node {
	if t.root == nil {
		t.root = newDir(t.own)
	}
	return t.root
}

func newDir(own *owner) *node { return &node{children: map[string]*node{}, own: own} }

// owned returns the directory n, or a copy of it if another tree may have it, too.
func (t *Tree) owned(n *node) *node {
	if n.own == t.own {
		return n
	}
	return &node{children: maps.Clone(n.children), own: t.own}
}

func (t *Tree) find(op, name string, follow bool) (*node, error) {
	_, _, n, err := t.walk(name, follow, look)
	if err == nil && n == nil {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: err}
	}
	return n, nil
}

// ReadFile returns a copy of the content of name.
func (t *Tree) ReadFile(name string) ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.find("open", name, true)
	if err != nil {
		return nil, err
	}
	if n.children != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("is a directory: %w", fs.ErrInvalid)}
	}
	return slices.Clone(n.data), nil
}

// ReadLink returns what the link name points to.
func (t *Tree) ReadLink(name string) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.find("readlink", name, false)
	if err == nil && n.target == "" {
		err = &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	if err != nil {
		return "", err
	}
	return n.target, nil
}

// ReadDir lists the directory name, sorted.
func (t *Tree) ReadDir(name string) ([]fs.DirEntry, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.find("open", name, true)
	if err == nil && n.children == nil {
		err = &fs.PathError{Op: "readdir", Path: name, Err: fmt.Errorf("not a directory: %w", fs.ErrInvalid)}
	}
	if err != nil {
		return nil, err
	}
	entries := make([]fs.DirEntry, 0, len(n.children))
	for _, base := range slices.Sorted(maps.Keys(n.children)) {
		entries = append(entries, fs.FileInfoToDirEntry(nodeInfo(base, n.children[base])))
	}
	return entries, nil
}

// Lstat describes name itself, also when it is a link.
func (t *Tree) Lstat(name string) (fs.FileInfo, error) { return t.stat("lstat", name, false) }

// Stat describes what name is or points to.
func (t *Tree) Stat(name string) (fs.FileInfo, error) { return t.stat("stat", name, true) }

func (t *Tree) stat(op, name string, follow bool) (fs.FileInfo, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.find(op, name, follow)
	if err != nil {
		return nil, err
	}
	return nodeInfo(name[strings.LastIndexByte(name, '/')+1:], n), nil
}

func nodeInfo(base string, n *node) info {
	return info{name: base, size: int64(len(n.data)), mode: n.mode(), time: time.Time{}}
}

// Open opens name for reading.
func (t *Tree) Open(name string) (fs.File, error) {
	st, err := t.stat("open", name, true)
	if err != nil {
		return nil, err
	}
	return openFile(t, name, st)
}

// WriteFile replaces the content of the existing file name. Like the running
// host's it never creates one.
func (t *Tree) WriteFile(name string, data []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	dir, base, n, err := t.walk(name, true, change)
	switch {
	case err != nil:
	case n == nil:
		err = fs.ErrNotExist
	case n.children != nil:
		err = fmt.Errorf("is a directory: %w", fs.ErrInvalid)
	default:
		dir.children[base] = &node{data: slices.Clone(data)}
		return nil
	}
	return &fs.PathError{Op: "write", Path: name, Err: err}
}

// Put makes or replaces the file name, with the directories above it.
func (t *Tree) Put(name string, data []byte) error {
	return t.place("put", name, &node{data: slices.Clone(data)})
}

// Symlink makes or replaces the link name, with the directories above it. An
// empty target is refused.
func (t *Tree) Symlink(target, name string) error {
	if target == "" {
		return &fs.PathError{Op: "symlink", Path: name, Err: fmt.Errorf("empty target: %w", fs.ErrInvalid)}
	}
	return t.place("symlink", name, &node{target: target})
}

// Mkdir makes the directory name and those above it; it may exist already.
func (t *Tree) Mkdir(name string) error {
	return t.place("mkdir", name, newDir(nil))
}

func (t *Tree) place(op, name string, n *node) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	dir, base, old, err := t.walk(name, false, create)
	switch {
	case err != nil:
	case n.children != nil && old != nil && old.children != nil:
		return nil
	case dir == nil || old == t.root || old != nil && old.children != nil:
		err = fmt.Errorf("is a directory: %w", fs.ErrExist)
	case n.children != nil && old != nil:
		err = fs.ErrExist
	default:
		if n.children != nil {
			n.own = t.own
		}
		dir.children[base] = n
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// Remove removes name, a directory with all that is in it, a link and not what it
// points to.
func (t *Tree) Remove(name string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	dir, base, n, err := t.walk(name, false, change)
	if err == nil && (n == nil || dir == nil || dir.children[base] != n) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return &fs.PathError{Op: "remove", Path: name, Err: err}
	}
	delete(dir.children, base)
	return nil
}

// Clone returns a copy: what is changed in one of the two is not in the other. It
// costs the same for a tree of any size; a change then copies the directories above it.
func (t *Tree) Clone() *Tree {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.own = new(owner) // so that neither changes in place what both now have
	return &Tree{root: t.top(), own: new(owner)}
}

// Diff returns the names of the files, links and directories that are not the same in
// t and u, sorted; of a directory that only one of them has, that of the directory
// alone. Of a tree and its clone it looks only at what was changed since.
func (t *Tree) Diff(u *Tree) []string {
	other := u.Clone().root // so that u need not be locked together with t
	t.mu.Lock()
	defer t.mu.Unlock()
	var names []string
	differ(t.top(), other, ".", &names)
	slices.Sort(names)
	return names
}

func differ(a, b *node, name string, names *[]string) {
	if a == nil || b == nil || a.children == nil || b.children == nil {
		if a == nil || b == nil || a.mode() != b.mode() || a.target != b.target || !bytes.Equal(a.data, b.data) {
			*names = append(*names, name)
		}
		return
	}
	for base, child := range a.children {
		if other := b.children[base]; other != child {
			differ(child, other, path.Join(name, base), names)
		}
	}
	for base, child := range b.children {
		if a.children[base] == nil {
			differ(nil, child, path.Join(name, base), names)
		}
	}
}

// Close does nothing; it lets a Tree stand where a saved directory may.
func (t *Tree) Close() error { return nil }
