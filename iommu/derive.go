package iommu

import (
	"maps"
	"slices"

	"github.com/project-independence/indy/pci"
)

// A DerivedGroup is an IOMMU group as the kernel's rules make it of the facts.
type DerivedGroup struct {
	// Devices are its functions, in the order of their addresses.
	Devices []pci.Address
	// Joins say why each is in the group but the one it began with: a tree of links.
	Joins []Join
	// Unknown is what was not readable and could put more functions into the group. The
	// group has at least Devices.
	Unknown []Unread
}

// An Unread is a link between two functions that may be or not: what would tell was not
// readable.
type Unread struct {
	// Device may be in the group of With. A zero With is any other: it is not known where
	// Device is plugged in.
	Device, With pci.Address
	At           pci.Address // the function of which something was not readable
	Err          error       // why
}

// Derive returns the groups that Linux makes of the functions, in the order of their first
// function: the rules of pci_device_group in Linux 6.12 (drivers/iommu/iommu.c), one
// function after the other, bridges first. Every function is in one group, also those that
// the kernel's IOMMU does not translate. An alias that only the table IVRS of the firmware
// states is not known here. Other kernels may decide otherwise: [Compare] says where.
func (t *Topology) Derive() []DerivedGroup {
	d := derivation{Topology: t, group: make(map[pci.Address]int, len(t.order))}
	for _, n := range t.order {
		d.place(n)
	}
	return d.finish()
}

// A derivation is the groups so far.
type derivation struct {
	*Topology
	group  map[pci.Address]int // index into groups
	groups []DerivedGroup
	unread []Unread
}

// has reports whether a function is in a group already, as those above are.
func (d *derivation) has(a pci.Address) bool {
	_, ok := d.group[a]
	return ok
}

// place puts a function into the group it must be in, or into one of its own.
func (d *derivation) place(n *node) {
	join, ok := d.find(n)
	if !ok {
		d.group[n.Address] = len(d.groups)
		d.groups = append(d.groups, DerivedGroup{Devices: []pci.Address{n.Address}})
		return
	}
	join.Device = n.Address
	g := d.group[join.With]
	d.group[n.Address] = g
	d.groups[g].Devices = append(d.groups[g].Devices, n.Address)
	d.groups[g].Joins = append(d.groups[g].Joins, join)
}

func (d *derivation) doubt(n *node, with, at pci.Address, err error) {
	d.unread = append(d.unread, Unread{n.Address, with, at, err})
}

// find returns the first link to a group that the kernel would find.
func (d *derivation) find(n *node) (Join, bool) {
	if n.pathErr != nil {
		d.doubt(n, pci.Address{}, n.Address, n.pathErr)
	}
	if d.has(n.real) {
		return Join{With: n.real, Reason: RealDMADevice, At: n.real, What: d.nodes[n.real].what()}, true
	}
	if n.real.IsValid() {
		d.doubt(n, n.real, n.real, errNoBridge)
	}
	if join, ok := d.conventional(n); ok {
		return join, true
	}
	top := n
	for i := len(n.above) - 1; i >= 0; i-- {
		b := n.above[i]
		got, at, where := d.path(n.above[:i+1])
		if got.ok == Unknown {
			d.doubt(n, b, where, got.err) // and what is further up changes nothing for sure
		}
		if got.ok != No {
			break
		}
		if d.has(b) {
			return Join{With: b, Reason: MissingACS, At: where, What: at.what(), Missing: got.missing, HasACS: got.hasACS, Quirk: got.quirk}, true
		}
		if d.nodes[b] == nil {
			break
		}
		top = d.nodes[b]
	}
	seen := map[pci.Address]bool{}
	if join, ok := d.aliased(top, seen); ok {
		return join, true
	}
	return d.besides(n, top, seen)
}

// conventional looks for a bridge that sends what comes from behind under a number of its
// own (pci_for_each_dma_alias).
func (d *derivation) conventional(n *node) (Join, bool) {
	for _, b := range slices.Backward(n.above) {
		up := d.nodes[b]
		if up == nil {
			d.doubt(n, b, b, errNoBridge)
			continue
		}
		switch up.caps.pcie {
		case Unknown:
			d.doubt(n, b, b, up.caps.err)
			continue
		case Yes:
			if up.caps.port != pci.PortToConventional && up.caps.port != pci.PortFromConventional {
				continue
			}
		}
		if d.has(b) {
			return Join{With: b, Reason: PCIBridge, At: b, What: up.what(), Missing: pci.ACSIsolation}, true
		}
	}
	return Join{}, false
}

// aliased looks for a group among those of the same bus that send under the number of a
// function, or it under theirs (get_pci_alias_group). What was seen is not looked at again.
func (d *derivation) aliased(n *node, seen map[pci.Address]bool) (Join, bool) {
	for _, other := range d.aliasing[busOf(n.Address)] {
		for _, a := range other.aliases() {
			link := Join{Reason: DMAAlias, At: other.Address, Quirk: a.quirk}
			with := other
			switch {
			case a.of == n.Address:
				link.With = other.Address
			case other == n:
				if with = d.nodes[a.of]; with == nil {
					continue // nobody is there
				}
				link.With = a.of
			default:
				continue
			}
			if d.has(link.With) {
				link.What = other.what()
				return link, true
			}
			if seen[with.Address] {
				continue
			}
			seen[with.Address] = true
			if join, ok := d.aliased(with, seen); ok {
				return join, true
			}
			if join, ok := d.besides(with, with, seen); ok {
				return join, true
			}
		}
	}
	return Join{}, false
}

// besides looks for a group among the other functions of the same device, when none of
// both keeps them apart (get_pci_function_alias_group). It is for n, to which top may be
// the uppermost bridge that does not isolate.
func (d *derivation) besides(n, top *node, seen map[pci.Address]bool) (Join, bool) {
	slot := d.slots[slotOf(top.Address)]
	if len(slot) < 2 || top.multi.is == No {
		return Join{}, false
	}
	own := d.isolation(top)
	if own.ok == Yes {
		return Join{}, false
	}
	for _, s := range slot {
		if s == top || seen[s.Address] {
			continue
		}
		other := d.isolation(s)
		switch {
		case other.ok == Yes:
			continue
		case !d.has(s.Address) && (own.ok == Unknown || other.ok == Unknown || top.multi.is == Unknown):
			continue // its turn comes
		case own.ok == Unknown:
			d.doubt(n, s.Address, top.Address, own.err)
			continue
		case other.ok == Unknown:
			d.doubt(n, s.Address, s.Address, other.err)
			continue
		case top.multi.is == Unknown:
			d.doubt(n, s.Address, top.Address, top.multi.why)
			continue
		}
		if d.has(s.Address) {
			return Join{
				With: s.Address, Reason: Multifunction, At: top.Address, What: top.what(),
				Missing: own.missing, HasACS: own.hasACS, Quirk: own.quirk,
			}, true
		}
		if join, ok := d.aliased(s, seen); ok {
			return join, true
		}
	}
	return Join{}, false
}

// finish sorts what was found and tells the groups what they may lack.
func (d *derivation) finish() []DerivedGroup {
	told := map[int]map[Unread]bool{}
	for _, u := range d.unread {
		own := d.group[u.Device]
		in := []int{own}
		if with, ok := d.group[u.With]; ok {
			if with == own {
				continue // they are together anyway
			}
			in = append(in, with)
		}
		for _, g := range in {
			key := Unread{u.Device, u.With, u.At, nil}
			if told[g] == nil {
				told[g] = map[Unread]bool{}
			}
			if !told[g][key] {
				told[g][key] = true
				d.groups[g].Unknown = append(d.groups[g].Unknown, u)
			}
		}
	}
	for i := range d.groups {
		slices.SortFunc(d.groups[i].Devices, pci.Address.Compare)
		slices.SortFunc(d.groups[i].Joins, func(a, b Join) int { return a.Device.Compare(b.Device) })
		slices.SortFunc(d.groups[i].Unknown, Unread.compare)
	}
	slices.SortFunc(d.groups, func(a, b DerivedGroup) int { return a.Devices[0].Compare(b.Devices[0]) })
	return d.groups
}

func (u Unread) compare(v Unread) int {
	if c := u.Device.Compare(v.Device); c != 0 {
		return c
	}
	if c := u.With.Compare(v.With); c != 0 {
		return c
	}
	return u.At.Compare(v.At)
}

// A DifferenceKind says which way derivation and kernel differ.
type DifferenceKind uint8

// The kinds.
const (
	KernelParts DifferenceKind = iota + 1 // the kernel has functions apart that the rules join
	KernelJoins                           // the kernel has functions in one group that the rules part
)

// A Difference is where the kernel's groups are not those derived from the facts. The
// kernel's are what holds; why is to be found out: an ACS override, a kernel with other
// rules, an alias that the firmware states.
type Difference struct {
	Kind    DifferenceKind
	Devices []pci.Address // the functions concerned, in the order of their addresses
	Groups  []GroupID     // the kernel's they are in, in the order of their numbers
	Joins   []Join        // of KernelParts: the links that the kernel does not go by
}

// Compare returns where derived groups and the kernel's differ. Functions without a group
// of the kernel are left out, and so is what may be so or otherwise because something was
// not readable.
func Compare(derived []DerivedGroup, kernel []Group) []Difference {
	of := map[pci.Address]GroupID{}
	for _, g := range kernel {
		for _, a := range g.Devices {
			of[a] = g.ID
		}
	}
	var all []Difference
	sets := components{}
	anywhere := map[pci.Address]bool{}
	for _, g := range derived {
		ids := map[GroupID]bool{}
		diff := Difference{Kind: KernelParts}
		for _, a := range g.Devices {
			sets.join(a, g.Devices[0])
			if id, ok := of[a]; ok {
				ids[id] = true
				diff.Devices = append(diff.Devices, a)
			}
		}
		for _, u := range g.Unknown {
			if u.With.IsValid() {
				sets.join(u.Device, u.With)
			} else {
				anywhere[u.Device] = true
			}
		}
		if len(ids) < 2 {
			continue
		}
		diff.Groups = slices.SortedFunc(maps.Keys(ids), GroupID.Compare)
		for _, j := range g.Joins {
			if of[j.Device] != of[j.With] {
				diff.Joins = append(diff.Joins, j)
			}
		}
		all = append(all, diff)
	}
	for a := range anywhere {
		anywhere[sets.root(a)] = true
	}
	for _, g := range kernel {
		roots := map[pci.Address]bool{}
		diff := Difference{Kind: KernelJoins, Groups: []GroupID{g.ID}}
		for _, a := range g.Devices {
			if _, ok := sets[a]; !ok {
				continue // the rules were not asked
			}
			diff.Devices = append(diff.Devices, a)
			if r := sets.root(a); !anywhere[r] {
				roots[r] = true
			}
		}
		if len(roots) > 1 {
			slices.SortFunc(diff.Devices, pci.Address.Compare)
			all = append(all, diff)
		}
	}
	return all
}

// components are sets of functions, each by one of its members.
type components map[pci.Address]pci.Address

// root is the member that stands for the set of a; a itself when it is in none.
func (c components) root(a pci.Address) pci.Address {
	if _, ok := c[a]; !ok {
		return a
	}
	for c[a] != a {
		c[a] = c[c[a]] // so that the way gets shorter
		a = c[a]
	}
	return a
}

func (c components) join(a, b pci.Address) {
	for _, x := range []pci.Address{a, b} {
		if _, ok := c[x]; !ok {
			c[x] = x
		}
	}
	c[c.root(a)] = c.root(b)
}
