package laptop

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/project-independence/indy/pci"
)

// An OptionKind names a kind of other way.
type OptionKind string

// The kinds.
const (
	WholeGroup      OptionKind = "whole-group"      // hand over all of the IOMMU group
	ViaController   OptionKind = "controller"       // hand over the USB controller on which the device hangs
	OtherController OptionKind = "other-controller" // plug it into a port of another USB controller, and hand over that
	VirtualFunction OptionKind = "virtual-function" // hand over a virtual function (SR-IOV), and keep the physical one
	OtherDevice     OptionKind = "other-device"     // hand over another device of the same role
	OtherSlot       OptionKind = "other-slot"       // plug the card into another slot
	Share           OptionKind = "share"            // give the guest what the device does, and keep the device
	DeviceAlone     OptionKind = "device-alone"     // hand over a USB device without its controller
)

// An Option is another way to what a person wants of a device that cannot go to a
// guest, or takes more along than it should.
type Option struct {
	Rank int        `json:"rank"` // from 1, the best way
	Kind OptionKind `json:"kind"`

	// Device is the id of the device that the guest gets, or shares: another than was
	// asked for where that is the way.
	Device string `json:"device"`

	// Available is false for what indy cannot do yet.
	Available bool `json:"available"`

	Detail   string `json:"detail"`   // what to do, in words
	Cost     string `json:"cost"`     // what the host loses besides; "nothing" too is said
	Evidence string `json:"evidence"` // the file that says so

	worth
}

// A worth is by what ways are compared: how sure one is, and how much is lost with it.
type worth struct{ certainty, lost int }

func (w worth) compare(v worth) int { return cmp.Or(w.certainty-v.certainty, w.lost-v.lost) }

// How sure it is that a way leads there.
const (
	sure       = iota // assignable, or with its group
	unsure            // what matters is not known
	impossible        // refused
)

func certainty(v Verdict) int {
	switch v {
	case Assignable, WithCompanions:
		return sure
	case Undecided:
		return unsure
	}
	return impossible
}

// Options returns other ways to what a person wants of the device d, the best first:
// what indy can do before what it cannot do yet, handing over before sharing, what is
// sure before what is not known, and what costs the host less before what costs it
// more. Nothing that is refused is among them, and no other device or controller that is
// worse than to hand over the one asked for. A function that can go to a guest by itself
// at no price has none, and neither has a bridge. A USB device that goes by itself has
// some: the guest has it through the host's controller, which is not the same.
//
// It reads of USB devices which ports are free, and of functions whether they can show
// virtual ones (sriov_totalvfs) and which slots there are. The error joins what of
// that could not be read; the options are then those that are known without.
func Options(fsys fs.FS, l *Laptop, d *Device) ([]Option, error) {
	costs := slices.ContainsFunc(d.Findings, func(f Finding) bool { return f.Severity == Warning })
	if d.USB == nil && d.Verdict == Assignable && !costs || d.PCI != nil && (d.PCI.IsBridge() || isPlatform(*d.PCI)) {
		return nil, nil
	}
	c := choices{fsys: fsys, d: d, surveyed: survey(l), own: worth{impossible, 0}}
	if own := c.function(); own != nil {
		c.own = c.worth(own, d)
	}
	switch {
	case d.USB != nil:
		c.controller()
		c.otherControllers()
	case d.PCI != nil:
		c.group()
		c.otherControllers()
		c.virtualFunctions()
		c.slots()
	}
	c.otherDevices()
	c.share()
	c.alone()
	slices.SortStableFunc(c.options, func(a, b Option) int {
		return cmp.Or(
			order(!a.Available)-order(!b.Available), order(a.Kind == Share)-order(b.Kind == Share),
			a.compare(b.worth),
		)
	})
	kinds := map[OptionKind]int{}
	c.options = slices.DeleteFunc(c.options, func(o Option) bool {
		kinds[o.Kind]++
		return kinds[o.Kind] > maxOfKind
	})
	for i := range c.options {
		o := &c.options[i]
		o.Rank = i + 1
		o.Detail, o.Cost, o.Evidence = oneLine(o.Detail), oneLine(o.Cost), oneLine(o.Evidence)
	}
	return c.options, errors.Join(c.errs...)
}

func order(last bool) int {
	if last {
		return 1
	}
	return 0
}

// How many options of one kind are named, and how many devices are looked at for them: a
// saved machine may hold thousands that are alike.
const (
	maxOfKind     = 8
	maxCandidates = 64
)

// A surveyed is a laptop and what hangs on each of its functions.
type surveyed struct {
	*Laptop
	carried map[pci.Address][]*Device
}

func survey(l *Laptop) surveyed {
	m := surveyed{l, map[pci.Address][]*Device{}}
	for i := range l.Devices {
		if a := l.Devices[i].Controller(); a.IsValid() {
			m.carried[a] = append(m.carried[a], &l.Devices[i])
		}
	}
	return m
}

// choices collects the options of one device.
type choices struct {
	surveyed
	fsys    fs.FS
	d       *Device
	own     worth // of handing over the device, or the controller on which it hangs
	options []Option
	errs    []error
}

// function is the function that changes hands when the device does, or nil.
func (c *choices) function() *Device {
	if c.d.PCI != nil {
		return c.d
	}
	return c.Function(c.d.Controller())
}

// worth is that of handing over target, a PCI function, for the sake of wanted.
func (m surveyed) worth(target, wanted *Device) worth {
	return worth{certainty(target.Verdict), len(m.lostWith(target, wanted))}
}

// offer adds an option that hands over target, a PCI function, with its group. The
// guest gets wanted, which is target or hangs on it: the host loses all the others.
func (c *choices) offer(o Option, m surveyed, target, wanted *Device) {
	o.worth = m.worth(target, wanted)
	if o.certainty == impossible || o.compare(c.own) > 0 {
		return
	}
	if o.certainty == unsure {
		o.Detail += "; whether it can go is not known (" + strings.Join(gaps(target), ", ") + ")"
	}
	o.Available, o.Cost = true, "the host loses nothing besides"
	if lost := m.lostWith(target, wanted); len(lost) > 0 {
		o.Cost = "the host loses " + devicesNamed(lost)
	}
	c.options = append(c.options, o)
}

// gaps are the codes of what is not known of a device.
func gaps(d *Device) []string {
	var codes []string
	for _, f := range d.Findings {
		if f.Severity == Gap && !slices.Contains(codes, string(f.Code)) {
			codes = append(codes, string(f.Code))
		}
	}
	return codes
}

// lostWith returns what the host loses when the function target is handed over with its
// group, without wanted: the endpoints of the group and what hangs on them.
func (m surveyed) lostWith(target, wanted *Device) []*Device {
	along := []pci.Address{target.PCI.Address}
	if g := m.Group(target.Group()); g != nil {
		along = m.Endpoints(g)
	}
	var lost []*Device
	for _, a := range along {
		// A controller is of no use without what hangs on it: with that it is one loss.
		if d := m.Function(a); d != nil && d.ID() != wanted.ID() && (d.ID() != target.ID() || wanted.USB == nil) {
			lost = append(lost, d)
		}
		for _, d := range m.carried[a] {
			if d.ID() != wanted.ID() {
				lost = append(lost, d)
			}
		}
	}
	return lost
}

// Along returns what changes hands together with the device: of a function the other
// functions of its IOMMU group that do not stay with the host, and what hangs on all of
// them; of any other device the same of its controller, which comes first. A bridge takes
// nothing along. What the host itself needs of that is in the findings.
func (l *Laptop) Along(d *Device) []*Device {
	c := choices{d: d, surveyed: survey(l)}
	f := c.function()
	if f == nil || f.PCI.IsBridge() || isPlatform(*f.PCI) {
		return nil
	}
	var along []*Device
	if f.ID() != d.ID() {
		along = append(along, f)
	}
	for _, o := range c.lostWith(f, d) {
		if o.ID() != f.ID() {
			along = append(along, o)
		}
	}
	return along
}

// devicesNamed names devices to a person.
func devicesNamed(devices []*Device) string {
	names := make([]string, 0, min(len(devices), maxNamed))
	for _, d := range devices[:cap(names)] {
		names = append(names, d.Where()+" ("+string(d.Role())+")")
	}
	return some(names, len(devices))
}

// group hands over the whole of a group.
func (c *choices) group() {
	if c.d.Verdict != WithCompanions {
		return
	}
	c.offer(Option{
		Kind: WholeGroup, Device: c.d.ID(), Evidence: "/sys/kernel/iommu_groups/" + c.d.Group().String() + "/devices",
		Detail: "hand over the whole IOMMU group " + c.d.Group().String() + ": indy assign --with-companions " + c.d.Where(),
	}, c.surveyed, c.d, c.d)
}

// otherDevices hands over another device of the role the person asked for. What is only
// a part of another thing, as the sound of a graphics card, is none to ask for.
func (c *choices) otherDevices() {
	switch c.d.Role() {
	case USBController, System, BridgeRole, USBDevice, Input:
		return
	}
	looked := 0
	for i := range c.Devices {
		o := &c.Devices[i]
		if looked == maxCandidates {
			break
		}
		if o.Role() != c.d.Role() || isDisk(o) != isDisk(c.d) || o.ID() == c.d.ID() || o.PartOf != "" || o.Other != nil {
			continue
		}
		target := o
		if o.USB != nil {
			target = c.Function(o.USB.Controller)
		}
		offered := slices.ContainsFunc(c.options, func(p Option) bool { return p.Kind == VirtualFunction && p.Device == o.ID() })
		if target == nil || c.tied(target) || offered {
			continue
		}
		looked++
		option := Option{Kind: OtherDevice, Device: o.ID(), Evidence: evidence(target.PCI.Address, "iommu_group")}
		option.Detail = fmt.Sprintf("use %s (%s) instead", o.Where(), o.Role())
		if o.USB != nil {
			option.Detail += ", with its USB controller " + target.Where()
			option.Evidence = "/sys/bus/usb/devices/" + o.Where()
		}
		c.offer(option, c.surveyed, target, o)
	}
}

// isDisk tells a disk from a card reader, which is storage, too.
func isDisk(d *Device) bool {
	return d.Role() == Storage && (d.PCI == nil || d.PCI.Class.Base() == 0x01)
}

// tied reports whether a function changes hands with the device, so that it is no
// other way.
func (c *choices) tied(f *Device) bool {
	own := c.function()
	return own != nil && (own.ID() == f.ID() || own.Group().IsValid() && own.Group() == f.Group())
}

// virtualFunctions hands over a virtual function instead of the physical one.
func (c *choices) virtualFunctions() {
	d := c.d
	a := d.PCI.Address
	total, err := totalVirtual(c.fsys, a)
	if err != nil {
		c.errs = append(c.errs, err)
	}
	if total == 0 || !d.Group().IsValid() || !c.isolates(d) {
		return
	}
	enabled, err := pci.VirtualFunctions(c.fsys, a)
	if err != nil {
		c.errs = append(c.errs, err)
	}
	for _, v := range enabled {
		if vf := c.Function(v); vf != nil {
			c.offer(Option{
				Kind: VirtualFunction, Device: vf.ID(), Evidence: evidence(a, "sriov_numvfs"),
				Detail: fmt.Sprintf("hand over %s, a virtual function of %s, which stays with the host", vf.Where(), a),
			}, c.surveyed, vf, vf)
		}
	}
	if len(enabled) > 0 || err != nil {
		return // the number cannot be changed while some are there
	}
	c.options = append(c.options, Option{
		Kind: VirtualFunction, Device: d.ID(), Available: true, worth: worth{certainty: unsure}, Evidence: evidence(a, "sriov_totalvfs"),
		Detail: fmt.Sprintf("%s can show up to %d virtual functions and stay with the host: indy assign %s --vfs NUMBER makes them and hands them over, "+
			"if they come into groups of their own, which shows only then", a, total, a),
		Cost: "the host shares the device with the guest",
	})
}

// isolates reports whether nothing speaks against the IOMMU for a device: no virtual
// function is better off than the physical one then.
func (c *choices) isolates(d *Device) bool {
	return !slices.ContainsFunc(d.Findings, func(f Finding) bool {
		switch f.Code {
		case NoIOMMU, NoGroup, NoIOMMUMode, NoRemapping:
			return true
		}
		return false
	})
}
