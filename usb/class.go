package usb

import "github.com/project-independence/indy/pci"

// An ID is a 16-bit vendor id, product id or release number. The zero ID is
// unknown, which is not the same as 0000.
type ID = pci.ID

// A Class is the class, subclass and protocol of a device or an interface, such as
// e00101 for Bluetooth. The zero Class is unknown, which is not the same as 000000:
// with that a device says that its interfaces have the classes.
type Class struct{ code pci.Class }

// NewClass returns the known class of the three codes.
func NewClass(class, subclass, protocol uint8) Class {
	return Class{pci.NewClass(uint32(class)<<16 | uint32(subclass)<<8 | uint32(protocol))}
}

// Known reports whether the class is known.
func (c Class) Known() bool { return c.code.Known() }

// Base returns the class code, such as 0x09 for hubs, 0 when the class is unknown.
func (c Class) Base() uint8 { return uint8(c.code.Uint32() >> 16) }

// Sub returns the subclass code, 0 when the class is unknown.
func (c Class) Sub() uint8 { return uint8(c.code.Uint32() >> 8) }

// Protocol returns the protocol code, 0 when the class is unknown.
func (c Class) Protocol() uint8 { return uint8(c.code.Uint32()) }

// Compare orders classes by number, unknown first.
func (c Class) Compare(d Class) int { return c.code.Compare(d.code) }

// String returns six hexadecimal digits, or "??????" when the class is unknown.
func (c Class) String() string { return c.code.String() }

// MarshalJSON writes six hexadecimal digits as a string, or null when unknown.
func (c Class) MarshalJSON() ([]byte, error) { return c.code.MarshalJSON() }

// UnmarshalJSON reads what MarshalJSON writes.
func (c *Class) UnmarshalJSON(data []byte) error { return c.code.UnmarshalJSON(data) }

const classHub = 0x09
