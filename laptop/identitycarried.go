package laptop

import (
	"bytes"
	"errors"
	"io/fs"
	"net"
	"strings"

	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

// carriedNames are names of what a device carries: interfaces, radios and disks.
type carriedNames struct {
	serial, serialFile string
	nvme               bool
	macs, wwids, disks set
	macFile, diskFile  string
}

func (c *carriedNames) add(v vector) {
	if c.serial != "" {
		v.add(BySerial, c.serial, c.serialFile)
	}
	v.add(ByMAC, c.macs.String(), c.macFile)
	v.add(ByWWID, c.wwids.String(), c.diskFile)
	v.add(ByDisk, c.disks.String(), c.diskFile)
}

// by returns the names of what the device with that id carries.
func (r *identifier) by(id string) *carriedNames {
	c := r.carried[id]
	if c == nil {
		c = new(carriedNames)
		r.carried[id] = c
	}
	return c
}

// owner returns the id of the device in a path below /sys/devices that carries what
// the path leads to, empty when that is no PCI function or USB device.
func owner(target string) string {
	if p, ok := usb.InPath(target); ok {
		return "usb:" + p.String()
	}
	if f := pci.InPath(target); len(f) > 0 {
		return "pci:" + f[len(f)-1].String()
	}
	return ""
}

func (r *identifier) readCarried() {
	r.eachOf("sys/class/net", func(dir, id string) {
		// 0 is NET_ADDR_PERM: neither made up by the kernel nor set by somebody.
		if r.read(dir+"/addr_assign_type") == "0" {
			r.mac(id, dir+"/address")
		}
	})
	r.eachOf("sys/class/ieee80211", func(dir, id string) { r.mac(id, dir+"/macaddress") })
	r.eachOf("sys/class/nvme", func(dir, id string) {
		c := r.by(id)
		c.nvme, c.serial, c.serialFile = true, r.read(dir+"/serial"), dir+"/serial"
	})
	disks, err := readBlocks(r.fsys)
	r.note(err)
	for i := range disks.list {
		r.disk(disks, &disks.list[i])
	}
}

// eachOf calls read for each entry of a class that a device carries.
func (r *identifier) eachOf(class string, read func(dir, id string)) {
	entries, err := fs.ReadDir(r.fsys, class)
	r.note(err)
	for _, e := range entries {
		dir := class + "/" + e.Name()
		target, err := fs.ReadLink(r.fsys, dir)
		if err != nil {
			if !errors.Is(err, fs.ErrInvalid) { // a file, as bonding_masters
				r.note(err)
			}
			continue
		}
		if id := owner(target); id != "" {
			read(dir, id)
		}
	}
}

func (r *identifier) mac(id, file string) {
	a, err := net.ParseMAC(r.read(file))
	if err != nil || len(a) != 6 || bytes.Count(a, []byte{0}) == len(a) {
		return
	}
	c := r.by(id)
	c.macs.add(a.String())
	c.macFile = file
}

// disk notes the name of a whole disk: wwid of NVMe, which SCSI has in the directory
// of the device, where that of an MMC card has its number.
func (r *identifier) disk(disks *blocks, b *block) {
	if b.virtual && len(b.functions) == 0 || disks.byName[b.parent] != nil {
		return
	}
	var name, file string
	for _, file = range []string{"wwid", "device/wwid", "device/cid"} {
		file = disks.dir + "/" + b.name + "/" + file
		if name = r.read(file); name != "" {
			break
		}
	}
	name = strings.Join(strings.Fields(strings.ReplaceAll(name, ",", " ")), " ")
	switch {
	case name == "":
	case b.port.IsValid():
		c := r.by("usb:" + b.port.String())
		c.wwids.add(name)
		c.diskFile = file
	case strings.HasPrefix(b.name, "nvme"):
		for _, a := range b.functions { // with the bridges above
			if c := r.carried["pci:"+a.String()]; c != nil && c.nvme {
				c.wwids.add(name)
				c.diskFile = file
			}
		}
	case len(b.functions) > 0:
		c := r.by("pci:" + b.functions[len(b.functions)-1].String())
		c.disks.add(name)
		c.diskFile = file
	}
}
