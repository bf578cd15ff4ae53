package cli

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/internal/runner"
)

// TestUnready: who waits is told what for, and is never left to wait for good.
func TestUnready(t *testing.T) {
	ran := runner.Status{Phases: []runner.Phase{{Name: runner.PhaseRunning}}}
	for _, test := range []struct {
		w     waiting
		by    guest.Ready
		s     runner.Status
		limit time.Duration
		want  string
	}{
		{waiting{"ready", time.Nanosecond}, guest.Ready{Serial: "login:"}, ran, time.Nanosecond, `guest work was not ready within 1ns: it has not written "login:" to its serial port; it goes on, and indy guest log work says more`},
		{waiting{"ready", time.Nanosecond}, guest.Ready{Agent: true}, ran, time.Nanosecond, "guest work was not ready within 1ns: its guest agent has not answered; it goes on, and indy guest log work says more"},
		{waiting{"ready", time.Nanosecond}, guest.Ready{TCP: 22}, ran, time.Nanosecond, "guest work was not ready within 1ns: it has not taken a connection at its TCP port 22; it goes on, and indy guest log work says more"},
		{waiting{"ready", time.Nanosecond}, guest.Ready{After: time.Minute}, ran, time.Nanosecond, "guest work was not ready within 1ns: it has not run for 1m0s; it goes on, and indy guest log work says more"},
		{waiting{"running", time.Nanosecond}, guest.Ready{Agent: true}, runner.Status{}, time.Nanosecond, "guest work was not running within 1ns: it is still being started; it goes on, and indy guest log work says more"},
		{waiting{until: "ready"}, guest.Ready{Agent: true}, ran, readyLimit, "guest work was not ready within 10m0s: its guest agent has not answered; it goes on, and indy guest log work says more"},
		{waiting{until: "ready"}, guest.Ready{After: time.Hour}, ran, readyLimit + time.Hour, "guest work was not ready within 1h10m0s: it has not run for 1h0m0s; it goes on, and indy guest log work says more"},
	} {
		ctx, late, cancel := test.w.within(t.Context(), "work", test.by)
		end, bounded := ctx.Deadline()
		if left := time.Until(end); !bounded || left > test.limit || left < test.limit-time.Minute {
			t.Errorf("%+v: %v, %t", test.w, left, bounded)
		}
		late.saw(test.s)
		if test.limit < time.Second {
			<-ctx.Done()
			if err := context.Cause(ctx); !errors.Is(err, late) || exitCode(err) != exitPartial {
				t.Errorf("%+v: %v, exit %d", test.w, err, exitCode(err))
			}
		}
		if late.Error() != test.want {
			t.Errorf("%+v: %v", test.w, late)
		}
		cancel()
	}
}
