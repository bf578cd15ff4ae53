package laptop

import (
	"bytes"
	"net"
	"path"
	"strings"

	"github.com/project-independence/indy/pci"
)

// carried adds what the things say that the kernel made of a device: addresses of
// interfaces and radios, names of disks, and of a device on neither bus what it is.
func (r *identifier) carried(d *Device, v vector) {
	sets := map[Kind]*set{}
	sources := map[Kind]string{}
	add := func(k Kind, value, source string) {
		if value = line(strings.ReplaceAll(value, ",", " ")); value == "" {
			return
		}
		if sets[k] == nil {
			sets[k] = new(set)
		}
		sets[k].add(value)
		sources[k] = source
	}
	read := func(k Kind, c ClassDevice, attribute string) {
		add(k, r.read(c.Source(attribute)), c.Source(attribute))
	}
	blocks := map[string]bool{} // by path: what is below one is a partition
	for _, c := range d.Classes {
		if c.Class == "block" {
			blocks[c.Path] = true
		}
	}
	for _, c := range d.Classes {
		switch c.Class {
		case "net":
			// 0 is NET_ADDR_PERM: neither made up by the kernel nor set by somebody.
			if r.read(c.Source("addr_assign_type")) == "0" {
				add(ByMAC, r.mac(c, "address"), c.Source("address"))
			}
		case "ieee80211":
			add(ByMAC, r.mac(c, "macaddress"), c.Source("macaddress"))
		case "bluetooth": // until Linux 4.17
			add(ByMAC, r.mac(c, "address"), c.Source("address"))
		case "nvme":
			read(BySerial, c, "serial")
		case "block":
			kind := diskKind(d, c)
			if kind == "" || c.Path == "" || blocks[path.Dir(c.Path)] {
				break
			}
			name, source := r.disk(c)
			add(kind, name, source)
			if name != "" && d.Other != nil {
				read(ByModel, c, "device/name")
			}
		}
		if d.Other == nil {
			continue // its own bus says more
		}
		switch c.Class {
		case "power_supply":
			read(BySerial, c, "serial_number")
			maker, model := r.read(c.Source("manufacturer")), r.read(c.Source("model_name"))
			add(ByModel, maker+" "+model, c.Source("model_name"))
		case "input":
			if numbered(c.Name, "input") {
				read(ByName, c, "name")
				if mac := r.mac(c, "uniq"); mac != "" { // of a Bluetooth device
					add(ByMAC, mac, c.Source("uniq"))
				}
			}
		case "iio", "video4linux":
			read(ByName, c, "name")
		case "sound":
			read(ByName, c, "id")
		case "tpm":
			if s := r.read(c.Source("tpm_version_major")); s != "" {
				add(ByName, "TPM "+s, c.Source("tpm_version_major"))
			}
		}
	}
	for k, s := range sets {
		v.add(k, s.String(), sources[k])
	}
}

// mac returns a hardware address, empty for what is none of 6 bytes.
func (r *identifier) mac(c ClassDevice, attribute string) string {
	a, err := net.ParseMAC(r.read(c.Source(attribute)))
	if err != nil || len(a) != 6 || bytes.Count(a, []byte{0}) == len(a) {
		return ""
	}
	return a.String()
}

// disk returns the name of a whole disk: wwid of NVMe, which SCSI has in the directory
// of the device, where an MMC card has its number.
func (r *identifier) disk(c ClassDevice) (name, source string) {
	for _, attribute := range []string{"wwid", "device/wwid", "device/cid"} {
		source = "sys/devices/" + c.Path + "/" + attribute
		if name = r.read(source); name != "" {
			break
		}
	}
	return name, source
}

// diskKind returns what the name of a disk is to a device that has it: that of an NVMe
// namespace or of a USB disk outlives a move, that of a soldered card is the device's
// own, and a disk in a drawer makes the controller no other one. It is empty for the
// functions on the way to the disk, as one that makes a domain (VMD).
func diskKind(d *Device, c ClassDevice) Kind {
	switch {
	case d.USB != nil:
		return ByWWID
	case d.Other != nil && d.Other.Bus == "mmc":
		return BySerial
	case d.Other != nil:
		return ByDisk
	case strings.HasPrefix(c.Name, "nvme"):
		if has(d.Classes, "nvme") {
			return ByWWID
		}
	default:
		if above := pci.InPath(c.Path); len(above) > 0 && above[len(above)-1] == d.PCI.Address {
			return ByDisk
		}
	}
	return ""
}
