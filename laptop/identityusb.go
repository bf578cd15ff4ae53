package laptop

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/project-independence/indy/usb"
)

const usbDevices = "sys/bus/usb/devices/"

// usbDevice adds what is known of a USB device.
func (r *identifier) usbDevice(d *usb.Device, v vector) {
	dir := usbDevices + d.Path.String()
	serial, err := usb.Serial(r.fsys, d.Path)
	r.note(err)
	v.add(BySerial, serial, dir+"/serial")
	v.add(ByTopology, r.usbPlace(d), dir)
	v.add(ByFirmware, r.read(dir+"/firmware_node/path"), dir+"/firmware_node/path")
	v.add(ByPort, r.socket(d.Path), dir+"/port")
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
	descriptors, err := usb.ReadDescriptors(r.fsys, d.Path)
	r.note(err)
	all, source := offered(descriptors), dir+"/descriptors"
	if descriptors.Hash.IsValid() {
		v.add(ByDescriptors, "sha256:"+descriptors.Hash.String(), source)
	}
	active := activeClasses(d)
	if len(all) == 0 {
		source = dir
	} else {
		v.add(ByActive, active.String(), dir)
	}
	// What is active is among them, unless the descriptors lie.
	if !slices.ContainsFunc(all, func(c classes) bool { return len(active.beyond(c)) == 0 }) {
		all = append(all, active)
	}
	v.add(ByInterfaces, joinClasses(all), source)
}

// readSockets reads the ports of a machine that has USB devices: which two are one
// socket, and where that is.
func (r *identifier) readSockets(l *Laptop) {
	r.sockets, r.super = map[usb.PortPath]*usb.Port{}, map[int]bool{}
	if len(l.matching(func(d *Device) bool { return d.USB != nil })) == 0 {
		return
	}
	hubs, _ := usb.Hubs(r.fsys) // its errors are among those of Ports
	for _, h := range hubs {
		if !h.Path.IsValid() {
			r.super[h.Bus] = h.SuperSpeed()
		}
	}
	ports, err := usb.Ports(r.fsys)
	if err := unlessMissing(err, len(ports)); err != nil {
		r.fail(err)
	}
	for i := range ports {
		r.sockets[ports[i].Path] = &ports[i]
	}
}

// usbPlace returns the topology of a USB device: that of its controller, and the
// ports on the way. A socket for USB 3 is two ports, one of each half of the
// controller: its place is that of the half for USB 2, if it has one.
func (r *identifier) usbPlace(d *usb.Device) string {
	controller := r.controller(d)
	if controller == "" {
		return ""
	}
	p, half := d.Path, "/usb/"
	if s := r.sockets[p]; s != nil && s.Physical.IsValid() {
		_, ports, _ := strings.Cut(s.Physical.String(), "/")
		if ports, super := strings.CutPrefix(ports, "usb3-"); super {
			return controller + "/usb3/" + ports
		}
		return controller + half + ports
	} else if s != nil && r.super[p.Bus()] && s.Peer.IsValid() {
		p = s.Peer
	}
	if r.super[p.Bus()] {
		half = "/usb3/"
	}
	_, ports, _ := strings.Cut(p.String(), "-")
	return controller + half + ports
}

// controller returns the topology of the controller that carries a USB device.
func (r *identifier) controller(d *usb.Device) string {
	if d.Controller.IsValid() {
		if s := r.place(d.Controller); s != "" {
			return s
		}
	}
	root := fmt.Sprintf("usb%d", d.Path.Bus())
	if s, ok := r.roots[root]; ok {
		return s
	}
	r.roots[root] = ""
	path, err := linkedPath(r.fsys, usbDevices+root)
	if err != nil {
		r.note(err)
		return ""
	}
	path, ok := strings.CutSuffix(path, "/"+root)
	if ok {
		r.roots[root] = stablePath(path)
	}
	return r.roots[root]
}

// socket returns what the firmware says of the socket a device is plugged into:
// connect_type of its port, removable of the device, and since Linux 5.18
// physical_location of either.
func (r *identifier) socket(p usb.PortPath) string {
	var known []string
	say := func(name, value string) {
		if value != "" && value != "unknown" {
			known = append(known, name+"="+value)
		}
	}
	s := r.sockets[p]
	if s != nil {
		say("connect_type", strings.ReplaceAll(s.Connect, " ", "-")) // "not used"
	}
	removable, err := usb.Removable(r.fsys, p)
	if !errors.Is(err, fs.ErrNotExist) {
		r.note(err)
	}
	say("removable", removable)
	if s != nil && s.Location.Known() {
		say("panel", s.Location.Panel)
		say("vertical_position", s.Location.Vertical)
		say("horizontal_position", s.Location.Horizontal)
		if s.Location.Dock {
			say("dock", "yes")
		}
		if s.Location.Lid {
			say("lid", "yes")
		}
	}
	return strings.Join(known, " ")
}
