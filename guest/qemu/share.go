package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/project-independence/indy/guest"
)

// share opens and starts what g shares with the host: it fills l, and adds files and
// helpers to h. Every reason why something cannot be had is in the error.
func share(ctx context.Context, h *inheritance, g guest.Guest, o Options, l *Layout) error {
	cred, err := credential(o.User)
	if err != nil {
		return err
	}
	passt, err := choose(ctx, g, o, cred, l, false)
	if err := errors.Join(err, opened(g, o)); err != nil {
		return err
	}
	var errs []error
	inherit := func(name string, f *os.File, served *helper, err error) int {
		if err != nil {
			errs = append(errs, err)
			return 0
		}
		if served != nil {
			h.helpers = append(h.helpers, served)
		}
		return h.add(f, name)
	}
	given := func(files []*os.File, i int, what string) int {
		f, err := duplicate(files[i], what)
		return inherit(what, f, nil, err)
	}
	taps := 0
	for i, n := range g.NICs {
		var end NICEnd
		switch {
		case n.Link == guest.LinkTap:
			end.FD = given(o.Taps, taps, fmt.Sprintf("tap of network interface %d", i+1))
			taps++
		case passt != "" && !n.Isolated:
			f, p, err := answering(h.rights, o.DNS)
			if err != nil && o.NAT == AutoNAT {
				o.logger().Info("network chosen", "guest", g.Name, "nat", UserNetwork, "reason", err.Error())
				break
			}
			end.FD = inherit("passt", f, p, err)
		}
		l.NICs = append(l.NICs, end)
	}
	for i, p := range g.USB.Devices {
		l.USB = append(l.USB, given(o.USB, i, "USB device "+p.String()))
	}
	if g.Sound.Model != guest.NoSound && l.Sound == WAV {
		f, err := openRecording(o.Sound.Recording, cred)
		l.Recording = inherit(o.Sound.Recording, f, nil, err)
	}
	if g.TPM != "" {
		f, p, err := served("swtpm")(h.rights.TPM(g.TPM))
		l.TPM = inherit("tpm", f, p, wrap("tpm", err))
	}
	for _, folder := range g.Folders {
		f, p, err := served("virtiofsd")(h.rights.Folder(folder))
		l.Folders = append(l.Folders, inherit("virtiofsd", f, p, wrap("folder "+folder.Path, err)))
	}
	return errors.Join(errs...)
}

// served makes a child a helper of that name.
func served(name string) func(*os.File, Child, error) (*os.File, *helper, error) {
	return func(f *os.File, c Child, err error) (*os.File, *helper, error) {
		if err != nil {
			return nil, nil, err
		}
		return f, &helper{name, adopt(c)}, nil
	}
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// opened returns an error if the caller did not open what it has to.
func opened(g guest.Guest, o Options) error {
	var errs []error
	taps := 0
	for _, n := range g.NICs {
		if n.Link == guest.LinkTap {
			taps++
		}
	}
	if taps != len(o.Taps) {
		errs = append(errs, fmt.Errorf("%d tap interfaces are open for %d network interfaces", len(o.Taps), taps))
	}
	if len(g.USB.Devices) != len(o.USB) {
		errs = append(errs, fmt.Errorf("%d USB devices are open for %d", len(o.USB), len(g.USB.Devices)))
	}
	return errors.Join(errs...)
}

// CheckHost returns the error that [Start] would give for what this host lacks of what
// g shares with it: parts of QEMU, swtpm, virtiofsd, passt if it is asked for, a screen.
// It starts QEMU to ask, unless o.Capabilities says, and nothing else. Missing is
// errors.ErrUnsupported, with the package named. o.Taps and o.USB may be empty yet.
func CheckHost(ctx context.Context, g guest.Guest, o Options) error {
	cred, err := credential(o.User)
	if err == nil {
		_, err = choose(ctx, g, o, cred, new(Layout), true)
	}
	if g.TPM != "" {
		_, missing := findHelper("swtpm", "swtpm")
		err = errors.Join(err, wrap("tpm", missing))
	}
	if len(g.Folders) > 0 {
		_, missing := findVirtiofsd()
		err = errors.Join(err, missing)
	}
	if err != nil {
		return &OpError{Op: "start", Guest: g.Name, Err: err}
	}
	return nil
}

// choose decides what there is a choice of and says so to the log. Whether QEMU has what
// g needs is checked if o knows what it has, and else if all is to be asked. It opens and
// starts nothing of the guest's. The result is the path of passt, or empty if QEMU's own
// user network is taken.
func choose(ctx context.Context, g guest.Guest, o Options, cred *syscall.Credential, l *Layout, all bool) (passt string, err error) {
	var errs []error
	nats, isolated := 0, 0
	for _, n := range g.NICs {
		switch {
		case n.Link == guest.LinkTap:
		case n.Isolated:
			isolated++
		default:
			nats++
		}
	}
	if nats > 0 && o.NAT != UserNetwork {
		passt, err = findPasst()
		if err != nil && o.NAT == Passt {
			errs = append(errs, err)
		}
		if passt == "" && o.NAT == AutoNAT {
			o.logger().Info("network chosen", "guest", g.Name, "nat", UserNetwork, "reason", err.Error())
		}
	}
	user := isolated > 0 || nats > 0 && passt == ""
	if o.Viewers != nil && g.Screen.Kind != guest.VNC && g.Screen.Kind != guest.SPICE {
		errs = append(errs, fmt.Errorf("viewers are asked in, but the display is %v", g.Screen.Kind))
	}
	if g.Screen.Kind == guest.Window && !o.Seat.hasScreen() {
		errs = append(errs, fmt.Errorf("there is no screen here for a window (%w); start the guest from a desktop, or use VNC or SPICE", errors.ErrUnsupported))
	}

	can, list := Capabilities{}, choices(g, o)
	if o.Capabilities != nil {
		can = *o.Capabilities
	} else if all {
		list = topics(g, user)
	}
	if o.Capabilities == nil && len(list) > 0 {
		binary, err := resolve(o.Binary)
		if err == nil {
			can, err = ask(ctx, binary, cred, list...)
		}
		if err != nil {
			return "", errors.Join(append(errs, err)...)
		}
	}
	if g.Screen.Kind == guest.Window {
		l.Window = can.window(o.Window)
	}
	if g.Sound.Model != guest.NoSound {
		l.Sound = can.sound(o.Sound.Driver, o.Seat)
		if o.Seat.has(pulse) {
			l.SoundServer = o.Seat.PulseServer()
		}
		o.logger().Info("sound chosen", "guest", g.Name, "driver", l.Sound, "play", g.Sound.Play, "record", g.Sound.Record)
	}
	l.RenderNode = o.RenderNode
	if all || o.Capabilities != nil {
		errs = append(errs, can.check(g, *l, user))
	}
	return passt, errors.Join(errs...)
}

// choices returns what QEMU is to be asked before it can be started for g, because there
// is a choice that is left to us.
func choices(g guest.Guest, o Options) (list []string) {
	if g.Screen.Kind == guest.Window && o.Window == AutoWindow {
		list = append(list, "display")
	}
	if g.Sound.Model != guest.NoSound && o.Sound.Driver == AutoSound && o.Seat.has(pipeWire) && o.Seat.has(pulse) {
		list = append(list, "audiodev")
	}
	return list
}

// explain returns err, and before it what QEMU lacks of what g needs, if that is why it
// did not start. QEMU is not asked before: it would take as long again as to start it.
func explain(ctx context.Context, g guest.Guest, o Options, l Layout, err error) error {
	var exit *ExitError
	if o.Capabilities != nil || !errors.As(err, &exit) || exit.Cause != nil {
		return err
	}
	user := false
	for i, n := range g.NICs {
		user = user || n.Link == guest.LinkNAT && l.NICs[i].FD == 0
	}
	list := topics(g, user)
	if len(list) == 0 {
		return err
	}
	binary, e1 := resolve(o.Binary)
	cred, e2 := credential(o.User)
	if e1 != nil || e2 != nil {
		return err
	}
	can, e := ask(ctx, binary, cred, list...)
	if e != nil {
		return err
	}
	if lacks := can.check(g, l, user); lacks != nil {
		return fmt.Errorf("%w: %w", lacks, err)
	}
	return err
}
