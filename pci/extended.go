package pci

import (
	"fmt"
	"time"
)

// An ARI is a function's Alternative Routing-ID Interpretation capability: its
// device has functions above 7 (PCI Express Base 6.0, section 7.8.8).
type ARI struct {
	NextFunction  uint8 // 0 in the last one
	FunctionGroup uint8
	// ACSGroups: ACS can be set by group of functions.
	ACSGroups bool
}

// ARI decodes the Alternative Routing-ID Interpretation capability.
func (c Config) ARI() (ARI, error) {
	v, err := c.findExtended(ExtendedARI, 8)
	if err != nil {
		return ARI{}, err
	}
	return ARI{NextFunction: v[5], ACSGroups: bit(v[4], 1), FunctionGroup: v[6] >> 4 & 7}, nil
}

// An ATS is a function's capability to ask the IOMMU for translations and keep them
// (PCI Express Base 6.0, section 10.5.1).
type ATS struct {
	Enabled    bool
	QueueDepth int // requests to forget that it can hold: 1 to 32
	// SmallestUnit is the smallest piece of memory a translation stands for, in bytes.
	SmallestUnit uint64
}

// ATS decodes the Address Translation Services capability.
func (c Config) ATS() (ATS, error) {
	v, err := c.findExtended(ExtendedATS, 8)
	if err != nil {
		return ATS{}, err
	}
	depth := int(v[4] & 31)
	if depth == 0 {
		depth = 32
	}
	ctl := le16(v, 6)
	return ATS{Enabled: bit(ctl, 15), QueueDepth: depth, SmallestUnit: 4096 << (ctl & 31)}, nil
}

// A PageRequest is a function's capability to ask for memory that is not there
// (PCI Express Base 6.0, section 10.5.2).
type PageRequest struct {
	Enabled    bool
	Failed     bool // a response failed
	Stopped    bool
	Capacity   uint32 // requests it can have on the way
	Allocation uint32 // that it may
}

// PageRequest decodes the Page Request Interface capability.
func (c Config) PageRequest() (PageRequest, error) {
	v, err := c.findExtended(ExtendedPageRequest, 16)
	if err != nil {
		return PageRequest{}, err
	}
	ctl, sta := le16(v, 4), le16(v, 6)
	return PageRequest{bit(ctl, 0), bit(sta, 0), bit(sta, 8), le32(v, 8), le32(v, 12)}, nil
}

// A PASID is a function's capability to use many address spaces (PCI Express Base
// 6.0, section 7.8.9).
type PASID struct {
	Width      uint8 // bits of the number of an address space, at most 20
	Execute    bool  // it can ask for leave to execute
	Privileged bool  // it knows privileged mode

	Enabled, ExecuteEnabled, PrivilegedEnabled bool
}

// PASID decodes the Process Address Space ID capability.
func (c Config) PASID() (PASID, error) {
	v, err := c.findExtended(ExtendedPASID, 8)
	if err != nil {
		return PASID{}, err
	}
	cap, ctl := le16(v, 4), le16(v, 6)
	return PASID{uint8(cap >> 8 & 31), bit(cap, 1), bit(cap, 2), bit(ctl, 0), bit(ctl, 1), bit(ctl, 2)}, nil
}

// A SerialNumber is the number of one device, of which there is no other.
type SerialNumber uint64

// String writes it as the specification does: 01-23-45-67-89-ab-cd-ef.
func (n SerialNumber) String() string {
	return fmt.Sprintf("%02x-%02x-%02x-%02x-%02x-%02x-%02x-%02x", uint8(n>>56), uint8(n>>48), uint8(n>>40), uint8(n>>32),
		uint8(n>>24), uint8(n>>16), uint8(n>>8), uint8(n))
}

// SerialNumber decodes the Device Serial Number capability. The number tells one
// machine from another: leave it out of what is shown to others.
func (c Config) SerialNumber() (SerialNumber, error) {
	v, err := c.findExtended(ExtendedSerialNumber, 12)
	if err != nil {
		return 0, err
	}
	return SerialNumber(le64(v, 4)), nil
}

// A LatencyTolerance is how long an endpoint may be made to wait (PCI Express Base
// 6.0, section 7.8.2), 0 for not stated.
type LatencyTolerance struct {
	Snoop, NoSnoop time.Duration
}

// LatencyTolerance decodes the Latency Tolerance Reporting capability.
func (c Config) LatencyTolerance() (LatencyTolerance, error) {
	v, err := c.findExtended(ExtendedLatencyTolerance, 8)
	if err != nil {
		return LatencyTolerance{}, err
	}
	wait := func(w uint16) time.Duration {
		scale := w >> 10 & 7
		if scale > 5 { // reserved
			return 0
		}
		return time.Duration(w&0x3ff) << (5 * scale)
	}
	return LatencyTolerance{wait(le16(v, 4)), wait(le16(v, 6))}, nil
}

// A PTM is a function's capability to agree on the time (PCI Express Base 6.0,
// section 7.9.15).
type PTM struct {
	Requester, Responder, Root bool // what it can be
	Enabled, RootSelected      bool
}

// PTM decodes the Precision Time Measurement capability.
func (c Config) PTM() (PTM, error) {
	v, err := c.findExtended(ExtendedPTM, 12)
	if err != nil {
		return PTM{}, err
	}
	cap, ctl := le32(v, 4), le32(v, 8)
	return PTM{bit(cap, 0), bit(cap, 1), bit(cap, 2), bit(ctl, 0), bit(ctl, 1)}, nil
}

// L1Flags is a set of the deeper states of a link that is in L1.
type L1Flags uint8

// The states, entered by power management (PCIPM) or by the link itself (ASPM).
const (
	L1PCIPM12 L1Flags = 1 << iota
	L1PCIPM11
	L1ASPM12
	L1ASPM11
)

// String names the states, as lspci does.
func (l L1Flags) String() string {
	return bitNames(uint32(l), []string{"PCI-PM_L1.2", "PCI-PM_L1.1", "ASPM_L1.2", "ASPM_L1.1"})
}

// An L1Substates is a function's L1 PM Substates capability (PCI Express Base 6.0,
// section 7.8.3).
type L1Substates struct {
	Supported, Enabled L1Flags
}

// L1Substates decodes the L1 PM Substates capability.
func (c Config) L1Substates() (L1Substates, error) {
	v, err := c.findExtended(ExtendedL1Substates, 12)
	if err != nil {
		return L1Substates{}, err
	}
	return L1Substates{L1Flags(v[4] & 15), L1Flags(v[8] & 15)}, nil
}

// A DPC is a port's capability to cut off what is behind it on an error (PCI
// Express Base 6.0, section 7.9.14).
type DPC struct {
	RootPortExtensions bool
	SoftwareTrigger    bool
	Trigger            uint8  // 0 off, 1 on fatal errors, 2 on non-fatal ones, too
	Triggered          bool   // it is cut off now
	Reason             uint8  // 0 found here, 1 and 2 non-fatal and fatal reported from below, 3 other
	Source             uint16 // routing id of who reported
}

// DPC decodes the Downstream Port Containment capability.
func (c Config) DPC() (DPC, error) {
	v, err := c.findExtended(ExtendedDPC, 12)
	if err != nil {
		return DPC{}, err
	}
	cap, ctl, sta := le16(v, 4), le16(v, 6), le16(v, 8)
	return DPC{bit(cap, 5), bit(cap, 7), uint8(ctl & 3), bit(sta, 0), uint8(sta >> 1 & 3), le16(v, 10)}, nil
}

// A VendorExtended is an extended capability that only a vendor can read: the
// function's own, or one that names another, as CXL and Intel VSEC do.
type VendorExtended struct {
	Offset   uint16
	Vendor   ID // of a designated one; unknown when it is the function's own
	ID       uint16
	Revision uint8
	Length   int // bytes in all, as stated
}

// VendorExtended returns the vendor-specific and designated vendor-specific
// extended capabilities in the order of the chain.
func (c Config) VendorExtended() ([]VendorExtended, error) {
	var all []VendorExtended
	var wrong error
	err := c.walkExtended(func(found ExtendedCapability) bool {
		n := 8
		if found.ID == ExtendedDVSEC {
			n = 10
		} else if found.ID != ExtendedVendor {
			return true
		}
		v, err := c.fromExtended(found, n)
		if err != nil {
			wrong = err
			return true
		}
		h := le32(v, 4)
		e := VendorExtended{Offset: found.Offset, Revision: uint8(h >> 16 & 15), Length: int(h >> 20)}
		if found.ID == ExtendedDVSEC {
			e.Vendor, e.ID = NewID(uint16(h)), le16(v, 8)
		} else {
			e.ID = uint16(h)
		}
		all = append(all, e)
		return true
	})
	if err == nil {
		err = wrong
	}
	return all, err
}
