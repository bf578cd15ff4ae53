package journal

import (
	"context"
	"time"
)

// A Disk is where journals are kept: [OS], or one in memory on which a test crashes.
// Names are paths. Errors keep the kernel's errno, and the name in an *fs.PathError.
type Disk interface {
	// MkdirAll makes a directory and those above it, if they are not there. Their names are
	// on the disk when it returns.
	MkdirAll(dir string) error

	// Create makes the file name, which is not there yet, with data and then zero bytes
	// up to size. It appears under its name whole, locked by its maker and with its
	// content on the disk, or not at all; that the name is on the disk, too, takes
	// SyncDir. A crash may leave a file named after it, with a dot before and a number
	// behind: see [Disk.Sweep].
	Create(name string, data []byte, size int64) (Handle, error)

	// Open opens the file name for reading and writing. It makes none.
	Open(name string) (Handle, error)

	// ReadFile returns the content of the file name, at most max bytes and one more.
	ReadFile(name string, max int64) ([]byte, error)

	// Remove removes the file name, Rename gives it another name in place of what had
	// that; after a crash either may not have happened unless SyncDir followed.
	Remove(name string) error
	Rename(from, to string) error

	// SyncDir returns when what happened to the names in dir is on the disk.
	SyncDir(dir string) error

	// Names lists the files in dir, sorted, without what Create left in a crash.
	// A directory that is not there is [io/fs.ErrNotExist].
	Names(dir string) ([]string, error)

	// Sweep removes what Create left in a crash. Nobody may be creating meanwhile.
	Sweep(dir string) error

	// Lock takes the lock that the file name stands for, which one at a time has, in all
	// processes. It waits until ctx is done. The kernel lets go of it with the process.
	Lock(ctx context.Context, name string) (unlock func(), err error)
}

// A Handle is an open file of a [Disk].
type Handle interface {
	// ReadAll returns the content, at most max bytes and one more.
	ReadAll(max int64) ([]byte, error)

	// WriteAt writes b at off in one write. A crash may leave any part of it until Sync
	// has returned.
	WriteAt(b []byte, off int64) error

	// Allocate makes sure of space for the first size bytes, zero where nothing was written.
	Allocate(size int64) error

	// Sync returns when what was written is on the disk.
	Sync() error

	// TryLock takes the lock of the file for this handle, unless another has it.
	TryLock() (bool, error)

	// Linked reports whether the file still has its name: whoever waited for its lock may
	// get that of a file which has been removed.
	Linked() (bool, error)

	// Close lets go of the file and of its lock. See also [File.Descriptor].
	Close() error
}

// lockPause is how long to wait before looking at a held lock again: at first as long as
// a claim takes, then longer.
const (
	lockPause    = 500 * time.Microsecond
	maxLockPause = 20 * time.Millisecond
)
