package iommu

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/project-independence/indy/pci"
)

// A ScopeType says what kind of device a scope names (VT-d 4.1, section 8.3.1).
type ScopeType uint8

// The kinds of scopes.
const (
	ScopeEndpoint  ScopeType = 1 // one function
	ScopeBridge    ScopeType = 2 // a bridge and all that is below it
	ScopeIOAPIC    ScopeType = 3 // an interrupt controller; its address need not be a function's
	ScopeHPET      ScopeType = 4 // a timer; the same holds
	ScopeNamespace ScopeType = 5 // a device of ACPI's name space, which an ANDD names
)

// String returns endpoint, bridge, IOAPIC, HPET, ACPI device, or the number.
func (s ScopeType) String() string {
	switch s {
	case ScopeEndpoint:
		return "endpoint"
	case ScopeBridge:
		return "bridge"
	case ScopeIOAPIC:
		return "IOAPIC"
	case ScopeHPET:
		return "HPET"
	case ScopeNamespace:
		return "ACPI device"
	}
	return fmt.Sprintf("scope type %d", uint8(s))
}

// A ScopeStep is one function on the way from a root bus to a device. The table has
// whole bytes for both, and firmware may write what no device has.
type ScopeStep struct{ Device, Function uint8 }

// A Scope names a device as a DMAR table does: a bus and, from there down, device and
// function of each bridge and of the device itself. It survives that buses are
// numbered anew; see [Scope.Resolve] for its address.
type Scope struct {
	Type          ScopeType
	Flags         uint8 // of a SIDP
	EnumerationID uint8 // of an IOAPIC its id, of an ACPI device the number of its ANDD
	Segment       uint16
	StartBus      uint8
	Path          []ScopeStep
}

// String returns such as "endpoint 0000:00:1c.0/00.0": what it is, and the way to it.
func (s Scope) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %04x:%02x:", s.Type, s.Segment, s.StartBus)
	for i, p := range s.Path {
		if i > 0 {
			b.WriteByte('/')
		}
		fmt.Fprintf(&b, "%02x.%x", p.Device, p.Function)
	}
	if len(s.Path) == 0 {
		b.WriteByte('?')
	}
	if s.Type == ScopeIOAPIC || s.Type == ScopeHPET || s.Type == ScopeNamespace {
		fmt.Fprintf(&b, " (number %d)", s.EnumerationID)
	}
	return b.String()
}

// Buses says which functions a machine has and which bus is behind each bridge. The
// zero Buses knows of none.
type Buses struct {
	functions map[pci.Address][]pci.Address // each with the bridges above it, from the root down
	behind    map[pci.Address]uint8
}

// ReadBuses reads the functions of the machine, and which bus is behind each bridge:
// from the links /sys/bus/pci/devices/ADDRESS, which lead through the bridges above a
// function, and from /sys/class/pci_bus, which also has buses on which nothing is. It
// opens no file, and wakes nothing. The error joins what could not be read; the rest
// is returned.
func ReadBuses(fsys fs.FS) (Buses, error) {
	b := Buses{map[pci.Address][]pci.Address{}, map[pci.Address]uint8{}}
	var errs []error
	note := func(err error) {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	const devices, buses = "sys/bus/pci/devices", "sys/class/pci_bus"
	entries, err := fs.ReadDir(fsys, devices)
	note(err)
	for _, e := range entries {
		a, err := pci.ParseAddress(e.Name())
		if err != nil || a.String() != e.Name() {
			continue
		}
		b.functions[a] = nil
		target, err := fs.ReadLink(fsys, devices+"/"+e.Name())
		if err != nil {
			note(err)
			continue
		}
		if above := pci.InPath(target); len(above) > 0 {
			b.functions[a] = above[:len(above)-1]
		}
		b.add(target)
	}
	entries, err = fs.ReadDir(fsys, buses)
	note(err)
	for _, e := range entries {
		target, err := fs.ReadLink(fsys, buses+"/"+e.Name())
		if err != nil {
			note(err)
			continue
		}
		bridge, ok := strings.CutSuffix(target, "/pci_bus/"+e.Name())
		if !ok {
			continue
		}
		// A bus is no function; one on it has an address that is, and leads here.
		b.add(bridge + "/" + e.Name() + ":00.0")
	}
	if len(errs) > 0 {
		return b, &OpError{"list PCI buses", GroupID{}, errors.Join(errs...)}
	}
	return b, nil
}

// add notes for each bridge in a path below /sys/devices on which bus the function is
// that comes next. The buses of virtual functions are beside that of their physical
// one, and are numbered after it.
func (b Buses) add(path string) {
	elems := strings.Split(path, "/")
	for i := range elems {
		if i == 0 {
			continue
		}
		above, err1 := pci.ParseAddress(elems[i-1])
		below, err2 := pci.ParseAddress(elems[i])
		if err1 != nil || err2 != nil || above.Domain() != below.Domain() {
			continue // a root, or the root of a hierarchy that a function carries itself
		}
		if bus, ok := b.behind[above]; !ok || below.Bus() < bus {
			b.behind[above] = below.Bus()
		}
	}
}

// Has reports whether the machine has the function.
func (b Buses) Has(a pci.Address) bool {
	_, ok := b.functions[a]
	return ok
}

// Behind returns the number of the bus behind a bridge, and whether it is known.
func (b Buses) Behind(bridge pci.Address) (bus uint8, ok bool) {
	bus, ok = b.behind[bridge]
	return bus, ok
}

// Functions returns the functions of the machine in the order of their addresses.
func (b Buses) Functions() []pci.Address {
	all := make([]pci.Address, 0, len(b.functions))
	for a := range b.functions {
		all = append(all, a)
	}
	slices.SortFunc(all, pci.Address.Compare)
	return all
}

// Resolve walks from the start bus through the bridges to the address of the device.
//
// The address is valid as soon as the walk arrives. The error is then
// [fs.ErrNotExist] if the machine has no such function, as is so of most IOAPICs and
// HPETs, which only send under that number, and of devices that are switched off. If
// the walk does not arrive, the error says at which bridge it ended, and the address is
// the zero one.
func (s Scope) Resolve(b Buses) (pci.Address, error) {
	if len(s.Path) == 0 {
		return pci.Address{}, fmt.Errorf("%s: it has no path", s)
	}
	bus := s.StartBus
	at := func(p ScopeStep) (pci.Address, error) {
		a := pci.NewAddress(uint32(s.Segment), bus, p.Device, p.Function)
		if !a.IsValid() {
			return a, fmt.Errorf("%s: device %#x, function %#x is none that can be", s, p.Device, p.Function)
		}
		return a, nil
	}
	last := len(s.Path) - 1
	for _, p := range s.Path[:last] {
		bridge, err := at(p)
		if err != nil {
			return pci.Address{}, err
		}
		next, ok := b.Behind(bridge)
		switch {
		case !ok && !b.Has(bridge):
			return pci.Address{}, fmt.Errorf("%s: there is no bridge %s: %w", s, bridge, fs.ErrNotExist)
		case !ok:
			return pci.Address{}, fmt.Errorf("%s: it is not known which bus is behind %s", s, bridge)
		}
		bus = next
	}
	a, err := at(s.Path[last])
	if err == nil && !b.Has(a) {
		err = fmt.Errorf("%s: there is no function %s: %w", s, a, fs.ErrNotExist)
	}
	return a, err
}

// scopes decodes the scopes at the end of a structure, of which at is the offset in
// the table.
func (t *table) scopes(b []byte, at int, segment uint16) []Scope {
	var all []Scope
	for off := 0; off < len(b); {
		rest := b[off:]
		if len(rest) < 6 {
			t.wrong(at+off, "%d bytes where a device scope would be", len(rest))
			break
		}
		n := int(rest[1])
		if n < 6 || n > len(rest) {
			t.wrong(at+off, "a device scope of %d bytes in %d", n, len(rest))
			break
		}
		if n == 6 || n%2 != 0 {
			t.wrong(at+off, "a device scope of %d bytes has no path of pairs", n)
		}
		s := Scope{Type: ScopeType(rest[0]), Flags: rest[2], EnumerationID: rest[4], Segment: segment, StartBus: rest[5]}
		for p := 6; p+1 < n; p += 2 {
			s.Path = append(s.Path, ScopeStep{rest[p], rest[p+1]})
		}
		all = append(all, s)
		off += n
	}
	return all
}
