package iommu

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/plain"
)

// An IntelUnit is what the kernel states of one of Intel's units, in the directory
// /sys/class/iommu/dmarN/intel-iommu.
type IntelUnit struct {
	Version          string // of the architecture, as 1:0; empty when unknown
	Address          Number // of its registers, as [DRHD] has it; "address"
	Capability       IntelCapability
	Extended         IntelExtended
	DomainsSupported Number // address spaces it can have at once
	DomainsUsed      Number
}

// IntelCapability is the capability register (VT-d 4.1, section 11.4.2; "cap"). It is
// zero when unknown; no unit has it so.
type IntelCapability uint64

// What single bits of the capability register say.
const (
	// IntelWriteBufferFlush: write buffers have to be flushed (RWBF).
	IntelWriteBufferFlush IntelCapability = 1 << 4
	// IntelProtectedLow: memory below 4 GiB can be kept from all devices (PLMR).
	IntelProtectedLow IntelCapability = 1 << 5
	// IntelProtectedHigh: so can memory above (PHMR).
	IntelProtectedHigh IntelCapability = 1 << 6
	// IntelCachingMode: the unit, an emulated one, remembers that nothing is mapped (CM).
	IntelCachingMode IntelCapability = 1 << 7
	// IntelZeroLengthRead: reads of no bytes from pages for writing pass (ZLR).
	IntelZeroLengthRead IntelCapability = 1 << 22
	// IntelPageInvalidation: single pages can be invalidated (PSI).
	IntelPageInvalidation IntelCapability = 1 << 39
	// IntelPostedInterrupts: interrupts can be posted to a guest that runs (PI).
	IntelPostedInterrupts IntelCapability = 1 << 59
	// IntelFiveLevel: first-stage tables may have five levels (FS5LP).
	IntelFiveLevel IntelCapability = 1 << 60
)

// GuestAddressBits is the maximum guest address width (MGAW): bits 21 to 16, and one.
func (c IntelCapability) GuestAddressBits() int {
	if c == 0 {
		return 0
	}
	return int(c>>16&0x3f) + 1
}

// TableBits returns the widths for which there are second-stage tables, of 39, 48 and
// 57 bits with three, four and five levels (SAGAW: bits 12 to 8).
func (c IntelCapability) TableBits() []int {
	var all []int
	for i, bits := range [...]int{0, 39, 48, 57} {
		if bits > 0 && c>>8&(1<<i) != 0 {
			all = append(all, bits)
		}
	}
	return all
}

// AddressBits returns the width of the addresses that can be translated: the guest's,
// or that of the tables if it is less. It is 0 when unknown.
func (c IntelCapability) AddressBits() int {
	tables := c.TableBits()
	if len(tables) == 0 {
		return 0
	}
	return min(c.GuestAddressBits(), tables[len(tables)-1])
}

// PageSizes returns the sizes of second-stage pages in bytes: 4 KiB, and by bits 37 to
// 34 (SSLPS) 2 MiB and 1 GiB. It is nil when unknown.
func (c IntelCapability) PageSizes() []uint64 {
	if c == 0 {
		return nil
	}
	sizes := []uint64{4 << 10}
	for i, size := range [...]uint64{2 << 20, 1 << 30} {
		if c>>(34+i)&1 != 0 {
			sizes = append(sizes, size)
		}
	}
	return sizes
}

// Domains is the number of address spaces the unit can tell apart (ND: bits 2 to 0), 0
// when unknown.
func (c IntelCapability) Domains() int {
	if n := c & 7; c != 0 && n < 7 {
		return 1 << (4 + 2*n)
	}
	return 0
}

// IntelExtended is the extended capability register (VT-d 4.1, section 11.4.3; "ecap").
// It is zero when unknown; no unit has it so.
type IntelExtended uint64

// What single bits of the extended capability register say.
const (
	// IntelCoherent: walks of tables go through the caches (C).
	IntelCoherent IntelExtended = 1 << 0
	// IntelQueued: invalidations are queued (QI), without which there is no remapping of
	// interrupts.
	IntelQueued IntelExtended = 1 << 1
	// IntelDeviceTLB: devices may translate themselves (DT).
	IntelDeviceTLB IntelExtended = 1 << 2
	// IntelInterruptRemapping: interrupts can be remapped (IR).
	IntelInterruptRemapping IntelExtended = 1 << 3
	// IntelX2APIC: to processors with numbers above 255, too (EIM).
	IntelX2APIC IntelExtended = 1 << 4
	// IntelPassThrough: a device can be let through without tables (PT).
	IntelPassThrough IntelExtended = 1 << 6
	// IntelSnoopControl: accesses can be made to snoop (SC).
	IntelSnoopControl IntelExtended = 1 << 7
	// IntelNesting: two stages of tables (NEST).
	IntelNesting IntelExtended = 1 << 26
	// IntelPageRequests: devices may ask for pages (PRS).
	IntelPageRequests IntelExtended = 1 << 29
	// IntelPASID: requests may name a process (PASID); of use in scalable mode only.
	IntelPASID IntelExtended = 1 << 40
	// IntelScalableMode: tables by process (SMTS).
	IntelScalableMode IntelExtended = 1 << 43
	// IntelAccessDirty: second-stage tables note accesses and writes (SSADS).
	IntelAccessDirty IntelExtended = 1 << 45
	// IntelSecondStage: second-stage tables in scalable mode (SSTS).
	IntelSecondStage IntelExtended = 1 << 46
	// IntelFirstStage: first-stage tables in scalable mode (FSTS).
	IntelFirstStage IntelExtended = 1 << 47
)

// PASIDBits is the width of the number of a process (PSS: bits 39 to 35, and one), 0
// without [IntelPASID].
func (e IntelExtended) PASIDBits() int {
	if e&IntelPASID == 0 {
		return 0
	}
	return int(e>>35&0x1f) + 1
}

func readIntel(fsys fs.FS, dir string) (IntelUnit, error) {
	var u IntelUnit
	var errs []error
	read := func(name string, base int) Number {
		n, err := numberAt(fsys, dir+name, base)
		if err != nil {
			errs = append(errs, err)
		}
		return n
	}
	switch s, err := hostfs.ReadString(fsys, dir+"version"); {
	case err == nil:
		u.Version = plain.Line(s, 16)
	case !errors.Is(err, fs.ErrNotExist):
		errs = append(errs, err)
	}
	// Hexadecimal without 0x, but for the numbers of domains.
	u.Address = read("address", 16)
	u.Capability = IntelCapability(read("cap", 16).Value)
	u.Extended = IntelExtended(read("ecap", 16).Value)
	u.DomainsSupported = read("domains_supported", 10)
	u.DomainsUsed = read("domains_used", 10)
	return u, errors.Join(errs...)
}

// String names what the bits say in the words of the specification.
func (c IntelCapability) String() string {
	if c == 0 {
		return "unknown"
	}
	var set []string
	for _, b := range []struct {
		bit  IntelCapability
		name string
	}{
		{IntelWriteBufferFlush, "RWBF"}, {IntelProtectedLow, "PLMR"}, {IntelProtectedHigh, "PHMR"}, {IntelCachingMode, "CM"},
		{IntelZeroLengthRead, "ZLR"}, {IntelPageInvalidation, "PSI"}, {IntelPostedInterrupts, "PI"}, {IntelFiveLevel, "FS5LP"},
	} {
		if c&b.bit != 0 {
			set = append(set, b.name)
		}
	}
	return strings.Join(set, " ")
}

// String names what the bits say in the words of the specification.
func (e IntelExtended) String() string {
	if e == 0 {
		return "unknown"
	}
	var set []string
	for _, b := range []struct {
		bit  IntelExtended
		name string
	}{
		{IntelCoherent, "C"}, {IntelQueued, "QI"}, {IntelDeviceTLB, "DT"}, {IntelInterruptRemapping, "IR"}, {IntelX2APIC, "EIM"},
		{IntelPassThrough, "PT"}, {IntelSnoopControl, "SC"}, {IntelNesting, "NEST"}, {IntelPageRequests, "PRS"}, {IntelPASID, "PASID"},
		{IntelScalableMode, "SMTS"}, {IntelAccessDirty, "SSADS"}, {IntelSecondStage, "SSTS"}, {IntelFirstStage, "FSTS"},
	} {
		if e&b.bit != 0 {
			set = append(set, b.name)
		}
	}
	return strings.Join(set, " ")
}
