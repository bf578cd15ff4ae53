package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/guest/qemu"
)

// running are the flags of indy run.
type running struct {
	holding
	disks, devices  []string
	roms            []string
	memory          string
	firmware, accel string
	cpus            int
	powerdown       time.Duration
}

func newRunCommand(env *Env) *cobra.Command {
	var flags running
	cmd := &cobra.Command{
		Use:   "run [--disk FILE]... [--device DEVICE]...",
		Short: "run a guest in the foreground, with devices of this laptop",
		Long: `Start a guest from disk images and assigned devices, in that boot order, with its
first serial port on this terminal. Devices that no lease holds for this guest yet are
assigned first and given back when the guest has ended, whatever happened; those that
"indy assign --guest NAME" took are used and kept.

Ctrl-C shuts the guest down: its power button, then QEMU's end, then by force. A second
Ctrl-C does not wait. The guest runs on KVM if a probe guest runs on it, else in
software emulation, and indy says which.

` + exitHelp,
		Args: usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			ctx, stop := interruptible()
			defer stop()
			ctx, cancel := context.WithCancelCause(ctx)
			defer cancel(nil)
			go watchReader(ctx, env, cancel)
			return flags.run(ctx, env)
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.guest, "name", assign.Unnamed, "name of the guest: a-z, 0-9 and -; without one it is never the same guest as another without")
	f.StringArrayVar(&flags.disks, "disk", nil, "disk image, `FILE`.qcow2, FILE.raw, FILE.img or FILE.iso, or raw:FILE and so on")
	f.StringArrayVar(&flags.devices, "device", nil, "`DEVICE` to assign")
	f.StringArrayVar(&flags.roms, "rom", nil, "the `DEVICE=FILE,sha256=HEX` of an option ROM; without it a device has none")
	f.StringVar(&flags.memory, "memory", "1GiB", "memory of the guest")
	f.IntVar(&flags.cpus, "cpus", 1, "processors of the guest")
	f.StringVar(&flags.firmware, "firmware", "bios", "bios or uefi")
	f.StringVar(&flags.accel, "accel", "auto", "auto, kvm or tcg (software emulation)")
	f.DurationVar(&flags.powerdown, "powerdown", 10*time.Second, "how long the guest may take to shut itself down")
	flags.add(cmd)
	_ = cmd.RegisterFlagCompletionFunc("device", completeDevices(env))
	return cmd
}

// describe makes a guest of the flags.
func (r *running) describe() (g guest.Guest, accel qemu.Accelerator, err error) {
	g = guest.Guest{Name: r.guest, CPUs: r.cpus}
	var errs []error
	note := func(err error) { errs = append(errs, err) }
	g.Memory, err = guest.ParseSize(r.memory)
	note(err)
	g.Firmware, err = guest.ParseFirmware(r.firmware)
	note(err)
	accel, err = parseAccelerator(r.accel)
	note(err)
	for _, s := range r.disks {
		d, err := guest.ParseDisk(s)
		note(err)
		g.Disks = append(g.Disks, d)
	}
	if len(r.disks)+len(r.devices) == 0 {
		note(errors.New("nothing to start from: name a --disk or a --device"))
	}
	if err = errors.Join(errs...); err == nil {
		err = g.Validate()
	}
	if err != nil {
		return g, accel, usageError{err}
	}
	return g, accel, nil
}

func parseAccelerator(s string) (qemu.Accelerator, error) {
	for _, a := range []qemu.Accelerator{qemu.Auto, qemu.KVM, qemu.TCG} {
		if a.String() == s {
			return a, nil
		}
	}
	return qemu.Auto, fmt.Errorf("--accel %q: expected auto, kvm or tcg", s)
}

func (r *running) run(ctx context.Context, env *Env) (err error) {
	g, accel, err := r.describe()
	if err != nil {
		return err
	}
	opts := qemu.Options{Serial: env.Stdout, SerialInput: env.Stdin, PowerdownTimeout: r.powerdown, Accelerator: accel, Jail: env.jail()}
	if r.powerdown <= 0 {
		opts.PowerdownTimeout = -1 // not at all
	}
	// What can be known to fail is found before any device is touched.
	if opts.Binary, err = qemu.Find(); err != nil {
		return err
	}
	if err := r.addROMs(env, &g); err != nil {
		return err
	}
	if err := qemu.Check(g, opts); err != nil {
		return err
	}
	if accel == qemu.Auto {
		var reason string
		if opts.Accelerator, reason, err = qemu.Probe(ctx, opts); err != nil {
			return orInterrupt(ctx, err)
		}
		env.errorf("running on %s: %s", acceleratorName(opts.Accelerator), reason)
	} else {
		env.errorf("running on %s, as asked", acceleratorName(accel))
	}
	if len(r.devices) > 0 {
		m := readMachine(env, env.Host)
		if g.Devices, err = m.functions(r.devices); err != nil {
			return err
		}
		var giveBack func() error
		if giveBack, err = r.hold(ctx, env, m, g.Devices, nil); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, giveBack()) }()
		defer env.guard(ctx, r.leases)()
	}
	return r.start(ctx, env, g, opts)
}

func acceleratorName(a qemu.Accelerator) string {
	if a == qemu.TCG {
		return "software emulation"
	}
	return "KVM"
}

// orInterrupt prefers the signal that ended ctx to the error that this caused.
func orInterrupt(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && err != nil {
		return cause
	}
	return err
}

// start runs the guest until it ends or the user ends it.
func (r *running) start(ctx context.Context, env *Env, g guest.Guest, opts qemu.Options) error {
	restore := serialTerminal(env.Stdin)
	defer restore()
	vm, err := qemu.Start(ctx, g, opts)
	if err != nil {
		return orInterrupt(ctx, err)
	}
	env.unconfined(vm.Confinement())
	select {
	case <-vm.Done():
		return vm.Err()
	case <-ctx.Done():
	}
	// The first signal ended ctx; the next one ends the patience.
	patience, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	env.errorf("stopping the guest %s; once more to stop it by force", g.Name)
	return errors.Join(context.Cause(ctx), ignoreKill(patience, vm.Stop(patience)))
}

// ignoreKill drops the error of a QEMU that was killed because the user said so.
func ignoreKill(patience context.Context, err error) error {
	if patience.Err() != nil {
		return nil
	}
	return err
}
