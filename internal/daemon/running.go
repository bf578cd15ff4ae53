package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/project-independence/indy/internal/runner"
)

type statusOut struct{ Body runner.Status }

type topOut struct{ Body runner.Top }

type startIn struct {
	One
	Body *struct {
		Key []byte `json:"key,omitempty" doc:"The passphrase of the guest's disks, of a guest that asks for one, in base64; it is kept nowhere"`
	}
}

type stopIn struct {
	One
	Body *struct {
		Timeout float64 `json:"timeout,omitempty" minimum:"0" maximum:"86400" doc:"Seconds that it may take to shut itself down; without it or 0, as long as usual"`
	}
}

type suspendIn struct {
	One
	Body *struct {
		Sleep   bool    `json:"sleep,omitempty" doc:"Press its power button, on which its system puts itself to sleep (ACPI S3)"`
		Timeout float64 `json:"timeout,omitempty" minimum:"0" maximum:"600" doc:"Seconds that it may take to fall asleep before it stands still all the same; without it or 0, thirty"`
	}
}

// bytesOut is an answer that is no JSON document.
type bytesOut struct {
	ContentType string `header:"Content-Type"`
	Body        []byte
}

// startLimit is how long is waited for a guest that starts to run. Its start goes on after
// that.
const startLimit = 5 * time.Minute

func (d *Daemon) runnerVerbs() {
	get := func(word string, more ...int) huma.Operation {
		return huma.Operation{Method: http.MethodGet, Path: "/v1/guests/{name}/" + word, Errors: append([]int{404}, more...)}
	}
	post := func(word string) huma.Operation {
		return huma.Operation{Method: http.MethodPost, Path: "/v1/guests/{name}/" + word, Errors: []int{404, 409, 504}}
	}
	answer(d, post("start"), GuestsStart, named[startIn](d), d.start)
	answer(d, post("stop"), GuestsStop, named[stopIn](d), d.stop)
	answer(d, post("kill"), GuestsKill, running[One](d), func(ctx context.Context, in *One) (*statusOut, error) {
		return d.ending(ctx, in.Name, askLimit, func(ctx context.Context, r Runner) (runner.Status, error) {
			return r.Stop(ctx, runner.StopRequest{Force: true})
		})
	})
	answer(d, post("powerdown"), GuestsPowerdown, running[One](d), d.short(Runner.Powerdown))
	answer(d, post("suspend"), GuestsSuspend, running[suspendIn](d), d.suspend)
	answer(d, post("resume"), GuestsResume, running[One](d), d.short(Runner.Resume))
	answer(d, get("status"), GuestsStatus, running[One](d), func(ctx context.Context, in *One) (*statusOut, error) {
		return &statusOut{d.statusOf(ctx, in.Name)}, nil
	})
	answer(d, get("top"), GuestsTop, running[One](d), d.top)
	answer(d, bytesOf(get("log", 409, 503), "text/plain"), GuestsLog, running[tapeIn](d), d.tapeOf(tape{GuestsLog, Runner.OpenLog, Runner.FollowLog, "text/plain; charset=utf-8"}))
	answer(d, bytesOf(get("events", 409, 503), "application/x-ndjson"), GuestsEvents, running[tapeIn](d), d.tapeOf(tape{GuestsEvents, Runner.OpenEvents, Runner.FollowEvents, "application/x-ndjson"}))
	answer(d, bytesOf(get("console"), "application/octet-stream"), GuestsConsole, running[consoleIn](d), d.console)
	answer(d, bytesOf(get("screenshot"), "image/png"), GuestsScreenshot, running[One](d), d.screenshot)
}

// bytesOf says in the document that an answer is of that type.
func bytesOf(op huma.Operation, kind string) huma.Operation {
	op.Responses = map[string]*huma.Response{"200": {Description: "OK", Content: map[string]*huma.MediaType{kind: {
		Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"},
	}}}}
	return op
}

// running is named for what can be asked of a guest that has lost its definition while it
// runs. Such a guest counts as locked.
func running[In any, P interface {
	*In
	guest() string
}](d *Daemon) func(context.Context, *In) (bool, error) {
	return func(ctx context.Context, in *In) (bool, error) {
		locked, err := isLocked(d)(ctx, P(in).guest())
		if errors.Is(err, fs.ErrNotExist) && d.exists(P(in).guest()) == nil {
			return true, nil
		}
		return locked, err
	}
}

// runs returns what speaks with the runner of a guest, if it has one.
func (d *Daemon) runs(ctx context.Context, name string) (Runner, error) {
	s, err := d.status(ctx, name)
	if err != nil {
		return nil, err
	}
	if s.Over() {
		return nil, &guestError{name, ErrNoRunner}
	}
	return d.Runners.Runner(name)
}

// A guestError is an error of one guest.
type guestError struct {
	name string
	err  error
}

func (e *guestError) Error() string { return "guest " + e.name + ": " + e.err.Error() }

func (e *guestError) Unwrap() error { return e.err }

// doing has a runner do something.
func (d *Daemon) doing(ctx context.Context, name string, limit time.Duration, do func(context.Context, Runner) (runner.Status, error)) (*statusOut, error) {
	r, err := d.runs(ctx, name)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	s, err := do(ctx, r)
	if err != nil {
		return nil, answered(err)
	}
	return &statusOut{s}, nil
}

// ending is doing for what ends a guest. Of one that has failed what is kept is forgotten.
func (d *Daemon) ending(ctx context.Context, name string, limit time.Duration, do func(context.Context, Runner) (runner.Status, error)) (*statusOut, error) {
	if s, err := d.status(ctx, name); err != nil || s.State != runner.Failed {
		return d.doing(ctx, name, limit, do)
	}
	r, err := d.Runners.Runner(name)
	if err == nil {
		err = r.Forget()
	}
	if err != nil {
		return nil, err
	}
	return &statusOut{d.statusOf(ctx, name)}, nil
}

func (d *Daemon) short(do func(Runner, context.Context) (runner.Status, error)) func(context.Context, *One) (*statusOut, error) {
	return func(ctx context.Context, in *One) (*statusOut, error) {
		return d.doing(ctx, in.Name, askLimit, func(ctx context.Context, r Runner) (runner.Status, error) { return do(r, ctx) })
	}
}

// answered gives the error of a runner the code that the runner gave it.
func answered(err error) error {
	var a *runner.AnswerError
	if errors.As(err, &a) && a.Code >= 400 && a.Code < 600 && a.Code != http.StatusForbidden {
		return huma.NewError(a.Code, err.Error())
	}
	return err
}

func (d *Daemon) start(ctx context.Context, in *startIn) (*statusOut, error) {
	var key []byte
	if in.Body != nil {
		key = in.Body.Key
		defer clear(key)
	}
	if _, err := d.Definitions.Read(in.Name); err != nil {
		return nil, err
	}
	d.Logger.Info("starts a guest", "guest", in.Name, "uid", callerOf(ctx).Peer.UID)
	s, err := d.launch(ctx, in.Name, key, func() {})
	if err != nil {
		return nil, err
	}
	if s.State == runner.Failed {
		return nil, huma.Error409Conflict("guest " + in.Name + " failed: " + failure(s))
	}
	return &statusOut{s}, nil
}

// launch starts a guest's runner, calls launched when that is there, and returns what became
// of the guest.
func (d *Daemon) launch(ctx context.Context, name string, key []byte, launched func()) (runner.Status, error) {
	l, err := d.Runners.Start(name, key)
	clear(key)
	defer d.lookAtPower() // which may be another one with this guest
	launched()
	if err != nil {
		return runner.Status{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("guest %s does not run %s after its runner was started", name, startLimit))
	defer cancel()
	return runs(ctx, l)
}

// failure is why a guest failed.
func failure(s runner.Status) string {
	switch {
	case s.Failure != nil:
		return s.Failure.Message
	case s.Detail != "":
		return s.Detail
	}
	return "it is not known why"
}

func (d *Daemon) stop(ctx context.Context, in *stopIn) (*statusOut, error) {
	var within time.Duration
	if in.Body != nil {
		within = time.Duration(in.Body.Timeout * float64(time.Second))
	}
	if within <= 0 {
		within = d.Stop
	}
	d.Logger.Info("stops a guest", "guest", in.Name, "uid", callerOf(ctx).Peer.UID)
	return d.ending(ctx, in.Name, within+stopSlack, func(ctx context.Context, r Runner) (runner.Status, error) {
		return r.Stop(ctx, runner.StopRequest{Timeout: within.Seconds()})
	})
}

func (d *Daemon) suspend(ctx context.Context, in *suspendIn) (*statusOut, error) {
	if in.Body == nil || !in.Body.Sleep {
		return d.short(Runner.Suspend)(ctx, &in.One)
	}
	within := time.Duration(in.Body.Timeout * float64(time.Second))
	if within <= 0 {
		within = dozeLimit
	}
	return d.doing(ctx, in.Name, within+askLimit, func(ctx context.Context, r Runner) (runner.Status, error) {
		return r.Hold(ctx, runner.SuspendRequest{Reason: runner.ByHand, Sleep: true, Timeout: within.Seconds()})
	})
}

func (d *Daemon) top(ctx context.Context, in *One) (*topOut, error) {
	r, err := d.runs(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	t, err := r.Top(ctx)
	if err != nil {
		return nil, answered(err)
	}
	return &topOut{t}, nil
}

// kept answers with what a runner keeps in a file, which is there after it has failed, too.
func (d *Daemon) kept(open func(Runner) (*os.File, error), kind string) func(context.Context, *One) (*bytesOut, error) {
	return func(_ context.Context, in *One) (*bytesOut, error) {
		r, err := d.Runners.Runner(in.Name)
		if err != nil {
			return nil, err
		}
		f, err := open(r)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &guestError{in.Name, ErrNoRunner}
		}
		if err != nil {
			return nil, err
		}
		defer f.Close()
		text, err := io.ReadAll(io.LimitReader(f, maxKept))
		if err != nil {
			return nil, err
		}
		return &bytesOut{kind, text}, nil
	}
}

// maxPicture is how large a picture may be: 4096 x 2160 that cannot be compressed.
const maxPicture = 40 << 20

func (d *Daemon) screenshot(ctx context.Context, in *One) (*bytesOut, error) {
	r, err := d.runs(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	var b bytes.Buffer
	if err := r.Screenshot(ctx, &limited{&b, maxPicture}); err != nil {
		return nil, answered(err)
	}
	return &bytesOut{"image/png", b.Bytes()}, nil
}

// limited is a buffer with an end.
type limited struct {
	b    *bytes.Buffer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left -= len(p); l.left < 0 {
		return 0, errors.New("the picture is too large")
	}
	return l.b.Write(p)
}
