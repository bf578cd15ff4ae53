package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/guest/qmp"
)

// A VM is a guest that was started. Its methods may be called from several
// goroutines at once.
type VM struct {
	name        string
	accelerator Accelerator
	powerdown   time.Duration
	log         *slog.Logger
	proc        *process
	qmp         *qmp.Conn
	serial      *serial
	nat         NAT
	display     guest.ScreenKind
	hasUSB      bool
	viewers     atomic.Int64 // how many there have been
	sets        atomic.Int64 // of descriptors sent to QEMU
	listener    net.Listener
	helpers     []*helper
	agent       atomic.Pointer[net.Conn] // nil when there is none, or it is asked
	knocker     atomic.Pointer[knocker]  // the same
	names       map[int]string
	measures    []Measure
	stop        sync.Once
	done        chan struct{}
	err         error // set before done is closed
}

// Start runs g and returns when its processors run. What can be known before is
// checked before QEMU is started: the guest itself, its disks, the firmware. The
// context bounds the start alone; the guest then runs until it powers itself off,
// Stop is called, or this process ends. The error is an *OpError; with an error
// nothing is left behind.
func Start(ctx context.Context, g guest.Guest, o Options) (*VM, error) {
	vm, err := start(ctx, g, o)
	o.forget()
	if err != nil {
		if o.Viewers != nil {
			o.Viewers.Close()
		}
		return nil, &OpError{"start", g.Name, err}
	}
	return vm, nil
}

func start(ctx context.Context, g guest.Guest, o Options) (*VM, error) {
	if err := g.Validate(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var err error
	rights, err := o.rights()
	if err != nil {
		return nil, err
	}
	h := inheritance{rights: rights}
	defer h.abandon()
	l := Layout{Accelerator: o.Accelerator, NoReboot: o.NoReboot}
	if l.Disks, err = openDisks(&h, g); err != nil {
		return nil, err
	}
	if l.ROMs, err = openROMs(&h, g); err != nil {
		return nil, err
	}
	if g.Firmware == guest.UEFI {
		if l.Code, l.Variables, err = openUEFI(&h, g); err != nil {
			return nil, err
		}
	}
	if l.Keys, err = openKeys(&h, g, o); err != nil {
		return nil, err
	}
	o.forget()
	if err := share(ctx, &h, g, o, &l); err != nil {
		return nil, err
	}
	if l.Accelerator == Auto {
		accelerator, reason, err := Probe(ctx, o)
		if err != nil {
			return nil, err
		}
		o.logger().Info("accelerator chosen", "guest", g.Name, "accelerator", accelerator, "reason", reason)
		l.Accelerator = accelerator
	}
	vm, err := run(ctx, g, o, l, &h)
	if err != nil {
		return nil, explain(ctx, g, o, l, keyError(g, err))
	}
	return vm, nil
}

// run starts g on the files in h, which l describes and which it adds its own to.
func run(ctx context.Context, g guest.Guest, o Options, l Layout, h *inheritance) (*VM, error) {
	var err error
	if l.Accelerator == KVM {
		f, err := h.rights.KVM()
		if err != nil {
			return nil, err
		}
		if f != nil {
			l.KVM = h.add(f, kvmNode)
		}
	}
	control, far, err := socketpair("qmp")
	if err != nil {
		return nil, err
	}
	l.QMP = h.add(far, "qmp")
	console, far, err := socketpair("serial")
	if err != nil {
		control.Close()
		return nil, err
	}
	l.Serial = h.add(far, "serial")
	var asked [3]net.Conn // the agent; what is seen of the network, and what is put there
	abandon := func(err error) (*VM, error) {
		control.Close()
		console.Close()
		for _, c := range asked {
			if c != nil {
				c.Close()
			}
		}
		return nil, err
	}
	for i, to := range []struct {
		wanted bool
		name   string
		fd     *int
	}{{g.Agent, "agent", &l.Agent}, {o.Reach, watchID, &l.Watch}, {o.Reach, knockID, &l.Knock}} {
		if !to.wanted {
			continue
		}
		if asked[i], far, err = socketpair(to.name); err != nil {
			return abandon(err)
		}
		*to.fd = h.add(far, to.name)
	}
	vm := &VM{
		name: g.Name, accelerator: l.Accelerator, powerdown: o.PowerdownTimeout,
		log: o.logger().With("guest", g.Name), names: h.names, done: make(chan struct{}),
		nat: natOf(g, l), display: g.Screen.Kind, hasUSB: g.HasUSB(), listener: o.Viewers,
	}
	proc, measures, err := h.rights.QEMU(ctx, Machine{Guest: g, Layout: l, Seat: o.Seat, RenderNode: o.RenderNode}, h.files)
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return abandon(err)
	}
	vm.proc, vm.measures = adopt(proc), measures
	o.passed(Launched)
	if g.Agent {
		vm.agent.Store(&asked[0])
	}
	if o.Reach {
		vm.knocker.Store(newKnocker(asked[1], asked[2], g, natOf(guest.Guest{NICs: g.NICs[:1]}, l)))
	}
	vm.helpers, h.helpers = h.helpers, nil
	h.close() // QEMU has its own now; where it ends, so must the sockets
	vm.log.Debug("QEMU started", "pid", vm.PID())
	vm.serial = pump(console, o.Serial, o.SerialInput)
	vm.qmp, err = qmp.New(ctx, control)
	if err == nil {
		o.passed(Connected)
		err = checkVersion(vm.qmp.Version())
	}
	var events *qmp.Subscription
	if err == nil {
		events = vm.qmp.Subscribe("STOP", "GUEST_PANICKED")
		err = vm.helpersFailed()
	}
	if err == nil {
		err = vm.qmp.Call(ctx, "cont", nil, nil)
	}
	if err != nil {
		return nil, vm.abort(ctx, err)
	}
	o.passed(Going)
	go vm.watch(events)
	for _, p := range vm.helpers {
		go vm.attend(p)
	}
	if vm.listener != nil {
		go vm.welcome(vm.listener)
	}
	go vm.reap()
	return vm, nil
}

// abort ends a QEMU that did not get as far as running, for the reason err, or for
// the better one that it gives itself.
func (v *VM) abort(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		err = ctx.Err()
	} else if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) { // it is ending by itself
		select {
		case <-v.proc.done:
		case <-time.After(time.Second):
		}
	}
	v.proc.kill(err)
	v.cleanUp()
	if failed := v.helpersFailed(); failed != nil && ctx.Err() == nil {
		return failed // what QEMU says of it is that somebody is gone
	}
	if v.proc.cause == nil || errors.Is(v.proc.cause, syscall.ENOMEM) { // or the kernel's reason
		if exit := v.proc.result(v.clean); exit != nil {
			return exit
		}
	}
	if text := summary(v.clean(v.proc.stderr.String())); text != "" {
		return fmt.Errorf("%w: %s", err, text)
	}
	return err
}

// helpersFailed returns why those of them ended that should not have.
func (v *VM) helpersFailed() error {
	var errs []error
	for _, p := range v.helpers {
		errs = append(errs, p.failed())
	}
	return errors.Join(errs...)
}

// attend says so if a helper ends before QEMU. The guest goes on without what it did.
func (v *VM) attend(p *helper) {
	select {
	case <-v.proc.done:
	case <-p.done:
		select {
		case <-v.proc.done:
		default:
			v.log.Warn("the guest goes on without a helper", "err", p.words())
		}
	}
}

// cleanUp waits for the process and ends what serves it.
func (v *VM) cleanUp() {
	<-v.proc.done
	if v.qmp != nil {
		v.qmp.Close()
	}
	if v.listener != nil {
		v.listener.Close()
	}
	if conn := v.agent.Swap(nil); conn != nil {
		(*conn).Close()
	}
	if k := v.knocker.Swap(nil); k != nil {
		k.close()
	}
	v.serial.close()
	for _, p := range v.helpers {
		p.finish()
	}
}

// reap waits for QEMU to end, by whatever cause, and says so.
func (v *VM) reap() {
	v.cleanUp()
	if err := v.proc.result(v.clean); err != nil {
		v.err = &OpError{"run", v.name, err}
	}
	v.log.Debug("QEMU ended", "err", v.err)
	close(v.done)
}

// watch ends a guest that QEMU has stopped for good. A guest that KVM cannot go on
// with is only paused by QEMU, and would stay so for ever.
func (v *VM) watch(events *qmp.Subscription) {
	for e := range events.C() {
		v.log.Debug("event", "name", e.Name, "data", string(e.Data))
		if e.Name == "GUEST_PANICKED" {
			v.log.Warn("the guest's system has crashed")
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
		var state struct {
			Status string `json:"status"`
		}
		err := v.qmp.Call(ctx, "query-status", nil, &state)
		cancel()
		if err == nil && state.Status == "internal-error" {
			v.proc.kill(fmt.Errorf("%v cannot go on with the guest", v.accelerator))
		}
	}
}

// clean writes the names of files in the place of QEMU's names of descriptors.
func (v *VM) clean(text string) string {
	for fd := 3 + len(v.names); fd >= 3; fd-- { // 12 before 1
		if name, ok := v.names[fd]; ok {
			text = strings.ReplaceAll(text, "/dev/fdset/"+strconv.Itoa(fd), name)
			text = strings.ReplaceAll(text, "/proc/self/fd/"+strconv.Itoa(fd), name)
		}
	}
	return text
}

// Name returns the guest's name.
func (v *VM) Name() string { return v.name }

// PID returns the process id of QEMU, which is valid until Done.
func (v *VM) PID() int { return v.proc.PID() }

// Accelerator returns KVM or TCG, whichever runs the guest.
func (v *VM) Accelerator() Accelerator { return v.accelerator }

// NAT returns what carries the guest's network interfaces with the link guest.LinkNAT:
// Passt if one of them has it, else UserNetwork, and AutoNAT if there are none.
func (v *VM) NAT() NAT { return v.nat }

func natOf(g guest.Guest, l Layout) NAT {
	nat := AutoNAT
	for i, n := range g.NICs {
		switch {
		case n.Link != guest.LinkNAT:
		case l.NICs[i].FD != 0:
			return Passt
		default:
			nat = UserNetwork
		}
	}
	return nat
}

// QMP returns the connection to QEMU. It belongs to the VM and ends with it.
func (v *VM) QMP() *qmp.Conn { return v.qmp }

// Done is closed when QEMU has ended and nothing of it is left.
func (v *VM) Done() <-chan struct{} { return v.done }

// Wait waits for Done and returns Err.
func (v *VM) Wait() error {
	<-v.done
	return v.err
}

// Err returns nil while the guest runs, and after it powered itself off or was
// stopped. Otherwise it is an *OpError, mostly of an *ExitError with the exit status
// or signal and what QEMU last wrote.
func (v *VM) Err() error {
	select {
	case <-v.done:
		return v.err
	default:
		return nil
	}
}
