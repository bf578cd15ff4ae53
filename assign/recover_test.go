package assign_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/internal/sim"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
)

// dying is a kernel under which the process is killed at its nth write: before the write
// was made, or after.
type dying struct {
	*sim.Kernel
	n     int
	after bool
}

func (d *dying) WriteFile(name string, data []byte) error {
	d.n--
	if d.n == 0 && !d.after {
		runtime.Goexit()
	}
	err := d.Kernel.WriteFile(name, data)
	if d.n == 0 {
		runtime.Goexit() // as the kernel does, this lets go of locks
	}
	return err
}

// killed runs f, and reports whether it was killed in it.
func killed(f func()) bool {
	died := true
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
		died = false
	}()
	<-done
	return died
}

// Killed at any write of a hand-over, a release or a recovery, the next recovery leaves
// everything as it was before, and there is nothing for another one.
func TestRecover(t *testing.T) {
	saved := emulated(t, sim.Options{})
	p := mustPlan(t, saved, "0000:04:01.0")
	for _, what := range []string{"assign", "release"} {
		points := 0
		for n := 1; ; n++ {
			more := false
			for _, after := range []bool{false, true} {
				k, err := sim.New(saved.Tree(), sim.Options{VFIO: true})
				if err != nil {
					t.Fatal(err)
				}
				before := drivers(t, k)
				store := &assign.Store{Dir: t.TempDir()}
				h := &assign.Host{FS: &dying{k, n, after}}
				if what == "release" {
					if _, err := store.Assign(t.Context(), &assign.Host{FS: k}, take(p)); err != nil {
						t.Fatal(err)
					}
				}
				if !killed(func() {
					if what == "assign" {
						_, _ = store.Assign(t.Context(), h, take(p))
					} else {
						_, _ = store.Release(t.Context(), h, p.Devices[0])
					}
				}) {
					continue
				}
				more = true
				points++
				h.FS = &dying{k, 2, !after} // the recovery dies, too
				killed(func() { _, _ = store.Recover(t.Context(), h) })
				all, err := store.Recover(t.Context(), &assign.Host{FS: k})
				if err != nil || len(all) > 1 || len(all) == 1 && all[0].Result != assign.GivenBack {
					t.Errorf("%s, killed at write %d (after: %v): %+v, %v", what, n, after, all, err)
				}
				if d := cmp.Diff(before, drivers(t, k)); d != "" {
					t.Errorf("%s, killed at write %d (after: %v): left %s", what, n, after, d)
				}
				if all, err := store.Recover(t.Context(), &assign.Host{FS: k}); len(all) != 0 || err != nil {
					t.Errorf("%s, killed at write %d (after: %v): another recovery: %+v, %v", what, n, after, all, err)
				}
				if leases, err := store.List(); len(leases) != 0 || err != nil {
					t.Errorf("leases: %v, %v", leases, err)
				}
			}
			if !more {
				break
			}
		}
		if points < 8 {
			t.Errorf("%s: only %d points", what, points)
		}
	}
}

// What is as it should be is left alone, and what somebody works on is left to them.
func TestRecoverLeavesAlone(t *testing.T) {
	k := emulated(t, sim.Options{})
	store := &assign.Store{Dir: t.TempDir()}
	l, err := store.Assign(t.Context(), &assign.Host{FS: k}, take(mustPlan(t, k, "0000:02:00.0")))
	if err != nil {
		t.Fatal(err)
	}
	p := mustPlan(t, k, "0000:05:00.0")
	h := &assign.Host{FS: k, Viable: func(iommu.GroupID) error {
		all, err := store.Recover(t.Context(), &assign.Host{FS: k})
		if err != nil || len(all) != 1 || all[0].Result != assign.InProgress || all[0].Found != assign.Assigning {
			t.Errorf("while another is being assigned: %+v, %v", all, err)
		}
		return nil
	}}
	if _, err := store.Assign(t.Context(), h, take(p)); err != nil {
		t.Fatal(err)
	}
	writes := len(k.Writes())
	if all, err := store.Recover(t.Context(), &assign.Host{FS: k}); len(all) != 0 || err != nil || len(k.Writes()) != writes {
		t.Errorf("%+v, %v, %d writes", all, err, len(k.Writes())-writes)
	}
	for _, a := range []pci.Address{l.Devices[0], p.Devices[0]} {
		if _, err := store.Release(t.Context(), h, a); err != nil {
			t.Error(err)
		}
	}
}

// A run that was killed is given back, unless its guest still runs.
func TestRecoverAbandoned(t *testing.T) {
	k := emulated(t, sim.Options{})
	store := &assign.Store{Dir: t.TempDir()}
	p := mustPlan(t, k, "0000:02:00.0")
	first := &assign.Host{FS: since{k, "5"}}
	if _, err := store.Assign(t.Context(), first, assign.Taking{Run: true, Plan: func() (*assign.Plan, error) { return p, nil }}); err != nil {
		t.Fatal(err)
	}
	if all, err := store.Recover(t.Context(), first); len(all) != 0 || err != nil {
		t.Errorf("while it runs: %+v, %v", all, err)
	}
	busy := errors.New("open")
	later := &assign.Host{FS: since{k, "777"}, InUse: func(iommu.GroupID) error { return busy }}
	all, err := store.Recover(t.Context(), later)
	var partial *assign.PartialError
	if !errors.As(err, &partial) || len(all) != 1 || all[0].Result != assign.Kept || !strings.Contains(all[0].Error, "still runs") {
		t.Errorf("with a guest: %+v, %v", all, err)
	}
	later.InUse = nil
	if all, err := store.Recover(t.Context(), later); err != nil || len(all) != 1 || all[0].Result != assign.GivenBack {
		t.Errorf("without: %+v, %v", all, err)
	}
	if got := drivers(t, k)["0000:02:00.0"]; got != "nvme" {
		t.Errorf("with %q", got)
	}
}

// After another boot a lease is dropped; nothing is written, and another one may have the
// device meanwhile.
func TestRecoverAfterBoot(t *testing.T) {
	store := &assign.Store{Dir: t.TempDir()}
	k := booted(t, "one")
	p := mustPlan(t, k, "0000:02:00.0")
	if _, err := store.Assign(t.Context(), &assign.Host{FS: k}, take(p)); err != nil {
		t.Fatal(err)
	}
	again := booted(t, "two")
	h := &assign.Host{FS: again}
	if _, err := store.Assign(t.Context(), h, take(mustPlan(t, again, "0000:02:00.0"))); err != nil {
		t.Fatal(err)
	}
	writes := len(again.Writes())
	all, err := store.Recover(t.Context(), h)
	if err != nil || len(all) != 1 || all[0].Result != assign.Dropped || len(again.Writes()) != writes {
		t.Errorf("%+v, %v, %d writes", all, err, len(again.Writes())-writes)
	}
	if l, err := store.Holding(p.Devices[0]); err != nil || l.BootID != "two" {
		t.Errorf("holding: %+v, %v", l, err)
	}
}

// What the host had of a device is looked for: an interface may have another name, or not
// come back, and what the device is mounted as is told.
func TestRecoverParts(t *testing.T) {
	for _, c := range []struct {
		device string
		opts   sim.Options
		change func(*assign.Plan)
		told   string
	}{
		{"0000:01:00.0", sim.Options{VFIO: true}, func(*assign.Plan) {}, ""},
		{"0000:01:00.0", sim.Options{VFIO: true, RenameNet: true}, func(*assign.Plan) {}, "is called eth"},
		{"0000:01:00.0", sim.Options{VFIO: true}, func(p *assign.Plan) { p.Identities[0].Disks = []string{"sdz"} }, "its disk sdz has not come back"},
		{"0000:02:00.0", sim.Options{VFIO: true}, func(*assign.Plan) {}, "nvme0n1 is mounted on /home"},
	} {
		tree := emulated(t, sim.Options{}).Tree()
		k, err := sim.New(tree, c.opts)
		if err != nil {
			t.Fatal(err)
		}
		p := mustPlan(t, k, c.device)
		if parts := p.Identities[0]; len(parts.Interfaces)+len(parts.Disks) == 0 {
			t.Fatalf("%s has nothing: %+v", c.device, parts)
		}
		c.change(p)
		mounts := tree.Clone()
		put(mounts, "proc/self/mountinfo", "30 1 259:0 / /home rw - ext4 /dev/nvme0n1 rw\n")
		store := &assign.Store{Dir: t.TempDir()}
		if !killed(func() { _, _ = store.Assign(t.Context(), &assign.Host{FS: &dying{k, 3, true}}, take(p)) }) {
			t.Fatal("not killed")
		}
		all, err := store.Recover(t.Context(), &assign.Host{FS: mountedKernel{k, mounts}, Pause: func(context.Context, time.Duration) { time.Sleep(time.Millisecond) }})
		if err != nil || len(all) != 1 || all[0].Result != assign.GivenBack {
			t.Fatalf("%s: %+v, %v", c.device, all, err)
		}
		if told := strings.Join(all[0].Told, "\n"); !strings.Contains(told, c.told) || (c.told == "") != (told == "") {
			t.Errorf("%s: told %q, want %q", c.device, told, c.told)
		}
	}
}

// mountedKernel is a kernel with the table of mounts of another machine.
type mountedKernel struct {
	*sim.Kernel
	mounts fs.FS
}

func (m mountedKernel) ReadFile(name string) ([]byte, error) {
	if name == "proc/self/mountinfo" {
		return fs.ReadFile(m.mounts, name)
	}
	return m.Kernel.ReadFile(name)
}

// A device that does not answer is an error, also when it is with its driver.
func TestRecoverNoAnswer(t *testing.T) {
	k := emulated(t, sim.Options{})
	p := mustPlan(t, k, "0000:02:00.0")
	tree := k.Tree()
	put(tree, "sys/bus/pci/devices/0000:02:00.0/config", strings.Repeat("\xff", 256))
	k, err := sim.New(tree, sim.Options{VFIO: true})
	if err != nil {
		t.Fatal(err)
	}
	store := &assign.Store{Dir: t.TempDir()}
	if !killed(func() { _, _ = store.Assign(t.Context(), &assign.Host{FS: &dying{k, 3, true}}, take(p)) }) {
		t.Fatal("not killed")
	}
	all, err := store.Recover(t.Context(), &assign.Host{FS: k})
	if !errors.Is(err, pci.ErrNoAnswer) || len(all) != 1 || all[0].Result != assign.GivenBack || !strings.Contains(all[0].Error, "does not answer") {
		t.Errorf("%+v, %v", all, err)
	}
	if got := drivers(t, k)["0000:02:00.0"]; got != "nvme" {
		t.Errorf("with %q", got)
	}
}

// A damaged lease is taken back as far as it is certain, and never taken for none.
func TestFault18DamagedLease(t *testing.T) {
	saved := emulated(t, sim.Options{})
	p := mustPlan(t, saved, "0000:02:00.0")
	for _, c := range []struct {
		name   string
		change func(lines []string) []string
		result assign.Result
	}{
		{"the state", func(l []string) []string { l[len(l)-1] = flip(l[len(l)-1]); return l }, assign.GivenBack},
		{"a step", func(l []string) []string { l[3] = flip(l[3]); return l }, assign.GivenBack},
		{"the plan", func(l []string) []string { l[1] = flip(l[1]); return l }, assign.Kept},
		{"the lease", func(l []string) []string { l[0] = flip(l[0]); return l }, assign.Kept},
		{"all", func([]string) []string { return []string{"\x00\x00"} }, assign.Kept},
		{"a step left out", func(l []string) []string { return append(l[:3:3], l[4:]...) }, assign.GivenBack},
	} {
		k, err := sim.New(saved.Tree(), sim.Options{VFIO: true})
		if err != nil {
			t.Fatal(err)
		}
		store := &assign.Store{Dir: t.TempDir()}
		h := &assign.Host{FS: k}
		l, err := store.Assign(t.Context(), h, take(p))
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(store.Dir, l.ID+".lease")
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.SplitAfter(strings.TrimRight(string(b), "\x00"), "\n")
		lines = c.change(lines[:len(lines)-1])
		if err := os.WriteFile(name, []byte(strings.Join(lines, "")), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Assign(t.Context(), h, take(mustPlan(t, k, "0000:05:00.0"))); err == nil || !strings.Contains(err.Error(), "is damaged") {
			t.Errorf("%s: handed out meanwhile: %v", c.name, err)
		}
		all, err := store.Recover(t.Context(), h)
		if len(all) != 1 || all[0].Result != c.result || (err != nil) != (c.result == assign.Kept) {
			t.Errorf("%s: %+v, %v", c.name, all, err)
			continue
		}
		if c.result == assign.Kept {
			if !strings.Contains(all[0].Error, "0000:02:00.0 is with vfio-pci and has the driver override vfio-pci") {
				t.Errorf("%s: does not name what it may hold: %s", c.name, all[0].Error)
			}
			// Given back by hand, there is nothing it could hold.
			if err := h.Undo(p); err != nil {
				t.Fatal(err)
			}
			if all, err = store.Recover(t.Context(), h); err != nil || len(all) != 1 || all[0].Result != assign.PutAside {
				t.Errorf("%s: by hand: %+v, %v", c.name, all, err)
			}
		}
		if got := drivers(t, k)["0000:02:00.0"]; got != "nvme" {
			t.Errorf("%s: with %q", c.name, got)
		}
		if kept, _ := filepath.Glob(filepath.Join(store.Dir, "damaged", "*")); len(kept) != 1 {
			t.Errorf("%s: put aside: %v", c.name, kept)
		}
		if leases, err := store.List(); len(leases) != 0 || err != nil {
			t.Errorf("%s: left %v, %v", c.name, leases, err)
		}
	}
}

// flip changes one bit in the middle of a text.
func flip(s string) string {
	b := []byte(s)
	b[len(b)/2] ^= 1
	return string(b)
}

// What was not confirmed in time is undone, whatever the clock of the host says.
func TestConfirm(t *testing.T) {
	k := emulated(t, sim.Options{})
	now := time.Hour
	store := &assign.Store{Dir: t.TempDir()}
	store.SetClock(func() time.Duration { return now })
	h := &assign.Host{FS: k}
	p := mustPlan(t, k, "0000:02:00.0")
	boot := func() *assign.Lease {
		t.Helper()
		l, err := store.Assign(t.Context(), h, assign.Taking{Confirm: time.Minute, Plan: func() (*assign.Plan, error) { return p, nil }})
		if err != nil {
			t.Fatal(err)
		}
		if l.Confirm == nil || l.Confirm.Clock != now+time.Minute {
			t.Fatalf("deadline %+v", l.Confirm)
		}
		return l
	}
	l := boot()
	now += 59 * time.Second
	if all, err := store.Recover(t.Context(), h); len(all) != 0 || err != nil {
		t.Errorf("before: %+v, %v", all, err)
	}
	now += 2 * time.Second
	if _, err := store.Confirm(t.Context(), h, l.ID); !errors.Is(err, assign.ErrLate) {
		t.Errorf("confirmed too late: %v", err)
	}
	all, err := store.Recover(t.Context(), h)
	if err != nil || len(all) != 1 || all[0].Result != assign.GivenBack || all[0].Told[0] != "it was not confirmed in time" {
		t.Errorf("after: %+v, %v", all, err)
	}
	if got := drivers(t, k)["0000:02:00.0"]; got != "nvme" {
		t.Errorf("with %q", got)
	}
	boot()
	for range 2 {
		if l, err := store.Confirm(t.Context(), h, "0000:02:00.0"); err != nil || l.Confirm != nil {
			t.Errorf("confirmed: %+v, %v", l, err)
		}
	}
	now += time.Hour
	if all, err := store.Recover(t.Context(), h); len(all) != 0 || err != nil {
		t.Errorf("confirmed: %+v, %v", all, err)
	}
	if _, err := store.Confirm(t.Context(), h, "0000:05:00.0"); !errors.Is(err, assign.ErrNotHeld) {
		t.Errorf("not held: %v", err)
	}
}
