package laptop

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/project-independence/indy/internal/plain"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
)

// judge gives each device its verdict. What speaks against a function speaks
// against its whole group, because the group changes hands as one. The error joins what
// could not be read of the groups.
func (l *Laptop) judge(fsys fs.FS, host hostUses) error {
	var errs []error
	needs := newNeeds(l, host)
	own := make([][]Finding, len(l.Devices))
	byAddress := make(map[pci.Address][]Finding, len(l.Devices))
	for i := range l.Devices {
		d := &l.Devices[i]
		own[i] = needs.of(d)
		if d.PCI != nil && !StaysWithHost(*d.PCI) {
			if f, ok := denied(fsys, *d.PCI); ok {
				own[i] = append(own[i], f)
			}
			byAddress[d.PCI.Address] = own[i]
		}
		clean(own[i])
	}
	k, err := readKernel(fsys, l.IOMMU.InterruptRemapping, false)
	if err != nil {
		errs = append(errs, err)
	}
	all := &grouping{fsys: fsys, own: byAddress, kernel: k, resets: newResets(fsys, l)}
	groups := make(map[iommu.GroupID]*judged, len(l.Groups))
	listing := map[pci.Address]iommu.GroupID{}
	for i := range l.Groups {
		for _, a := range l.Groups[i].Devices {
			listing[a] = l.Groups[i].ID
		}
		j, err := l.judgeGroup(all, &l.Groups[i])
		groups[j.id] = j
		if err != nil {
			errs = append(errs, err)
		}
	}
	for i := range l.Devices {
		d := &l.Devices[i]
		switch {
		case d.USB != nil:
			d.Findings = append(own[i], l.usbAlone(d))
		case d.Other != nil:
			d.Findings = []Finding{hostOnly(d)}
			clean(d.Findings)
		case d.PCI.IsBridge() || isPlatform(*d.PCI):
			detail := "a bridge stays with the host; the devices behind it go without it"
			if !StaysWithHost(*d.PCI) {
				detail = "the board's own bridge is of no use to a guest; it is bound to vfio-pci, unused, when its group goes"
			}
			d.Findings = []Finding{{
				Code: Bridge, Severity: Block, Device: d.ID(), Detail: detail,
				Evidence: evidence(d.PCI.Address, "class"),
			}}
		case groups[d.PCI.Group] != nil:
			d.Findings = groups[d.PCI.Group].findingsOf(d, byAddress[d.PCI.Address])
		default:
			d.Findings = append([]Finding{l.noGroup(d, listing[d.PCI.Address])}, own[i]...)
		}
		d.Verdict = verdict(d.Findings)
	}
	return errors.Join(errs...)
}

// clean makes one line of each text: a finding about a group is in that of each member,
// and is cleaned once. What is made of nothing but addresses and numbers needs none.
func clean(findings []Finding) {
	for i := range findings {
		f := &findings[i]
		f.Detail, f.Evidence = oneLine(f.Detail), oneLine(f.Evidence)
	}
}

// verdict is the gravest thing the findings say.
func verdict(findings []Finding) Verdict {
	v := Assignable
	for _, f := range findings {
		switch {
		case f.Severity == Block:
			return Refused
		case f.Severity == Gap:
			v = Undecided
		case f.Code == HostOnly && v == Assignable:
			v = ShareOnly
		case f.Code == Companions && v == Assignable:
			v = WithCompanions
		}
	}
	return v
}

// A judged is what one group means for each endpoint in it.
type judged struct {
	endpoints []pci.Address
	group     []Finding // about the group as a whole; each endpoint puts in its id
	members   []Finding // about the endpoints
	evidence  string
	id        iommu.GroupID
}

// maxMemberFindings is how many findings about the members of a group each of them
// repeats. Above it only those of a new code are, so that no reason is lost and a
// group of thousands stays readable.
const maxMemberFindings = 64

// A grouping is what all groups are judged by.
type grouping struct {
	fsys   fs.FS
	own    map[pci.Address][]Finding // about each endpoint; the judge adds what it finds
	kernel kernel
	resets *resets
}

func (l *Laptop) judgeGroup(by *grouping, g *iommu.Group) (*judged, error) {
	j := &judged{
		endpoints: l.Endpoints(g), id: g.ID,
		evidence: "/sys/kernel/iommu_groups/" + g.ID.String() + "/devices",
	}
	add := func(f Finding) { j.group = append(j.group, f) }
	var errs []error
	without, err := iommu.No, error(nil)
	if l.mayBeNoIOMMU(g) {
		without, err = iommu.NoIOMMU(by.fsys, g.ID)
	}
	if err != nil {
		errs = append(errs, err)
		add(Finding{
			Code: GroupUnknown, Severity: Gap, Evidence: "/sys/kernel/iommu_groups/" + g.ID.String() + "/name",
			Detail: "whether group " + g.ID.String() + " is VFIO's no-IOMMU mode could not be read",
			Remedy: lookAgain,
		})
	}
	if without == iommu.Yes {
		add(Finding{
			Code: NoIOMMUMode, Severity: Block, Evidence: "/sys/kernel/iommu_groups/" + g.ID.String() + "/name",
			Detail: "group " + g.ID.String() + " is VFIO's no-IOMMU mode: nothing keeps the device out of the host's memory",
			Remedy: "enable the IOMMU in the firmware and unload vfio's enable_unsafe_noiommu_mode",
		})
	}
	for _, f := range by.kernel.ofGroup(l.IOMMU.InterruptRemapping) {
		add(f)
	}
	reserved, err := reservedFor(by.fsys, g, j.endpoints)
	if err != nil {
		errs = append(errs, err)
	}
	for _, f := range reserved {
		add(f)
	}
	if !g.Known {
		add(Finding{
			Code: GroupUnknown, Severity: Gap, Evidence: j.evidence,
			Detail: "not all members of group " + g.ID.String() + " are known",
			Remedy: lookAgain,
		})
	}
	if len(g.Others) > 0 {
		add(Finding{
			Code: GroupOthers, Severity: Gap, Evidence: j.evidence,
			Detail: "group " + g.ID.String() + " has members on no PCI bus: " + some(g.Others, len(g.Others)),
		})
	}
	seen := map[Code]bool{}
	member := func(f Finding) {
		if len(j.members) < maxMemberFindings || !seen[f.Code] {
			j.members = append(j.members, f)
			seen[f.Code] = true
		}
	}
	if len(j.endpoints) > 0 {
		for _, f := range l.staying(g) {
			member(f)
		}
	}
	clean(j.group)
	for _, a := range j.endpoints {
		for _, f := range by.own[a] {
			member(f)
		}
	}
	if verdict(slices.Concat(j.group, j.members)) == Refused {
		return j, errors.Join(errs...) // and what it costs to read would change nothing
	}
	for _, a := range j.endpoints {
		d := l.Function(a)
		if d == nil || isPlatform(*d.PCI) {
			continue
		}
		if f, ok := isBridge(by.fsys, *d.PCI); ok {
			by.own[a] = append(by.own[a], f) // and no matter to the others: it stays
			continue
		}
		found := func(f Finding) {
			f.Device = d.ID()
			by.own[a] = append(by.own[a], f)
			member(f)
		}
		virtual, ok, err := l.virtualInUse(by.fsys, *d.PCI)
		if err != nil {
			errs = append(errs, err)
		}
		if ok {
			found(virtual)
		}
		f, ok, err := by.resets.finding(*d.PCI, j.endpoints, false)
		if err != nil {
			errs = append(errs, err)
		}
		if ok {
			found(f)
		}
	}
	return j, errors.Join(errs...)
}

// mayBeNoIOMMU is false where there is no need to look: VFIO makes such a group
// for a function that it drives and that has no other.
func (l *Laptop) mayBeNoIOMMU(g *iommu.Group) bool {
	if len(l.IOMMU.Units) == 0 {
		return true
	}
	for _, a := range g.Devices {
		if d := l.Function(a); d != nil && strings.Contains(d.PCI.Driver, "vfio") {
			return true
		}
	}
	return false
}

// findingsOf returns what the group means for its endpoint d: what is about d
// itself comes before what is about the others.
func (j *judged) findingsOf(d *Device, own []Finding) []Finding {
	var findings []Finding
	for _, f := range j.group {
		f.Device = d.ID()
		findings = append(findings, f)
	}
	findings = append(findings, own...)
	for _, f := range j.members {
		if f.Device != d.ID() {
			findings = append(findings, f)
		}
	}
	if len(j.endpoints) < 2 {
		return findings
	}
	var companions []string
	for _, a := range j.endpoints {
		if a != d.PCI.Address {
			companions = append(companions, a.String())
		}
		if len(companions) == maxNamed {
			break
		}
	}
	return append(findings, Finding{
		Code: Companions, Severity: Info, Device: d.ID(), Evidence: j.evidence,
		Detail: fmt.Sprintf("group %s changes hands as one, with %s", j.id, some(companions, len(j.endpoints)-1)),
		Remedy: "add --with-companions to hand over the whole group",
	})
}

// noGroup is about a function that names no group; listing is the one that lists it
// all the same, if any.
func (l *Laptop) noGroup(d *Device, listing iommu.GroupID) Finding {
	if listing.IsValid() {
		return Finding{
			Code: GroupUnknown, Severity: Gap, Device: d.ID(),
			Detail:   "group " + listing.String() + " lists the function, which itself says nothing of a group",
			Evidence: evidence(d.PCI.Address, "iommu_group"),
			Remedy:   lookAgain,
		}
	}
	if l.IOMMU.Enabled {
		return Finding{
			Code: NoGroup, Severity: Block, Device: d.ID(),
			Detail:   "the function is in no IOMMU group: no IOMMU stands between it and the host's memory",
			Evidence: evidence(d.PCI.Address, "iommu_group"),
		}
	}
	if l.IOMMU.Unstated {
		return Finding{
			Code: GroupUnknown, Severity: Gap, Device: d.ID(),
			Detail:   "which IOMMU groups there are, or that there are none, is not stated",
			Evidence: "/sys/kernel/iommu_groups",
			Remedy:   lookAgain,
		}
	}
	return Finding{
		Code: NoIOMMU, Severity: Block, Device: d.ID(),
		Detail:   "the kernel made no IOMMU groups: a guest's device could read and write all of the host's memory",
		Evidence: "/sys/kernel/iommu_groups",
		Remedy:   "enable VT-d (Intel) or AMD-Vi/IOMMU (AMD) in the firmware; on Intel also boot with intel_iommu=on",
	}
}

// usbAlone says how a USB device goes, which is in no group of its own.
func (l *Laptop) usbAlone(d *Device) Finding {
	f := Finding{
		Code: USBAlone, Severity: Info, Device: d.ID(), Evidence: "/sys/bus/usb/devices/" + d.USB.Path.String(),
		Detail: "it goes by itself, through its node in /dev/bus/usb",
	}
	if c := d.USB.Controller; c.IsValid() {
		f.Detail += ", or where its controller " + c.String() + " goes"
		f.Remedy = "see indy why " + c.String()
	}
	return f
}

func hostOnly(d *Device) Finding {
	f := Finding{
		Code: HostOnly, Severity: Info, Device: d.ID(), Evidence: "/sys/devices/" + d.Other.Path,
		Detail: d.Where() + " is on no bus that can be handed over; the host shares it",
	}
	if c := d.Other.Controller; c.IsValid() {
		f.Detail += ". It hangs on " + c.String() + ", and the host loses it with that"
		f.Remedy = "see indy why " + c.String()
	}
	return f
}

// carries says what the host loses along with a function, because it hangs on it.
func carries(a pci.Address, carried []*Device) Finding {
	names := make([]string, 0, min(len(carried), maxNamed))
	for _, d := range carried[:min(len(carried), maxNamed)] {
		names = append(names, d.Where()+" ("+string(d.Role())+")")
	}
	return Finding{
		Code: Carries, Severity: Warning, Device: "pci:" + a.String(), Evidence: "/sys/bus/pci/devices/" + a.String(),
		Detail: a.String() + " carries " + some(names, len(carried)) + ", which the host loses with it",
	}
}

// maxNamed is how many members of a list are named to a person.
const maxNamed = 32

// some joins the first of so many names.
func some(names []string, count int) string {
	names = names[:min(len(names), maxNamed)]
	s := strings.Join(names, ", ")
	if more := count - len(names); more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	return s
}

// oneLine makes one bounded line of printable text of what may come from a saved
// machine or from whoever chose the name of a mount point.
func oneLine(s string) string {
	const most = 2048
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return plain.Printable(s)
}

func evidence(a pci.Address, attribute string) string {
	return "/sys/bus/pci/devices/" + a.String() + "/" + attribute
}
