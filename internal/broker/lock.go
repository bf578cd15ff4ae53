package broker

import (
	"fmt"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/internal/ioctl"
)

// locks are the descriptors by which this process has something locked (flock(2)) that
// its writes are about.
type locks struct {
	mu  sync.Mutex
	fds []int
}

// Lend gives a descriptor to each process that makes a write from now on, until back is
// called, for as long as that write takes. The lock of its file then is not free when this
// process is killed before the write has come back. It is lent with every write, whatever
// that is about. With more than [ioctl.AsideKept] at once no write is made.
//
// The descriptor is open until back has returned. Whoever lends it unlocks the file by
// flock(2) in the end, and does not only close it: a process that has been given up may
// still have it.
func (b *Broker) Lend(fd int) (back func()) {
	b.locks.mu.Lock()
	defer b.locks.mu.Unlock()
	b.locks.fds = append(b.locks.fds, fd)
	return func() {
		b.locks.mu.Lock()
		defer b.locks.mu.Unlock()
		if i := slices.Index(b.locks.fds, fd); i >= 0 {
			b.locks.fds = slices.Delete(b.locks.fds, i, i+1)
		}
	}
}

// send sends a request, with the locks if it is to have them. Whoever is asked has nothing
// else to do, so that there is space for it.
func (l *locks) send(socket int, request []byte, lend bool) error {
	l.mu.Lock() // none of them is closed meanwhile
	defer l.mu.Unlock()
	var rights []byte
	if lend && len(l.fds) > 0 {
		rights = unix.UnixRights(l.fds...)
	}
	if len(l.fds) > ioctl.AsideKept && lend {
		return fmt.Errorf("%d leases are worked on at once, and a process takes the locks of %d", len(l.fds), ioctl.AsideKept)
	}
	return os.NewSyscallError("sendmsg", unix.Sendmsg(socket, request, rights, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT))
}
