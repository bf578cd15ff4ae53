package laptop

import (
	"errors"
	"io/fs"
	"slices"
	"sort"
	"strings"

	"github.com/project-independence/indy/audio"
	"github.com/project-independence/indy/gpu"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

// A Laptop is one machine, read once.
type Laptop struct {
	Devices []Device      // PCI functions by address, USB devices by port path, then others by id
	Groups  []iommu.Group // in the order of their numbers
	IOMMU   iommu.Status
	Uses    []Use // what the host itself needs

	host hostUses // the same, and how far it is known, for judging once more

	partial bool // there are more functions than are in Devices, see ReadGroups
}

// A Device is one PCI function, one USB device, or one device on neither bus that a
// person knows by what it does. Hubs are left out: they are neither assigned nor
// shared. Of PCI, USB and Other one is not nil.
type Device struct {
	PCI     *pci.Function
	USB     *usb.Device
	Other   *Other
	Display *gpu.Display // what a display function shows, else nil

	// Roles are what a person would call the device, the most telling first; there
	// is always one.
	Roles    []Role
	Classes  []ClassDevice // what the kernel made of it
	Nodes    []string      // below /dev, without the leading slash
	Verdict  Verdict
	Findings []Finding // what led to the verdict

	// PartOf is the id of the device that this one is a part of: one thing in the
	// hand that shows as several devices. Empty for most.
	PartOf string

	// Parts are what the device consists of besides, or if it is of several things in
	// one, all of them: see [Part].
	Parts []Part
}

// Bus returns pci, usb, or the bus of a device on neither.
func (d *Device) Bus() string {
	switch {
	case d.PCI != nil:
		return "pci"
	case d.USB != nil:
		return "usb"
	}
	return d.Other.Bus
}

// Where returns the address of a PCI function, the port path of a USB device, or the
// kernel's name of another.
func (d *Device) Where() string {
	switch {
	case d.PCI != nil:
		return d.PCI.Address.String()
	case d.USB != nil:
		return d.USB.Path.String()
	}
	return d.Other.Name
}

// ID returns pci:ADDRESS, usb:PORTPATH or BUS:NAME.
func (d *Device) ID() string { return d.Bus() + ":" + d.Where() }

// Role returns the first of the device's roles.
func (d *Device) Role() Role { return d.Roles[0] }

// Group returns the IOMMU group of a PCI function; other devices have none of their
// own.
func (d *Device) Group() iommu.GroupID {
	if d.PCI == nil {
		return iommu.GroupID{}
	}
	return d.PCI.Group
}

// Controller returns the PCI function that a USB device or one on neither bus hangs
// on, and with which it changes hands. It is the zero Address when there is none.
func (d *Device) Controller() pci.Address {
	switch {
	case d.USB != nil:
		return d.USB.Controller
	case d.Other != nil:
		return d.Other.Controller
	}
	return pci.Address{}
}

// Driver returns the driver of a device, or the drivers of a USB device's interfaces
// separated by commas. It is empty when there is none.
func (d *Device) Driver() string {
	switch {
	case d.PCI != nil:
		return d.PCI.Driver
	case d.Other != nil:
		return d.Other.Driver
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
	i, ok := sort.Find(len(l.Devices), func(i int) int {
		if f := l.Devices[i].PCI; f != nil {
			return a.Compare(f.Address)
		}
		return -1
	})
	if !ok {
		return nil
	}
	return &l.Devices[i]
}

// Device returns the device with the given id, or nil.
func (l *Laptop) Device(id string) *Device {
	if name, ok := strings.CutPrefix(id, "pci:"); ok || id == "" {
		a, err := pci.ParseAddress(name)
		if err != nil {
			return nil
		}
		return l.Function(a)
	}
	i := slices.IndexFunc(l.Devices, func(d Device) bool { return d.ID() == id })
	if i < 0 {
		return nil
	}
	return &l.Devices[i]
}

// Carried returns the devices that hang on a PCI function and change hands with it:
// those of a USB controller, or what is on the I2C bus, the UART or the board's
// bridge that the function is.
func (l *Laptop) Carried(a pci.Address) []*Device {
	if !a.IsValid() {
		return nil
	}
	return l.matching(func(d *Device) bool { return d.Controller() == a })
}

// Group returns the group with the given number, or nil.
func (l *Laptop) Group(id iommu.GroupID) *iommu.Group {
	i, ok := slices.BinarySearchFunc(l.Groups, id, func(g iommu.Group, id iommu.GroupID) int { return g.ID.Compare(id) })
	if !ok {
		return nil
	}
	return &l.Groups[i]
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
	usbDevices, usbErr := usb.Devices(fsys)
	note(unlessMissing(usbErr, len(usbDevices)))
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
	host.carriedKnown = unlessMissing(usbErr, len(usbDevices)) == nil

	classes, err := readClasses(fsys)
	note(err)

	for _, f := range functions {
		l.Devices = append(l.Devices, Device{PCI: &f})
	}
	for _, d := range usbDevices {
		if !d.Hub {
			l.Devices = append(l.Devices, Device{USB: &d})
		}
	}
	note(l.join(fsys, classes, cards, displays, disks))
	note(l.findParts(fsys))
	note(host.readSeat(fsys, l, false))
	note(l.judge(fsys, host))
	l.host = host
	return l, errors.Join(errs...)
}

// unlessMissing drops the error of a bus the machine does not have.
func unlessMissing(err error, found int) error {
	if found == 0 && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
