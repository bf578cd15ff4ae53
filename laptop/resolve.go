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
//
// The result does not depend on the order of the needs, nor on the numbers of buses and
// groups. What is assigned goes before what is shared: a device that leaves the host along
// with an assigned one is missing to the need that would share it.
func Resolve(l *Laptop, at Places, needs []Wanted) Resolution {
	r := newResolver(l, at)
	asks := make([]*ask, len(needs))
	for i := range needs {
		asks[i] = r.ask(i, needs[i])
	}
	order := slices.Clone(asks)
	slices.SortFunc(order, (*ask).before)
	reserved := map[int]bool{}
	settle(order, reserved, func(a *ask) []int { return a.exact }, NeedMatched)
	var rest []*ask
	for _, a := range order {
		if a.state == NeedMissing {
			rest = append(rest, a)
		}
	}
	settle(rest, reserved, func(a *ask) []int { return a.instead }, NeedSubstituted)
	r.handOver(asks)
	result := make(Resolution, len(asks))
	for i, a := range asks {
		result[i] = r.resolved(a)
	}
	return result
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

// handOver works out what leaves the host with what is assigned, after each need has its
// device. What was to be shared of that is missing.
func (r *resolver) handOver(asks []*ask) {
	var assigned []*ask
	for _, a := range asks {
		if a.given() && a.How == guest.Assign && r.Devices[a.device].PCI != nil {
			assigned = append(assigned, a)
		}
	}
	slices.SortFunc(assigned, func(a, b *ask) int { return cmp.Compare(r.rank[a.device], r.rank[b.device]) })
	takes := map[int]*ask{} // what leaves the host, and for whom
	for _, a := range assigned {
		for _, d := range r.Along(&r.Devices[a.device]) {
			if i := r.byID[d.ID()]; takes[i] == nil {
				takes[i] = a
			}
		}
	}
	listed := map[int]bool{}
	for _, a := range asks {
		if !a.given() {
			continue
		}
		a.with = takes[a.device]
		if a.with != nil && a.How == guest.Share {
			a.state = NeedMissing
			continue
		}
		listed[a.device] = true
	}
	for _, a := range assigned {
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
