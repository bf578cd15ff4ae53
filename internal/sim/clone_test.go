package sim_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/internal/sim"
)

// The same is done to a kernel and to clones of it, made at random moments: all say the
// same and end in the same machine, and a clone that is left alone stays as it was.
func TestClone(t *testing.T) {
	files := must(filepath.Glob(filepath.Join(hosttest.Shared(t, "hosts"), "*.txtar")))
	files = append(files, filepath.Join(hosttest.Root(t), "testdata/hosts/lab-intel.txtar"))
	for seed, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(uint64(seed), 1))
			k := kernel(t, file, sim.Options{VFIO: true})
			kernels := []*sim.Kernel{k}
			var idle *sim.Kernel
			var was string
			var functions []string
			for _, e := range must(k.ReadDir(devices[:len(devices)-1])) {
				functions = append(functions, e.Name())
			}
			outcomes := map[string]int{}
			for step := range 400 {
				if step%40 == 20 {
					kernels = append(kernels, k.Clone())
				}
				if step == 200 {
					idle = k.Clone()
					was = state(t, idle)
				}
				a := functions[random.IntN(len(functions))]
				writes := [][2]string{
					{devices + a + "/driver_override", "vfio-pci"}, {devices + a + "/driver_override", "\n"},
					{devices + a + "/driver/unbind", a}, {devices + a + "/driver/unbind", a}, {bus + "drivers_probe", a}, {bus + "drivers_probe", a},
					{devices + a + "/remove", "1"}, {bus + "rescan", "1"}, {devices + a + "/sriov_numvfs", "2"}, {devices + a + "/reset_method", "bus"},
					{drivers + "vfio-pci/new_id", "8086 100e"}, {drivers + "vfio-pci/remove_id", "8086 100e"}, {devices + a + "/power/control", "on"},
				}
				w := writes[random.IntN(len(writes))]
				want := k.WriteFile(w[0], []byte(w[1]))
				outcomes[fmt.Sprint(want == nil)]++
				for i, c := range kernels[1:] {
					if got := c.WriteFile(w[0], []byte(w[1])); fmt.Sprint(got) != fmt.Sprint(want) {
						t.Fatalf("step %d, clone %d: write %q to %s: %v, want %v", step, i, w[1], w[0], got, want)
					}
				}
			}
			want := k.Tree()
			for i, c := range kernels[1:] {
				if d := want.Diff(c.Tree()); len(d) > 0 {
					t.Errorf("clone %d is not as the kernel: %v", i, d)
				}
			}
			if state(t, idle) != was {
				t.Error("what was done to a kernel is seen in a clone")
			}
			if outcomes["true"] < 100 {
				t.Errorf("%d writes succeeded, which shows little", outcomes["true"])
			}
		})
	}
}

// A clone has neither the faults nor the list of writes of its kernel.
func TestCloneStartsAnew(t *testing.T) {
	k := labLaptop(t, sim.Options{})
	k.Fail = func(string, []byte) error { return errors.New("boom") }
	if k.WriteFile(bus+"drivers_probe", []byte("0000:02:00.0")) == nil {
		t.Fatal("no fault")
	}
	c := k.Clone()
	if err := c.WriteFile(bus+"drivers_probe", []byte("0000:02:00.0")); err != nil {
		t.Errorf("a fault of the kernel's: %v", err)
	}
	if n := len(c.Writes()); n != 1 {
		t.Errorf("%d writes in the clone's list, want its own", n)
	}
}

func BenchmarkClone(b *testing.B) {
	k := labLaptop(b, sim.Options{})
	for b.Loop() {
		k.Clone()
	}
}
