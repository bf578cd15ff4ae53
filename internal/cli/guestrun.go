package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/guest/qemu"
	"github.com/project-independence/indy/guest/store"
	"github.com/project-independence/indy/hostfs"
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
			ctx, stop := interruptible()
			defer stop()
			mine := *env
			mine.GuestDir, mine.LeaseDir, mine.StateDir, mine.RunDir = q.Guests, q.Leases, q.State, q.Run
			dir, err := mine.guestRun(args[0])
			if err != nil {
				return err
			}
			r := guestRun{how: q, dir: dir}
			return runner.Run(ctx, runner.Config{
				Dir: dir, Host: mine.Host, Announce: announce, Explain: explainFailure,
				Prepare: func(ctx context.Context, told *slog.Logger, passed func(runner.PhaseName)) (runner.Prepared, error) {
					mine.Stderr, mine.Stdout = logged{told}, logged{told}
					return r.prepare(ctx, &mine, told, passed)
				},
			})
		},
	}
}

// logged writes lines to a log.
type logged struct{ to *slog.Logger }

func (l logged) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		l.to.Info(strings.TrimSpace(strings.TrimPrefix(string(line), "indy: ")))
	}
	return len(p), nil
}

// guestRun is the run of a guest of the store.
type guestRun struct {
	how runnerRequest
	dir runner.Dir
	holding
}

// prepare resolves what a guest needs, assigns its devices, and says how it is run. What can
// be known to fail is found before any device is touched.
func (r *guestRun) prepare(ctx context.Context, env *Env, told *slog.Logger, passed func(runner.PhaseName)) (p runner.Prepared, err error) {
	s, err := env.guests()
	if err != nil {
		return p, err
	}
	e, err := s.Read(r.dir.Name)
	if err != nil {
		return p, err
	}
	if err := startable(env.Host, e.Definition); err != nil {
		return p, err
	}
	if e.Autostart != nil {
		p.Ready = e.Autostart.Ready
	}
	var m *machine
	if len(e.Devices) > 0 { // or the machine does not matter
		m = readMachine(env, env.Host)
	}
	functions, ports, known, err := r.resolve(m, e, told)
	if err != nil {
		return p, err
	}
	if known != nil {
		p.Started = func() { keepKnown(s, e.Name, *known, told) }
	}
	if p.Guest, err = e.Guest(e.Dir, functions); err != nil {
		return p, err
	}
	seat := r.how.Seat
	if p.Guest, err = e.Share(p.Guest, e.Dir, seat.Display != "" || seat.Wayland != "", ports); err != nil {
		return p, err
	}
	if p.Options, err = r.options(ctx, p.Guest, env.jail(), told); err != nil {
		return p, err
	}
	if p.Options.Keys, err = diskKeys(ctx, p.Guest, r.how.Key); err != nil {
		return p, err
	}
	passed(runner.PhaseResolved)
	for _, a := range p.Guest.Devices {
		p.Devices = append(p.Devices, "pci:"+a.String())
	}
	for _, port := range ports {
		p.Devices = append(p.Devices, "usb:"+port.String())
	}
	var undo []func() error
	p.Release = func() error {
		var errs []error
		for i := range undo {
			errs = append(errs, undo[len(undo)-1-i]())
		}
		return errors.Join(errs...)
	}
	if p.Options.Taps, err = openTaps(env, e.Definition, p.Guest); err != nil {
		return p, err
	}
	undo = append(undo, func() error { return closeAll(p.Options.Taps) })
	if len(p.Devices) > 0 {
		r.guest, r.locked, r.companions, r.allow = e.Name, e.Locked, true, r.how.Allow
		giveBack, err := r.hold(ctx, env, m, p.Guest.Devices, ports)
		if err != nil {
			return p, err
		}
		undo = append(undo, giveBack)
		stop := env.guard(ctx, r.leases)
		undo = append(undo, func() error { stop(); return nil })
		if p.Options.USB, err = r.openUSB(env, ports); err != nil {
			return p, err
		}
		undo = append(undo, func() error { return closeAll(p.Options.USB) })
		if err := r.overSleep(env, &p, p.Guest.Devices, ports); err != nil {
			return p, err
		}
	}
	passed(runner.PhaseDevices)
	if k := p.Guest.Screen.Kind; k == guest.VNC || k == guest.SPICE {
		if p.Options.Viewers, err = viewers(r.dir.Viewers(k)); err != nil {
			return p, err
		}
	}
	return p, nil
}

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
func (r *guestRun) options(ctx context.Context, g guest.Guest, jail []string, told *slog.Logger) (o qemu.Options, err error) {
	o.Seat, o.Jail = r.how.Seat, jail
	if o.Accelerator, err = parseAccelerator(r.how.Accelerator); err != nil {
		return o, err
	}
	if o.Binary, err = qemu.Find(); err != nil {
		return o, err
	}
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
