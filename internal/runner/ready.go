package runner

import (
	"bytes"
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

// CanTell reports whether a runner can find out that a guest is ready: by what it writes to
// its serial port, by time, or because it runs.
func CanTell(r guest.Ready) bool { return !r.Agent && r.TCP == 0 }

// watch calls ready once the guest is, which runs from now on, and never after it has
// ended.
func (r *readiness) watch(by guest.Ready, ended <-chan struct{}, ready func()) {
	var wait <-chan time.Time
	seen := r.found()
	switch {
	case !CanTell(by):
		return
	case by.Serial != "":
	case by.After > 0:
		t := time.NewTimer(by.After)
		defer t.Stop()
		wait, seen = t.C, nil
	default:
		ready()
		return
	}
	select {
	case <-seen:
		ready()
	case <-wait:
		ready()
	case <-ended:
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
