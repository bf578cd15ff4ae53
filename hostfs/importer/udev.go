package importer

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// A device is one record of udev's database.
type device struct {
	line       int
	path       string // below /sys, as /devices/pci0000:00/0000:00:1f.3
	node       string // below /dev
	subsystem  string
	driver     string
	properties []attribute // in their order
}

func (d *device) get(key string) string {
	for _, p := range d.properties {
		if p.name == key {
			return p.value
		}
	}
	return ""
}

func (d *device) same(e device) bool {
	return d.node == e.node && d.subsystem == e.subsystem && d.driver == e.driver && slices.Equal(d.properties, e.properties)
}

// udev reads udevadm info --export-db: paragraphs of lines P: path, N: node, L: link
// priority, S: link, E: KEY=VALUE, and since systemd 250 M: name, R: number, U:
// subsystem, T: type, D: device number, I: interface number, Q: disk sequence number
// and V: driver, of which E: says the same.
func (b *builder) udev(data []byte) {
	var all []device
	var d *device
	for n, line := range textLines(data) {
		kind, value, ok := strings.Cut(line, ": ")
		switch {
		case len(line) > maxLine:
			b.addf(n, "%d bytes in one line, at most %d are allowed", len(line), maxLine)
		case strings.TrimSpace(line) == "":
			d = nil
		case ok && kind == "P":
			if !b.record() {
				return
			}
			d = nil
			switch _, err := checkDevicePath(value); {
			case !strings.HasPrefix(value, "/devices/") && strings.HasPrefix(value, "/"):
				// a module, driver or bus, which are no devices
			case err != nil:
				b.add(n, err)
			default:
				all = append(all, device{line: n, path: value})
				d = &all[len(all)-1]
			}
		case d == nil: // somebody's words, or the rest of a broken record
		default:
			if err := d.parseLine(kind, value, line, ok); err != nil {
				b.addf(n, "%s: %w", path.Base(d.path), err)
			}
		}
	}
	b.groupsNotStated()
	b.putDevices(all)
}

func (d *device) parseLine(kind, value, line string, marked bool) error {
	if marked && len(kind) == 1 && kind != "E" && 'A' <= kind[0] && kind[0] <= 'Z' {
		switch kind {
		case "N":
			d.node = value
		case "U":
			d.subsystem = value
		case "V":
			d.driver = value
		}
		return nil
	}
	// A value that ends in a newline leaves the next property without its mark.
	if kind != "E" || !marked {
		value = line
	}
	key, value, ok := strings.Cut(value, "=")
	if !ok || key == "" || strings.ContainsAny(key, " \t") {
		if strings.TrimSpace(line) == "E:" {
			return nil
		}
		return fmt.Errorf("%s; expected a letter and a colon, or KEY=VALUE", quote(line))
	}
	switch key {
	case "SUBSYSTEM":
		d.subsystem = value
	case "DRIVER":
		d.driver = value
		fallthrough
	default:
		d.properties = append(d.properties, attribute{key, value})
	}
	return nil
}

// putDevices places devices at the paths they have. What has a driver is on a bus.
func (b *builder) putDevices(all []device) {
	slices.SortStableFunc(all, func(d, e device) int { return strings.Compare(d.path, e.path) })
	all = slices.CompactFunc(all, func(d, first device) bool {
		// udev itself repeats what is both on a bus and in a class.
		if d.path == first.path && !d.same(first) {
			b.addf(d.line, "%s is told of twice; the first is taken", quote(d.path))
		}
		return d.path == first.path
	})
	buses := map[string]bool{}
	for _, name := range busNames {
		buses[name] = true
	}
	paths := make(map[string]bool, len(all))
	for i := range all {
		paths[all[i].path] = true
		if all[i].driver != "" {
			buses[all[i].subsystem] = true
		}
	}
	for i := range all {
		d := &all[i]
		if err := b.putDevice(d, buses[d.subsystem], paths); err != nil {
			b.addf(d.line, "%s: %w", path.Base(d.path), err)
		}
	}
}

func (b *builder) putDevice(d *device, onBus bool, paths map[string]bool) error {
	if err := d.check(); err != nil {
		return err
	}
	onBus = onBus && !d.ofClass()
	if d.driver != "" {
		if err := checkElement(d.driver); err != nil {
			b.addf(d.line, "%s: driver: %w", path.Base(d.path), err)
			d.driver = ""
			d.properties = slices.DeleteFunc(d.properties, func(p attribute) bool { return p.name == "DRIVER" })
		}
	}
	dir := "sys" + d.path
	b.found++
	var uevent strings.Builder
	for _, p := range d.properties {
		if fromKernel(p.name) {
			if p.name == "DEVNAME" {
				p.value = strings.TrimPrefix(p.value, "/dev/")
			}
			fmt.Fprintf(&uevent, "%s=%s\n", p.name, p.value)
		}
	}
	b.file(dir+"/uevent", uevent.String())
	b.putKnown(dir+"/modalias", d.get("MODALIAS"))
	if major, minor := d.get("MAJOR"), d.get("MINOR"); isDigits(major) && isDigits(minor) {
		b.put(dir+"/dev", major+":"+minor)
		if d.subsystem == "block" {
			b.link("sys/dev/block/"+major+":"+minor, dir)
		}
	}
	b.putSpecial(d, dir)
	if d.node != "" {
		if err := checkNode(d.node); err != nil {
			return err
		}
		b.file("dev/"+d.node, "")
	}
	switch {
	case d.subsystem == "":
	case onBus:
		b.onBus(d.subsystem, dir)
		return b.bind(d.subsystem, dir, d.driver)
	default:
		b.ofClass(d.subsystem, dir)
		if d.subsystem == "block" && d.get("DEVTYPE") == "disk" {
			b.link("sys/block/"+path.Base(dir), dir)
		}
		// As the kernel links what is in a class to the device it belongs to, except
		// partitions.
		for up := path.Dir(d.path); d.get("DEVTYPE") != "partition" && len(up) > len("/devices"); up = path.Dir(up) {
			if paths[up] {
				b.link(dir+"/device", "sys"+up)
				break
			}
		}
	}
	return nil
}

// check says what is wrong with a record whose numbers others rely on.
func (d *device) check() error {
	if d.subsystem != "" {
		if err := checkElement(d.subsystem); err != nil {
			return fmt.Errorf("SUBSYSTEM: %w", err)
		}
	}
	base := path.Base(d.path)
	switch d.subsystem {
	case "pci":
		class, isClass := parseHex(d.get("PCI_CLASS"), 6)
		switch {
		case !isAddress(base):
			return fmt.Errorf("expected the address of a PCI function such as 0000:00:1f.3")
		case d.get("PCI_SLOT_NAME") != "" && d.get("PCI_SLOT_NAME") != base:
			return fmt.Errorf("PCI_SLOT_NAME=%s; expected %s", quote(d.get("PCI_SLOT_NAME")), base)
		case !isClass || class > 0xffffff:
			return fmt.Errorf("PCI_CLASS=%s; expected up to six hexadecimal digits", quote(d.get("PCI_CLASS")))
		}
		if _, _, ok := d.pair("PCI_ID"); !ok {
			return fmt.Errorf("PCI_ID=%s; expected VENDOR:DEVICE in hexadecimal", quote(d.get("PCI_ID")))
		}
		if _, _, ok := d.pair("PCI_SUBSYS_ID"); !ok && d.get("PCI_SUBSYS_ID") != "" {
			return fmt.Errorf("PCI_SUBSYS_ID=%s; expected VENDOR:DEVICE in hexadecimal", quote(d.get("PCI_SUBSYS_ID")))
		}
	case "usb":
		if d.ofClass() {
			return nil
		}
		name, ok := parseUSBName(base)
		up := path.Base(path.Dir(d.path))
		switch {
		case !ok:
			return fmt.Errorf("expected a USB port path such as 1-4.2, or an interface of it")
		case name.inter && up != name.device, !strings.Contains(d.path+"/", "/usb"+name.bus+"/"):
			return fmt.Errorf("the path %s is that of another device", quote(d.path))
		}
	}
	return nil
}

// ofClass says whether the device is of the class, where a bus and a class have one
// name: those of a class are in a directory of that name.
func (d *device) ofClass() bool {
	return slices.Contains(bothNames, d.subsystem) && path.Base(path.Dir(d.path)) == d.subsystem
}

// pair reads two ids, as 8086:1E2D.
func (d *device) pair(key string) (first, second uint64, ok bool) {
	a, b, ok := strings.Cut(d.get(key), ":")
	first, ok1 := parseHex(a, 4)
	second, ok2 := parseHex(b, 4)
	return first, second, ok && ok1 && ok2
}

func checkNode(s string) error {
	if len(s) > maxPath || strings.Count(s, "/") > maxElements {
		return fmt.Errorf("node %s is longer than any", quote(s))
	}
	for element := range strings.SplitSeq(s, "/") {
		if err := checkElement(element); err != nil {
			return fmt.Errorf("node %s: %w", quote(s), err)
		}
	}
	return nil
}
