package laptop

import (
	"fmt"
	"strings"

	"github.com/project-independence/indy/iommu"
)

// result writes down what became of each.
func (m *matcher) result() []Matched {
	all := make([]Matched, 0, max(len(m.items[older]), len(m.items[newer])))
	for _, i := range m.items[older] {
		all = append(all, m.matched(i, i.mate))
	}
	for _, i := range m.items[newer] {
		if i.mate == nil {
			all = append(all, m.matched(nil, i))
		}
	}
	return all
}

// matched describes a pair, or one of which the other is nil.
func (m *matcher) matched(a, b *item) Matched {
	var r Matched
	known, agreed := 0, 0
	for k := range evidenceKinds {
		c, ok := compareEvidence(k, a, b)
		if !ok {
			continue
		}
		r.Evidence = append(r.Evidence, c)
		switch c.Agrees {
		case iommu.Yes:
			known += c.Weight
			agreed += c.Weight
		case iommu.No:
			known += c.Weight
		}
	}
	if known > 0 {
		r.Score = (100*agreed + known/2) / known
	}
	one := a
	if a != nil {
		r.Before = a.ID
	} else {
		one = b
	}
	if b != nil {
		r.After = b.ID
	}
	switch {
	case a != nil && b != nil && a.other:
		r.Outcome = Replaced
		r.Note = modeNote(a, b)
	case a != nil && b != nil:
		r.Outcome = Same
		if elsewhere(a, b) {
			r.Outcome = Moved
		}
		if names := uncompared(a, b); len(names) > 0 {
			r.Score = min(r.Score, 99)
			r.Note = "its " + strings.Join(names, ", ") + " could not be compared: a capture may have replaced what differs"
		}
		r.Added, r.Removed = otherInterfaces(a, b)
		r.Suspicious = len(r.Added)+len(r.Removed) > 0
	case len(one.candidates) > 0:
		r.Outcome = Ambiguous
		for _, c := range one.candidates {
			r.Candidates = append(r.Candidates, c.ID)
		}
		r.Added, r.Removed = one.added, one.removed
		r.Suspicious = len(r.Added)+len(r.Removed) > 0
		r.Note = fmt.Sprintf("nothing tells it apart from others with the ids %s", one.ids)
		if r.Suspicious {
			r.Note = fmt.Sprintf("one of several with the ids %s, and none of the others has its interfaces", one.ids)
		}
	case b == nil:
		r.Outcome = Gone
		r.Note = m.partNote(a, "which is still there")
	default:
		r.Outcome = Arrived
		r.Note = m.partNote(b, "which was there before")
	}
	return r
}

// elsewhere reports whether a thing has left its place. On neither bus, where drivers
// decide of which device a thing is made, that in the firmware's tables counts too.
func elsewhere(a, b *item) bool {
	if a.bus == "" && agrees(ByFirmware.index(), a, b) == iommu.Yes {
		return false
	}
	return agrees(ByTopology.index(), a, b) == iommu.No || agrees(ByAddress.index(), a, b) == iommu.No
}

// partNote says of what a device that is on one side alone is a part, if that is on
// both: firmware and drivers hide and show such parts as they like, as the sound of a
// graphics card.
func (m *matcher) partNote(i *item, there string) string {
	whole := m.byID[i.side][i.PartOf]
	if i.PartOf == "" || whole == nil || whole.mate == nil || whole.other {
		return ""
	}
	return "part of " + whole.mate.ID + ", " + there
}
