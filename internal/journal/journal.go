package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
)

// A Dir is a directory of journals.
type Dir struct {
	Disk Disk
	Path string
}

// lockName is the file whose lock is that of a directory.
const lockName = "lock"

// damagedDir is the directory below a Dir where damaged journals are put aside.
const damagedDir = "damaged"

// Lock takes the lock of the directory, which one at a time has, in all processes, and
// makes the directory if it is not there. It waits until ctx is done.
func (d Dir) Lock(ctx context.Context) (unlock func(), err error) {
	unlock, err = d.Disk.Lock(ctx, d.path(lockName))
	if errors.Is(err, fs.ErrNotExist) {
		if err := d.Disk.MkdirAll(d.Path); err != nil {
			return nil, err
		}
		unlock, err = d.Disk.Lock(ctx, d.path(lockName))
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", d.path(lockName), err)
	}
	return unlock, nil
}

// Create makes a journal with its first record and space for reserve bytes in all. The
// caller has the directory's lock, and then also that of the file. On an error there is
// no such file.
func (d Dir) Create(name string, reserve int, first any) (*File, error) {
	line, err := encode(first)
	if err != nil {
		return nil, err
	}
	size := int64(max(reserve, len(line)))
	h, err := d.Disk.Create(d.path(name), line, size)
	if err != nil {
		return nil, err
	}
	if err := d.Disk.SyncDir(d.Path); err != nil {
		return nil, errors.Join(err, d.Disk.Remove(d.path(name)), h.Close())
	}
	return &File{handle: h, name: d.path(name), end: int64(len(line)), size: size}, nil
}

// Open opens a journal that is to be appended to, and returns its records. Nobody else
// may append meanwhile: the caller has the directory's lock. A damaged file is a
// *[DamageError], with a file and the records before the damage; it cannot be appended to.
func (d Dir) Open(name string) (*File, []json.RawMessage, error) {
	f, err := d.open(name)
	if err != nil {
		return nil, nil, err
	}
	records, err := f.read()
	if err != nil && f.damage == nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, records, err
}

// OpenLocked is Open for who takes the lock of the file instead, and does not wait for it:
// ok is false when somebody else has it, and then there is no file. One that has been
// removed by the time that it is locked is [fs.ErrNotExist].
func (d Dir) OpenLocked(name string) (f *File, records []json.RawMessage, ok bool, err error) {
	if f, err = d.open(name); err != nil {
		return nil, nil, false, err
	}
	ok, err = f.tryLock()
	if ok && err == nil {
		records, err = f.read()
	}
	if !ok || err != nil && f.damage == nil {
		return nil, nil, false, errors.Join(err, f.Close())
	}
	return f, records, true, err
}

func (d Dir) open(name string) (*File, error) {
	h, err := d.Disk.Open(d.path(name))
	if err != nil {
		return nil, err
	}
	return &File{handle: h, name: d.path(name)}, nil
}

// Read returns the records of a journal, and whether a crash has left a part of one more.
// The error may be a *[DamageError], with the records before the damage.
func (d Dir) Read(name string) (records []json.RawMessage, torn bool, err error) {
	var last []byte
	for {
		data, err := d.Disk.ReadFile(d.path(name), MaxSize)
		if err != nil {
			return nil, false, err
		}
		records, _, torn, err = parse(data)
		// Of a file that is appended to meanwhile one read may see what is later and not
		// what is earlier. What is damaged stays as it is.
		if err == nil || bytes.Equal(data, last) {
			return records, torn, named(err, d.path(name))
		}
		last = data
	}
}

// Remove removes a journal. Once it returns nil the name is gone for good.
func (d Dir) Remove(name string) error {
	if err := d.Disk.Remove(d.path(name)); err != nil {
		return err
	}
	return d.Disk.SyncDir(d.Path)
}

// PutAside moves a damaged journal to where nobody takes it for one, and returns its new
// name.
func (d Dir) PutAside(name string) (string, error) {
	aside := d.path(damagedDir)
	if err := d.Disk.MkdirAll(aside); err != nil {
		return "", err
	}
	to := filepath.Join(aside, name)
	if err := d.Disk.Rename(d.path(name), to); err != nil {
		return "", err
	}
	return to, errors.Join(d.Disk.SyncDir(aside), d.Disk.SyncDir(d.Path))
}

// Names lists the journals, sorted. A directory that is not there has none.
func (d Dir) Names() ([]string, error) {
	names, err := d.Disk.Names(d.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return slices.DeleteFunc(names, func(s string) bool { return s == lockName }), err
}

// Sweep removes what a crash has left of journals that were being created. The caller has
// the directory's lock.
func (d Dir) Sweep() error { return d.Disk.Sweep(d.Path) }

func (d Dir) path(name string) string { return filepath.Join(d.Path, name) }

// A File is an open journal. It is used by one goroutine at a time.
type File struct {
	handle    Handle
	name      string
	end, size int64 // of the records, and of what is allocated
	torn      bool  // bytes of a record that was not written whole follow
	damage    error
}

// Name returns the path of the file.
func (f *File) Name() string { return f.name }

// Torn reports whether a crash has left a part of a record behind those that were read:
// somebody was about to append it.
func (f *File) Torn() bool { return f.torn }

// Descriptor returns that by which this process has the file open and locked. A Handle has
// one if it has a method Descriptor, as that of [OS]: one that is put around it and has not
// hides it. Whoever gives it to another process has that keep the lock when this one is
// killed; Close unlocks the file, whoever has the descriptor.
func (f *File) Descriptor() (fd int, ok bool) {
	h, ok := f.handle.(interface{ Descriptor() int })
	if !ok {
		return -1, false
	}
	return h.Descriptor(), true
}

// Inode names a file as the kernel does in /proc/locks, as 00:1a:1234: by major and minor
// number of its file system, and its own. It is empty on a Disk that has no method Inode.
func (d Dir) Inode(name string) (string, error) {
	disk, ok := d.Disk.(interface{ Inode(string) (string, error) })
	if !ok {
		return "", nil
	}
	return disk.Inode(d.path(name))
}

func (f *File) read() ([]json.RawMessage, error) {
	data, err := f.handle.ReadAll(MaxSize)
	if err != nil {
		return nil, err
	}
	records, end, torn, err := parse(data)
	f.end, f.size, f.torn = int64(end), int64(len(data)), torn
	f.damage = named(err, f.name)
	return records, f.damage
}

func (f *File) tryLock() (bool, error) {
	ok, err := f.handle.TryLock()
	if !ok || err != nil {
		return false, err
	}
	linked, err := f.handle.Linked()
	if err == nil && !linked {
		err = &fs.PathError{Op: "lock", Path: f.name, Err: fs.ErrNotExist}
	}
	return err == nil, err
}

// Reserve makes sure that n bytes more can be appended, whatever becomes of the disk.
func (f *File) Reserve(n int) error {
	want := f.end + int64(n)
	if want <= f.size {
		return nil
	}
	if want > MaxSize {
		return fmt.Errorf("%s: more than %d bytes", f.name, MaxSize)
	}
	if err := f.handle.Allocate(want); err != nil {
		return err
	}
	f.size = want
	return f.handle.Sync()
}

// Append adds a record and returns when it is on the disk. After an error nobody knows
// whether it is; the next record takes its place.
func (f *File) Append(record any) error {
	if f.damage != nil {
		return f.damage
	}
	line, err := encode(record)
	if err != nil {
		return err
	}
	if err := f.Reserve(len(line)); err != nil {
		return err
	}
	if f.torn {
		// What is left of a record must not be read as the end of this one.
		if err := f.handle.WriteAt(make([]byte, f.size-f.end), f.end); err != nil {
			return err
		}
		if err := f.handle.Sync(); err != nil {
			return err
		}
		f.torn = false
	}
	f.torn = true // until it is known not to be
	if err := f.handle.WriteAt(line, f.end); err != nil {
		return err
	}
	if err := f.handle.Sync(); err != nil {
		return err
	}
	f.torn = false
	f.end += int64(len(line))
	return nil
}

// Close lets go of the file and of its lock.
func (f *File) Close() error { return f.handle.Close() }

func named(err error, name string) error {
	var d *DamageError
	if errors.As(err, &d) {
		return &DamageError{Name: name, Why: d.Why}
	}
	return err
}
