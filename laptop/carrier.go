package laptop

import (
	"slices"
	"strings"

	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

// A carrier is the device that a class device hangs on: a USB device, a device on
// neither bus, or else a PCI function.
type carrier struct {
	port     usb.PortPath
	path     string      // of a device on neither bus, below /sys/devices
	bus      string      // of that device; empty when its subsystem has to say
	function pci.Address // the innermost in the path
}

// carrierOf reads a path below /sys/devices that ends in a class device. The kernel
// puts a directory of the class between a device and what it made of it, as in
// 0000:00:14.3/ieee80211/phy0/rfkill0; those are passed over, so that no name of a
// class device, which may be anyone's choice, is taken for a device.
//
// A bus inside a device of another is told by the names the kernel gives there,
// without reading a file: an I2C touchpad is a device of its own although the I2C
// controller above it is a PCI function.
func carrierOf(path string) carrier {
	elems := strings.Split(path, "/")
	bare, ends := devicesIn(elems)
	above := strings.Join(bare, "/")
	c := carrier{}
	if p, ok := usb.InPath(above); ok {
		c.port = p
		return c
	}
	first := 0 // what is below the innermost function
	if functions := pci.InPath(above); len(functions) > 0 {
		c.function = functions[len(functions)-1]
		first = slices.IndexFunc(bare, func(e string) bool { a, err := pci.ParseAddress(e); return err == nil && a == c.function }) + 1
	}
	at := -1
	for i := first; i < len(bare); i++ {
		if bus := busInside(bare, i, c.function.IsValid()); bus != "" {
			at, c.bus = i, bus
		}
	}
	switch {
	case at >= 0:
	case c.function.IsValid(), len(bare) == 0:
		return c
	case len(bare) == 1: // right below the root: made by software
		if bare[0] == "virtual" && len(elems) >= 3 {
			c.path, c.bus = strings.Join(elems[:3], "/"), "virtual"
		}
		return c
	default:
		at = len(bare) - 1
		for at > 1 && isPartOf(bare[at], bare[at-1]) {
			at--
		}
		c.bus = busOfRoot(bare, at)
	}
	c.path = strings.Join(elems[:ends[at]], "/")
	return c
}

// devicesIn returns the elements of a path that are devices, and for each how many
// elements of the path lead up to it.
func devicesIn(elems []string) (bare []string, ends []int) {
	for i := 0; i < len(elems)-1; i++ {
		// What is right below platform is a device, whatever it is called.
		if i > 0 && elems[i-1] != "platform" && isClassDirectory(elems[i]) {
			i++
			for i+1 < len(elems) && numbered(elems[i+1], "input") {
				i++ // below what is of a class already, as the sockets of a sound card
			}
			continue
		}
		bare, ends = append(bare, elems[i]), append(ends, i+1)
	}
	return bare, ends
}

func isClassDirectory(name string) bool {
	switch name {
	case "sound", "drm", "block", "spi_master", "graphics", "leds", "hwmon", "scsi_host", "nvme-generic":
		return true
	}
	return slices.ContainsFunc(kernelClasses, func(k kernelClass) bool { return k.name == name && k.dir == "" })
}

// busInside returns the bus of element i of a path when its name, or that of the
// element above, tells that it is a device of such a bus, else "".
func busInside(elems []string, i int, belowFunction bool) string {
	e, above := elems[i], ""
	if i > 0 {
		above = elems[i-1]
	}
	switch {
	case numbered(above, "i2c-") && !numbered(e, "i2c-"):
		return "i2c"
	case strings.HasPrefix(e, "spi-"), hasNumber(e, "spi", "."):
		return "spi"
	case hasNumber(e, "serial", "-"):
		return "serial"
	case numbered(e, "serio"):
		return "serio"
	case hasNumber(e, "mmc", ":"):
		// A card in a slot is what the slot's controller is for; a function of an SDIO
		// card, mmc1:0001:1, is a device of its own.
		if strings.Count(e, ":") > 1 {
			return "sdio"
		}
		if !belowFunction {
			return "mmc"
		}
	case above == "uhid" && isHID(e):
		return "hid"
	case isACPI(e) && elems[0] == "LNXSYSTM:00":
		return "acpi"
	case isACPI(e) && belowFunction:
		return "platform"
	}
	return ""
}

// busOfRoot returns the bus of element i of a path when the root it hangs on tells
// it, else "".
func busOfRoot(elems []string, i int) string {
	switch root := elems[0]; {
	case root == "virtual":
		return "virtual"
	case root == "LNXSYSTM:00":
		return "acpi"
	case strings.HasPrefix(root, "pnp") && i == 1:
		return "pnp"
	case (root == "platform" || root == "faux") && i == 1:
		return root
	}
	return ""
}

// isPartOf reports whether an element of a path is only how a driver divides the
// device above it: a HID device, a sensor of one, or a port of a UART, 00:05:0.0.
func isPartOf(e, above string) bool {
	rest, ok := strings.CutPrefix(e, above)
	return isHID(e) || strings.HasPrefix(e, "HID-SENSOR-") || ok && (strings.HasPrefix(rest, ":") || strings.HasPrefix(rest, "."))
}

// numbered reports whether s is prefix and a number.
func numbered(s, prefix string) bool {
	digits, ok := strings.CutPrefix(s, prefix)
	return ok && digits != "" && strings.Trim(digits, "0123456789") == ""
}

// hasNumber reports whether s is prefix, a number, sep and something.
func hasNumber(s, prefix, sep string) bool {
	number, rest, ok := strings.Cut(s, sep)
	return ok && rest != "" && numbered(number, prefix)
}

// isHID reports whether s is the kernel's name of a HID device, 0018:04F3:3140.0001:
// bus, vendor, product and a number.
func isHID(s string) bool {
	return len(s) == len("0018:04F3:3140.0001") && s[4] == ':' && s[9] == ':' && s[14] == '.'
}

// isACPI reports whether s is the name of an ACPI device with an id of a vendor's or
// of PNP, as MSFT0101:00 or PNP0C0A:01.
func isACPI(s string) bool {
	id, instance, ok := strings.Cut(s, ":")
	if !ok || len(id) != 7 && len(id) != 8 || len(instance) < 2 || strings.Trim(instance, "0123456789abcdef") != "" {
		return false
	}
	return strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == "" && strings.Trim(id[len(id)-4:], "0123456789ABCDEF") == ""
}
