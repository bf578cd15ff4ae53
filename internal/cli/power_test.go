package cli

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/daemon"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/internal/power"
	"github.com/project-independence/indy/uevent"
)

// scripted are events that come one after the other, and then an error.
type scripted struct {
	events []uevent.Event
	errs   []error
}

func (s *scripted) Read(ctx context.Context) (e uevent.Event, err error) {
	if len(s.errs) == 0 {
		<-ctx.Done()
		return e, ctx.Err()
	}
	e, err = s.events[0], s.errs[0]
	s.events, s.errs = s.events[1:], s.errs[1:]
	return e, err
}

func (s *scripted) Close() error { return nil }

func TestPowerEvents(t *testing.T) {
	supply, disk := uevent.Event{Subsystem: "power_supply"}, uevent.Event{Subsystem: "block"}
	broken := errors.New("broken")
	e := &Env{Listen: func() (Events, error) {
		return &scripted{[]uevent.Event{supply, disk, {}, {}, supply, {}}, []error{nil, nil, uevent.ErrOverflow, uevent.ErrMalformed, nil, broken}}, nil
	}}
	n := 0
	if err := e.powerEvents(t.Context(), func() { n++ }); !errors.Is(err, broken) || n != 4 {
		t.Errorf("%v after %d", err, n)
	}
	e.Listen = func() (Events, error) { return &scripted{}, nil }
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.powerEvents(ctx, func() {}); err != nil {
		t.Error(err)
	}
}

// Reading an input device ends when it is closed: the daemon ends, whether the lid moves or not.
func TestOpenInput(t *testing.T) {
	if os.Geteuid() != 0 {
		hosttest.Missing(t, "terminals are opened by root")
	}
	f, err := openInput(hostfs.Live(), "dev/ptmx") // waits to be read, as an input device does
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- power.Lid(f, func(bool) { t.Error("the lid moves") }) }()
	time.Sleep(50 * time.Millisecond)
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	select {
	case err := <-ended:
		if err == nil {
			t.Error("no error")
		}
	case <-time.After(5 * time.Second):
		t.Error("it reads on")
	}
	if _, err := openInput(hostfs.Live(), "dev/nonexistent"); err == nil {
		t.Error("what is not there is opened")
	}
}

func TestWritePower(t *testing.T) {
	write := func(r daemon.PowerReport) string {
		var b strings.Builder
		writePower(&Env{Stdout: &b}, r)
		return b.String()
	}
	got := write(daemon.PowerReport{Wait: 5, LidClosed: true, Battery: power.Battery{Known: true, Percent: 7, Discharging: true}, Steps: []daemon.PowerStep{
		{At: 61.5, Guest: "work", Do: power.Pause, Reason: "host-sleep", Took: 0.25, Error: "QEMU does not answer"}}})
	want := `logind   waits 5 s for guests before the host sleeps
lid      closed
battery  7 percent, on which the host runs
AFTER     TOOK     GUEST  DONE   BECAUSE
61.500 s  0.250 s  work   pause  host-sleep  QEMU does not answer
`
	if got != want {
		t.Errorf("%s\nwant %s", got, want)
	}
	if got := write(daemon.PowerReport{Logind: "no bus"}); !strings.Contains(got, "guests are not made ready before the host sleeps: no bus") || !strings.Contains(got, "none, or it is not known") {
		t.Errorf("%s", got)
	}
}
