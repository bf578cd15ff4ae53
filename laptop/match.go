package laptop

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

// An Outcome says what became of a device between two readings.
type Outcome string

// The outcomes.
const (
	Same      Outcome = "same"      // the same thing at the same place
	Moved     Outcome = "moved"     // the same thing at another place
	Replaced  Outcome = "replaced"  // another thing at the same place
	Ambiguous Outcome = "ambiguous" // one of several that cannot be told apart
	Gone      Outcome = "gone"      // only before
	Arrived   Outcome = "new"       // only after
)

// Outcomes returns all outcomes, in the order in which people look for them.
func Outcomes() []Outcome { return []Outcome{Gone, Arrived, Replaced, Moved, Ambiguous, Same} }

// A Matched says of one device before, after or both what became of it, and why.
type Matched struct {
	Outcome Outcome
	Before  string // its ID before, empty for what is new; of an ambiguous device one of the two
	After   string // its ID after, empty for what is gone

	// Score is how far the evidence of the two agrees, 0 to 100: the weight of what
	// agreed in that of all that is known of both. It is 0 without a counterpart, and
	// below 100 when a name of its own could not be compared, as the Note says then.
	Score    int
	Evidence []Comparison // in the order of Kinds, ByActive as ByInterfaces

	// Candidates of an ambiguous device are the IDs on the other side that it may have
	// or be, at most 16.
	Candidates []string

	// Suspicious is set when a device that came back offers other interfaces than
	// before, or more of them: Added and Removed are their classes, each as often as it
	// came or went. A stick that has become a keyboard
	// as well is such a device. An ambiguous one is when none of those that it may have
	// or be offers what it does; the classes are then by the one that is nearest.
	Suspicious     bool
	Added, Removed []string

	// Note is what else a person should know, in words; often empty: that another thing
	// may be the same hardware in another mode, that its serial number could not be
	// compared, or that what is gone or new is a part of
	// a device that stays, which is nothing to worry about.
	Note string
}

// A Comparison is the evidence of one kind before and after.
type Comparison struct {
	Kind   Kind
	Before string // empty when not known
	After  string

	// Agrees is Unknown when one of the two is not known, or when they say nothing: a
	// serial number that several devices of a machine share, or one that a capture
	// may have replaced and that differs.
	Agrees iommu.Answer
	Weight int    // as Kind.Weight
	Source string // the file that said so after, else before
}

// Match says for each device of two readings of a machine what became of it, each in
// exactly one Matched, in the order of the IDs before, and of those after for what has
// none. The readings may be of two machines.
//
// It goes from the strongest evidence to the weakest. The same thing is what has
// the same ids and the same serial number, permanent MAC address or disk, wherever it
// is; then what says the same of itself to the byte at another place, if what is at the
// old one does not; then what has the same ids at the same place, by topology and then
// by the firmware's path; then what has the same ids and is the only such thing in both.
// Other ids, another serial number, subsystem or battery at the same place are another
// thing. Among
// several of the same make that nothing tells apart, each that has left its place is
// ambiguous: nothing is guessed.
//
// The result does not depend on the order of the identities. With before and after
// exchanged it is the same, gone for new. The time is near linear in their number.
func Match(before, after []Identity) []Matched {
	m := newMatcher(before, after)
	m.sameUnit(BySerial, func(i *item) string { return i.serial })
	m.sameUnit(ByMAC, func(i *item) string { return i.macs.String() })
	m.sameUnit(ByWWID, func(i *item) string { return i.wwids.String() })
	m.exchanged()
	m.inPlace(func(i *item) string { return i.place })
	m.inPlace(func(i *item) string { return i.firmware })
	m.onlyOne()
	m.sameModel()
	m.otherThing()
	return m.result()
}

// The sides of a match.
const (
	older = iota
	newer
)

// An item is one identity while it is matched.
type item struct {
	*Identity
	side  int
	key   sortKey
	order int                          // among those of its side
	value [len(evidenceKinds)]Evidence // by index of the kind

	bus, ids, place, firmware string // bus is empty for what is on neither

	// Empty when unknown, or when another device of a machine has the same.
	serial      string
	macs, wwids set

	raw bool // its machine is no scrubbed capture, as a serial number shows

	mate       *item
	unit       bool    // told by what only one device has
	other      bool    // the mate is another thing at the same place
	candidates []*item // of an ambiguous one, the first of them

	// Of an ambiguous one, how its interfaces differ from those of every candidate.
	added, removed []string
}

func (i *item) serials() set {
	if i.serial == "" {
		return nil
	}
	return set{i.serial}
}

// maybeScrubbed reports whether one of its names may be a replacement.
func (i *item) maybeScrubbed(names set) bool { return !i.raw && slices.ContainsFunc(names, isScrubbed) }

func (i *item) get(k Kind) string { return i.value[k.index()].Value }

func (i *item) settled() bool { return i.mate != nil || len(i.candidates) > 0 }

// A sortKey orders devices as people do: 1-2 before 1-10.
type sortKey struct {
	bus     string
	address pci.Address
	port    usb.PortPath
	rest    string
}

func newSortKey(id *Identity) sortKey {
	bus, where, _ := strings.Cut(id.ID, ":")
	k := sortKey{bus: bus}
	switch bus {
	case "pci":
		k.address, _ = pci.ParseAddress(where)
	case "usb":
		k.port, _ = usb.ParsePortPath(where)
	}
	var rest strings.Builder
	fmt.Fprintf(&rest, "%s %s", id.ID, id.Role)
	for _, e := range id.Evidence { // only identities that are no machine's need more
		fmt.Fprintf(&rest, " %s=%s", e.Kind, e.Value)
	}
	k.rest = rest.String()
	return k
}

func (k sortKey) compare(l sortKey) int {
	return cmp.Or(strings.Compare(k.bus, l.bus), k.address.Compare(l.address), k.port.Compare(l.port), strings.Compare(k.rest, l.rest))
}

type matcher struct {
	items [2][]*item
	byID  [2]map[string]*item
}

func newMatcher(before, after []Identity) *matcher {
	m := new(matcher)
	for side, list := range [][]Identity{before, after} {
		all := make([]item, len(list))
		for n := range list {
			i := &all[n]
			*i = item{Identity: &list[n], side: side, key: newSortKey(&list[n])}
			for _, e := range list[n].Evidence {
				if k := e.Kind.index(); k >= 0 && i.value[k].Value == "" {
					i.value[k] = e
				}
			}
			i.bus, i.ids, i.firmware = i.key.bus, i.get(ByIDs), i.get(ByFirmware)
			if i.bus != "pci" && i.bus != "usb" {
				i.bus = "" // a driver of another kernel may put it on another of the rest
			}
			i.place = i.get(ByTopology)
			if i.place == "" && i.get(ByAddress) != "" {
				i.place = "address " + i.get(ByAddress)
			}
			if s := i.get(BySerial); !isPlaceholder(s) {
				i.serial = s
			}
			i.macs, i.wwids = splitSet(i.get(ByMAC)), splitSet(i.get(ByWWID))
			m.items[side] = append(m.items[side], i)
		}
		raw := slices.ContainsFunc(m.items[side], func(i *item) bool { return isRaw(i.get(BySerial)) })
		for _, i := range m.items[side] {
			i.raw = raw
		}
		slices.SortStableFunc(m.items[side], func(i, j *item) int { return i.key.compare(j.key) })
		m.byID[side] = make(map[string]*item, len(list))
		for n, i := range m.items[side] {
			i.order = n
			if m.byID[side][i.ID] == nil {
				m.byID[side][i.ID] = i
			}
		}
	}
	m.dropShared()
	return m
}

func splitSet(s string) set {
	var names set
	for name := range strings.SplitSeq(s, ",") {
		names.add(name)
	}
	return names
}

// dropShared forgets what should be of one device and is of several in one machine:
// serial numbers and addresses that a maker gave to all it made.
func (m *matcher) dropShared() {
	serial := func(i *item) string { return i.bus + " " + i.ids + " " + i.serial }
	shared := map[string]bool{}
	for side := range m.items {
		seen := map[string]bool{}
		note := func(key string) { shared[key], seen[key] = shared[key] || seen[key], true }
		for _, i := range m.items[side] {
			if i.serial != "" {
				note("serial " + serial(i))
			}
			for _, a := range i.macs {
				note("mac " + a)
			}
			for _, w := range i.wwids {
				note("wwid " + w)
			}
		}
	}
	for side := range m.items {
		for _, i := range m.items[side] {
			if shared["serial "+serial(i)] {
				i.serial = ""
			}
			i.macs = slices.DeleteFunc(i.macs, func(a string) bool { return shared["mac "+a] })
			i.wwids = slices.DeleteFunc(i.wwids, func(w string) bool { return shared["wwid "+w] })
		}
	}
}
