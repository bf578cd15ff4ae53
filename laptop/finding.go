package laptop

// A Verdict says whether a device can go to a guest.
type Verdict string

// The verdicts.
const (
	// Assignable: alone, and nothing the host needs goes with it.
	Assignable Verdict = "assignable"
	// WithCompanions: only together with the other functions of its IOMMU group.
	WithCompanions Verdict = "with-companions"
	// ShareOnly: it stays with the host, and guests use it through what the host offers.
	ShareOnly Verdict = "share-only"
	// Refused: a finding of severity Block says why not.
	Refused Verdict = "refused"
	// Undecided: a finding of severity Gap says what is not known.
	Undecided Verdict = "unknown"
)

// A Severity says what a finding means for the decision.
type Severity string

// The severities.
const (
	Block   Severity = "block"   // the device is not handed over
	Gap     Severity = "unknown" // something that matters is not known
	Warning Severity = "warning" // it works, but not as well or as safely as it could
	Info    Severity = "info"    // good to know
)

// A Code names a kind of finding. Those of severity Block that a user may override
// are overridden by this name.
type Code string

// The codes.
const (
	NoIOMMU         Code = "no-iommu"          // the kernel made no IOMMU groups
	NoGroup         Code = "no-group"          // the function is in no group
	NoIOMMUMode     Code = "no-iommu-mode"     // VFIO's no-IOMMU mode: nothing isolates the device
	Bridge          Code = "bridge"            // bridges stay with the host
	GroupUnknown    Code = "group-unknown"     // members of the group may be missing
	GroupOthers     Code = "group-others"      // members on no PCI bus
	Companions      Code = "companions"        // other functions of the group go along
	BootDisplay     Code = "boot-display"      // the display the firmware started on
	BootUnknown     Code = "boot-unknown"      // nobody says whether it is that display
	HostDisk        Code = "host-disk"         // carries a file system or swap in use
	HostDiskUnknown Code = "host-disk-unknown" // nobody says what is mounted
	DefaultRoute    Code = "default-route"     // carries the host's default route
	RouteUnknown    Code = "route-unknown"     // nobody says where the routes lead
	NoRemapping     Code = "no-remapping"      // interrupts are not remapped
	ReservedDirect  Code = "reserved-direct"   // the firmware's memory is mapped for it
	NoReset         Code = "no-reset"          // the kernel knows no way to reset it
	USBAlone        Code = "usb-alone"         // a USB device goes by itself
	HostOnly        Code = "host-only"         // on no bus that can be handed over
	Carries         Code = "carries"           // other devices hang on it
	Partial         Code = "partly-read"       // some attributes could not be read
	VirtualInUse    Code = "virtual-in-use"    // a physical function with virtual ones enabled
	BoundToVFIO     Code = "bound-to-vfio"     // already on vfio-pci
)

// Overridable reports whether a refusal of this code may be overridden by name. The
// others cannot work, whoever wants them to.
func (c Code) Overridable() bool {
	switch c {
	case BootDisplay, BootUnknown, HostDisk, HostDiskUnknown, DefaultRoute, RouteUnknown, GroupUnknown:
		return true
	case Hibernation, OnlyKeyboard: // what the host loses
		return true
	case GroupOthers: // VFIO looks for itself
		return true
	case ACSOverride, UnsafeInterrupts, NoReset:
		return true
	case UsedBy, Tainted:
		return true
	}
	return false
}

// A Finding is one fact that matters for a decision.
type Finding struct {
	Code     Code     `json:"code"`
	Severity Severity `json:"severity"`
	Device   string   `json:"device"`   // id of the device it is about, as pci:0000:01:00.0
	Detail   string   `json:"detail"`   // the fact in words
	Evidence string   `json:"evidence"` // the file that says so
	Remedy   string   `json:"remedy"`   // what to do, empty when nothing can be done
}
