package runner

import (
	"bytes"
	"context"
	"io"
	"sync"
	"time"

	"github.com/project-independence/indy/guest"
)

// A readiness finds out when a guest is ready.
type readiness struct {
	once sync.Once
	seen chan struct{}
}

func (r *readiness) found() chan struct{} {
	r.once.Do(func() { r.seen = make(chan struct{}) })
	return r.seen
}

// A tellable is a running guest that tells whether it is ready, in ways other than what it
// writes; *[qemu.VM] is one.
type tellable interface {
	AwaitAgent(ctx context.Context) error
	Reach(ctx context.Context, port uint16) error
	Done() <-chan struct{}
}

// watch calls ready once the guest is, which runs from now on, and never after it has
// ended. The error is why nobody will know.
func (r *readiness) watch(by guest.Ready, g tellable, ready func()) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	found := make(chan error, 1)
	switch {
	case by.Serial != "":
		go func() {
			select {
			case <-r.found():
				found <- nil
			case <-ctx.Done():
			}
		}()
	case by.Agent:
		go func() { found <- g.AwaitAgent(ctx) }()
	case by.TCP != 0:
		go func() { found <- g.Reach(ctx, by.TCP) }()
	case by.After > 0:
		defer time.AfterFunc(by.After, func() { found <- nil }).Stop()
	default:
		found <- nil
	}
	select {
	case err := <-found:
		select {
		case <-g.Done(): // which may be why
			return nil
		default:
		}
		if err == nil {
			ready()
		}
		return err
	case <-g.Done():
		return nil
	}
}

// text returns what looks for wanted in all that is written to it, one write after the
// other.
func (r *readiness) text(wanted string) io.Writer {
	seen := r.found()
	if wanted == "" {
		return io.Discard
	}
	var end []byte // of what was written before, not long enough to hold it
	found := false
	return writerFunc(func(p []byte) (int, error) {
		if found {
			return len(p), nil
		}
		end = append(end, p...)
		if found = bytes.Contains(end, []byte(wanted)); found {
			end = nil
			close(seen)
			return len(p), nil
		}
		end = append(end[:0], end[max(0, len(end)-len(wanted)+1):]...)
		return len(p), nil
	})
}
