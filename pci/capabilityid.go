package pci

import "fmt"

// A CapabilityID is the kind of a capability (PCI Code and ID Assignment
// Specification, section 2).
type CapabilityID uint8

// The capabilities that the specification names.
const (
	CapabilityPowerManagement    CapabilityID = 0x01
	CapabilityAGP                CapabilityID = 0x02
	CapabilityVPD                CapabilityID = 0x03
	CapabilitySlot               CapabilityID = 0x04
	CapabilityMSI                CapabilityID = 0x05
	CapabilityHotSwap            CapabilityID = 0x06
	CapabilityPCIX               CapabilityID = 0x07
	CapabilityHyperTransport     CapabilityID = 0x08
	CapabilityVendor             CapabilityID = 0x09
	CapabilityDebugPort          CapabilityID = 0x0a
	CapabilityCentralResource    CapabilityID = 0x0b
	CapabilityHotPlug            CapabilityID = 0x0c
	CapabilitySubsystem          CapabilityID = 0x0d
	CapabilityAGP8x              CapabilityID = 0x0e
	CapabilitySecureDevice       CapabilityID = 0x0f
	CapabilityExpress            CapabilityID = 0x10
	CapabilityMSIX               CapabilityID = 0x11
	CapabilitySATA               CapabilityID = 0x12
	CapabilityAdvancedFeatures   CapabilityID = 0x13
	CapabilityEnhancedAllocation CapabilityID = 0x14
	CapabilityFlatteningPortal   CapabilityID = 0x15
)

// String returns the specification's name, or the number of an id it does not name.
func (id CapabilityID) String() string {
	if int(id) < len(capabilityNames) {
		return capabilityNames[id]
	}
	return fmt.Sprintf("capability 0x%02x", uint8(id))
}

var capabilityNames = []string{
	"Null", "Power Management", "AGP", "Vital Product Data", "Slot Identification", "MSI", "CompactPCI Hot Swap",
	"PCI-X", "HyperTransport", "Vendor Specific", "Debug Port", "CompactPCI Central Resource Control", "Hot-Plug",
	"Bridge Subsystem", "AGP 8x", "Secure Device", "PCI Express", "MSI-X", "SATA Data/Index", "Advanced Features",
	"Enhanced Allocation", "Flattening Portal Bridge",
}

// An ExtendedCapabilityID is the kind of an extended capability (PCI Code and ID
// Assignment Specification, section 3).
type ExtendedCapabilityID uint16

// The extended capabilities that the specification names.
const (
	ExtendedAER                    ExtendedCapabilityID = 0x01
	ExtendedVirtualChannel         ExtendedCapabilityID = 0x02
	ExtendedSerialNumber           ExtendedCapabilityID = 0x03
	ExtendedPowerBudgeting         ExtendedCapabilityID = 0x04
	ExtendedRootLinkDeclaration    ExtendedCapabilityID = 0x05
	ExtendedRootInternalLink       ExtendedCapabilityID = 0x06
	ExtendedRootEventCollector     ExtendedCapabilityID = 0x07
	ExtendedMultiFunctionVC        ExtendedCapabilityID = 0x08
	ExtendedVirtualChannelMFVC     ExtendedCapabilityID = 0x09
	ExtendedRCRB                   ExtendedCapabilityID = 0x0a
	ExtendedVendor                 ExtendedCapabilityID = 0x0b
	ExtendedConfigAccess           ExtendedCapabilityID = 0x0c
	ExtendedACS                    ExtendedCapabilityID = 0x0d
	ExtendedARI                    ExtendedCapabilityID = 0x0e
	ExtendedATS                    ExtendedCapabilityID = 0x0f
	ExtendedSRIOV                  ExtendedCapabilityID = 0x10
	ExtendedMRIOV                  ExtendedCapabilityID = 0x11
	ExtendedMulticast              ExtendedCapabilityID = 0x12
	ExtendedPageRequest            ExtendedCapabilityID = 0x13
	ExtendedAMD                    ExtendedCapabilityID = 0x14
	ExtendedResizableBAR           ExtendedCapabilityID = 0x15
	ExtendedDynamicPowerAllocation ExtendedCapabilityID = 0x16
	ExtendedTPHRequester           ExtendedCapabilityID = 0x17
	ExtendedLatencyTolerance       ExtendedCapabilityID = 0x18
	ExtendedSecondaryExpress       ExtendedCapabilityID = 0x19
	ExtendedProtocolMultiplexing   ExtendedCapabilityID = 0x1a
	ExtendedPASID                  ExtendedCapabilityID = 0x1b
	ExtendedLightweightNotify      ExtendedCapabilityID = 0x1c
	ExtendedDPC                    ExtendedCapabilityID = 0x1d
	ExtendedL1Substates            ExtendedCapabilityID = 0x1e
	ExtendedPTM                    ExtendedCapabilityID = 0x1f
	ExtendedMPHY                   ExtendedCapabilityID = 0x20
	ExtendedFRSQueueing            ExtendedCapabilityID = 0x21
	ExtendedReadinessTime          ExtendedCapabilityID = 0x22
	ExtendedDVSEC                  ExtendedCapabilityID = 0x23
	ExtendedVFResizableBAR         ExtendedCapabilityID = 0x24
	ExtendedDataLinkFeature        ExtendedCapabilityID = 0x25
	ExtendedPhysicalLayer16        ExtendedCapabilityID = 0x26
	ExtendedLaneMargining          ExtendedCapabilityID = 0x27
	ExtendedHierarchyID            ExtendedCapabilityID = 0x28
	ExtendedEnclosureManagement    ExtendedCapabilityID = 0x29
	ExtendedPhysicalLayer32        ExtendedCapabilityID = 0x2a
	ExtendedAlternateProtocol      ExtendedCapabilityID = 0x2b
	ExtendedFirmwareIntermediary   ExtendedCapabilityID = 0x2c
	ExtendedShadowFunctions        ExtendedCapabilityID = 0x2d
	ExtendedDataObjectExchange     ExtendedCapabilityID = 0x2e
	ExtendedDevice3                ExtendedCapabilityID = 0x2f
	ExtendedIDE                    ExtendedCapabilityID = 0x30
	ExtendedPhysicalLayer64        ExtendedCapabilityID = 0x31
	ExtendedFlitLogging            ExtendedCapabilityID = 0x32
	ExtendedFlitMeasurement        ExtendedCapabilityID = 0x33
	ExtendedFlitErrorInjection     ExtendedCapabilityID = 0x34
	ExtendedStreamlinedVC          ExtendedCapabilityID = 0x35
	ExtendedRegisterBlockLocator   ExtendedCapabilityID = 0x36
)

// String returns the specification's name, or the number of an id it does not name.
func (id ExtendedCapabilityID) String() string {
	if int(id) < len(extendedNames) {
		return extendedNames[id]
	}
	return fmt.Sprintf("extended capability 0x%04x", uint16(id))
}

var extendedNames = []string{
	"Null", "Advanced Error Reporting", "Virtual Channel", "Device Serial Number", "Power Budgeting",
	"Root Complex Link Declaration", "Root Complex Internal Link Control",
	"Root Complex Event Collector Endpoint Association", "Multi-Function Virtual Channel",
	"Virtual Channel (MFVC)", "Root Complex Register Block", "Vendor Specific", "Configuration Access Correlation",
	"Access Control Services", "Alternative Routing-ID Interpretation", "Address Translation Services",
	"Single Root I/O Virtualization", "Multi-Root I/O Virtualization", "Multicast", "Page Request Interface",
	"Reserved for AMD", "Resizable BAR", "Dynamic Power Allocation", "TPH Requester", "Latency Tolerance Reporting",
	"Secondary PCI Express", "Protocol Multiplexing", "Process Address Space ID", "LN Requester",
	"Downstream Port Containment", "L1 PM Substates", "Precision Time Measurement", "PCI Express over M-PHY",
	"FRS Queueing", "Readiness Time Reporting", "Designated Vendor-Specific", "VF Resizable BAR", "Data Link Feature",
	"Physical Layer 16.0 GT/s", "Lane Margining at the Receiver", "Hierarchy ID", "Native PCIe Enclosure Management",
	"Physical Layer 32.0 GT/s", "Alternate Protocol", "System Firmware Intermediary", "Shadow Functions",
	"Data Object Exchange", "Device 3", "Integrity and Data Encryption", "Physical Layer 64.0 GT/s", "Flit Logging",
	"Flit Performance Measurement", "Flit Error Injection", "Streamlined Virtual Channel",
	"MMIO Register Block Locator",
}
