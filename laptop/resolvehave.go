package laptop

import (
	"fmt"
	"strings"

	"github.com/project-independence/indy/guest"
)

// usable leaves out what cannot be had in the way that is wanted. Without says why none
// can.
func (r *resolver) usable(of []int, n guest.Need) (kept []int, without string) {
	if n.How == guest.Share {
		if how, _, _ := sharing(Role(n.Want)); how == "" {
			return nil, fmt.Sprintf("of a %s the host has nothing to share but the device: assign it", n.Want)
		}
		return of, ""
	}
	var why []string           // each once
	whom := map[string][]int{} // whom it is about
	kept = r.sorted(of, func(i int, d *Device, _ *Place) bool {
		if d.Verdict != Refused && d.Verdict != ShareOnly {
			return true
		}
		reason := refusal(d)
		if whom[reason] == nil {
			why = append(why, reason)
		}
		whom[reason] = append(whom[reason], i)
		return false
	})
	for i, reason := range why[:min(len(why), maxReasons)] {
		verb := "is"
		if len(whom[reason]) > 1 {
			verb = "are"
		}
		why[i] = fmt.Sprintf("%s %s there, and cannot be assigned: %s", r.names(whom[reason]), verb, reason)
	}
	return kept, strings.Join(why[:min(len(why), maxReasons)], "; ")
}

// maxReasons is how many reasons are told.
const maxReasons = 4

// refusal says why a device is not handed over, and what to do about it.
func refusal(d *Device) string {
	for _, f := range d.Findings {
		if f.Severity != Block && f.Code != HostOnly {
			continue
		}
		if f.Remedy == "" {
			return f.Detail
		}
		return f.Detail + " (remedy: " + f.Remedy + ")"
	}
	return "its verdict is " + string(d.Verdict)
}

// known finds the devices that identities from before are now. Suspects are those that
// offer other interfaces than then, as the note says.
func (r *resolver) known(before []Identity) (found, suspects []int, note string) {
	if len(before) == 0 {
		return nil, nil, ""
	}
	now := make([]Identity, len(r.at.Devices))
	for i := range r.at.Devices {
		now[i] = r.at.Devices[i].Identity
	}
	for _, id := range before {
		for _, m := range Match([]Identity{id}, now) {
			if m.Before == "" {
				continue
			}
			i, here := r.byID[m.After]
			switch {
			case m.Outcome == Ambiguous:
				for _, c := range m.Candidates {
					if i, ok := r.byID[c]; ok && !m.Suspicious {
						found = append(found, i)
					}
				}
			case !here || m.Outcome != Same && m.Outcome != Moved:
			case m.Suspicious:
				suspects = append(suspects, i)
				note = fmt.Sprintf("%s offers other interfaces than before (%s): it may not be what it says", m.After, oneLine(strings.Join(append(m.Added, m.Removed...), ", ")))
			default:
				found = append(found, i)
			}
		}
	}
	return found, suspects, note
}
