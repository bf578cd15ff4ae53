package usb

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/project-independence/indy/internal/plain"
)

// A PortPath is where a USB device is plugged in: the bus and then the port of
// each hub on the way, as in 1-4.2: bus 1, port 4 of its root hub, port 2 of the
// hub there. It is the name of the device below /sys/bus/usb/devices.
//
// Port paths are comparable and may be map keys. The zero PortPath is no path. A
// root hub, which the kernel calls usb1, has none either.
type PortPath struct {
	// the bus in the highest byte, then one byte a port; no number is 0
	v uint64
}

const maxPorts = 7

// ParsePortPath reads BUS-PORT or BUS-PORT.PORT and so on, with one to seven ports,
// each number decimal, from 1 to 255 and without leading zeros.
func ParsePortPath(s string) (PortPath, error) {
	p, ok := parsePortPath(s)
	if !ok {
		return PortPath{}, fmt.Errorf("USB port path %q: expected BUS-PORT.PORT with up to %d ports such as 1-4.2", plain.Short(s), maxPorts)
	}
	return p, nil
}

func parsePortPath(s string) (PortPath, bool) {
	var path, number uint64
	shift := 8 * maxPorts
	for i := range len(s) {
		switch c := s[i]; {
		case '0' <= c && c <= '9':
			number = number*10 + uint64(c-'0')
			if number == 0 || number > 255 {
				return PortPath{}, false
			}
		case number == 0, shift == 0, (c == '-') != (shift == 8*maxPorts), c != '-' && c != '.':
			return PortPath{}, false
		default:
			path |= number << shift
			shift -= 8
			number = 0
		}
	}
	if number == 0 || shift == 8*maxPorts {
		return PortPath{}, false
	}
	return PortPath{path | number<<shift}, true
}

// IsValid reports whether p is a port path, that is, not the zero PortPath.
func (p PortPath) IsValid() bool { return p.v != 0 }

// Bus returns the number of the bus, 0 for the zero PortPath.
func (p PortPath) Bus() int { return int(p.v >> (8 * maxPorts)) }

// Parent returns the port path of the hub that p is plugged into, the zero
// PortPath when that is a root hub.
func (p PortPath) Parent() PortPath {
	for shift := 0; shift < 8*maxPorts; shift += 8 {
		if mask := uint64(0xff) << shift; p.v&mask != 0 {
			p.v &^= mask
			break
		}
	}
	if p.v<<8 == 0 {
		return PortPath{}
	}
	return p
}

// Compare orders port paths by their numbers, so that 1-2 comes before 1-10, and a
// hub before what is plugged into it. The zero PortPath comes first.
func (p PortPath) Compare(q PortPath) int { return cmp.Compare(p.v, q.v) }

// AppendTo appends the port path as String writes it.
func (p PortPath) AppendTo(b []byte) []byte {
	if !p.IsValid() {
		return append(b, "invalid port path"...)
	}
	b = strconv.AppendUint(b, p.v>>(8*maxPorts), 10)
	separator := byte('-')
	for rest := p.v << 8; rest != 0; rest <<= 8 {
		b = strconv.AppendUint(append(b, separator), rest>>(8*maxPorts), 10)
		separator = '.'
	}
	return b
}

// String returns the port path as the kernel writes it, 1-4.2, or "invalid port
// path" for the zero PortPath.
func (p PortPath) String() string { return string(p.AppendTo(make([]byte, 0, 16))) }

// MarshalText writes the port path as String does; the zero PortPath is empty text.
func (p PortPath) MarshalText() ([]byte, error) {
	if !p.IsValid() {
		return nil, nil
	}
	return p.AppendTo(nil), nil
}

// UnmarshalText reads what MarshalText writes.
func (p *PortPath) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*p = PortPath{}
		return nil
	}
	v, err := ParsePortPath(string(text))
	if err == nil {
		*p = v
	}
	return err
}

// InPath returns the innermost USB device of a path below /sys/devices:
// ../../devices/pci0000:00/0000:00:14.0/usb1/1-4/1-4.2/1-4.2:1.0/sound/card1 gives
// 1-4.2. Every link in /sys/class and /sys/bus leads to such a path, so it tells
// which device carries a network interface, a disk or a sound card. It reports
// false when no USB device is in the path or none but a root hub.
func InPath(path string) (PortPath, bool) {
	var found PortPath
	bus := -1
	for elem := range strings.SplitSeq(path, "/") {
		if n, ok := rootHub(elem); ok {
			bus = n
		} else if p, ok := parsePortPath(elem); ok && p.Bus() == bus {
			found = p
		}
	}
	return found, found.IsValid()
}

// rootHub reads the name of a root hub, usb1, and returns its bus.
func rootHub(name string) (bus int, ok bool) {
	digits, ok := strings.CutPrefix(name, "usb")
	if !ok || digits == "" || digits[0] < '1' || digits[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 8)
	return int(n), err == nil
}
