package pci

import (
	"cmp"
	"fmt"
	"strconv"

	"github.com/project-independence/indy/internal/plain"
)

// An Address is where a PCI function sits: domain, bus, device and function, as
// in 0000:01:00.0. Domains have 32 bits: Intel VMD numbers its own from 10000.
//
// Addresses are comparable and may be map keys. The zero Address is no address;
// 0000:00:00.0 is a valid one.
type Address struct {
	// bit 63: valid; bits 16-47: domain; 8-15: bus; 3-7: device; 0-2: function
	v uint64
}

const addressValid = 1 << 63

// NewAddress returns the address of the given numbers. A device above 31 or a
// function above 7 gives the zero Address.
func NewAddress(domain uint32, bus, device, function uint8) Address {
	if device > 31 || function > 7 {
		return Address{}
	}
	return Address{addressValid | uint64(domain)<<16 | uint64(bus)<<8 | uint64(device)<<3 | uint64(function)}
}

// ParseAddress reads DDDD:BB:DD.F with four to eight digits of domain, or
// BB:DD.F, which is in domain 0000.
func ParseAddress(s string) (Address, error) {
	bad := func(why string) (Address, error) {
		return Address{}, fmt.Errorf("PCI address %q: %s; expected DDDD:BB:DD.F such as 0000:01:00.0", plain.Short(s), why)
	}
	rest, domain := s, uint64(0)
	if n := len(s) - len("BB:DD.F"); n > 0 {
		if n < 5 || n > 9 || s[n-1] != ':' {
			return bad("wrong length or separators")
		}
		d, ok := parseHex(s[:n-1])
		if !ok {
			return bad("the domain is not hexadecimal")
		}
		domain, rest = d, s[n:]
	}
	if len(rest) != len("BB:DD.F") || rest[2] != ':' || rest[5] != '.' {
		return bad("wrong length or separators")
	}
	bus, ok1 := parseHex(rest[:2])
	dev, ok2 := parseHex(rest[3:5])
	fn, ok3 := parseHex(rest[6:])
	switch {
	case !ok1 || !ok2 || !ok3:
		return bad("not hexadecimal")
	case dev > 31:
		return bad("the device is above 1f")
	case fn > 7:
		return bad("the function is above 7")
	}
	return NewAddress(uint32(domain), uint8(bus), uint8(dev), uint8(fn)), nil
}

// parseHex reads hexadecimal digits, at most those of 64 bits.
func parseHex(s string) (uint64, bool) {
	if len(s) > 16 {
		return 0, false
	}
	var v uint64
	for i := range len(s) {
		c := s[i] | 0x20
		switch {
		case '0' <= s[i] && s[i] <= '9':
			v = v<<4 | uint64(s[i]-'0')
		case 'a' <= c && c <= 'f':
			v = v<<4 | uint64(c-'a'+10)
		default:
			return 0, false
		}
	}
	return v, len(s) > 0
}

// IsValid reports whether a is an address, that is, not the zero Address.
func (a Address) IsValid() bool { return a.v != 0 }

// Domain returns the PCI domain, which the kernel also calls segment.
func (a Address) Domain() uint32 { return uint32(a.v >> 16) }

// Bus returns the bus number.
func (a Address) Bus() uint8 { return uint8(a.v >> 8) }

// Device returns the device number, at most 31.
func (a Address) Device() uint8 { return uint8(a.v) >> 3 }

// Function returns the function number, at most 7.
func (a Address) Function() uint8 { return uint8(a.v) & 7 }

// Compare orders addresses by domain, bus, device and function; the zero Address
// comes first.
func (a Address) Compare(b Address) int { return cmp.Compare(a.v, b.v) }

// AppendTo appends the address as String writes it.
func (a Address) AppendTo(b []byte) []byte {
	if !a.IsValid() {
		return append(b, "invalid address"...)
	}
	const digits = "0123456789abcdef"
	d := a.Domain()
	if d > 0xffff {
		b = strconv.AppendUint(b, uint64(d), 16)
	} else {
		b = append(b, digits[d>>12], digits[d>>8&15], digits[d>>4&15], digits[d&15])
	}
	bus, dev := a.Bus(), a.Device()
	return append(b, ':', digits[bus>>4], digits[bus&15], ':', digits[dev>>4], digits[dev&15], '.', digits[a.Function()])
}

// String returns the address as the kernel writes it, 0000:01:00.0, or
// "invalid address" for the zero Address.
func (a Address) String() string { return string(a.AppendTo(make([]byte, 0, 16))) }

// MarshalText writes the address as String does; the zero Address is empty text.
func (a Address) MarshalText() ([]byte, error) {
	if !a.IsValid() {
		return nil, nil
	}
	return a.AppendTo(nil), nil
}

// UnmarshalText reads what MarshalText writes, and whatever ParseAddress takes.
func (a *Address) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*a = Address{}
		return nil
	}
	v, err := ParseAddress(string(text))
	if err == nil {
		*a = v
	}
	return err
}
