package power

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/internal/runner"
)

func rules(sleep, lid guest.PowerAction, at int, low guest.PowerAction) guest.Power {
	return guest.Power{HostSleep: sleep, LidClosed: lid, LowBattery: guest.LowBattery{At: at, Do: low}}
}

// words writes a plan as a person would read it aloud.
func (p Plan) words() string {
	var all []string
	for _, list := range [][]Step{p.Hold, p.Release} {
		for _, s := range list {
			w := fmt.Sprintf("%d %s %s %s", s.Level, s.Do, s.Guest, s.Reason)
			if len(s.After) > 0 {
				w += " after " + strings.Join(s.After, "+")
			}
			all = append(all, w)
		}
	}
	for _, o := range p.Forget {
		all = append(all, "forget "+o.Name)
	}
	return strings.Join(all, "\n")
}

func TestDecide(t *testing.T) {
	held := func(all ...runner.Reason) (h runner.Holds) {
		for _, r := range all {
			h = h.With(r, 1)
		}
		return h
	}
	usual := rules(guest.DoPause, guest.DoNothing, 5, guest.DoShutDown)
	low := Host{Battery: Battery{true, 5, true}}
	// work and home need network, and work needs keys.
	house := func(change func([]Guest)) []Guest {
		g := []Guest{
			{Name: "home", Rules: usual, State: runner.Running, Needs: []string{"network"}},
			{Name: "keys", Rules: rules(guest.DoNothing, guest.DoNothing, 5, guest.DoNothing), State: runner.Running, Before: []string{"work"}},
			{Name: "network", Rules: usual, State: runner.Running, Before: []string{"home", "work"}},
			{Name: "work", Rules: usual, State: runner.Running, Needs: []string{"keys", "network"}},
		}
		change(g)
		return g
	}
	one := func(r guest.Power, s runner.State, h runner.Holds) []Guest {
		return []Guest{{Name: "work", Rules: r, State: s, Holds: h}}
	}
	for _, tt := range []struct {
		name   string
		host   Host
		guests []Guest
		off    []Off
		want   string
	}{
		{"nothing", Host{}, house(func([]Guest) {}), nil, ""},
		{"the host sleeps", Host{Sleeping: true}, house(func([]Guest) {}), nil,
			"0 pause home host-sleep\n0 pause work host-sleep\n1 pause network host-sleep after home+work"},
		{"the host is awake", Host{}, house(func(g []Guest) {
			for i := range g {
				g[i].State, g[i].Holds = runner.Suspended, held(runner.HostSleep)
			}
		}), nil, "0 let-go keys host-sleep\n0 let-go network host-sleep\n1 let-go home host-sleep after network\n1 let-go work host-sleep after keys+network"},
		{"in the middle of it", Host{Sleeping: true}, house(func(g []Guest) {
			g[0].State, g[0].Holds = runner.Suspended, held(runner.HostSleep)
		}), nil, "0 pause work host-sleep\n1 pause network host-sleep after work"},
		{"by hand and by itself", Host{Sleeping: true}, house(func(g []Guest) {
			g[0].State, g[0].Holds = runner.Suspended, held(runner.ByHand)
			g[2].State = runner.Suspended
			g[3].State = runner.Stopping
		}), nil, "0 pause home host-sleep"},
		{"starting and hung", Host{Sleeping: true}, house(func(g []Guest) {
			g[0].State, g[2].State, g[3].State = runner.Starting, runner.Unresponsive, runner.Failed
		}), nil, "0 pause home host-sleep\n1 pause network host-sleep after home"},
		{"asleep", Host{Sleeping: true}, one(rules(guest.DoSleep, guest.DoNothing, 5, guest.DoNothing), runner.Running, nil), nil, "0 sleep work host-sleep"},
		{"off", Host{LidClosed: true}, one(rules(guest.DoPause, guest.DoShutDown, 5, guest.DoNothing), runner.Running, nil), nil, "0 shutdown work lid-closed"},
		{"the lid is nothing to it", Host{LidClosed: true}, one(usual, runner.Running, nil), nil, ""},
		{"it keeps the host awake", Host{LidClosed: true}, one(rules(guest.DoPause, guest.StayAwake, 5, guest.DoNothing), runner.Running, nil), nil, ""},
		{"lid and sleep", Host{LidClosed: true, Sleeping: true}, one(rules(guest.DoSleep, guest.DoShutDown, 5, guest.DoNothing), runner.Running, nil), nil,
			"0 sleep work host-sleep\n0 pause work lid-closed"},
		{"sleep after the lid", Host{LidClosed: true, Sleeping: true}, one(rules(guest.DoSleep, guest.DoPause, 5, guest.DoNothing), runner.Suspended, held(runner.LidClosed)), nil,
			"0 pause work host-sleep"},
		{"awake, and the lid is closed still", Host{LidClosed: true}, one(rules(guest.DoSleep, guest.DoPause, 5, guest.DoNothing), runner.Suspended, held(runner.LidClosed, runner.HostSleep)), nil,
			"0 let-go work host-sleep"},
		{"overruled", Host{LidClosed: true}, one(rules(guest.DoPause, guest.DoPause, 5, guest.DoNothing), runner.Running, held(runner.LidClosed).Without(runner.ByHand)), nil, ""},
		{"the rule is another one now", Host{LidClosed: true}, one(usual, runner.Suspended, held(runner.LidClosed)), nil, "0 let-go work lid-closed"},
		{"low", low, one(usual, runner.Running, nil), nil, "0 shutdown work low-battery"},
		{"low on mains", Host{Battery: Battery{true, 5, false}}, one(usual, runner.Running, nil), nil, ""},
		{"not known", Host{Battery: Battery{false, 0, true}}, one(usual, runner.Running, nil), nil, ""},
		{"not low", Host{Battery: Battery{true, 6, true}}, one(usual, runner.Running, nil), nil, ""},
		{"low still", Host{Battery: Battery{true, 9, true}}, one(usual, runner.Suspended, held(runner.LowBattery)), nil, ""},
		{"charged", Host{Battery: Battery{true, 10, true}}, one(usual, runner.Suspended, held(runner.LowBattery)), nil, "0 let-go work low-battery"},
		{"on mains", Host{Battery: Battery{true, 1, false}}, one(usual, runner.Suspended, held(runner.LowBattery)), nil, "0 let-go work low-battery"},
		{"a wake with a low battery", Host{Battery: Battery{true, 3, true}}, one(rules(guest.DoPause, guest.DoNothing, 5, guest.DoPause), runner.Suspended, held(runner.HostSleep)), nil,
			"0 pause work low-battery\n0 let-go work host-sleep"},
		{"started again", Host{}, house(func(g []Guest) {
			g[2].State, g[3].State = runner.Stopped, runner.Stopped
		}), []Off{{"work", runner.HostSleep, 1}, {"network", runner.HostSleep, 1}}, "0 start network host-sleep\n1 start work host-sleep after network"},
		{"off until the lid is opened", Host{LidClosed: true}, one(rules("", guest.DoShutDown, 5, ""), runner.Stopped, nil), []Off{{"work", runner.LidClosed, 1}}, ""},
		{"it is still shutting down", Host{}, one(usual, runner.Running, nil), []Off{{"work", runner.HostSleep, 900}}, ""},
		{"it has not shut down", Host{}, one(usual, runner.Running, nil), []Off{{"work", runner.HostSleep, 1}}, "forget work"},
		{"it was paused in its place", Host{}, one(usual, runner.Suspended, held(runner.HostSleep)), []Off{{"work", runner.HostSleep, 999}}, "0 let-go work host-sleep\nforget work"},
		{"it failed", Host{}, one(usual, runner.Failed, nil), []Off{{"work", runner.HostSleep, 999}}, "forget work"},
		{"it is not there any more", Host{}, nil, []Off{{"work", runner.HostSleep, 999}}, "forget work"},
		{"not known yet", Host{SleepUnknown: true, LidUnknown: true}, []Guest{
			{Name: "a", Rules: usual, State: runner.Suspended, Holds: held(runner.HostSleep, runner.LidClosed, runner.LowBattery)},
			{Name: "b", Rules: usual, State: runner.Stopped},
			{Name: "c", Rules: usual, State: runner.Running},
		}, []Off{{"b", runner.HostSleep, 999}}, "0 let-go a low-battery"},
		{"through one with nothing to do", Host{Sleeping: true}, []Guest{
			{Name: "a", Rules: usual, State: runner.Running, Before: []string{"b"}},
			{Name: "b", State: runner.Running, Before: []string{"c"}},
			{Name: "c", Rules: usual, State: runner.Running},
		}, nil, "0 pause c host-sleep\n1 pause a host-sleep after c"},
		{"a circle", Host{Sleeping: true}, []Guest{
			{Name: "a", Rules: usual, State: runner.Running, Before: []string{"b"}},
			{Name: "b", Rules: usual, State: runner.Running, Before: []string{"a"}},
		}, nil, "0 pause b host-sleep\n1 pause a host-sleep after b"},
	} {
		p := Decide(tt.host, tt.guests, tt.off, 1000)
		if diff := cmp.Diff(tt.want, p.words()); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
		if p.Empty() != (tt.want == "") {
			t.Errorf("%s: empty is %v", tt.name, p.Empty())
		}
	}
}

func TestAwake(t *testing.T) {
	awake := rules("", guest.StayAwake, 5, "")
	if Awake([]Guest{{Rules: awake, State: runner.Stopped}, {Rules: rules("", guest.DoPause, 5, ""), State: runner.Running}}) {
		t.Error("a guest that does not run keeps the host awake")
	}
	if !Awake([]Guest{{Rules: awake, State: runner.Suspended}}) {
		t.Error("the host sleeps")
	}
}

// A world is a host with guests whose runners keep holds as runners do.
type world struct {
	t      *rapid.T
	host   Host
	guests map[string]*being
	off    []Off
	byHand map[string]bool
}

type being struct {
	Guest
	dreams  bool // it sleeps by itself
	stops   int  // how often its processors were stopped, and let go
	goes    int
	hangs   bool
	ignores bool // its power button
}

func (w *world) look() (all []Guest) {
	for _, name := range slices.Sorted(maps.Keys(w.guests)) {
		b := w.guests[name]
		g := b.Guest
		switch {
		case over(b.State):
		case b.hangs:
			g.State = runner.Unresponsive
		case b.dreams, b.Holds.Effective():
			g.State = runner.Suspended
		}
		all = append(all, g)
	}
	return all
}

// do carries out a step as a runner does, and fails with a guest that hangs.
func (w *world) do(s Step) {
	b := w.guests[s.Guest]
	if s.Do == Start {
		w.off = slices.DeleteFunc(w.off, func(o Off) bool { return o.Name == s.Guest })
		if b.State != runner.Stopped {
			w.t.Fatalf("guest %s is %s, and is started", s.Guest, b.State)
		}
		b.State, b.dreams = runner.Running, false
		return
	}
	if over(b.State) || b.hangs {
		return
	}
	standing := b.Holds.Effective()
	if s.Do == LetGo {
		if b.Holds = b.Holds.Without(s.Reason); standing && !b.Holds.Effective() && !b.dreams {
			b.goes++
		}
		return
	}
	if s.Do == ShutDown && !b.ignores {
		if s.Reason != runner.LowBattery {
			w.off = append(slices.DeleteFunc(w.off, func(o Off) bool { return o.Name == s.Guest }), Off{s.Guest, s.Reason, 0})
		}
		b.end()
		return
	}
	if b.dreams && !standing {
		return
	}
	if b.Holds = b.Holds.With(s.Reason, 0); !standing && b.Holds.Effective() {
		b.stops++
	}
}

// run decides and does what is decided, up to so many steps: then it was killed.
func (w *world) run(steps int) (finished bool) {
	p := Decide(w.host, w.look(), w.off, 0)
	done := map[string]bool{}
	for n, list := range [][]Step{p.Hold, p.Release} {
		clear(done)
		left := map[string]int{}
		for _, s := range list {
			left[s.Guest]++
		}
		for _, s := range list {
			if steps--; steps < 0 {
				return false
			}
			g := w.guests[s.Guest]
			first := map[int][]string{0: g.Before, 1: g.Needs}[n]
			for _, other := range first {
				if left[other] > 0 {
					w.t.Fatalf("%s %s before %s, of which there is more to do", s.Do, s.Guest, other)
				}
			}
			for _, other := range s.After {
				if left[other] > 0 {
					w.t.Fatalf("%s is to come after %s, and does not", s.Guest, other)
				}
			}
			if done[s.Guest+string(s.Reason)] {
				w.t.Fatalf("%s is done twice to %s", s.Reason, s.Guest)
			}
			done[s.Guest+string(s.Reason)] = true
			left[s.Guest]--
			w.do(s)
		}
	}
	for _, o := range p.Forget {
		w.off = slices.DeleteFunc(w.off, func(other Off) bool { return other == o })
	}
	return true
}

// Whatever happens, and wherever the daemon is killed: guests come in order, each that was
// stopped is let go exactly once when the reasons are over, none that somebody has stopped or that
// sleeps by itself goes on, and each that was shut down for a time runs again.
func TestDecideLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{t: t, guests: map[string]*being{}, byHand: map[string]bool{}}
		actions := []guest.PowerAction{guest.DoNothing, guest.DoPause, guest.DoSleep, guest.DoShutDown}
		names := []string{"a", "b", "c", "d", "e"}[:rapid.IntRange(1, 5).Draw(t, "guests")]
		for i, name := range names {
			b := &being{Guest: Guest{Name: name, State: runner.Running, Rules: rules(rapid.SampledFrom(actions).Draw(t, "sleep"),
				rapid.SampledFrom(append(actions, guest.StayAwake)).Draw(t, "lid"), rapid.IntRange(1, 95).Draw(t, "low"), rapid.SampledFrom(actions).Draw(t, "battery"))}}
			b.ignores = rapid.Bool().Draw(t, "ignores its button")
			w.guests[name] = b
			for _, other := range names[:i] {
				if rapid.Bool().Draw(t, "needs") {
					b.Needs = append(b.Needs, other)
					w.guests[other].Before = append(w.guests[other].Before, name)
				}
			}
		}
		for range rapid.IntRange(1, 15).Draw(t, "events") {
			b := w.guests[rapid.SampledFrom(names).Draw(t, "guest")]
			switch rapid.IntRange(0, 8).Draw(t, "event") {
			case 0:
				w.host.Sleeping = !w.host.Sleeping
			case 1:
				w.host.LidClosed = !w.host.LidClosed
			case 2:
				w.host.Battery = Battery{rapid.Bool().Draw(t, "known"), rapid.IntRange(0, 100).Draw(t, "percent"), rapid.Bool().Draw(t, "discharging")}
			case 3:
				b.hangs = !b.hangs
			case 4: // somebody stops it
				if b.State == runner.Running && !b.hangs {
					if !b.Holds.Effective() && !b.dreams {
						b.stops++
					}
					b.Holds = b.Holds.With(runner.ByHand, 0)
				}
			case 5: // or lets it go
				if b.State == runner.Running && !b.hangs {
					if b.Holds.Effective() && !b.dreams {
						b.goes++
					}
					b.Holds, b.dreams = b.Holds.Without(runner.ByHand), false
				}
			case 6: // it puts itself to sleep
				b.dreams = b.dreams || b.State == runner.Running && !b.Holds.Effective() && !b.hangs
			case 8: // a daemon that has heard nothing yet
				w.host.SleepUnknown, w.host.LidUnknown = rapid.Bool().Draw(t, "sleep unknown"), rapid.Bool().Draw(t, "lid unknown")
			case 7: // or is shut down by who uses it
				if !b.hangs {
					b.end()
				}
			}
			w.run(rapid.IntRange(0, 12).Draw(t, "steps before it is killed"))
		}
		// All is over, and nothing hangs.
		w.host = Host{}
		shut := slices.Clone(w.off)
		for _, b := range w.guests {
			b.hangs = false
		}
		for n := 0; !w.run(100) || !Decide(w.host, w.look(), w.off, 0).Empty(); n++ {
			if n > 3 {
				t.Fatalf("there is always more to do: %s", Decide(w.host, w.look(), w.off, 0).words())
			}
		}
		for name, b := range w.guests {
			for _, r := range reasons() {
				if b.Holds.Has(r) {
					t.Errorf("%s is held because of %s", name, r)
				}
			}
			switch standing := b.Holds.Effective(); {
			case over(b.State):
				if slices.ContainsFunc(shut, func(o Off) bool { return o.Name == name }) {
					t.Errorf("%s is not started again", name)
				}
			case standing && !b.Holds.Has(runner.ByHand):
				t.Errorf("%s stands still: %v", name, b.Holds)
			case b.dreams:
			case standing && b.stops-b.goes != 1, !standing && b.stops != b.goes:
				t.Errorf("%s was stopped %d times and let go %d times: %v", name, b.stops, b.goes, b.Holds)
			}
		}
	})
}

// end ends its run.
func (b *being) end() {
	b.State, b.Holds, b.dreams, b.stops, b.goes = runner.Stopped, nil, false, 0, 0
}

func ExampleDecide() {
	rules := guest.Definition{Devices: []guest.Need{{Want: guest.WantEthernet, How: guest.Assign}}}.PowerRules()
	guests := []Guest{
		{Name: "network", Rules: rules, State: runner.Running, Before: []string{"work"}},
		{Name: "work", Rules: rules, State: runner.Running, Needs: []string{"network"}},
	}
	for _, s := range Decide(Host{Sleeping: true}, guests, nil, 0).Hold {
		fmt.Println(s.Do, s.Guest, s.Reason)
	}
	// Output:
	// pause work host-sleep
	// pause network host-sleep
}
