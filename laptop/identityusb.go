package laptop

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/usb"
)

const usbDevices = "sys/bus/usb/devices/"

// usbDevice adds what is known of a USB device.
func (r *identifier) usbDevice(d *usb.Device, v vector) {
	dir := usbDevices + d.Path.String()
	serial, err := usb.Serial(r.fsys, d.Path)
	r.note(err)
	v.add(BySerial, serial, dir+"/serial")
	port := r.port(d.Path)
	place, source := r.usbPlace(d.Path, port)
	v.add(ByTopology, place, source)
	v.add(ByFirmware, r.read(dir+"/firmware_node/path"), dir+"/firmware_node/path")
	v.add(ByPort, r.socket(d.Path, port), port)
	if d.Vendor.Known() && d.Product.Known() {
		v.add(ByIDs, d.Vendor.String()+":"+d.Product.String(), dir+"/uevent")
	}
	if d.Release.Known() {
		v.add(ByRevision, d.Release.String(), dir+"/uevent")
	}
	if d.Class.Known() {
		v.add(ByClass, d.Class.String(), dir+"/uevent")
	}
	r.interfaces(d, dir, v)
}

// interfaces adds what the device can be: all that its descriptors offer, whichever
// configuration and alternate setting a driver chose, else what is active now.
func (r *identifier) interfaces(d *usb.Device, dir string, v vector) {
	descriptors, err := fs.ReadFile(r.fsys, dir+"/descriptors")
	r.note(err)
	if len(descriptors) > 0 {
		sum := sha256.Sum256(descriptors)
		v.add(ByDescriptors, "sha256:"+hex.EncodeToString(sum[:]), dir+"/descriptors")
	}
	if all := offered(descriptors); len(all) > 0 {
		v.add(ByInterfaces, all.String(), dir+"/descriptors")
		return
	}
	var active set
	for _, i := range d.Interfaces {
		if i.Class.Known() {
			active.add(i.Class.String())
		}
	}
	v.add(ByInterfaces, active.String(), dir)
}

// offered returns the classes of all interfaces in the descriptors of a device (USB
// 2.0, section 9.6.5), as sysfs gives them: the device's, then each configuration
// with all that belongs to it. Beyond some hundred it stops.
func offered(b []byte) set {
	const interfaceDescriptor, shortest, most = 4, 9, 200
	var all set
	for len(b) >= 2 && int(b[0]) >= 2 && int(b[0]) <= len(b) && len(all) < most {
		if b[1] == interfaceDescriptor && b[0] >= shortest {
			all.add(hex.EncodeToString(b[5:8]))
		}
		b = b[b[0]:]
	}
	return all
}

// usbPlace returns the topology of a USB port: that of its controller, which half of
// it, and the ports on the way. A socket for USB 3 is two ports, one of each half, to
// which the kernel's link peer testifies: its place is that of the half for USB 2.
func (r *identifier) usbPlace(p usb.PortPath, port string) (place, source string) {
	half := r.half(p.Bus())
	if half == "" {
		return "", ""
	}
	if strings.HasSuffix(half, "/usb3.0") {
		if target, err := fs.ReadLink(r.fsys, port+"/peer"); err == nil {
			if peer, ok := portName(target); ok && strings.HasSuffix(r.half(peer.Bus()), "/usb2.0") {
				return r.half(peer.Bus()) + "/" + chain(peer), port + "/peer"
			}
		} else {
			r.note(err)
		}
	}
	return half + "/" + chain(p), usbDevices + p.String()
}

// chain returns the ports of a path without the bus: 4.2 of 1-4.2.
func chain(p usb.PortPath) string {
	_, ports, _ := strings.Cut(p.String(), "-")
	return ports
}

// half returns the topology of a root hub: that of its controller, and the USB that
// it stands for, which the kernel writes into its product id.
func (r *identifier) half(bus int) string {
	if h, ok := r.halves[bus]; ok {
		return h
	}
	r.halves[bus] = ""
	dir := fmt.Sprintf("%susb%d", usbDevices, bus)
	target, err := fs.ReadLink(r.fsys, dir)
	if err != nil {
		r.note(err)
		return ""
	}
	above, _, _ := cutLast(target, "/")
	where := topology(above)
	if where == "" {
		return ""
	}
	version := "usb"
	product := strings.TrimLeft(r.read(dir+"/idProduct"), "0")
	if product == "" {
		for line := range strings.Lines(r.read(dir + "/uevent")) {
			if ids, ok := strings.CutPrefix(strings.TrimSpace(line), "PRODUCT=1d6b/"); ok {
				product, _, _ = strings.Cut(ids, "/")
			}
		}
	}
	switch product {
	case "1":
		version = "usb1.1"
	case "2":
		version = "usb2.0"
	case "3":
		version = "usb3.0"
	}
	r.halves[bus] = where + "/" + version
	return r.halves[bus]
}

// port returns the directory of the port that a device is plugged into.
func (r *identifier) port(p usb.PortPath) string {
	linked := usbDevices + p.String() + "/port"
	if _, err := fs.ReadLink(r.fsys, linked); err == nil {
		return linked
	} else if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrInvalid) {
		r.note(err)
	}
	ports := chain(p)
	number := ports[strings.LastIndexByte(ports, '.')+1:]
	if hub := p.Parent(); hub.IsValid() {
		return fmt.Sprintf("%s%s:1.0/%s-port%s", usbDevices, hub, hub, number)
	}
	return fmt.Sprintf("%s%d-0:1.0/usb%d-port%s", usbDevices, p.Bus(), p.Bus(), number)
}

// portName reads the name of a port at the end of a link: usb2-port4 is 2-4, and
// 1-4-port2 is 1-4.2.
func portName(target string) (usb.PortPath, bool) {
	name := target[strings.LastIndexByte(target, '/')+1:]
	hub, number, ok := strings.Cut(name, "-port")
	if !ok {
		return usb.PortPath{}, false
	}
	separator := "."
	if bus, ok := strings.CutPrefix(hub, "usb"); ok {
		hub, separator = bus, "-"
	}
	p, err := usb.ParsePortPath(hub + separator + number)
	return p, err == nil
}

// socket returns what the firmware says of the socket a device is plugged into:
// connect_type of its port, removable of the device, and since Linux 5.18
// physical_location of either.
func (r *identifier) socket(p usb.PortPath, port string) string {
	var known []string
	say := func(name, value string) {
		if value != "" && value != "unknown" && !strings.ContainsAny(value, " =,") {
			known = append(known, name+"="+value)
		}
	}
	dir := usbDevices + p.String()
	say("connect_type", strings.ReplaceAll(r.read(port+"/connect_type"), " ", "-")) // "not used"
	say("removable", r.read(dir+"/removable"))
	for _, name := range []string{"panel", "vertical_position", "horizontal_position", "dock", "lid"} {
		at := "/physical_location/" + name
		value, err := hostfs.ReadString(r.fsys, dir+at)
		if errors.Is(err, fs.ErrNotExist) {
			value, err = hostfs.ReadString(r.fsys, port+at)
		}
		r.note(err)
		say(name, value)
	}
	return strings.Join(known, " ")
}
