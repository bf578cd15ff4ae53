package assign_test

import (
	"testing"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/internal/sim"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
)

// dyingAwake dies at a write, over a function that has no power unless it is told to stay on.
type dyingAwake struct {
	*dying
	sleeper sleeper
}

func (d dyingAwake) ReadFile(name string) ([]byte, error) { return d.sleeper.ReadFile(name) }

// Who is killed while a function stays on because its reset is looked at leaves it so, and
// whoever recovers has it sleep again.
func TestKilledWhileAwake(t *testing.T) {
	const nvme = "0000:02:00.0"
	const power = "sys/bus/pci/devices/" + nvme + "/power/control"
	saved := emulated(t, sim.Options{})
	a := address(t, nvme)
	group := func(a pci.Address) iommu.GroupID {
		f, err := pci.ReadFunction(saved, a)
		if err != nil {
			t.Fatal(err)
		}
		return f.Group
	}
	for _, what := range []string{"release", "reset"} {
		points, awake := 0, 0
		for n := 1; ; n++ {
			more := false
			for _, after := range []bool{false, true} {
				k, err := sim.New(saved.Tree(), sim.Options{VFIO: true})
				if err != nil {
					t.Fatal(err)
				}
				asleep := sleeper{k, nvme, false}
				if err := k.WriteFile(power, []byte("auto")); err != nil {
					t.Fatal(err)
				}
				store := &assign.Store{Dir: t.TempDir(), StateDir: t.TempDir()}
				if what == "reset" {
					unbound(t, k, nvme)
				} else if _, err := store.Assign(t.Context(), &assign.Host{FS: asleep}, take(mustPlan(t, k, nvme))); err != nil {
					t.Fatal(err)
				}
				h := &assign.Host{FS: dyingAwake{&dying{k, n, after}, asleep}}
				if !killed(func() {
					if what == "release" {
						_, _ = store.Release(t.Context(), h, a)
					} else {
						_, _ = store.Clean(t.Context(), h, assign.Cleaning{Devices: []pci.Address{a}, Group: group})
					}
				}) {
					continue
				}
				more = true
				points++
				if is, err := pci.RuntimeControl(k, a); err != nil {
					t.Error(err)
				} else if is == "on" {
					awake++
				}
				if all, err := store.Recover(t.Context(), &assign.Host{FS: asleep}); err != nil || len(all) > 1 {
					t.Errorf("%s, killed at write %d (after: %v): %+v, %v", what, n, after, all, err)
				}
				if is, err := pci.RuntimeControl(k, a); err != nil || is != "auto" {
					t.Errorf("%s, killed at write %d (after: %v): power/control is %q, %v", what, n, after, is, err)
				}
			}
			if !more {
				break
			}
		}
		if points < 6 || awake < 2 {
			t.Errorf("%s: %d points, %d of them with the function awake", what, points, awake)
		}
	}
}
