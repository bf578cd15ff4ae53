package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/guest/qemu"
	"github.com/project-independence/indy/guest/store"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/keeper"
	"github.com/project-independence/indy/internal/runner"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

// runnerCommand is the word by which a process runs a guest; see [runner.Launch].
const runnerCommand = "runner"

// A runnerRequest is what a runner is started with. Its environment has nothing of this.
type runnerRequest struct {
	Guests, Leases, State, Run string // directories
	Seat                       qemu.Seat
	Accelerator                string
	Allow                      []string

	// Key is the passphrase of the guest's disks, if it has one that asks for it.
	Key []byte
}

// runDir is where running guests have their directories: of root with what ends with the
// kernel, of others with what ends with their session. It is empty when nothing says.
func runDir(uid int, getenv func(string) string) string {
	if uid == 0 {
		return "/run/indy/guests"
	}
	if dir := getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "indy", "guests")
	}
	return ""
}

// guestRun returns the directory of a guest that may run.
func (e *Env) guestRun(name string) (runner.Dir, error) {
	if e.RunDir == "" {
		return runner.Dir{}, errors.New("XDG_RUNTIME_DIR does not say where guests are while they run")
	}
	d, err := runner.DirOf(e.RunDir, name)
	if err != nil {
		err = usageError{err}
	}
	return d, err
}

func newGuestRunnerCommand(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:    runnerCommand + " NAME",
		Short:  "run a guest in a process of its own, which another one of indy has started",
		Hidden: true,
		Args:   usage(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			var q runnerRequest
			announce, err := runner.Inherit(&q)
			if err != nil {
				return err
			}
			mine := *env
			mine.GuestDir, mine.LeaseDir, mine.StateDir, mine.RunDir = q.Guests, q.Leases, q.State, q.Run
			dir, err := mine.guestRun(args[0])
			if err != nil {
				return err
			}
			r := &guestRun{how: q, env: &mine, name: dir.Name}
			if os.Geteuid() == 0 && env.StartApart != nil {
				return r.keep(dir, announce)
			}
			ctx, stop := interruptible()
			defer stop()
			return runGuest(ctx, &mine, dir, announce, r, nil)
		},
	}
}

// runGuest runs a guest with what host does of it. gone is as in [runner.Config].
func runGuest(ctx context.Context, env *Env, dir runner.Dir, announce io.WriteCloser, host keeper.Host, gone func()) error {
	return runner.Run(ctx, runner.Config{
		Dir: dir, Host: env.Host, Announce: announce, Gone: gone,
		Explain: func(err error) runner.Failure { return keeper.Explain(err, explainFailure) },
		Prepare: func(ctx context.Context, told *slog.Logger, passed func(runner.PhaseName)) (runner.Prepared, error) {
			return prepare(ctx, host, dir, env.jail(), told, passed)
		},
	})
}

// logged writes lines to a log.
type logged struct{ to *slog.Logger }

func (l logged) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		l.to.Info(strings.TrimSpace(strings.TrimPrefix(string(line), "indy: ")))
	}
	return len(p), nil
}

// prepare has host do what takes rights, and says how the guest is run. What can be known to
// fail is found before any device is touched.
func prepare(ctx context.Context, host keeper.Host, dir runner.Dir, jail []string, told *slog.Logger, passed func(runner.PhaseName)) (p runner.Prepared, err error) {
	r, err := host.Resolve(ctx, told)
	if err != nil {
		return p, err
	}
	p.Guest, p.Ready, p.Devices = r.Guest, r.Ready, r.Devices
	p.Started, p.Check, p.Forgets, p.Reopen = host.Started, host.Check, host.Forgets, host.Reopen
	if p.Options, err = options(ctx, r, host.Rights(), jail, told); err != nil {
		return p, errors.Join(err, host.Release())
	}
	passed(runner.PhaseResolved)
	held, err := host.Hold(ctx)
	p.Release = func() error {
		return errors.Join(closeAll(held.USB), closeAll(held.Taps), host.Release())
	}
	if err != nil {
		return p, err
	}
	p.Options.Taps, p.Options.USB, p.Options.Keys = held.Taps, held.USB, held.Keys
	passed(runner.PhaseDevices)
	if k := p.Guest.Screen.Kind; k == guest.VNC || k == guest.SPICE {
		if p.Options.Viewers, err = viewers(dir.Viewers(k)); err != nil {
			return p, err
		}
	}
	return p, nil
}

// guestRun is the run of a guest of the store: what of it takes rights.
type guestRun struct {
	how  runnerRequest
	env  *Env
	name string
	holding

	store    store.Store
	entry    store.Entry
	machine  *machine
	resolved keeper.Resolved
	ports    []usb.PortPath
	known    *knownDevices // to be kept when the guest runs
	told     *slog.Logger
	asleep   asleep
	undo     []func() error
}

// Resolve finds out what the guest is on this machine.
func (r *guestRun) Resolve(_ context.Context, told *slog.Logger) (k keeper.Resolved, err error) {
	r.told = told
	r.env.Stderr, r.env.Stdout = logged{told}, logged{told}
	if r.store, err = r.env.guests(); err != nil {
		return k, err
	}
	if r.entry, err = r.store.Read(r.name); err != nil {
		return k, err
	}
	e := r.entry
	if err := startable(r.env.Host, e.Definition); err != nil {
		return k, err
	}
	if e.Autostart != nil {
		k.Ready = e.Autostart.Ready
	}
	if len(e.Devices) > 0 { // or the machine does not matter
		r.machine = readMachine(r.env, r.env.Host)
	}
	functions, ports, known, err := r.resolve(r.machine, e, told)
	if err != nil {
		return k, err
	}
	r.ports, r.known = ports, known
	if k.Guest, err = e.Guest(e.Dir, functions); err != nil {
		return k, err
	}
	k.Seat = r.how.Seat.Seen()
	if k.Guest, err = e.Share(k.Guest, e.Dir, k.Seat.Display != "" || k.Seat.Wayland != "", ports); err != nil {
		return k, err
	}
	if k.Accelerator, err = parseAccelerator(r.how.Accelerator); err != nil {
		return k, err
	}
	for _, a := range k.Guest.Devices {
		k.Devices = append(k.Devices, "pci:"+a.String())
	}
	for _, port := range ports {
		k.Devices = append(k.Devices, "usb:"+port.String())
	}
	r.resolved = k
	return k, nil
}

// Hold opens the guest's keys, makes its taps and takes its devices.
func (r *guestRun) Hold(ctx context.Context) (h keeper.Held, err error) {
	g := r.resolved.Guest
	if h.Keys, err = diskKeys(ctx, g, r.how.Key); err != nil {
		return h, err
	}
	defer func() {
		if err != nil {
			for _, k := range h.Keys {
				clear(k)
			}
			err = errors.Join(err, closeAll(h.Taps), closeAll(h.USB))
			h = keeper.Held{}
		}
	}()
	if h.Taps, err = openTaps(r.env, r.entry.Definition, g); err != nil {
		return h, err
	}
	if len(r.resolved.Devices) == 0 {
		return h, nil
	}
	r.guest, r.locked, r.companions, r.allow = r.entry.Name, r.entry.Locked, true, r.how.Allow
	giveBack, err := r.hold(ctx, r.env, r.machine, g.Devices, r.ports)
	if err != nil {
		return h, err
	}
	r.undo = append(r.undo, giveBack)
	stop := r.env.guard(ctx, r.leases)
	r.undo = append(r.undo, func() error { stop(); return nil })
	if h.USB, err = r.openUSB(r.env, r.ports); err != nil {
		return h, err
	}
	r.asleep, err = r.overSleep(r.env, g.Devices, r.ports)
	return h, err
}

// Started keeps what the guest's devices are known by.
func (r *guestRun) Started() {
	if r.known != nil {
		keepKnown(r.store, r.name, *r.known, r.told)
	}
}

// Check returns an error that names the devices that do not work any more.
func (r *guestRun) Check() error {
	if r.asleep.check == nil {
		return nil
	}
	return r.asleep.check()
}

// Forgets says which devices do not keep what they were told while the host sleeps.
func (r *guestRun) Forgets() []string {
	if r.asleep.forgets == nil {
		return nil
	}
	return r.asleep.forgets()
}

// Reopen opens a USB device anew.
func (r *guestRun) Reopen(i int) (*os.File, error) {
	if r.asleep.reopen == nil {
		return nil, errors.New("the guest has no devices")
	}
	return r.asleep.reopen(i)
}

// Release gives the devices back.
func (r *guestRun) Release() error {
	var errs []error
	for _, f := range slices.Backward(r.undo) {
		errs = append(errs, f())
	}
	r.undo = nil
	return errors.Join(errs...)
}

// Rights are those of this process.
func (r *guestRun) Rights() qemu.Rights { return nil }

// startable says what of a definition this host cannot do, as far as that is known without
// looking at devices.
func startable(host fs.FS, d guest.Definition) error {
	var errs []error
	total, err := hostMemory(host)
	if err == nil && d.Memory > total {
		errs = append(errs, cannot{fmt.Errorf("guest %s has %s of memory, more than the %s of this host", d.Name, guest.FormatSize(d.Memory), guest.FormatSize(total>>20<<20))})
	}
	return errors.Join(errs...)
}

// hostMemory returns how much memory the host has, MemTotal of /proc/meminfo.
func hostMemory(host fs.FS) (int64, error) {
	text, err := fs.ReadFile(host, "proc/meminfo")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "MemTotal:" {
			kib, err := strconv.ParseInt(f[1], 10, 48)
			return kib << 10, err
		}
	}
	return 0, errors.New("/proc/meminfo has no MemTotal")
}

// resolve returns for each need the functions that meet it, the USB devices of all, and what
// they are to be known by, which is nil when that is kept already.
func (r *guestRun) resolve(m *machine, e store.Entry, told *slog.Logger) (functions [][]pci.Address, ports []usb.PortPath, kept *knownDevices, err error) {
	functions = make([][]pci.Address, len(e.Devices))
	if len(e.Devices) == 0 {
		return functions, nil, nil, nil
	}
	known, err := readKnown(e)
	if err != nil {
		return nil, nil, nil, err
	}
	needs, at := m.resolveNeeds(e.Definition, known, r.how.Allow...)
	if now, another := known.with(needs, at); another {
		kept = &now
	}
	if m.err != nil {
		told.Warn("not all could be read", "err", m.err)
	}
	if err := needs.Startable(); err != nil {
		return nil, nil, nil, unmet(err)
	}
	for i, n := range needs {
		if n.State != laptop.NeedMatched {
			told.Info("a need is not met as it is worded", "need", n.Need.String(), "state", n.State, "reason", n.Reason)
		}
		if n.How != guest.Assign || n.State != laptop.NeedMatched && n.State != laptop.NeedSubstituted {
			continue
		}
		for _, id := range n.Devices {
			switch d := m.Device(id); {
			case d == nil:
				return nil, nil, nil, fmt.Errorf("%s is not there any more", id)
			case d.PCI != nil:
				functions[i] = append(functions[i], d.PCI.Address)
			case d.USB != nil:
				ports = append(ports, d.USB.Path)
			default:
				return nil, nil, nil, unsupported(id, d)
			}
		}
	}
	return functions, ports, kept, nil
}

// unmet is what this host cannot give, if it lacks something, and otherwise a choice that is
// refused to be made.
func unmet(err error) error {
	var e *laptop.NeedsError
	if errors.As(err, &e) {
		for _, n := range e.Needs {
			if n.State == laptop.NeedMissing {
				return cannot{err}
			}
		}
	}
	return refusedEdit{err}
}

// options are how QEMU is started. What the host lacks of it is found out now.
func options(ctx context.Context, r keeper.Resolved, rights qemu.Rights, jail []string, told *slog.Logger) (o qemu.Options, err error) {
	o.Seat, o.Jail, o.Rights, o.Accelerator = r.Seat, jail, rights, r.Accelerator
	if o.Binary, err = qemu.Find(); err != nil {
		return o, err
	}
	g := r.Guest
	if err := qemu.Check(g, o); err != nil {
		return o, err
	}
	if g.TPM != "" || len(g.Folders) > 0 || g.Screen.Kind == guest.Window { // nothing else is asked of the host before
		if err := qemu.CheckHost(ctx, g, o); err != nil {
			return o, err
		}
	}
	if o.Accelerator == qemu.Auto {
		var reason string
		if o.Accelerator, reason, err = qemu.Probe(ctx, o); err != nil {
			return o, err
		}
		told.Info("running on "+acceleratorName(o.Accelerator), "reason", reason)
	}
	return o, nil
}

// openUSB opens the nodes of USB devices that are in the leases, in the order of ports.
func (r *guestRun) openUSB(env *Env, ports []usb.PortPath) (files []*os.File, err error) {
	live, ok := env.Host.(*hostfs.LiveHost)
	for _, p := range ports {
		node, err := r.usbNode(p)
		if err == nil && !ok {
			err = errors.New("this is no running host")
		}
		if err != nil {
			return nil, errors.Join(err, closeAll(files))
		}
		f, err := live.OpenDevice(node)
		if err != nil {
			return nil, errors.Join(err, closeAll(files))
		}
		files = append(files, f)
	}
	return files, nil
}

func closeAll(files []*os.File) error {
	var errs []error
	for _, f := range files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// viewers listens where viewers of a display connect.
func viewers(socket string) (net.Listener, error) {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// explainFailure says of an error what a command would say and with which status it would
// end.
func explainFailure(err error) runner.Failure {
	f := runner.Failure{Message: err.Error(), Exit: exitCode(err)}
	var refused *assign.RefusedError
	if errors.As(err, &refused) && len(refused.Findings) > 0 {
		f.Findings, _ = json.Marshal(refused.Findings)
	}
	return f
}

// A guestFailure is that a guest failed, as its runner told.
type guestFailure struct {
	name     string
	failure  runner.Failure
	findings []laptop.Finding
}

func newGuestFailure(s runner.Status) *guestFailure {
	e := &guestFailure{name: s.Name, failure: runner.Failure{Message: "it is not known why", Exit: exitFailed}}
	if s.Failure != nil {
		e.failure = *s.Failure
	}
	_ = json.Unmarshal(e.failure.Findings, &e.findings) // without them the message stands alone
	return e
}

// Error says why, with all that QEMU said that is not said so already.
func (e *guestFailure) Error() string {
	text := fmt.Sprintf("guest %s failed: %s", e.name, e.failure.Message)
	for line := range strings.Lines(e.failure.LastWords) {
		if line = strings.TrimSpace(line); line != "" && !strings.Contains(text, line) {
			text += "\n" + line
		}
	}
	return text
}
