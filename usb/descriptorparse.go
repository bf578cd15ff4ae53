package usb

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/project-independence/indy/pci"
)

// Descriptor types (USB 3.2, table 9-6, and the specifications of the classes).
const (
	typeDevice        = 0x01
	typeConfiguration = 0x02
	typeInterface     = 0x04
	typeEndpoint      = 0x05
	typeAssociation   = 0x0b
	typeBOS           = 0x0f
	typeCapability    = 0x10
	typeFunctional    = 0x21 // of HID, CCID and DFU
	typeClassIn       = 0x24 // class-specific, of an interface
	typeClassEndpoint = 0x25
	typeCompanion     = 0x30
	typeIsoCompanion  = 0x31
)

// Sysfs has at most 8 configurations of at most 64 KiB each, and real devices a few
// hundred descriptors.
const (
	maxDescriptorBytes = 1 << 20
	maxDescriptors     = 1 << 14
	maxProblems        = 16
)

// A DescriptorError is one thing in a device's descriptors that is not as the
// specification has it.
type DescriptorError struct {
	Offset int // of the descriptor among all bytes
	Reason string
}

// Error returns the offset and the reason.
func (e *DescriptorError) Error() string { return fmt.Sprintf("offset %d: %s", e.Offset, e.Reason) }

// problems are the first errors of many.
type problems []error

func (p *problems) add(offset int, format string, args ...any) {
	switch {
	case len(*p) < maxProblems:
		*p = append(*p, &DescriptorError{offset, fmt.Sprintf(format, args...)})
	case len(*p) == maxProblems:
		*p = append(*p, &DescriptorError{offset, "more that is wrong"})
	}
}

// ParseDescriptors understands the bytes of the sysfs file descriptors: the device
// descriptor, then each configuration with all that is in it. There is no BOS among
// them; see [ParseBOS].
//
// The bytes come from the device and may lie about every length and number. What
// could be understood is returned, with an error that joins one *[DescriptorError]
// for each thing that is wrong, up to a bound. At most 1 MiB and 16384 descriptors
// are looked at.
func ParseDescriptors(data []byte) (Descriptors, error) {
	if len(data) == 0 {
		return Descriptors{}, &DescriptorError{0, "no bytes"}
	}
	p := parser{hash: sha256.Sum256(data), end: -1}
	if len(data) > maxDescriptorBytes {
		p.add(maxDescriptorBytes, "%d bytes, at most %d are looked at", len(data), maxDescriptorBytes)
		data = data[:maxDescriptorBytes]
	}
	p.data = bytes.Clone(data)
	p.walk()
	p.classes()
	p.d.Hash = p.hash
	if n := len(p.d.Configurations); n != p.d.Device.Configurations && p.d.Device.USB.Known() {
		p.add(0, "%d configurations are claimed, %d are here", p.d.Device.Configurations, n)
	}
	return p.d, errors.Join(p.problems...)
}

type parser struct {
	problems
	data   []byte
	d      Descriptors
	hash   DescriptorHash
	end    int  // where the last configuration claims to end, -1 before the first
	honest bool // that end is that of all bytes, or another configuration is there
}

func (p *parser) walk() {
	for offset, n := 0, 0; offset < len(p.data); n++ {
		rest := p.data[offset:]
		length := int(rest[0])
		switch {
		case n == maxDescriptors:
			p.add(offset, "more than %d descriptors", maxDescriptors)
			return
		case length < 2 || length > len(rest):
			p.add(offset, "a descriptor of %d bytes, %d are left", length, len(rest))
			if p.honest && offset < p.end {
				offset = p.end
				continue
			}
			return
		case p.honest && offset < p.end && offset+length > p.end:
			p.add(offset, "a descriptor of %d bytes goes beyond its configuration, which ends at %d", length, p.end)
			offset = p.end
			continue
		}
		p.descriptor(RawDescriptor{offset, rest[:length:length]})
		offset += length
	}
	if p.end > len(p.data) {
		p.add(len(p.data), "the configuration should end at %d", p.end)
	}
}

func (p *parser) descriptor(r RawDescriptor) {
	if least := leastLength(r.Type()); len(r.Bytes) < least {
		p.add(r.Offset, "a descriptor of type %#02x has %d bytes instead of %d", r.Type(), len(r.Bytes), least)
		return
	}
	switch r.Type() {
	case typeDevice:
		p.device(r)
	case typeConfiguration:
		p.configuration(r)
	default:
		p.inConfiguration(r)
	}
}

// leastLength returns how many bytes a standard descriptor has.
func leastLength(t uint8) int {
	switch t {
	case typeDevice:
		return 18
	case typeConfiguration, typeInterface:
		return 9
	case typeAssociation, typeIsoCompanion:
		return 8
	case typeEndpoint:
		return 7
	case typeCompanion:
		return 6
	}
	return 2
}

func (p *parser) device(r RawDescriptor) {
	if r.Offset != 0 {
		p.add(r.Offset, "a device descriptor that is not the first descriptor")
		return
	}
	p.d.Device = DeviceDescriptor{
		USB: pci.NewID(r.u16(2)), Class: NewClass(r.u8(4), r.u8(5), r.u8(6)), MaxPacket: int(r.u8(7)),
		Vendor: pci.NewID(r.u16(8)), Product: pci.NewID(r.u16(10)), Release: pci.NewID(r.u16(12)),
		ManufacturerIndex: r.u8(14), ProductIndex: r.u8(15), SerialIndex: r.u8(16), Configurations: int(r.u8(17)),
	}
	if p.super() {
		if r.u8(7) > 16 {
			p.add(r.Offset, "a control endpoint with packets of 2^%d bytes", r.u8(7))
			p.d.Device.MaxPacket = 0
			return
		}
		p.d.Device.MaxPacket = 1 << r.u8(7)
	}
}

// super reports whether these are the descriptors of a device that runs at 5 Gbit/s
// or more: at other speeds it says that it is of USB 2.1.
func (p *parser) super() bool { return p.d.Device.USB.Known() && p.d.Device.USB.Uint16() >= 0x0300 }

func (p *parser) configuration(r RawDescriptor) {
	switch {
	case r.Offset < p.end && p.honest:
		p.add(r.Offset, "a configuration within a configuration")
		return
	case r.Offset < p.end:
		p.add(r.Offset, "the configuration before should end at %d", p.end)
	}
	if r.Offset == 0 {
		p.add(r.Offset, "no device descriptor")
	}
	unit := 2
	if p.super() {
		unit = 8
	}
	total := int(r.u16(2))
	p.end = r.Offset + total
	p.honest = p.end == len(p.data) || p.end >= r.Offset+9 && p.end+9 <= len(p.data) && p.data[p.end] == 9 && p.data[p.end+1] == typeConfiguration
	if total < 9 {
		p.add(r.Offset, "a configuration of %d bytes in all", total)
	}
	p.d.Configurations = append(p.d.Configurations, Configuration{
		TotalLength: total, NumInterfaces: int(r.u8(4)), Value: int(r.u8(5)), StringIndex: r.u8(6),
		SelfPowered: r.u8(7)&0x40 != 0, RemoteWakeup: r.u8(7)&0x20 != 0, MaxPower: unit * int(r.u8(8)),
	})
}

func (p *parser) inConfiguration(r RawDescriptor) {
	n := len(p.d.Configurations)
	if n == 0 {
		p.add(r.Offset, "a descriptor of type %#02x outside of a configuration", r.Type())
		p.d.Extra = append(p.d.Extra, r)
		return
	}
	c := &p.d.Configurations[n-1]
	if r.Offset >= p.end && p.end >= 0 {
		p.add(r.Offset, "the configuration should have ended at %d", p.end)
		p.end, p.honest = -1, false
	}
	switch r.Type() {
	case typeAssociation:
		c.Associations = append(c.Associations, Association{int(r.u8(2)), int(r.u8(3)), NewClass(r.u8(4), r.u8(5), r.u8(6)), r.u8(7)})
		return
	case typeInterface:
		c.Interfaces = append(c.Interfaces, InterfaceDescriptor{
			Number: int(r.u8(2)), Alternate: int(r.u8(3)), Class: NewClass(r.u8(5), r.u8(6), r.u8(7)), StringIndex: r.u8(8),
		})
		return
	}
	if len(c.Interfaces) == 0 {
		if r.Type() == typeEndpoint || r.Type() == typeCompanion || r.Type() == typeIsoCompanion {
			p.add(r.Offset, "a descriptor of type %#02x before any interface", r.Type())
		}
		c.Extra = append(c.Extra, r)
		return
	}
	p.inInterface(&c.Interfaces[len(c.Interfaces)-1], r)
}

func (p *parser) inInterface(in *InterfaceDescriptor, r RawDescriptor) {
	if r.Type() == typeEndpoint {
		in.Endpoints = append(in.Endpoints, parseEndpoint(r))
		return
	}
	var e *Endpoint
	if n := len(in.Endpoints); n > 0 {
		e = &in.Endpoints[n-1]
	}
	switch r.Type() {
	case typeCompanion, typeIsoCompanion:
		if e == nil {
			p.add(r.Offset, "a companion of no endpoint")
			in.Extra = append(in.Extra, r)
			return
		}
		e.SuperSpeed = true
		if r.Type() == typeIsoCompanion { // has what does not fit into the other
			e.BytesPerInterval = r.u32(4)
			return
		}
		e.Burst, e.CompanionAttributes, e.BytesPerInterval = int(r.u8(2))+1, r.u8(3), uint32(r.u16(4))
	case typeFunctional, typeClassIn: // old devices have that of HID after the endpoint
		in.Extra = append(in.Extra, r)
	default:
		if e == nil {
			in.Extra = append(in.Extra, r)
			return
		}
		e.Extra = append(e.Extra, r)
	}
}

// classes understands what is specific to the class of each interface.
func (p *parser) classes() {
	for i := range p.d.Configurations {
		for j := range p.d.Configurations[i].Interfaces {
			in := &p.d.Configurations[i].Interfaces[j]
			in.Specific = p.specific(in)
		}
	}
}

func (p *parser) specific(in *InterfaceDescriptor) ClassSpecific {
	parse, want, least := p.classParser(in.Class)
	if parse == nil {
		return nil
	}
	var of []RawDescriptor
	for _, r := range in.Extra {
		switch {
		case r.Type() != want:
		case len(r.Bytes) < least:
			p.add(r.Offset, "a descriptor of the class %v with %d bytes instead of %d", in.Class, len(r.Bytes), least)
		default:
			of = append(of, r)
		}
	}
	if of == nil {
		return nil
	}
	return parse(of)
}

// classParser returns what understands the descriptors of a class, nil when nothing
// does, with their type and how many bytes each has at least.
func (p *parser) classParser(c Class) (parse func([]RawDescriptor) ClassSpecific, want uint8, least int) {
	versioned := func(f func([]RawDescriptor, uint8) ClassSpecific) func([]RawDescriptor) ClassSpecific {
		return func(of []RawDescriptor) ClassSpecific { return f(of, c.Protocol()) }
	}
	switch base, sub := c.Base(), c.Sub(); {
	case base == 0x01 && sub == 0x01:
		return versioned(p.audioControl), typeClassIn, 3
	case base == 0x01 && sub == 0x02:
		return versioned(p.audioStreaming), typeClassIn, 3
	case base == 0x02:
		return p.cdc, typeClassIn, 3
	case base == 0x03:
		return p.hid, typeFunctional, 6
	case base == 0x0b:
		return p.smartCard, typeFunctional, 54
	case base == 0x0e && sub == 0x01:
		return p.videoControl, typeClassIn, 3
	case base == 0x0e && sub == 0x02:
		return p.videoStreaming, typeClassIn, 3
	case base == 0xfe && sub == 0x01:
		return p.dfu, typeFunctional, 7
	}
	return nil, 0, 0
}

// need reports whether r has the bytes that are read of it.
func (p *parser) need(r RawDescriptor, least int) bool {
	if len(r.Bytes) < least {
		p.add(r.Offset, "a class-specific descriptor of subtype %#02x has %d bytes instead of %d", r.u8(2), len(r.Bytes), least)
		return false
	}
	return true
}
