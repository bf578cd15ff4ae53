package laptop

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

// function says what the kernel states of a PCI function.
func (f *facts) function(l *Laptop, d *Device) {
	p := d.PCI
	a, dir := p.Address, d.source()
	f.add("class", p.Class.String(), dir+"/uevent")
	ids := p.Vendor.String() + ":" + p.Device.String()
	if p.SubsystemVendor.Known() {
		ids += ", subsystem " + p.SubsystemVendor.String() + ":" + p.SubsystemDevice.String()
	}
	f.add("ids", ids, dir+"/uevent")
	if r, err := pci.Revision(f.fsys, a); f.note(err) {
		f.add("revision", fmt.Sprintf("%02x", r), dir+"/revision")
	}
	f.add("driver", or(p.Driver, "none"), dir+"/driver")
	if s, err := pci.DriverOverride(f.fsys, a); f.note(err) {
		f.add("driver override", s, dir+"/driver_override")
	}
	f.add("IOMMU group", p.Group.String(), dir+"/iommu_group")
	methods, err := pci.ResetMethods(f.fsys, a)
	if f.note(err) || errors.Is(err, fs.ErrNotExist) {
		f.add("reset methods", or(strings.Join(methods, " "), "none stated"), dir+"/reset_method")
	}
	power, err := pci.PowerState(f.fsys, a)
	if f.note(err) {
		f.add("power", power, dir+"/power_state")
	}
	if s, err := pci.RuntimeStatus(f.fsys, a); f.note(err) {
		f.add("runtime power", s, dir+"/power/runtime_status")
	}
	if power == "D0" { // the kernel reads config space for these, where a sleeping device does not answer
		f.link(dir)
	}
	f.add("removable", f.read(dir+"/removable"), dir+"/removable")
	if above, err := pci.Bridges(f.fsys, a); f.note(err) {
		f.add("behind", addresses(above), dir)
	}
	if pf, err := pci.PhysicalFunction(f.fsys, a); f.note(err) && pf.IsValid() {
		f.add("virtual function of", pf.String(), dir+"/physfn")
	}
	if vfs, err := pci.VirtualFunctions(f.fsys, a); f.note(err) {
		f.add("virtual functions", addresses(vfs), dir+"/sriov_numvfs")
	}
	for _, c := range l.Carried(a) {
		f.add("carries", c.ID()+", "+roleNames(c.Roles), c.source())
	}
	for _, u := range l.Uses {
		if slices.Contains(u.Functions, a) {
			f.add("the host's", u.What, useSource(u.Code))
		}
	}
}

// link says how fast the function's PCI Express link is, and how fast it could be.
func (f *facts) link(dir string) {
	of := func(which string) string {
		speed, width := f.read(dir+"/"+which+"_link_speed"), f.read(dir+"/"+which+"_link_width")
		if speed == "" || width == "" || width == "0" || strings.HasPrefix(speed, "Unknown") {
			return ""
		}
		return speed + " x" + width
	}
	s := of("current")
	if most := of("max"); s != "" && most != "" && most != s {
		s += ", at most " + most
	}
	f.add("link", s, dir+"/current_link_speed")
}

func useSource(c Code) string {
	if c == DefaultRoute {
		return "proc/net/route"
	}
	return "proc/self/mountinfo"
}

// usb says what the kernel states of a USB device.
func (f *facts) usb(d *Device) {
	u, dir := d.USB, d.source()
	f.add("class", u.Class.String(), dir+"/uevent")
	f.add("ids", u.Vendor.String()+":"+u.Product.String(), dir+"/uevent")
	if u.Controller.IsValid() {
		f.add("controller", u.Controller.String(), dir)
	}
	text := func(name, attribute string, read func(fs.FS, usb.PortPath) (string, error), unit string) {
		if s, err := read(f.fsys, u.Path); f.note(err) && s != "" {
			f.add(name, s+unit, dir+"/"+attribute)
		}
	}
	text("manufacturer", "manufacturer", usb.ManufacturerName, "")
	text("product", "product", usb.ProductName, "")
	text("speed", "speed", usb.Speed, " Mbit/s")
	text("removable", "removable", usb.Removable, "")
	if ok, err := usb.Authorized(f.fsys, u.Path); f.note(err) {
		f.add("authorised", yesNo(ok), dir+"/authorized")
	}
	for _, i := range u.Interfaces {
		f.add(fmt.Sprintf("interface %d", i.Number), i.Class.String()+" "+or(i.Driver, "no driver"), dir)
	}
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func addresses(all []pci.Address) string {
	s := make([]string, len(all))
	for i, a := range all {
		s[i] = a.String()
	}
	return strings.Join(s, ", ")
}

func roleNames(roles []Role) string {
	s := make([]string, len(roles))
	for i, r := range roles {
		s[i] = string(r)
	}
	return strings.Join(s, ", ")
}

func numbers(all []int) string {
	s := make([]string, len(all))
	for i, n := range all {
		s[i] = strconv.Itoa(n)
	}
	return strings.Join(s, ", ")
}
