package laptop

import (
	"slices"
	"strings"

	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

// A Role is what a person calls a device.
type Role string

// The roles.
const (
	Audio         Role = "audio"
	USBController Role = "usb-controller"
	FireWire      Role = "firewire"
	WLAN          Role = "wlan"
	Modem         Role = "modem"
	WWAN          Role = "wwan"
	Bluetooth     Role = "bluetooth"
	Webcam        Role = "webcam"
	GPU           Role = "gpu"
	Ethernet      Role = "ethernet"
	Storage       Role = "storage"
	Thunderbolt   Role = "thunderbolt"
	TPM           Role = "tpm"
	SmartCard     Role = "smartcard"
	Fingerprint   Role = "fingerprint"
	Input         Role = "input"
	Printer       Role = "printer"
	USBDevice     Role = "usb-device"
	BridgeRole    Role = "bridge"
	System        Role = "system"
)

// Roles returns all roles, in the order in which people look for them.
func Roles() []Role {
	return []Role{
		GPU, Webcam, Audio, WLAN, Bluetooth, WWAN, Modem, Ethernet, Storage, USBController, Thunderbolt,
		FireWire, Input, Fingerprint, SmartCard, TPM, Printer, USBDevice, System, BridgeRole,
	}
}

// pciRoles judges a function by its class, from the PCI Code and ID Assignment
// Specification, by its driver where the class says too little, and by what the
// kernel made of it, which is the best witness.
func pciRoles(f pci.Function, classes []ClassDevice) []Role {
	role := pciRole(f)
	switch {
	case role == BridgeRole:
	case has(classes, "wwan"):
		role = WWAN
	case has(classes, "ieee80211") && (role == Ethernet || role == System):
		role = WLAN // vendors call their radios network controllers, too
	case role == System:
		role = systemRole(f, classes)
	}
	roles := []Role{role}
	for _, extra := range []struct {
		class string
		role  Role
	}{{"video4linux", Webcam}, {"ieee80211", WLAN}, {"bluetooth", Bluetooth}} {
		// A GPU may have the camera's image processor in it, a radio may be two.
		if (role == GPU || role == WLAN || role == Bluetooth) && has(classes, extra.class) && role != extra.role {
			roles = append(roles, extra.role)
		}
	}
	return roles
}

// systemRole judges a function whose class and driver say nothing by what the
// kernel made of it.
func systemRole(f pci.Function, classes []ClassDevice) Role {
	switch {
	case has(classes, "bluetooth"):
		return Bluetooth
	case has(classes, "sound"):
		return Audio
	case has(classes, "video4linux") && f.Class.Sub() == 0x0480: // 0400 is a TV card
		return Webcam
	case has(classes, "firewire"):
		return FireWire
	case has(classes, "thunderbolt"):
		return Thunderbolt
	case has(classes, "nvme"), has(classes, "block"), has(classes, "mmc_host"):
		return Storage
	case has(classes, "net"):
		return Ethernet
	}
	return System
}

func pciRole(f pci.Function) Role {
	if f.IsBridge() {
		return BridgeRole
	}
	switch f.Class.Sub() {
	case 0x0200:
		return Ethernet
	case 0x0280, 0x0d20, 0x0d21:
		return WLAN
	case 0x0401, 0x0403:
		return Audio
	case 0x0703:
		return Modem
	case 0x0805: // SD host controller
		return Storage
	case 0x0c00:
		return FireWire
	case 0x0c03:
		switch f.Class.Interface() {
		case 0x40: // USB4 host interface
			return Thunderbolt
		case 0xfe: // USB device, not a controller
			return System
		}
		return USBController
	case 0x0d11:
		return Bluetooth
	case 0x0d40, 0x0d41:
		return WWAN
	}
	switch f.Class.Base() {
	case 0x01:
		return Storage
	case 0x03:
		return GPU
	case 0x09:
		return Input
	}
	// Classes of a vendor's own or too wide: the driver knows. Its name has _ or -, as
	// the module or the driver was called.
	switch d := strings.ReplaceAll(f.Driver, "_", "-"); {
	case strings.HasPrefix(d, "snd-"), strings.HasPrefix(d, "sof-"), strings.HasPrefix(d, "AMDI"):
		return Audio
	case strings.HasPrefix(d, "intel-ipu"), strings.HasPrefix(d, "ipu3"), d == "atomisp-isp2", d == "facetimehd":
		return Webcam
	case d == "thunderbolt":
		return Thunderbolt
	case strings.HasPrefix(d, "rtsx-pci"), strings.HasPrefix(d, "alcor-pci"):
		return Storage
	case strings.HasPrefix(d, "iosm"), strings.HasPrefix(d, "mtk-t7xx"), strings.HasPrefix(d, "mhi-pci"):
		return WWAN
	case strings.HasPrefix(d, "intel-quick"): // touch host controllers
		return Input
	}
	// Intel's multimedia functions of this class are the image processors of built-in
	// cameras, whose driver many systems lack.
	if f.Class.Sub() == 0x0480 && f.Vendor.Uint16() == 0x8086 {
		return Webcam
	}
	return System
}

// usbRoles judges a device by what its interfaces announce, from the USB-IF class
// codes, and by what the kernel made of it. A device may play several roles: a
// headset is audio and input.
func usbRoles(d usb.Device, classes []ClassDevice) []Role {
	var roles []Role
	add := func(r Role) {
		if !slices.Contains(roles, r) {
			roles = append(roles, r)
		}
	}
	vendorSpecific := len(d.Interfaces) > 0
	for i, r := range interfaceRoles(d) {
		vendorSpecific = vendorSpecific && d.Interfaces[i].Class.Base() == 0xff
		if r != "" {
			add(r)
		}
	}
	for _, c := range classes {
		if r, ok := usbClassRole(c); ok {
			add(r)
		}
	}
	// With one of those these are a by-product: the network interface of a radio, the
	// button of a webcam.
	switch {
	case len(roles) > 0:
	case has(classes, "net"):
		add(Ethernet)
	case has(classes, "input"), has(classes, "hidraw"):
		add(Input)
	}
	if len(roles) == 0 && vendorSpecific && fingerprintVendor(d.Vendor.Uint16()) {
		add(Fingerprint)
	}
	// The order of Roles is that of what people look for, so a phone that offers
	// storage and a network is called by the more telling of them.
	all := Roles()
	slices.SortFunc(roles, func(a, b Role) int { return slices.Index(all, a) - slices.Index(all, b) })
	if len(roles) == 0 {
		return []Role{USBDevice}
	}
	return roles
}

// interfaceRoles tells what each interface of a device is for, empty where that is
// not known.
func interfaceRoles(d usb.Device) []Role {
	roles := make([]Role, len(d.Interfaces))
	hid, other := false, false
	for n, i := range d.Interfaces {
		roles[n], _ = interfaceRole(i)
		hid = hid || roles[n] == Input
		other = other || roles[n] != "" && roles[n] != Modem && roles[n] != WWAN
	}
	for n, i := range d.Interfaces {
		switch {
		case roles[n] != Modem:
		case d.Vendor.Uint16() == 0x27c6 && !hid:
			roles[n] = Fingerprint // readers of Goodix announce a serial line
		case i.Class.Protocol() == 0 && other:
			roles[n] = "" // a serial line beside what the device is for, as of keyboards
		}
	}
	return roles
}

// interfaceRole tells what one interface of a USB device is for.
func interfaceRole(i usb.Interface) (Role, bool) {
	c, s, p := i.Class.Base(), i.Class.Sub(), i.Class.Protocol()
	switch {
	case c == 0x0e:
		return Webcam, true
	case c == 0x01:
		return Audio, true
	case c == 0x0b:
		return SmartCard, true
	case c == 0xe0 && s == 0x01 && p == 0x01:
		return Bluetooth, true
	case c == 0xe0 && s == 0x01 && p == 0x03, c == 0xef && s == 0x04 && p == 0x01: // RNDIS
		return Ethernet, true
	case c == 0x02 && (s == 0x0e || s == 0x09): // MBIM; wireless device management
		return WWAN, true
	case c == 0x02 && s == 0x02 && p != 0xff: // abstract control model; ff is RNDIS
		return Modem, true
	case c == 0x02 && (s == 0x02 || s == 0x06 || s == 0x0c || s == 0x0d): // RNDIS, ECM, EEM, NCM
		return Ethernet, true
	case c == 0x03:
		return Input, true
	case c == 0x07:
		return Printer, true
	case c == 0x08:
		return Storage, true
	case c == 0xff:
		return usbDriver(i.Driver)
	}
	return "", false
}

// usbClassRole tells what a class device makes of a USB device, whatever else that
// is.
func usbClassRole(c ClassDevice) (Role, bool) {
	switch c.Class {
	case "ieee80211":
		return WLAN, true
	case "bluetooth":
		return Bluetooth, true
	case "wwan":
		return WWAN, true
	case "usbmisc":
		return WWAN, numbered(c.Name, "cdc-wdm")
	case "video4linux":
		return Webcam, true
	case "sound":
		return Audio, true
	case "block", "mmc_host":
		return Storage, true
	}
	return "", false
}

// usbDriver tells what an interface of a vendor's own class is, by its driver. Most
// network adapters have no other class.
func usbDriver(name string) (Role, bool) {
	switch name {
	case "qmi_wwan", "cdc_mbim", "sierra_net", "hso", "huawei_cdc_ncm", "option", "qcserial", "sierra":
		return WWAN, true
	case "r8152", "ax88179_178a", "asix", "aqc111", "lan78xx", "smsc75xx", "smsc95xx", "dm9601", "mcs7830", "sr9700",
		"pegasus", "rtl8150", "cdc_ether", "cdc_ncm", "rndis_host", "ipheth":
		return Ethernet, true
	case "ath9k_htc", "ath6kl_usb", "carl9170", "brcmfmac", "zd1211rw", "rt2500usb", "rt2800usb", "rtl8187", "rtl8192cu",
		"rtl8xxxu", "mt7601u", "mt76x0u", "mt76x2u", "mt7663u", "mt7921u", "mt7925u":
		return WLAN, true
	case "btusb", "ath3k":
		return Bluetooth, true
	case "uvcvideo":
		return Webcam, true
	case "snd-usb-audio":
		return Audio, true
	case "rtsx_usb", "usb-storage", "uas", "ums-realtek":
		return Storage, true
	case "xpad", "usbhid":
		return Input, true
	case "usblp":
		return Printer, true
	}
	switch {
	case strings.HasPrefix(name, "rtw_8"), strings.HasPrefix(name, "rtw89_"):
		return WLAN, true
	case strings.HasPrefix(name, "gspca_"):
		return Webcam, true
	}
	return "", false
}

// otherRoles judges a device on neither bus by what the kernel made of it.
func otherRoles(o Other, classes []ClassDevice) []Role {
	var roles []Role
	for _, c := range classes {
		r, ok := otherRole(c.Class)
		switch {
		case !ok, slices.Contains(roles, r):
		case r == Ethernet && has(classes, "ieee80211"), r == Ethernet && has(classes, "wwan"): // the interface of a radio
		case c.Class == "input" && strings.Contains(c.Path, "/sound/card"): // its sockets
		default:
			roles = append(roles, r)
		}
	}
	if len(roles) == 0 && has(classes, "spidev") && fingerprintID(o.Name) {
		return []Role{Fingerprint}
	}
	all := Roles()
	slices.SortFunc(roles, func(a, b Role) int { return slices.Index(all, a) - slices.Index(all, b) })
	if len(roles) == 0 {
		return []Role{System}
	}
	return roles
}

func otherRole(class string) (Role, bool) {
	switch class {
	case "ieee80211":
		return WLAN, true
	case "net":
		return Ethernet, true
	case "bluetooth":
		return Bluetooth, true
	case "wwan":
		return WWAN, true
	case "video4linux":
		return Webcam, true
	case "sound":
		return Audio, true
	case "block", "mmc_host":
		return Storage, true
	case "tpm", "tpmrm":
		return TPM, true
	case "input", "hidraw":
		return Input, true
	case "firewire":
		return FireWire, true
	}
	return "", false
}

// fingerprintID reports whether the name of a device on SPI, spi-ELAN7001:00, has
// the ACPI id of a fingerprint reader.
func fingerprintID(name string) bool {
	id := strings.TrimPrefix(name, "spi-")
	return strings.HasPrefix(id, "ELAN70") || strings.HasPrefix(id, "FPC1") || strings.HasPrefix(id, "GXFP") || strings.HasPrefix(id, "EGIS")
}

// fingerprintVendor knows the makers of readers whose only interface is of their
// own class, as libfprint lists them: nothing else tells these readers apart.
func fingerprintVendor(v uint16) bool {
	switch v {
	case 0x04f3, // Elan
		0x05ba, // DigitalPersona
		0x06cb, // Synaptics
		0x08ff, // AuthenTec
		0x10a5, // FPC
		0x138a, // Validity
		0x147e, // Upek
		0x1c7a, // LighTuning, Egis
		0x27c6, // Goodix
		0x2808: // FocalTech
		return true
	}
	return false
}
