package usb

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
)

// BOS is the binary device object store: what a device of USB 2.1 or later can do
// (USB 3.2, 9.6.2). Parts that it does not have are zero.
type BOS struct {
	USB2           USB2Extension
	SuperSpeed     SuperSpeed
	SuperSpeedPlus SuperSpeedPlus

	// ContainerID is the same for all devices within one housing, as those of the
	// two halves of a USB 3 hub: the text of a UUID, "" when there is none.
	ContainerID string

	// Platform are capabilities that somebody else than the specification defines.
	Platform []PlatformCapability

	// Extra are all other capabilities.
	Extra []RawDescriptor
}

// USB2Extension is what a device can do at the speeds of USB 2.
type USB2Extension struct {
	Present bool
	LPM     bool // it can sleep within microseconds (link power management)
	BESL    bool // it says how long waking may take
}

// SuperSpeed is what a device can do at 5 Gbit/s.
type SuperSpeed struct {
	Present bool
	LTM     bool // it can say how long it can wait (latency tolerance messages)

	// The speeds it runs at, and the lowest at which it does all that it can, each as
	// the file speed has it: 1.5, 12, 480, 5000.
	Speeds []string
	Full   string

	// U1Exit, U2Exit are the times in microseconds to wake from these two states.
	U1Exit, U2Exit int
}

// SuperSpeedPlus is what a device can do at 10 Gbit/s and more.
type SuperSpeedPlus struct {
	Present  bool
	Sublinks []Sublink
	RxLanes  int // the least that it needs to do all that it can
	TxLanes  int
	SpeedID  int // of the lowest speed at which it does all that it can
}

// A Sublink is one speed in one direction.
type Sublink struct {
	ID       int
	Bits     uint64 // in one second
	Transmit bool
	Plus     bool // of USB 3.1 or later
}

// A PlatformCapability is one that is named by a UUID.
type PlatformCapability struct {
	UUID string
	Name string // WebUSB, Microsoft OS 2.0, or "" when it is another
	Data []byte
}

// ReadBOS reads the binary device object store of the device at p (bos_descriptors
// below /sys/bus/usb/devices/PATH, which kernels have since 2024). Its errors are as those of
// [ReadDescriptors]; it is [fs.ErrNotExist] for a device that has none, too.
func ReadBOS(fsys fs.FS, p PortPath) (BOS, error) {
	data, err := fs.ReadFile(fsys, devices+"/"+p.String()+"/bos_descriptors")
	if err != nil {
		return BOS{}, opError("read BOS of", p, err)
	}
	b, err := ParseBOS(data)
	if err != nil {
		err = opError("read BOS of", p, err)
	}
	return b, err
}

// ParseBOS understands the bytes of a binary device object store. They are as
// untrusted as those of [ParseDescriptors], and errors are the same.
func ParseBOS(data []byte) (BOS, error) {
	var b BOS
	var p problems
	if len(data) < 5 || data[0] < 5 || int(data[0]) > len(data) || data[1] != typeBOS {
		p.add(0, "%d bytes that are no BOS", len(data))
		return b, errors.Join(p...)
	}
	head := RawDescriptor{0, data}
	if len(data) > 1<<16 {
		p.add(1<<16, "%d bytes, at most %d are looked at", len(data), 1<<16)
		data = data[:1<<16]
	}
	data = bytes.Clone(data)
	if total := int(head.u16(2)); total != len(data) {
		p.add(0, "%d bytes in all are claimed, %d are here", total, len(data))
	}
	n := 0
	for offset := int(data[0]); offset < len(data); n++ {
		length := int(data[offset])
		if length < 3 || length > len(data)-offset {
			p.add(offset, "a descriptor of %d bytes, %d are left", length, len(data)-offset)
			break
		}
		r := RawDescriptor{offset, data[offset : offset+length : offset+length]}
		if r.Type() != typeCapability {
			p.add(offset, "a descriptor of type %#02x in a BOS", r.Type())
			b.Extra = append(b.Extra, r)
		} else if least := capabilityLength(r.u8(2)); length < least {
			p.add(offset, "a capability of type %#02x has %d bytes instead of %d", r.u8(2), length, least)
			b.Extra = append(b.Extra, r)
		} else {
			b.capability(r, &p)
		}
		offset += length
	}
	if claimed := int(data[4]); claimed != n {
		p.add(0, "%d capabilities are claimed, %d are here", claimed, n)
	}
	return b, errors.Join(p...)
}

func capabilityLength(kind uint8) int {
	switch kind {
	case 0x02:
		return 7
	case 0x03:
		return 10
	case 0x04, 0x05:
		return 20
	case 0x0a:
		return 16
	}
	return 3
}

func (b *BOS) capability(r RawDescriptor, p *problems) {
	switch r.u8(2) {
	case 0x02:
		b.USB2 = USB2Extension{true, r.u8(3)&2 != 0, r.u8(3)&4 != 0}
	case 0x03:
		b.superSpeed(r)
	case 0x04:
		b.ContainerID = uuid(r.Bytes[4:20])
	case 0x05:
		c := PlatformCapability{UUID: uuid(r.Bytes[4:20]), Data: r.Bytes[20:]}
		switch c.UUID {
		case "3408b638-09a9-47a0-8bfd-a0768815b665":
			c.Name = "WebUSB"
		case "d8dd60df-4589-4cc7-9cd2-659d9e648a9f":
			c.Name = "Microsoft OS 2.0"
		}
		b.Platform = append(b.Platform, c)
	case 0x0a:
		b.superSpeedPlus(r, p)
	default:
		b.Extra = append(b.Extra, r)
	}
}

func (b *BOS) superSpeed(r RawDescriptor) {
	s := SuperSpeed{Present: true, LTM: r.u8(3)&2 != 0, U1Exit: int(r.u8(7)), U2Exit: int(r.u16(8))}
	for i, speed := range [...]string{"1.5", "12", "480", "5000"} {
		if r.u16(4)>>i&1 != 0 {
			s.Speeds = append(s.Speeds, speed)
		}
		if int(r.u8(6)) == i {
			s.Full = speed
		}
	}
	b.SuperSpeed = s
}

func (b *BOS) superSpeedPlus(r RawDescriptor, p *problems) {
	s := SuperSpeedPlus{Present: true, SpeedID: int(r.u8(8) & 0x0f), RxLanes: int(r.u8(9) & 0x0f), TxLanes: int(r.u8(9) >> 4)}
	n := int(r.u8(4)&0x1f) + 1
	if len(r.Bytes) < 12+4*n {
		p.add(r.Offset, "%d speeds are named in %d bytes", n, len(r.Bytes))
		n = (len(r.Bytes) - 12) / 4
	}
	for i := range n {
		v := r.u32(12 + 4*i)
		bits := uint64(v >> 16)
		for range v >> 4 & 3 {
			bits *= 1000
		}
		s.Sublinks = append(s.Sublinks, Sublink{ID: int(v & 0x0f), Bits: bits, Transmit: v&0x80 != 0, Plus: v>>14&3 == 1})
	}
	b.SuperSpeedPlus = s
}

// uuid writes 16 bytes, the first three fields of which have their low byte first.
func uuid(b []byte) string {
	return fmt.Sprintf("%02x%02x%02x%02x-%02x%02x-%02x%02x-%x-%x",
		b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8:10], b[10:16])
}
