package runner

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestHolds(t *testing.T) {
	var h Holds
	if h.Effective() || h.words() != "" {
		t.Error("a guest without holds stands still")
	}
	h = h.With(HostSleep, 1).With(LidClosed, 2).With(HostSleep, 3)
	want := Holds{{HostSleep, 1, false}, {LidClosed, 2, false}}
	if diff := cmp.Diff(want, h); diff != "" {
		t.Error(diff)
	}
	if got := h.words(); got != "because the host sleeps and because the lid is closed" {
		t.Errorf("%q", got)
	}
	if after := h.Without(HostSleep); !after.Effective() || after.Has(HostSleep) || !h.Has(HostSleep) {
		t.Errorf("%v of %v", after, h)
	}
	over := h.With(ByHand, 4).With(LostDevice, 5).Without(ByHand)
	want = Holds{{HostSleep, 1, true}, {LidClosed, 2, true}}
	if diff := cmp.Diff(want, over); diff != "" {
		t.Error(diff)
	}
	if over.Effective() || over.words() != "" {
		t.Errorf("%v is in effect", over)
	}
	if again := over.With(LidClosed, 6); again.Effective() {
		t.Errorf("what was overruled is held anew: %v", again)
	}
	if left := over.Without(LidClosed).Without(HostSleep); left != nil {
		t.Errorf("%v is left", left)
	}
}

// Each reason is there at most once, is gone when it is taken back, and is in effect only if
// nobody has overruled it since it came.
func TestHoldsKeepTheirReasons(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h Holds
		model := map[Reason]bool{} // and whether it is in effect
		for range rapid.IntRange(0, 20).Draw(t, "steps") {
			r := rapid.SampledFrom([]Reason{ByHand, HostSleep, LidClosed, LowBattery, LostDevice}).Draw(t, "reason")
			if rapid.Bool().Draw(t, "hold") {
				h = h.With(r, 0)
				if _, is := model[r]; !is {
					model[r] = true
				}
			} else {
				h = h.Without(r)
				delete(model, r)
				if r == ByHand {
					delete(model, LostDevice)
					for k := range model {
						model[k] = false
					}
				}
			}
			got, effective := map[Reason]bool{}, false
			for _, one := range h {
				got[one.Reason] = !one.Overruled
			}
			for _, is := range model {
				effective = effective || is
			}
			if diff := cmp.Diff(model, got); diff != "" || len(h) != len(model) || h.Effective() != effective {
				t.Fatalf("%v\n%s", h, diff)
			}
		}
	})
}
