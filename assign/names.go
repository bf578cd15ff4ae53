package assign

import (
	"strings"

	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

func nameUSB(p usb.PortPath) string { return "usb:" + p.String() }

// usbName reads the name of a USB device, as in [Plan.Names].
func usbName(name string) (p usb.PortPath, ok bool) {
	path, ok := strings.CutPrefix(name, "usb:")
	if !ok {
		return p, false
	}
	p, err := usb.ParsePortPath(path)
	return p, err == nil && nameUSB(p) == name
}

func isUSB(name string) bool { return strings.HasPrefix(name, "usb:") }

func sameBus(a, b string) bool { return isUSB(a) == isUSB(b) }

// oneUnit reports whether the names may be those of one thing at two places: the functions
// of one unit share a serial number.
func oneUnit(a, b string) bool {
	x, xerr := pci.ParseAddress(a)
	y, yerr := pci.ParseAddress(b)
	return isUSB(a) && isUSB(b) || xerr == nil && yerr == nil && x.Function() == y.Function()
}

// compareNames orders functions by address, and USB devices by path after them.
func compareNames(a, b string) int {
	x, xerr := pci.ParseAddress(a)
	y, yerr := pci.ParseAddress(b)
	p, _ := usbName(a)
	q, _ := usbName(b)
	switch {
	case xerr == nil && yerr == nil:
		return x.Compare(y)
	case xerr == nil:
		return -1
	case yerr == nil:
		return 1
	}
	return p.Compare(q)
}

// functionsOf and portsOf return what is of one kind among names.
func functionsOf(names []string) (all []pci.Address) {
	for _, name := range names {
		if a, err := pci.ParseAddress(name); err == nil {
			all = append(all, a)
		}
	}
	return all
}

func portsOf(names []string) (all []usb.PortPath) {
	for _, name := range names {
		if p, ok := usbName(name); ok {
			all = append(all, p)
		}
	}
	return all
}

func (c Cleaning) names() (all []string) {
	for _, a := range c.Devices {
		all = append(all, a.String())
	}
	for _, p := range c.USB {
		all = append(all, nameUSB(p))
	}
	return all
}

func byName(results map[pci.Address]Reset) map[string]Reset {
	all := make(map[string]Reset, len(results))
	for a, r := range results {
		all[a.String()] = r
	}
	return all
}

// Unnamed is what a guest is called that was given no name.
const Unnamed = "guest"

func unnamed(guest string) bool { return guest == "" || guest == Unnamed }
