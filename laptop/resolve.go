package laptop

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/project-independence/indy/guest"
)

// A Wanted is one need of a guest, and what it was met by before.
type Wanted struct {
	guest.Need

	// Known are the identities of the devices that the need had before, on this machine
	// or another. They decide between devices that the words of the need do not tell
	// apart; they never widen the words. A device that was known and now offers other
	// interfaces is not taken.
	Known []Identity
}

// A NeedState says what became of a need on a machine.
type NeedState string

// The states of a need.
const (
	NeedMatched     NeedState = "matched"     // by exactly what was wanted
	NeedSubstituted NeedState = "substituted" // by another device that plays the role; Reason says why
	NeedMissing     NeedState = "missing"     // by nothing; Reason says why
	NeedAmbiguous   NeedState = "ambiguous"   // by any of several devices, and nothing says which
)

// A ResolvedNeed says what became of one need.
type ResolvedNeed struct {
	guest.Need
	State NeedState

	// Devices are the ids of the device that meets the need and, if it is assigned, of
	// the functions of its IOMMU group that change hands with it, by place. Those that
	// another need of the guest got are listed there only, and each other one once.
	// Of an ambiguous need they are the candidates, of which none is given. Empty when
	// the need is missing.
	Devices []string

	// Reason says why it is so, and what else matters, in one line. It may be empty for
	// a matched need, and for no other.
	Reason string
}

// A Resolution is what became of the needs of one guest, in their order.
type Resolution []ResolvedNeed

// Resolve finds for each need of one guest the device of this machine that meets it. It
// reads nothing: at is what [ReadPlaces] says of l, and the verdicts are those of l.
//
// A need is met by a device that has the role and all that its words ask for: class,
// ids, port and which. Of several, those are taken that have the role first, and not
// as a by-product; that are no part of a GPU or of another device of the role; and, of
// PCI functions, whose class says the role, if there is one. What is to be assigned must not be refused, nor be on a bus from which
// nothing can be handed over; what is to be shared must have a role of which the host has
// something to share. If then none is left, another device of the role may stand in:
// see [Substitutes].
//
// No two needs of a guest get the same device. When there are not enough, the needs
// come first that are required, then those that say more, then those that assign. A
// device is given to a need only if there is no other way to meet all that can be met,
// so that each need that can still have one of several is ambiguous. Needs that are the
// same in every word get their devices in the order of places, if there are as many.
// A device that leaves the host along with an assigned one is missing to a need that would
// share it, unless that is required and the other is not.
//
// The result does not depend on the order of the needs, nor on the numbers of buses and
// groups. An optional need never keeps a guest from starting that starts without it.
func Resolve(l *Laptop, at Places, needs []Wanted) Resolution {
	r := newResolver(l, at)
	asks := make([]*ask, len(needs))
	for i := range needs {
		asks[i] = r.ask(i, needs[i])
	}
	for give(asks); r.losesShared(asks); {
		give(asks) // what is left of the candidates
	}
	r.handOver(asks)
	result := make(Resolution, len(asks))
	for i, a := range asks {
		result[i] = r.resolved(a)
	}
	return result
}

// give gives devices to needs. Where an optional need would have exactly what has to stand
// in for a required one, that goes before.
func give(asks []*ask) {
	order := slices.Clone(asks)
	slices.SortFunc(order, (*ask).before)
	required := slices.IndexFunc(order, func(a *ask) bool { return a.Optional })
	if required < 0 {
		required = len(order)
	}
	missing := func() (n int) {
		for _, a := range order[:required] {
			if a.state == NeedMissing {
				n++
			}
		}
		return n
	}
	settleAll(order)
	if together := missing(); together > 0 && required < len(order) {
		settleAll(order[:required], order[required:])
		if missing() == together {
			settleAll(order)
		}
	}
}

// settleAll settles needs from nothing, some before others.
func settleAll(parts ...[]*ask) {
	reserved := map[int]bool{}
	for _, order := range parts {
		for _, a := range order {
			a.state, a.candidates = NeedMissing, nil
		}
		settle(order, reserved, func(a *ask) []int { return a.exact }, NeedMatched)
		var rest []*ask
		for _, a := range order {
			if a.state == NeedMissing {
				rest = append(rest, a)
			}
		}
		settle(rest, reserved, func(a *ask) []int { return a.instead }, NeedSubstituted)
	}
}

// Startable returns nil when nothing of this stops the guest from starting, and otherwise
// a *[NeedsError] with all needs that do: those that are required, and missing or
// ambiguous. One that is ambiguous and shared does not: which of its devices the host
// shares is for the host to say.
func (r Resolution) Startable() error {
	var unmet []ResolvedNeed
	for _, n := range r {
		if !n.Optional && (n.State == NeedMissing || n.State == NeedAmbiguous && n.How != guest.Share) {
			unmet = append(unmet, n)
		}
	}
	if len(unmet) == 0 {
		return nil
	}
	return &NeedsError{unmet}
}

// A NeedsError says which required needs of a guest this machine does not meet.
type NeedsError struct{ Needs []ResolvedNeed }

// Error names each need with its state and reason.
func (e *NeedsError) Error() string {
	lines := make([]string, len(e.Needs))
	for i, n := range e.Needs {
		lines[i] = fmt.Sprintf("%s (%s) is %s: %s", n.Need, n.How, n.State, n.Reason)
	}
	return "needed to start: " + strings.Join(lines, "; ")
}

// A resolver is a machine on which needs are resolved. Devices go by their index in
// Laptop.Devices, and by rank where their order matters.
type resolver struct {
	*Laptop
	at   Places
	rank []int // by device: its number in the order of places
	byID map[string]int
}

func newResolver(l *Laptop, at Places) *resolver {
	r := &resolver{Laptop: l, at: at, rank: make([]int, len(l.Devices)), byID: make(map[string]int, len(l.Devices))}
	order := make([]int, len(l.Devices))
	for i := range l.Devices {
		order[i], r.byID[l.Devices[i].ID()] = i, i
	}
	if len(at.Devices) != len(l.Devices) { // nothing is known of them
		r.at.Devices = make([]Place, len(l.Devices))
		for i := range l.Devices {
			r.at.Devices[i].Identity.ID = l.Devices[i].ID()
		}
	}
	slices.SortStableFunc(order, func(i, j int) int { return r.at.Devices[i].compare(&r.at.Devices[j]) })
	for n, i := range order {
		r.rank[i] = n
	}
	return r
}

// sorted returns the devices for which is holds, by rank.
func (r *resolver) sorted(of []int, is func(i int, d *Device, at *Place) bool) []int {
	var found []int
	for _, i := range of {
		if is(i, &r.Devices[i], &r.at.Devices[i]) {
			found = append(found, i)
		}
	}
	slices.SortFunc(found, func(i, j int) int { return cmp.Compare(r.rank[i], r.rank[j]) })
	return found
}

// names returns the ids of devices for a person.
func (r *resolver) names(of []int) string {
	ids := make([]string, 0, min(len(of), maxNamed))
	for _, i := range of[:cap(ids)] {
		ids = append(ids, r.Devices[i].ID())
	}
	return some(ids, len(of))
}

// assigned are the needs that were given a function, the required ones first and then by
// place.
func (r *resolver) assigned(asks []*ask) []*ask {
	var found []*ask
	for _, a := range asks {
		if a.given() && a.How == guest.Assign && r.Devices[a.device].PCI != nil {
			found = append(found, a)
		}
	}
	slices.SortFunc(found, func(a, b *ask) int {
		return cmp.Or(boolean(a.Optional)-boolean(b.Optional), cmp.Compare(r.rank[a.device], r.rank[b.device]))
	})
	return found
}

// losesShared takes from the candidates of needs that share what leaves the host along with
// what is assigned, and all from an optional need that would leave a required one with
// nothing to share. It reports whether there was something to take.
func (r *resolver) losesShared(asks []*ask) bool {
	lost := false
	takes := map[int]*ask{} // what leaves the host, and for whom
	for _, a := range r.assigned(asks) {
		along := map[int]bool{}
		for _, d := range r.Along(&r.Devices[a.device]) {
			along[r.byID[d.ID()]] = true
		}
		if b := robs(a, asks, func(i int) bool { return along[i] || takes[i] != nil }); b != nil {
			a.exact, a.instead, a.with, a.left = nil, nil, b, a.device
			lost = true
			continue
		}
		for i := range along {
			if takes[i] == nil {
				takes[i] = a
			}
		}
	}
	for _, a := range asks {
		if a.How != guest.Share {
			continue
		}
		stays := func(of []int) []int {
			kept := r.sorted(of, func(i int, _ *Device, _ *Place) bool { return takes[i] == nil })
			if len(kept) < len(of) {
				lost = true
				if i := slices.IndexFunc(of, func(i int) bool { return takes[i] != nil }); len(kept) == 0 {
					a.with, a.left = takes[of[i]], of[i]
				}
			}
			return kept
		}
		a.instead = stays(a.instead)
		a.exact = stays(a.exact) // last, as it is told of
	}
	return lost
}

// robs returns the required need that would have nothing left to share with what leaves
// the host for a, an optional need, or nil.
func robs(a *ask, asks []*ask, leaves func(int) bool) *ask {
	if !a.Optional {
		return nil
	}
	for _, b := range asks {
		stays := func(i int) bool { return !leaves(i) }
		switch {
		case b.Optional || b.How != guest.Share:
		case b.given() && leaves(b.device), b.state == NeedAmbiguous && !slices.ContainsFunc(b.candidates, stays):
			return b
		}
	}
	return nil
}

// handOver works out what goes along with what is assigned.
func (r *resolver) handOver(asks []*ask) {
	listed := map[int]bool{}
	for _, a := range asks {
		if a.given() {
			listed[a.device] = true
		}
	}
	for _, a := range r.assigned(asks) {
		for _, d := range r.Along(&r.Devices[a.device]) {
			for _, b := range asks {
				if b != a && b.given() && b.device == r.byID[d.ID()] && b.with == nil {
					b.with = a
				}
			}
		}
		for _, i := range r.companions(&r.Devices[a.device]) {
			if !listed[i] {
				a.companions = append(a.companions, i)
				listed[i] = true
			}
		}
	}
}

// companions are the functions of the group of a function that go with it, by rank.
func (r *resolver) companions(d *Device) []int {
	g := r.Group(d.Group())
	if g == nil {
		return nil
	}
	var found []int
	for _, address := range r.Endpoints(g) {
		if c := r.Function(address); c != nil && c != d {
			found = append(found, r.byID[c.ID()])
		}
	}
	return r.sorted(found, func(int, *Device, *Place) bool { return true })
}
