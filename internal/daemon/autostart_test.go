package daemon

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/guest"
)

func defined(name, autostart string) string {
	text := "name: " + name + "\nmemory: 1GiB\n"
	if autostart != "" {
		text += "autostart: {" + autostart + "}\n"
	}
	return text
}

// startedBy has a daemon start its guests, and returns what became of each.
func (f fixture) startedBy(t *testing.T) map[string]string {
	t.Helper()
	if !f.begin(t.Context()) {
		t.Fatal("nothing is begun")
	}
	for range 1000 {
		if f.starts.look().Done {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	b := f.BootReport(t.Context())
	if !b.Done {
		t.Fatalf("%+v", b)
	}
	got := map[string]string{}
	for _, g := range b.Guests {
		got[g.Name] = strings.TrimSuffix(string(g.Result)+": "+g.Reason, ": ")
	}
	return got
}

func TestAutostart(t *testing.T) {
	for name, c := range map[string]struct {
		guests []string
		fails  map[string]string
		never  string // is not ready
		want   map[string]string
		asked  []string // nil is not looked at
		errs   string
	}{
		"by priority": {
			guests: []string{defined("a", "priority: 1"), defined("b", "priority: 3"), defined("c", "priority: 2"), defined("d", "")},
			want:   map[string]string{"a": "ready", "b": "ready", "c": "ready"},
			asked:  []string{"start b", "start c", "start a"},
		},
		"what others need first": {
			guests: []string{defined("work", "priority: 90, needs: [network]"), defined("network", "")},
			want:   map[string]string{"network": "ready", "work": "ready"},
			asked:  []string{"start network", "start work"},
		},
		"one fails": {
			guests: []string{defined("network", "priority: 1"), defined("work", "needs: [network]"), defined("more", "needs: [work]"), defined("alone", "")},
			fails:  map[string]string{"network": "no such bridge"},
			want: map[string]string{
				"network": "failed: no such bridge", "work": "skipped: it needs guest network, which failed", "more": "skipped: it needs guest work, which was not started",
			},
			asked: []string{"start network"},
		},
		"one is never ready": {
			guests: []string{defined("network", "ready: {serial: up}"), defined("work", "needs: [network]")},
			never:  "network",
			want:   map[string]string{"network": "failed: it was not ready within 1s", "work": "skipped: it needs guest network, which failed"},
		},
		"one is never reached": {
			guests: []string{defined("work", "ready: {tcp: 22}") + "network: nat\n"},
			never:  "work",
			want:   map[string]string{"work": "failed: it was not ready within 1s"},
		},
		"a circle": {
			guests: []string{defined("a", "needs: [b]"), defined("b", "needs: [a]"), defined("c", "priority: 1"), defined("d", "needs: [nobody]")},
			want:   map[string]string{"c": "ready"},
			errs:   "guests wait for one another|which is not there",
		},
		"none": {guests: []string{defined("a", "")}, want: map[string]string{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, c.guests...)
			f.runners.fails = c.fails
			if c.never != "" {
				f.runners.delays[c.never] = -1
			}
			if diff := cmp.Diff(c.want, f.startedBy(t)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if c.asked != nil {
				if diff := cmp.Diff(c.asked, f.runners.asked()); diff != "" {
					t.Errorf("asked (-want +got):\n%s", diff)
				}
			}
			said := strings.Join(f.BootReport(t.Context()).Errors, "\n")
			for _, part := range strings.Split(c.errs, "|") {
				if !strings.Contains(said, part) {
					t.Errorf("%q, want %q", said, part)
				}
			}
			if c.errs == "" && said != "" {
				t.Error(said)
			}
			if f.begin(t.Context()) {
				t.Error("guests are started twice")
			}
		})
	}
}

// TestDelay starts guests on a clock that is not the machine's.
func TestDelay(t *testing.T) {
	f := newFixture(t, defined("a", "")) // its files are made outside
	f.Ready = time.Hour
	synctest.Test(t, func(t *testing.T) {
		f.runners.delays = map[string]time.Duration{"network": 30 * time.Second}
		guests := map[string]guest.Definition{
			"network": {Name: "network", Autostart: &guest.Autostart{}},
			"work":    {Name: "work", Autostart: &guest.Autostart{Needs: []string{"network"}, Delay: 10 * time.Second}},
			"own":     {Name: "own", Autostart: &guest.Autostart{Delay: 5 * time.Second, Priority: 100}},
		}
		order, err := guest.StartOrder([]guest.Definition{guests["network"], guests["own"], guests["work"]})
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		at := map[string]string{}
		f.startAll(t.Context(), order, guests, func(s Start) {
			if s.Result == Starting || s.Result == Ready {
				at[s.Name+" "+string(s.Result)] = time.Since(begun).Round(time.Second).String()
			}
		})
		want := map[string]string{
			"network starting": "0s", "network ready": "30s", "own starting": "5s", "own ready": "5s", "work starting": "40s", "work ready": "40s",
		}
		if diff := cmp.Diff(want, at); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// TestGoesOn ends the daemon in the middle of starting guests. The next one goes on, and
// starts none that runs; one of another boot begins anew.
func TestGoesOn(t *testing.T) {
	f := newFixture(t, defined("network", "priority: 1, ready: {serial: up}"), defined("work", "needs: [network]"))
	f.runners.delays["network"] = -1
	ctx, kill := context.WithCancel(t.Context())
	f.starts.kept.Asked = 1
	f.starts.tell(f.Daemon, Start{Name: "network", Result: Waiting})
	go f.startAll(ctx, guest.Order{{Name: "network"}, {Name: "work", After: []string{"network"}}}, map[string]guest.Definition{}, func(Start) {})
	for len(f.runners.asked()) == 0 {
		time.Sleep(time.Millisecond)
	}
	kill()
	f.runners.mu.Lock()
	f.runners.delays["network"] = 0
	f.runners.mu.Unlock()

	next := fixture{New(f.Config), f.Stored, f.runners}
	next.Resume(t.Context())
	for range 500 {
		if next.starts.look().Done {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	b := next.BootReport(t.Context())
	if !b.Done || len(b.Guests) != 2 || b.Guests[0].Result != Ready || b.Guests[1].Result != Ready || b.Asked != 1 {
		t.Errorf("%+v", b)
	}
	if diff := cmp.Diff([]string{"start network", "start work"}, f.runners.asked()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	again := New(f.Config)
	again.Resume(t.Context())
	if again.begin(t.Context()) || again.starts.begun {
		t.Error("guests are started again at the same boot")
	}
	f.Config.BootID = "two"
	if k := New(f.Config).starts.look(); k.Asked != 0 || k.Done || len(k.Guests) != 0 {
		t.Errorf("of another boot: %+v", k)
	}
	if err := os.WriteFile(f.State, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if k := New(f.Config).starts.look(); k.Done || k.BootID != "two" {
		t.Errorf("of a damaged file: %+v", k)
	}
}

func TestShutdown(t *testing.T) {
	f := newFixture(t, defined("network", ""), defined("work", "needs: [network]"), defined("more", "needs: [work]"), defined("alone", ""), defined("hand", "needs: [gone]"))
	f.run(t, "network", "work", "more", "alone", "hand", "undefined")
	f.runners.stops = map[string]time.Duration{"work": 30 * time.Millisecond, "more": time.Hour}
	all, err := f.stopAll(t.Context(), 300*time.Millisecond)
	if err != nil || len(all) != 6 {
		t.Errorf("%+v, %v", all, err)
	}
	for _, s := range all {
		if s.Error != "" || s.Forced != (s.Name == "more") {
			t.Errorf("%+v", s)
		}
	}
	asked := f.runners.asked()
	before := func(a, b string) {
		t.Helper()
		if i, j := slices.Index(asked, a), slices.Index(asked, b); i < 0 || j < 0 || i > j {
			t.Errorf("%s is not before %s: %q", a, b, asked)
		}
	}
	before("stopped more", "stopping work")
	before("stopped work", "stopping network")
	before("stopped alone", "stopped more")
	if again, err := f.stopAll(t.Context(), 300*time.Millisecond); err != nil || len(again) != 0 {
		t.Errorf("%+v, %v", again, err)
	}
}

func TestBootReport(t *testing.T) {
	f := newFixture(t, defined("work", ""))
	f.startedBy(t)
	b := f.BootReport(t.Context())
	if b.BootID != "one" || b.Daemon != f.Started || b.Asked < b.Daemon || len(b.Guests) != 0 {
		t.Errorf("%+v", b)
	}
	f = newFixture(t, defined("work", "priority: 1"))
	f.startedBy(t)
	b = f.BootReport(t.Context())
	if len(b.Guests) != 1 || len(b.Guests[0].Phases) != 2 {
		t.Fatalf("%+v", b)
	}
	p := b.Guests[0].Phases
	if p[0].Name != "runner" || p[0].Took != p[0].At-b.Asked || p[1].Took != p[1].At-p[0].At || p[0].Took < 0 {
		t.Errorf("%+v", b)
	}
}

// TestManyStart starts as many guests as nobody has.
func TestManyStart(t *testing.T) {
	f := newFixture(t, defined("a", ""))
	var all []guest.Definition
	guests := map[string]guest.Definition{}
	for i := range 300 {
		g := guest.Definition{Name: fmt.Sprintf("g%d", i), Autostart: &guest.Autostart{}}
		if i >= 3 {
			g.Autostart.Needs = []string{fmt.Sprintf("g%d", i-3), fmt.Sprintf("g%d", i/2)}
		}
		all, guests[g.Name] = append(all, g), g
	}
	order, err := guest.StartOrder(all)
	if err != nil {
		t.Fatal(err)
	}
	ready := map[string]bool{}
	var last Start
	f.startAll(t.Context(), order, guests, func(s Start) {
		f.runners.mu.Lock()
		defer f.runners.mu.Unlock()
		if last = s; s.Result == Starting {
			for _, need := range guests[s.Name].Autostart.Needs {
				if !ready[need] {
					t.Errorf("%s starts before %s is ready", s.Name, need)
				}
			}
		}
		ready[s.Name] = ready[s.Name] || s.Result == Ready
	})
	if len(ready) != 300 || last.Result != Ready {
		t.Errorf("%d guests, %+v", len(ready), last)
	}
}
