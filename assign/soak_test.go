package assign_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/project-independence/indy/assign"
)

// usage is what a process that runs for a year must not have more and more of.
type usage struct {
	descriptors, goroutines int
	heap                    uint64 // bytes in use after a collection
}

func used(t *testing.T) usage {
	t.Helper()
	runtime.GC()
	runtime.GC() // what finalizers let go of
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{descriptors(t), runtime.NumGoroutine(), m.HeapAlloc}
}

// descriptors counts the open files of this process.
func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal("who has what open is read from /proc:", err)
	}
	return len(entries)
}

// fastDir is a directory where a sync costs nothing, if there is one.
func fastDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "indy-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestSoak hands out and takes back 10,000 times, with writes that fail now and then: in
// the end the machine is as it was, and what the process has open and holds has not grown.
func TestSoak(t *testing.T) {
	const cycles, window = 10_000, 1000
	file := machines(t)[0]
	start := machine(t, file, 1)
	every := plans(t, start)
	every = every[:len(every)-1] // the last is all of them
	dir := fastDir(t)
	stores := [2]*assign.Store{ // what is kept past a boot costs most of the time
		{Dir: filepath.Join(dir, "leases")},
		{Dir: filepath.Join(dir, "leases"), StateDir: filepath.Join(dir, "state")},
	}
	random := rand.New(rand.NewPCG(2026, 5))
	errnos := []syscall.Errno{syscall.EIO, syscall.EBUSY, syscall.ENODEV, syscall.EPERM, syscall.EINVAL, syscall.EAGAIN, syscall.EINTR}
	var early, late usage
	var faults, failed, partial int
	began := time.Now()
	k := start.Clone()
	for n := range cycles {
		k = k.Clone() // without the list of what was written
		store := stores[0]
		if n%10 == 0 {
			store = stores[1]
		}
		host := &assign.Host{FS: k}
		if n%4 == 0 {
			rate := 2 + random.IntN(20)
			k.Fail = func(string, []byte) error {
				if random.IntN(rate) > 0 {
					return nil
				}
				faults++
				return errnos[random.IntN(len(errnos))]
			}
		}
		p := every[random.IntN(len(every))]
		_, err := store.Assign(t.Context(), host, take(p))
		if err == nil {
			_, err = store.Release(t.Context(), host, p.Devices[0])
		}
		k.Fail = nil
		if err != nil {
			failed++
			var left *assign.PartialError
			if errors.As(err, &left) {
				partial++
			}
			if k.Fail = nil; n%4 != 0 {
				t.Fatalf("cycle %d: %v", n, err)
			}
			if _, err := store.Recover(t.Context(), host); err != nil {
				t.Fatalf("cycle %d: recover: %v", n, err)
			}
			if _, err := store.Holding(p.Devices[0]); err == nil {
				if _, err := store.Release(t.Context(), host, p.Devices[0]); err != nil {
					t.Fatalf("cycle %d: release after a fault: %v", n, err)
				}
			}
		}
		if n%100 == 99 {
			if d := differ(start, k); len(d) > 0 {
				t.Fatalf("cycle %d: the machine is not as it was: %v", n, few(d))
			}
			if leases, err := store.List(); len(leases) > 0 || err != nil {
				t.Fatalf("cycle %d: leases: %v, %v", n, leases, err)
			}
		}
		switch n {
		case window - 1:
			early = used(t)
		case cycles - 1:
			late = used(t)
		}
	}
	t.Logf("%d cycles in %.1f s, %d faults, %d failed, %d in part", cycles, time.Since(began).Seconds(), faults, failed, partial)
	t.Logf("after %d: %+v; after %d: %+v", window, early, cycles, late)
	if late.descriptors > early.descriptors || late.goroutines > early.goroutines {
		t.Error("files or goroutines were left behind")
	}
	if late.heap > early.heap+early.heap/10+256<<10 {
		t.Error("the heap has grown")
	}
	if faults < 1000 || failed < 500 || partial < 20 {
		t.Error("too few faults to show anything")
	}
	var left []string
	_ = filepath.WalkDir(dir, func(name string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() && filepath.Base(name) != "lock" {
			left = append(left, strings.TrimPrefix(name, dir))
		}
		return nil
	})
	if len(left) > 0 && strings.Contains(strings.Join(left, " "), "leases") {
		t.Errorf("files left: %v", left)
	}
}
