package importer

import (
	"encoding/binary"
	"fmt"
)

// Offsets in config space, from the PCI Local Bus Specification 3.0, chapter 6.1, the
// PCI-to-PCI Bridge Architecture Specification 1.2, chapter 3.2, and the PC Card
// Standard 8.0, volume 7.
const (
	configHeader       = 64 // bytes that every function has
	maxConfig          = 4096
	atVendor           = 0x00
	atStatus           = 0x06
	atRevision         = 0x08
	atHeaderType       = 0x0e
	atSubsystem        = 0x2c // of a device
	atSecondaryBus     = 0x19 // of a bridge
	atCapabilities     = 0x34
	atCardBusSubsystem = 0x40
	atCardBusSecondary = 0x19
	capabilitySSVID    = 0x0d // subsystem ids of a bridge
	maxCapabilities    = 48   // that fit into 256 bytes
)

// fromConfig fills in what only config space states. All bytes ff is what a function
// answers that is switched off; then it says nothing.
func (f *function) fromConfig() {
	c := f.config
	if len(c) < configHeader || binary.LittleEndian.Uint16(c[atVendor:]) == 0xffff {
		return
	}
	word := func(at int) string { return fmt.Sprintf("%04x", binary.LittleEndian.Uint16(c[at:])) }
	if f.ids.vendor == "" {
		f.ids.vendor, f.ids.device = word(atVendor), word(atVendor+2)
	}
	class := fmt.Sprintf("%02x%02x%02x", c[atRevision+3], c[atRevision+2], c[atRevision+1])
	// Text states the interface only when it is not 00 or has a name.
	if f.ids.class == "" || f.ids.class[:4] == class[:4] {
		f.ids.class = class
	}
	if f.revision == "" {
		f.revision = fmt.Sprintf("%02x", c[atRevision])
	}
	subsystem := 0
	switch c[atHeaderType] & 0x7f {
	case 0:
		subsystem = atSubsystem
	case 1:
		f.bridge, f.behind = true, uint64(c[atSecondaryBus])
		if at := findCapability(c, capabilitySSVID); at > 0 {
			subsystem = at + 4
		}
	case 2:
		f.bridge, f.behind = true, uint64(c[atCardBusSecondary])
		subsystem = atCardBusSubsystem
	}
	if f.ids.subVendor == "" && subsystem > 0 && subsystem+4 <= len(c) {
		f.ids.subVendor, f.ids.subDevice = word(subsystem), word(subsystem+2)
	}
}

// findCapability returns where the capability id is, 0 when it is not there. Lists
// that go in circles end.
func findCapability(c []byte, id byte) int {
	if binary.LittleEndian.Uint16(c[atStatus:])&0x10 == 0 {
		return 0
	}
	at := int(c[atCapabilities] &^ 3)
	for range maxCapabilities {
		if at < configHeader || at+8 > len(c) {
			return 0
		}
		if c[at] == id {
			return at
		}
		at = int(c[at+1] &^ 3)
	}
	return 0
}
