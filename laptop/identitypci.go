package laptop

import (
	"fmt"
	"strings"

	"github.com/project-independence/indy/gpu"
	"github.com/project-independence/indy/pci"
)

// function adds what is known of a PCI function.
func (r *identifier) function(d *Device, v vector) {
	f, dir := d.PCI, d.source()
	v.add(ByTopology, r.place(f.Address), dir)
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

// place returns where a function is plugged in, empty when that is not known.
func (r *identifier) place(a pci.Address) string {
	name := a.String()
	s, ok := r.roots[name]
	if !ok {
		path, err := pci.ReadTopologyPath(r.fsys, a)
		r.note(err)
		if path.IsValid() {
			s = path.String()
		}
		r.roots[name] = s
	}
	return s
}

// screens adds what is wired or plugged into a display function, unless it sleeps:
// some drivers wake it for its screens.
func (r *identifier) screens(d *Device, v vector) {
	power, err := pci.PowerState(r.fsys, d.PCI.Address)
	r.note(err)
	if power != "D0" && power != "unknown" && power != "" {
		return
	}
	var panels, monitors set
	var panelFile, monitorFile string
	for _, c := range d.Display.Connectors {
		if c.Status == gpu.Disconnected {
			continue
		}
		e, err := gpu.ReadEDID(r.fsys, c)
		if err != nil {
			r.note(err)
			continue
		}
		file := "sys/class/drm/" + c.Card + "-" + c.Name + "/edid"
		if c.Panel {
			panels.add(screenName(e))
			panelFile = file
		} else {
			monitors.add(c.Name + " " + screenName(e))
			monitorFile = file
		}
	}
	v.add(ByEDID, panels.String(), panelFile)
	v.add(ByMonitor, monitors.String(), monitorFile)
}

// screenName returns what a screen says of itself: maker, product, when it was made,
// its names, and last SERIAL= and its serial number.
func screenName(e gpu.EDID) string {
	words := []string{or(e.Manufacturer, "???"), fmt.Sprintf("%04x", e.Product)}
	if e.Made.Year > 0 {
		words = append(words, fmt.Sprint(e.Made.Year))
	}
	if e.Made.Week > 0 && !e.Made.Model {
		words = append(words, fmt.Sprintf("week %d", e.Made.Week))
	}
	for _, s := range append([]string{e.Name}, e.Texts...) {
		if s != "" {
			words = append(words, s)
		}
	}
	name := strings.ReplaceAll(strings.Join(words, " "), screenSerial, " ")
	if s := screenUnit(e); s != "" {
		name += screenSerial + s
	}
	return line(strings.ReplaceAll(name, ",", " "))
}

const screenSerial = " SERIAL="

// screenUnit returns the serial number of a screen, empty when it states none or one
// that a scrubbed capture may have put in place of another: the text of one has twelve
// hexadecimal digits, the number the signs of four.
func screenUnit(e gpu.EDID) string {
	number := make([]byte, 4)
	for i := range number {
		number[i] = byte(e.Serial >> (8 * i))
	}
	text, n := e.SerialText, e.Serial
	scrubbed := len(text) == 12 && isHexDigits(text)
	switch {
	case text != "" && !scrubbed && !isPlaceholder(text):
		return text
	case scrubbed, n == 0, n == 0x01010101, isHexDigits(string(number)):
		return ""
	}
	return fmt.Sprintf("%08x", n)
}

func isHexDigits(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }
