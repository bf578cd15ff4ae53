package assign_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
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
	store := &assign.Store{Dir: t.TempDir()}
	k := booted(t, "one")
	l, err := store.Assign(t.Context(), &assign.Host{FS: k}, take(mustPlan(t, k, "0000:02:00.0")))
	if err != nil {
		t.Fatal(err)
	}
	again := booted(t, "two")
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

// booted returns the emulated laptop under a kernel with the given boot id.
func booted(t *testing.T, id string) *sim.Kernel {
	t.Helper()
	tree := emulated(t, sim.Options{}).Tree()
	put(tree, "proc/sys/kernel/random/boot_id", id+"\n")
	k, err := sim.New(tree, sim.Options{VFIO: true})
	if err != nil {
		t.Fatal(err)
	}
	return k
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
	name := filepath.Join(store.Dir, l.ID+".lease")
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

// since is a kernel on which this process has started at another time.
type since struct {
	*sim.Kernel
	start string
}

func (s since) ReadFile(name string) ([]byte, error) {
	if self := strconv.Itoa(os.Getpid()); name == "proc/"+self+"/stat" {
		return []byte(self + " (me) S 1 1 1 0 -1 0 1 0 0 0 0 0 0 0 20 0 1 0 " + s.start + " 0 0"), nil
	}
	return s.Kernel.ReadFile(name)
}

// Of two that run again what was killed, one gets the lease; and nobody gives back a
// lease that is not theirs any more.
func TestAdopt(t *testing.T) {
	k := emulated(t, sim.Options{})
	store := &assign.Store{Dir: t.TempDir()}
	first, h := &assign.Host{FS: since{k, "5"}}, &assign.Host{FS: since{k, "777"}}
	p := mustPlan(t, k, "0000:02:00.0")
	l, err := store.Assign(t.Context(), first, assign.Taking{Run: true, Plan: func() (*assign.Plan, error) { return p, nil }})
	if err != nil {
		t.Fatal(err)
	}
	var held *assign.HeldError
	if _, err := store.Adopt(t.Context(), first, l.Name()); !errors.As(err, &held) {
		t.Errorf("adopted from a process that runs: %v", err)
	}
	// The process that took it has gone, and another one has its number.
	own, err := store.Adopt(t.Context(), h, l.Name())
	if err != nil || own.PID != os.Getpid() || own.Started != "777" {
		t.Fatalf("%+v, %v", own, err)
	}
	if err := store.ReleaseOwn(t.Context(), first, l); err != nil || drivers(t, k)["0000:02:00.0"] == "nvme" {
		t.Errorf("gave back another's lease: %v", err)
	}
	if _, err := store.Adopt(t.Context(), h, l.Name()); !errors.As(err, &held) {
		t.Errorf("adopted twice: %v", err)
	}
	if err := errors.Join(store.ReleaseOwn(t.Context(), h, own), store.ReleaseOwn(t.Context(), h, own)); err != nil {
		t.Error(err)
	}
	if got := drivers(t, k)["0000:02:00.0"]; got != "nvme" {
		t.Errorf("after giving it back: %q", got)
	}
}

// The plan is made when nobody else can have the devices any more.
func TestPlanUnderClaim(t *testing.T) {
	k := emulated(t, sim.Options{})
	store := &assign.Store{Dir: t.TempDir()}
	h := &assign.Host{FS: k}
	p := mustPlan(t, k, "0000:02:00.0")
	no := errors.New("mounted meanwhile")
	asked := 0
	_, err := store.Assign(t.Context(), h, assign.Taking{
		Guest: "first", Devices: p.Devices, Claims: []assign.Claim{assign.GroupClaim(p.Groups[0])},
		Plan: func() (*assign.Plan, error) {
			asked++
			var held *assign.HeldError
			if _, err := store.Assign(t.Context(), h, take(p)); !errors.As(err, &held) || held.Lease.Guest != "first" || held.Lease.State != assign.Planning {
				t.Errorf("somebody else came in: %v", err)
			}
			told := 0
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			waits := &assign.Host{FS: k, Waiting: func(assign.Lease) { told++ }}
			if _, err := store.Release(ctx, waits, p.Devices[0]); !errors.Is(err, context.DeadlineExceeded) || told != 1 {
				t.Errorf("released while it is being planned: %v, told %d times", err, told)
			}
			// Other groups are nobody's business.
			if l, err := store.Assign(t.Context(), h, take(mustPlan(t, k, "0000:05:00.0"))); err != nil {
				t.Error(err)
			} else if _, err := store.Release(t.Context(), h, l.Devices[0]); err != nil {
				t.Error(err)
			}
			return nil, no
		},
	})
	if !errors.Is(err, no) || asked != 1 {
		t.Errorf("got %v after %d plans", err, asked)
	}
	if leases, err := store.List(); len(leases) != 0 || err != nil {
		t.Errorf("left: %v, %v", leases, err)
	}
	if got := drivers(t, k)["0000:02:00.0"]; got != "nvme" {
		t.Errorf("with %q", got)
	}
}

// A plan that needs more than was claimed gets it, and is made once more then.
func TestClaimMore(t *testing.T) {
	k := emulated(t, sim.Options{})
	store := &assign.Store{Dir: t.TempDir()}
	h := &assign.Host{FS: k}
	p := mustPlan(t, k, "0000:02:00.0", "0000:05:00.0")
	asked := 0
	l, err := store.Assign(t.Context(), h, assign.Taking{
		Guest: "test", Devices: p.Devices, Claims: []assign.Claim{assign.GroupClaim(p.Groups[0])},
		Plan: func() (*assign.Plan, error) { asked++; return p, nil },
	})
	if err != nil || asked != 2 || len(l.Claims) != 3 { // both groups, and the virtual functions of the second device
		t.Fatalf("%+v after %d plans, %v", l, asked, err)
	}
	var held *assign.HeldError
	if _, err := store.Assign(t.Context(), h, take(mustPlan(t, k, "0000:05:00.0"))); !errors.As(err, &held) {
		t.Errorf("the second group: %v", err)
	}
	if _, err := store.Release(t.Context(), h, p.Devices[1]); err != nil {
		t.Error(err)
	}
}

func TestDamagedLease(t *testing.T) {
	k := emulated(t, sim.Options{})
	store := &assign.Store{Dir: t.TempDir()}
	h := &assign.Host{FS: k}
	l, err := store.Assign(t.Context(), h, take(mustPlan(t, k, "0000:02:00.0")))
	if err != nil {
		t.Fatal(err)
	}
	valid, err := os.ReadFile(filepath.Join(store.Dir, l.ID+".lease"))
	if err != nil {
		t.Fatal(err)
	}
	const name = "0000:01:00.0@1.lease"
	for _, text := range []string{"", "{", "null", strings.Repeat("\x00", 4096), "0000000000000000 {}\n", string(valid), string(valid[1:])} {
		if err := os.WriteFile(filepath.Join(store.Dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		leases, err := store.List()
		if len(leases) < 1 || err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%.20q: %d leases, %v", text, len(leases), err)
		}
		if _, err := store.Assign(t.Context(), h, take(mustPlan(t, k, "0000:05:00.0"))); err == nil {
			t.Errorf("%.20q: assigned without knowing who holds what", text)
		}
	}
}

// A lease of another version is said to be one.
func TestOtherFormats(t *testing.T) {
	store := &assign.Store{Dir: t.TempDir()}
	for name, text := range map[string]string{
		"0000:02:00.0.json":    `{"guest":"old","devices":["0000:02:00.0"]}`,
		"0000:02:00.0@1.lease": record(`{"format":7,"boot_id":"x","seq":"other"}`),
		"0000:02:00.0@2.lease": record(`{"boot_id":"x","seq":0,"op":"lease"}`),
	} {
		if err := os.WriteFile(filepath.Join(store.Dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := store.List(); !errors.Is(err, assign.ErrFormat) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		if err := os.Remove(filepath.Join(store.Dir, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// record is a line of a journal.
func record(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8]) + " " + text + "\n"
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
