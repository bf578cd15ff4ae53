package iommu

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/project-independence/indy/pci"
)

// A DifferenceKind says which way derivation and kernel differ.
type DifferenceKind uint8

// The kinds.
const (
	KernelParts DifferenceKind = iota + 1 // the kernel has functions apart that the rules join
	KernelJoins                           // the kernel has functions in one group that the rules part
)

// String returns kernel-parts, kernel-joins or unknown.
func (k DifferenceKind) String() string {
	switch k {
	case KernelParts:
		return "kernel-parts"
	case KernelJoins:
		return "kernel-joins"
	}
	return "unknown"
}

// MarshalText writes the kind as String does.
func (k DifferenceKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// A Difference is where the kernel's groups are not those derived from the facts. The
// kernel's are what holds; why is to be found out: an ACS override, a kernel with other
// rules, an alias that the firmware states.
type Difference struct {
	Kind    DifferenceKind
	Devices []pci.Address // the functions concerned, in the order of their addresses
	Groups  []GroupID     // the kernel's they are in, in the order of their numbers
	Joins   []Join        // of KernelParts: the links that the kernel does not go by
}

// String says which functions the kernel has apart or together, and what was derived.
func (d Difference) String() string {
	var groups, devices []string
	for _, g := range d.Groups {
		groups = append(groups, g.String())
	}
	for _, a := range d.Devices {
		devices = append(devices, a.String())
	}
	list := strings.Join(devices, ", ")
	if d.Kind == KernelJoins {
		return fmt.Sprintf("the kernel has %s in one group, %s, for a reason that is not among the facts read", list, strings.Join(groups, ", "))
	}
	return fmt.Sprintf("the kernel has %s in groups of their own (%s), though by what the functions say they are not kept apart",
		list, strings.Join(groups, ", "))
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
