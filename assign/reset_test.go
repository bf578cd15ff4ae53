package assign_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/internal/sim"
	"github.com/project-independence/indy/pci"
)

// ones is what a function that does not answer reads as.
var ones = bytes.Repeat([]byte{0xff}, 256)

// unbound takes functions from their drivers, as one finds them between guests.
func unbound(t *testing.T, k *sim.Kernel, devices ...string) []pci.Address {
	t.Helper()
	var all []pci.Address
	for _, d := range devices {
		a := address(t, d)
		if driver, err := pci.Driver(k, a); err != nil {
			t.Fatal(err)
		} else if driver != "" {
			if err := k.WriteFile("sys/bus/pci/drivers/"+driver+"/unbind", []byte(d)); err != nil {
				t.Fatal(err)
			}
		}
		all = append(all, a)
	}
	return all
}

// withVFIO has vfio-pci take functions.
func withVFIO(t *testing.T, k *sim.Kernel, devices ...string) []pci.Address {
	t.Helper()
	all := unbound(t, k, devices...)
	for _, d := range devices {
		for _, w := range [][2]string{{"devices/" + d + "/driver_override", assign.VFIODriver}, {"drivers_probe", d}} {
			if err := k.WriteFile("sys/bus/pci/"+w[0], []byte(w[1])); err != nil {
				t.Fatal(err)
			}
		}
	}
	return all
}

// written returns what was written to files that a reset needs, as file=value.
func written(k *sim.Kernel, since int) []string {
	var all []string
	for _, w := range k.Writes()[since:] {
		s := w.Name[strings.LastIndexByte(w.Name, '/')+1:] + "=" + string(w.Value)
		all = append(all, s)
	}
	return all
}

func TestReset(t *testing.T) {
	fails := func(errs map[string]error) func(string, string) error {
		return func(_, method string) error { return errs[method] }
	}
	const igb, nvme = "0000:05:00.0", "0000:02:00.0"
	for _, c := range []struct {
		name   string
		device string
		fails  map[string]error
		dead   bool // it does not answer any more
		want   assign.Reset
		writes []string
	}{
		{
			"the first works", igb, nil, false,
			assign.Reset{Tried: []assign.Try{{Method: "flr"}}, Method: "flr", Verified: true},
			[]string{"reset_method=flr", "reset=1", "reset_method=flr pm bus"},
		},
		{
			"ENOTTY lets the next be tried", igb, map[string]error{"flr": syscall.ENOTTY}, false,
			assign.Reset{Tried: []assign.Try{{"flr", "ENOTTY: this method does not work on it"}, {Method: "pm"}, {Method: "bus"}}, Method: "bus", Verified: true},
			[]string{"reset_method=flr", "reset=1", "reset_method=pm", "reset=1", "reset_method=bus", "reset=1", "reset_method=flr pm bus"},
		},
		{
			"only the weak one works", "0000:01:00.0", map[string]error{"bus": syscall.ENOTTY}, false,
			assign.Reset{Tried: []assign.Try{{Method: "pm"}, {"bus", "ENOTTY: this method does not work on it"}}, Method: "pm", Verified: true},
			[]string{"reset_method=pm", "reset=1", "reset_method=bus", "reset=1", "reset_method=pm bus"},
		},
		{
			"it breaks after the weak one", "0000:01:00.0", map[string]error{"bus": syscall.EIO}, false,
			assign.Reset{Tried: []assign.Try{{Method: "pm"}, {"bus", "input/output error (errno 5)"}}},
			[]string{"reset_method=pm", "reset=1", "reset_method=bus", "reset=1", "reset_method=pm bus"},
		},
		{
			"a real error is noted, too", igb, map[string]error{"flr": syscall.ETIMEDOUT, "pm": syscall.EIO}, false,
			assign.Reset{Tried: []assign.Try{
				{"flr", "connection timed out (errno 110)"}, {"pm", "input/output error (errno 5)"}, {Method: "bus"},
			}, Method: "bus", Verified: true},
			[]string{"reset_method=flr", "reset=1", "reset_method=pm", "reset=1", "reset_method=bus", "reset=1", "reset_method=flr pm bus"},
		},
		{
			"none works", nvme, map[string]error{"flr": syscall.EIO, "bus": syscall.ENOTTY}, false,
			assign.Reset{Tried: []assign.Try{{"flr", "input/output error (errno 5)"}, {"bus", "ENOTTY: this method does not work on it"}}},
			[]string{"reset_method=flr", "reset=1", "reset_method=bus", "reset=1", "reset_method=flr bus"},
		},
		{
			"it does not come back", nvme, nil, true,
			assign.Reset{Tried: []assign.Try{
				{"flr", "read config of " + nvme + ": " + pci.ErrNoAnswer.Error()}, {"bus", "read config of " + nvme + ": " + pci.ErrNoAnswer.Error()},
			}},
			[]string{"reset_method=flr", "reset=1", "reset_method=bus", "reset=1", "reset_method=flr bus"},
		},
		{
			"the bus of another function, too", "0000:04:01.0", nil, false,
			assign.Reset{Tried: []assign.Try{{"bus", "ENOTTY: this method does not work on it"}}},
			[]string{"reset=1"}, // it has no other method
		},
		{"no method", "0000:04:02.0", nil, false, assign.Reset{}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := emulated(t, sim.Options{})
			all := unbound(t, k, c.device)
			k.ResetFails = fails(c.fails)
			if c.dead {
				k.Config(c.device, ones)
			}
			before, begin := dump(t, k), len(k.Writes())
			results, err := (&assign.Host{FS: k}).Reset(all, nil)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(map[pci.Address]assign.Reset{all[0]: c.want}, results); d != "" {
				t.Error(d)
			}
			if got := written(k, begin); !slices.Equal(got, c.writes) {
				t.Errorf("wrote %q, want %q", got, c.writes)
			}
			if d := cmp.Diff(string(before), string(dump(t, k))); d != "" {
				t.Errorf("not as before:\n%s", d)
			}
		})
	}
}

// Whatever a host driver has is not reset under its hands.
func TestResetOfUsed(t *testing.T) {
	k := emulated(t, sim.Options{})
	a := address(t, "0000:02:00.0")
	results, err := (&assign.Host{FS: k}).Reset([]pci.Address{a}, nil)
	if !errors.Is(err, assign.ErrRefused) || results[a].Verified || len(k.Writes()) > 0 {
		t.Errorf("%+v, %v, %d writes", results, err, len(k.Writes()))
	}
}

// A kernel without reset_method has one file and says no more.
func TestResetOldKernel(t *testing.T) {
	const nvme = "0000:02:00.0"
	tree := emulated(t, sim.Options{}).Tree()
	if err := tree.Remove("sys/devices/pci0000:00/0000:00:03.0/" + nvme + "/reset_method"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []error{nil, syscall.EIO} {
		k, err := sim.New(tree, sim.Options{VFIO: true})
		if err != nil {
			t.Fatal(err)
		}
		k.ResetFails = func(string, string) error { return want }
		a := unbound(t, k, nvme)
		results, err := (&assign.Host{FS: k}).Reset(a, nil)
		if r := results[a[0]]; err != nil || r.Verified != (want == nil) || len(r.Tried) != 1 || r.Tried[0].Method != "any" {
			t.Errorf("%v: %+v, %v", want, r, err)
		}
	}
}

// A reset that was ended in the middle has left one method; the plan knows the others.
func TestResetAfterCrash(t *testing.T) {
	const igb = "0000:05:00.0"
	k := emulated(t, sim.Options{})
	p := mustPlan(t, k, igb)
	a := unbound(t, k, igb)
	if err := k.WriteFile("sys/bus/pci/devices/"+igb+"/reset_method", []byte("bus")); err != nil {
		t.Fatal(err)
	}
	results, err := (&assign.Host{FS: k}).Reset(a, p)
	if r := results[a[0]]; err != nil || r.Method != "flr" {
		t.Errorf("%+v, %v", r, err)
	}
	if got, err := pci.ResetMethods(k, a[0]); err != nil || !slices.Equal(got, []string{"flr", "pm", "bus"}) {
		t.Errorf("left %q, %v", got, err)
	}
}

// The functions on one bus are reset together, and only if all of them are given.
func TestResetBus(t *testing.T) {
	k := emulated(t, sim.Options{VFIO: true})
	both := withVFIO(t, k, "0000:04:01.0", "0000:04:02.0")
	asked := 0
	var fails error
	h := &assign.Host{FS: k, ResetBus: func(set []pci.Address) error {
		asked++
		if !slices.Equal(set, both) {
			t.Errorf("reset of %v", set)
		}
		return fails
	}}
	if results, err := h.Reset(both[:1], nil); err != nil || results[both[0]].Verified || asked > 0 {
		t.Errorf("one of two: %+v, %v, asked %d times", results, err, asked)
	}
	results, err := h.Reset(both, nil)
	for _, a := range both {
		if r := results[a]; err != nil || !r.Verified || r.Method != "hot" {
			t.Errorf("%s: %+v, %v", a, r, err)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	fails = syscall.EPERM
	results, err = h.Reset(both, nil)
	for _, a := range both {
		if r := results[a]; err != nil || r.Verified || r.Tried[len(r.Tried)-1] != (assign.Try{Method: "hot", Error: "operation not permitted (errno 1)"}) {
			t.Errorf("%s: %+v, %v", a, r, err)
		}
	}
	// Without a driver one cannot be opened: that is no reset which failed.
	unbound(t, k, both[1].String())
	asked, fails = 0, nil
	results, err = h.Reset(both, nil)
	for _, a := range both {
		if r := results[a]; err != nil || asked > 0 || r.Verified || !strings.HasSuffix(r.String(), "vfio-pci does not have all on its bus") {
			t.Errorf("%s: %+v, %v, asked %d times", a, r, err, asked)
		}
	}
}

// After a reset of a bus that hangs none of its functions gets another write.
func TestResetBusHangs(t *testing.T) {
	k := emulated(t, sim.Options{VFIO: true})
	both := withVFIO(t, k, "0000:04:01.0", "0000:04:02.0")
	h := &assign.Host{FS: k, ResetBus: func([]pci.Address) error {
		return &assign.StuckError{File: "dev/vfio/11", PID: 7}
	}}
	results, err := h.Reset(both, nil)
	if !errors.Is(err, assign.ErrStuck) {
		t.Errorf("%v", err)
	}
	for _, a := range both {
		if r := results[a]; r.Verified || r.Tried[len(r.Tried)-1].Method != "hot" || !strings.Contains(err.Error(), a.String()) {
			t.Errorf("%s: %+v, %v", a, r, err)
		}
	}

	// Of a lease it leaves the devices stuck, until the kernel comes back.
	k = emulated(t, sim.Options{})
	store := &assign.Store{Dir: t.TempDir(), StateDir: t.TempDir()}
	waiting := &inKernel{k, "4711 (indy) D 1 1 1 0 -1 0 1 0 0 0 0 0 0 0 20 0 1 0 99 0 0"}
	before := drivers(t, k)
	h = &assign.Host{FS: waiting}
	l, err := store.Assign(t.Context(), h, take(mustPlan(t, k, "0000:04:01.0")))
	if err != nil {
		t.Fatal(err)
	}
	h.ResetBus = func([]pci.Address) error {
		return &assign.StuckError{File: "dev/vfio/11", Waited: time.Second, PID: 4711, Started: "99"}
	}
	begin := len(k.Writes())
	var partial *assign.PartialError
	if _, err := store.Release(t.Context(), h, l.Devices[0]); !errors.As(err, &partial) || !errors.Is(err, assign.ErrStuck) {
		t.Errorf("release: %v", err)
	}
	leases, err := store.List()
	if err != nil || len(leases) != 1 || leases[0].State != assign.Stuck || len(leases[0].Stuck) != 2 {
		t.Errorf("%+v, %v", leases, err)
	}
	for _, w := range written(k, begin) {
		if strings.HasPrefix(w, "unbind") || strings.HasPrefix(w, "driver_override") || strings.HasPrefix(w, "bind") {
			t.Errorf("written to what is stuck: %s", w)
		}
	}

	// The kernel comes back.
	waiting.stat = ""
	h.ResetBus = func([]pci.Address) error { return nil }
	if all, err := store.Recover(t.Context(), h); err != nil || len(all) != 1 || all[0].Result != assign.GivenBack {
		t.Errorf("%+v, %v", all, err)
	}
	for _, a := range both {
		if got := drivers(t, k)[a.String()]; got != before[a.String()] {
			t.Errorf("%s is with %q", a, got)
		}
	}
}

// An inKernel is a host with a process 4711.
type inKernel struct {
	*sim.Kernel
	stat string // empty when it has ended
}

func (s *inKernel) ReadFile(name string) ([]byte, error) {
	if name == "proc/4711/stat" && s.stat != "" {
		return []byte(s.stat), nil
	}
	return s.Kernel.ReadFile(name)
}

// After a reset that hangs the function gets no other write, and the next one is reset.
func TestResetHangs(t *testing.T) {
	const igb = "0000:05:00.0"
	k := emulated(t, sim.Options{})
	all := unbound(t, k, igb, "0000:02:00.0")
	k.Fail = func(name string, _ []byte) error {
		if strings.HasSuffix(name, igb+"/reset") {
			return &assign.StuckError{File: name, PID: 7}
		}
		return nil
	}
	begin := len(k.Writes())
	results, err := (&assign.Host{FS: k}).Reset(all, nil)
	var stuck *assign.StuckError
	if !errors.As(err, &stuck) || results[all[0]].Verified || len(results[all[0]].Tried) != 1 || !results[all[1]].Verified {
		t.Errorf("%+v, %v", results, err)
	}
	want := []string{"reset_method=flr", "reset=1", "reset_method=flr", "reset=1", "reset_method=flr bus"}
	if got := written(k, begin); !slices.Equal(got, want) {
		t.Errorf("wrote %q, want %q", got, want)
	}
}

// A sleeper has no power, and reads as all ones, unless it is told to stay on; waking is
// what it takes the kernel to be told so.
type sleeper struct {
	*sim.Kernel
	address string
	dead    bool
}

func (s sleeper) ReadFile(name string) ([]byte, error) {
	control, err := s.Kernel.ReadFile("sys/bus/pci/devices/" + s.address + "/power/control")
	if err != nil {
		return nil, err
	}
	on := strings.TrimSpace(string(control)) == "on" && !s.dead
	switch {
	case strings.HasSuffix(name, s.address+"/power_state") && !on:
		return []byte("D3cold\n"), nil
	case strings.HasSuffix(name, s.address+"/config") && !on:
		return ones, nil
	}
	return s.Kernel.ReadFile(name)
}

// A function without power is woken before it is taken for dead, and may sleep on.
func TestResetWakes(t *testing.T) {
	const nvme = "0000:02:00.0"
	for _, dead := range []bool{false, true} {
		k := emulated(t, sim.Options{})
		all := unbound(t, k, nvme)
		control := "sys/bus/pci/devices/" + nvme + "/power/control"
		if err := k.WriteFile(control, []byte("auto")); err != nil {
			t.Fatal(err)
		}
		results, err := (&assign.Host{FS: sleeper{k, nvme, dead}}).Reset(all, nil)
		if r := results[all[0]]; err != nil || r.Verified == dead {
			t.Errorf("dead %v: %+v, %v", dead, r, err)
		}
		if b, err := k.ReadFile(control); err != nil || string(b) != "auto\n" {
			t.Errorf("power/control is %q, %v", b, err)
		}
	}
}
