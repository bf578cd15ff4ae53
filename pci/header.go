package pci

import "strings"

// A HeaderType says how the rest of the header is laid out.
type HeaderType uint8

// The header types (PCI Local Bus 3.0, section 6.1).
const (
	HeaderNormal  HeaderType = 0 // an endpoint
	HeaderBridge  HeaderType = 1 // a PCI-to-PCI bridge
	HeaderCardBus HeaderType = 2 // a CardBus bridge
)

// String returns normal, bridge, cardbus or unknown.
func (t HeaderType) String() string { return name([]string{"normal", "bridge", "cardbus"}, t) }

// name returns the name of v in a table.
func name[T ~uint8 | ~uint16](names []string, v T) string {
	if int(v) < len(names) && names[v] != "" {
		return names[v]
	}
	return "unknown"
}

// Command holds the bits of the command register.
type Command uint16

// Bits of the command register: what the function may do.
const (
	CommandIO             Command = 1 << 0  // answer I/O
	CommandMemory         Command = 1 << 1  // answer memory accesses
	CommandBusMaster      Command = 1 << 2  // DMA and message signalled interrupts
	CommandParityResponse Command = 1 << 6  // act on parity errors
	CommandSERR           Command = 1 << 8  // report errors that are not correctable
	CommandINTxDisable    Command = 1 << 10 // not use its interrupt line
)

// String names the bits that are set.
func (c Command) String() string {
	return bitNames(uint32(c), []string{0: "IO", 1: "Mem", 2: "BusMaster", 6: "ParErr", 8: "SERR", 10: "DisINTx"})
}

// Status holds the bits of the status register.
type Status uint16

// Bits of the status register.
const (
	StatusINTx           Status = 1 << 3  // its interrupt line is raised
	StatusCapabilities   Status = 1 << 4  // it has a chain of capabilities
	StatusTargetAborted  Status = 1 << 11 // it ended an access with target abort
	StatusTargetAbort    Status = 1 << 12 // an access of its own ended so
	StatusMasterAbort    Status = 1 << 13 // nobody answered an access of its own
	StatusSystemError    Status = 1 << 14 // it reported an error
	StatusDetectedParity Status = 1 << 15 // it saw a parity error or poisoned data
)

// String names the bits that are set.
func (s Status) String() string {
	return bitNames(uint32(s), []string{3: "INTx", 4: "Cap", 11: ">TAbort", 12: "<TAbort", 13: "<MAbort", 14: ">SERR", 15: "<PERR"})
}

// bitNames joins the names of the bits of v that are set. Bits without a name are left out.
func bitNames(v uint32, names []string) string {
	var b strings.Builder
	for i, n := range names {
		if n == "" || v>>i&1 == 0 {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(n)
	}
	return b.String()
}

// A Header is the part of configuration space that everybody may read.
type Header struct {
	// Unknown in a virtual function, which has ffff there.
	Vendor, Device ID

	Command       Command
	Status        Status
	Revision      uint8
	Class         Class
	CacheLine     int   // in bytes
	Latency       uint8 // latency timer, in bus clocks; 0 on PCI Express
	Type          HeaderType
	MultiFunction bool // the device has other functions; only function 0 says so for sure

	InterruptPin  uint8 // 1 to 4 for INTA to INTD, 0 for none
	InterruptLine uint8 // written by the firmware; Linux does not go by it

	// Of a normal header. A bridge has them elsewhere; see [Config.Subsystem].
	SubsystemVendor, SubsystemDevice ID

	// Of a bridge: the bus it sits on, the one right behind it, and the highest behind it.
	Primary, Secondary, Subordinate uint8
	BridgeControl                   uint16
}

// Header decodes the header. The error is [ErrUnread] or [ErrNoAnswer].
func (c Config) Header() (Header, error) {
	if err := c.header(); err != nil {
		return Header{}, err
	}
	h := Header{
		Command:       Command(le16(c.b, 0x04)),
		Status:        Status(le16(c.b, 0x06)),
		Revision:      c.b[0x08],
		Class:         NewClass(le32(c.b, 0x08) >> 8),
		CacheLine:     int(c.b[0x0c]) * 4,
		Latency:       c.b[0x0d],
		Type:          HeaderType(c.b[0x0e] & 0x7f),
		MultiFunction: c.b[0x0e]&0x80 != 0,
		InterruptPin:  c.b[0x3d],
		InterruptLine: c.b[0x3c],
	}
	if v := le16(c.b, 0); v != noVendor {
		h.Vendor, h.Device = NewID(v), NewID(le16(c.b, 2))
	}
	switch h.Type {
	case HeaderNormal:
		h.SubsystemVendor, h.SubsystemDevice = NewID(le16(c.b, 0x2c)), NewID(le16(c.b, 0x2e))
	case HeaderBridge, HeaderCardBus:
		h.Primary, h.Secondary, h.Subordinate = c.b[0x18], c.b[0x19], c.b[0x1a]
		h.BridgeControl = le16(c.b, 0x3e)
	}
	return h, nil
}

// Subsystem returns the ids of who built the device into what: from the header of
// an endpoint, from the capability [CapabilitySubsystem] of a bridge, from offset
// 0x40 of a CardBus bridge. A bridge without it ends in [ErrNoCapability].
func (c Config) Subsystem() (vendor, device ID, err error) {
	h, err := c.Header()
	if err != nil {
		return ID{}, ID{}, err
	}
	switch h.Type {
	case HeaderNormal:
		return h.SubsystemVendor, h.SubsystemDevice, nil
	case HeaderBridge:
		v, err := c.find(CapabilitySubsystem, 8)
		if err != nil {
			return ID{}, ID{}, err
		}
		return NewID(le16(v, 4)), NewID(le16(v, 6)), nil
	case HeaderCardBus:
		if c.Len() < 0x44 {
			return ID{}, ID{}, ErrUnread
		}
		return NewID(le16(c.b, 0x40)), NewID(le16(c.b, 0x42)), nil
	}
	return ID{}, ID{}, malformed("header type %#x", uint8(h.Type))
}
