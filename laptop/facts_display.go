package laptop

import (
	"errors"
	"fmt"
	"strings"

	"github.com/project-independence/indy/gpu"
)

// display says what a display function is to the machine, and what is on its connectors.
func (f *facts) display(l *Laptop, d *Device) {
	if d.Display == nil {
		return
	}
	a := d.PCI.Address
	all, err := gpu.ReadFacts(f.fsys, functionsOf(l))
	if troubleOf(err) == failed { // what only root may read is unknown there
		f.errs = append(f.errs, err)
	}
	graphics := gpu.Hybrid(all)
	for _, g := range graphics.GPUs {
		if g.Function == a {
			f.conclusion("integrated", g.Integrated, d)
			f.conclusion("drives the panel", g.Panel, d)
			f.conclusion("boot display", g.Boot, d)
		}
	}
	if len(graphics.GPUs) > 1 || graphics.Wiring == gpu.MUX {
		f.because("wiring of the panel", wiringText(graphics.Wiring), graphics.Because, d)
	}
	if igd, ok := gpu.IntelIGD(*d.PCI); ok {
		f.add("Intel graphics", igdText(igd), d.source()+"/device")
	}
	if b := all.Framebuffer; b.Held == gpu.Yes && (b.Function == a || !b.Function.IsValid()) {
		f.because("firmware's framebuffer", "in use by the host", b.Because, d)
	}
	if r := d.Display.Render(); r != "" {
		f.add("render node", "/dev/dri/"+r, "sys/class/drm/"+r)
	}
	var empty []string
	for _, c := range d.Display.Connectors {
		if c.Status == gpu.Connected || c.Panel {
			f.connector(c)
		} else {
			empty = append(empty, c.Name+" "+c.Status.String())
		}
	}
	f.add("other connectors", list(empty), "sys/class/drm")
	f.rom(d)
	f.mediated(d)
}

// igdText says what it takes to hand integrated graphics over.
func igdText(g gpu.IGD) string {
	s := fmt.Sprintf("%s, generation %d", g.Platform, g.Generation)
	if g.OpRegion() {
		s += ", a guest needs its OpRegion for the panel"
	}
	if g.Legacy {
		s += ", may run its video BIOS in a guest of type pc"
	}
	if g.GVT {
		s += ", may be shared as mediated devices"
	}
	if g.VirtualFunctions {
		s += ", may have virtual functions"
	}
	return s
}

func (f *facts) conclusion(name string, c gpu.Conclusion, d *Device) {
	f.because(name, c.Answer.String(), c.Because, d)
}

// because makes a fact with its reasons, whose file is that of the first.
func (f *facts) because(name, value string, reasons []gpu.Reason, d *Device) {
	var why []string
	source := d.source()
	for i, r := range reasons {
		if i == 0 {
			source = r.File
		}
		why = append(why, r.Detail)
	}
	if len(why) > 0 {
		value += ": " + listBy(why, "; ")
	}
	f.add(name, value, source)
}

func wiringText(w gpu.Wiring) string {
	switch w {
	case gpu.NoPanel:
		return "no GPU has a built-in panel"
	case gpu.OneGPU:
		return "one GPU, and the panel is on it"
	case gpu.Muxless:
		return "the panel is on one GPU and cannot go to another (muxless)"
	case gpu.MUXPossible:
		return "several GPUs have wires to a panel; there may be a switch (MUX)"
	case gpu.MUX:
		return "the firmware can switch the panel (MUX)"
	}
	return "unknown"
}

// connector says what is on a connector. The screen is asked for what it says of itself
// only if the GPU is awake.
func (f *facts) connector(c gpu.Connector) {
	dir := "sys/class/drm/" + c.Card + "-" + c.Name
	s := c.Status.String()
	if c.Panel {
		s += ", the built-in panel"
	}
	if power, err := gpu.DPMS(f.fsys, c); f.ok(c.Name+" power", dir+"/dpms", err) && power != "" {
		s += ", " + strings.ToLower(power)
	}
	f.add(c.Name, s, dir+"/status")
	if f.awake && c.Status == gpu.Connected {
		e, err := gpu.ReadEDID(f.fsys, c)
		switch {
		case err == nil:
			f.add(c.Name+" screen", screenText(e), dir+"/edid")
			f.add(c.Name+" screen's mistakes", list(e.Problems), dir+"/edid")
		case errors.Is(err, gpu.ErrNoEDID):
			f.add(c.Name+" screen", "says nothing of itself", dir+"/edid")
		default:
			f.ok(c.Name+" screen", dir+"/edid", err)
		}
	}
	modes, err := gpu.Modes(f.fsys, c)
	if f.ok(c.Name+" modes", dir+"/modes", err) {
		if len(modes) > 6 {
			modes = append(modes[:6:6], fmt.Sprintf("and %d more", len(modes)-6))
		}
		f.add(c.Name+" modes", list(modes), dir+"/modes")
	}
}

// screenText says what a screen says of itself.
func screenText(e gpu.EDID) string {
	var s []string
	name := e.Name
	for i := 0; name == "" && i < len(e.Texts); i++ {
		name = e.Texts[i]
	}
	for i := 0; name == "" && i < len(e.DisplayID); i++ {
		name = e.DisplayID[i].Product.Name
	}
	s = append(s, strings.TrimSpace(e.Manufacturer+" "+or(name, fmt.Sprintf("%04x", e.Product))))
	if e.WidthCM > 0 && e.HeightCM > 0 {
		s = append(s, fmt.Sprintf("%d x %d cm", e.WidthCM, e.HeightCM))
	}
	if t, ok := e.Preferred(); ok {
		s = append(s, fmt.Sprintf("prefers %dx%d at %.0f Hz", t.Width, t.Height, t.Refresh()))
	}
	if e.Input.Interface != gpu.InterfaceUnknown {
		s = append(s, e.Input.Interface.String())
	}
	switch m := e.Made; {
	case m.Year != 0 && m.Model:
		s = append(s, fmt.Sprintf("model of %d", m.Year))
	case m.Year != 0 && m.Week != 0:
		s = append(s, fmt.Sprintf("made in week %d of %d", m.Week, m.Year))
	case m.Year != 0:
		s = append(s, fmt.Sprintf("made in %d", m.Year))
	}
	if e.SerialText != "" {
		s = append(s, "serial number "+e.SerialText)
	}
	return strings.Join(s, ", ")
}

// rom says which images an option ROM has, if somebody opened it or it was saved. It is
// not opened for that.
func (f *facts) rom(d *Device) {
	if !f.awake {
		return
	}
	file := d.source() + "/rom"
	data, err := gpu.ReadROM(f.fsys, d.PCI.Address)
	if errors.Is(err, errors.ErrUnsupported) || troubleOf(err) == closed {
		return // nobody opened it, which says nothing of what is in it
	}
	if !f.ok("option ROM images", file, err) {
		return
	}
	images, err := gpu.ParseROM(data)
	var s []string
	for _, i := range images {
		text := i.Code.String() + " " + sizeText(uint64(max(i.Size, 0)))
		if i.Vendor != d.PCI.Vendor || i.Device != d.PCI.Device {
			text += " for " + i.Vendor.String() + ":" + i.Device.String()
		}
		s = append(s, text)
	}
	if err != nil {
		s = append(s, "then broken: "+err.Error())
	}
	f.add("option ROM images", list(s), file)
}

// mediated says what virtual devices the driver can make of a GPU.
func (f *facts) mediated(d *Device) {
	dir := d.source() + "/mdev_supported_types"
	types, err := gpu.MediatedTypes(f.fsys, d.PCI.Address)
	f.ok("mediated devices", dir, err)
	var s []string
	for _, t := range types {
		text := t.ID
		if t.Name != "" {
			text += " (" + t.Name + ")"
		}
		if t.Available >= 0 {
			text += fmt.Sprintf(", %d more possible", t.Available)
		}
		s = append(s, text)
	}
	f.add("mediated devices", listBy(s, "; "), dir)
}
