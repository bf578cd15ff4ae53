package laptop

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode"

	"github.com/project-independence/indy/audio"
	"github.com/project-independence/indy/gpu"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/usb"
)

// A ClassDevice is what the kernel made of a device, and by which programs use it: a
// network interface, a radio, a disk, an input device.
type ClassDevice struct {
	// Class is the directory in /sys/class, such as net, ieee80211, bluetooth,
	// video4linux, or in /sys/bus for iio, media, thunderbolt and firewire.
	Class string

	Name string // the kernel's: wlan0, phy0, hci0, video0
	Node string // below /dev, without the leading slash: dev/video0; empty when there is none
	Path string // below /sys/devices
}

// Source returns the file of the class device's attribute, or with an empty name the
// class device itself, as sys/class/net/wlan0/address.
func (c ClassDevice) Source(attribute string) string {
	return path.Join(classDir(c.Class), c.Name, attribute)
}

// A kernelClass is one class that is read, and which of its names.
type kernelClass struct {
	name string
	dir  string // when it is not sys/class/NAME
	only string // what a name begins with before its number, separated by blanks; empty for any name
	node string // what the node's name has before the kernel's; empty when there is none

	// makes tells that a device on neither bus is listed for it.
	makes bool
}

// kernelClasses are the classes read beside sound, drm and block, which are read
// elsewhere, in the order in which their nodes are listed. A directory costs one
// open, and each name one link; no attribute is read.
var kernelClasses = []kernelClass{
	{name: "net", makes: true},
	{name: "ieee80211", makes: true},
	{name: "rfkill"},
	{name: "bluetooth", only: "hci", makes: true}, // hci0:256 is a connection
	{name: "wwan", node: "dev/", makes: true},
	{name: "usbmisc", node: "dev/", makes: true},
	{name: "tty", only: "ttyUSB ttyACM ttyS rfcomm", node: "dev/", makes: true}, // the others have no device
	{name: "video4linux", node: "dev/", makes: true},
	{name: "media", dir: "sys/bus/media/devices", node: "dev/"},
	{name: "input", only: "input event js mouse", node: "dev/input/", makes: true},
	{name: "hidraw", node: "dev/", makes: true},
	{name: "spidev", node: "dev/", makes: true},
	{name: "nvme", only: "nvme", node: "dev/"},
	{name: "mmc_host", makes: true},
	{name: "tpm", node: "dev/", makes: true},
	{name: "tpmrm", node: "dev/", makes: true},
	{name: "mei", node: "dev/"},
	{name: "power_supply", makes: true},
	{name: "backlight"},
	{name: "typec", only: "port"},
	{name: "iio", dir: "sys/bus/iio/devices", only: "iio:device", makes: true},
	{name: "thunderbolt", dir: "sys/bus/thunderbolt/devices"},
	{name: "firewire", dir: "sys/bus/firewire/devices", only: "fw", node: "dev/", makes: true},
}

func classDir(class string) string {
	i := slices.IndexFunc(kernelClasses, func(k kernelClass) bool { return k.name == class })
	if i < 0 || kernelClasses[i].dir == "" {
		return "sys/class/" + class
	}
	return kernelClasses[i].dir
}

// keeps reports whether a name of the class is one to list.
func (k kernelClass) keeps(name string) bool {
	if k.name == "thunderbolt" { // not retimers, 0-0:1.1, nor services, 0-1.0
		return !strings.ContainsAny(name, ":.")
	}
	return k.only == "" || slices.ContainsFunc(strings.Fields(k.only), func(prefix string) bool { return numbered(name, prefix) })
}

// nodeOf returns the device node of a name, as the kernel calls it.
func (k kernelClass) nodeOf(name string) string {
	switch {
	case k.node == "", k.name == "wwan" && numbered(name, "wwan"), k.name == "input" && numbered(name, "input"):
		return "" // the device as a whole, whose ports or events have nodes
	case k.name == "usbmisc" && (numbered(name, "lp") || numbered(name, "hiddev")):
		return "dev/usb/" + name
	}
	return k.node + name
}

// readClasses lists the class devices of a machine. Directories that are not there
// cost nothing but the look into /sys/class and /sys/bus, and what vanishes meanwhile
// is left out.
func readClasses(fsys fs.FS) ([]ClassDevice, error) {
	var found []ClassDevice
	var errs []error
	there := map[string]bool{}
	for _, dir := range []string{"sys/class", "sys/bus"} {
		entries, err := fs.ReadDir(fsys, dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("list what the kernel made of devices: %w", err))
		}
		for _, e := range entries {
			there[dir+"/"+e.Name()] = true
		}
	}
	for _, k := range kernelClasses {
		dir := classDir(k.name)
		if !there[strings.TrimSuffix(dir, "/devices")] {
			continue
		}
		classes, err := k.read(fsys, dir)
		found = append(found, classes...)
		if err != nil {
			errs = append(errs, err)
		}
	}
	return found, errors.Join(errs...)
}

func (k kernelClass) read(fsys fs.FS, dir string) ([]ClassDevice, error) {
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil // unloaded meanwhile
		} else {
			err = fmt.Errorf("list %s devices: %w", k.name, err)
		}
		return nil, err
	}
	near, prefix, done := hostfs.Near(fsys, dir)
	defer done()
	var found []ClassDevice
	var errs []error
	for _, e := range entries {
		if e.Type()&fs.ModeSymlink == 0 || !k.keeps(e.Name()) {
			continue // a file, as bonding_masters
		}
		p, err := linkedPath(near, prefix+e.Name())
		switch {
		case err == nil:
			found = append(found, ClassDevice{k.name, e.Name(), k.nodeOf(e.Name()), p})
		case !errors.Is(err, fs.ErrNotExist):
			errs = append(errs, fmt.Errorf("%s device %s: %w", k.name, line(e.Name()), err))
		}
	}
	return found, errors.Join(errs...)
}

// linkedPath returns to which path below /sys/devices a link leads.
func linkedPath(fsys fs.FS, name string) (string, error) {
	target, err := fs.ReadLink(fsys, name)
	if err != nil {
		return "", err
	}
	return pathIn(target)
}

// pathIn returns the path below /sys/devices in a link's target.
func pathIn(target string) (string, error) {
	_, p, ok := strings.Cut(target, "devices/")
	if !ok || len(target) > maxLink || !printable(target) || !fs.ValidPath(p) {
		return "", fmt.Errorf("link %.64q leads to no device", target)
	}
	return p, nil
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r == unicode.ReplacementChar || !unicode.IsPrint(r) })
}

// join gives each device the class devices it carries, and makes devices of what is
// on neither bus.
func (l *Laptop) join(fsys fs.FS, classes []ClassDevice, cards []audio.Card, displays []gpu.Display, disks *blocks) error {
	var errs []error
	j := joiner{l: l, ports: map[usb.PortPath]*Device{}, others: map[string]*other{}}
	for i := range l.Devices {
		if d := &l.Devices[i]; d.USB != nil {
			j.ports[d.USB.Path] = d
			if node := d.USB.Node(); node != "" {
				d.Nodes = append(d.Nodes, node)
			}
		}
	}
	for _, c := range cards {
		class := ClassDevice{Class: "sound", Name: fmt.Sprint("card", c.Index)}
		p, err := linkedPath(fsys, class.Source(""))
		if err != nil {
			// audio.Cards told of it, and knows the card from what it could read.
			p = ""
		}
		class.Path = p
		j.add(carrier{port: c.Port, function: c.Function}, class, true, c.Nodes...)
	}
	for _, g := range displays {
		d := l.Function(g.Function)
		if d == nil {
			continue
		}
		d.Display = &g
		for _, node := range g.Nodes {
			class := ClassDevice{Class: "drm", Name: path.Base(node), Node: node}
			class.Path, _ = linkedPath(fsys, class.Source(""))
			j.add(carrier{function: g.Function}, class, false, node)
		}
	}
	j.addBlocks(disks)
	for _, c := range classes {
		j.add(carrierOf(c.Path), c, makesDevice(c), c.Node)
	}
	others, err := j.readOthers(fsys)
	errs = append(errs, err)
	for i := range l.Devices {
		d := &l.Devices[i]
		if d.PCI != nil {
			d.Roles = pciRoles(*d.PCI, d.Classes)
		} else {
			d.Roles = usbRoles(*d.USB, d.Classes)
		}
	}
	l.Devices = append(l.Devices, others...)
	return errors.Join(errs...)
}

// An other is a device on neither bus in the making.
type other struct {
	carrier
	classes []ClassDevice
	nodes   []string
	makes   bool
}

type joiner struct {
	l      *Laptop
	ports  map[usb.PortPath]*Device
	others map[string]*other // by path
}

// add gives a class device to its carrier. One on neither bus becomes a device if
// any of its class devices makes it one.
func (j *joiner) add(c carrier, class ClassDevice, makes bool, nodes ...string) {
	if class.Class == "sound" && !c.port.IsValid() && !c.function.IsValid() && class.Path != "" {
		c = carrierOf(class.Path)
	}
	nodes = slices.DeleteFunc(slices.Clone(nodes), func(n string) bool { return n == "" })
	d := j.ports[c.port]
	switch {
	case d != nil:
	case c.port.IsValid():
		return // a hub's
	case c.path != "":
		o := j.others[c.path]
		if o == nil {
			o = &other{carrier: c}
			j.others[c.path] = o
		}
		o.classes, o.nodes, o.makes = append(o.classes, class), append(o.nodes, nodes...), o.makes || makes
		return
	default:
		d = j.l.Function(c.function)
	}
	if d != nil {
		d.Classes, d.Nodes = append(d.Classes, class), append(d.Nodes, nodes...)
	}
}

// addBlocks gives disks to the devices that carry them: a USB device, each storage
// function on the way, or a card soldered to the board.
func (j *joiner) addBlocks(disks *blocks) {
	for _, b := range disks.list {
		class := ClassDevice{Class: "block", Name: b.name, Node: b.node(), Path: b.path}
		if b.port.IsValid() {
			j.add(carrier{port: b.port}, class, true, class.Node)
			continue
		}
		for i, a := range b.functions {
			d := j.l.Function(a)
			if d != nil && (i == len(b.functions)-1 || pciRole(*d.PCI) == Storage) && !d.PCI.IsBridge() {
				j.add(carrier{function: a}, class, false, class.Node)
			}
		}
		if len(b.functions) == 0 && !b.virtual && b.path != "" {
			j.add(carrierOf(b.path), class, true, class.Node)
		}
	}
}

// makesDevice reports whether a person would miss a device on neither bus that has
// this class device. Left out are what no hardware is behind, and what the kernel
// offers of its own accord on every machine.
func makesDevice(c ClassDevice) bool {
	i := slices.IndexFunc(kernelClasses, func(k kernelClass) bool { return k.name == c.Class })
	if i < 0 || !kernelClasses[i].makes {
		return false
	}
	virtual := strings.HasPrefix(c.Path, "virtual/"+c.Class+"/")
	switch c.Class {
	case "net": // lo, bridges, tunnels
		return !virtual
	case "tty": // rfcomm0, and ports that are numbered but not there
		return !virtual && !strings.HasPrefix(c.Path, "platform/serial8250")
	case "input": // the beeper; the keys of the screen's firmware
		return !strings.Contains(c.Path, "/pcspkr/") && !strings.Contains(c.Path, "/LNXVIDEO:")
	case "power_supply": // a charger that may be plugged into a USB-C port
		return !strings.HasPrefix(c.Name, "ucsi-source-psy-")
	}
	return true
}

// readOthers makes devices of the carriers on neither bus, in the order of their ids.
func (j *joiner) readOthers(fsys fs.FS) ([]Device, error) {
	var devices []Device
	var errs []error
	seen := map[string]bool{}
	paths := make([]string, 0, len(j.others))
	for p := range j.others {
		paths = append(paths, p)
	}
	slices.Sort(paths)
	for i, p := range paths {
		o := j.others[p]
		// The host of a soldered card is no more than the way to it.
		slotOnly := !slices.ContainsFunc(o.classes, func(c ClassDevice) bool { return c.Class != "mmc_host" })
		if !o.makes || slotOnly && slices.ContainsFunc(paths[i+1:], func(q string) bool { return strings.HasPrefix(q, p+"/") && j.others[q].makes }) {
			continue
		}
		found, err := readOther(fsys, o.carrier)
		if err != nil {
			errs = append(errs, err)
		}
		d := Device{Other: &found, Classes: o.classes, Nodes: o.nodes}
		d.Roles = otherRoles(found, o.classes)
		if seen[d.ID()] {
			errs = append(errs, fmt.Errorf("device %s: a second one of this name at %s", d.ID(), p))
			continue
		}
		seen[d.ID()] = true
		devices = append(devices, d)
	}
	slices.SortFunc(devices, func(a, b Device) int { return strings.Compare(a.ID(), b.ID()) })
	return devices, errors.Join(errs...)
}

// has reports whether one of the class devices is of the class.
func has(classes []ClassDevice, class string) bool {
	return slices.ContainsFunc(classes, func(c ClassDevice) bool { return c.Class == class })
}
