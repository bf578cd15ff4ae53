package importer

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// An address is that of a PCI function.
type address struct {
	domain                uint32
	bus, device, function uint8
}

// parseAddress reads BB:DD.F or DDDD:BB:DD.F with four to eight digits of domain.
func parseAddress(s string) (a address, ok bool) {
	if i := strings.LastIndexByte(s, ':'); i > 2 {
		domain, rest, _ := strings.Cut(s, ":")
		d, ok := parseHex(domain, 8)
		if !ok || len(domain) < 4 {
			return a, false
		}
		a.domain, s = uint32(d), rest
	}
	if len(s) != len("BB:DD.F") || s[2] != ':' || s[5] != '.' {
		return a, false
	}
	bus, ok1 := parseHex(s[:2], 2)
	device, ok2 := parseHex(s[3:5], 2)
	function, ok3 := parseHex(s[6:], 1)
	a.bus, a.device, a.function = uint8(bus), uint8(device), uint8(function)
	return a, ok1 && ok2 && ok3 && device < 32 && function < 8
}

// isAddress says whether s is an address as the kernel writes it.
func isAddress(s string) bool {
	a, ok := parseAddress(s)
	return ok && a.String() == s
}

func (a address) String() string {
	return fmt.Sprintf("%04x:%02x:%02x.%x", a.domain, a.bus, a.device, a.function)
}

// parseHex reads one to most hexadecimal digits.
func parseHex(s string, most int) (uint64, bool) {
	n, err := strconv.ParseUint(s, 16, 64)
	return n, err == nil && len(s) <= most
}

// A usbName is what the name of an entry of the USB bus says.
type usbName struct {
	bus    string
	device string // 1-4.2, or usb1 for a root hub
	inter  bool   // it is an interface
	number uint64
}

// parseUSBName reads usb1, 1-4.2 and 1-4.2:1.0; 1-0:1.0 is an interface of usb1.
func parseUSBName(s string) (n usbName, ok bool) {
	if digits, isRoot := strings.CutPrefix(s, "usb"); isRoot {
		_, ok := decimal(digits)
		return usbName{bus: digits, device: s}, ok
	}
	device, rest, inter := strings.Cut(s, ":")
	bus, ports, ok := strings.Cut(device, "-")
	if _, isBus := decimal(bus); !ok || !isBus {
		return n, false
	}
	n = usbName{bus: bus, device: device, inter: inter}
	if inter {
		config, number, ok := strings.Cut(rest, ".")
		c, err1 := strconv.ParseUint(config, 10, 8)
		i, err2 := strconv.ParseUint(number, 10, 8)
		if !ok || err1 != nil || err2 != nil || config+"."+number != fmt.Sprintf("%d.%d", c, i) {
			return n, false
		}
		n.number = i
		if ports == "0" {
			n.device = "usb" + bus
			return n, true
		}
	}
	count := 0
	for port := range strings.SplitSeq(ports, ".") {
		if _, ok := decimal(port); !ok {
			return n, false
		}
		count++
	}
	return n, count <= 7
}

// decimal reads a number from 1 to 255 without leading zeros.
func decimal(s string) (uint64, bool) {
	n, err := strconv.ParseUint(s, 10, 8)
	return n, err == nil && n > 0 && s[0] != '0'
}

// checkElement says what is wrong with a name that becomes one element of a path.
func checkElement(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("an empty name")
	case s == "." || s == ".." || strings.Contains(s, "/"):
		return fmt.Errorf("name %s leads elsewhere", quote(s))
	case len(s) > maxName:
		return fmt.Errorf("name %s has %d bytes, at most %d are allowed", quote(s), len(s), maxName)
	case !utf8.ValidString(s) || strings.ContainsFunc(s, isControl):
		return fmt.Errorf("name %s holds a character that is not printable", quote(s))
	case strings.TrimSpace(s) != s || strings.Contains(s, " -> "):
		return fmt.Errorf("name %s is none that a saved machine can hold", quote(s))
	}
	return nil
}

// checkDevicePath says what is wrong with a path that is to be below /sys/devices,
// and returns it below the root of the machine.
func checkDevicePath(s string) (string, error) {
	rest, ok := strings.CutPrefix(s, "/devices/")
	if !ok {
		return "", fmt.Errorf("path %s is not below /devices/", quote(s))
	}
	if len(s) > maxPath || strings.Count(s, "/") > maxElements {
		return "", fmt.Errorf("path %s is longer than the kernel's are", quote(s))
	}
	for element := range strings.SplitSeq(rest, "/") {
		if err := checkElement(element); err != nil {
			return "", fmt.Errorf("path %s: %w", quote(s), err)
		}
	}
	return "sys" + s, nil
}

func isControl(r rune) bool { return unicode.Is(unicode.C, r) }

// quote quotes s and cuts what nobody would read.
func quote(s string) string {
	if len(s) > 80 {
		return fmt.Sprintf("%q...", s[:80])
	}
	return fmt.Sprintf("%q", s)
}

// clean makes one bounded line of printable text of what a device or the firmware
// says of itself.
func clean(s string) string {
	if len(s) > 4*maxText {
		s = s[:4*maxText]
	}
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, s)
	if r := []rune(s); len(r) > maxText {
		s = string(r[:maxText])
	}
	return strings.Join(strings.Fields(s), " ")
}
