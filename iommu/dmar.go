package iommu

import (
	"fmt"
	"io/fs"
	"strings"
)

// A DMAR is the table in which firmware describes Intel's IOMMU units, and what they
// must not do (Intel VT-d architecture specification 4.1, chapter 8). It says what the
// firmware wants; what became of it is in [ReadUnits] and [Groups].
type DMAR struct {
	Header           TableHeader
	HostAddressWidth int // of DMA in bits
	Flags            DMARFlags

	Units      []DRHD // remapping units
	Reserved   []RMRR // memory that must stay mapped
	RootPorts  []ATSR // ports below which devices may translate themselves
	Affinities []RHSA // which unit is near which memory
	Namespace  []ANDD // devices on no PCI bus
	Caches     []SATC // functions of the SoC that translate themselves
	Properties []SIDP // properties of functions of the SoC
	Unknown    []UnknownStructure
}

// DMARFlags is what the platform as a whole can do and wants.
type DMARFlags uint8

// The flags of a DMAR table.
const (
	// DMARInterruptRemapping: the platform can remap interrupts.
	DMARInterruptRemapping DMARFlags = 1 << iota
	// DMARX2APICOptOut: the firmware asks not to use x2APIC.
	DMARX2APICOptOut
	// DMARPlatformOptIn: the firmware guards against DMA before the operating system
	// starts, and asks it to go on, against what is plugged in from outside.
	DMARPlatformOptIn
)

// String names the flags as the specification does.
func (f DMARFlags) String() string {
	return tableFlags(uint64(f), "INTR_REMAP", "X2APIC_OPT_OUT", "DMA_CTRL_PLATFORM_OPT_IN")
}

// A DRHD describes one remapping unit.
type DRHD struct {
	Segment uint16
	Base    uint64 // address of its registers
	Pages   int    // of 4 KiB that the registers take
	// IncludeAll: it has all devices of its segment that no other unit has, and the
	// scopes only name what is on no bus.
	IncludeAll bool
	Scopes     []Scope
}

// String returns such as "unit at 0xfed90000 for endpoint 0000:00:02.0".
func (d DRHD) String() string {
	s := fmt.Sprintf("unit at %#x", d.Base)
	if d.IncludeAll {
		return s + fmt.Sprintf(" for all else of segment %04x", d.Segment) + scopeList(" and ", d.Scopes)
	}
	return s + scopeList(" for ", d.Scopes)
}

// An RMRR is memory that the firmware needs some devices to reach at all times, as for
// a keyboard on USB, or the graphics' stolen memory. Base and Limit are inclusive.
type RMRR struct {
	Segment     uint16
	Base, Limit uint64
	Scopes      []Scope
}

// String returns such as "memory 0x8d800000-0x8fffffff for endpoint 0000:00:02.0".
func (r RMRR) String() string {
	return fmt.Sprintf("memory %#x-%#x", r.Base, r.Limit) + scopeList(" for ", r.Scopes)
}

// An ATSR names the root ports below which devices may translate addresses themselves.
type ATSR struct {
	Segment  uint16
	AllPorts bool // all of the segment; there are no scopes
	Scopes   []Scope
}

// String returns such as "ATS below bridge 0000:00:01.0".
func (a ATSR) String() string {
	if a.AllPorts {
		return fmt.Sprintf("ATS below all ports of segment %04x", a.Segment)
	}
	return "ATS" + scopeList(" below ", a.Scopes)
}

// An RHSA says to which memory a unit is near.
type RHSA struct {
	Base      uint64 // of the unit's registers
	Proximity uint32 // domain of the SRAT table
}

// String returns such as "unit at 0xfed90000 is near memory 0".
func (r RHSA) String() string {
	return fmt.Sprintf("unit at %#x is near memory %d", r.Base, r.Proximity)
}

// An ANDD names a device of ACPI's name space that does DMA; a scope of type
// [ScopeNamespace] has its number.
type ANDD struct {
	Number uint8
	Name   string // as \_SB.PCI0.I2C0, one line of printable text
}

// String returns number and name.
func (a ANDD) String() string { return fmt.Sprintf("ACPI device %d is %s", a.Number, a.Name) }

// A SATC names functions of the SoC that translate addresses themselves.
type SATC struct {
	Segment  uint16
	Required bool // their ATC must be enabled for them to work
	Scopes   []Scope
}

// String returns such as "ATC of endpoint 0000:00:02.0 is required".
func (s SATC) String() string {
	text := "ATC" + scopeList(" of ", s.Scopes)
	if s.Required {
		text += " is required"
	}
	return text
}

// A SIDP names functions of the SoC with properties of their own, which are in the
// flags of the scopes.
type SIDP struct {
	Segment uint16
	Scopes  []Scope
}

// String returns such as "properties of endpoint 0000:00:02.0".
func (s SIDP) String() string { return "properties" + scopeList(" of ", s.Scopes) }

func scopeList(before string, scopes []Scope) string {
	if len(scopes) == 0 {
		return ""
	}
	all := make([]string, len(scopes))
	for i, s := range scopes {
		all[i] = s.String()
	}
	return before + strings.Join(all, ", ")
}

// ReadDMAR reads /sys/firmware/acpi/tables/DMAR, which only root may. The error is an
// *[OpError]: with [fs.ErrNotExist] the firmware has none, or the saved machine does
// not hold it; with [fs.ErrPermission] it is not known what the table says, though it
// is there. Otherwise see [ParseDMAR].
func ReadDMAR(fsys fs.FS) (DMAR, error) {
	data, err := fs.ReadFile(fsys, tablesDir+"/DMAR")
	var d DMAR
	if err == nil {
		d, err = ParseDMAR(data)
	}
	if err != nil {
		return d, &OpError{"read the DMAR table", GroupID{}, err}
	}
	return d, nil
}

// ParseDMAR decodes a DMAR table. With an error it returns what it could decode: a
// structure with a length that cannot be ends the table, one that is too short for its
// kind is left out, and a scope that cannot be ends those of its structure. Of a table
// that is cut off the error is [io.ErrUnexpectedEOF]. A wrong checksum is no error; see
// [TableHeader].
func ParseDMAR(data []byte) (DMAR, error) {
	const start = tableHeader + 12
	h, t := openTable("DMAR", data)
	d := DMAR{Header: h}
	if len(t.b) < start {
		if len(t.errs) == 0 {
			t.wrong(len(t.b), "it ends before its first structure")
		}
		return d, t.err()
	}
	d.HostAddressWidth = int(t.b[tableHeader]) + 1
	d.Flags = DMARFlags(t.b[tableHeader+1])
	for off := start; off < len(t.b); {
		rest := t.b[off:]
		if len(rest) < 4 {
			t.wrong(off, "%d bytes where a structure would be", len(rest))
			break
		}
		kind, n := le16(rest, 0), int(le16(rest, 2))
		if n < 4 || n > len(rest) {
			t.wrong(off, "a structure of %d bytes in %d", n, len(rest))
			break
		}
		d.structure(t, kind, rest[:n], off)
		off += n
	}
	return d, t.err()
}

// structure decodes the one whose bytes b are, at offset at of the table.
func (d *DMAR) structure(t *table, kind uint16, b []byte, at int) {
	least := [...]int{16, 24, 8, 20, 8, 8, 8} // bytes before scopes or name
	if int(kind) >= len(least) {
		d.Unknown = append(d.Unknown, UnknownStructure{kind, at, len(b)})
		return
	}
	own := least[kind]
	if len(b) < own {
		t.wrong(at, "a structure of type %d has %d of at least %d bytes", kind, len(b), own)
		return
	}
	segment := le16(b, 6)
	if kind == 3 || kind == 4 {
		segment = 0 // they have none, and no scopes
	}
	var scopes []Scope
	if kind != 3 && kind != 4 {
		scopes = t.scopes(b[own:], at+own, segment)
	}
	switch kind {
	case 0:
		d.Units = append(d.Units, DRHD{segment, le64(b, 8), 1 << (b[5] & 15), b[4]&1 != 0, scopes})
	case 1:
		d.Reserved = append(d.Reserved, RMRR{segment, le64(b, 8), le64(b, 16), scopes})
	case 2:
		d.RootPorts = append(d.RootPorts, ATSR{segment, b[4]&1 != 0, scopes})
	case 3:
		d.Affinities = append(d.Affinities, RHSA{le64(b, 8), le32(b, 16)})
	case 4:
		d.Namespace = append(d.Namespace, ANDD{b[7], tableText(b[8:])})
	case 5:
		d.Caches = append(d.Caches, SATC{segment, b[4]&1 != 0, scopes})
	case 6:
		d.Properties = append(d.Properties, SIDP{segment, scopes})
	}
}
