package assign_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/internal/sim"
	"github.com/project-independence/indy/pci"
)

// hanging is a kernel that does not come back from writes that name a function.
type hanging struct {
	*sim.Kernel
	value  string
	writes int // to it since the first that hangs
}

func (s *hanging) WriteFile(name string, data []byte) error {
	if string(data) == s.value || strings.Contains(name, s.value) {
		if s.writes > 0 || strings.HasSuffix(name, "/unbind") {
			s.writes++
			return &assign.StuckError{
				File: name, Waited: time.Second, PID: 4711, Started: "99",
				Holders: []assign.Holder{{PID: 12, Name: "pipewire", Node: "dev/snd/pcmC0D0p"}},
			}
		}
	}
	return s.Kernel.WriteFile(name, data)
}

// A device that hangs gets no second write until the first has come back. What goes with it
// is as before, and nobody else waits.
func TestStuckLease(t *testing.T) {
	tree := emulated(t, sim.Options{}).Tree()
	put(tree, "proc/4711/stat", "4711 (indy) D 1 1 1 0 -1 0 1 0 0 0 0 0 0 0 20 0 1 0 99 0 0")
	k, err := sim.New(tree, sim.Options{VFIO: true})
	if err != nil {
		t.Fatal(err)
	}
	before := drivers(t, k)
	store := &assign.Store{Dir: t.TempDir()}
	p := mustPlan(t, k, "0000:04:01.0")
	hang := &hanging{Kernel: k, value: "0000:04:02.0"}
	h := &assign.Host{FS: hang}
	var partial *assign.PartialError
	var stuck *assign.StuckError
	_, err = store.Assign(t.Context(), h, take(p))
	if !errors.As(err, &partial) || !errors.As(err, &stuck) || !errors.Is(err, assign.ErrStuck) || !strings.Contains(err.Error(), "pipewire (process 12)") {
		t.Fatalf("%v", err)
	}
	check := func(when string) {
		t.Helper()
		if hang.writes != 1 {
			t.Errorf("%s: %d writes", when, hang.writes)
		}
		if got := drivers(t, k); got["0000:04:01.0"] != before["0000:04:01.0"] {
			t.Errorf("%s: its mate is with %s", when, got["0000:04:01.0"])
		}
		leases, err := store.List()
		if err != nil || len(leases) != 1 || leases[0].State != assign.Stuck || len(leases[0].Stuck) != 1 || leases[0].Stuck[0].Device != "0000:04:02.0" {
			t.Errorf("%s: %+v, %v", when, leases, err)
		}
	}
	check("assign")
	if l, err := store.Assign(t.Context(), h, take(mustPlan(t, k, "0000:02:00.0"))); err != nil {
		t.Errorf("another device: %v", err)
	} else if _, err := store.Release(t.Context(), h, l.Devices[0]); err != nil {
		t.Error(err)
	}
	if _, err := store.Release(t.Context(), h, p.Devices[0]); !errors.As(err, &partial) {
		t.Errorf("release: %v", err)
	}
	check("release")
	if all, err := store.Recover(t.Context(), h); !errors.As(err, &partial) || len(all) != 1 || all[0].Result != assign.Kept || all[0].Found != assign.Stuck {
		t.Errorf("%+v, %v", all, err)
	}
	check("recover")
	name := filepath.Join(store.Dir, all1(t, store).ID+".lease")
	size := func() int {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return len(strings.TrimRight(string(b), "\x00"))
	}
	once := size()
	for range 10 {
		_, _ = store.Recover(t.Context(), h)
	}
	if size() != once {
		t.Errorf("it grows while nothing happens: %d and %d bytes", once, size())
	}

	// The write comes back, and its process has ended.
	m := k.Tree()
	_ = m.Remove("proc/4711/stat")
	k, err = sim.New(m, sim.Options{VFIO: true})
	if err != nil {
		t.Fatal(err)
	}
	all, err := store.Recover(t.Context(), &assign.Host{FS: k})
	if err != nil || len(all) != 1 || all[0].Result != assign.GivenBack {
		t.Errorf("%+v, %v", all, err)
	}
	for _, a := range []pci.Address{address(t, "0000:04:01.0"), address(t, "0000:04:02.0")} {
		if got := drivers(t, k)[a.String()]; got != before[a.String()] {
			t.Errorf("%s is with %q", a, got)
		}
	}
}

// all1 returns the only lease.
func all1(t *testing.T, s *assign.Store) assign.Lease {
	t.Helper()
	leases, err := s.List()
	if err != nil || len(leases) != 1 {
		t.Fatalf("%+v, %v", leases, err)
	}
	return leases[0]
}

// asked is a host that counts it, too, when a function is asked something after its first hang.
type asked struct {
	*sim.Kernel
	address string
	hung    *int
}

func (k asked) ReadFile(name string) ([]byte, error) {
	if *k.hung > 0 && (strings.HasSuffix(name, k.address+"/config") || strings.HasSuffix(name, k.address+"/vpd")) {
		*k.hung++
	}
	return k.Kernel.ReadFile(name)
}

// A reset that hangs ends the writes to that function. What is noted is that it was used.
func TestResetHangsAtRelease(t *testing.T) {
	k := emulated(t, sim.Options{})
	b := newBench(t, k)
	l, err := b.assign("play", false, igbNIC)
	if err != nil {
		t.Fatal(err)
	}
	hung := 0
	k.Fail = func(name string, _ []byte) error {
		if strings.HasSuffix(name, igbNIC+"/reset") {
			hung++
			return &assign.StuckError{File: name, PID: 1 << 30}
		}
		return nil
	}
	begin := len(k.Writes())
	b.host.FS = asked{k, igbNIC, &hung}
	_, err = b.store.Release(t.Context(), b.host, l.Devices[0])
	var partial *assign.PartialError
	if !errors.As(err, &partial) || !errors.Is(err, assign.ErrStuck) {
		t.Fatalf("%v", err)
	}
	b.host.FS = k
	if hung > 1 {
		t.Fatal("configuration space was read while the reset hangs, which waits for it")
	}
	if got := written(k, begin); !slices.Equal(got, []string{"reset_method=flr", "reset=1"}) || hung != 1 {
		t.Errorf("wrote %q", got)
	}
	leases, err := b.store.List()
	if err != nil || len(leases) != 1 || leases[0].State != assign.Stuck || len(leases[0].Stuck) != 1 {
		t.Fatalf("%+v, %v", leases, err)
	}
	b.state(igbNIC, assign.Tainted)
	// The process that hung has ended by now (there is none of that number).
	k.Fail = nil
	if _, err := b.store.Release(t.Context(), b.host, l.Devices[0]); err != nil {
		t.Fatal(err)
	}
	b.state(igbNIC, assign.Clean)
	if got, err := pci.ResetMethods(k, l.Devices[0]); err != nil || !slices.Equal(got, []string{"flr", "pm", "bus"}) {
		t.Errorf("methods %q, %v", got, err)
	}
}

// mute is a host that does not come back from being asked for configuration space once the
// function was reset.
type mute struct {
	*sim.Kernel
	address string
}

func (k mute) ReadFile(name string) ([]byte, error) {
	reset := func(w sim.Write) bool { return strings.HasSuffix(w.Name, k.address+"/reset") }
	if strings.HasSuffix(name, k.address+"/config") && slices.ContainsFunc(k.Writes(), reset) {
		return nil, &assign.StuckError{File: name, PID: 1 << 30}
	}
	return k.Kernel.ReadFile(name)
}

// A function that does not come back from what it is asked after its reset gets no write, and
// that is on record.
func TestAnswerHangsAtRelease(t *testing.T) {
	k := emulated(t, sim.Options{})
	b := newBench(t, k)
	l, err := b.assign("play", false, igbNIC)
	if err != nil {
		t.Fatal(err)
	}
	begin := len(k.Writes())
	b.host.FS = mute{k, igbNIC}
	if _, err = b.store.Release(t.Context(), b.host, l.Devices[0]); !errors.Is(err, assign.ErrStuck) {
		t.Fatalf("%v", err)
	}
	if got := written(k, begin); !slices.Equal(got, []string{"reset_method=flr", "reset=1"}) {
		t.Errorf("wrote %q", got)
	}
	if got := all1(t, b.store); got.State != assign.Stuck || len(got.Stuck) != 1 || got.Stuck[0].Device != igbNIC {
		t.Errorf("%+v", got)
	}
}
