package laptop

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/project-independence/indy/pci"
)

// function says what the kernel states of a PCI function, and the function of itself.
func (f *facts) function(l *Laptop, d *Device) {
	p := d.PCI
	a, dir := p.Address, d.source()
	f.in(SectionIdentity).add("class", p.Class.String(), dir+"/uevent")
	ids := p.Vendor.String() + ":" + p.Device.String()
	if p.SubsystemVendor.Known() {
		ids += ", subsystem " + p.SubsystemVendor.String() + ":" + p.SubsystemDevice.String()
	}
	f.add("ids", ids, dir+"/uevent")
	if r, err := pci.Revision(f.fsys, a); f.ok("revision", dir+"/revision", err) {
		f.add("revision", fmt.Sprintf("%02x", r), dir+"/revision")
	}
	f.functionPlace(a, dir)

	f.in(SectionDriver).add("driver", or(p.Driver, "none"), dir+"/driver")
	if s, err := pci.DriverOverride(f.fsys, a); f.ok("driver override", dir+"/driver_override", err) {
		f.add("driver override", s, dir+"/driver_override")
	}
	group := p.Group.String()
	if !p.Group.IsValid() && l.IOMMU.Unstated {
		group = "not stated"
	}
	f.add("IOMMU group", group, dir+"/iommu_group")
	f.group(p.Group)
	methods, err := pci.ResetMethods(f.fsys, a)
	if f.ok("reset methods", dir+"/reset_method", err) || errors.Is(err, fs.ErrNotExist) {
		f.add("reset methods", or(strings.Join(methods, " "), "none stated"), dir+"/reset_method")
	}

	f.functionPower(a, dir)
	f.ranges(a, dir)
	f.config(a, dir)
	f.functionTies(l, d)
	for _, c := range l.Carried(a) {
		f.add("carries", c.ID()+", "+roleNames(c.Roles), c.source())
	}
	for _, u := range l.Uses {
		if slices.Contains(u.Functions, a) {
			source, _, _ := strings.Cut(u.Evidence, ", ")
			f.add("the host's", u.What, source)
		}
	}
}

// functionPlace says where a function is plugged in.
func (f *facts) functionPlace(a pci.Address, dir string) {
	f.in(SectionPlace)
	if p, err := pci.ReadTopologyPath(f.fsys, a); f.ok("plugged in at", dir, err) {
		f.add("plugged in at", p.String(), dir)
	}
	if above, err := pci.Bridges(f.fsys, a); f.ok("behind", dir, err) {
		f.add("behind", addresses(above), dir)
	}
	f.text("removable", dir+"/removable")
}

// functionPower says how a function is powered and linked, and finds out whether it can
// be asked for more.
func (f *facts) functionPower(a pci.Address, dir string) {
	f.in(SectionPower)
	power, err := pci.PowerState(f.fsys, a)
	stated := f.ok("power", dir+"/power_state", err)
	f.add("power", power, dir+"/power_state")
	status, err := pci.RuntimeStatus(f.fsys, a)
	if f.ok("runtime power", dir+"/power/runtime_status", err) {
		s := status
		if control := f.read("runtime power control", dir+"/power/control"); control == "on" {
			s += ", never suspended"
		} else if control == "auto" {
			s += ", suspended when idle"
		}
		f.add("runtime power", s, dir+"/power/runtime_status")
	}
	if ok, err := pci.D3coldAllowed(f.fsys, a); f.ok("D3cold allowed", dir+"/d3cold_allowed", err) {
		f.add("D3cold allowed", yesNo(ok), dir+"/d3cold_allowed")
	}
	// A saved machine may state neither. The kernel says unknown of a function that it
	// has not yet put into any state.
	f.awake = f.wake || power == "D0" || (!stated || power == "unknown") && status != "suspended" &&
		(err == nil || troubleOf(err) < closed)
	if f.awake {
		f.link(a, dir)
	}
}

// link says how fast the function's PCI Express link is, and how fast it could be.
func (f *facts) link(a pci.Address, dir string) {
	l, err := pci.Link(f.fsys, a)
	f.ok("link", dir+"/current_link_speed", err)
	f.add("link", linkText(l), dir+"/current_link_speed")
}

// linkText is empty for a link whose state is not known.
func linkText(l pci.LinkState) string {
	if l.Speed == 0 || l.Width == 0 {
		return ""
	}
	s := laneText(l.Speed, l.Width)
	if l.MaxSpeed != 0 && l.MaxWidth != 0 && (l.MaxSpeed != l.Speed || l.MaxWidth != l.Width) {
		s += ", at most " + laneText(l.MaxSpeed, l.MaxWidth)
	}
	return s
}

func laneText(s pci.LinkSpeed, width int) string {
	return strings.Replace(s.String(), "GT/s", " GT/s", 1) + " x" + strconv.Itoa(width)
}

// ranges says which addresses a function answers to, from the file resource.
func (f *facts) ranges(a pci.Address, dir string) {
	f.in(SectionAbilities)
	all, err := pci.Resources(f.fsys, a)
	f.ok("BARs", dir+"/resource", err)
	f.rangesOf(all, dir+"/resource")
}

// rangesOf makes a fact for each kind of range.
func (f *facts) rangesOf(all []pci.BAR, source string) {
	of := map[pci.BARKind][]string{}
	for _, b := range all {
		of[b.Kind] = append(of[b.Kind], barText(b))
	}
	f.add("BARs", list(of[pci.KindBAR]), source)
	f.add("BARs of virtual functions", list(of[pci.KindVFBAR]), source)
	f.add("windows", list(of[pci.KindWindow]), source)
	f.add("option ROM", list(of[pci.KindROM]), source)
}

// barText says of a range which it is, how large, of what kind and where.
func barText(b pci.BAR) string {
	var s []string
	if b.Kind == pci.KindBAR || b.Kind == pci.KindVFBAR {
		s = append(s, fmt.Sprintf("BAR %d:", b.Index))
	}
	if b.Size != 0 {
		s = append(s, sizeText(b.Size))
	}
	switch {
	case b.Kind == pci.KindROM:
	case b.Space == pci.SpaceIO:
		s = append(s, "I/O")
	case b.Prefetchable:
		s = append(s, "prefetchable memory")
	default:
		s = append(s, "memory")
	}
	switch {
	case b.Unassigned && b.Kind == pci.KindWindow:
		s = append(s, "closed")
	case b.Unassigned:
		s = append(s, "without an address")
	case b.Shadow:
		s = append(s, fmt.Sprintf("at %x, the firmware's copy", b.Start))
	default:
		s = append(s, fmt.Sprintf("at %x", b.Start))
	}
	if b.Disabled {
		s = append(s, "(off)")
	}
	return strings.Join(s, " ")
}

// sizeText is a size in the largest unit that fits without a rest.
func sizeText(n uint64) string {
	units := [...]string{"bytes", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for n != 0 && n%1024 == 0 && i < len(units)-1 {
		n, i = n/1024, i+1
	}
	return strconv.FormatUint(n, 10) + " " + units[i]
}

// functionTies says what belongs with a function.
func (f *facts) functionTies(l *Laptop, d *Device) {
	f.in(SectionTies)
	a, dir := d.PCI.Address, d.source()
	relations, err := pci.ReadRelations(f.fsys, a)
	f.ok("suppliers", dir, err)
	if relations.Physical.IsValid() {
		f.add("virtual function of", relations.Physical.String(), dir+"/physfn")
	}
	f.add("virtual functions", list(texts(relations.Virtual)), dir)
	f.add("suppliers", list(texts(relations.Suppliers)), dir)
	f.add("consumers", list(texts(relations.Consumers)), dir)
	with, err := pci.ReadCompanions(f.fsys, a, functionsOf(l))
	f.ok("companions", dir, err)
	var companions []string
	for _, c := range with {
		s := c.Function.Address.String()
		if c.Why == pci.SameSlot {
			s += " in the same slot"
		} else {
			s += ", its " + c.Why.String()
		}
		companions = append(companions, s)
	}
	f.add("companions", list(companions), dir)
}

func functionsOf(l *Laptop) []pci.Function {
	var all []pci.Function
	for i := range l.Devices {
		if p := l.Devices[i].PCI; p != nil {
			all = append(all, *p)
		}
	}
	return all
}

// productData reads VPD, which takes long and wakes the device.
func (f *facts) productData(a pci.Address, dir string) {
	f.in(SectionIdentity)
	v, err := pci.ReadVPD(f.fsys, a)
	if errors.Is(err, pci.ErrMalformed) {
		f.add("product data", "broken: "+errors.Unwrap(err).Error(), dir+"/vpd")
	} else if !f.ok("product data", dir+"/vpd", err) {
		return
	}
	var s []string
	if v.Identifier != "" {
		s = append(s, v.Identifier)
	}
	for _, field := range slices.Concat(v.ReadOnly, v.ReadWrite) {
		s = append(s, field.Keyword+" "+field.Value)
	}
	f.add("product data", list(s), dir+"/vpd")
}
