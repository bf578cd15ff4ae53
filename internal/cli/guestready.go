package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/internal/runner"
)

// readyLimit is how long is waited for a guest that starts, where nothing else is said; one
// that is ready after a time is waited for so much longer.
const readyLimit = 10 * time.Minute

// A waiting says how far a start is waited for, and how long.
type waiting struct {
	until string
	limit time.Duration // 0 is as long as usual
}

// add adds --wait and --timeout.
func (w *waiting) add(f *pflag.FlagSet) {
	f.StringVar(&w.until, "wait", "running", "until the guest is `ready`, running, or none: do not wait")
	f.DurationVar(&w.limit, "timeout", 0, "how long is waited for that; without it "+readyLimit.String()+", and the time after which the guest is ready if its definition says one")
}

func (w waiting) valid() error {
	if !slices.Contains([]string{"ready", "running", "none"}, w.until) {
		return usageError{fmt.Errorf("--wait %q: expected ready, running or none", w.until)}
	}
	if w.limit < 0 {
		return usageError{fmt.Errorf("--timeout %v: expected a time such as 30s", w.limit)}
	}
	return nil
}

// within returns a context that ends when a guest that is ready so has been waited for long
// enough, with an *unreadyError as its cause.
func (w waiting) within(ctx context.Context, name string, by guest.Ready) (context.Context, *unreadyError, context.CancelFunc) {
	late := &unreadyError{name: name, until: w.until, by: by, limit: cmp.Or(w.limit, readyLimit+by.After)}
	ctx, cancel := context.WithTimeoutCause(ctx, late.limit, late)
	return ctx, late, cancel
}

// readyBy returns how it is known that a guest is ready.
func readyBy(d guest.Definition) guest.Ready {
	if d.Autostart == nil {
		return guest.Ready{}
	}
	return d.Autostart.Ready
}

// An unreadyError is that a guest did not come as far in time as was waited for. It goes on.
type unreadyError struct {
	name, until string
	by          guest.Ready
	limit       time.Duration
	ran         bool // it has come so far
}

// Error says what was waited for.
func (e *unreadyError) Error() string {
	return fmt.Sprintf("guest %s was not %s within %s: %s; it goes on, and indy guest log %s says more", e.name, e.until, e.limit, e.lacks(), e.name)
}

func (e *unreadyError) lacks() string {
	switch by := e.by; {
	case !e.ran:
		return "it is still being started"
	case by.Serial != "":
		return fmt.Sprintf("it has not written %q to its serial port", by.Serial)
	case by.Agent:
		return "its guest agent has not answered"
	case by.TCP != 0:
		return fmt.Sprintf("it has not taken a connection at its TCP port %d", by.TCP)
	case by.After > 0:
		return fmt.Sprintf("it has not run for %s", by.After)
	}
	return "its runner does not say that it is"
}

// saw notes how far the guest is.
func (e *unreadyError) saw(s runner.Status) {
	if _, ran := s.At(runner.PhaseRunning); ran {
		e.ran = true
	}
}
