package laptop

import (
	"fmt"
	"slices"
	"strings"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/iommu"
)

// resolved writes down what became of a need.
func (r *resolver) resolved(a *ask) ResolvedNeed {
	n := ResolvedNeed{Need: a.Need, State: a.state, Devices: []string{}}
	var reasons []string
	say := func(format string, args ...any) { reasons = append(reasons, fmt.Sprintf(format, args...)) }
	switch a.state {
	case NeedMissing:
		r.sayMissing(a, say)
	case NeedAmbiguous:
		for _, i := range a.candidates {
			n.Devices = append(n.Devices, r.Devices[i].ID())
		}
		if len(a.exact) == 0 {
			say("%s", a.without)
		}
		say("any of %s would do: say which, port, ids or class", r.names(a.candidates))
	default:
		n.Devices = append(n.Devices, r.Devices[a.device].ID())
		for _, i := range a.companions {
			n.Devices = append(n.Devices, r.Devices[i].ID())
		}
		r.sayGiven(a, say)
	}
	n.Reason = oneLine(strings.Join(reasons, "; "))
	return n
}

func (r *resolver) sayMissing(a *ask, say func(string, ...any)) {
	switch {
	case a.with != nil && a.How == guest.Assign:
		say("%s would take from the host what this guest needs to share as its %s", r.Devices[a.left].ID(), a.with.Need)
	case a.with != nil && len(a.exact)+len(a.instead) == 0:
		say("%s leaves the host with %s, which this guest gets as its %s: it cannot be shared then",
			r.Devices[a.left].ID(), r.Devices[a.with.device].ID(), a.with.Need)
	case len(a.exact) > 0:
		say("%s is there, and goes to another need of this guest", r.names(a.exact))
	case len(a.instead) > 0:
		say("%s; %s, which could stand in, goes to another need of this guest", a.without, r.names(a.instead))
	default:
		say("%s", a.without)
		if len(a.there) > 0 && a.Want != guest.WantUSBDevice {
			say("there is %s", r.names(a.there))
		}
	}
}

func (r *resolver) sayGiven(a *ask, say func(string, ...any)) {
	d, at := &r.Devices[a.device], &r.at.Devices[a.device]
	if a.state == NeedSubstituted {
		why := a.without
		if len(a.exact) > 0 {
			why = r.names(a.exact) + " goes to another need of this guest"
		}
		say("%s; %s stands in", why, d.ID())
	}
	if a.state == NeedMatched && a.note != "" {
		say("%s", a.note)
	}
	if (a.Which == guest.BuiltIn || a.Which == guest.External) && a.state == NeedMatched && at.BuiltIn == iommu.Unknown {
		say("whether it is built in is not stated, and told from its kind and place")
	}
	if a.How == guest.Share {
		return
	}
	if d.Verdict == Undecided {
		if i := slices.IndexFunc(d.Findings, func(f Finding) bool { return f.Severity == Gap }); i >= 0 {
			say("whether it can be handed over is not known: %s", d.Findings[i].Detail)
		}
	}
	if len(a.companions) > 0 {
		say("group %s changes hands as one, with %s", d.Group(), r.names(a.companions))
	}
	if a.with != nil && d.PCI == nil {
		say("it comes along with %s, which this guest gets, too", r.Devices[a.with.device].ID())
	}
}
