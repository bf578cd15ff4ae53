package laptop

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

// A Part is one of the things that one piece of hardware shows as: another device, as
// the sound of a graphics card, or some interfaces of a USB device, as the microphone
// of a webcam. Parts are told from evidence, and where two devices come into question
// neither is one.
type Part struct {
	// ID is the id of the other device, whose PartOf is that of this one. Empty when
	// the part is interfaces of the device itself.
	ID string

	Interfaces []int // their numbers, in order
	Role       Role
	Why        string // why it is one, in words
	Evidence   string // the file that says so
}

// findParts fills in the parts of all devices. It lists the directory of a display
// function that is not alone in its slot, for the kernel's links to what depends on
// it, and opens one file of a
// Bluetooth device that may be on one card with the WLAN. An error is about these; the
// parts are then what is known without.
func (l *Laptop) findParts(fsys fs.FS) error {
	var errs []error
	for i := 0; i < len(l.Devices); {
		d := &l.Devices[i]
		i++
		switch {
		case d.USB != nil:
			d.Parts = interfaceParts(*d.USB)
		case d.PCI != nil:
			functions := []*Device{d}
			for ; i < len(l.Devices) && l.Devices[i].PCI != nil && slot(l.Devices[i].PCI.Address) == slot(d.PCI.Address); i++ {
				functions = append(functions, &l.Devices[i])
			}
			if len(functions) > 1 {
				if err := slotParts(fsys, functions); err != nil {
					errs = append(errs, err)
				}
			}
		}
	}
	if err := l.radioParts(fsys); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// slotParts finds what belongs together among the functions of one slot.
func slotParts(fsys fs.FS, functions []*Device) error {
	var displays []*Device
	for _, d := range functions {
		if d.Role() == GPU {
			displays = append(displays, d)
		}
	}
	if len(displays) == 0 {
		companionParts(functions)
		chipParts(functions)
	}
	var errs []error
	for _, g := range displays {
		linked, err := linkedFunctions(fsys, g.PCI.Address)
		if err != nil {
			errs = append(errs, err)
		}
		displayParts(g, functions, len(displays) == 1, linked)
	}
	return errors.Join(errs...)
}

func slot(a pci.Address) pci.Address { return pci.NewAddress(a.Domain(), a.Bus(), a.Device(), 0) }

// attach makes p a part of d, unless it is one of something already, or has parts
// that are devices of their own.
func attach(d, p *Device, why, evidence string) {
	if p == d || p.PartOf != "" || d.PartOf != "" || slices.ContainsFunc(p.Parts, func(q Part) bool { return q.ID != "" }) {
		return
	}
	p.PartOf = d.ID()
	d.Parts = append(d.Parts, Part{ID: p.ID(), Role: p.Role(), Why: why, Evidence: evidence})
}

// displayParts finds what belongs to a graphics card: its sound (0403), USB
// controller (0c03) and the controller of its USB-C socket (0c80). The kernel links
// them to the display function where it knows that one needs the power of the other.
// Without links those of one maker in its slot are: an AMD processor has its GPU in a
// slot with much else, but not as the same vendor.
func displayParts(g *Device, functions []*Device, alone bool, linked []pci.Address) {
	belongs := func(f *pci.Function) bool {
		return f.Class.Sub() == 0x0403 || f.Class.Sub() == 0x0c03 || f.Class.Sub() == 0x0c80
	}
	for _, d := range functions {
		switch {
		case !belongs(d.PCI):
		case slices.Contains(linked, d.PCI.Address):
			attach(g, d, "the kernel links it to the display function, in the same slot", "/sys/bus/pci/devices/"+g.Where())
		case alone && d.PCI.Vendor.Known() && d.PCI.Vendor == g.PCI.Vendor:
			attach(g, d, "of the same maker as the display function, in the same slot", evidence(d.PCI.Address, "uevent"))
		}
	}
}

// linkedFunctions returns the functions between which and a the kernel has a link, as
// consumer:pci:0000:01:00.1 is one for what needs a.
func linkedFunctions(fsys fs.FS, a pci.Address) ([]pci.Address, error) {
	entries, err := fs.ReadDir(fsys, "sys/bus/pci/devices/"+a.String())
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil // unplugged meanwhile
		} else {
			err = fmt.Errorf("links of %s: %w", a, err)
		}
		return nil, err
	}
	var linked []pci.Address
	for _, e := range entries {
		kind, name, ok := strings.Cut(e.Name(), ":pci:")
		if b, err := pci.ParseAddress(name); ok && err == nil && (kind == "consumer" || kind == "supplier") {
			linked = append(linked, b)
		}
	}
	return linked, nil
}

// companionParts finds the companions of a USB 2.0 controller: those of USB 1 (UHCI,
// OHCI) in the slot of its only one serve the slow devices on the same ports.
func companionParts(functions []*Device) {
	var ehci []*Device
	for _, d := range functions {
		if d.PCI.Class.Sub() == 0x0c03 && d.PCI.Class.Interface() == 0x20 {
			ehci = append(ehci, d)
		}
	}
	for _, d := range functions {
		slow := d.PCI.Class.Sub() == 0x0c03 && (d.PCI.Class.Interface() == 0x00 || d.PCI.Class.Interface() == 0x10)
		if len(ehci) == 1 && slow {
			attach(ehci[0], d, "serves the slow devices on the ports of "+ehci[0].Where()+", in the same slot", evidence(d.PCI.Address, "uevent"))
		}
	}
}

// chipParts finds the functions of one chip that plays several roles, as Ethernet
// with a card reader or FireWire with one. Those of bus 0 are the chipset's, and AMD
// has much of a processor in one slot: they have nothing in common.
func chipParts(functions []*Device) {
	first := functions[0]
	v := first.PCI.Vendor
	if first.PCI.Address.Bus() == 0 || !v.Known() || v.Uint16() == 0x1022 || v.Uint16() == 0x1d94 {
		return
	}
	roles := map[Role]bool{}
	for _, d := range functions {
		if d.PCI.Vendor != v || d.PCI.IsBridge() || roles[d.Role()] {
			return
		}
		roles[d.Role()] = true
	}
	for _, d := range functions[1:] {
		attach(first, d, "another function of the same chip, in the same slot", evidence(d.PCI.Address, "uevent"))
	}
}

// interfaceParts divides a USB device that plays several roles into the interfaces
// of each. An interface for data (0a) belongs to the one before it.
func interfaceParts(d usb.Device) []Part {
	var parts []Part
	last := -1 // the part of the interface before
	roles := interfaceRoles(d)
	for n, i := range d.Interfaces {
		role := roles[n]
		switch ok := role != ""; {
		case !ok && i.Class.Base() == 0x0a && last >= 0:
			parts[last].Interfaces = append(parts[last].Interfaces, i.Number)
			continue
		case !ok:
			last = -1
			continue
		}
		if last = slices.IndexFunc(parts, func(p Part) bool { return p.Role == role }); last < 0 {
			last = len(parts)
			parts = append(parts, Part{
				Role: role, Why: "its interfaces announce it", Evidence: "/sys/bus/usb/devices/" + d.Path.String(),
			})
		}
		if n := parts[last].Interfaces; len(n) == 0 || n[len(n)-1] != i.Number {
			parts[last].Interfaces = append(n, i.Number)
		}
	}
	if len(parts) < 2 {
		return nil
	}
	return parts
}

// radioParts finds the Bluetooth of the card that the WLAN is on. Nothing states it,
// so it takes one WLAN function, and one Bluetooth device of the same maker that is
// not said to be removable, in the whole machine.
func (l *Laptop) radioParts(fsys fs.FS) error {
	wlan := l.matching(func(d *Device) bool { return d.PCI != nil && d.Role() == WLAN })
	if len(wlan) != 1 || !wlan[0].PCI.Vendor.Known() {
		return nil
	}
	makers := bluetoothMakers(wlan[0].PCI.Vendor.Uint16())
	var errs []error
	radios := l.matching(func(d *Device) bool {
		switch {
		case !slices.Contains(d.Roles, Bluetooth):
			return false
		case d.PCI != nil:
			return d != wlan[0] && d.PCI.Vendor == wlan[0].PCI.Vendor
		case d.USB == nil, !slices.Contains(makers, d.USB.Vendor.Uint16()), !d.USB.Vendor.Known():
			return false
		}
		removable, err := usb.Removable(fsys, d.USB.Path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		return removable != "removable"
	})
	if len(radios) == 1 {
		file := evidence(wlan[0].PCI.Address, "uevent")
		attach(wlan[0], radios[0], "of the same maker, one of each, and built in as far as is known: most likely on one card", file)
	}
	return errors.Join(errs...)
}

// bluetoothMakers returns the USB vendors under which a maker of WLAN cards, known by
// its PCI vendor, has Bluetooth: its own, and those of who puts its chips on cards.
func bluetoothMakers(wlan uint16) []uint16 {
	switch wlan {
	case 0x8086: // Intel
		return []uint16{0x8087}
	case 0x14c3: // MediaTek; IMC and AzureWave, Foxconn, Lite-On and others
		return []uint16{0x0e8d, 0x13d3, 0x0489, 0x04ca, 0x3533, 0x35f5}
	case 0x10ec: // Realtek
		return []uint16{0x0bda, 0x13d3, 0x0489, 0x04ca}
	case 0x168c, 0x17cb: // Atheros, Qualcomm
		return []uint16{0x0cf3, 0x0489, 0x04ca, 0x13d3, 0x10ab, 0x28de}
	case 0x14e4: // Broadcom
		return []uint16{0x0a5c, 0x04b4, 0x05ac, 0x0489, 0x04ca, 0x13d3, 0x413c}
	}
	return nil
}
