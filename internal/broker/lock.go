package broker

import (
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
// process is killed before the write has come back. Of more than [ioctl.AsideKept] at once
// only so many are lent, the latest. Whoever lent it unlocks the file by flock(2), and does
// not only close it: a write that has been given up may still have it.
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

// send sends a request, with the locks if it is to have them.
func (l *locks) send(socket int, request []byte, lend bool) error {
	l.mu.Lock() // none of them is closed meanwhile
	defer l.mu.Unlock()
	var rights []byte
	if lend && len(l.fds) > 0 {
		rights = unix.UnixRights(l.fds[max(0, len(l.fds)-ioctl.AsideKept):]...)
	}
	return unix.Sendmsg(socket, request, rights, nil, unix.MSG_NOSIGNAL)
}
