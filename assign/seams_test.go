package assign_test

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/internal/broker"
	"github.com/project-independence/indy/internal/sim"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
)

// What a hand-over of any kind may write, there, at its reset and back, the processes that
// write to /sys write.
func TestWritesAreAllowed(t *testing.T) {
	allowed := new(broker.Broker)
	check := func(t *testing.T, names []string) {
		for _, name := range names {
			// The settings of virtual functions are in no file.
			if !allowed.Writes(name) && !strings.HasPrefix(name, "rtnetlink/") {
				t.Errorf("%s would be refused", name)
			}
		}
	}
	cases := append(kindCases(), kindCase{
		"functions", func(t *testing.T) *sim.Kernel { return emulated(t, sim.Options{}) }, func(t *testing.T) assign.Request {
			return assign.Request{Devices: []pci.Address{address(t, e1000eNIC), address(t, igbNIC), address(t, hdAudio)}, Companions: true}
		}, 0,
	})
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			k := c.boot(t)
			r := c.request(t)
			p := mustPlanRequest(t, k, r)
			var names []string
			for _, s := range p.Steps {
				names = append(names, s.Do.File)
				for _, u := range s.Undo {
					names = append(names, u.File)
				}
			}
			dir := t.TempDir()
			s := &assign.Store{Dir: filepath.Join(dir, "leases"), StateDir: filepath.Join(dir, "state")}
			h := &assign.Host{FS: k}
			l, err := s.Assign(t.Context(), h, take(p))
			if err == nil {
				_, err = s.ReleaseNamed(t.Context(), h, l.ID)
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range k.Writes() {
				names = append(names, w.Name)
			}
			check(t, slices.Compact(slices.Sorted(slices.Values(names))))
			if len(r.Devices) > 0 && !slices.ContainsFunc(names, func(n string) bool { return strings.HasSuffix(n, "/reset") }) {
				t.Error("nothing was reset")
			}
		})
	}
}

// While the kernel has not come back from a virtual function, the physical one is left
// alone: to take the virtual ones away would wait for the same, with the lock of the host's
// own device.
func TestStuckVirtualFunction(t *testing.T) {
	k := bootHost(t, "lab-intel.txtar")
	before := string(dump(t, k))
	const pf = "0000:05:00.0"
	p := mustPlanRequest(t, k, assign.Request{VFs: []assign.VFRequest{{Physical: address(t, pf), Count: 2}}})
	first := p.VFs[0].Functions[0].Address.String()
	for _, hangs := range []string{"/unbind", "/reset"} {
		t.Run(hangs[1:], func(t *testing.T) {
			dir := t.TempDir()
			s := &assign.Store{Dir: filepath.Join(dir, "leases")}
			if hangs == "/reset" {
				s.StateDir = filepath.Join(dir, "state")
			}
			h := &assign.Host{FS: k}
			l, err := s.Assign(t.Context(), h, take(p))
			if err != nil {
				t.Fatal(err)
			}
			begin := len(k.Writes())
			k.Fail = func(name string, value []byte) error {
				if strings.HasSuffix(name, hangs) && (string(value) == first || strings.Contains(name, first)) {
					return &assign.StuckError{File: name, PID: 1 << 30}
				}
				return nil
			}
			if _, err := s.ReleaseNamed(t.Context(), h, l.ID); !errors.Is(err, assign.ErrStuck) {
				t.Fatalf("%v", err)
			}
			for _, w := range k.Writes()[begin:] {
				if strings.Contains(w.Name, pf+"/") {
					t.Errorf("wrote %q to %s", w.Value, w.Name)
				}
			}
			k.Fail = nil // and that process has ended
			if _, err := s.Recover(t.Context(), h); err != nil {
				t.Fatal(err)
			}
			if string(dump(t, k)) != before {
				t.Error("not as before")
			}
		})
	}
}

// Who gets a part of a function gets what guests have left in the whole.
func TestResidueOfParts(t *testing.T) {
	k := bootHost(t, "lab-intel.txtar")
	b := newBench(t, k)
	reset := igbNIC + "/reset"
	k.Fail = func(name string, _ []byte) error {
		if strings.HasSuffix(name, reset) {
			return errors.New("injected")
		}
		return nil
	}
	b.must("play", false, igbNIC, anything()...)
	k.Fail = nil
	b.state(igbNIC, assign.Tainted)
	l, err := laptop.Read(k)
	if err != nil {
		t.Fatal(err)
	}
	plan := func(q assign.Request) error {
		f, err := assign.ReadRequest(k, l, q)
		if err != nil {
			t.Fatal(err)
		}
		noted, err := b.store.Residues(k)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.AddResidue(k, noted); err != nil {
			t.Fatal(err)
		}
		_, err = assign.NewPlan(f, q)
		return err
	}
	var refused *assign.RefusedError
	q := assign.Request{Guest: "bank", Locked: true, Allow: anything(), VFs: []assign.VFRequest{{Physical: address(t, igbNIC), Count: 1}}}
	if err := plan(q); !errors.As(err, &refused) || refused.Findings[0].Code != laptop.LockedResidue {
		t.Errorf("a locked guest: %v", err)
	}
	q.Guest, q.Locked = "play", false
	if err := plan(q); !errors.As(err, &refused) || refused.Findings[0].Code != laptop.Tainted {
		t.Errorf("a free guest: %v", err)
	}
	q.Allow = append(q.Allow, laptop.Tainted)
	if err := plan(q); err != nil {
		t.Errorf("overridden by name: %v", err)
	}
}
