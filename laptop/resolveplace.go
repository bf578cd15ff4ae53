package laptop

import (
	"cmp"
	"errors"
	"io/fs"
	"strings"

	"github.com/project-independence/indy/gpu"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

// Places is what [Resolve] asks of a machine beyond what a listing reads: where its
// devices are. The zero Places knows nothing.
type Places struct {
	Devices []Place // in the order of Laptop.Devices
	Ports   []usb.Port
}

// A Place is what is known of where one device is.
type Place struct {
	Identity Identity // by which it is known again

	// BuiltIn is Yes for a part of the machine, No for what is plugged in, Unknown when
	// nobody says. Source is the file that says so, below / without the slash; empty
	// where it follows from the bus.
	BuiltIn iommu.Answer
	Source  string

	// Hubs is on how many hubs a USB device hangs, one behind the other, besides that of
	// its controller.
	Hubs int

	// Integrated says of a display function whether it is a part of the processor or
	// the chipset. Unknown of all else.
	Integrated gpu.Conclusion
}

// ReadPlaces reads where the devices of a machine are that has been read from fsys:
// what [Identify] and [usb.Ports] read, the file removable of functions, USB devices
// and the hubs above these, and for each GPU what [gpu.ReadFacts] does. It wakes none
// and may wait as those do.
//
// It returns what could be read, and an error that joins what could not. What the
// kernel or a saved machine does not state is unknown and no error.
func ReadPlaces(fsys fs.FS, l *Laptop) (Places, error) {
	var errs []error
	note := func(err error) {
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			errs = append(errs, err)
		}
	}
	identities, err := Identify(fsys, l)
	if err != nil {
		errs = append(errs, err) // it has left out already what is no error
	}
	p := Places{Devices: make([]Place, len(l.Devices))}
	if len(l.matching(func(d *Device) bool { return d.USB != nil })) > 0 {
		p.Ports, err = usb.Ports(fsys)
		note(unlessMissing(err, len(p.Ports)))
	}
	connect := map[usb.PortPath]string{}
	for _, port := range p.Ports {
		connect[port.Path] = port.Connect
	}
	integrated, err := readIntegrated(fsys, l)
	note(err)
	for i := range l.Devices {
		d, at := &l.Devices[i], &p.Devices[i]
		at.Identity = identities[i]
		switch {
		case d.PCI != nil:
			// The kernel calls removable what is behind a Thunderbolt port, and says
			// nothing of the rest; sockets inside the housing are none to a person.
			removable, err := pci.Removable(fsys, d.PCI.Address)
			note(err)
			switch {
			case removable:
				at.BuiltIn, at.Source = iommu.No, d.source()+"/removable"
			case err == nil, errors.Is(err, fs.ErrNotExist):
				at.BuiltIn = iommu.Yes
			}
			at.Integrated = integrated[d.PCI.Address]
		case d.USB != nil:
			var err error
			at.BuiltIn, at.Source, err = builtInUSB(fsys, d.USB.Path, connect)
			note(err)
			for above := d.USB.Path.Parent(); above.IsValid(); above = above.Parent() {
				at.Hubs++
			}
		default:
			at.BuiltIn = builtInOther(d.Other)
		}
	}
	return p, errors.Join(errs...)
}

// readIntegrated says of each display function whether it is integrated.
func readIntegrated(fsys fs.FS, l *Laptop) (map[pci.Address]gpu.Conclusion, error) {
	var functions []pci.Function
	displays := false
	for i := range l.Devices {
		if f := l.Devices[i].PCI; f != nil {
			functions = append(functions, *f)
			displays = displays || l.Devices[i].Display != nil
		}
	}
	if !displays {
		return nil, nil
	}
	facts, err := gpu.ReadFacts(fsys, functions)
	is := map[pci.Address]gpu.Conclusion{}
	for _, g := range gpu.Hybrid(facts).GPUs {
		is[g.Function] = g.Integrated
	}
	return is, err
}

// builtInUSB says whether a USB device is a part of the machine, and by which file:
// removable of the device, else connect_type of its port. What hangs on a hub that can
// be unplugged can be, whatever the hub says of its own ports.
func builtInUSB(fsys fs.FS, p usb.PortPath, connect map[usb.PortPath]string) (iommu.Answer, string, error) {
	var errs []error
	stated := func(p usb.PortPath) (iommu.Answer, string) {
		removable, err := usb.Removable(fsys, p)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		switch {
		case removable == "removable":
			return iommu.No, usbDevices + p.String() + "/removable"
		case removable == "fixed":
			return iommu.Yes, usbDevices + p.String() + "/removable"
		case connect[p] == "hotplug":
			return iommu.No, usbDevices + p.String() + "/port/connect_type"
		case connect[p] == "hardwired":
			return iommu.Yes, usbDevices + p.String() + "/port/connect_type"
		}
		return iommu.Unknown, ""
	}
	answer, source := stated(p)
	for above := p.Parent(); above.IsValid() && answer != iommu.No; above = above.Parent() {
		if a, s := stated(above); a == iommu.No {
			answer, source = a, s
		}
	}
	return answer, source, errors.Join(errs...)
}

// builtInOther is Yes for what is on the board or on a bus that has no sockets. What
// software makes, as the keyboards of Bluetooth, may be anywhere.
func builtInOther(o *Other) iommu.Answer {
	switch o.Bus {
	case "acpi", "platform", "pnp", "i2c", "spi", "serio", "serial", "isa", "hda":
		return iommu.Yes
	}
	if o.Controller.IsValid() {
		return iommu.Yes
	}
	return iommu.Unknown
}

// compare orders devices by where they are, which outlives new numbers for buses, and
// then by id.
func (p *Place) compare(q *Place) int {
	if c := compareWays(p.Identity.Value(ByTopology), q.Identity.Value(ByTopology)); c != 0 {
		return c
	}
	return compareWays(p.Identity.ID, q.Identity.ID)
}

// compareWays orders two ways from the root of a bus step by step: 4.2 before 10. What
// has no way is last.
func compareWays(a, b string) int {
	if a == "" || b == "" {
		return cmp.Compare(len(b), len(a))
	}
	split := func(r rune) bool { return r == '/' || r == '.' || r == '-' }
	x, y := strings.FieldsFunc(a, split), strings.FieldsFunc(b, split)
	for i := range min(len(x), len(y)) {
		if c := cmp.Or(cmp.Compare(len(x[i]), len(y[i])), strings.Compare(x[i], y[i])); c != 0 {
			return c
		}
	}
	return cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(a, b))
}
