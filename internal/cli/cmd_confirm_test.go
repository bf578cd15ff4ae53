package cli

import (
	"errors"
	"testing"
	"time"

	"github.com/project-independence/indy/assign"
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
