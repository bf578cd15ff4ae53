package iommu

import (
	"errors"
	"io/fs"
	"strconv"
	"strings"

	"github.com/project-independence/indy/hostfs"
)

// An AMDUnit is what the kernel states of one of AMD's units, in the directory
// /sys/class/iommu/ivhdN/amd-iommu.
type AMDUnit struct {
	Capability AMDCapability
	// Features and Features2 are the extended feature registers; FeaturesKnown is set
	// when they are.
	Features      AMDFeatures
	Features2     uint64
	FeaturesKnown bool
}

// AMDCapability is the head of a unit's PCI capability (AMD 48882, section 3.2; "cap").
// It is zero when unknown; no unit has it so.
type AMDCapability uint32

// What single bits of the capability say.
const (
	// AMDRemoteTLB: devices may translate themselves (IotlbSup).
	AMDRemoteTLB AMDCapability = 1 << 24
	// AMDTunnel: translation for a HyperTransport tunnel (HtTunnel).
	AMDTunnel AMDCapability = 1 << 25
	// AMDNotPresentCache: the unit, an emulated one, remembers that nothing is mapped
	// (NpCache).
	AMDNotPresentCache AMDCapability = 1 << 26
	// AMDExtendedFeatures: there is an extended feature register (EFRSup).
	AMDExtendedFeatures AMDCapability = 1 << 27
)

// DeviceTLB says whether devices may translate themselves.
func (c AMDCapability) DeviceTLB() Answer {
	if c == 0 {
		return Unknown
	}
	return answer(c&AMDRemoteTLB != 0)
}

// AMDFeatures is the extended feature register of a unit (AMD 48882, MMIO offset 0030h).
type AMDFeatures uint64

// What single bits of the extended feature register say.
const (
	AMDPrefetch         AMDFeatures = 1 << 0  // translations can be fetched ahead (PreFSup)
	AMDPageRequests     AMDFeatures = 1 << 1  // devices may ask for pages (PPRSup)
	AMDX2APIC           AMDFeatures = 1 << 2  // interrupts to processors numbered above 255 (XTSup)
	AMDNoExecute        AMDFeatures = 1 << 3  // pages that are not for code (NXSup)
	AMDGuestTranslation AMDFeatures = 1 << 4  // address spaces of processes, by PASID (GTSup)
	AMDInvalidateAll    AMDFeatures = 1 << 6  // (IASup)
	AMDGuestAPIC        AMDFeatures = 1 << 7  // interrupts straight to a guest's virtual APIC (GASup)
	AMDHardwareErrors   AMDFeatures = 1 << 8  // (HESup)
	AMDCounters         AMDFeatures = 1 << 9  // performance counters (PCSup)
	AMDGuestVirtualAPIC AMDFeatures = 1 << 21 // with the guest's own tables (GAMSup)
	AMDSecureNested     AMDFeatures = 1 << 63 // guards the memory of SEV-SNP guests (SNPSup)
)

// AddressBits returns the width of the addresses that the host's tables translate, by
// their levels (HATS: bits 11 and 10), 0 when there are none.
func (f AMDFeatures) AddressBits() int { return [...]int{48, 57, 64, 0}[f>>10&3] }

// PASIDBits is the width of the number of a process (PASmax: bits 36 to 32, and one), 0
// without [AMDGuestTranslation].
func (f AMDFeatures) PASIDBits() int {
	if f&AMDGuestTranslation == 0 {
		return 0
	}
	return int(f>>32&0x1f) + 1
}

// String names what the bits say in the words of the specification.
func (f AMDFeatures) String() string {
	var set []string
	for _, b := range []struct {
		bit  AMDFeatures
		name string
	}{
		{AMDPrefetch, "PreFSup"}, {AMDPageRequests, "PPRSup"}, {AMDX2APIC, "XTSup"}, {AMDNoExecute, "NXSup"},
		{AMDGuestTranslation, "GTSup"}, {AMDInvalidateAll, "IASup"}, {AMDGuestAPIC, "GASup"}, {AMDHardwareErrors, "HESup"},
		{AMDCounters, "PCSup"}, {AMDGuestVirtualAPIC, "GAMSup"}, {AMDSecureNested, "SNPSup"},
	} {
		if f&b.bit != 0 {
			set = append(set, b.name)
		}
	}
	return strings.Join(set, " ")
}

// feature says whether the unit has it.
func (u AMDUnit) feature(f AMDFeatures) Answer {
	if !u.FeaturesKnown {
		return Unknown
	}
	return answer(u.Features&f != 0)
}

func readAMD(fsys fs.FS, dir string) (AMDUnit, error) {
	var u AMDUnit
	c, err1 := numberAt(fsys, dir+"cap", 16)
	u.Capability = AMDCapability(c.Value)
	s, err2 := hostfs.ReadString(fsys, dir+"features")
	if errors.Is(err2, fs.ErrNotExist) {
		return u, err1
	}
	if err2 == nil {
		err2 = u.features(fsys, dir+"features", s)
	}
	return u, errors.Join(err1, err2)
}

// features takes what the file says of one or two registers. Linux wrote one; then the
// second before the first; and from 6.7 on the first before the second. With nothing in
// the second it is plain which is which, otherwise the kernel's version tells.
func (u *AMDUnit) features(fsys fs.FS, name, s string) error {
	left, right, two := strings.Cut(s, ":")
	a, err1 := parseNumber(name, left, 16)
	if !two {
		u.Features, u.FeaturesKnown = AMDFeatures(a.Value), err1 == nil
		return err1
	}
	b, err2 := parseNumber(name, right, 16)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	first, known := a.Value != 0, a.Value == 0 || b.Value == 0
	if !known {
		first, known = firstFeaturesFirst(fsys)
	}
	if !first {
		a, b = b, a
	}
	if known {
		u.Features, u.Features2, u.FeaturesKnown = AMDFeatures(a.Value), b.Value, true
	}
	return nil
}

// firstFeaturesFirst tells by the kernel's version which register it writes first, if
// the version is known.
func firstFeaturesFirst(fsys fs.FS) (first, known bool) {
	release, err := hostfs.ReadString(fsys, "proc/sys/kernel/osrelease")
	if err != nil {
		return false, false
	}
	parts := strings.SplitN(release, ".", 3)
	if len(parts) < 2 {
		return false, false
	}
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(strings.TrimRight(strings.SplitN(parts[1], "-", 2)[0], "+"))
	if err1 != nil || err2 != nil {
		return false, false
	}
	return major > 6 || major == 6 && minor >= 7, true
}
