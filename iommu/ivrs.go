package iommu

import (
	"fmt"
	"io/fs"
	"slices"

	"github.com/project-independence/indy/pci"
)

// An IVRS is the table in which firmware describes AMD's IOMMU units, and memory that
// must stay mapped (AMD I/O Virtualization Technology specification 48882, chapter 5).
type IVRS struct {
	Header TableHeader
	Info   IVInfo
	// Units are the blocks IVHD in the order of the table. One unit has up to three, in
	// an older and a newer form; see [IVRS.InUse].
	Units   []IVHD
	Memory  []IVMD
	Unknown []UnknownStructure
}

// IVInfo is what an IVRS table says of all units.
type IVInfo uint32

// FeaturesStated reports whether the units' feature registers are in the table, too
// (EFRSup).
func (i IVInfo) FeaturesStated() bool { return i&1 != 0 }

// DMARemapSupport reports whether the firmware guards against DMA before the operating
// system starts, and asks it to go on. Linux takes it for protection before boot.
func (i IVInfo) DMARemapSupport() bool { return i&2 != 0 }

// GuestVirtualBits is the width of a guest's virtual addresses, 0 when the table has
// none of the known codes.
func (i IVInfo) GuestVirtualBits() int {
	if i>>5&7 == 2 {
		return 48
	}
	return 0
}

// PhysicalBits is the width of physical addresses.
func (i IVInfo) PhysicalBits() int { return int(i >> 8 & 0x7f) }

// VirtualBits is the width of addresses that devices use.
func (i IVInfo) VirtualBits() int { return int(i >> 15 & 0x7f) }

// ATSRangeReserved reports whether the HyperTransport range of addresses is reserved
// for translations that devices ask for (HtAtsResv).
func (i IVInfo) ATSRangeReserved() bool { return i>>22&1 != 0 }

// String says what there is in words.
func (i IVInfo) String() string {
	s := fmt.Sprintf("%d bits of physical, %d of device addresses", i.PhysicalBits(), i.VirtualBits())
	if i.DMARemapSupport() {
		s += ", DMA remapping before boot"
	}
	return s
}

// An IVHDType says in which form a unit is described.
type IVHDType uint8

// The forms. Later ones say more; the last alone names devices of ACPI.
const (
	IVHD10 IVHDType = 0x10
	IVHD11 IVHDType = 0x11
	IVHD40 IVHDType = 0x40
)

// IVHDFlags is what the firmware wants of a unit.
type IVHDFlags uint8

// The flags of a unit. The last two are stated in form 10h only.
const (
	IVHDTunnel           IVHDFlags = 1 << iota // HtTunEn
	IVHDPassPosted                             // PassPW
	IVHDPassResponse                           // ResPassPW
	IVHDIsochronous                            // Isoc
	IVHDRemoteTLB                              // IotlbSup: devices may have a TLB of their own
	IVHDCoherent                               // Coherent: the unit's walks of tables snoop
	IVHDPrefetch                               // PreFSup
	IVHDPeripheralFaults                       // PPRSup
)

// String names the flags as the specification does.
func (f IVHDFlags) String() string {
	return tableFlags(uint64(f), "HtTunEn", "PassPW", "ResPassPW", "Isoc", "IotlbSup", "Coherent", "PreFSup", "PPRSup")
}

// An IVHD describes one unit, and which devices are its.
type IVHD struct {
	Type     IVHDType
	Flags    IVHDFlags
	Segment  uint16
	Function pci.Address // the unit itself, which is a PCI function
	// Capability is the offset of the unit's capability in its config space.
	Capability uint16
	Base       uint64 // address of its registers
	Info       uint16 // number of its interrupt, and its unit id
	Attributes uint32 // in form 10h features, in the others attributes
	// Features is what the unit's extended feature registers say, of forms 11h and 40h
	// and if [IVInfo.FeaturesStated].
	Features  AMDFeatures
	Features2 uint64
	Entries   []IVHDEntry
}

// String returns such as "unit 0000:00:00.2 at 0xfdf00000, form 40h".
func (u IVHD) String() string {
	return fmt.Sprintf("unit %s at %#x, form %02xh", u.Function, u.Base, uint8(u.Type))
}

// IVMDFlags says what an IVMD is for.
type IVMDFlags uint8

// The flags of memory.
const (
	IVMDUnity     IVMDFlags = 1 << iota // it is to be mapped to itself
	IVMDRead                            // devices may read it
	IVMDWrite                           // and write it
	IVMDExclusion                       // devices reach it past the unit; Linux maps it to itself instead
)

// String names the flags as the specification does.
func (f IVMDFlags) String() string { return tableFlags(uint64(f), "Unity", "IR", "IW", "ExclRange") }

// An IVMD is memory that some devices need to reach at all times. Type is 20h for all
// devices, 21h for one, and 22h for those from First to Last. Some tables say the same
// again in a type 51h, which Linux does not know, and which is among the Unknown here.
type IVMD struct {
	Type          uint8
	Flags         IVMDFlags
	First, Last   pci.Address
	Start, Length uint64
}

// String returns such as "memory 0x7c000000 and 1048576 bytes on for 0000:03:00.0".
func (m IVMD) String() string {
	s := fmt.Sprintf("memory %#x and %d bytes on for ", m.Start, m.Length)
	switch {
	case m.Type == 0x20:
		return s + fmt.Sprintf("all of segment %04x", m.First.Domain())
	case m.First == m.Last:
		return s + m.First.String()
	}
	return s + m.First.String() + " to " + m.Last.String()
}

// InUse returns the blocks that Linux goes by: those of the last form that the table
// has of its first unit.
func (t IVRS) InUse() []IVHD {
	if len(t.Units) == 0 {
		return nil
	}
	form := t.Units[0].Type
	for _, u := range t.Units {
		if u.Function == t.Units[0].Function {
			form = u.Type
		}
	}
	return slices.DeleteFunc(slices.Clone(t.Units), func(u IVHD) bool { return u.Type != form })
}

// ReadIVRS reads /sys/firmware/acpi/tables/IVRS, which only root may. Errors are as
// those of [ReadDMAR].
func ReadIVRS(fsys fs.FS) (IVRS, error) {
	data, err := fs.ReadFile(fsys, tablesDir+"/IVRS")
	var t IVRS
	if err == nil {
		t, err = ParseIVRS(data)
	}
	if err != nil {
		return t, &OpError{"read the IVRS table", GroupID{}, err}
	}
	return t, nil
}

// ParseIVRS decodes an IVRS table. With an error it returns what it could decode: a
// block with a length that cannot be ends the table, an entry of which that is so ends
// those of its unit. Of a table that is cut off the error is [io.ErrUnexpectedEOF]. A
// wrong checksum is no error; see [TableHeader].
func ParseIVRS(data []byte) (IVRS, error) {
	const start = tableHeader + 12
	h, t := openTable("IVRS", data)
	v := IVRS{Header: h}
	if len(t.b) < start {
		if len(t.errs) == 0 {
			t.wrong(len(t.b), "it ends before its first block")
		}
		return v, t.err()
	}
	v.Info = IVInfo(le32(t.b, tableHeader))
	for off := start; off < len(t.b); {
		rest := t.b[off:]
		if len(rest) < 4 {
			t.wrong(off, "%d bytes where a block would be", len(rest))
			break
		}
		n := int(le16(rest, 2))
		if n < 4 || n > len(rest) {
			t.wrong(off, "a block of %d bytes in %d", n, len(rest))
			break
		}
		v.block(t, rest[:n], off)
		off += n
	}
	return v, t.err()
}

// block decodes the one whose bytes b are, at offset at of the table.
func (v *IVRS) block(t *table, b []byte, at int) {
	kind, least := b[0], 0
	switch IVHDType(kind) {
	case IVHD10:
		least = 24
	case IVHD11, IVHD40:
		least = 40
	case 0x20, 0x21, 0x22:
		least = 32
	default:
		v.Unknown = append(v.Unknown, UnknownStructure{uint16(kind), at, len(b)})
		return
	}
	if len(b) < least {
		t.wrong(at, "a block of type %02xh has %d of at least %d bytes", kind, len(b), least)
		return
	}
	if kind >= 0x20 && kind <= 0x22 {
		segment := le16(b, 8)
		m := IVMD{Type: kind, Flags: IVMDFlags(b[1]), Start: le64(b, 16), Length: le64(b, 24)}
		switch kind {
		case 0x20:
			m.First, m.Last = requester(segment, 0), requester(segment, 0xffff)
		case 0x21:
			m.First = requester(segment, le16(b, 4))
			m.Last = m.First
		case 0x22:
			m.First, m.Last = requester(segment, le16(b, 4)), requester(segment, le16(b, 6))
		}
		v.Memory = append(v.Memory, m)
		return
	}
	u := IVHD{
		Type:       IVHDType(kind),
		Flags:      IVHDFlags(b[1]),
		Segment:    le16(b, 16),
		Capability: le16(b, 6),
		Base:       le64(b, 8),
		Info:       le16(b, 18),
		Attributes: le32(b, 20),
	}
	u.Function = requester(u.Segment, le16(b, 4))
	if least == 40 {
		u.Features, u.Features2 = AMDFeatures(le64(b, 24)), le64(b, 32)
	}
	u.Entries = t.entries(b[least:], at+least, u.Segment)
	v.Units = append(v.Units, u)
}

// requester is the address whose bus, device and function are the 16 bits of a
// requester id.
func requester(segment, id uint16) pci.Address {
	return pci.NewAddress(uint32(segment), uint8(id>>8), uint8(id)>>3, uint8(id)&7)
}
