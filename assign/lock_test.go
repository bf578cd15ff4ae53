package assign_test

import (
	"context"
	"errors"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/internal/sim"
)

// inHere is a simulated machine on which the processes of this one run.
type inHere struct {
	*sim.Kernel
	live fs.FS
}

func (k inHere) isHere(name string) bool {
	rest, ok := strings.CutPrefix(name, "proc/")
	return name == "proc" || name == "proc/locks" || ok && rest[0] >= '0' && rest[0] <= '9'
}

func (k inHere) ReadFile(name string) ([]byte, error) {
	if k.isHere(name) {
		return fs.ReadFile(k.live, name)
	}
	return k.Kernel.ReadFile(name)
}

func (k inHere) ReadDir(name string) ([]fs.DirEntry, error) {
	if k.isHere(name) {
		return fs.ReadDir(k.live, name)
	}
	return k.Kernel.ReadDir(name)
}

func (k inHere) ReadLink(name string) (string, error) {
	if k.isHere(name) {
		return fs.ReadLink(k.live, name)
	}
	return k.Kernel.ReadLink(name)
}

// lockedLease has two leases to be given back, and another process keep that of 0000:02:00.0
// locked for a second: orphaned by one that has ended, or not.
func lockedLease(t *testing.T, orphaned bool) (*assign.Store, *assign.Host, *sim.Kernel) {
	t.Helper()
	if _, err := exec.LookPath("flock"); err != nil {
		hosttest.Missing(t, "%v", err)
	}
	k := emulated(t, sim.Options{})
	s := &assign.Store{Dir: t.TempDir()}
	h := &assign.Host{FS: inHere{k, hostfs.Live()}}
	var file string
	for _, a := range []string{"0000:05:00.0", "0000:02:00.0"} {
		p := mustPlan(t, k, a)
		l, err := s.Assign(t.Context(), h, assign.Taking{Confirm: 1, Plan: func() (*assign.Plan, error) { return p, nil }})
		if err != nil {
			t.Fatal(err)
		}
		file = filepath.Join(s.Dir, l.ID+".lease")
	}
	args := []string{"flock", file, "sleep", "1"}
	if orphaned {
		args = []string{"/bin/sh", "-c", `exec 9<>"$0"; flock 9; sleep 1 & exit`, file}
	}
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if orphaned {
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
	} else {
		t.Cleanup(func() { _ = cmd.Wait() })
	}
	fd, err := unix.Open(file, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for end := time.Now().Add(5 * time.Second); unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) == nil; time.Sleep(time.Millisecond) {
		_ = unix.Flock(fd, unix.LOCK_UN)
		if time.Now().After(end) {
			t.Fatal("the lease is not locked")
		}
	}
	return s, h, k
}

// A lease whose process has been killed while the kernel is in a write is recovered when that
// is over, and those of others before.
func TestRecoverOrphaned(t *testing.T) {
	s, h, k := lockedLease(t, true)
	var order []string
	h.Did = func(device string, _ assign.Write, _ error) {
		if len(order) == 0 || order[len(order)-1] != device {
			order = append(order, device)
		}
	}
	h.Waiting = func(assign.Lease) { t.Error("it waits for a process that is not there") }
	began := time.Now()
	all, err := s.Recover(t.Context(), h)
	if err != nil || len(all) != 2 || all[0].Result != assign.GivenBack || all[1].Result != assign.GivenBack {
		t.Errorf("%+v, %v", all, err)
	}
	if !slices.Equal(order, []string{"0000:05:00.0", "0000:02:00.0"}) || time.Since(began) < 500*time.Millisecond {
		t.Errorf("given back: %v, in %v", order, time.Since(began))
	}
	if d := drivers(t, k); d["0000:02:00.0"] != "nvme" {
		t.Errorf("%v", d)
	}
}

func TestReleaseOrphaned(t *testing.T) {
	s, h, _ := lockedLease(t, true)
	h.Waiting = func(assign.Lease) { t.Error("it waits for a process that is not there") }
	if _, err := s.Release(t.Context(), h, address(t, "0000:02:00.0")); err != nil {
		t.Error(err)
	}
}

// A process that works on a lease, though it has not brought it into its state, is no orphan.
func TestRecoverWhileGuarded(t *testing.T) {
	s, h, _ := lockedLease(t, false)
	began := time.Now()
	all, err := s.Recover(t.Context(), h)
	if err != nil || len(all) != 2 || all[0].Result != assign.InProgress || all[1].Result != assign.GivenBack {
		t.Errorf("%+v, %v", all, err)
	}
	if took := time.Since(began); took > 500*time.Millisecond {
		t.Errorf("it took %v", took)
	}
	told := 0
	h.Waiting = func(assign.Lease) { told++ }
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := s.Release(ctx, h, address(t, "0000:02:00.0")); !errors.Is(err, context.DeadlineExceeded) || told != 1 {
		t.Errorf("%v, told %d times", err, told)
	}
	if _, err := s.Release(t.Context(), h, address(t, "0000:02:00.0")); err != nil {
		t.Error(err)
	}
}
