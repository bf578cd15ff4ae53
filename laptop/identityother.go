package laptop

import (
	"strings"
)

// other adds what is known of a device on neither bus.
func (r *identifier) other(d *Device, v vector) {
	o, dir := d.Other, d.source()
	v.add(ByTopology, r.otherPlace(d), dir)
	file := dir + "/firmware_node/path"
	node := r.read(file)
	if node == "" { // the device may be the node
		file = dir + "/path"
		node = r.read(file)
	}
	if strings.HasPrefix(node, `\`) {
		v.add(ByFirmware, node, file)
	}
	v.add(ByIDs, otherIDs(d), dir)
	v.add(ByModalias, o.Modalias, dir+"/uevent")
}

// otherPlace returns where a device on neither bus sits: the topology of the function
// in its path, if there is one, and the way from there as it stays.
func (r *identifier) otherPlace(d *Device) string {
	o := d.Other
	rest, above := o.Path, ""
	if o.Controller.IsValid() {
		_, below, ok := strings.Cut(o.Path, o.Controller.String()+"/")
		if above = r.place(o.Controller); !ok || above == "" {
			return ""
		}
		rest, above = below, above+"/"
	}
	rest = stablePath(rest)
	if o.Bus == "serio" {
		// The number of a port is the kernel's and goes up with each reload of the
		// driver; the driver's own name of it, isa0060/serio0, does not.
		for _, c := range d.Classes {
			if c.Class != "input" || !numbered(c.Name, "input") {
				continue
			}
			elems := strings.Split(r.read(c.Source("phys")), "/")
			if len(elems) == 3 && numbered(elems[1], "serio") {
				rest = rest[:strings.LastIndexByte(rest, '/')+1] + elems[1]
			}
			break
		}
	}
	return above + rest
}

// stablePath returns a path below /sys/devices without the numbers that drivers give in
// the order in which they find things: of I2C, SPI and MMC hosts, of serial lines, HID
// devices, and platform devices that drivers make. Ports of a keyboard's controller and
// instances in the firmware's tables keep theirs.
func stablePath(path string) string {
	const deepest = 64
	elems := strings.Split(path, "/")
	if len(elems) > deepest {
		return ""
	}
	adapter := ""
	for i, e := range elems {
		elems[i] = stableName(e, adapter)
		adapter = ""
		if numbered(e, "i2c-") {
			adapter = e[len("i2c-"):]
		}
	}
	return strings.Join(elems, "/")
}

// stableName does that for one element, which is below the I2C adapter of that number.
func stableName(e, adapter string) string {
	switch number, rest, _ := strings.Cut(e, "-"); {
	case adapter != "" && number == adapter: // 1-002c
		return "-" + rest
	case numbered(e, "i2c-"):
		return "i2c"
	case isHID(e):
		return e[:strings.LastIndexByte(e, '.')]
	case strings.HasPrefix(e, "device:"):
		return "device"
	}
	if name, ok := strings.CutSuffix(e, ".auto"); ok {
		if at := strings.LastIndexByte(name, '.'); at > 0 {
			return name[:at] + ".auto"
		}
	}
	for _, prefix := range []string{"spi", "serial", "mmc"} {
		number, ok := strings.CutPrefix(e, prefix)
		at := len(number) - len(strings.TrimLeft(number, "0123456789"))
		switch rest := number[at:]; {
		case !ok, at == 0, at > 3: // serial8250 is a name
		case rest == "", rest[0] == '.', rest[0] == '-':
			return prefix + rest
		case rest[0] == ':': // mmc1:fffd:1 is function 1 of a card that chose fffd
			if card := strings.Split(rest[1:], ":"); len(card) > 1 {
				return prefix + ":" + card[len(card)-1]
			}
			return prefix
		}
	}
	return e
}

// otherIDs returns what tells the make of a device on neither bus: vendor and product
// of the HID devices on it, else the id that the firmware's tables give it, else
// nothing.
func otherIDs(d *Device) string {
	var hid set
	for _, c := range d.Classes {
		for e := range strings.SplitSeq(c.Path, "/") {
			if isHID(e) {
				hid.add(strings.ToLower(e[len("0018:"):strings.LastIndexByte(e, '.')]))
			}
		}
	}
	if len(hid) > 0 {
		return hid.String()
	}
	name := d.Other.Name
	for _, prefix := range []string{"i2c-", "spi-"} {
		name = strings.TrimPrefix(name, prefix)
	}
	if isACPI(name) {
		id, _, _ := strings.Cut(name, ":")
		return id
	}
	return ""
}
