package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/laptop"
)

// reason says in one line why a device is thought to be what it is, as far as what is
// shown besides does not tell it.
func reason(r *laptop.Matched, name string) string {
	switch {
	case r.Outcome == laptop.Ambiguous:
		where := make([]string, len(r.Candidates))
		for i, id := range r.Candidates {
			where[i] = id[strings.IndexByte(id, ':')+1:]
		}
		was := "may be one of these now: "
		if r.Before == "" {
			was = "may have been one of these: "
		}
		return r.Note + "; " + was + strings.Join(where, ", ")
	case r.Before == "" || r.After == "":
		return stated(r)
	}
	var parts []string
	if r.Outcome == laptop.Moved {
		parts = append(parts, knownBy(r))
	}
	if s := differing(r, name); s != "" {
		parts = append(parts, "differs: "+s)
	}
	if r.Note != "" {
		parts = append(parts, r.Note)
	}
	if len(parts) == 0 {
		return ""
	}
	return fmt.Sprintf("%s; score %d", strings.Join(parts, "; "), r.Score)
}

// stated returns what is known of a device on one side alone that tells it from
// others of its make.
func stated(r *laptop.Matched) string {
	var parts []string
	for _, e := range r.Evidence {
		value := or(e.After, e.Before)
		switch e.Kind {
		case laptop.BySerial, laptop.ByMAC, laptop.ByWWID:
			if strings.Trim(value, "0") != "" && !strings.HasPrefix(value, "SCRUBBED") { // says nothing
				parts = append(parts, kindWord(e.Kind)+" "+brief(value))
			}
		}
	}
	if r.Note != "" {
		parts = append(parts, r.Note)
	}
	return strings.Join(parts, ", ")
}

// knownBy says by what a device that is elsewhere is known.
func knownBy(r *laptop.Matched) string {
	for _, e := range r.Evidence {
		switch {
		case e.Agrees != iommu.Yes:
		case e.Kind == laptop.BySerial, e.Kind == laptop.ByMAC, e.Kind == laptop.ByWWID:
			return "known by its " + kindWord(e.Kind)
		case e.Kind == laptop.ByFirmware:
			return "known by its node in the firmware's tables"
		case e.Kind == laptop.ByDescriptors:
			return "known by its descriptors"
		}
	}
	return "the only one of its make"
}

// differing lists what is otherwise after: of another thing with other ids these alone,
// because then all else is, and of hashes only that they are.
func differing(r *laptop.Matched, name string) string {
	var parts []string
	for _, e := range r.Evidence {
		if e.Agrees != iommu.No || e.Weight == 0 {
			continue
		}
		switch e.Kind {
		case laptop.ByDriver: // among the changes
		case laptop.ByTopology, laptop.ByAddress: // shown as where it was and is
		case laptop.ByDescriptors:
			parts = append(parts, kindWord(e.Kind))
		case laptop.ByInterfaces:
			if !r.Suspicious {
				parts = append(parts, kindWord(e.Kind)+" "+brief(e.Before)+" -> "+brief(e.After))
			}
		case laptop.ByIDs:
			if strings.Contains(name, e.Before) && strings.Contains(name, e.After) {
				return ""
			}
			return "ids " + brief(e.Before) + " -> " + brief(e.After)
		default:
			parts = append(parts, kindWord(e.Kind)+" "+brief(e.Before)+" -> "+brief(e.After))
		}
	}
	return strings.Join(parts, ", ")
}

// kindWord is what a person calls a kind of evidence.
func kindWord(k laptop.Kind) string {
	switch k {
	case laptop.BySerial:
		return "serial number"
	case laptop.ByMAC:
		return "MAC address"
	case laptop.ByWWID:
		return "disk"
	case laptop.ByFirmware:
		return "node in the firmware's tables"
	case laptop.ByPort:
		return "socket"
	case laptop.ByEDID:
		return "panel"
	}
	return string(k)
}

// brief cuts what is long.
func brief(s string) string { return cut(s, 48) }

// otherMembers says which members of a group came and went.
func otherMembers(c change) string {
	split := func(s *string) []string {
		if s == nil {
			return nil
		}
		return strings.Split(*s, ", ")
	}
	before, after := split(c.Before), split(c.After)
	var parts []string
	for _, p := range []struct {
		sign      string
		all, less []string
	}{{"+", after, before}, {"-", before, after}} {
		var some []string
		for _, m := range p.all {
			if !slices.Contains(p.less, m) {
				some = append(some, m)
			}
		}
		if n := len(some) - 8; n > 0 {
			some = append(some[:8], fmt.Sprintf("%d more", n))
		}
		if len(some) > 0 {
			parts = append(parts, p.sign+" "+strings.Join(some, ", "))
		}
	}
	return strings.Join(parts, "; ")
}
