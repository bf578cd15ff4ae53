package cli

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/pci"
)

func TestWatchdog(t *testing.T) {
	const within = 30 * time.Second
	due := &assign.Lease{State: assign.Assigned, Confirm: &assign.Deadline{Clock: within}}
	fails := errors.New("a driver is stuck")
	for _, test := range []struct {
		name   string
		leases map[time.Duration]any // from a moment on, a lease or an error
		undo   []error               // what undoing says, until it succeeds
		undone int                   // how often it was tried
		first  time.Duration         // when, at the earliest
		ended  time.Duration         // when, at the latest
		err    error
	}{
		{name: "not confirmed", leases: map[time.Duration]any{0: due}, undone: 1, first: within, ended: within + 2*time.Second},
		{name: "confirmed", leases: map[time.Duration]any{0: due, 10 * time.Second: &assign.Lease{State: assign.Assigned}}, ended: 12 * time.Second},
		{name: "released", leases: map[time.Duration]any{0: due, 10 * time.Second: assign.ErrNotHeld}, ended: 12 * time.Second},
		{
			name: "being planned, and assigned late", undone: 1, first: within, ended: within + 2*time.Second,
			leases: map[time.Duration]any{0: &assign.Lease{State: assign.Planning}, 8 * time.Second: due},
		},
		{name: "never assigned", leases: map[time.Duration]any{0: &assign.Lease{State: assign.Planning}, 2 * time.Second: assign.ErrNotHeld}, ended: 4 * time.Second},
		{
			name: "not named so before its plan", undone: 1, first: within, ended: within + 2*time.Second,
			leases: map[time.Duration]any{0: assign.ErrNotHeld, 3 * time.Second: due},
		},
		{name: "never taken", leases: map[time.Duration]any{0: assign.ErrNotHeld}, ended: watchdogFirst + 2*time.Second},
		{name: "stuck for a while", leases: map[time.Duration]any{0: due}, undo: []error{fails, fails, fails}, undone: 4, first: within, ended: within + 6*time.Second},
		{
			name: "cannot be read for a while", undone: 1, first: within, ended: within + 2*time.Second,
			leases: map[time.Duration]any{0: due, 3 * time.Second: fails, 9 * time.Second: due},
		},
		{name: "planned for ever", leases: map[time.Duration]any{0: &assign.Lease{State: assign.Planning}}, ended: watchdogLimit + 2*time.Second},
		{name: "never read", leases: map[time.Duration]any{0: fails}, ended: watchdogLimit + 2*time.Second, err: fails},
	} {
		t.Run(test.name, func(t *testing.T) {
			var now, first time.Duration
			undone, given := 0, false
			err := watchdog{
				lease: func() (*assign.Lease, error) {
					var at time.Duration = -1
					var is any
					for from, what := range test.leases {
						if from <= now && from > at {
							at, is = from, what
						}
					}
					if given {
						is = assign.ErrNotHeld
					}
					if err, failed := is.(error); failed {
						return nil, err
					}
					return is.(*assign.Lease), nil
				},
				undo: func() error {
					if undone == 0 {
						first = now
					}
					undone++
					if undone <= len(test.undo) {
						return test.undo[undone-1]
					}
					given = true
					return nil
				},
				now:   func() time.Duration { return now },
				sleep: func(d time.Duration) { now += max(d, time.Millisecond) },
			}.run()
			if !errors.Is(err, test.err) || undone != test.undone || now > test.ended {
				t.Errorf("it ended at %s, undone %d times: %v", now, undone, err)
			}
			if undone > 0 && (first < test.first || first > test.first+2*time.Second) {
				t.Errorf("undone at %s", first)
			}
		})
	}
	if a, b := bootTime(), bootTime(); a <= 0 || b < a {
		t.Errorf("the clock says %s, then %s", a, b)
	}
}

func TestConfirming(t *testing.T) {
	p := &assign.Plan{Devices: []pci.Address{{}}}
	var started [][]string
	env := &Env{Stdout: io.Discard, Stderr: io.Discard, Detach: func(args ...string) error {
		started = append(started, args)
		return nil
	}}
	none := confirming{}
	if err := none.guard(env, p); err != nil || started != nil {
		t.Errorf("nothing to confirm: %v, %q", err, started)
	}
	c := confirming{within: time.Minute}
	for range 2 { // a plan may be asked for again
		if err := c.guard(env, p); err != nil {
			t.Error(err)
		}
	}
	if len(started) != 1 || started[0][0] != watchdogCommand {
		t.Errorf("started %q", started)
	}
	alone := confirming{within: time.Minute}
	if err := alone.guard(&Env{}, p); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("nobody watches: %v", err)
	}
	fails := errors.New("no more processes")
	env.Detach = func(...string) error { return fails }
	if err := alone.guard(env, p); !errors.Is(err, fails) {
		t.Errorf("nobody watches: %v", err)
	}
	for _, within := range []string{"0s", "4.9s", "-1m", "61m", "soon"} {
		if code := Main([]string{"assign", "--confirm-within", within, "0000:00:14.0"}, env); code != exitUsage {
			t.Errorf("%s: exit status %d", within, code)
		}
	}
}
