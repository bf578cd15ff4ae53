package iommu

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/plain"
	"github.com/project-independence/indy/pci"
)

const unitsDir = "sys/class/iommu"

// A Number is one that the kernel states, or unknown, which is the zero value.
type Number struct {
	Value uint64
	Known bool
}

// String returns the number, or unknown.
func (n Number) String() string {
	if !n.Known {
		return "unknown"
	}
	return strconv.FormatUint(n.Value, 10)
}

// A Unit is one IOMMU as the kernel runs it. What it can do is told alike for every
// maker; Intel and AMD have the registers that say so. That a unit can do something
// does not mean that the kernel makes use of it.
type Unit struct {
	Name string // of /sys/class/iommu: dmar0, ivhd0
	Kind string // intel, amd, or another, as in [Status]

	// Function is the unit itself where it is a function, as AMD's are, and otherwise
	// the zero Address.
	Function pci.Address

	// Devices are the functions it translates for, in the order of their addresses, and
	// Others what is on no PCI bus, by name (/sys/class/iommu/NAME/devices).
	Devices []pci.Address
	Others  []string
	// Known is set when that list was read.
	Known bool

	Intel IntelUnit // of an Intel unit
	AMD   AMDUnit   // of an AMD unit
}

// ReadUnits reads the IOMMU units from /sys/class/iommu, in the order of their numbers.
// A machine without a working IOMMU has none, and no error. The error joins one
// *[OpError] for each unit of which something could not be read; such a unit is
// returned with the rest, and what was not read is unknown. What a kernel does not
// state is unknown and no error.
func ReadUnits(fsys fs.FS) ([]Unit, error) {
	entries, err := fs.ReadDir(fsys, unitsDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, &OpError{"list IOMMU units", GroupID{}, err}
	}
	var units []Unit
	var errs []error
	for _, e := range entries {
		u, err := readUnit(fsys, e.Name())
		if err != nil {
			errs = append(errs, &OpError{"read IOMMU unit " + plain.Line(e.Name(), 64), GroupID{}, err})
		}
		units = append(units, u)
	}
	slices.SortStableFunc(units, func(a, b Unit) int { return compareNumbered(a.Name, b.Name) })
	return units, errors.Join(errs...)
}

// compareNumbered orders names that end in a number by it, so that dmar10 is after
// dmar9.
func compareNumbered(a, b string) int {
	split := func(s string) (string, string) {
		name := strings.TrimRight(s, "0123456789")
		return name, s[len(name):]
	}
	nameA, numberA := split(a)
	nameB, numberB := split(b)
	if nameA == nameB && len(numberA) != len(numberB) {
		return len(numberA) - len(numberB)
	}
	return strings.Compare(a, b)
}

func readUnit(fsys fs.FS, name string) (Unit, error) {
	u := Unit{Name: name, Kind: kind(name)}
	dir := unitsDir + "/" + name
	var errs []error
	note := func(err error) {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	// Where it is no link, as in a tree made by hand, nothing says what it is part of.
	if target, err := fs.ReadLink(fsys, dir); err == nil {
		if path := pci.InPath(target); len(path) > 0 {
			u.Function = path[len(path)-1]
		}
	} else if !errors.Is(err, fs.ErrInvalid) {
		note(err)
	}
	members, err := fs.ReadDir(fsys, dir+"/devices")
	note(err)
	u.Known = err == nil
	for _, m := range members {
		if a, err := pci.ParseAddress(m.Name()); err == nil && a.String() == m.Name() {
			u.Devices = append(u.Devices, a)
		} else {
			u.Others = append(u.Others, m.Name())
		}
	}
	slices.SortFunc(u.Devices, pci.Address.Compare)
	switch u.Kind {
	case "intel":
		u.Intel, err = readIntel(fsys, dir+"/intel-iommu/")
		note(err)
	case "amd":
		u.AMD, err = readAMD(fsys, dir+"/amd-iommu/")
		note(err)
	}
	return u, errors.Join(errs...)
}

// numberAt reads a number in the base; one that is not there is unknown.
func numberAt(fsys fs.FS, name string, base int) (Number, error) {
	s, err := hostfs.ReadString(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return Number{}, nil
	}
	if err != nil {
		return Number{}, err
	}
	return parseNumber(name, s, base)
}

func parseNumber(name, s string, base int) (Number, error) {
	v, err := strconv.ParseUint(s, base, 64)
	if err != nil {
		return Number{}, fmt.Errorf("%s: %q is no number", name, plain.Short(s))
	}
	return Number{v, true}, nil
}

// Has reports whether the unit translates for the function.
func (u Unit) Has(a pci.Address) bool {
	_, found := slices.BinarySearchFunc(u.Devices, a, pci.Address.Compare)
	return found
}

// AddressBits returns the width of the addresses that the unit can translate, 0 when
// it is not known. It is 39 in many laptops: a guest's memory and the devices assigned
// to it have to fit below, whatever the processor's own width is.
func (u Unit) AddressBits() int {
	switch u.Kind {
	case "intel":
		return u.Intel.Capability.AddressBits()
	case "amd":
		if u.AMD.FeaturesKnown {
			return u.AMD.Features.AddressBits()
		}
	}
	return 0
}

// Translates says whether the unit can translate the address, such as the last of a
// guest's memory, or of a BAR.
func (u Unit) Translates(address uint64) Answer {
	switch bits := u.AddressBits(); {
	case bits == 0:
		return Unknown
	case bits >= 64 || address>>bits == 0:
		return Yes
	}
	return No
}

// PageSizes returns the sizes of pages in bytes, smallest first; nil when they are not
// known. Large ones make guests with huge pages faster.
func (u Unit) PageSizes() []uint64 {
	if u.Kind == "intel" {
		return u.Intel.Capability.PageSizes()
	}
	return nil
}

// InterruptRemapping says whether the unit is able to remap interrupts. Whether the
// kernel does is in [Status].
func (u Unit) InterruptRemapping() Answer { return u.extended(IntelInterruptRemapping) }

// X2APIC says whether interrupts can be remapped to processors numbered above 255.
func (u Unit) X2APIC() Answer { return u.either(IntelX2APIC, AMDX2APIC) }

// DeviceTLB says whether devices behind the unit may translate addresses themselves
// (ATS). AMD states it in the unit's capability.
func (u Unit) DeviceTLB() Answer {
	if u.Kind == "amd" {
		return u.AMD.Capability.DeviceTLB()
	}
	return u.extended(IntelDeviceTLB)
}

// SnoopControl says whether the unit can make devices' accesses go through the caches
// though they ask not to, which frees KVM from emulating the guest's flushes of them.
// Intel's units for graphics often cannot.
func (u Unit) SnoopControl() Answer { return u.extended(IntelSnoopControl) }

// ScalableMode says whether the unit has Intel's tables with a line for each process of
// a device.
func (u Unit) ScalableMode() Answer { return u.extended(IntelScalableMode) }

// PASID says whether a device may have several address spaces. Intel's have it in
// scalable mode alone.
func (u Unit) PASID() Answer {
	if u.Kind == "amd" {
		return u.AMD.feature(AMDGuestTranslation)
	}
	return u.extended(IntelPASID | IntelScalableMode)
}

// PageRequests says whether devices may ask for pages that are not there (PRI).
func (u Unit) PageRequests() Answer { return u.either(IntelPageRequests, AMDPageRequests) }

// Emulated says whether the unit wants to be told of mappings that are made, too
// (caching mode), as only those of hypervisors do: this machine is itself a guest.
func (u Unit) Emulated() Answer {
	switch {
	case u.Kind == "intel" && u.Intel.Capability != 0:
		return answer(u.Intel.Capability&IntelCachingMode != 0)
	case u.Kind == "amd" && u.AMD.Capability != 0:
		return answer(u.AMD.Capability&AMDNotPresentCache != 0)
	}
	return Unknown
}

func answer(yes bool) Answer {
	if yes {
		return Yes
	}
	return No
}

// extended says whether an Intel unit has all of the bits.
func (u Unit) extended(bits IntelExtended) Answer {
	if u.Kind != "intel" || u.Intel.Extended == 0 {
		return Unknown
	}
	return answer(u.Intel.Extended&bits == bits)
}

func (u Unit) either(intel IntelExtended, amd AMDFeatures) Answer {
	if u.Kind == "amd" {
		return u.AMD.feature(amd)
	}
	return u.extended(intel)
}

// String says in a line what the unit is and what it can do; it is silent on what is
// not known.
func (u Unit) String() string {
	parts := []string{u.Kind}
	if u.Function.IsValid() {
		parts[0] += " at " + u.Function.String()
	}
	if bits := u.AddressBits(); bits > 0 {
		parts = append(parts, fmt.Sprintf("%d-bit addresses", bits))
	}
	if sizes := u.PageSizes(); sizes != nil {
		parts = append(parts, "pages up to "+map[uint64]string{4 << 10: "4 KiB", 2 << 20: "2 MiB", 1 << 30: "1 GiB"}[sizes[len(sizes)-1]])
	}
	for _, a := range []struct {
		answer  Answer
		yes, no string
	}{
		{u.InterruptRemapping(), "interrupt remapping", "no interrupt remapping"},
		{u.X2APIC(), "x2APIC", ""},
		{u.SnoopControl(), "", "no snoop control"},
		{u.ScalableMode(), "scalable mode", ""},
		{u.PASID(), "PASID", ""},
		{u.DeviceTLB(), "ATS", ""},
		{u.Emulated(), "emulated", ""},
	} {
		if s := map[Answer]string{Yes: a.yes, No: a.no}[a.answer]; s != "" {
			parts = append(parts, s)
		}
	}
	switch {
	case u.Known && len(u.Devices) == 1:
		parts = append(parts, "1 function")
	case u.Known:
		parts = append(parts, fmt.Sprintf("%d functions", len(u.Devices)))
	}
	return plain.Line(u.Name, 64) + ": " + strings.Join(parts, ", ")
}
