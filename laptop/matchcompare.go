package laptop

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/project-independence/indy/iommu"
)

// compareEvidence compares the evidence of the kind with index k. It reports false
// when neither side has any.
func compareEvidence(k int, a, b *item) (Comparison, bool) {
	c := Comparison{Kind: evidenceKinds[k].kind, Weight: evidenceKinds[k].weight}
	if c.Kind == ByActive {
		return c, false // compared as what it stands for
	}
	if a != nil {
		c.Before, c.Source = a.value[k].Value, a.value[k].Source
	}
	if b != nil && b.value[k].Value != "" {
		c.After, c.Source = b.value[k].Value, b.value[k].Source
	}
	if a != nil && b != nil {
		c.Agrees = agrees(k, a, b)
		if c.Kind == ByInterfaces && c.Before != "" && c.After != "" {
			before, after := interfacesOf(a, b)
			c.Before, c.After, c.Source = before.Value, after.Value, after.Source
		}
	}
	return c, c.Before != "" || c.After != ""
}

// agrees says whether what is known of the kind with index k before and after is the
// same.
func agrees(k int, a, b *item) iommu.Answer {
	before, after := a.value[k].Value, b.value[k].Value
	if before == "" || after == "" {
		return iommu.Unknown
	}
	switch kind := evidenceKinds[k].kind; kind {
	case BySerial:
		return sameNames(a, b, (*item).serials)
	case ByMAC:
		return sameNames(a, b, func(i *item) set { return i.macs })
	case ByWWID:
		return sameNames(a, b, func(i *item) set { return i.wwids })
	case ByName:
		was := splitSet(before)
		return answer(before == after || len(without(was, splitSet(after))) < len(was))
	case ByEDID, ByMonitor:
		return answer(sameScreens(before, after))
	case ByPort:
		return sameFacts(before, after)
	case ByInterfaces:
		added, removed := otherInterfaces(a, b)
		return answer(len(added)+len(removed) == 0)
	}
	return answer(before == after)
}

func answer(yes bool) iommu.Answer {
	if yes {
		return iommu.Yes
	}
	return iommu.No
}

// sameNames compares names that only one device has. One in common is enough: a
// device may have got another interface.
func sameNames(a, b *item, names func(*item) set) iommu.Answer {
	before, after := names(a), names(b)
	if len(before) == 0 || len(after) == 0 {
		return iommu.Unknown
	}
	for _, name := range before {
		if _, found := slices.BinarySearch(after, name); found {
			return iommu.Yes
		}
	}
	if a.maybeScrubbed(before) || b.maybeScrubbed(after) {
		return iommu.Unknown
	}
	return iommu.No
}

// uncompared returns which names of their own a and b have that say nothing, because
// a capture may have replaced them: not those that they share with other devices.
func uncompared(a, b *item) []string {
	var kinds []string
	for _, k := range []struct {
		kind  Kind
		names func(*item) set
		word  string
	}{
		{BySerial, (*item).serials, "serial number"},
		{ByMAC, func(i *item) set { return i.macs }, "MAC address"},
		{ByWWID, func(i *item) set { return i.wwids }, "disk"},
	} {
		if len(k.names(a)) > 0 && len(k.names(b)) > 0 && agrees(k.kind.index(), a, b) == iommu.Unknown {
			kinds = append(kinds, k.word)
		}
	}
	return kinds
}

// otherUnit reports whether a and b are two things for certain: each says who it is, of
// which model, or who built it in.
func otherUnit(a, b *item) bool {
	return slices.ContainsFunc([]Kind{BySerial, ByMAC, ByModel, BySubsystem}, func(k Kind) bool { return agrees(k.index(), a, b) == iommu.No })
}

// sameFacts compares NAME=VALUE words by the names that both have.
func sameFacts(a, b string) iommu.Answer {
	known := map[string]string{}
	for word := range strings.FieldsSeq(a) {
		name, value, _ := strings.Cut(word, "=")
		known[name] = value
	}
	result := iommu.Unknown
	for word := range strings.FieldsSeq(b) {
		name, value, _ := strings.Cut(word, "=")
		switch before, ok := known[name]; {
		case !ok:
		case before != value:
			return iommu.No
		default:
			result = iommu.Yes
		}
	}
	return result
}

// sameScreens compares what screens say of themselves, and their serial numbers as far
// as both are known.
func sameScreens(a, b string) bool {
	before, after := splitSet(a), splitSet(b)
	if len(before) != len(after) {
		return false
	}
	for n := range before {
		was, unit, known := strings.Cut(before[n], screenSerial)
		is, now, alsoKnown := strings.Cut(after[n], screenSerial)
		if was != is || known && alsoKnown && unit != now {
			return false
		}
	}
	return true
}

// otherInterfaces returns the classes of interfaces that a device offers after and
// not before, or not as often, and the other way round. Interfaces that a driver chose
// among those the descriptors offer are no others, as far as both sides know them;
// neither is a disk that speaks UAS.
func otherInterfaces(a, b *item) (added, removed []string) {
	if d := a.get(ByDescriptors); d != "" && d == b.get(ByDescriptors) {
		return nil, nil
	}
	before, after := interfacesOf(a, b)
	if before.Value == "" || after.Value == "" {
		return nil, nil
	}
	was, is := splitClasses(before.Value), splitClasses(after.Value)
	if !isWhole(before) || isWhole(after) {
		removed = excess(was, is)
	}
	if isWhole(before) || !isWhole(after) {
		added = excess(is, was)
	}
	return added, removed
}

// interfacesOf returns what is compared: all that is offered, if both sides know it,
// else what is active, if both know that.
func interfacesOf(a, b *item) (before, after Evidence) {
	all, active := ByInterfaces.index(), ByActive.index()
	before, after = a.value[all], b.value[all]
	if isWhole(before) && !isWhole(after) && a.value[active].Value != "" {
		before = a.value[active]
	}
	if isWhole(after) && !isWhole(before) && b.value[active].Value != "" {
		after = b.value[active]
	}
	return before, after
}

// interfaceKey returns what is known of the interfaces of an item: with the same
// another offers no others. It is empty when nothing is.
func interfaceKey(i *item) string {
	e := i.value[ByInterfaces.index()]
	if e.Value == "" {
		return ""
	}
	return fmt.Sprint(e.Value, " ", isWhole(e), " ", i.get(ByActive))
}

// isWhole reports whether interfaces are all that the descriptors offer, not only those
// that are active.
func isWhole(e Evidence) bool { return strings.HasSuffix(e.Source, "/descriptors") }

// without returns the names of s that are not in t.
func without(s, t set) []string {
	var rest []string
	for _, name := range s {
		if _, found := slices.BinarySearch(t, name); !found {
			rest = append(rest, name)
		}
	}
	return rest
}

// modeNote says when another thing at the same USB port may be the same hardware: a
// modem that was a disk first, a device that waits for firmware (DFU, class fe01).
func modeNote(a, b *item) string {
	if a.bus != "usb" || a.ids == "" || b.ids == "" || a.ids == b.ids {
		return ""
	}
	maker := func(i *item) string { v, _, _ := strings.Cut(i.ids, ":"); return v }
	update := func(i *item) bool {
		return slices.ContainsFunc(strings.FieldsFunc(i.get(ByInterfaces), func(r rune) bool { return r == ',' || r == ';' }),
			func(c string) bool { return strings.HasPrefix(c, "fe01") })
	}
	serial := a.get(BySerial)
	if maker(a) == maker(b) || update(a) || update(b) || serial != "" && serial == b.get(BySerial) {
		return "may be the same hardware in another mode"
	}
	return ""
}

// isScrubbed reports whether a name may be one that a scrubbed capture put in place of
// another: it says nothing when it differs. MAC addresses begin with 02 there, as a
// few real ones do, also where a serial number is one without signs; UUIDs have no mark
// at all.
func isScrubbed(name string) bool { return scrubbedName().MatchString(name) }

// scrubbedName is compiled when it is first needed.
var scrubbedName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(?:SCRUBBED[0-9A-F]{12}|02(?::[0-9A-Fa-f]{2}){5,19}|02(?:-[0-9A-Fa-f]{2}){5}|02[0-9A-Fa-f]{10}|` +
		`[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})$`)
})

// isRaw reports whether a serial number is one that no scrubbed capture has: there all
// are replaced but those that are none, and those with the address of a function.
func isRaw(serial string) bool {
	return strings.ContainsAny(serial, "0123456789") && !isPlaceholder(serial) && !isScrubbed(serial) && !functionInName().MatchString(serial)
}

// functionInName is compiled when it is first needed.
var functionInName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`[0-9A-Fa-f]{4,}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-7]`)
})

// isPlaceholder reports whether a serial number is none: empty words, one sign over and
// over, or digits in their order, which makers leave in what they copy.
func isPlaceholder(serial string) bool {
	s := strings.ToLower(serial)
	switch s {
	case "", "none", "n/a", "unknown", "default string", "not specified", "not applicable", "to be filled by o.e.m.", "1234567890abcdef":
		return true
	}
	const hexadecimal, decimal = "0123456789abcdef0123456789abcdef", "0123456789012345678901234567890"
	if strings.Trim(s, s[:1]) == "" {
		return true
	}
	for _, counted := range []string{hexadecimal, decimal} {
		if len(s) >= 4 && (strings.HasPrefix(counted, s) || strings.HasPrefix(counted[1:], s)) {
			return true
		}
	}
	return false
}
