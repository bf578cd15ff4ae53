package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/guest/qemu"
	"github.com/project-independence/indy/guest/qmp"
)

// How much is kept of a guest, in bytes.
const (
	maxConsole = 256 << 10
	maxLog     = 128 << 10
	maxEvents  = 128 << 10
)

// A Config is how a guest is run.
type Config struct {
	Dir  Dir   // which the caller has locked
	Host fs.FS // the running host, of which files in proc and sys/fs/cgroup are read

	// Prepare makes ready what the guest needs and says how it is run. The context ends when
	// the guest is to be stopped. It says to told what a person may want to know, and to
	// passed when the guest's needs are resolved and when its devices are assigned.
	Prepare func(ctx context.Context, told *slog.Logger, passed func(PhaseName)) (Prepared, error)

	// Explain says of an error why the guest failed.
	Explain func(error) Failure

	// Gone is called when the directory is to go and has nothing in it any more, by a runner that
	// may not take it away itself; nil is for one that may.
	Gone func()

	// Announce gets each status as a JSON document a line, until the guest runs and is ready,
	// or has ended; then it is closed. Nil is nobody.
	Announce io.WriteCloser
}

// Prepared is a guest that can be started.
type Prepared struct {
	Guest   guest.Guest
	Options qemu.Options // of which Serial, SerialInput, Reach, Passed and Logger are the runner's
	Ready   guest.Ready  // how it is known that the guest is ready
	Devices []string     // ids of what of the host is assigned

	// Started is called once when the guest runs, beside what else goes on; nil is nothing.
	Started func()

	// Check returns an error that names the devices that do not work any more, as after the
	// host has slept; nil when there are none. Reopen opens a USB device of the guest anew,
	// by its place among those, when it is still the same.
	// Forgets says of each that does not keep what it was told while the host sleeps why.
	Check   func() error
	Reopen  func(i int) (*os.File, error)
	Forgets func() []string

	// Release gives the devices back; nil when there are none. QEMU has ended before.
	Release func() error
}

// errStopped is the cause of a start that ends because somebody stops the guest.
var errStopped = errors.New("it was stopped")

// A runner is a guest's run.
type runner struct {
	Config
	console, log, events *tape
	logger               *slog.Logger
	input                *io.PipeWriter // to the guest's serial port
	inputs               *io.PipeReader
	ready                *readiness
	server               *server
	cancel               context.CancelCauseFunc // of the start
	over                 chan struct{}           // closed when there is nothing left but to say so
	running              chan struct{}           // closed when the guest runs

	mu       sync.Mutex
	status   Status
	vm       *qemu.VM
	guest    guest.Guest
	taps     []string // what the host calls its ends of the guest's taps, in order
	pulse    *pulse
	asked    bool // somebody stops the guest
	told     bool // the status does not change any more
	announce io.WriteCloser
	dirty    chan struct{}
	saving   sync.WaitGroup

	devices Prepared  // of which Check, Reopen and Forgets are asked
	pressed time.Time // when the power button was pressed to have the guest sleep

	holding   sync.Mutex   // one who has it stand still, or go on, at a time
	unplugged map[int]bool // USB devices that the guest has lost meanwhile; under holding

	picturing sync.Mutex // one picture at a time
}

// Run runs a guest until it has ended and its devices are given back. The error says why it
// failed, and is in the state file as well. When ctx ends the guest is stopped, as by its
// power button first.
func Run(ctx context.Context, c Config) error {
	r, err := newRunner(c)
	if err != nil {
		return err
	}
	start, cancel := context.WithCancelCause(ctx)
	r.cancel = cancel
	defer cancel(nil)
	r.pass(PhaseRunner)
	if r.server, err = r.listen(); err == nil {
		err = r.live(ctx, start)
	}
	return r.end(err)
}

func newRunner(c Config) (*runner, error) {
	if before, err := c.Dir.read(); err == nil {
		awaitEnd(c.Host, before)
	}
	if err := c.Dir.clear(); err != nil {
		return nil, err
	}
	r := &runner{
		Config: c, over: make(chan struct{}), running: make(chan struct{}), announce: c.Announce, dirty: make(chan struct{}, 1),
		ready: new(readiness),
	}
	var errs [3]error
	r.console, errs[0] = newTape(c.Dir.file(consoleFile), maxConsole, false)
	r.log, errs[1] = newTape(c.Dir.file(logFile), maxLog, true)
	r.events, errs[2] = newTape(c.Dir.file(eventsFile), maxEvents, true)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	if err := keepCrash(c.Dir.file(logFile)); err != nil {
		return nil, err
	}
	r.logger = slog.New(newLogHandler(r.log))
	r.inputs, r.input = io.Pipe()
	boot, _ := fs.ReadFile(c.Host, "proc/sys/kernel/random/boot_id") // without it it is unknown
	r.status = Status{
		Name: c.Dir.Name, State: Starting, PID: ownPID(c.Host), BootID: oneWord(boot), Devices: []string{}, Phases: []Phase{},
	}
	if err := r.Dir.write(r.status); err != nil {
		return nil, err
	}
	r.saving.Go(r.save)
	return r, nil
}

// ownPID is the number of this process to others, also where it is in a name space of its own.
func ownPID(host fs.FS) int {
	if name, err := fs.ReadLink(host, "proc/self"); err == nil {
		if pid, err := strconv.Atoi(name); err == nil {
			return pid
		}
	}
	return os.Getpid()
}

// keepCrash has the log end with what the Go runtime says if this process crashes: nobody
// reads its standard error.
func keepCrash(log string) error {
	f, err := os.OpenFile(log, os.O_WRONLY|os.O_APPEND|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	return errors.Join(debug.SetCrashOutput(f, debug.CrashOptions{}), f.Close())
}

// newLogHandler quotes what is not printable, as text of others may have it.
func newLogHandler(to io.Writer) slog.Handler {
	return slog.NewTextHandler(to, &slog.HandlerOptions{Level: slog.LevelDebug})
}

// awaitEnd waits for the QEMU of a runner that was killed, which dies with it and has the
// guest's disks for a moment longer.
func awaitEnd(host fs.FS, s Status) {
	for end := time.Now().Add(endLimit); s.QEMU > 0 && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if f, err := readStat(host, s.QEMU); err != nil || f.started != s.QEMUStarted || f.state == "Z" || f.state == "X" {
			return
		}
	}
}

// save keeps the state file as the status is, a little behind it.
func (r *runner) save() {
	for range r.dirty {
		r.mu.Lock()
		s := r.status.clone()
		r.mu.Unlock()
		if err := r.Dir.write(s); err != nil {
			r.logger.Warn("the state cannot be saved", "err", err)
		}
	}
}

// change changes the status and tells it to who waits.
func (r *runner) change(f func(*Status)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.told {
		return
	}
	before := r.status.State
	f(&r.status)
	select {
	case r.dirty <- struct{}{}:
	default: // it will be saved as it is now
	}
	if after := r.status.State; after != before {
		r.event("state", map[string]any{"state": after, "detail": r.status.Detail})
	}
	if !r.status.Over() {
		r.tell()
	}
}

// tell announces the status. The caller holds mu.
func (r *runner) tell() {
	if r.announce == nil {
		return
	}
	text, err := json.Marshal(r.status)
	if err == nil {
		_, err = r.announce.Write(append(text, '\n'))
	}
	if err != nil || r.status.Ready || r.status.Over() { // nobody waits any more, or nothing is left to wait for
		_ = r.announce.Close()
		r.announce = nil
	}
}

// event keeps one event as a line.
func (r *runner) event(name string, data any) {
	text, err := json.Marshal(struct {
		Time time.Time `json:"time"`
		At   float64   `json:"at"` // seconds since the kernel started
		Name string    `json:"name"`
		Data any       `json:"data"`
	}{time.Now(), sinceBoot(), name, data})
	if err == nil {
		_, _ = r.events.Write(append(text, '\n'))
	}
}

// pass notes that the start has come so far. Only the first time counts.
func (r *runner) pass(name PhaseName) {
	at := sinceBoot()
	r.change(func(s *Status) {
		if _, passed := s.At(name); passed {
			return
		}
		s.Phases = append(s.Phases, Phase{name, at})
		s.Ready = s.Ready || name == PhaseReady
		if name == PhaseRunning && s.State == Starting {
			s.State = Running
		}
	})
}

// sinceBoot is the time since the kernel started, asleep or not, CLOCK_BOOTTIME.
func sinceBoot() float64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0 // there is such a clock since Linux 2.6.39
	}
	return time.Duration(t.Nano()).Seconds()
}

// live takes the guest through its life. start ends when it is stopped before it runs.
func (r *runner) live(ctx, start context.Context) (err error) {
	p, err := r.Prepare(start, r.logger, r.pass)
	if p.Release != nil {
		defer func() {
			r.change(func(s *Status) {
				if s.State != Stopping {
					s.State, s.Detail = Stopping, "its devices are given back"
				}
			})
			err = errors.Join(err, p.Release())
		}()
	}
	if err != nil {
		return r.unlessStopped(start, err)
	}
	r.change(func(s *Status) { s.Devices = append(s.Devices, p.Devices...) })
	vm, died, err := r.start(start, p)
	if err != nil {
		return r.unlessStopped(start, err)
	}
	go func() {
		if err := r.ready.watch(p.Ready, vm, func() { r.pass(PhaseReady) }); err != nil {
			r.logger.Warn("whether the guest is ready cannot be told", "err", err)
		}
	}()
	go r.hear(vm)
	go r.pulse.beat(vm.Done(), r.beaten)
	select {
	case <-vm.Done():
	case <-ctx.Done():
		r.stop(false, 0)
		<-vm.Done()
	}
	err = vm.Err()
	r.mu.Lock()
	asked := r.asked
	r.mu.Unlock()
	if err != nil && asked {
		r.logger.Warn("QEMU did not end by itself", "err", err)
		return nil
	}
	if err != nil {
		err = died.explain(r.Host, err)
	}
	return err
}

// unlessStopped returns err, if it is not that the guest was stopped while it started.
func (r *runner) unlessStopped(start context.Context, err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.asked || start.Err() != nil {
		r.logger.Info("stopped before it ran", "err", err)
		return nil
	}
	return err
}

// start starts QEMU.
func (r *runner) start(ctx context.Context, p Prepared) (*qemu.VM, *death, error) {
	o := p.Options
	o.Serial = io.MultiWriter(r.console, r.ready.text(p.Ready.Serial), firstWrite(func() { r.pass(PhaseSerial) }))
	o.SerialInput = r.inputs
	o.Reach = p.Ready.TCP != 0
	o.Logger = r.logger
	o.Passed = func(m qemu.Milestone) {
		switch m {
		case qemu.Launched:
			r.pass(PhaseQEMU)
		case qemu.Connected:
			r.pass(PhaseQMP)
		}
	}
	vm, err := qemu.Start(ctx, p.Guest, o)
	if err != nil {
		return nil, nil, err
	}
	r.mu.Lock()
	r.vm, r.guest, r.taps, r.devices = vm, p.Guest, tapNames(o.Taps), p
	r.pulse = newPulse(vm)
	asked := r.asked
	r.mu.Unlock()
	f, _ := readStat(r.Host, vm.PID()) // it may have ended already
	r.change(func(s *Status) {
		s.QEMU, s.QEMUStarted, s.Accelerator = vm.PID(), f.started, vm.Accelerator().String()
	})
	r.pass(PhaseRunning)
	close(r.running)
	if p.Started != nil {
		go p.Started()
	}
	if asked { // between the two
		r.stop(true, 0)
	}
	return vm, newDeath(r.Host, vm.PID()), nil
}

// stop has the guest end and does not wait for it. timeout is how long it may take to shut
// itself down, 0 for as long as usual.
func (r *runner) stop(force bool, timeout time.Duration) {
	r.mu.Lock()
	r.asked = true
	vm, suspended := r.vm, r.status.State == Suspended
	r.mu.Unlock()
	r.change(func(s *Status) {
		if !s.Over() {
			s.State, s.Detail = Stopping, ""
		}
	})
	if vm == nil {
		r.cancel(errStopped)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	if force {
		cancel()
	}
	go func() {
		defer cancel()
		if suspended && !force { // or it does not notice its power button
			soon, cancel := context.WithTimeout(ctx, commandTimeout)
			command := "cont"
			if r.pulse.last() == "suspended" {
				command = "system_wakeup"
			}
			_ = r.command(soon, command, nil, nil)
			cancel()
		}
		_ = vm.StopWithin(ctx, timeout) // what becomes of it, live tells
	}()
}

// end tells how it ended, and leaves nothing behind of a guest that ended well.
func (r *runner) end(err error) error {
	_ = r.inputs.CloseWithError(net.ErrClosed)
	r.change(func(s *Status) {
		s.QEMU, s.Ready, s.State, s.Detail = 0, false, Stopped, ""
		if err != nil {
			f := r.Explain(err)
			f.LastWords = lastWords(err)
			s.State, s.Failure = Failed, &f
		}
	})
	if err != nil {
		r.logger.Error("failed", "err", err)
	}
	r.mu.Lock()
	r.told = true
	r.mu.Unlock()
	close(r.dirty)
	r.saving.Wait()
	// Who is told that it has ended finds it so, and can start it anew.
	if err == nil {
		_ = r.Dir.gone() // as when somebody does so already
		if r.Gone != nil {
			r.Gone()
		}
	}
	r.mu.Lock()
	r.tell()
	r.mu.Unlock()
	close(r.over)
	if r.server != nil {
		r.server.close()
	}
	return errors.Join(err, r.console.close(), r.log.close(), r.events.close())
}

// lastWords are those of QEMU that are in an error.
func lastWords(err error) string {
	var exit *qemu.ExitError
	if errors.As(err, &exit) {
		return exit.Stderr
	}
	return ""
}

// firstWrite calls f at the first write.
func firstWrite(f func()) io.Writer {
	var once sync.Once
	return writerFunc(func(p []byte) (int, error) {
		once.Do(f)
		return len(p), nil
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// errSilent is that QEMU does not answer.
var errSilent = errors.New("QEMU does not answer")

// errNotYet is that the guest does not run yet, or not any more.
var errNotYet = errors.New("the guest is not running")

// command gives QEMU a command, once it is known to answer: one that it read much later would
// be carried out when nobody wants it any more.
func (r *runner) command(ctx context.Context, name string, args, result any) error {
	conn, err := r.answering(ctx)
	if err != nil {
		return err
	}
	err = conn.Call(ctx, name, args, result)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("guest %s: %w: %w", r.Dir.Name, errSilent, err)
	}
	return err
}

// answering returns the connection to a QEMU that has just answered.
func (r *runner) answering(ctx context.Context) (*qmp.Conn, error) {
	r.mu.Lock()
	vm, p := r.vm, r.pulse
	r.mu.Unlock()
	err := errNotYet
	if vm != nil {
		err = p.await(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("guest %s: %w", r.Dir.Name, err)
	}
	return vm.QMP(), nil
}
