package laptop

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/project-independence/indy/internal/plain"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
)

// An inputDevice is one input device of hardware, as of sys/class/input.
type inputDevice struct {
	class    ClassDevice
	device   *Device // that it hangs on
	name     string  // what it calls itself
	kind     string  // see inputBits.kind; empty when it is not known
	known    bool
	silent   bool // nothing at all is said of it: then no loss is claimed
	overHCI  bool // a Bluetooth keyboard whose adapter the kernel does not name
	interior bool // an interface that announces a keyboard, of which no input device is stated
}

// A seat is what a person sits at: the keyboards and pointers of the host.
type seat struct {
	inputs []inputDevice
	many   bool // there are too many to be true, and none was looked at
	safe   bool // there is a keyboard that hangs on no PCI function and no USB device
}

// anotherKeyboard is what to do before the only one goes.
const anotherKeyboard = "plug another keyboard in where it stays with the host, or make sure that the host is reached another way"

// maxInputs is how many input devices are looked at. A notebook has two dozen.
const maxInputs = 1024

// readSeat finds out which keyboards the host has. It reads no file when nothing that
// could change hands carries an input device, and no other when there is a keyboard on
// a bus of its own, as PS/2; with all, it reads each of them.
func (h *hostUses) readSeat(fsys fs.FS, l *Laptop, all bool) error {
	var staying, hanging []inputDevice
	for i := range l.Devices {
		d := &l.Devices[i]
		found := inputsOf(d)
		if d.USB == nil && d.PCI == nil && !d.Controller().IsValid() && !slices.ContainsFunc(found, func(in inputDevice) bool { return in.overHCI }) {
			staying = append(staying, found...)
		} else {
			hanging = append(hanging, found...)
		}
	}
	if len(hanging) == 0 && h.carriedKnown && !all {
		return nil
	}
	if h.seat.many = len(staying)+len(hanging) > maxInputs; h.seat.many {
		return nil
	}
	// The keyboard of a notebook is on PS/2 more often than not.
	slices.SortStableFunc(staying, func(a, b inputDevice) int { return rank(a) - rank(b) })
	var errs []error
	for _, in := range staying {
		errs = append(errs, in.read(fsys))
		h.seat.inputs = append(h.seat.inputs, in)
		if in.kind == "keyboard" {
			if h.seat.safe = true; !all {
				return errors.Join(errs...)
			}
		}
	}
	for _, in := range hanging {
		if !in.interior {
			errs = append(errs, in.read(fsys))
		}
		h.seat.inputs = append(h.seat.inputs, in)
	}
	return errors.Join(errs...)
}

func rank(in inputDevice) int {
	if in.device.Bus() == "serio" {
		return 0
	}
	return 1
}

// inputsOf returns the input devices that hang on a device, without those that cannot be
// a keyboard or a pointer: what programs make (uinput, uhid, USB over a network), sockets,
// buttons, lid, beeper.
func inputsOf(d *Device) []inputDevice {
	var found []inputDevice
	for _, c := range d.Classes {
		if c.Class == "input" && numbered(c.Name, "input") && mayType(c.Path) {
			found = append(found, inputDevice{class: c, device: d, overHCI: strings.Contains(c.Path, "/uhid/0005:")})
		}
	}
	// A keyboard whose input device is not stated, as in some saved machines.
	if !has(d.Classes, "input") && d.USB != nil && announcesKeyboard(d) {
		found = append(found, inputDevice{device: d, interior: true})
	}
	return found
}

func mayType(path string) bool {
	// Bluetooth's daemon is the one program that has hardware behind what it makes.
	if rest, ok := strings.CutPrefix(path, "virtual/misc/uhid/"); ok && !strings.HasPrefix(rest, "0005:") {
		return false
	}
	if strings.HasPrefix(path, "virtual/input/") || strings.HasPrefix(path, "platform/vhci_hcd.") {
		return false
	}
	for _, part := range []string{"/sound/card", "/LNXPWRBN:", "/LNXSLPBN:", "/LNXVIDEO:", "/PNP0C0C:", "/PNP0C0D:", "/PNP0C0E:", "/pcspkr/", "/rc/rc"} {
		if strings.Contains(path, part) {
			return false
		}
	}
	return true
}

// announcesKeyboard reports whether an interface of a USB device is a keyboard by the
// boot protocol (HID specification 1.11, section 4.3).
func announcesKeyboard(d *Device) bool {
	for _, i := range d.USB.Interfaces {
		if i.Class.Base() == 0x03 && i.Class.Sub() == 0x01 && i.Class.Protocol() == 0x01 {
			return true
		}
	}
	return false
}

// typesAlone are the makers of tokens that type a password at a touch, and announce a
// keyboard to do so.
func typesAlone(d *Device) bool {
	return d.USB != nil && d.USB.Vendor.Known() && d.USB.Vendor.Uint16() == 0x1050
}

// read asks an input device what it can report: its uevent, or where a saved machine
// has only those, its attributes. The driver of PS/2 keyboards takes nothing else.
func (in *inputDevice) read(fsys fs.FS) error {
	if in.device.Bus() == "serio" && in.device.Driver() == "atkbd" {
		in.kind, in.known = "keyboard", true
		return nil
	}
	text, err := fs.ReadFile(fsys, in.class.Source("uevent"))
	bits, name, ok := parseInput(string(text))
	in.name = name
	var errs []error
	note := func(err error) {
		if !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("input device %s: %w", in.class.Name, err))
		}
	}
	if err != nil {
		note(err)
	}
	if !ok {
		key, err := fs.ReadFile(fsys, in.class.Source("capabilities/key"))
		if err != nil {
			note(err)
			in.silent = len(errs) == 0 && (in.device.USB == nil || !announcesKeyboard(in.device))
			return errors.Join(errs...)
		}
		attribute := func(name string) bitmap {
			b, err := fs.ReadFile(fsys, in.class.Source(name))
			if err != nil {
				note(err)
			}
			return parseBitmap(string(b))
		}
		bits = inputBits{
			ev: attribute("capabilities/ev"), key: parseBitmap(string(key)), abs: attribute("capabilities/abs"),
			rel: attribute("capabilities/rel"), sw: attribute("capabilities/sw"), prop: attribute("properties"),
		}
	}
	in.kind, in.known = bits.kind(), true
	// A keyboard may have a touchpad or a wheel in it.
	if bits.allLetters() && !typesAlone(in.device) {
		in.kind = "keyboard"
	} else if in.kind == "keyboard" {
		in.kind = "token"
	}
	return errors.Join(errs...)
}

// parseInput reads the uevent of an input device: NAME in quotes and the bits of what it
// can report, each as capabilities/ have them. It reports false when there are none.
func parseInput(uevent string) (bits inputBits, name string, ok bool) {
	for line := range strings.Lines(uevent) {
		key, value, found := strings.Cut(strings.TrimSpace(line), "=")
		if !found {
			continue
		}
		switch key {
		case "NAME":
			name = plain.Line(strings.Trim(value, `"`), 128)
		case "EV":
			bits.ev, ok = parseBitmap(value), true
		case "KEY":
			bits.key = parseBitmap(value)
		case "ABS":
			bits.abs = parseBitmap(value)
		case "REL":
			bits.rel = parseBitmap(value)
		case "SW":
			bits.sw = parseBitmap(value)
		case "PROP":
			bits.prop = parseBitmap(value)
		}
	}
	return bits, name, ok
}

// isPointer reports whether a kind of input device moves a pointer.
func isPointer(kind string) bool {
	switch kind {
	case "mouse", "touchpad", "pointing stick", "touchscreen", "tablet":
		return true
	}
	return false
}

// lost says what the host loses of one kind of input device with a set of devices, given
// as what tells of a device whether it goes: those that go, whether any goes at all, and
// whether any stays.
func (s *seat) lost(is func(kind string) bool, goes func(*Device) iommu.Answer) (gone []inputDevice, going, staying iommu.Answer) {
	going, staying = iommu.No, iommu.No
	if s.safe && is("keyboard") {
		staying = iommu.Yes
	}
	raise := func(a *iommu.Answer, by iommu.Answer) {
		if *a != iommu.Yes && by != iommu.No {
			*a = by
		}
	}
	for _, in := range s.inputs {
		if in.known && !is(in.kind) {
			continue
		}
		if in.interior && !is("keyboard") {
			continue
		}
		certain := iommu.Yes
		if !in.known {
			certain = iommu.Unknown
		}
		answer := goes(in.device)
		if in.silent && answer != iommu.No {
			continue
		}
		switch answer {
		case iommu.Yes:
			raise(&going, certain)
			gone = append(gone, in)
		case iommu.No:
			raise(&staying, certain)
		case iommu.Unknown:
			raise(&going, iommu.Unknown)
			raise(&staying, iommu.Unknown)
			gone = append(gone, in)
		}
	}
	return gone, going, staying
}

// goesWith returns a function that tells of a device whether the host loses it with a
// set: it is in it, it hangs on one in it, or it is a Bluetooth keyboard and an adapter
// is in it.
func (n *needs) goesWith(set []*Device) func(*Device) iommu.Answer {
	devices, functions := make(map[*Device]bool, len(set)), make(map[pci.Address]bool, len(set))
	for _, s := range set {
		if devices[s] = true; s.PCI != nil {
			functions[s.PCI.Address] = true
		}
	}
	adapter := sync.OnceValue(func() bool {
		return slices.ContainsFunc(set, func(s *Device) bool { return n.plays(s, Bluetooth) })
	})
	return func(d *Device) iommu.Answer {
		switch c := d.Controller(); {
		case devices[d], c.IsValid() && functions[c]:
			return iommu.Yes
		case d.Other != nil && strings.Contains(d.Other.Path, "/uhid/0005:") && adapter():
			return iommu.Unknown
		}
		return iommu.No
	}
}

// together returns what changes hands with a device: the endpoints of its group, or the
// device alone.
func (n *needs) together(d *Device) []*Device {
	if d.PCI == nil {
		return []*Device{d}
	}
	if set, ok := n.members[d.PCI.Group]; ok {
		return set
	}
	set := []*Device{d}
	if g := n.l.Group(d.PCI.Group); g != nil {
		for _, a := range n.l.Endpoints(g) {
			if e := n.l.Function(a); e != nil && e != d {
				set = append(set, e)
			}
		}
		n.members[d.PCI.Group] = set
	}
	return set
}

// keyboard says that the host is left without a keyboard when a device goes with all
// that goes along, if some of them hang on the device itself.
func (n *needs) keyboard(d *Device) (Finding, bool) {
	own := n.goesWith([]*Device{d})
	if (!n.carriedKnown || n.seat.many) && !n.seat.safe && slices.Contains(d.Roles, USBController) {
		return Finding{
			Code: OnlyKeyboard, Severity: Gap, Evidence: "/sys/bus/usb/devices", Remedy: lookAgain,
			Detail: "whether " + d.Where() + " takes the host's only keyboard along is not known, nor what hangs on it",
		}, true
	}
	if n.seat.safe || !slices.ContainsFunc(n.seat.inputs, func(in inputDevice) bool { return own(in.device) != iommu.No }) {
		return Finding{}, false
	}
	isKeyboard := func(kind string) bool { return kind == "keyboard" }
	f := Finding{
		Code: OnlyKeyboard, Severity: Block, Evidence: "/sys/class/input",
		Remedy: anotherKeyboard,
	}
	_, going, staying := n.seat.lost(isKeyboard, n.goesWith(n.together(d)))
	gone, mine, _ := n.seat.lost(isKeyboard, own)
	switch {
	case mine == iommu.No, going == iommu.No, staying == iommu.Yes:
		return f, false
	case mine == iommu.Yes && staying == iommu.No:
		f.Detail = d.Where() + " takes the host's only keyboard along: " + namesOf(gone)
	default:
		f.Severity, f.Remedy = Gap, lookAgain
		f.Detail = "whether " + d.Where() + " takes the host's only keyboard along is not known: " + namesOf(gone)
	}
	if len(gone) == 1 && gone[0].class.Name != "" {
		f.Evidence = "/" + gone[0].class.Source("capabilities/key")
	}
	return f, true
}

// namesOf names input devices with what they hang on.
func namesOf(inputs []inputDevice) string {
	var names []string
	for _, in := range inputs {
		s := in.device.ID()
		switch {
		case in.name != "":
			s = in.name + " (" + s + ")"
		case in.class.Name != "":
			s = in.class.Name + " (" + s + ")"
		}
		if !slices.Contains(names, s) {
			names = append(names, s)
		}
	}
	return some(names, len(names))
}
