package journal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// OS returns the disk of this host.
func OS() Disk { return osDisk{} }

type osDisk struct{}

func (d osDisk) MkdirAll(dir string) error {
	var above []string // of the directories that are not there yet
	for at := filepath.Clean(dir); ; at = filepath.Dir(at) {
		if _, err := os.Stat(at); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		above = append(above, filepath.Dir(at))
	}
	err := os.MkdirAll(dir, 0o755)
	for _, up := range above {
		if err == nil {
			err = d.SyncDir(up)
		}
	}
	return err
}

func (osDisk) Create(name string, data []byte, size int64) (Handle, error) {
	p, err := renameio.NewPendingFile(name, renameio.WithTempDir(filepath.Dir(name)), renameio.WithStaticPermissions(0o644))
	if err != nil {
		return nil, err
	}
	defer func() { _ = p.Cleanup() }()
	// The descriptor outlives the replacing, and with it the lock, which nobody else has
	// had a chance to take.
	fd, err := unix.FcntlInt(p.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "dup", Path: name, Err: err}
	}
	h := &osHandle{fd: fd, name: name}
	if _, err := h.TryLock(); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	err = h.Allocate(size)
	if err == nil {
		err = h.WriteAt(data, 0)
	}
	if err == nil {
		err = p.CloseAtomicallyReplace()
	}
	if err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

func (osDisk) Open(name string) (Handle, error) { return open(name, unix.O_RDWR) }

func (osDisk) ReadFile(name string, max int64) ([]byte, error) {
	h, err := open(name, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	return h.ReadAll(max)
}

// Inode is as in proc_locks(5).
func (osDisk) Inode(name string) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		return "", &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	return fmt.Sprintf("%02x:%02x:%d", unix.Major(uint64(st.Dev)), unix.Minor(uint64(st.Dev)), st.Ino), nil
}

func (osDisk) Remove(name string) error { return os.Remove(name) }

func (osDisk) Rename(from, to string) error { return os.Rename(from, to) }

func (osDisk) SyncDir(dir string) error {
	fd, err := retry(func() (int, error) { return unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) })
	if err == nil {
		_, err = retry(func() (int, error) { return 0, unix.Fsync(fd) })
		_ = unix.Close(fd)
	}
	if err != nil && !errors.Is(err, unix.EINVAL) { // a file system that has no such notion
		return &fs.PathError{Op: "sync", Path: dir, Err: err}
	}
	return nil
}

// leftover are the names that renameio gives: the name after a dot, and a random number.
func leftover() *regexp.Regexp { return regexp.MustCompile(`^\..+[0-9]{1,20}$`) }

func (osDisk) Names(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Name()[0] != '.' && !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

func (osDisk) Sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if e.Name()[0] == '.' && e.Type().IsRegular() && leftover().MatchString(e.Name()) {
			errs = append(errs, os.Remove(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

func (osDisk) Lock(ctx context.Context, name string) (unlock func(), err error) {
	l := flock.New(name)
	for pause := lockPause; ; pause = min(2*pause, maxLockPause) {
		ok, err := l.TryLock()
		if err != nil {
			return nil, err
		}
		if ok {
			return func() { _ = l.Unlock() }, nil
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// An osHandle is a descriptor. It is no *os.File, which would set up the runtime's poller
// for a file that is never waited for.
func open(name string, mode int) (Handle, error) {
	fd, err := retry(func() (int, error) {
		return unix.Open(name, mode|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return &osHandle{fd: fd, name: name}, nil
}

type osHandle struct {
	fd     int
	name   string
	locked bool
}

func (h *osHandle) fail(op string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: h.name, Err: err}
}

func (h *osHandle) ReadAll(max int64) ([]byte, error) {
	var st unix.Stat_t
	if err := unix.Fstat(h.fd, &st); err != nil {
		return nil, h.fail("stat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, h.fail("read", fs.ErrInvalid)
	}
	buf := make([]byte, min(st.Size, max+1))
	for n := 0; n < len(buf); {
		m, err := retry(func() (int, error) { return unix.Pread(h.fd, buf[n:], int64(n)) })
		if err != nil {
			return nil, h.fail("read", err)
		}
		if m == 0 {
			return buf[:n], nil
		}
		n += m
	}
	return buf, nil
}

func (h *osHandle) WriteAt(b []byte, off int64) error {
	n, err := retry(func() (int, error) { return unix.Pwrite(h.fd, b, off) })
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	return h.fail("write", err)
}

func (h *osHandle) Allocate(size int64) error {
	_, err := retry(func() (int, error) { return 0, unix.Fallocate(h.fd, 0, 0, size) })
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		// Where space cannot be had ahead, writing zeros behind what is there gets it.
		var st unix.Stat_t
		if err = unix.Fstat(h.fd, &st); err == nil && st.Size < size {
			return h.WriteAt(make([]byte, size-st.Size), st.Size)
		}
	}
	return h.fail("allocate", err)
}

func (h *osHandle) Sync() error {
	_, err := retry(func() (int, error) { return 0, unix.Fdatasync(h.fd) })
	return h.fail("sync", err)
}

func (h *osHandle) TryLock() (bool, error) {
	_, err := retry(func() (int, error) { return 0, unix.Flock(h.fd, unix.LOCK_EX|unix.LOCK_NB) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	h.locked = err == nil
	return h.locked, h.fail("lock", err)
}

func (h *osHandle) Linked() (bool, error) {
	var st, named unix.Stat_t
	if err := unix.Fstat(h.fd, &st); err != nil || st.Nlink == 0 {
		return false, h.fail("stat", err)
	}
	// One that was put aside has another name.
	err := unix.Lstat(h.name, &named)
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	return st.Dev == named.Dev && st.Ino == named.Ino, h.fail("stat", err)
}

// Descriptor is that of the open file.
func (h *osHandle) Descriptor() int { return h.fd }

// Close also unlocks the file: another process may have the descriptor, too, and the lock
// with it.
func (h *osHandle) Close() error {
	var unlocked error
	if h.locked {
		_, unlocked = retry(func() (int, error) { return 0, unix.Flock(h.fd, unix.LOCK_UN) })
	}
	err := cmp.Or(unix.Close(h.fd), unlocked)
	h.fd = -1 // whatever gets the number next is none of ours
	return h.fail("close", err)
}

func retry(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if err != unix.EINTR {
			return n, err
		}
	}
}
