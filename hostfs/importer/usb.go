package importer

import (
	"fmt"
	"path"
	"strings"
)

// usbIDs are the numbers that a USB interface and its device say of themselves, in
// hexadecimal.
type usbIDs struct {
	vendor, product, release string    // four digits
	device, function         [3]string // class, subclass and protocol, two digits each
}

// parseUSBAlias reads usb:vVVVVpPPPPdRRRRdcCCdscSSdpPPicCCiscSSipPPinNN.
func parseUSBAlias(s string) (u usbIDs, ok bool) {
	const form = "usb:v....p....d....dc..dsc..dp..ic..isc..ip..in.."
	if len(s) != len(form) {
		return u, false
	}
	var fields [10]string
	n := -1
	for i := range len(form) {
		switch {
		case form[i] != '.' && form[i] != s[i]:
			return u, false
		case form[i] != '.':
			continue
		case form[i-1] != '.':
			n++
		}
		fields[n] += strings.ToLower(s[i : i+1])
	}
	for _, f := range fields {
		if !isDigits(f) {
			return u, false
		}
	}
	u.vendor, u.product, u.release = fields[0], fields[1], fields[2]
	u.device = [3]string{fields[3], fields[4], fields[5]}
	u.function = [3]string{fields[6], fields[7], fields[8]}
	return u, true
}

// sameDevice says whether two interfaces may be those of one device.
func (u usbIDs) sameDevice(v usbIDs) bool {
	u.function = v.function
	return u == v
}

// putInterface places a USB interface and, with the first one, its device: the report
// tells of interfaces only.
func (f *facterReport) putInterface(r *record, dir string, name usbName) error {
	device := path.Dir(dir)
	if path.Base(device) != name.device || !strings.Contains(device+"/", "/usb"+name.bus+"/") {
		return fmt.Errorf("%s: the path leads to another device", quote(r.SysfsID))
	}
	u, ok := parseUSBAlias(r.Alias)
	if !ok {
		d := r.Detail
		two := func(n number) string { return named{Value: n}.hex(2) }
		u = usbIDs{
			vendor: r.Vendor.hex(4), product: r.Device.hex(4),
			device:   [3]string{d.DeviceClass.hex(2), d.DeviceSubclass.hex(2), two(d.DeviceProtocol)},
			function: [3]string{d.InterfaceClass.hex(2), d.InterfaceSubclass.hex(2), two(d.InterfaceProtocol)},
		}
	}
	if u.vendor == "" || u.product == "" || u.device[0] == "" || u.function[0] == "" {
		return fmt.Errorf("%s: no ids; expected module_alias, or vendor, device and detail", path.Base(dir))
	}
	if first, ok := f.devices[device]; !ok {
		f.devices[device] = u
		f.putUSBDevice(r, device, u, name)
	} else if !first.sameDevice(u) {
		return fmt.Errorf("%s: another interface of the device states other ids", path.Base(dir))
	}
	f.onBus("usb", dir)
	f.putClassCode(dir+"/bInterface", u.function)
	f.builder.put(dir+"/bInterfaceNumber", fmt.Sprintf("%02x", name.number))
	if ok {
		f.builder.put(dir+"/modalias", r.Alias)
	}
	return f.bind("usb", dir, r.driver())
}

// putUSBDevice writes what a device says of itself. The names are those the report
// gives; without one of its own the device has that of libhd's list.
func (f *facterReport) putUSBDevice(r *record, dir string, u usbIDs, name usbName) {
	f.found++
	f.onBus("usb", dir)
	f.builder.put(dir+"/idVendor", u.vendor)
	f.builder.put(dir+"/idProduct", u.product)
	f.putKnown(dir+"/bcdDevice", u.release)
	f.putClassCode(dir+"/bDevice", u.device)
	f.builder.put(dir+"/busnum", name.bus)
	f.putKnown(dir+"/manufacturer", clean(r.Vendor.Name))
	f.putKnown(dir+"/product", clean(r.Device.Name))
	f.putKnown(dir+"/serial", clean(r.Serial))
}

func (b *builder) putClassCode(prefix string, code [3]string) {
	for i, name := range [...]string{"Class", "SubClass", "Protocol"} {
		b.putKnown(prefix+name, code[i])
	}
}
