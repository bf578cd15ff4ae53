package journaltest

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/project-independence/indy/internal/journal"
)

// A Disk is a [journal.Disk] in memory. Its zero value is not one; see [New]. It may be
// used by many goroutines at once.
type Disk struct {
	// Before, if set, is called before each operation that changes something or makes it
	// last. Its error is that of the operation, which then does nothing; but a write that
	// gets a *[Short] writes its first bytes. Set it before the disk is used.
	Before func(Op) error

	mu    sync.Mutex
	full  bool
	names map[string]*inode // as every process sees them
	saved map[string]*inode // on the disk
	dirs  map[string]bool
	held  map[*inode]*handle // the locks
	made  int                // temporary files so far
}

// An inode is a file. Its contents are replaced, never changed: disks share them.
type inode struct {
	data    []byte
	saved   []byte  // on the disk
	pending []patch // written or allocated since, in their order
}

type patch struct {
	off  int64
	data []byte
}

// An Op is one operation that changes the disk, or makes a change last.
type Op struct {
	Name string // mkdir, create, lock, allocate, write, sync, rename, syncdir or remove
	Path string
	Data []byte // of a write
	off  int64
	file *inode
}

// String returns the operation and what it is done to.
func (o Op) String() string { return o.Name + " " + o.Path }

// A Short is the error of a write of which the first N bytes are written.
type Short struct {
	N   int
	Err error
}

// Error is that of Err.
func (e *Short) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *Short) Unwrap() error { return e.Err }

// New returns an empty disk.
func New() *Disk {
	return &Disk{names: map[string]*inode{}, saved: map[string]*inode{}, dirs: map[string]bool{"/": true}, held: map[*inode]*handle{}}
}

// Fill makes the disk full, or no longer so: nothing that needs more space succeeds.
func (d *Disk) Fill(full bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full = full
}

func fail(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// do asks Before, and then does the operation with the disk locked. needsSpace says that
// it fails on a full disk.
func (d *Disk) do(op Op, needsSpace bool, f func() error) error {
	err := error(nil)
	if d.Before != nil {
		err = d.Before(op)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil && needsSpace && d.full {
		err = syscall.ENOSPC
	}
	var short *Short
	if errors.As(err, &short) && op.file != nil {
		op.file.write(op.Data[:min(short.N, len(op.Data))], op.off)
	}
	if err == nil {
		err = f()
	}
	var known *fs.PathError
	if errors.As(err, &known) {
		return err
	}
	return fail(op.Name, op.Path, err)
}

// MkdirAll makes dir and those above it. They are on the disk when it returns.
func (d *Disk) MkdirAll(dir string) error {
	dir = path.Clean(dir)
	if d.isDir(dir) {
		return nil
	}
	if up := path.Dir(dir); up != dir {
		if err := d.MkdirAll(up); err != nil {
			return err
		}
	}
	return d.do(Op{Name: "mkdir", Path: dir}, true, func() error {
		if d.names[dir] != nil {
			return syscall.ENOTDIR
		}
		d.dirs[dir] = true
		return nil
	})
}

func (d *Disk) isDir(dir string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dirs[dir]
}

// Create makes a file as renameio does: under another name, which it then gives up.
func (d *Disk) Create(name string, data []byte, size int64) (journal.Handle, error) {
	d.mu.Lock()
	d.made++
	temporary := path.Join(path.Dir(name), "."+path.Base(name)+strconv.Itoa(d.made))
	d.mu.Unlock()
	h := &handle{disk: d, file: new(inode), name: temporary}
	err := d.do(Op{Name: "create", Path: temporary}, true, func() error {
		if !d.dirs[path.Dir(name)] {
			return syscall.ENOENT
		}
		d.names[temporary] = h.file
		return nil
	})
	if err != nil {
		return nil, err
	}
	_, err = h.TryLock()
	for _, step := range []func() error{
		func() error { return h.Allocate(size) },
		func() error { return h.WriteAt(data, 0) },
		h.Sync,
		func() error { return d.Rename(temporary, name) },
	} {
		if err == nil {
			err = step()
		}
	}
	if err != nil {
		return nil, errors.Join(err, d.Remove(temporary), h.Close())
	}
	h.name = name
	return h, nil
}

// Open opens an existing file.
func (d *Disk) Open(name string) (journal.Handle, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.names[path.Clean(name)]
	if f == nil {
		return nil, fail("open", name, d.missing(name))
	}
	return &handle{disk: d, file: f, name: name}, nil
}

func (d *Disk) missing(name string) error {
	if d.dirs[path.Clean(name)] {
		return syscall.EISDIR
	}
	return syscall.ENOENT
}

// ReadFile returns the content of a file, at most limit bytes and one more.
func (d *Disk) ReadFile(name string, limit int64) ([]byte, error) {
	h, err := d.Open(name)
	if err != nil {
		return nil, err
	}
	return h.ReadAll(limit)
}

// Remove takes away a name.
func (d *Disk) Remove(name string) error {
	name = path.Clean(name)
	return d.do(Op{Name: "remove", Path: name}, false, func() error {
		if d.names[name] == nil {
			return d.missing(name)
		}
		delete(d.names, name)
		return nil
	})
}

// Rename gives the file from the name to.
func (d *Disk) Rename(from, to string) error {
	from, to = path.Clean(from), path.Clean(to)
	return d.do(Op{Name: "rename", Path: to}, false, func() error {
		switch {
		case d.names[from] == nil:
			return d.missing(from)
		case d.dirs[to]:
			return syscall.EISDIR
		case !d.dirs[path.Dir(to)]:
			return syscall.ENOENT
		}
		d.names[to] = d.names[from]
		delete(d.names, from)
		return nil
	})
}

// SyncDir brings the names in dir to the disk.
func (d *Disk) SyncDir(dir string) error {
	dir = path.Clean(dir)
	return d.do(Op{Name: "syncdir", Path: dir}, false, func() error {
		if !d.dirs[dir] {
			return syscall.ENOENT
		}
		elsewhere := func(name string, _ *inode) bool { return path.Dir(name) != dir }
		kept := maps.Clone(d.saved)
		maps.DeleteFunc(kept, func(name string, f *inode) bool { return !elsewhere(name, f) })
		for name, f := range d.names {
			if path.Dir(name) == dir {
				kept[name] = f
			}
		}
		d.saved = kept
		return nil
	})
}

func (d *Disk) list(dir string) ([]string, error) {
	dir = path.Clean(dir)
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.dirs[dir] {
		return nil, fail("open", dir, syscall.ENOENT)
	}
	var names []string
	for name := range d.names {
		if path.Dir(name) == dir {
			names = append(names, path.Base(name))
		}
	}
	slices.Sort(names)
	return names, nil
}

var temporaryName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^\..+[0-9]{1,20}$`) })

// Names lists the files in dir without temporary ones.
func (d *Disk) Names(dir string) ([]string, error) {
	names, err := d.list(dir)
	return slices.DeleteFunc(names, func(s string) bool { return s[0] == '.' }), err
}

// Sweep removes the temporary files in dir.
func (d *Disk) Sweep(dir string) error {
	names, err := d.list(dir)
	errs := []error{err}
	for _, name := range names {
		if temporaryName().MatchString(name) {
			errs = append(errs, d.Remove(path.Join(dir, name)))
		}
	}
	return errors.Join(errs...)
}

// Lock takes the lock of the file name, which it makes.
func (d *Disk) Lock(ctx context.Context, name string) (func(), error) {
	name = path.Clean(name)
	h, err := d.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		err = d.do(Op{Name: "create", Path: name}, true, func() error {
			if !d.dirs[path.Dir(name)] {
				return syscall.ENOENT
			}
			if d.names[name] == nil {
				d.names[name] = new(inode)
			}
			return nil
		})
		if err == nil {
			h, err = d.Open(name)
		}
	}
	if err != nil {
		return nil, err
	}
	for {
		ok, err := h.TryLock()
		if err != nil {
			return nil, err
		}
		if ok {
			return func() { _ = h.Close() }, nil
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(time.Millisecond):
		}
	}
}
