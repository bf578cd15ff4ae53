package laptop

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/project-independence/indy/pci"
)

const pciDevices = "sys/bus/pci/devices/"

// function adds what is known of a PCI function.
func (r *identifier) function(d *Device, v vector) {
	f := d.PCI
	dir := pciDevices + f.Address.String()
	v.add(ByTopology, r.functionPlace(f.Address), dir)
	v.add(ByFirmware, r.read(dir+"/firmware_node/path"), dir+"/firmware_node/path")
	if f.Vendor.Known() && f.Device.Known() {
		v.add(ByIDs, f.Vendor.String()+":"+f.Device.String(), dir+"/uevent")
	}
	if f.SubsystemVendor.Known() && f.SubsystemDevice.Known() {
		v.add(BySubsystem, f.SubsystemVendor.String()+":"+f.SubsystemDevice.String(), dir+"/uevent")
	}
	if revision, err := pci.Revision(r.fsys, f.Address); err == nil {
		v.add(ByRevision, fmt.Sprintf("%02x", revision), dir+"/revision")
	} else {
		r.note(err)
	}
	if f.Class.Known() {
		v.add(ByClass, f.Class.String(), dir+"/uevent")
	}
	if d.Display != nil {
		r.screens(d, v)
	}
}

// functionPlace returns the topology of a function. A virtual one may sit on a bus of
// its own beside that of the physical one, with the same device and function: it is
// told by how far it is from it.
func (r *identifier) functionPlace(a pci.Address) string {
	target, err := fs.ReadLink(r.fsys, pciDevices+a.String())
	if err != nil {
		r.note(err)
		return ""
	}
	if above := pci.InPath(target); len(above) == 0 || above[len(above)-1] != a {
		return ""
	}
	physical, err := pci.PhysicalFunction(r.fsys, a)
	r.note(err)
	if !physical.IsValid() || physical == a {
		return topology(target)
	}
	dir, _, _ := cutLast(topology(target), "/")
	routing := func(a pci.Address) int {
		return int(a.Bus())<<8 | int(a.Device())<<3 | int(a.Function())
	}
	return fmt.Sprintf("%s/%02x.%d/vf%d", dir, physical.Device(), physical.Function(), routing(a)-routing(physical))
}

// topology returns a path below /sys/devices as it stays when buses get other
// numbers: of functions only device and function, of a root bus below a function (a
// domain that VMD makes) nothing. The path of a function behind a root port is
// pci0000:00/1c.4/00.0. It is empty for what is no such path.
func topology(target string) string {
	const deepest = 64
	_, below, ok := strings.Cut(target, "devices/")
	elements := strings.Split(below, "/")
	if !ok || len(elements) > deepest {
		return ""
	}
	functions := 0
	for i, e := range elements {
		if a := pci.InPath(e); len(a) == 1 {
			elements[i] = fmt.Sprintf("%02x.%d", a[0].Device(), a[0].Function())
			functions++
		} else if functions > 0 && strings.HasPrefix(e, "pci") && strings.Contains(e, ":") {
			elements[i] = "pci"
		}
	}
	return strings.Join(elements, "/")
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// screens adds what is wired or plugged into a display function.
func (r *identifier) screens(d *Device, v vector) {
	var panels, monitors set
	var panelFile, monitorFile string
	for _, node := range d.Display.Nodes {
		card, ok := strings.CutPrefix(node, "dev/dri/card")
		if _, err := strconv.ParseUint(card, 10, 32); !ok || err != nil {
			continue
		}
		for _, c := range d.Display.Connectors {
			name := "sys/class/drm/card" + card + "-" + c.Name + "/edid"
			data, err := fs.ReadFile(r.fsys, name)
			r.note(err)
			screen := screenName(data)
			switch {
			case screen == "":
			case c.Panel:
				panels.add(screen)
				panelFile = name
			default:
				monitors.add(c.Name + " " + screen)
				monitorFile = name
			}
		}
	}
	v.add(ByEDID, panels.String(), panelFile)
	v.add(ByMonitor, monitors.String(), monitorFile)
}

// screenName returns maker and model of a screen and a hash of the base block of its
// EDID (VESA E-EDID, section 3) without the serial number, which a scrubbed capture
// replaces in no form that shows. It is empty for what is no EDID.
func screenName(edid []byte) string {
	const header, size = "\x00\xff\xff\xff\xff\xff\xff\x00", 128
	if len(edid) < size || string(edid[:len(header)]) != header {
		return ""
	}
	b := slices.Clone(edid[:size])
	clear(b[12:16]) // ID serial number
	for at := 54; at+18 < size; at += 18 {
		if d := b[at : at+18]; d[0] == 0 && d[1] == 0 && d[3] == 0xff { // serial number as text
			clear(d[5:])
		}
	}
	b[127] = 0 // checksum
	id := binary.BigEndian.Uint16(b[8:])
	maker := make([]byte, 3)
	for i := range maker {
		maker[i] = '@' + byte(id>>(10-5*i)&0x1f)
	}
	sum := sha256.Sum256(b)
	return fmt.Sprintf("%s %04x sha256:%s", maker, binary.LittleEndian.Uint16(b[10:]), hex.EncodeToString(sum[:8]))
}
