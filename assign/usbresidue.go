package assign

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

// What guests leave in USB devices is noted as that of functions is. They are reset as the
// port of their hub does it when they are plugged in, by USBDEVFS_RESET of their node. The
// kernel then reads their descriptors again, and takes a device that says something else
// than before for unplugged. That clears what the device keeps as long as it is not reset:
// addresses, settings, halted endpoints. It clears neither its firmware nor what is stored
// in it.

const (
	usbMethod  = "usbfs"
	avoidReset = "avoid_reset_quirk"

	// Why a USB device cannot be reset. It stays with its guest then.
	quirked = "it becomes another device when it is reset (" + avoidReset + ")"
	notUSB  = "there is nothing here by which USB devices are reset"
)

// resetFile stands for USBDEVFS_RESET of the device at a path: what is written to it is the
// node of the device below dev/bus/usb. The host's door makes the call.
func resetFile(p usb.PortPath) string { return "usbfs/" + p.String() + "/reset" }

// USBReturn is how long a USB device that the kernel has found anew while it was reset is
// waited for.
const USBReturn = 5 * time.Second

// given returns the names of all that the lease gives to the guest and that it may leave
// something in. What is made for it goes with it; see [Facts.AddResidue] for its parent.
func (l *Lease) given() []string {
	var all []string
	for _, a := range l.handed() {
		all = append(all, a.String())
	}
	if l.Plan != nil {
		for _, d := range l.Plan.USB {
			all = append(all, nameUSB(d.Path))
		}
	}
	return all
}

// hostDriver returns the driver of the host that has a device, of a USB device that of the
// first interface with one.
func hostDriver(fsys fs.FS, name string) (string, error) {
	p, ok := usbName(name)
	if !ok {
		a, err := pci.ParseAddress(name)
		if err != nil {
			return "", err
		}
		d, err := pci.Driver(fsys, a)
		if d == VFIODriver {
			d = ""
		}
		return d, err
	}
	d, err := usb.ReadDevice(fsys, p)
	for _, i := range d.Interfaces {
		if i.Driver != "" {
			return i.Driver, err
		}
	}
	return "", err
}

// waitsFor reports whether a write about the device with a name as in [Plan.Names] has not
// come back.
func waitsFor(stuck []StuckWrite, name string) bool {
	return slices.ContainsFunc(stuck, func(s StuckWrite) bool {
		return s.Bus == "" && s.Device == name || s.Bus == "usb" && "usb:"+s.Device == name
	})
}

// freeUSB returns the USB devices of a lease that are those that were handed over, and that
// no driver of the host has.
func (h *Host) freeUSB(l *Lease, stuck []StuckWrite) []usb.PortPath {
	var free []usb.PortPath
	for _, d := range l.Plan.USB {
		at := slices.IndexFunc(l.Plan.Identities, func(id Identity) bool { return id.Bus == "usb" && id.Device == d.Path.String() })
		if at < 0 || l.Plan.Identities[at].check(h.FS) != nil {
			continue // another one is nobody's to reset; what was there stays on record
		}
		driver, err := hostDriver(h.FS, nameUSB(d.Path))
		if err == nil && driver == "" && !waitsFor(stuck, nameUSB(d.Path)) {
			free = append(free, d.Path)
		}
	}
	return free
}

// resetUSB resets USB devices of which no driver and no program has an interface, one after
// the other, and adds what came of it to the results.
func (h *Host) resetUSB(ports []usb.PortPath, results map[string]Reset) ([]StuckWrite, error) {
	w := &work{host: h}
	var errs []error
	for _, p := range ports {
		r, err := w.resetOneUSB(p)
		results[nameUSB(p)] = r
		if err != nil {
			errs = append(errs, &OpError{"reset", p.String(), err})
		}
	}
	return w.stuck, errors.Join(errs...)
}

func (w *work) resetOneUSB(p usb.PortPath) (r Reset, err error) {
	d, err := usb.ReadDevice(w.host.FS, p)
	if err != nil {
		return r, err
	}
	node, ok := strings.CutPrefix(d.Node(), "dev/bus/usb/")
	if driver, _ := hostDriver(w.host.FS, nameUSB(p)); driver != "" {
		return r, fmt.Errorf("%s has it, and would lose its device under its hands: %w", driver, ErrRefused)
	}
	was, err := readUSBFingerprint(w.host.FS, p, always)
	if err != nil {
		return r, err
	}
	quirk, err := hostfs.ReadString(w.host.FS, deviceDir("usb", p.String())+"/"+avoidReset)
	switch {
	case ignoreNotExist(err) != nil:
		return r, err
	case quirk != "" && quirk != "0":
		return Reset{Tried: []Try{{usbMethod, quirked}}}, nil
	case d.Hub || !ok:
		return Reset{Tried: []Try{{usbMethod, notUSB}}}, nil // the plan has none of these
	}
	err = w.write(Step{Bus: "usb", Device: p.String()}, Write{File: resetFile(p), Value: node, After: Check{What: present, Is: "yes"}})
	switch text := kernelWords(err); {
	case errors.Is(err, ErrStuck):
		return Reset{Tried: []Try{{usbMethod, text}}}, err
	case errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrDeviceLost):
		return Reset{Tried: []Try{{usbMethod, notUSB}}}, nil
	case err != nil && !errors.Is(err, ErrDeviceLost) && !errors.Is(err, syscall.ENODEV):
		return Reset{Tried: []Try{{usbMethod, text}}}, nil
	}
	// One that does not answer as before is found anew, which resets it again.
	if err := w.host.sameUSB(p, was, d.Number, err != nil); err != nil {
		return Reset{Tried: []Try{{usbMethod, err.Error()}}}, nil
	}
	return Reset{Tried: []Try{{Method: usbMethod}}, Method: usbMethod, Verified: true}, nil
}

// sameUSB says how the device at a path is not the one that was there before it was reset.
// Found anew it has another number.
func (h *Host) sameUSB(p usb.PortPath, was Fingerprint, number int, anew bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), USBReturn)
	defer cancel()
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		d, err := usb.ReadDevice(h.FS, p)
		if err == nil && (!anew || d.Number != number) {
			now, ferr := readUSBFingerprint(h.FS, p, always)
			if err = ferr; err == nil {
				if changed := was.Differs(now); changed != "" {
					return fmt.Errorf("after it the device says of itself: %s", changed)
				}
				return nil
			}
		}
		if ctx.Err() != nil {
			if err == nil {
				err = errors.New("it is still there as it was before")
			}
			return fmt.Errorf("it has not come back within %s: %w", USBReturn, err)
		}
		h.pause(ctx, wait)
	}
}

// addUSBResidue adds what is left in the USB devices that are asked for, and in those that
// hang on a controller which is.
func (f *Facts) addUSBResidue(fsys fs.FS, r *Residues) error {
	var errs []error
	of := func(p usb.PortPath) Residue {
		now, err := readUSBFingerprint(fsys, p, always)
		if err = ignoreNotExist(err); err != nil {
			errs = append(errs, err)
		}
		return r.Of(nameUSB(p), now)
	}
	for path, s := range f.kinds.usb {
		s.residue = of(path)
		f.kinds.usb[path] = s
	}
	if f.laptop == nil || !slices.ContainsFunc(r.all, func(one Residue) bool { return isUSB(one.Device) }) {
		return errors.Join(errs...)
	}
	for _, d := range f.laptop.Devices {
		if d.USB == nil || d.USB.Hub {
			continue
		}
		s, ok := f.functions[d.USB.Controller]
		if !ok || s.stays {
			continue
		}
		if one := of(d.USB.Path); one.State != Clean || len(one.Users) > 0 {
			s.below = append(s.below, one)
			f.functions[d.USB.Controller] = s
		}
	}
	return errors.Join(errs...)
}

// residues are what speaks against giving a function to the guest of a request: what is
// left in it, and in the USB devices that go with their controller.
func (s function) residues(q Request) []laptop.Finding {
	var all []laptop.Finding
	for _, r := range append([]Residue{s.residue}, s.below...) {
		if finding, ok := r.finding(q); ok {
			all = append(all, finding)
		}
	}
	return all
}
