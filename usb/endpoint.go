package usb

import "strconv"

// A TransferType is how an endpoint moves data.
type TransferType uint8

// The transfer types by their codes in bmAttributes.
const (
	Control TransferType = iota
	Isochronous
	Bulk
	Interrupt
)

// String returns control, isochronous, bulk or interrupt.
func (t TransferType) String() string {
	switch t {
	case Control:
		return "control"
	case Isochronous:
		return "isochronous"
	case Bulk:
		return "bulk"
	case Interrupt:
		return "interrupt"
	}
	return "TransferType(" + strconv.Itoa(int(t)) + ")"
}

// MarshalText writes the type as String does.
func (t TransferType) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// An Endpoint is one endpoint of an interface (USB 2.0, 9.6.6), with what its
// SuperSpeed companion says (USB 3.2, 9.6.7 and 9.6.8).
type Endpoint struct {
	Address uint8 // 0x81 is number 1 to the host
	Type    TransferType

	// Attributes is bmAttributes: the transfer type in bits 0 and 1, of isochronous
	// endpoints the synchronisation in 2 and 3, the usage in 4 and 5.
	Attributes uint8

	// MaxPacket is the packet size in bytes. Transactions is how many packets of it
	// fit into one microframe: 1, or up to 3 for a high-bandwidth endpoint.
	MaxPacket, Transactions int

	// Interval is bInterval, whose unit depends on speed and type.
	Interval uint8

	// SuperSpeed tells that a companion descriptor follows, which has the rest: how
	// many packets come in one burst (1 to 16), the attributes as they are
	// (streams of a bulk endpoint, Mult of an isochronous one), and how many bytes
	// an endpoint of a fixed rhythm moves in one interval.
	SuperSpeed          bool
	Burst               int
	CompanionAttributes uint8
	BytesPerInterval    uint32

	// Extra are the endpoint's other descriptors.
	Extra []RawDescriptor
}

// In reports whether the endpoint moves data to the host.
func (e Endpoint) In() bool { return e.Address&0x80 != 0 }

// Number returns the number of the endpoint, 1 to 15.
func (e Endpoint) Number() int { return int(e.Address & 0x0f) }

// Sync returns how an isochronous endpoint keeps time: none, asynchronous, adaptive
// or synchronous; "" for other types.
func (e Endpoint) Sync() string {
	if e.Type != Isochronous {
		return ""
	}
	return [...]string{"none", "asynchronous", "adaptive", "synchronous"}[e.Attributes>>2&3]
}

// Usage returns what an isochronous endpoint is for: data, feedback, implicit
// feedback or reserved; of an interrupt endpoint periodic, notification or reserved;
// "" for other types.
func (e Endpoint) Usage() string {
	switch e.Type {
	case Isochronous:
		return [...]string{"data", "feedback", "implicit feedback", "reserved"}[e.Attributes>>4&3]
	case Interrupt:
		return [...]string{"periodic", "notification", "reserved", "reserved"}[e.Attributes>>4&3]
	}
	return ""
}

func parseEndpoint(r RawDescriptor) Endpoint {
	size := r.u16(4)
	return Endpoint{
		Address: r.u8(2), Attributes: r.u8(3), Type: TransferType(r.u8(3) & 3), Interval: r.u8(6),
		MaxPacket: int(size & 0x7ff), Transactions: int(size>>11&3) + 1,
	}
}
