package pci

import "fmt"

// An AdvancedFeatures is how a conventional function says that it can be reset by
// itself (Advanced Capabilities for Conventional PCI, 2006).
type AdvancedFeatures struct {
	FLR                         bool // Function Level Reset
	TransactionsPendingReported bool
	TransactionsPending         bool
}

// AdvancedFeatures decodes the advanced features capability.
func (c Config) AdvancedFeatures() (AdvancedFeatures, error) {
	v, err := c.find(CapabilityAdvancedFeatures, 6)
	if err != nil {
		return AdvancedFeatures{}, err
	}
	return AdvancedFeatures{
		TransactionsPendingReported: bit(v[3], 0),
		FLR:                         bit(v[3], 1),
		TransactionsPending:         bit(v[5], 0),
	}, nil
}

// A VendorCapability is a capability that only its vendor can read.
type VendorCapability struct {
	Offset uint8
	Data   string // the bytes after id, pointer and length, untrusted
}

// VendorCapabilities returns the vendor-specific capabilities in the order of the
// chain. One whose length is wrong has the bytes there are, and the error is
// [ErrMalformed].
func (c Config) VendorCapabilities() ([]VendorCapability, error) {
	var all []VendorCapability
	var wrong error
	err := c.walk(func(found Capability) bool {
		if found.ID != CapabilityVendor {
			return true
		}
		v, err := c.from(found, 3)
		if err == nil && (int(v[2]) < 3 || int(v[2]) > baseConfig-int(found.Offset)) {
			err = malformed("%s at %#x has %d bytes", found.ID, found.Offset, v[2])
		}
		if err == nil {
			err = c.more(v, int(v[2]))
		}
		if err != nil {
			if wrong == nil {
				wrong = err
			}
			all = append(all, VendorCapability{Offset: found.Offset})
			return true
		}
		all = append(all, VendorCapability{found.Offset, v[3:v[2]]})
		return true
	})
	if err == nil {
		err = wrong
	}
	return all, err
}

// A HyperTransportKind says which of HyperTransport's capabilities one is: the five
// upper bits of its command register, of interfaces three.
type HyperTransportKind uint8

// String returns the name in the HyperTransport I/O Link Specification 3.10,
// section 7.1, or the number of a kind it does not name.
func (k HyperTransportKind) String() string {
	switch k {
	case 0x00:
		return "Slave or Primary Interface"
	case 0x04:
		return "Host or Secondary Interface"
	}
	names := []string{0x08: "Switch", 0x10: "Interrupt Discovery and Configuration", 0x11: "Revision ID",
		0x12: "UnitID Clumping", 0x13: "Extended Configuration Space Access", 0x14: "Address Mapping",
		0x15: "MSI Mapping", 0x16: "DirectRoute", 0x17: "VCSet", 0x18: "Retry Mode", 0x19: "X86 Encoding",
		0x1a: "Gen3", 0x1b: "Function-Level Extension", 0x1c: "Power Management"}
	if int(k) < len(names) && names[k] != "" {
		return names[k]
	}
	return fmt.Sprintf("kind 0x%02x", uint8(k))
}

// A HyperTransport is one capability of a HyperTransport function.
type HyperTransport struct {
	Offset uint8
	Kind   HyperTransportKind
}

// HyperTransports returns the HyperTransport capabilities in the order of the chain.
func (c Config) HyperTransports() ([]HyperTransport, error) {
	var all []HyperTransport
	var short error
	err := c.walk(func(found Capability) bool {
		if found.ID != CapabilityHyperTransport {
			return true
		}
		v, err := c.from(found, 4)
		if err != nil {
			short = err
			return true
		}
		kind := v[3] >> 3
		if kind < 8 {
			kind &= 4 // of interfaces only three bits count
		}
		all = append(all, HyperTransport{found.Offset, HyperTransportKind(kind)})
		return true
	})
	if err == nil {
		err = short
	}
	return all, err
}

// DebugPort returns where an EHCI controller has its debug port. BAR counts from 0
// as in [BARLocation].
func (c Config) DebugPort() (BARLocation, error) {
	v, err := c.find(CapabilityDebugPort, 4)
	if err != nil {
		return BARLocation{}, err
	}
	w := le16(v, 2)
	if w>>13 < 1 || w>>13 > 6 {
		return BARLocation{}, malformed("the debug port is in BAR %d, counted from 1", w>>13)
	}
	return BARLocation{uint8(w>>13 - 1), uint32(w & 0x1fff)}, nil
}
