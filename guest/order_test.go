package guest_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/project-independence/indy/guest"
)

func starting(name string, priority int, needs ...string) guest.Definition {
	return guest.Definition{Name: name, Autostart: &guest.Autostart{Priority: priority, Needs: needs}}
}

func TestStartOrder(t *testing.T) {
	tests := []struct {
		name   string
		guests []guest.Definition
		want   guest.Order
		errs   []string
	}{
		{name: "none"},
		{
			name:   "only what starts by itself",
			guests: []guest.Definition{{Name: "home"}, starting("work", 0)},
			want:   guest.Order{{Name: "work"}},
		},
		{
			name:   "priority, then name",
			guests: []guest.Definition{starting("b", 1), starting("a", 1), starting("c", 9)},
			want:   guest.Order{{Name: "c"}, {Name: "a"}, {Name: "b"}},
		},
		{
			name:   "what is needed comes first, also where it would not start by itself",
			guests: []guest.Definition{starting("work", 9, "net", "usb"), starting("home", 5, "net"), {Name: "net"}, starting("usb", 1)},
			want: guest.Order{
				{Name: "usb", Before: []string{"work"}},
				{Name: "net", Before: []string{"work", "home"}},
				{Name: "work", After: []string{"usb", "net"}},
				{Name: "home", After: []string{"net"}},
			},
		},
		{
			name:   "what is not there leaves out who needs it, and nobody else",
			guests: []guest.Definition{starting("work", 9, "net"), starting("home", 5), starting("late", 1, "work")},
			want:   guest.Order{{Name: "home"}},
			errs:   []string{`guest work needs guest "net", which is not there`, "guest late needs guest work, which cannot start"},
		},
		{
			name:   "a circle",
			guests: []guest.Definition{starting("a", 0, "b"), starting("b", 0, "c"), starting("c", 0, "a"), starting("d", 0)},
			want:   guest.Order{{Name: "d"}},
			errs:   []string{"guests wait for one another: a needs b needs c needs a"},
		},
		{
			name:   "itself",
			guests: []guest.Definition{starting("a", 0, "a")},
			errs:   []string{"guests wait for one another: a needs a"},
		},
		{
			name:   "a circle that another one waits for",
			guests: []guest.Definition{starting("z", 9, "a"), starting("a", 0, "b"), starting("b", 0, "a")},
			errs:   []string{"guests wait for one another: a needs b needs a", "guest z needs guest a, which cannot start"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := guest.StartOrder(test.guests)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("order (-want +got):\n%s", diff)
			}
			var said []string
			if err != nil {
				said = strings.Split(err.Error(), "\n")
			}
			slices.Sort(said)
			slices.Sort(test.errs)
			if diff := cmp.Diff(test.errs, said); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
			var cycle *guest.CycleError
			if circle := strings.Contains(strings.Join(test.errs, ""), "one another"); errors.As(err, &cycle) != circle {
				t.Errorf("a *CycleError: %t, want %t", !circle, circle)
			}
		})
	}
}

// Whatever guests need one another: who has a place comes after all that it needs, once,
// and who has none needs one that has none, is not there, or waits for itself.
func TestStartOrderProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 8).Draw(t, "guests")
		var all []guest.Definition
		for i := range n {
			needs := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string {
				return fmt.Sprint("g", rapid.IntRange(0, n).Draw(t, "which")) // gN is not there
			}), 0, 3).Draw(t, "needs")
			all = append(all, starting(fmt.Sprint("g", i), rapid.IntRange(0, 3).Draw(t, "priority"), needs...))
		}
		order, err := guest.StartOrder(all)
		place := make(map[string]int)
		for i, p := range order {
			if _, twice := place[p.Name]; twice {
				t.Fatalf("%s has two places in %v", p.Name, order)
			}
			for _, need := range p.After {
				at, there := place[need]
				if !there || at >= i {
					t.Fatalf("%s starts before %s, which it needs: %v", p.Name, need, order)
				}
				if !slices.Contains(order[at].Before, p.Name) {
					t.Fatalf("%s does not know that it stops after %s: %v", need, p.Name, order)
				}
			}
			place[p.Name] = i
		}
		for _, d := range all {
			if _, there := place[d.Name]; there {
				continue
			}
			if err == nil {
				t.Fatalf("%s is left out, and nothing is said: %v", d.Name, order)
			}
			if !slices.ContainsFunc(d.Autostart.Needs, func(need string) bool { _, there := place[need]; return !there }) {
				t.Fatalf("%s is left out though all that it needs is there: %v", d.Name, order)
			}
		}
		shuffled, _ := guest.StartOrder(rapid.Permutation(all).Draw(t, "shuffled"))
		if diff := cmp.Diff(names(order), names(shuffled)); diff != "" {
			t.Fatalf("the order depends on how the guests are listed:\n%s", diff)
		}
	})
}

func names(o guest.Order) (all []string) {
	for _, p := range o {
		all = append(all, p.Name)
	}
	return all
}
