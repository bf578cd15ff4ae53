package laptop

import (
	"strconv"
	"strings"
)

// A classAttribute is one attribute of the devices of a class, and how its value is
// shown.
type classAttribute struct {
	class, file string
	name        string
	kind        string // yesno, mbit, percent, sectors, hardware or arphrd; empty for the text as it is
}

// classAttributes are from the kernel's Documentation/ABI, in the order in which the
// facts are given. None wakes a device.
var classAttributes = []classAttribute{
	{"net", "operstate", "state", ""},
	{"net", "type", "type", "arphrd"},
	{"net", "address", "address", ""},
	{"net", "speed", "speed", "mbit"},
	{"ieee80211", "macaddress", "address", ""},
	{"rfkill", "type", "type", ""},
	{"rfkill", "name", "name", ""},
	{"rfkill", "soft", "blocked by software", "yesno"},
	{"rfkill", "hard", "blocked by a switch", "yesno"},
	{"bluetooth", "address", "address", ""}, // until Linux 4.17
	{"wwan", "type", "type", ""},
	{"usbmisc", "device/ieee1284_id", "printer", ""},
	{"video4linux", "name", "name", ""},
	{"media", "model", "model", ""},
	{"nvme", "model", "model", ""},
	{"nvme", "firmware_rev", "firmware", ""},
	{"nvme", "state", "state", ""},
	{"nvme", "transport", "transport", ""},
	{"tpm", "tpm_version_major", "version", ""},
	{"power_supply", "type", "type", ""},
	{"power_supply", "manufacturer", "manufacturer", ""},
	{"power_supply", "model_name", "model", ""},
	{"power_supply", "technology", "technology", ""},
	{"power_supply", "scope", "scope", ""},
	{"power_supply", "present", "present", "yesno"},
	{"power_supply", "online", "online", "yesno"},
	{"power_supply", "status", "status", ""},
	{"power_supply", "capacity", "capacity", "percent"},
	{"backlight", "type", "type", ""},
	{"typec", "data_role", "data role", ""},
	{"typec", "power_role", "power role", ""},
	{"iio", "name", "name", ""},
	{"thunderbolt", "security", "security level", ""},
	{"thunderbolt", "iommu_dma_protection", "DMA protection by the IOMMU", "yesno"},
	{"thunderbolt", "vendor_name", "vendor", ""},
	{"thunderbolt", "device_name", "device", ""},
	{"thunderbolt", "generation", "generation", ""},
	{"thunderbolt", "authorized", "authorised", "authorised"},
	{"thunderbolt", "rx_speed", "receives at", ""},
	{"thunderbolt", "tx_speed", "sends at", ""},
	{"thunderbolt", "unique_id", "unique id", ""},
	{"firewire", "vendor_name", "vendor", ""},
	{"firewire", "model_name", "model", ""},
	{"firewire", "guid", "GUID", ""},
	{"firewire", "is_local", "the controller itself", "yesno"},
	{"block", "size", "size", "sectors"},
	{"block", "device/model", "model", ""},
	{"block", "removable", "removable", "yesno"},
	{"block", "ro", "read-only", "yesno"},
	{"block", "queue/rotational", "rotational", "yesno"},
}

// class says what the kernel states of one class device.
func (f *facts) class(c ClassDevice) {
	for _, a := range classAttributes {
		if a.class == c.Class && !(c.Class == "wwan" && numbered(c.Name, "wwan")) {
			source := c.Source(a.file)
			name := c.Name + " " + a.name
			f.add(name, a.show(f.read(name, source)), source)
		}
	}
	switch {
	case c.Class == "block" && strings.HasPrefix(c.Name, "mmcblk"): // for SCSI type is a number
		for _, a := range []string{"type", "name"} {
			f.text(c.Name+" card "+a, c.Source("device/"+a))
		}
	case c.Class == "hidraw":
		for l := range strings.Lines(f.read(c.Name+" name", c.Source("device/uevent"))) {
			if name, ok := strings.CutPrefix(l, "HID_NAME="); ok {
				f.add(c.Name+" name", name, c.Source("device/uevent"))
			}
		}
	case c.Class == "input" && numbered(c.Name, "input"):
		f.input(c)
	}
}

// show makes a value for a person, empty for one that says that it is unknown.
func (a classAttribute) show(s string) string {
	switch a.kind {
	case "yesno":
		switch s {
		case "0":
			return "no"
		case "1":
			return "yes"
		}
	case "authorised":
		switch s {
		case "0":
			return "no"
		case "1":
			return "yes"
		case "2":
			return "yes, by its key"
		}
	case "mbit":
		if n, err := strconv.ParseInt(s, 10, 32); err != nil || n <= 0 {
			return ""
		}
		return s + " Mbit/s"
	case "percent":
		if n, err := strconv.ParseUint(s, 10, 32); err != nil || n > 100 {
			return ""
		}
		return s + " %"
	case "sectors": // of 512 bytes, whatever the disk has
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil || n > 1<<54 {
			return ""
		}
		if n *= 512; n < 1e9 {
			return strconv.FormatUint(n, 10) + " bytes"
		}
		return strconv.FormatFloat(float64(n)/1e9, 'f', 1, 64) + " GB"
	case "arphrd": // include/uapi/linux/if_arp.h
		switch s {
		case "1":
			return "Ethernet"
		case "519":
			return "raw IP"
		case "801", "802", "803":
			return "radio, raw 802.11"
		case "65534":
			return "none"
		}
	}
	return s
}
