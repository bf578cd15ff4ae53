package assign_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/internal/sim"
	"github.com/project-independence/indy/iommu"
)

func TestLease(t *testing.T) {
	k := emulated(t, sim.Options{})
	store := &assign.Store{Dir: filepath.Join(t.TempDir(), "run", "leases")}
	h := &assign.Host{FS: k}
	if leases, err := store.List(); len(leases) != 0 || err != nil {
		t.Fatalf("an empty store: %v, %v", leases, err)
	}
	l, err := store.Assign(t.Context(), h, take(mustPlan(t, k, "0000:04:01.0")))
	if err != nil {
		t.Fatal(err)
	}
	if l.State != assign.Assigned || l.Guest != "test" || len(l.Devices) != 2 {
		t.Errorf("lease: %+v", l)
	}
	held, err := store.Holding(address(t, "0000:04:02.0"))
	if err != nil || held.Devices[0] != l.Devices[0] {
		t.Errorf("holding: %+v, %v", held, err)
	}
	_, err = store.Assign(t.Context(), h, take(l.Plan))
	var owner *assign.HeldError
	if !errors.As(err, &owner) || !errors.Is(err, assign.ErrRefused) || !strings.Contains(err.Error(), `"test"`) {
		t.Errorf("a second owner: %v", err)
	}
	if _, err := store.Release(t.Context(), h, address(t, "0000:04:02.0")); err != nil {
		t.Fatal(err)
	}
	if got := drivers(t, k)["0000:04:02.0"]; got != "snd_hda_intel" {
		t.Errorf("after the release: %q", got)
	}
	if _, err := store.Release(t.Context(), h, address(t, "0000:04:02.0")); !errors.Is(err, assign.ErrNotHeld) {
		t.Errorf("a second release: %v", err)
	}
}

// A kernel that has started anew has forgotten what was bound: the lease goes, and
// nothing is written.
func TestLeaseOfAnotherBoot(t *testing.T) {
	k := emulated(t, sim.Options{})
	store := &assign.Store{Dir: t.TempDir()}
	h := &assign.Host{FS: k}
	l, err := store.Assign(t.Context(), h, take(mustPlan(t, k, "0000:02:00.0")))
	if err != nil {
		t.Fatal(err)
	}
	next := emulated(t, sim.Options{}).Tree()
	put(next, "proc/sys/kernel/random/boot_id", "another\n")
	again, err := sim.New(next, sim.Options{VFIO: true})
	if err != nil {
		t.Fatal(err)
	}
	if l.BootID == "" {
		name := filepath.Join(store.Dir, "0000:02:00.0.json")
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		b = []byte(strings.Replace(string(b), `"boot_id": ""`, `"boot_id": "one"`, 1))
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := store.Release(t.Context(), &assign.Host{FS: again}, l.Devices[0]); err != nil {
		t.Fatal(err)
	}
	if n := len(again.Writes()); n != 0 {
		t.Errorf("%d writes on the new kernel", n)
	}
	if leases, _ := store.List(); len(leases) != 0 {
		t.Errorf("left: %v", leases)
	}
}

// What a guest runs with is not given back: the kernel would wait for the guest's end.
func TestReleaseWhileInUse(t *testing.T) {
	k := emulated(t, sim.Options{})
	store := &assign.Store{Dir: t.TempDir()}
	busy := syscall.EBUSY
	h := &assign.Host{FS: k, InUse: func(iommu.GroupID) error { return busy }}
	l, err := store.Assign(t.Context(), h, take(mustPlan(t, k, "0000:02:00.0")))
	if err != nil {
		t.Fatal(err)
	}
	writes := len(k.Writes())
	_, err = store.Release(t.Context(), h, l.Devices[0])
	var e *assign.BusyError
	if !errors.As(err, &e) || !errors.Is(err, assign.ErrRefused) || !errors.Is(err, syscall.EBUSY) || len(k.Writes()) != writes {
		t.Errorf("%v, after %d writes", err, len(k.Writes())-writes)
	}
	h.InUse = func(iommu.GroupID) error { return nil }
	if _, err := store.Release(t.Context(), h, l.Devices[0]); err != nil {
		t.Error(err)
	}
}

// A lease that can be neither written nor removed keeps nobody's device.
func TestReleaseWithoutDisk(t *testing.T) {
	k := emulated(t, sim.Options{})
	store := &assign.Store{Dir: t.TempDir()}
	h := &assign.Host{FS: k}
	l, err := store.Assign(t.Context(), h, take(mustPlan(t, k, "0000:02:00.0")))
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(store.Dir, "0000:02:00.0.json")
	h.Did = func(string, assign.Write, error) { // between note and removal
		_ = os.Remove(name)
		_ = os.MkdirAll(filepath.Join(name, "x"), 0o755)
	}
	_, err = store.Release(t.Context(), h, l.Devices[0])
	var partial *assign.PartialError
	if !errors.As(err, &partial) {
		t.Errorf("%v, want a *PartialError", err)
	}
	if got := drivers(t, k)["0000:02:00.0"]; got != "nvme" {
		t.Errorf("the device is with %q", got)
	}
}

func TestAbandoned(t *testing.T) {
	k := emulated(t, sim.Options{}).Tree()
	l := assign.Lease{Run: true, PID: 77, Started: "123456"}
	stat := func(start string) string {
		return "77 (a ) b) S 1 77 77 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 " + start + " 1000 0"
	}
	if !l.Abandoned(k) {
		t.Error("no such process: not abandoned")
	}
	put(k, "proc/77/stat", stat("123456"))
	if l.Abandoned(k) {
		t.Error("abandoned by a process that runs")
	}
	put(k, "proc/77/stat", stat("999999"))
	if !l.Abandoned(k) {
		t.Error("another process with the same number: not abandoned")
	}
	l.Run = false
	if l.Abandoned(k) {
		t.Error("a lease that nobody is to give back by itself")
	}
}

// Of two that run again what was killed, one gets the lease; and nobody gives back a
// lease that is not theirs any more.
func TestAdopt(t *testing.T) {
	tree := emulated(t, sim.Options{}).Tree()
	self := strconv.Itoa(os.Getpid())
	put(tree, "proc/"+self+"/stat", self+" (me) S 1 1 1 0 -1 0 1 0 0 0 0 0 0 0 20 0 1 0 777 0 0")
	k, err := sim.New(tree, sim.Options{VFIO: true})
	if err != nil {
		t.Fatal(err)
	}
	store := &assign.Store{Dir: t.TempDir()}
	h := &assign.Host{FS: k}
	p := mustPlan(t, k, "0000:02:00.0")
	l, err := store.Assign(t.Context(), h, assign.Taking{Run: true, Plan: func() (*assign.Plan, error) { return p, nil }})
	if err != nil {
		t.Fatal(err)
	}
	var held *assign.HeldError
	if _, err := store.Adopt(t.Context(), h, l.Devices[0]); !errors.As(err, &held) {
		t.Errorf("adopted from a process that runs: %v", err)
	}
	// The process that took it is another one, and has gone.
	name := filepath.Join(store.Dir, "0000:02:00.0.json")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b = []byte(strings.Replace(string(b), `"started": "777"`, `"started": "5"`, 1))
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := store.ReleaseOwn(t.Context(), h, l); err != nil || drivers(t, k)["0000:02:00.0"] == "nvme" {
		t.Errorf("gave back another's lease: %v", err)
	}
	own, err := store.Adopt(t.Context(), h, l.Devices[0])
	if err != nil || own.PID != os.Getpid() || own.Started != "777" {
		t.Fatalf("%+v, %v", own, err)
	}
	if _, err := store.Adopt(t.Context(), h, l.Devices[0]); !errors.As(err, &held) {
		t.Errorf("adopted twice: %v", err)
	}
	if err := errors.Join(store.ReleaseOwn(t.Context(), h, own), store.ReleaseOwn(t.Context(), h, own)); err != nil {
		t.Error(err)
	}
	if got := drivers(t, k)["0000:02:00.0"]; got != "nvme" {
		t.Errorf("after giving it back: %q", got)
	}
}

// The plan is made when nobody else can change anything any more.
func TestPlanUnderLock(t *testing.T) {
	k := emulated(t, sim.Options{})
	store := &assign.Store{Dir: t.TempDir()}
	h := &assign.Host{FS: k}
	no := errors.New("mounted meanwhile")
	if _, err := store.Assign(t.Context(), h, assign.Taking{Plan: func() (*assign.Plan, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if _, err := store.Release(ctx, h, address(t, "0000:02:00.0")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("somebody else came in: %v", err)
		}
		return nil, no
	}}); !errors.Is(err, no) {
		t.Errorf("got %v", err)
	}
	if n := len(k.Writes()); n != 0 {
		t.Errorf("%d writes", n)
	}
}

func TestDamagedLease(t *testing.T) {
	k := emulated(t, sim.Options{})
	store := &assign.Store{Dir: t.TempDir()}
	h := &assign.Host{FS: k}
	if _, err := store.Assign(t.Context(), h, take(mustPlan(t, k, "0000:02:00.0"))); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "{", "null", "{}", `{"devices":["0000:05:00.0"],"plan":{}}`, `{"devices":["nonsense"]}`} {
		if err := os.WriteFile(filepath.Join(store.Dir, "0000:01:00.0.json"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		leases, err := store.List()
		if len(leases) != 1 || err == nil || !strings.Contains(err.Error(), "0000:01:00.0.json") {
			t.Errorf("%q: %d leases, %v", text, len(leases), err)
		}
		if _, err := store.Assign(t.Context(), h, take(mustPlan(t, k, "0000:05:00.0"))); err == nil {
			t.Errorf("%q: assigned without knowing who holds what", text)
		}
	}
}

// Of many that want one group, one gets it, and the others are told who has it.
func TestRace(t *testing.T) {
	k := emulated(t, sim.Options{})
	dir := t.TempDir()
	p := mustPlan(t, k, "0000:02:00.0")
	var wg sync.WaitGroup
	results := make(chan error, 16)
	for range cap(results) {
		wg.Go(func() {
			store := &assign.Store{Dir: dir}
			_, err := store.Assign(t.Context(), &assign.Host{FS: k}, take(p))
			results <- err
		})
	}
	wg.Wait()
	close(results)
	won := 0
	for err := range results {
		var held *assign.HeldError
		switch {
		case err == nil:
			won++
		case !errors.As(err, &held):
			t.Errorf("%v, want a *HeldError", err)
		}
	}
	if won != 1 {
		t.Errorf("%d got it", won)
	}
}

func TestLockIsWaitedForAsLongAsAsked(t *testing.T) {
	k := emulated(t, sim.Options{})
	store := &assign.Store{Dir: t.TempDir()}
	p := mustPlan(t, k, "0000:02:00.0")
	inside, leave := make(chan struct{}), make(chan struct{})
	done := make(chan error)
	go func() {
		h := &assign.Host{FS: k, Viable: func(iommu.GroupID) error { close(inside); <-leave; return nil }}
		_, err := store.Assign(context.Background(), h, take(p))
		done <- err
	}()
	<-inside
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := store.Release(ctx, &assign.Host{FS: k}, p.Devices[0]); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while another process assigns: %v", err)
	}
	close(leave)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := store.Release(t.Context(), &assign.Host{FS: k}, p.Devices[0]); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
