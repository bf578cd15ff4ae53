package pci

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/project-independence/indy/internal/plain"
)

// An ID is a 16-bit vendor, device or subsystem id. The zero ID is unknown, which
// is not the same as 0000.
type ID struct{ v uint32 }

// NewID returns the known id n.
func NewID(n uint16) ID { return ID{uint32(n) + 1} }

// ParseID reads an id of one to four hexadecimal digits, with or without 0x.
func ParseID(s string) (ID, error) {
	digits := strings.TrimPrefix(s, "0x")
	n, ok := parseHex(digits)
	if !ok || len(digits) > 4 {
		return ID{}, fmt.Errorf("id %q: expected up to four hexadecimal digits", plain.Short(s))
	}
	return NewID(uint16(n)), nil
}

// Known reports whether the id is known.
func (i ID) Known() bool { return i.v != 0 }

// Uint16 returns the id, 0 when it is unknown.
func (i ID) Uint16() uint16 {
	if i.v == 0 {
		return 0
	}
	return uint16(i.v - 1)
}

// String returns four hexadecimal digits, or "????" when the id is unknown.
func (i ID) String() string {
	if i.v == 0 {
		return "????"
	}
	return fmt.Sprintf("%04x", i.Uint16())
}

// MarshalJSON writes four hexadecimal digits as a string, or null when unknown.
func (i ID) MarshalJSON() ([]byte, error) {
	if i.v == 0 {
		return []byte("null"), nil
	}
	return json.Marshal(i.String())
}

// UnmarshalJSON reads what MarshalJSON writes.
func (i *ID) UnmarshalJSON(data []byte) error { return unmarshalHex(data, i, ParseID) }

// A Class is a 24-bit class code: base class, subclass and programming interface.
// The zero Class is unknown, which is not the same as 000000.
type Class struct{ v uint32 }

// NewClass returns the known class code n, of which the lower 24 bits count.
func NewClass(n uint32) Class { return Class{n&0xffffff + 1} }

// ParseClass reads a class code of one to six hexadecimal digits, with or without 0x.
func ParseClass(s string) (Class, error) {
	digits := strings.TrimPrefix(s, "0x")
	n, ok := parseHex(digits)
	if !ok || len(digits) > 6 {
		return Class{}, fmt.Errorf("class %q: expected up to six hexadecimal digits", plain.Short(s))
	}
	return NewClass(uint32(n)), nil
}

// Known reports whether the class is known.
func (c Class) Known() bool { return c.v != 0 }

// Uint32 returns all 24 bits, 0 when the class is unknown.
func (c Class) Uint32() uint32 {
	if c.v == 0 {
		return 0
	}
	return c.v - 1
}

// Base returns the base class, such as 0x03 for display controllers. An unknown
// class has base 0xff, unassigned.
func (c Class) Base() uint8 {
	if c.v == 0 {
		return 0xff
	}
	return uint8(c.Uint32() >> 16)
}

// Sub returns base class and subclass, such as 0x0604 for a PCI-to-PCI bridge. An
// unknown class has 0xffff.
func (c Class) Sub() uint16 {
	if c.v == 0 {
		return 0xffff
	}
	return uint16(c.Uint32() >> 8)
}

// Interface returns the programming interface.
func (c Class) Interface() uint8 { return uint8(c.Uint32()) }

// Compare orders classes by number, unknown first.
func (c Class) Compare(d Class) int { return cmp.Compare(c.v, d.v) }

// String returns six hexadecimal digits, or "??????" when the class is unknown.
func (c Class) String() string {
	if c.v == 0 {
		return "??????"
	}
	return fmt.Sprintf("%06x", c.Uint32())
}

// MarshalJSON writes six hexadecimal digits as a string, or null when unknown.
func (c Class) MarshalJSON() ([]byte, error) {
	if c.v == 0 {
		return []byte("null"), nil
	}
	return json.Marshal(c.String())
}

// UnmarshalJSON reads what MarshalJSON writes.
func (c *Class) UnmarshalJSON(data []byte) error { return unmarshalHex(data, c, ParseClass) }

// A GroupID is the number of an IOMMU group. Group 0 is a group like any other;
// the zero GroupID is no group.
type GroupID struct{ v uint32 }

// NewGroupID returns the id of group n.
func NewGroupID(n uint32) GroupID {
	if n == ^uint32(0) {
		return GroupID{}
	}
	return GroupID{n + 1}
}

// ParseGroupID reads a decimal group number.
func ParseGroupID(s string) (GroupID, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return GroupID{}, fmt.Errorf("IOMMU group %q: expected a decimal number", plain.Short(s))
	}
	return NewGroupID(uint32(n)), nil
}

// IsValid reports whether g is a group, that is, not the zero GroupID.
func (g GroupID) IsValid() bool { return g.v != 0 }

// Uint32 returns the number of the group, 0 also for the zero GroupID.
func (g GroupID) Uint32() uint32 {
	if g.v == 0 {
		return 0
	}
	return g.v - 1
}

// Compare orders groups by number; the zero GroupID comes first.
func (g GroupID) Compare(h GroupID) int { return cmp.Compare(g.v, h.v) }

// String returns the decimal number, or "none" for the zero GroupID.
func (g GroupID) String() string {
	if g.v == 0 {
		return "none"
	}
	return strconv.FormatUint(uint64(g.Uint32()), 10)
}

// MarshalJSON writes a number, or null for the zero GroupID.
func (g GroupID) MarshalJSON() ([]byte, error) {
	if g.v == 0 {
		return []byte("null"), nil
	}
	return []byte(g.String()), nil
}

// UnmarshalJSON reads what MarshalJSON writes.
func (g *GroupID) UnmarshalJSON(data []byte) error {
	if bytes.Equal(data, []byte("null")) {
		*g = GroupID{}
		return nil
	}
	v, err := ParseGroupID(string(data))
	if err == nil {
		*g = v
	}
	return err
}

func unmarshalHex[T any](data []byte, into *T, parse func(string) (T, error)) error {
	var s *string
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	var zero T
	if s == nil {
		*into = zero
		return nil
	}
	v, err := parse(*s)
	if err == nil {
		*into = v
	}
	return err
}
