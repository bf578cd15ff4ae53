package usb

import "github.com/project-independence/indy/pci"

// CDC is what the functional descriptors of a communications interface say: of a
// modem, a network adapter, a mobile broadband module (CDC 1.2, 5.2.3, and the
// subclasses' specifications).
type CDC struct {
	Release ID // bcdCDC, unknown without a header

	// Control and Data are the interfaces that make up one function, from the first
	// union descriptor. Data is empty without one.
	Control int
	Data    []int

	// Calls tells that there is a call management descriptor: with CallsOnData calls
	// are managed over CallsInterface.
	Calls, CallsOnData bool
	CallsInterface     int

	// ModemControl tells that there is a descriptor of abstract control, and
	// ModemCapabilities is its bmCapabilities.
	ModemControl      bool
	ModemCapabilities uint8

	Ethernet Ethernet
	NCM      NCM
	MBIM     MBIM

	// Countries are those where it may be used, each as the number in ISO 3166.
	Countries []uint16
}

// Ethernet is what a network adapter's descriptor says (ECM 1.2, 5.4). It is zero
// without one.
type Ethernet struct {
	AddressIndex uint8 // of the string that has the MAC address (iMACAddress)
	MaxSegment   int   // bytes
}

// NCM is what the descriptor of the network control model says (NCM 1.0, 5.2.1). Its
// Release is unknown without one.
type NCM struct {
	Release      ID    // bcdNcmVersion
	Capabilities uint8 // bmNetworkCapabilities
}

// MBIM is what the descriptor of a mobile broadband module says (MBIM 1.0, 6.4 and
// 6.5). Its Release is unknown without one.
type MBIM struct {
	Release                ID // bcdMBIMVersion
	MaxMessage             int
	Filters, MaxFilter     int // packet filters, and the size of one in bytes
	MaxSegment             int
	Capabilities           uint8
	ExtendedRelease        ID // bcdMBIMExtendedVersion, unknown without the extended one
	MaxOutstanding, MaxMTU int
}

func (p *parser) cdc(of []RawDescriptor) ClassSpecific {
	var c CDC
	for _, r := range of {
		if least := cdcLength(r.u8(2)); !p.need(r, least) {
			continue
		}
		switch r.u8(2) {
		case 0x00:
			c.Release = pci.NewID(r.u16(3))
		case 0x01:
			c.Calls, c.CallsOnData, c.CallsInterface = true, r.u8(3)&2 != 0, int(r.u8(4))
		case 0x02:
			c.ModemControl, c.ModemCapabilities = true, r.u8(3)
		case 0x06:
			if c.Data != nil {
				p.add(r.Offset, "a second union")
				continue
			}
			c.Control = int(r.u8(3))
			for _, b := range r.Bytes[4:] {
				c.Data = append(c.Data, int(b))
			}
		case 0x07:
			for i := 4; i+2 <= len(r.Bytes); i += 2 {
				c.Countries = append(c.Countries, r.u16(i))
			}
		case 0x0f:
			c.Ethernet = Ethernet{r.u8(3), int(r.u16(8))}
		case 0x1a:
			c.NCM = NCM{pci.NewID(r.u16(3)), r.u8(5)}
		case 0x1b:
			c.MBIM.Release, c.MBIM.MaxMessage = pci.NewID(r.u16(3)), int(r.u16(5))
			c.MBIM.Filters, c.MBIM.MaxFilter = int(r.u8(7)), int(r.u8(8))
			c.MBIM.MaxSegment, c.MBIM.Capabilities = int(r.u16(9)), r.u8(11)
		case 0x1c:
			c.MBIM.ExtendedRelease, c.MBIM.MaxOutstanding, c.MBIM.MaxMTU = pci.NewID(r.u16(3)), int(r.u8(5)), int(r.u16(6))
		}
	}
	return c
}

// cdcLength returns how many bytes are read of a functional descriptor.
func cdcLength(subtype uint8) int {
	switch subtype {
	case 0x00, 0x01, 0x06:
		return 5
	case 0x02, 0x07:
		return 4
	case 0x0f:
		return 13
	case 0x1a:
		return 6
	case 0x1b:
		return 12
	case 0x1c:
		return 8
	}
	return 3
}
