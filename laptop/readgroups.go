package laptop

import (
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/project-independence/indy/audio"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
)

// ReadGroups reads of a machine what speaks for or against handing over the IOMMU groups
// of the given functions, and of other devices no more than that takes. The devices of
// those groups are as [Read] has them, but for their Parts, and so is what [Risks] says of
// them; other devices and groups may be missing. It is for whoever plans to hand over
// whole functions, and knows which.
//
// Where the judgement may depend on others, as of a graphics card, a USB controller, a
// radio that a keyboard may hang on and a function without a group, or where something
// cannot be read, the whole machine is read, with the error of Read.
func ReadGroups(fsys fs.FS, functions []pci.Address) (*Laptop, error) {
	p := partial{fsys: fsys, l: &Laptop{partial: true}, members: map[pci.Address]bool{}}
	if len(functions) > 0 && p.groups(functions) && p.unclaimed() && p.bare() && p.join() && p.judge() {
		return p.l, nil
	}
	return Read(fsys)
}

// partial is a part of a machine in the making. Each of its steps reports whether the part
// is as good as the whole so far.
type partial struct {
	fsys    fs.FS
	l       *Laptop
	members map[pci.Address]bool // of all the groups
	classes []ClassDevice        // that hang on them
}

// groups reads the members of the groups of functions. They are all there is if the
// kernel's lists and what each function says of itself agree.
func (p *partial) groups(functions []pci.Address) bool {
	for _, a := range functions {
		if p.members[a] {
			continue
		}
		f, err := pci.ReadFunction(p.fsys, a)
		if err != nil || !f.Group.IsValid() {
			return false
		}
		g := iommu.Group{ID: f.Group, Known: true}
		entries, err := fs.ReadDir(p.fsys, "sys/kernel/iommu_groups/"+g.ID.String()+"/devices")
		if err != nil {
			return false
		}
		for _, e := range entries {
			member, err := pci.ParseAddress(e.Name())
			if err != nil || member.String() != e.Name() {
				return false
			}
			m := f
			if member != a {
				if m, err = pci.ReadFunction(p.fsys, member); err != nil || m.Group != g.ID {
					return false
				}
			}
			p.members[member] = true
			g.Devices = append(g.Devices, member)
			p.l.Devices = append(p.l.Devices, Device{PCI: &m})
		}
		if !p.members[a] {
			return false
		}
		slices.SortFunc(g.Devices, pci.Address.Compare)
		p.l.Groups = append(p.l.Groups, g)
	}
	slices.SortFunc(p.l.Devices, func(a, b Device) int { return a.PCI.Address.Compare(b.PCI.Address) })
	slices.SortFunc(p.l.Groups, func(a, b iommu.Group) int { return a.ID.Compare(b.ID) })
	return true
}

// unclaimed reports whether no other function says that it is in one of the groups, which
// takes one link of each.
func (p *partial) unclaimed() bool {
	const dir = "sys/bus/pci/devices"
	entries, err := fs.ReadDir(p.fsys, dir)
	if err != nil {
		return false
	}
	near, prefix, done := hostfs.Near(p.fsys, dir)
	defer done()
	for _, e := range entries {
		if a, err := pci.ParseAddress(e.Name()); err == nil && p.members[a] {
			continue
		}
		name, err := hostfs.ReadLinkBase(near, prefix+e.Name()+"/iommu_group")
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil || slices.ContainsFunc(p.l.Groups, func(g iommu.Group) bool { return g.ID.String() == name }) {
			return false
		}
	}
	return true
}

// bare reports whether nothing hangs on the functions that changes hands with them: no USB
// device and none on neither bus, and nothing that may be a keyboard.
func (p *partial) bare() bool {
	entries, err := fs.ReadDir(p.fsys, "sys/bus/usb/devices")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	for _, e := range entries {
		if strings.Contains(e.Name(), ":") || strings.HasPrefix(e.Name(), "usb") {
			continue // an interface, or a root hub, which is part of its controller
		}
		if target, err := fs.ReadLink(p.fsys, "sys/bus/usb/devices/"+e.Name()); err != nil || p.below(target) {
			return false
		}
	}
	classes, err := readClasses(p.fsys)
	if err != nil {
		return false
	}
	for _, c := range classes {
		on := carrierOf(c.Path)
		switch {
		case on.port.IsValid() || !p.members[on.function]:
		case on.path != "", c.Class == "input" && numbered(c.Name, "input") && mayType(c.Path):
			return false
		default:
			p.classes = append(p.classes, c)
		}
	}
	return true
}

// below reports whether the innermost function in the target of a link is a member.
func (p *partial) below(target string) bool {
	functions := pci.InPath(target)
	return len(functions) > 0 && p.members[functions[len(functions)-1]]
}

// join gives the functions what the kernel made of them, and tells by it what they are.
func (p *partial) join() bool {
	cards, err := p.cards()
	if err != nil {
		return false
	}
	disks, err := readBlocks(p.fsys)
	if err != nil {
		return false
	}
	if p.l.host, err = readUses(p.fsys, disks); err != nil {
		return false
	}
	p.l.Uses, p.l.host.carriedKnown = p.l.host.uses, true // nothing is carried
	ours := &blocks{}
	for _, b := range disks.list {
		if slices.ContainsFunc(b.functions, func(a pci.Address) bool { return p.members[a] }) {
			ours.list = append(ours.list, b)
		}
	}
	if err := p.l.join(p.fsys, p.classes, cards, nil, ours); err != nil {
		return false
	}
	return !slices.ContainsFunc(p.l.Devices, func(d Device) bool {
		return d.PCI == nil || slices.ContainsFunc(d.Roles, func(r Role) bool { return r == GPU || r == USBController || r == Bluetooth })
	})
}

// cards returns the sound cards of the functions. Where there are none, that takes one link
// of each card.
func (p *partial) cards() ([]audio.Card, error) {
	entries, err := fs.ReadDir(p.fsys, "sys/class/sound")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	ours := false
	for _, e := range entries {
		if !numbered(e.Name(), "card") {
			continue
		}
		target, err := fs.ReadLink(p.fsys, "sys/class/sound/"+e.Name())
		if err != nil {
			return nil, err
		}
		ours = ours || p.below(target)
	}
	if !ours {
		return nil, nil
	}
	cards, err := audio.Cards(p.fsys)
	return slices.DeleteFunc(cards, func(c audio.Card) bool { return c.Port.IsValid() || !p.members[c.Function] }), err
}

// judge gives the functions their verdicts. Without any IOMMU unit it takes all groups to
// say what state the IOMMU is in.
func (p *partial) judge() bool {
	var err error
	p.l.IOMMU, err = iommu.ReadStatus(p.fsys, p.l.Groups)
	return err == nil && len(p.l.IOMMU.Units) > 0 && p.l.judge(p.fsys, p.l.host) == nil
}
