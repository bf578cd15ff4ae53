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
// Specification, and by its driver where the class says too little.
func pciRoles(f pci.Function) []Role { return []Role{pciRole(f)} }

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
	// Classes of a vendor's own or too wide: the driver knows.
	switch d := f.Driver; {
	case strings.HasPrefix(d, "snd_"), strings.HasPrefix(d, "sof-"), strings.HasPrefix(d, "AMDI"):
		return Audio
	case strings.HasPrefix(d, "intel-ipu"), strings.HasPrefix(d, "ipu3"), d == "intel_ipu6", d == "intel_ipu7":
		return Webcam
	case d == "thunderbolt":
		return Thunderbolt
	case strings.HasPrefix(d, "rtsx_pci"), strings.HasPrefix(d, "alcor_pci"):
		return Storage
	case strings.HasPrefix(d, "iosm"), strings.HasPrefix(d, "mtk_t7xx"), strings.HasPrefix(d, "mhi-pci"):
		return WWAN
	}
	return System
}

// usbRoles judges a device by what its interfaces announce, from the USB-IF class
// codes. A device may play several roles: a headset is audio and input.
func usbRoles(d usb.Device) []Role {
	var roles []Role
	add := func(r Role) {
		if !slices.Contains(roles, r) {
			roles = append(roles, r)
		}
	}
	vendorSpecific := len(d.Interfaces) > 0
	for _, i := range d.Interfaces {
		c, s, p := i.Class.Base(), i.Class.Sub(), i.Class.Protocol()
		vendorSpecific = vendorSpecific && c == 0xff
		switch {
		case c == 0x0e:
			add(Webcam)
		case c == 0x01:
			add(Audio)
		case c == 0x0b:
			add(SmartCard)
		case c == 0xe0 && s == 0x01 && p == 0x01:
			add(Bluetooth)
		case c == 0xe0 && s == 0x01 && p == 0x03, c == 0xef && s == 0x04 && p == 0x01: // RNDIS
			add(Ethernet)
		case c == 0x02 && s == 0x0e: // MBIM
			add(WWAN)
		case c == 0x02 && s == 0x02 && p != 0xff: // abstract control model; ff is RNDIS
			add(Modem)
		case c == 0x02 && (s == 0x02 || s == 0x06 || s == 0x0c || s == 0x0d): // RNDIS, ECM, EEM, NCM
			add(Ethernet)
		case c == 0x03:
			add(Input)
		case c == 0x07:
			add(Printer)
		case c == 0x08:
			add(Storage)
		case c == 0xff:
			if r, ok := usbDriver(i.Driver); ok {
				add(r)
			}
		}
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

// usbDriver tells what an interface of a vendor's own class is, by its driver. Most
// network adapters have no other class.
func usbDriver(name string) (Role, bool) {
	switch name {
	case "qmi_wwan", "sierra_net", "hso", "huawei_cdc_ncm":
		return WWAN, true
	case "r8152", "ax88179_178a", "asix", "aqc111", "lan78xx", "smsc75xx", "smsc95xx", "dm9601", "mcs7830", "sr9700",
		"pegasus", "rtl8150", "cdc_ether", "rndis_host", "ipheth":
		return Ethernet, true
	case "ath9k_htc", "ath6kl_usb", "carl9170", "brcmfmac", "zd1211rw", "rt2500usb", "rt2800usb", "rtl8187", "rtl8192cu",
		"rtl8xxxu", "rtw_8723du", "rtw_8821cu", "rtw_8822bu", "rtw_8822cu", "mt7601u", "mt76x0u", "mt76x2u", "mt7663u",
		"mt7921u", "mt7925u":
		return WLAN, true
	case "btusb":
		return Bluetooth, true
	}
	return "", false
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
