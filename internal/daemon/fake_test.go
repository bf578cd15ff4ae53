package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/project-independence/indy/guest/store"
	"github.com/project-independence/indy/internal/runner"
)

// fakeRunners are runners without processes. They outlive daemons, as runners do.
type fakeRunners struct {
	dir string

	mu      sync.Mutex
	guests  map[string]*runner.Status
	said    []string                 // what was asked of which, in order
	keys    []string                 // that guests were started with
	fails   map[string]string        // guests that fail, and why
	delays  map[string]time.Duration // until a guest is ready; below 0 is never
	stops   map[string]time.Duration // how long a guest takes to stop
	started map[string]time.Time
	deaf    map[string]bool // guests whose QEMU does not answer
	stays   map[string]bool // guests that do not do as their power button says
	lost    map[string]bool // guests with a device that does not answer
	stopped map[string]int  // how often its processors were stopped, and let go
	went    map[string]int
	obeys   bool        // guests end when their power button is pressed
	tells   chan string // what those who follow a guest are told
}

func newFakeRunners(t testing.TB) *fakeRunners {
	return &fakeRunners{
		dir: t.TempDir(), guests: map[string]*runner.Status{}, fails: map[string]string{}, delays: map[string]time.Duration{},
		stops: map[string]time.Duration{}, started: map[string]time.Time{},
		deaf: map[string]bool{}, stays: map[string]bool{}, lost: map[string]bool{}, stopped: map[string]int{}, went: map[string]int{},
	}
}

func (f *fakeRunners) note(format string, args ...any) {
	f.said = append(f.said, fmt.Sprintf(format, args...))
}

func (f *fakeRunners) asked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.said)
}

func (f *fakeRunners) Start(name string, key []byte) (Starts, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note("start %s", name)
	f.keys = append(f.keys, string(key))
	if s := f.guests[name]; s != nil && !s.Over() {
		return nil, runner.ErrRuns
	}
	now := sinceBoot()
	s := &runner.Status{Name: name, State: runner.Running, PID: 4242, Devices: []string{}, Phases: []runner.Phase{{Name: runner.PhaseRunner, At: now}, {Name: runner.PhaseRunning, At: now}}}
	if why := f.fails[name]; why != "" {
		s.State, s.Failure = runner.Failed, &runner.Failure{Message: why, Exit: 1}
	}
	f.guests[name], f.started[name] = s, time.Now()
	return fakeStart{*s}, nil
}

type fakeStart struct{ s runner.Status }

func (s fakeStart) Next() (runner.Status, error) { return s.s, nil }

func (s fakeStart) Close() error { return nil }

func (f *fakeRunners) Runner(name string) (Runner, error) { return fakeRunner{f, name}, nil }

func (f *fakeRunners) Names() ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.guests)), nil
}

type fakeRunner struct {
	f    *fakeRunners
	name string
}

func (r fakeRunner) Status(context.Context) (runner.Status, error) {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	s := r.f.guests[r.name]
	if s == nil {
		return runner.Status{Name: r.name, State: runner.Stopped}, nil
	}
	d := r.f.delays[r.name]
	s.Ready = s.State == runner.Running && d >= 0 && time.Since(r.f.started[r.name]) >= d
	return *s, nil
}

func (r fakeRunner) become(word string, state runner.State) (runner.Status, error) {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	r.f.note("%s %s", word, r.name)
	s := r.f.guests[r.name]
	if s == nil {
		return runner.Status{}, errors.New("no runner")
	}
	s.State = state
	return *s, nil
}

func (r fakeRunner) Stop(ctx context.Context, how runner.StopRequest) (runner.Status, error) {
	r.f.mu.Lock()
	takes := r.f.stops[r.name]
	r.f.note("stopping %s", r.name)
	r.f.mu.Unlock()
	if within := time.Duration(how.Timeout * float64(time.Second)); !how.Force {
		select {
		case <-time.After(min(takes, within)):
		case <-ctx.Done():
			return runner.Status{}, ctx.Err()
		}
	}
	word := "stopped"
	if how.Force {
		word = "killed"
	}
	return r.become(word, runner.Stopped)
}

func (r fakeRunner) Suspend(context.Context) (runner.Status, error) {
	return r.become("suspend", runner.Suspended)
}

func (r fakeRunner) Resume(context.Context) (runner.Status, error) {
	return r.become("resume", runner.Running)
}

func (r fakeRunner) Hold(ctx context.Context, how runner.SuspendRequest) (runner.Status, error) {
	return r.f.hold(ctx, r.name, how)
}

func (r fakeRunner) LetGo(_ context.Context, reason runner.Reason) (runner.Status, error) {
	return r.f.letGo(r.name, reason)
}

func (r fakeRunner) Powerdown(context.Context) (runner.Status, error) {
	r.f.mu.Lock()
	stays := r.f.stays[r.name]
	r.f.mu.Unlock()
	if s, err := r.become("powerdown", runner.Running); stays || !r.f.obeys {
		return s, err
	}
	return r.become("off", runner.Stopped)
}

func (r fakeRunner) Top(context.Context) (runner.Top, error) {
	return runner.Top{Name: r.name, CPUs: 2, CPUSeconds: 1.5, Memory: 1 << 30, Resident: 3 << 20, Networks: []runner.NetworkUse{}, Disks: []runner.DiskUse{{File: "system.qcow2", ReadBytes: 512}}}, nil
}

func (r fakeRunner) Screenshot(_ context.Context, w io.Writer) error {
	_, err := w.Write([]byte("\x89PNG"))
	return err
}

// Attach is a serial port that says its name, and then what is typed, until it is told bye.
func (r fakeRunner) Attach(context.Context) (io.ReadWriteCloser, error) {
	near, far := net.Pipe()
	go func() {
		defer far.Close()
		_, _ = io.WriteString(far, "this is "+r.name+"\n")
		buf := make([]byte, 64)
		for {
			n, err := far.Read(buf)
			if err != nil || strings.Contains(string(buf[:n]), "bye") {
				return
			}
			if _, err := far.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	return near, nil
}

// FollowLog goes on with what is said to the guest's listeners.
func (r fakeRunner) FollowLog(ctx context.Context) (io.ReadCloser, error) {
	return r.follow(ctx, "log")
}

// FollowEvents does so, too.
func (r fakeRunner) FollowEvents(ctx context.Context) (io.ReadCloser, error) {
	return r.follow(ctx, "events")
}

// follow is the file, and what is sent to tells, until that is closed.
func (r fakeRunner) follow(ctx context.Context, kind string) (io.ReadCloser, error) {
	near, far := io.Pipe()
	go func() {
		text, _ := os.ReadFile(r.file(kind))
		_, err := far.Write(text)
		for err == nil {
			select {
			case one, ok := <-r.f.tells:
				if !ok {
					far.Close()
					return
				}
				_, err = io.WriteString(far, one)
			case <-ctx.Done():
				far.CloseWithError(ctx.Err())
				return
			}
		}
	}()
	return near, nil
}

func (r fakeRunner) Forget() error {
	r.f.mu.Lock()
	defer r.f.mu.Unlock()
	r.f.note("forget %s", r.name)
	delete(r.f.guests, r.name)
	return nil
}

func (r fakeRunner) file(kind string) string { return filepath.Join(r.f.dir, r.name+"."+kind) }

func (r fakeRunner) OpenLog() (*os.File, error)     { return os.Open(r.file("log")) }
func (r fakeRunner) OpenEvents() (*os.File, error)  { return os.Open(r.file("events")) }
func (r fakeRunner) OpenConsole() (*os.File, error) { return os.Open(r.file("console")) }

// fakeHost answers with documents that say which they are.
type fakeHost struct{}

func (fakeHost) Devices(context.Context) (json.RawMessage, error) {
	return json.RawMessage(`{"devices":[]}`), nil
}

func (fakeHost) Leases(context.Context) (json.RawMessage, error) {
	return json.RawMessage(`{"leases":[]}`), nil
}

func (fakeHost) Recover(context.Context) (json.RawMessage, error) {
	return json.RawMessage(`{"recovered":[]}`), errors.New("something is left")
}

// fixture is a daemon with guests free and secret, which is locked. Both run.
type fixture struct {
	*Daemon
	*Stored
	runners *fakeRunners
}

func newFixture(t testing.TB, definitions ...string) fixture {
	t.Helper()
	s := store.Store{Dir: filepath.Join(t.TempDir(), "guests"), Admin: true}
	if definitions == nil {
		definitions = []string{"name: free\nmemory: 1GiB\n", "name: secret\nmemory: 1GiB\nlocked: true\n"}
	}
	for _, text := range definitions {
		if _, err := s.Create(context.Background(), []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	s.Admin = false
	f := fixture{runners: newFakeRunners(t), Stored: &Stored{Store: s}}
	f.Daemon = New(Config{
		Version: "test", Definitions: f.Stored, Runners: f.runners, Host: fakeHost{}, State: filepath.Join(t.TempDir(), "starts.json"), BootID: "one",
		Groups: Groups{ids: [Admin + 1]uint32{0, 991, 992, 993}, has: [Admin + 1]bool{false, true, true, true}}, Started: sinceBoot(), Ready: time.Second, Stop: time.Second,
	})
	return f
}

// run has guests run, with something in their files.
func (f fixture) run(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := f.runners.Start(name, nil); err != nil {
			t.Fatal(err)
		}
		r := fakeRunner{f.runners, name}
		for _, file := range []string{r.file("log"), r.file("events"), r.file("console")} {
			if err := os.WriteFile(file, []byte("{}\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	f.runners.mu.Lock()
	f.runners.said = nil
	f.runners.mu.Unlock()
}
