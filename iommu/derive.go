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
			return Join{With: b, Reason: PCIBridge, At: b, What: up.what()}, true
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
		at, err := top.Address, own.err
		switch {
		case other.ok == Yes:
			continue
		case own.ok == Unknown:
		case other.ok == Unknown:
			at, err = s.Address, other.err
		case top.multi.is == Unknown:
			err = top.multi.why
		default:
			at = pci.Address{}
		}
		if at.IsValid() { // it may be
			if d.has(s.Address) {
				d.doubt(n, s.Address, at, err)
			} else if join, ok := d.aliased(s, maps.Clone(seen)); ok {
				d.doubt(n, join.With, at, err)
			}
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
