package laptop

import (
	"errors"
	"io/fs"
	"slices"

	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

// suppose returns a copy of the laptop that can be changed and judged anew, with
// nothing in common with the first that judging or moving writes to.
func (l *Laptop) suppose() *Laptop {
	c := *l
	c.Devices = slices.Clone(l.Devices)
	for i := range c.Devices {
		d := &c.Devices[i]
		d.Verdict, d.Findings = "", nil
		if d.PCI != nil {
			f := *d.PCI
			d.PCI = &f
		}
		if d.USB != nil {
			u := *d.USB
			d.USB = &u
		}
	}
	c.Groups = slices.Clone(l.Groups)
	c.host.uses = slices.Clone(l.host.uses)
	c.Uses = c.host.uses
	return &c
}

// judgeAgain judges a laptop that was supposed, on a host as it would be. What is known
// of the host's needs is that of the laptop from which it was made, but for keyboards and
// pointers, which are devices of this one.
func (l *Laptop) judgeAgain(fsys fs.FS) error {
	l.host.seat = seat{}
	return errors.Join(l.host.readSeat(fsys, l, false), l.judge(fsys, l.host))
}

// regroup puts the functions of the machine into other groups. One that is as before, if
// it comes with its number, keeps that. Others get numbers that no group has: what the kernel would give
// them depends on the order in which it finds the functions. It returns of which groups
// of now those with new numbers have their members.
func (l *Laptop) regroup(groups []iommu.Group) (made map[iommu.GroupID][]iommu.GroupID) {
	next := uint32(0)
	old := make(map[iommu.GroupID]*iommu.Group, len(l.Groups))
	for i := range l.Groups {
		old[l.Groups[i].ID] = &l.Groups[i]
	}
	of := map[pci.Address]iommu.GroupID{}
	made = map[iommu.GroupID][]iommu.GroupID{}
	for i := range groups {
		g := &groups[i]
		if o := old[g.ID]; !g.ID.IsValid() || o == nil || !slices.Equal(o.Devices, g.Devices) {
			for old[pci.NewGroupID(next)] != nil {
				next++
			}
			g.ID = pci.NewGroupID(next)
			next++
			for _, a := range g.Devices {
				if d := l.Function(a); d != nil && d.Group().IsValid() && !slices.Contains(made[g.ID], d.Group()) {
					made[g.ID] = append(made[g.ID], d.Group())
				}
			}
		}
		for _, a := range g.Devices {
			of[a] = g.ID
		}
	}
	slices.SortFunc(groups, func(a, b iommu.Group) int { return a.ID.Compare(b.ID) })
	l.Groups = groups
	for i := range l.Devices {
		if f := l.Devices[i].PCI; f != nil {
			f.Group = of[f.Address]
		}
	}
	return made
}

// move plugs a USB device into a port of another controller. What the host needs it
// for is then reached through that controller and the bridges above it. The error is
// what could not be read of these.
func (l *Laptop) move(fsys fs.FS, p usb.PortPath, controller pci.Address) error {
	for i := range l.Devices {
		if d := &l.Devices[i]; d.USB != nil && d.USB.Path == p {
			d.USB.Controller = controller
		}
	}
	bridges, err := pci.Bridges(fsys, controller)
	for i := range l.host.uses {
		if u := &l.host.uses[i]; u.Port == p {
			u.Functions = append(slices.Clone(bridges), controller)
		}
	}
	return err
}
