package laptop

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/project-independence/indy/usb"
)

// usb says what the kernel states of a USB device, and the device of itself. Nothing in
// it wakes the device: the kernel keeps all of it.
func (f *facts) usb(d *Device) {
	u, dir := d.USB, d.source()
	text := func(name, attribute string, read func(fs.FS, usb.PortPath) (string, error), show func(string) string) {
		if s, err := read(f.fsys, u.Path); f.ok(name, dir+"/"+attribute, err) && s != "" {
			f.add(name, show(s), dir+"/"+attribute)
		}
	}
	same := func(s string) string { return s }
	known := func(s string) string { return strings.TrimPrefix(s, "unknown") }
	f.in(SectionIdentity).add("class", u.Class.String(), dir+"/uevent")
	f.add("ids", u.Vendor.String()+":"+u.Product.String(), dir+"/uevent")
	if u.Release.Known() {
		f.add("release", decimal(u.Release), dir+"/uevent")
	}
	text("manufacturer", "manufacturer", usb.ManufacturerName, same)
	text("product", "product", usb.ProductName, same)
	text("serial number", "serial", usb.Serial, func(s string) string { return s + " (tells this device from others like it)" })

	f.usbPlace(u, dir)
	text("removable", "removable", usb.Removable, known)

	f.in(SectionDriver)
	if u.Driver != "usb" {
		f.add("driver of the device", u.Driver, dir+"/driver")
	}
	if ok, err := usb.Authorized(f.fsys, u.Path); f.ok("authorised", dir+"/authorized", err) {
		f.add("authorised", yesNo(ok), dir+"/authorized")
	}

	f.in(SectionPower)
	text("speed", "speed", usb.Speed, func(s string) string {
		if s == "unknown" {
			return s
		}
		return s + " Mbit/s" + f.lanes(u)
	})
	if p, err := usb.ReadPower(f.fsys, u.Path); f.ok("current", dir+"/bMaxPower", err) {
		s := fmt.Sprintf("%d mA at most", p.MaxPower)
		if p.SelfPowered {
			s += ", has power of its own"
		}
		if p.RemoteWakeup {
			s += ", can wake the machine"
		}
		f.add("current", s, dir+"/bMaxPower")
	}
	f.text("runtime power", dir+"/power/runtime_status")
	f.in(SectionAbilities)
	if v, err := usb.Version(f.fsys, u.Path); f.ok("USB version", dir+"/version", err) {
		f.add("USB version", decimal(v), dir+"/version")
	}
	f.descriptors(d)
	f.bos(u, dir)
}

// lanes is empty for a device with one each way, as nearly all have.
func (f *facts) lanes(u *usb.Device) string {
	rx, tx, err := usb.Lanes(f.fsys, u.Path)
	if err != nil || rx < 2 && tx < 2 {
		return ""
	}
	return fmt.Sprintf(" over %d lanes to the host and %d from it", rx, tx)
}

// usbPlace says which way leads to a device.
func (f *facts) usbPlace(u *usb.Device, dir string) {
	f.in(SectionPlace)
	if u.Controller.IsValid() {
		f.add("controller", u.Controller.String(), dir)
	}
	var hubs []string
	for p := u.Path.Parent(); p.IsValid(); p = p.Parent() {
		hubs = append([]string{p.String()}, hubs...)
	}
	f.add("behind hubs", strings.Join(hubs, ", "), dir)
	ports, err := usb.Ports(f.fsys)
	for _, p := range ports {
		if p.Path == u.Path {
			f.port(p, dir+"/port")
		}
	}
	if troubleOf(err) == failed { // what is missing or closed of other ports says nothing of this device
		f.errs = append(f.errs, err)
	}
}

// port says which socket a port is, and where on the machine that is.
func (f *facts) port(p usb.Port, source string) {
	if p.Physical.IsValid() {
		f.add("physical port", p.Physical.String(), source)
	}
	f.add("socket", portKind(p.Connect), source+"/connect_type")
	f.add("on the housing", placeText(p.Location), source)
	if p.Peer.IsValid() {
		f.add("other half of the socket", p.Peer.String(), source+"/peer")
	}
	if p.OverCurrents > 0 {
		f.add("switched off for too much current", plural(int(min(p.OverCurrents, 1<<31-1)), "time"), source+"/over_current_count")
	}
}

func portKind(connect string) string {
	switch connect {
	case "hotplug":
		return "yes, for any device"
	case "hardwired":
		return "no, the device is built in"
	}
	return strings.TrimPrefix(connect, "unknown")
}

// placeText says where on the housing a port is, as left side, upper, centre.
func placeText(l usb.Location) string {
	if !l.Known() {
		return ""
	}
	var s []string
	if l.Panel != "" && l.Panel != "unknown" {
		s = append(s, l.Panel+" side")
	}
	for _, where := range []string{l.Vertical, l.Horizontal} {
		if where != "" && where != "unknown" {
			s = append(s, strings.Replace(where, "center", "centre", 1))
		}
	}
	if l.Lid {
		s = append(s, "in the lid")
	}
	if l.Dock {
		s = append(s, "on the dock")
	}
	return strings.Join(s, ", ")
}

// decimal writes a release number of four digits as 2.10.
func decimal(id usb.ID) string {
	n := id.Uint16()
	return fmt.Sprintf("%x.%02x", n>>8, n&0xff)
}

// descriptors says what a device says of its functions. Where that is missing the
// kernel's list of interfaces has to do.
func (f *facts) descriptors(d *Device) {
	u, dir := d.USB, d.source()
	file := dir + "/descriptors"
	desc, err := usb.ReadDescriptors(f.fsys, u.Path)
	var wrong *usb.DescriptorError
	if errors.As(err, &wrong) {
		f.add("descriptors", "not as the specification has them: "+wrong.Error(), file)
	} else {
		f.ok("descriptors", file, err)
	}
	active, err := usb.ActiveConfiguration(f.fsys, u.Path)
	f.ok("configuration", dir+"/bConfigurationValue", err)
	if n := len(desc.Configurations); active == 0 && n == 1 {
		active = desc.Configurations[0].Value // a saved machine may not say
	} else if n > 1 {
		f.add("configuration", fmt.Sprintf("%d of %s", active, plural(n, "choice")), dir+"/bConfigurationValue")
	}
	c, _ := desc.Configuration(active)
	said := false
	for _, function := range desc.Functions(active) {
		name := "interface " + numbers(function.Interfaces)
		if len(function.Interfaces) > 1 {
			name = "interfaces " + numbers(function.Interfaces)
		}
		f.add(name, functionText(u, c, function), file)
		said = true
	}
	if !said {
		for _, i := range u.Interfaces {
			f.add(fmt.Sprintf("interface %d", i.Number), i.Class.String()+" "+usbClassName(i.Class)+", "+or(i.Driver, "no driver"), dir)
		}
	}
	if desc.Hash.IsValid() {
		f.in(SectionIdentity).add("descriptors' hash", desc.Hash.String()[:16]+" (the same for all of this model and firmware)", file)
		f.in(SectionAbilities)
	}
}

// bos says what a device can do at higher speeds, and in which housing it is.
func (f *facts) bos(u *usb.Device, dir string) {
	file := dir + "/bos_descriptors"
	b, err := usb.ReadBOS(f.fsys, u.Path)
	var wrong *usb.DescriptorError
	if errors.As(err, &wrong) {
		f.add("further descriptors (BOS)", "not as the specification has them: "+wrong.Error(), file)
	} else if !f.ok("further descriptors (BOS)", file, err) {
		return
	}
	if b.ContainerID != "" {
		f.in(SectionIdentity).add("container id", b.ContainerID+" (the same for all in one housing)", file)
		f.in(SectionAbilities)
	}
	var s []string
	if b.USB2.Present && b.USB2.LPM {
		s = append(s, "sleeps between packets (LPM)")
	}
	if b.SuperSpeed.Present {
		s = append(s, "runs at "+strings.Join(b.SuperSpeed.Speeds, ", ")+" Mbit/s")
	}
	if b.SuperSpeedPlus.Present {
		var fastest uint64
		for _, l := range b.SuperSpeedPlus.Sublinks {
			fastest = max(fastest, l.Bits)
		}
		s = append(s, "up to "+strconv.FormatUint(fastest/1_000_000, 10)+" Mbit/s a lane")
	}
	for _, p := range b.Platform {
		s = append(s, or(p.Name, "platform "+p.UUID))
	}
	f.add("speeds and extras", listBy(s, "; "), file)
}
