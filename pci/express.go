package pci

// A PortType is what a function is in the PCI Express fabric.
type PortType uint8

// The types of PCI Express functions (PCI Express Base 6.0, section 7.5.3.2).
const (
	PortEndpoint           PortType = 0x0
	PortLegacyEndpoint     PortType = 0x1
	PortRoot               PortType = 0x4
	PortUpstream           PortType = 0x5 // of a switch
	PortDownstream         PortType = 0x6 // of a switch
	PortToConventional     PortType = 0x7 // bridge from PCI Express to PCI or PCI-X
	PortFromConventional   PortType = 0x8 // bridge from PCI or PCI-X to PCI Express
	PortIntegratedEndpoint PortType = 0x9 // in the root complex
	PortEventCollector     PortType = 0xa // of a root complex
)

// String returns the specification's name, or unknown.
func (t PortType) String() string {
	return name([]string{0: "Endpoint", 1: "Legacy Endpoint", 4: "Root Port", 5: "Upstream Port", 6: "Downstream Port",
		7: "PCI Express to PCI Bridge", 8: "PCI to PCI Express Bridge", 9: "Root Complex Integrated Endpoint",
		10: "Root Complex Event Collector"}, t)
}

// ASPM is a set of the link states that Active State Power Management enters by itself.
type ASPM uint8

// The states of ASPM.
const (
	ASPML0s ASPM = 1 << iota
	ASPML1
)

// String returns the states, or none.
func (a ASPM) String() string {
	return name([]string{"none", "L0s", "L1", "L0s L1"}, a&3)
}

// An Express is a function's PCI Express capability (PCI Express Base 6.0, section
// 7.5.3). What the function does not have is zero.
type Express struct {
	Version          uint8 // of the capability: 1, or 2 since PCI Express 2.0
	Type             PortType
	InterruptMessage uint8

	// FLR: the function can be reset by itself (Function Level Reset).
	FLR                   bool
	MaxPayloadSupported   int // in bytes
	MaxPayload            int // as set
	MaxReadRequest        int
	ExtendedTagsSupported bool
	ExtendedTags          bool
	RelaxedOrdering       bool
	NoSnoop               bool
	RoleBasedErrors       bool

	CorrectableError   bool // seen since it was cleared, as the following three
	NonFatalError      bool
	FatalError         bool
	UnsupportedRequest bool
	AuxPower           bool
	// TransactionsPending: it waits for answers to requests of its own, which is
	// when a reset would be unsafe.
	TransactionsPending bool

	// HasLink: functions within a root complex have none.
	HasLink bool
	Link    ExpressLink
	// HasSlot: a device can be plugged in below this port.
	HasSlot bool
	Slot    ExpressSlot

	// Of version 2.
	LTRSupported           bool // Latency Tolerance Reporting
	LTR                    bool
	ARIForwardingSupported bool // a port that knows functions above 7 behind it
	ARIForwarding          bool
	AtomicRouting          bool // a port that passes atomic operations on
	AtomicCompleter32      bool
	AtomicCompleter64      bool
	AtomicCompleter128     bool
	AtomicRequester        bool // may send atomic operations
	TenBitTagCompleter     bool
	TenBitTagRequester     bool
}

// An ExpressLink is the link of a function to what is above it, or of a port to
// what is below.
type ExpressLink struct {
	Port          uint8
	MaxSpeed      LinkSpeed
	MaxWidth      int // lanes
	Supported     LinkSpeeds
	ASPMSupported ASPM

	Speed    LinkSpeed // now; it may be lower while the device is idle
	Width    int       // now; 0 when the link is down
	ASPM     ASPM      // enabled
	Disabled bool
	Training bool
	// Active: the data link layer is up. Only ports that can say so do (ActiveReporting).
	Active          bool
	ActiveReporting bool
}

// An ExpressSlot is the slot below a port.
type ExpressSlot struct {
	Number                                uint16 // on the chassis
	HotPlug                               bool   // can be filled while the machine runs
	Surprise                              bool   // and emptied without asking
	AttentionButton, PowerController, MRL bool
	Interlock                             bool
	Present                               bool // something is in it
}

// Express decodes the PCI Express capability. Without it the function is a
// conventional one, and the error is [ErrNoCapability].
func (c Config) Express() (Express, error) {
	v, err := c.find(CapabilityExpress, 0x0c)
	if err != nil {
		return Express{}, err
	}
	flags, devcap, devctl, devsta := le16(v, 2), le32(v, 4), le16(v, 8), le16(v, 0x0a)
	e := Express{
		Version:               uint8(flags & 15),
		Type:                  PortType(flags >> 4 & 15),
		InterruptMessage:      uint8(flags >> 9 & 31),
		FLR:                   bit(devcap, 28),
		MaxPayloadSupported:   payload(uint16(devcap)),
		MaxPayload:            payload(devctl >> 5),
		MaxReadRequest:        payload(devctl >> 12),
		ExtendedTagsSupported: bit(devcap, 5),
		ExtendedTags:          bit(devctl, 8),
		RelaxedOrdering:       bit(devctl, 4),
		NoSnoop:               bit(devctl, 11),
		RoleBasedErrors:       bit(devcap, 15),
		CorrectableError:      bit(devsta, 0),
		NonFatalError:         bit(devsta, 1),
		FatalError:            bit(devsta, 2),
		UnsupportedRequest:    bit(devsta, 3),
		AuxPower:              bit(devsta, 4),
		TransactionsPending:   bit(devsta, 5),
	}
	switch e.Type {
	case PortEndpoint, PortLegacyEndpoint, PortUpstream, PortToConventional:
		e.HasLink = true
	case PortRoot, PortDownstream, PortFromConventional:
		e.HasLink, e.HasSlot = true, bit(flags, 8)
	}
	if e.HasLink {
		if err := c.more(v, 0x14); err != nil {
			return e, err
		}
		e.link(le32(v, 0x0c), le16(v, 0x10), le16(v, 0x12))
	}
	if e.HasSlot {
		if err := c.more(v, 0x1c); err != nil {
			return e, err
		}
		e.slot(le32(v, 0x14), le16(v, 0x1a))
	}
	if e.Version >= 2 {
		if err := c.more(v, 0x30); err != nil {
			return e, err
		}
		e.second(le32(v, 0x24), le16(v, 0x28), le32(v, 0x2c))
	}
	return e, nil
}

// payload returns 128 to 4096, 0 for the two codes that are reserved.
func payload(code uint16) int {
	if code &= 7; code > 5 {
		return 0
	}
	return 128 << code
}

func (e *Express) link(linkcap uint32, ctl, sta uint16) {
	l := &e.Link
	l.Port = uint8(linkcap >> 24)
	l.MaxSpeed = speedOf(linkcap)
	l.MaxWidth = linkWidth(linkcap >> 4 & 0x3f)
	l.ASPMSupported = ASPM(linkcap >> 10 & 3)
	l.ActiveReporting = bit(linkcap, 20)
	l.ASPM = ASPM(ctl & 3)
	l.Disabled = bit(ctl, 4)
	l.Speed = speedOf(uint32(sta))
	l.Width = linkWidth(uint32(sta >> 4 & 0x3f))
	l.Training = bit(sta, 11)
	l.Active = bit(sta, 13)
	if l.MaxSpeed == Speed2GT5 || l.MaxSpeed == Speed5GT { // before there was a register
		l.Supported = 1<<l.MaxSpeed - 1
	}
}

func (e *Express) slot(slotcap uint32, sta uint16) {
	e.Slot = ExpressSlot{
		Number:          uint16(slotcap >> 19),
		AttentionButton: bit(slotcap, 0),
		PowerController: bit(slotcap, 1),
		MRL:             bit(slotcap, 2),
		Surprise:        bit(slotcap, 5),
		HotPlug:         bit(slotcap, 6),
		Interlock:       bit(slotcap, 17),
		Present:         bit(sta, 6),
	}
}

func (e *Express) second(devcap2 uint32, devctl2 uint16, linkcap2 uint32) {
	e.LTRSupported, e.LTR = bit(devcap2, 11), bit(devctl2, 10)
	e.ARIForwardingSupported, e.ARIForwarding = bit(devcap2, 5), bit(devctl2, 5)
	e.AtomicRouting, e.AtomicRequester = bit(devcap2, 6), bit(devctl2, 6)
	e.AtomicCompleter32, e.AtomicCompleter64, e.AtomicCompleter128 = bit(devcap2, 7), bit(devcap2, 8), bit(devcap2, 9)
	e.TenBitTagCompleter, e.TenBitTagRequester = bit(devcap2, 16), bit(devcap2, 17)
	if s := LinkSpeeds(linkcap2 >> 1 & 0x7f); e.HasLink && s != 0 {
		e.Link.Supported = s
	}
}
