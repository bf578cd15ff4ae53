package pci

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/plain"
)

const devices = "sys/bus/pci/devices"

// A Function is one PCI function as the kernel lists it.
type Function struct {
	Address Address

	// From /sys/bus/pci/devices/ADDRESS/uevent, else modalias, else the file of
	// each. Unknown when none of them says.
	Class           Class
	Vendor          ID
	Device          ID
	SubsystemVendor ID
	SubsystemDevice ID

	// Driver is the name of the bound driver, empty when there is none.
	Driver string

	// Group is the IOMMU group, from the link iommu_group. The zero GroupID means
	// that the function is in none.
	Group GroupID
}

// IsBridge reports whether the class says that other functions sit behind this
// one: PCI-to-PCI, CardBus and semi-transparent bridges. Other classes of base
// class 06, such as host bridges and switches of GPUs, are endpoints. Forwards
// asks the kernel.
func (f Function) IsBridge() bool {
	switch f.Class.Sub() {
	case 0x0604, 0x0607, 0x0609:
		return true
	}
	return false
}

// An OpError says what could not be done with which function. Err keeps the
// kernel's *fs.PathError.
type OpError struct {
	Op      string
	Address Address // zero when the error is about the whole bus
	Err     error
}

// Error returns operation, address and cause.
func (e *OpError) Error() string {
	if !e.Address.IsValid() {
		return e.Op + ": " + e.Err.Error()
	}
	return e.Op + " " + e.Address.String() + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *OpError) Unwrap() error { return e.Err }

func opError(op string, a Address, err error) error { return &OpError{op, a, err} }

// Functions lists the PCI functions of a machine in the order of their addresses.
// It opens one file (uevent) and reads one link (iommu_group) for each.
//
// The error, if any, joins one *[OpError] for each function that could not be read
// in full; the functions are returned all the same, with what is known. A function
// that vanished meanwhile is only in the error. A machine without a PCI bus has no
// functions and an error that is [fs.ErrNotExist].
func Functions(fsys fs.FS) ([]Function, error) {
	entries, err := fs.ReadDir(fsys, devices)
	if err != nil {
		return nil, opError("list PCI functions", Address{}, err)
	}
	near, prefix, done := hostfs.Near(fsys, devices)
	defer done()
	functions := make([]Function, 0, len(entries))
	var errs []error
	for _, e := range entries {
		a, err := ParseAddress(e.Name())
		if err == nil && a.String() != e.Name() {
			err = fmt.Errorf("%q is not how the kernel writes %s", plain.Short(e.Name()), a) // and would be a second one
		}
		if err != nil {
			errs = append(errs, opError("list PCI functions", Address{}, err))
			continue
		}
		f, err := readFunction(near, prefix, a)
		if err != nil {
			errs = append(errs, err)
			if errors.Is(err, errGone) {
				continue
			}
		}
		functions = append(functions, f)
	}
	slices.SortFunc(functions, func(f, g Function) int { return f.Address.Compare(g.Address) })
	return functions, errors.Join(errs...)
}

var errGone = errors.New("no such function; it may have been unplugged meanwhile")

// ReadFunction reads one function. The error is an *[OpError]; the function
// returned with it holds what could be read.
func ReadFunction(fsys fs.FS, a Address) (Function, error) {
	return readFunction(fsys, devices+"/", a)
}

func readFunction(fsys fs.FS, prefix string, a Address) (Function, error) {
	f := Function{Address: a}
	dir := prefix + a.String()
	errs := f.readIDs(fsys, dir)
	group, err := hostfs.ReadLinkBase(fsys, dir+"/iommu_group")
	if err == nil {
		f.Group, err = ParseGroupID(group)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		if _, err := fs.Lstat(fsys, dir); errors.Is(err, fs.ErrNotExist) {
			return f, opError("read", a, fmt.Errorf("%w: %w", errGone, err))
		}
		return f, opError("read", a, errors.Join(errs...))
	}
	return f, nil
}

func (f *Function) readIDs(fsys fs.FS, dir string) []error {
	uevent, unread := fs.ReadFile(fsys, dir+"/uevent")
	if unread == nil {
		errs := f.parseUevent(string(uevent))
		if f.Class.Known() && f.Vendor.Known() && f.Device.Known() {
			return errs
		}
	}
	// Saved machines often lack uevent; modalias holds the same ids.
	var errs []error
	driver, err := hostfs.ReadLinkBase(fsys, dir+"/driver")
	switch {
	case err == nil:
		f.Driver = driver
	case !errors.Is(err, fs.ErrNotExist):
		errs = append(errs, fmt.Errorf("driver: %w", err)) // it may have one
	}
	if alias, err := fs.ReadFile(fsys, dir+"/modalias"); err == nil && f.parseModalias(strings.TrimSpace(string(alias))) {
		return errs
	}
	attributes := f.readAttributes(fsys, dir)
	if len(attributes) > 0 && unread != nil && !errors.Is(unread, fs.ErrNotExist) {
		errs = append(errs, unread) // which would have said it
	}
	return append(errs, attributes...)
}

// parseUevent reads the KEY=VALUE lines of a PCI function's uevent.
func (f *Function) parseUevent(text string) []error {
	var errs []error
	note := func(key string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("uevent, %s: %w", key, err))
		}
	}
	pair := func(key, value string, first, second *ID) {
		a, b, _ := strings.Cut(value, ":")
		v, err := ParseID(a)
		note(key, err)
		d, err := ParseID(b)
		note(key, err)
		*first, *second = v, d
	}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimRight(line, "\n"), "=")
		switch key {
		case "DRIVER":
			f.Driver = strings.Clone(value) // and lets go of the file
		case "PCI_CLASS":
			var err error
			f.Class, err = ParseClass(value)
			note(key, err)
		case "PCI_ID":
			pair(key, value, &f.Vendor, &f.Device)
		case "PCI_SUBSYS_ID":
			pair(key, value, &f.SubsystemVendor, &f.SubsystemDevice)
		}
	}
	return errs
}

// parseModalias reads pci:vVVVVVVVVdDDDDDDDDsvSSSSSSSSsdSSSSSSSSbcBBscSSiII.
func (f *Function) parseModalias(s string) bool {
	const form = "pci:v00000000d00000000sv00000000sd00000000bc00sc00i00"
	if len(s) != len(form) {
		return false
	}
	field := func(at, n int) (uint64, bool) { return parseHex(s[at : at+n]) }
	v, ok1 := field(5, 8)
	d, ok2 := field(14, 8)
	sv, ok3 := field(24, 8)
	sd, ok4 := field(34, 8)
	bc, ok5 := field(44, 2)
	sc, ok6 := field(48, 2)
	i, ok7 := field(51, 2)
	if !(ok1 && ok2 && ok3 && ok4 && ok5 && ok6 && ok7) || v|d|sv|sd > 0xffff {
		return false
	}
	f.Vendor, f.Device = NewID(uint16(v)), NewID(uint16(d))
	f.SubsystemVendor, f.SubsystemDevice = NewID(uint16(sv)), NewID(uint16(sd))
	f.Class = NewClass(uint32(bc<<16 | sc<<8 | i))
	return true
}

func (f *Function) readAttributes(fsys fs.FS, dir string) []error {
	var errs []error
	id := func(name string, into *ID, needed bool) {
		s, err := hostfs.ReadString(fsys, dir+"/"+name)
		if err == nil {
			*into, err = ParseID(s)
		}
		if err != nil && (needed || !errors.Is(err, fs.ErrNotExist)) {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	id("vendor", &f.Vendor, true)
	id("device", &f.Device, true)
	id("subsystem_vendor", &f.SubsystemVendor, false)
	id("subsystem_device", &f.SubsystemDevice, false)
	s, err := hostfs.ReadString(fsys, dir+"/class")
	if err == nil {
		f.Class, err = ParseClass(s)
	}
	if err != nil {
		errs = append(errs, fmt.Errorf("class: %w", err))
	}
	return errs
}
