package laptop

import (
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/project-independence/indy/audio"
	"github.com/project-independence/indy/gpu"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

// A Laptop is one machine, read once.
type Laptop struct {
	Devices []Device      // PCI functions by address, then USB devices by port path
	Groups  []iommu.Group // in the order of their numbers
	IOMMU   iommu.Status
	Uses    []Use // what the host itself needs
}

// A Device is one PCI function or one USB device. Hubs are left out: they are
// neither assigned nor shared.
type Device struct {
	PCI     *pci.Function // nil for a USB device
	USB     *usb.Device   // nil for a PCI function
	Display *gpu.Display  // what a display function shows, else nil

	// Roles are what a person would call the device, the most telling first; there
	// is always one.
	Roles    []Role
	Nodes    []string // below /dev, without the leading slash
	Verdict  Verdict
	Findings []Finding // what led to the verdict
}

// Bus returns pci or usb.
func (d *Device) Bus() string {
	if d.USB != nil {
		return "usb"
	}
	return "pci"
}

// Where returns the address of a PCI function or the port path of a USB device.
func (d *Device) Where() string {
	if d.USB != nil {
		return d.USB.Path.String()
	}
	return d.PCI.Address.String()
}

// ID returns pci:ADDRESS or usb:PORTPATH.
func (d *Device) ID() string { return d.Bus() + ":" + d.Where() }

// Role returns the first of the device's roles.
func (d *Device) Role() Role { return d.Roles[0] }

// Group returns the IOMMU group of a PCI function; a USB device has none of its own.
func (d *Device) Group() iommu.GroupID {
	if d.PCI == nil {
		return iommu.GroupID{}
	}
	return d.PCI.Group
}

// Driver returns the driver of a PCI function, or the drivers of a USB device's
// interfaces separated by commas. It is empty when there is none.
func (d *Device) Driver() string {
	if d.PCI != nil {
		return d.PCI.Driver
	}
	var drivers []string
	for _, i := range d.USB.Interfaces {
		if i.Driver != "" && !slices.Contains(drivers, i.Driver) {
			drivers = append(drivers, i.Driver)
		}
	}
	return strings.Join(drivers, ",")
}

// Function returns the device of the PCI function a, or nil.
func (l *Laptop) Function(a pci.Address) *Device {
	i, ok := slices.BinarySearchFunc(l.Devices, a, func(d Device, a pci.Address) int {
		if d.PCI == nil {
			return 1
		}
		return d.PCI.Address.Compare(a)
	})
	if !ok {
		return nil
	}
	return &l.Devices[i]
}

// Group returns the group with the given number, or nil.
func (l *Laptop) Group(id iommu.GroupID) *iommu.Group {
	i, ok := slices.BinarySearchFunc(l.Groups, id, func(g iommu.Group, id iommu.GroupID) int { return g.ID.Compare(id) })
	if !ok {
		return nil
	}
	return &l.Groups[i]
}

// Viable reports whether VFIO would find the group viable as its functions are
// bound now: each to a driver of VFIO's, to one that leaves DMA alone (pcieport and
// pci-stub), or to none. Members on no PCI bus make the answer unknown.
func (l *Laptop) Viable(g *iommu.Group) iommu.Answer {
	answer := iommu.Yes
	if !g.Known || len(g.Others) > 0 {
		answer = iommu.Unknown
	}
	for _, a := range g.Devices {
		d := l.Function(a)
		if d == nil {
			continue // then the group is not Known
		}
		switch name := strings.ReplaceAll(d.PCI.Driver, "_", "-"); {
		case name == "", name == "pcieport", name == "pci-stub", strings.HasPrefix(name, "vfio-"), strings.HasSuffix(name, "-vfio-pci"):
		default:
			return iommu.No
		}
	}
	return answer
}

// StaysWithHost reports whether a function is left alone when its group changes
// hands: a bridge, whose driver leaves DMA alone, and a host or ISA bridge without a
// driver, as many root ports and on-board controllers have one beside them. One with a
// driver of its own would make the group unusable, so it is taken along.
func StaysWithHost(f pci.Function) bool {
	return f.IsBridge() || isPlatform(f) && f.Driver == ""
}

// isPlatform reports whether a function is the board's own door to memory or to the
// low-speed bus (host bridge, ISA, LPC or eSPI bridge): of no use to a guest by
// itself, though it has the header of a device.
func isPlatform(f pci.Function) bool {
	return f.Class.Sub() == 0x0600 || f.Class.Sub() == 0x0601
}

// Endpoints returns the members of a group that change hands with it, which are all
// but those that stay with the host.
func (l *Laptop) Endpoints(g *iommu.Group) []pci.Address {
	var endpoints []pci.Address
	for _, a := range g.Devices {
		if d := l.Function(a); d == nil || !StaysWithHost(*d.PCI) {
			endpoints = append(endpoints, a)
		}
	}
	return endpoints
}

// Read reads a machine. It returns what could be read, and an error that joins
// what could not; a machine without a PCI or USB bus is no error. It does not
// block beyond what reading sysfs and procfs takes.
func Read(fsys fs.FS) (*Laptop, error) {
	var errs []error
	note := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	functions, err := pci.Functions(fsys)
	note(unlessMissing(err, len(functions)))
	usbDevices, err := usb.Devices(fsys)
	note(unlessMissing(err, len(usbDevices)))
	cards, err := audio.Cards(fsys)
	note(err)
	displays, err := gpu.Displays(fsys, functions)
	note(err)

	l := new(Laptop)
	l.Groups, err = iommu.Groups(fsys, functions)
	note(err)
	l.IOMMU, err = iommu.ReadStatus(fsys, l.Groups)
	note(err)
	disks, err := readBlocks(fsys)
	note(err)
	host, err := readUses(fsys, disks)
	note(err)
	l.Uses = host.uses

	for _, f := range functions {
		l.Devices = append(l.Devices, Device{PCI: &f, Roles: pciRoles(f)})
	}
	for _, d := range usbDevices {
		if !d.Hub {
			l.Devices = append(l.Devices, Device{USB: &d, Roles: usbRoles(d)})
		}
	}
	l.addNodes(cards, displays, disks)
	l.judge(fsys, host)
	return l, errors.Join(errs...)
}

// unlessMissing drops the error of a bus the machine does not have.
func unlessMissing(err error, found int) error {
	if found == 0 && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (l *Laptop) addNodes(cards []audio.Card, displays []gpu.Display, disks *blocks) {
	ports := map[usb.PortPath]*Device{}
	for i := range l.Devices {
		if d := &l.Devices[i]; d.USB != nil {
			ports[d.USB.Path] = d
			if node := d.USB.Node(); node != "" {
				d.Nodes = append(d.Nodes, node)
			}
		}
	}
	for _, c := range cards {
		d := ports[c.Port]
		if d == nil && c.Function.IsValid() {
			d = l.Function(c.Function)
		}
		if d != nil {
			d.Nodes = append(d.Nodes, c.Nodes...)
		}
	}
	for _, g := range displays {
		if d := l.Function(g.Function); d != nil {
			d.Display = &g
			d.Nodes = append(d.Nodes, g.Nodes...)
		}
	}
	for _, b := range disks.list {
		if d := ports[b.port]; d != nil {
			d.Nodes = append(d.Nodes, b.node())
			continue
		}
		for _, a := range b.functions {
			if d := l.Function(a); d != nil && d.Role() == Storage {
				d.Nodes = append(d.Nodes, b.node())
			}
		}
	}
}
