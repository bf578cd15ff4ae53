package lab_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/lab/labtest"
	"github.com/project-independence/indy/vfio"
)

const soakCycles = 200

// TestSoakInside hands over and takes back, in one process, and looks what that costs the
// process: nothing that stays.
func TestSoakInside(t *testing.T) {
	labtest.Inside(t)
	h := newHand(t, filepath.Join(t.TempDir(), "leases"))
	all := []goods{nvmeDisk(), network()}
	begun := time.Now()
	var early state
	for i := range soakCycles {
		g := all[i%len(all)]
		if _, err := h.assign(t.Context(), g, "soak"); err != nil {
			t.Fatalf("cycle %d: %v", i, err)
		}
		if err := h.release(t.Context(), g); err != nil {
			t.Fatalf("cycle %d: %v", i, err)
		}
		if i == soakCycles/4 {
			early = stateNow(t)
		}
	}
	late := stateNow(t)
	t.Logf("%d cycles in %v; after %d: %v; at the end: %v", soakCycles, time.Since(begun).Round(time.Second), soakCycles/4+1, early, late)
	if late.files != early.files || late.goroutines > early.goroutines || late.threads > early.threads+2 ||
		late.heap > early.heap+64<<10 || late.kept > early.kept+1<<20 {
		t.Error("something stays of each cycle")
	}
	for _, g := range all {
		if err := soon(g.withHost); err != nil {
			t.Error(err)
		}
	}
}

// A state is what a process has.
type state struct {
	files, goroutines, threads int
	heap, kept                 uint64 // bytes: in use by Go, and had from the kernel
}

func (s state) String() string {
	return fmt.Sprintf("%d files, %d goroutines, %d threads, %d KiB of heap, %d KiB had from the kernel",
		s.files, s.goroutines, s.threads, s.heap>>10, s.kept>>10)
}

func stateNow(t *testing.T) state {
	t.Helper()
	// What a sync.Pool keeps for the next one, as those of fmt and encoding/json, survives one
	// collection: up to some hundred KiB, by what happened to be in use.
	runtime.GC()
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	// What the kernel counts as resident goes by pages of 2 MiB, whatever is in them.
	s := state{files: countDescriptors(t), goroutines: runtime.NumGoroutine(), heap: m.HeapAlloc, kept: m.Sys - m.HeapReleased}
	text, err := hostfs.ReadString(hostfs.Live(), "proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, threads, _ := strings.Cut(text, "Threads:")
	if _, err := fmt.Sscan(threads, &s.threads); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestFault48DescriptorsInside has everything fail that can, and counts the open files. A
// group that is left open by whoever failed shows when it is opened again: the kernel lets
// only one.
func TestFault48DescriptorsInside(t *testing.T) {
	labtest.Inside(t)
	h := newHand(t, filepath.Join(t.TempDir(), "leases"))
	g := trio()
	id, err := g.group()
	if err != nil {
		t.Fatal(err)
	}
	if err := soon(g.withHost); err != nil {
		t.Fatal(err)
	}
	before := countDescriptors(t)
	after := func(what string) {
		t.Helper()
		h.door.before = nil
		if err := soon(g.withHost); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if n := countDescriptors(t); n != before {
			t.Errorf("%s: %d open files, there were %d", what, n, before)
		}
		if left, err := h.Store.List(); err != nil || len(left) > 0 {
			t.Errorf("%s: leases %+v, %v", what, left, err)
		}
	}

	// Each write fails once, by itself.
	writes := 0
	for n := 0; ; n++ {
		writes = 0
		h.door.before = func(string, string) error {
			if writes++; writes == n+1 {
				return syscall.EIO
			}
			return nil
		}
		_, err := h.assign(t.Context(), g, "fails")
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EIO) {
			t.Fatalf("write %d: %v, want EIO", n, err)
		}
		after(fmt.Sprintf("write %d failed", n))
	}
	h.door.before = nil
	if writes < 6 {
		t.Errorf("%d writes hand over two functions", writes)
	}

	// It is assigned now. A guest has it open: nobody else can, and it is not given back.
	open, err := vfio.OpenGroup(id)
	if err != nil {
		t.Fatal(err)
	}
	held := countDescriptors(t)
	if err := vfio.Viable(id); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("a second opener: %v, want EBUSY", err)
	}
	var busy *assign.BusyError
	if err := h.release(t.Context(), g); !errors.As(err, &busy) {
		t.Errorf("release of what a guest runs with: %v", err)
	}
	if n := countDescriptors(t); n != held {
		t.Errorf("refused: %d open files, there were %d", n, held)
	}
	if err := open.Close(); err != nil {
		t.Fatal(err)
	}
	if err := vfio.Viable(id); err != nil {
		t.Errorf("the group cannot be opened again: %v", err)
	}
	if err := h.release(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	after("refused, and given back")

	// Somebody else takes a mate back while the others are bound, so that the group is not
	// viable in the end.
	const mate = "0000:04:01.0"
	h.Host.Did = func(device string, w assign.Write, err error) {
		if device != "0000:04:02.0" || !strings.HasSuffix(w.File, "drivers_probe") {
			return
		}
		h.Host.Did = nil
		for name, value := range map[string]string{"sys/bus/pci/drivers/vfio-pci/unbind": mate, pciDevice(mate) + "/driver_override": "\n"} {
			if err := h.door.LiveHost.WriteFile(name, []byte(value)); err != nil {
				t.Errorf("/%s: %v", name, err)
			}
		}
		if err := h.door.LiveHost.WriteFile("sys/bus/pci/drivers_probe", []byte(mate)); err != nil {
			t.Error(err)
		}
	}
	if _, err := h.assign(t.Context(), g, "split"); err == nil {
		t.Error("half a group was handed over")
	} else {
		t.Logf("half a group: %v", err)
	}
	after("not viable")
}
