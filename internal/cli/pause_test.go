package cli

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/uevent"
)

// told is what the kernel says, in this order, and then nothing.
type told struct{ events chan any }

func (e *told) Read(ctx context.Context) (uevent.Event, error) {
	select {
	case said := <-e.events:
		if err, failed := said.(error); failed {
			return uevent.Event{}, err
		}
		return said.(uevent.Event), nil
	case <-ctx.Done():
		return uevent.Event{}, ctx.Err()
	}
}

func (*told) Close() error { return nil }

func TestPauser(t *testing.T) {
	e := &told{make(chan any, 8)}
	pause := pauser(e)
	timed := func(d time.Duration) time.Duration {
		began := time.Now()
		pause(t.Context(), d)
		return time.Since(began)
	}
	e.events <- uevent.ErrMalformed
	e.events <- uevent.Event{Action: uevent.Bind, Subsystem: "pci"}
	e.events <- uevent.Event{Action: uevent.Add, Subsystem: "vfio"}
	if took := timed(time.Minute); took > 10*time.Second {
		t.Errorf("VFIO's event ended it after %s", took)
	}
	e.events <- uevent.ErrOverflow
	if took := timed(time.Minute); took > 10*time.Second {
		t.Errorf("an overflow ended it after %s", took)
	}
	for _, said := range []any{uevent.Event{Subsystem: "usb"}, errors.New("the socket is broken")} {
		e.events <- said
		if took := timed(20 * time.Millisecond); took < 20*time.Millisecond {
			t.Errorf("%v ended it after %s", said, took)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	pause(ctx, time.Minute) // returns
}

// TestListensLate holds that nothing listens before something is waited for, and that what
// was missed until then is not waited for: who waits looks once more at once.
func TestListensLate(t *testing.T) {
	listening, closed := 0, 0
	e := &Env{Listen: func() (Events, error) {
		listening++
		return &closing{told{make(chan any)}, &closed}, nil
	}}
	_, stop := e.assigning()
	if stop(); listening != 0 || closed != 0 {
		t.Errorf("without waiting: listened %d times, closed %d", listening, closed)
	}
	h, stop := e.assigning()
	began := time.Now()
	if h.Pause(t.Context(), time.Minute); listening != 1 || time.Since(began) > 10*time.Second {
		t.Errorf("the first pause took %s and listened %d times", time.Since(began), listening)
	}
	began = time.Now()
	if h.Pause(t.Context(), 20*time.Millisecond); listening != 1 || time.Since(began) < 20*time.Millisecond {
		t.Errorf("the second pause took %s; listened %d times", time.Since(began), listening)
	}
	if stop(); closed != 1 {
		t.Errorf("closed %d times", closed)
	}

	e.Listen = func() (Events, error) { return nil, errors.New("no netlink") }
	h, stop = e.assigning()
	defer stop()
	if h.Pause(t.Context(), time.Minute); h.Pause != nil {
		t.Error("it would try to listen again and again")
	}
}

type closing struct {
	told
	times *int
}

func (c *closing) Close() error { *c.times++; return nil }

func TestFault22NodeFault(t *testing.T) {
	id := pci.NewGroupID(12)
	denied := &fs.PathError{Op: "open", Path: "/dev/vfio/12", Err: fs.ErrPermission}
	for _, test := range []struct {
		name string
		mode fs.FileMode
		err  error
		want string
	}{
		{"nothing wrong", fs.ModeDevice | fs.ModeCharDevice | 0o600, nil, ""},
		{"somebody else's", fs.ModeDevice | fs.ModeCharDevice | 0o600, denied, "must be its owner"},
		{"a file", 0o644, errors.New("inappropriate ioctl"), "is -rw-r--r--, and not the node"},
		{"busy", fs.ModeDevice | fs.ModeCharDevice | 0o600, errors.New("busy"), "busy"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := nodeFault(fstest.MapFS{"dev/vfio/12": {Mode: test.mode}}, id, test.err)
			if test.err == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if !errors.Is(err, test.err) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v", err)
			}
		})
	}
	if err := nodeFault(fstest.MapFS{}, id, denied); !errors.Is(err, denied) {
		t.Error(err)
	}
}
