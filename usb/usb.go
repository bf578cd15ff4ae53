package usb

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/project-independence/indy/internal/plain"
	"github.com/project-independence/indy/pci"
)

const devices = "sys/bus/usb/devices"

// A Device is one USB device as the kernel lists it.
type Device struct {
	Path PortPath

	// Bus and Number are the kernel's for now: they name the node of the device,
	// and a replug changes Number. From uevent below /sys/bus/usb/devices/PATH, else
	// devnum. Number is 0 when neither says.
	Bus, Number int

	// From uevent, else idVendor, idProduct, bcdDevice and bDeviceClass,
	// bDeviceSubClass, bDeviceProtocol, else the modalias of an interface. Unknown
	// when none of them says.
	Vendor, Product ID
	Release         ID // four digits of binary coded decimal: 0110 is 1.10
	Class           Class

	// Hub tells that other devices may be plugged into this one.
	Hub bool

	// Controller is the PCI function of the host controller, from the link
	// /sys/bus/usb/devices/PATH. The zero Address when the controller is none, as in
	// a system on chip, or is made by software (dummy_hcd, vhci_hcd).
	Controller pci.Address

	// Driver is the driver of the device as a whole, empty when there is none:
	// normally usb, and usbfs or another when it was taken from the kernel.
	Driver string

	// Interfaces are those of the active configuration in the order of their
	// numbers. A device that is not authorised has none.
	Interfaces []Interface
}

// An Interface is one function of a device that a driver can be bound to.
type Interface struct {
	// Number is in the name of the interface, as 3 in 1-4:1.3.
	Number int

	// Class is from uevent below /sys/bus/usb/devices/PATH:CONFIGURATION.NUMBER, else
	// modalias, else bInterfaceClass, bInterfaceSubClass and bInterfaceProtocol.
	Class Class

	// Driver is the name of the bound driver, empty when there is none.
	Driver string
}

// Node returns the name of the device's node, dev/bus/usb/001/004, or "" when its
// number is unknown.
func (d Device) Node() string {
	if d.Number <= 0 {
		return ""
	}
	return fmt.Sprintf("dev/bus/usb/%03d/%03d", d.Bus, d.Number)
}

// An OpError says what could not be done with which device. Err keeps the kernel's
// *fs.PathError.
type OpError struct {
	Op   string
	Path PortPath // zero when the error is about the whole bus
	Err  error
}

// Error returns operation, port path and cause.
func (e *OpError) Error() string {
	if !e.Path.IsValid() {
		return e.Op + ": " + e.Err.Error()
	}
	return e.Op + " " + e.Path.String() + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *OpError) Unwrap() error { return e.Err }

func opError(op string, p PortPath, err error) error { return &OpError{op, p, err} }

var (
	errGone        = errors.New("no such device; it may have been unplugged meanwhile")
	errNoInterface = errors.New("no longer there; the device may have been reconfigured meanwhile")
	errOrphan      = errors.New("interfaces without their device; it may have been plugged in or unplugged meanwhile")
)

// Devices lists the USB devices of a machine in the order of their port paths. Hubs
// are among them and marked, root hubs (usb1) are not; an interface (1-4:1.0) is
// part of its device. It opens one file (uevent) and reads one link for each
// device, and opens one file for each interface.
//
// The error, if any, joins one *[OpError] for each device that could not be read in
// full; the devices are returned all the same, with what is known. A device that
// vanished meanwhile is only in the error. A machine without USB has no devices and
// an error that is [fs.ErrNotExist].
func Devices(fsys fs.FS) ([]Device, error) {
	list, interfaces, errs, err := readNames(fsys)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, PortPath.Compare)
	found := make([]Device, 0, len(list))
	for _, p := range list {
		d, err := readDevice(fsys, p, interfaces[p])
		delete(interfaces, p)
		if err != nil {
			errs = append(errs, err)
			if errors.Is(err, errGone) {
				continue
			}
		}
		found = append(found, d)
	}
	for _, p := range slices.SortedFunc(maps.Keys(interfaces), PortPath.Compare) {
		errs = append(errs, opError("read", p, errOrphan))
	}
	return found, errors.Join(errs...)
}

// ReadDevice reads one device. The error is an *[OpError]; the device returned with
// it holds what could be read. It is [fs.ErrNotExist] when there is no such device.
func ReadDevice(fsys fs.FS, p PortPath) (Device, error) {
	_, interfaces, _, err := readNames(fsys)
	if err != nil {
		return Device{Path: p, Bus: p.Bus()}, opError("read", p, errors.Unwrap(err))
	}
	return readDevice(fsys, p, interfaces[p])
}

// An interfaceName is the name of an interface's directory and the number in it.
type interfaceName struct {
	name   string
	number int
}

// readNames sorts the entries of the bus into devices and their interfaces. Names
// of neither kind are errs.
func readNames(fsys fs.FS) (list []PortPath, interfaces map[PortPath][]interfaceName, errs []error, err error) {
	entries, err := fs.ReadDir(fsys, devices)
	if err != nil {
		return nil, nil, nil, opError("list USB devices", PortPath{}, err)
	}
	interfaces = map[PortPath][]interfaceName{}
	for _, e := range entries {
		name := e.Name()
		if p, ok := parsePortPath(name); ok {
			list = append(list, p)
		} else if p, number, ok := parseInterface(name); ok {
			if p.IsValid() {
				interfaces[p] = append(interfaces[p], interfaceName{name, number})
			}
		} else if _, ok := rootHub(name); !ok {
			errs = append(errs, opError("list USB devices", PortPath{}, fmt.Errorf("%q is the name of no device", plain.Short(name))))
		}
	}
	for _, names := range interfaces {
		slices.SortStableFunc(names, func(a, b interfaceName) int { return a.number - b.number })
	}
	return list, interfaces, errs, nil
}

// parseInterface reads the name of an interface, PATH:CONFIGURATION.NUMBER. An
// interface of a root hub, 1-0:1.0, gives the zero PortPath.
func parseInterface(name string) (p PortPath, number int, ok bool) {
	device, rest, ok := strings.Cut(name, ":")
	if !ok {
		return PortPath{}, 0, false
	}
	configuration, digits, _ := strings.Cut(rest, ".")
	_, err1 := strconv.ParseUint(configuration, 10, 8)
	n, err2 := strconv.ParseUint(digits, 10, 8)
	if err1 != nil || err2 != nil {
		return PortPath{}, 0, false
	}
	if bus, ok := strings.CutSuffix(device, "-0"); ok {
		_, ok := rootHub("usb" + bus)
		return PortPath{}, int(n), ok
	}
	p, ok = parsePortPath(device)
	return p, int(n), ok
}
