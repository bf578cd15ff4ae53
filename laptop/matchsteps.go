package laptop

import (
	"maps"
	"slices"
	"strings"

	"github.com/project-independence/indy/iommu"
)

// couple makes two items mates.
func couple(a, b *item) { a.mate, b.mate = b, a }

// unique returns the items for which key gives something that no other item of their
// side has.
func (m *matcher) unique(side int, key func(*item) string) map[string]*item {
	found := make(map[string]*item, len(m.items[side]))
	for _, i := range m.items[side] {
		k := key(i)
		if k == "" {
			continue
		}
		if _, twice := found[k]; twice {
			found[k] = nil
			continue
		}
		found[k] = i
	}
	return found
}

// pairs calls do for each two that have the same key, which nothing else has, and
// that are not yet settled.
func (m *matcher) pairs(key func(*item) string, do func(a, b *item)) {
	later := m.unique(newer, key)
	for k, a := range m.unique(older, key) {
		if b := later[k]; a != nil && b != nil && !a.settled() && !b.settled() {
			do(a, b)
		}
	}
}

// sameUnit pairs what has the same name of its own, and the same ids: names are
// unique among what one maker calls by one name only.
func (m *matcher) sameUnit(kind Kind, name func(*item) string) {
	m.pairs(func(i *item) string {
		n := name(i)
		if n == "" || i.ids == "" {
			return ""
		}
		return i.bus + " " + i.ids + " " + n
	}, func(a, b *item) {
		if kind != BySerial && otherUnit(a, b) || agrees(ByModel.index(), a, b) == iommu.No {
			return // batteries of all models begin with the number 1
		}
		couple(a, b)
		a.unit, b.unit = true, true
	})
}

// exchanged pairs USB devices that alone have their ids and descriptors and are at
// another place, when what has come to the old place and what was at the new one say
// otherwise of themselves. What says otherwise and has no such counterpart has changed
// where it is, as by other firmware.
func (m *matcher) exchanged() {
	at := func(i *item) string {
		if i.place == "" {
			return ""
		}
		return i.bus + " " + i.place
	}
	var places [2]map[string]*item
	for side := range places {
		places[side] = m.unique(side, at)
	}
	// left reports whether i cannot be at its place on the other side.
	left := func(i *item) bool {
		is, known := places[1-i.side][at(i)]
		if !known {
			return true
		}
		return is != nil && (is.unit || agrees(ByDescriptors.index(), i, is) == iommu.No || agrees(ByIDs.index(), i, is) == iommu.No)
	}
	m.pairs(func(i *item) string {
		d := i.get(ByDescriptors)
		if d == "" || i.ids == "" {
			return ""
		}
		return i.bus + " " + i.ids + " " + d
	}, func(a, b *item) {
		if at(a) != "" && at(b) != "" && at(a) != at(b) && !otherUnit(a, b) && left(a) && left(b) {
			couple(a, b)
		}
	})
}

// inPlace pairs what is at the same place and may be the same thing.
func (m *matcher) inPlace(place func(*item) string) {
	m.pairs(func(i *item) string {
		p := place(i)
		if p == "" {
			return ""
		}
		return i.bus + " " + p
	}, func(a, b *item) {
		if agrees(ByIDs.index(), a, b) != iommu.No && !otherUnit(a, b) {
			couple(a, b)
		}
	})
}

// onlyOne pairs what is at another place, when there is one alone on each side with
// all that is known of its make.
func (m *matcher) onlyOne() {
	m.pairs(func(i *item) string {
		if i.unit || i.ids == "" {
			return ""
		}
		return strings.Join([]string{i.bus, i.ids, i.get(BySubsystem), i.get(ByRevision), i.get(ByClass),
			i.get(ByDescriptors), i.get(ByInterfaces)}, " ")
	}, func(a, b *item) {
		if !otherUnit(a, b) {
			couple(a, b)
		}
	})
}

// A trait is what decides whether two of the same ids can be the same thing.
type trait struct {
	serial, mac      bool // it has one that would have been found again
	subsystem, model string
}

// A flock are the items of one side with the same ids and traits: what one of them
// may be, each may.
type flock struct {
	loose  []*item // not settled
	placed []*item // matched by what others have as well

	variants map[string]*item // the first of each interfaces, by interfaceKey
}

// sameModel pairs what is left over with the same ids, when there is one alone on
// each side. What has several candidates is ambiguous.
func (m *matcher) sameModel() {
	herds := map[string]*[2]map[trait]*flock{}
	for side := range m.items {
		for _, i := range m.items[side] {
			if i.unit || i.ids == "" {
				continue
			}
			key := i.bus + " " + i.ids
			if herds[key] == nil {
				herds[key] = &[2]map[trait]*flock{{}, {}}
			}
			t := trait{
				serial:    i.serial != "" && !i.maybeScrubbed(i.serials()),
				mac:       len(i.macs) > 0 && !i.maybeScrubbed(i.macs),
				subsystem: i.get(BySubsystem),
				model:     i.get(ByModel),
			}
			f := herds[key][side][t]
			if f == nil {
				f = &flock{variants: map[string]*item{}}
				herds[key][side][t] = f
			}
			if i.settled() {
				f.placed = append(f.placed, i)
			} else {
				f.loose = append(f.loose, i)
			}
			if k := interfaceKey(i); k != "" && f.variants[k] == nil {
				f.variants[k] = i
			}
		}
	}
	for _, herd := range herds {
		settleHerd(herd)
	}
}

func (t trait) mayBe(u trait) bool {
	may := func(a, b string) bool { return a == "" || b == "" || a == b }
	return !(t.serial && u.serial) && !(t.mac && u.mac) && may(t.subsystem, u.subsystem) && may(t.model, u.model)
}

// mostCandidates is how many of them are told of an ambiguous device.
const mostCandidates = 16

// candidates are what an item may be on the other side.
type candidates struct {
	loose, placed int     // how many of either there are
	first         []*item // in their order, loose and placed

	variants map[string]*item // the first of each interfaces
	unlike   []*item          // the first of these, in their order
}

func newCandidates(t trait, others map[trait]*flock) candidates {
	c := candidates{variants: map[string]*item{}}
	for u, f := range others {
		if !t.mayBe(u) {
			continue
		}
		c.loose += len(f.loose)
		c.placed += len(f.placed)
		for _, list := range [][]*item{f.loose, f.placed} { // both in order
			c.first = append(c.first, list[:min(mostCandidates, len(list))]...)
		}
		for k, i := range f.variants {
			if is := c.variants[k]; is == nil || i.order < is.order {
				c.variants[k] = i
			}
		}
	}
	byOrder := func(i, j *item) int { return i.order - j.order }
	c.unlike = slices.SortedFunc(maps.Values(c.variants), byOrder)
	c.unlike = c.unlike[:min(mostCandidates, len(c.unlike))]
	slices.SortFunc(c.first, byOrder)
	c.first = c.first[:min(mostCandidates, len(c.first))]
	return c
}

// otherInterfaces returns how the interfaces of an ambiguous item differ from those of
// the nearest candidate, nothing if one may have the same. A candidate whose
// interfaces are not known is none that has the same.
func (c candidates) otherInterfaces(i *item) (added, removed []string) {
	if k := interfaceKey(i); k == "" || c.variants[k] != nil {
		return nil, nil
	}
	for n, other := range c.unlike {
		a, b := i, other
		if i.side == newer {
			a, b = b, a
		}
		plus, minus := otherInterfaces(a, b)
		if n == 0 || len(plus)+len(minus) < len(added)+len(removed) {
			added, removed = plus, minus
		}
	}
	return added, removed
}

// settleHerd settles the items of one make.
func settleHerd(herd *[2]map[trait]*flock) {
	may := map[*flock]candidates{}
	alone := map[*item]*item{} // of what has one candidate and no twin, the candidate
	for side := range herd {
		for t, f := range herd[side] {
			if len(f.loose) == 0 {
				continue
			}
			c := newCandidates(t, herd[1-side])
			if c.loose == 0 {
				continue // gone, or new
			}
			may[f] = c
			if len(f.loose) == 1 && c.loose == 1 && c.placed == 0 {
				alone[f.loose[0]] = c.first[0]
			}
		}
	}
	for a, b := range alone {
		if a.side == older && alone[b] == a {
			couple(a, b)
		}
	}
	for f, c := range may {
		for _, i := range f.loose {
			if i.mate == nil {
				i.candidates = c.first
				i.added, i.removed = c.otherInterfaces(i)
			}
		}
	}
}

// otherThing pairs what is left over at the same place.
func (m *matcher) otherThing() {
	m.pairs(func(i *item) string {
		if i.place == "" {
			return ""
		}
		return i.bus + " " + i.place
	}, func(a, b *item) {
		couple(a, b)
		a.other, b.other = true, true
	})
}
