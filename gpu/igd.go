package gpu

import "github.com/project-independence/indy/pci"

// An IGD is what it takes to hand an Intel processor's own graphics to a guest: an
// integrated graphics device is no clean PCI device, it uses memory beside its BARs.
// The zero IGD is none.
//
// The facts are those of QEMU 10.1 (docs/igd-assign.txt, hw/vfio/igd.c) and Linux 7.1
// (include/drm/intel/pciids.h, arch/x86/kernel/early-quirks.c, in drivers/gpu/drm
// i915/intel_gvt.c and xe/xe_pci.c).
type IGD struct {
	// Platform is the processors' name, as Tiger Lake.
	Platform string

	// Generation is the kernel's number of the graphics: 6 to 12, then 20 (Xe2), 30
	// (Xe3) and 35 (Xe3p).
	Generation int

	// Stolen is where the guest's firmware says which memory it set aside for the
	// screen, and its drivers look for it. The host's value is of no use there: it is
	// an address of the host's.
	Stolen StolenMemory

	// Legacy tells that QEMU can run the video BIOS in the guest: generations 6 to 9, on
	// the machine type pc (i440fx; q35 has a bridge of its own at 00:1f.0), at the
	// guest's address 00:02.0, with a BIOS and not UEFI, with a ROM, and only while the
	// function is a VGA controller (class 0300), which it is if the host's firmware
	// chose it as the primary display.
	Legacy bool

	// GVT tells that i915 can make mediated devices of it, i915-GVTg_*, for several
	// guests at once: Broadwell to Comet Lake without the Atoms Cherryview and Gemini
	// Lake. [MediatedTypes] says whether it does.
	GVT bool

	// VirtualFunctions tells that xe can make SR-IOV virtual functions of it, which
	// show no outputs. That the generation could is not enough: xe offers none of
	// Rocket Lake, Meteor Lake, Arrow Lake or Lunar Lake. The function's file
	// sriov_totalvfs says whether it does.
	VirtualFunctions bool
}

// A StolenMemory is the register that holds the base of the data stolen memory.
type StolenMemory uint8

// The places. The zero StolenMemory is not known.
const (
	StolenUnknown StolenMemory = iota
	StolenBDSM32               // configuration space, 0x5c, 32 bits: up to generation 10
	StolenBDSM64               // configuration space, 0xc0, 64 bits: generations 11 and 12 up to Raptor Lake
	StolenBAR                  // no register: it is reached through BAR 2, from Meteor Lake on
)

// String returns unknown, bdsm-32, bdsm-64 or bar.
func (s StolenMemory) String() string {
	return name([]string{"unknown", "bdsm-32", "bdsm-64", "bar"}, int(s))
}

// MarshalText writes the place as String does.
func (s StolenMemory) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Register returns where in configuration space the guest's firmware writes the base
// and how many bytes; both are 0 where there is no such register or none is known.
func (s StolenMemory) Register() (offset, size int) {
	switch s {
	case StolenBDSM32:
		return 0x5c, 4
	case StolenBDSM64:
		return 0xc0, 8
	}
	return 0, 0
}

// OpRegion reports whether the guest needs a copy of the firmware's OpRegion, which
// names the outputs, for anything to be seen on them: every IGD but the zero one has
// it. QEMU copies it if x-igd-opregion is on, which it is of itself since 10.1; the
// guest's firmware puts it below 4 GiB and its address into the register at 0xfc.
// SeaBIOS does, OVMF only with a driver for it, which comes in the option ROM.
func (g IGD) OpRegion() bool { return g.Generation > 0 }

// IGDMachine is QEMU's type of machine for a guest that shall show a picture on an IGD
// before its own driver runs, whether by video BIOS or by UEFI: both look for the
// host's bridge at 00:1f.0, which QEMU cannot put into a q35. A guest whose driver is
// the first to draw runs on either.
const IGDMachine = "pc"

// ROM returns for whom the option ROM must have an image if the guest shall show a
// picture before its own driver runs: [CodeBIOS] or [CodeEFI] where QEMU can run the
// video BIOS, else CodeEFI. The image for UEFI is never in the function's own ROM: the
// driver (GOP) is a part of the host's firmware.
func (g IGD) ROM() []CodeType {
	switch {
	case g.Legacy:
		return []CodeType{CodeBIOS, CodeEFI}
	case g.Generation > 0:
		return []CodeType{CodeEFI}
	}
	return nil
}

// IntelIGD returns what is known of the function if it is an integrated graphics
// device of Intel, by vendor, class and device id. It is false for discrete cards of
// Intel, for a virtual function (an integrated one is always function 0), for
// processors before Sandy Bridge, whose chipsets cannot hand graphics over, and for
// those that are younger than the list.
func IntelIGD(f pci.Function) (IGD, bool) {
	if f.Vendor != pci.NewID(vendorIntel) || f.Class.Base() != baseDisplay || f.Address.Function() != 0 {
		return IGD{}, false
	}
	for _, p := range igdPlatforms {
		for _, id := range p.devices {
			if f.Device == pci.NewID(id) {
				return p.igd, true
			}
		}
	}
	return IGD{}, false
}
