package importer

import (
	"fmt"
	"path"
	"strconv"
	"strings"
)

// busNames are the subsystems that are buses, also when none of their devices has a
// driver. The rest are classes.
var busNames = []string{
	"ac97", "acpi", "auxiliary", "bcma", "clockevents", "clocksource", "container", "cpu", "edac", "eisa", "event_source",
	"firewire", "gameport", "gpio", "hdaudio", "hid", "i2c", "i3c", "isa", "machinecheck", "mdio_bus", "media", "mei",
	"memory", "mmc", "mmc_rpmb", "nd", "node", "nvmem", "parport", "pci", "pci-epf", "pci_express", "platform", "pnp",
	"rapidio", "rmi4", "scsi", "sdio", "serial", "serio", "slimbus", "snd_seq", "soundwire", "spi", "ssb", "thunderbolt",
	"typec", "ulpi", "usb", "usb-serial", "virtio", "vme", "wmi", "workqueue", "xen", "xen-backend",
}

// bothNames are those of a bus and of a class. Kernels before 3.4 had a class usb, now
// usbmisc, of nodes that drivers make.
var bothNames = []string{"gpio", "mdio_bus", "typec", "usb"}

// kernelKeys are the properties that the kernel writes to a uevent file. The others
// in the database are udev's. Those that end in _ are beginnings.
var kernelKeys = []string{
	"DEVMODE", "DEVNAME", "DEVTYPE", "DISKSEQ", "DRIVER", "IFINDEX", "INTERFACE", "MAJOR", "MINOR", "MODALIAS",
	"PARTN", "PARTNAME", "PARTUUID", "BUSNUM", "DEVNUM", "PRODUCT", "TYPE", "PCI_CLASS", "PCI_ID", "PCI_SLOT_NAME", "PCI_SUBSYS_ID",
	"NAME", "PHYS", "UNIQ", "PROP", "EV", "KEY", "REL", "ABS", "MSC", "LED", "SND", "FF", "SW",
	"HID_", "MEI_CL_", "MMC_", "NVME_", "OF_", "POWER_SUPPLY_", "RFKILL_", "SDIO_", "SERIO_", "TYPEC_", "USB4_", "WMI_GUID", "VPD_",
	"SPEC_VERS", "MANFID", "MODULE", "CARD_TYPE", "GUID",
}

func fromKernel(key string) bool {
	for _, k := range kernelKeys {
		if key == k || strings.HasSuffix(k, "_") && strings.HasPrefix(key, k) {
			return true
		}
	}
	return false
}

// sameWords are properties whose value the kernel also gives as an attribute, by
// subsystem.
var sameWords = []struct{ subsystem, property, attribute string }{
	{"power_supply", "POWER_SUPPLY_TYPE", "type"},
	{"power_supply", "POWER_SUPPLY_SCOPE", "scope"},
	{"power_supply", "POWER_SUPPLY_ONLINE", "online"},
	{"power_supply", "POWER_SUPPLY_PRESENT", "present"},
	{"power_supply", "POWER_SUPPLY_STATUS", "status"},
	{"rfkill", "RFKILL_NAME", "name"},
	{"rfkill", "RFKILL_TYPE", "type"},
	{"input", "NAME", "name"},
	{"input", "PHYS", "phys"},
	{"input", "PROP", "properties"},
	{"input", "EV", "capabilities/ev"},
	{"input", "KEY", "capabilities/key"},
	{"input", "REL", "capabilities/rel"},
	{"input", "ABS", "capabilities/abs"},
	{"input", "SW", "capabilities/sw"},
	{"block", "PARTN", "partition"},
	{"net", "IFINDEX", "ifindex"},
}

// putSpecial writes attributes whose value is that of a property, or is in it.
func (b *builder) putSpecial(d *device, dir string) {
	for _, s := range sameWords {
		if s.subsystem == d.subsystem {
			b.putKnown(dir+"/"+s.attribute, strings.Trim(d.get(s.property), `"`))
		}
	}
	switch d.subsystem {
	case "pci":
		b.putPCI(d, dir)
	case "usb":
		if d.get("DEVTYPE") == "usb_device" {
			b.putUSBTexts(d, dir)
		}
	case "net":
		b.putKnown(dir+"/address", addressIn(d.get("ID_NET_NAME_MAC")))
	case "dmi":
		if path.Base(dir) == "id" {
			b.putDMI(parseDMIAlias(d.get("MODALIAS")))
		}
	}
}

func (b *builder) putPCI(d *device, dir string) {
	four := func(n uint64) string { return fmt.Sprintf("%04x", n) }
	class, _ := parseHex(d.get("PCI_CLASS"), 6)
	vendor, product, _ := d.pair("PCI_ID")
	i := ids{vendor: four(vendor), device: four(product), class: fmt.Sprintf("%06x", class)}
	if v, s, ok := d.pair("PCI_SUBSYS_ID"); ok {
		i.subVendor, i.subDevice = four(v), four(s)
	}
	b.putIDs(dir, i)
}

// addressIn returns the address of a network interface in the name that udev made of
// it, as enx0a1b2c3d4e5f; empty if there is none. It makes none of a changed address
// and that of InfiniBand is longer.
func addressIn(name string) string {
	if len(name) != len("enx")+12 || name[2] != 'x' || strings.HasPrefix(name, "ib") {
		return ""
	}
	digits := strings.ToLower(name[len("enx"):])
	if !isDigits(digits) {
		return ""
	}
	var pairs []string
	for ; digits != ""; digits = digits[2:] {
		pairs = append(pairs, digits[:2])
	}
	return strings.Join(pairs, ":")
}

// putUSBTexts writes what a device calls itself. Without a text of the device udev
// puts the id there. Of the serial number it has only its own form, with _ for blanks
// and signs that are in no name; ID_SERIAL has the names before it.
func (b *builder) putUSBTexts(d *device, dir string) {
	for _, t := range []struct{ attribute, property, id string }{
		{"manufacturer", "ID_VENDOR_ENC", "ID_VENDOR_ID"},
		{"product", "ID_MODEL_ENC", "ID_MODEL_ID"},
	} {
		if s := d.get(t.property); s != d.get(t.id) {
			b.putKnown(dir+"/"+t.attribute, clean(unescape(s)))
		}
	}
	b.putKnown(dir+"/serial", clean(d.get("ID_SERIAL_SHORT")))
}

// unescape undoes udev's \x20.
func unescape(s string) string {
	var out strings.Builder
	for {
		before, rest, ok := strings.Cut(s, `\x`)
		out.WriteString(before)
		if !ok {
			return out.String()
		}
		if n, err := strconv.ParseUint(rest[:min(2, len(rest))], 16, 8); err == nil && len(rest) >= 2 {
			out.WriteByte(byte(n))
			s = rest[2:]
		} else {
			out.WriteString(`\x`)
			s = rest
		}
	}
}
