package power

import (
	"cmp"
	"slices"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/internal/runner"
)

// A Host is how the host is at a moment.
type Host struct {
	Sleeping  bool // it is about to sleep, or sleeps
	LidClosed bool
	Battery   Battery

	// Of what is not known yet, all stays as it is.
	SleepUnknown, LidUnknown bool
}

// A Guest is what is known of a guest when it is decided.
type Guest struct {
	Name  string
	Rules guest.Power // as [guest.Definition.PowerRules] has them
	State runner.State
	Holds runner.Holds

	// Needs are the guests that it needs, and Before those that need it, as in
	// [guest.Place].
	Needs, Before []string
}

// An Off is a guest that was told to shut itself down until a reason is over.
type Off struct {
	Name   string        `json:"name"`
	Reason runner.Reason `json:"reason"`
	Since  float64       `json:"since"` // seconds since the kernel started
}

// A Do is what is done with a guest.
type Do string

// What is done.
const (
	Pause    Do = "pause"
	Sleep    Do = "sleep"
	ShutDown Do = "shutdown"
	LetGo    Do = "let-go" // it goes on, if there is no other reason
	Start    Do = "start"  // it was shut down
)

// A Step is one thing that is done with a guest.
type Step struct {
	Guest  string
	Do     Do
	Reason runner.Reason

	// After are guests of which all steps of the same list come before, and Level is how
	// many of those there are in a row.
	After []string
	Level int
}

// A Plan is what there is to do. All of Hold comes before anything of Release.
type Plan struct {
	Hold    []Step // guests come before those that they need
	Release []Step // guests come after those that they need
	Forget  []Off  // that are of no interest any more
}

// Empty reports whether there is nothing to do.
func (p Plan) Empty() bool { return len(p.Hold)+len(p.Release)+len(p.Forget) == 0 }

// Levels is how many steps of a list there are in a row.
func Levels(steps []Step) int {
	n := 0
	for _, s := range steps {
		n = max(n, s.Level+1)
	}
	return n
}

// reasons are those that the host has.
func reasons() []runner.Reason {
	return []runner.Reason{runner.HostSleep, runner.LidClosed, runner.LowBattery}
}

// Recharged is by how many percent a battery has to be above what is low, to be so no more.
const Recharged = 5

// unknown reports whether it is not known if there is a reason.
func (h Host) unknown(r runner.Reason) bool {
	return r == runner.HostSleep && h.SleepUnknown || r == runner.LidClosed && h.LidUnknown
}

// applies reports whether there is a reason for a guest, and what it is to do then.
func (h Host) applies(g Guest, r runner.Reason) (guest.PowerAction, bool) {
	switch r {
	case runner.HostSleep:
		return g.Rules.HostSleep, h.Sleeping
	case runner.LidClosed:
		return g.Rules.LidClosed, h.LidClosed
	case runner.LowBattery:
		low := g.Rules.LowBattery.At
		if g.Holds.Has(r) {
			low += Recharged - 1
		}
		return g.Rules.LowBattery.Do, h.Battery.Known && h.Battery.Discharging && h.Battery.Percent <= low
	}
	return guest.DoNothing, false
}

// offFor is after how many seconds a guest that was told to shut itself down and has not is
// no more waited for.
const offFor = 300

// Decide says what there is to do now, in seconds since the kernel started. When all of it
// has been done, and nothing else has changed, there is nothing to do any more.
//
// A guest is held for each reason that its rules name, and goes on when none is left. One that
// stands still by itself is left alone, and one that stands still for another reason is held
// where it is, whatever its rule. What somebody has overruled is not held anew.
func Decide(h Host, guests []Guest, off []Off, now float64) Plan {
	var p Plan
	byName := make(map[string]Guest, len(guests))
	for _, g := range guests {
		byName[g.Name] = g
		if over(g.State) || g.State == runner.Stopping {
			continue
		}
		stands := g.Holds.Effective()
		for _, r := range reasons() {
			if h.unknown(r) {
				continue
			}
			action, is := h.applies(g, r)
			is = is && action != guest.DoNothing && action != guest.StayAwake && action != guest.DefaultAction
			switch {
			case g.Holds.Has(r) && !is:
				p.Release = append(p.Release, Step{Guest: g.Name, Do: LetGo, Reason: r})
			case is && !g.Holds.Has(r) && (stands || g.State != runner.Suspended):
				do := map[guest.PowerAction]Do{guest.DoPause: Pause, guest.DoSleep: Sleep, guest.DoShutDown: ShutDown}[action]
				if stands {
					do = Pause
				}
				p.Hold = append(p.Hold, Step{Guest: g.Name, Do: do, Reason: r})
				stands = true
			}
		}
	}
	for _, o := range off {
		g, known := byName[o.Name]
		_, is := h.applies(g, o.Reason)
		switch {
		case !known, g.State == runner.Failed, !over(g.State) && (g.Holds.Has(o.Reason) || now-o.Since > offFor):
			p.Forget = append(p.Forget, o)
		case !is && !h.unknown(o.Reason) && g.State == runner.Stopped:
			p.Release = append(p.Release, Step{Guest: o.Name, Do: Start, Reason: o.Reason})
		}
	}
	order(p.Hold, func(name string) []string { return byName[name].Before })
	order(p.Release, func(name string) []string { return byName[name].Needs })
	return p
}

func over(s runner.State) bool { return runner.Status{State: s}.Over() }

// Awake reports whether a guest that runs keeps the host awake while its lid is closed.
func Awake(guests []Guest) bool {
	return slices.ContainsFunc(guests, func(g Guest) bool {
		return g.Rules.LidClosed == guest.StayAwake && !over(g.State)
	})
}

// order puts each guest's steps behind those of the guests that first names, however they
// hang together. What waits for itself in a circle does not wait.
func order(steps []Step, first func(string) []string) {
	there := map[string]bool{}
	for _, s := range steps {
		there[s.Guest] = true
	}
	level := map[string]int{}
	after := map[string][]string{}
	visiting := map[string]bool{}
	// behind returns the nearest guests with steps that come before a guest.
	var visit func(name string) int
	visit = func(name string) int {
		if n, done := level[name]; done {
			return n
		}
		if visiting[name] {
			return -1
		}
		visiting[name] = true
		n := 0
		for _, before := range first(name) {
			l := visit(before)
			switch {
			case l < 0: // a circle
				continue
			case there[before]:
				after[name] = append(after[name], before)
				n = max(n, l+1)
			default: // what it waits for through one that has nothing to do
				after[name] = append(after[name], after[before]...)
				n = max(n, l)
			}
		}
		visiting[name] = false
		level[name] = n
		slices.Sort(after[name])
		after[name] = slices.Compact(after[name])
		return n
	}
	for i, s := range steps {
		steps[i].Level = visit(s.Guest)
		steps[i].After = after[s.Guest]
	}
	slices.SortStableFunc(steps, func(a, b Step) int { return cmp.Or(cmp.Compare(a.Level, b.Level), cmp.Compare(a.Guest, b.Guest)) })
}
