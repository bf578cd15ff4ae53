package broker

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/pci"
)

// A Lender is a [Broker] for what is written about one thing that this process has locked
// (flock(2)). It is a [github.com/project-independence/indy/hostfs.Aside], and may be used by
// many goroutines at once.
type Lender struct {
	*Broker
	lock lock
}

// lock is the descriptor of a file that is locked, -1 for none. Nil is none, too.
type lock struct {
	mu sync.Mutex
	fd int
}

// Lend returns b for writes about what this process has locked by a descriptor. The process
// that makes such a write has the descriptor for as long as that takes, so that the lock is
// not free when this process is killed before the write has come back. Other writes of b do
// not have it, nor do those after back was called.
//
// The descriptor is open until back has returned. Whoever lends it unlocks the file by
// flock(2) in the end, and does not only close it: a process that has been given up may
// still have it.
func (b *Broker) Lend(fd int) (l *Lender, back func()) {
	l = &Lender{Broker: b, lock: lock{fd: fd}}
	return l, func() {
		l.lock.mu.Lock()
		defer l.lock.mu.Unlock()
		l.lock.fd = -1
	}
}

// WriteFile is [Broker.WriteFile], and lends the descriptor.
func (l *Lender) WriteFile(name string, data []byte) error { return l.writeFile(&l.lock, name, data) }

// ResetBus is [Broker.ResetBus], and lends the descriptor.
func (l *Lender) ResetBus(functions []pci.Address) error { return l.resetBus(&l.lock, functions) }

// send sends a request, with the lock if there is one. Whoever is asked has nothing else to
// do, so that there is space for it.
func (l *lock) send(socket int, request []byte) error {
	var rights []byte
	if l != nil {
		l.mu.Lock() // it is not closed meanwhile
		defer l.mu.Unlock()
		if l.fd >= 0 {
			rights = unix.UnixRights(l.fd)
		}
	}
	return os.NewSyscallError("sendmsg", unix.Sendmsg(socket, request, rights, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT))
}
