package assign

import (
	"fmt"

	"github.com/project-independence/indy/pci"
)

// An Identity is what a device says it is. It tells a device from another one that is
// plugged in later under the same address; it does not tell apart two of the same make.
type Identity struct {
	Bus    string `json:"bus,omitempty"` // as in sys/bus; empty is pci
	Device string `json:"device"`        // name in sys/bus/BUS/devices

	// ID is compared as a whole. Of a PCI function it is vendor and device, those of the
	// subsystem, and class, as "8086:10d3 8086:a01f 020000"; "????" is unknown.
	ID string `json:"id"`
}

// identify returns the ID of a function's [Identity].
func identify(f pci.Function) string {
	return fmt.Sprintf("%s:%s %s:%s %s", f.Vendor, f.Device, f.SubsystemVendor, f.SubsystemDevice, f.Class)
}
