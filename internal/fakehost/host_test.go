package fakehost_test

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/internal/fakehost"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/internal/sim"
)

// TestConform: what the real kernel of the emulated laptop says to the conformance
// script is what a process hears that has the simulated one for its /sys.
func TestConform(t *testing.T) {
	data := filepath.Join(hosttest.Root(t), "internal", "sim", "testdata")
	script, err := os.Open(filepath.Join(data, "conformance.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer script.Close()
	want, err := os.ReadFile(filepath.Join(data, "conformance.golden"))
	if err != nil {
		t.Fatal(err)
	}
	h := fakehost.New(t, kernel(t, sim.Options{}), fakehost.Options{})
	cmd := h.Helper("", "conform")
	var out, said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = script, &out, &said
	if err := h.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, &said)
	}
	if diff := cmp.Diff(string(want), out.String()); diff != "" {
		t.Errorf("not as the kernel of the emulated laptop (-kernel +this):\n%s", diff)
	}
}

const disk = "0000:02:00.0"

// TestSysfs: the manners of sysfs that a plain file has not.
func TestSysfs(t *testing.T) {
	k := kernel(t, sim.Options{})
	h := fakehost.New(t, k, fakehost.Options{})
	dir := h.Root() + "/sys/bus/pci/devices/" + disk + "/"
	for name, want := range map[string]os.FileMode{"vendor": 0o444, "driver_override": 0o644, "remove": 0o200} {
		st, err := os.Stat(dir + name)
		if err != nil || st.Size() != 4096 || st.Mode() != want {
			t.Errorf("%s: %v, %v; want size 4096 and mode %v", name, st, err, want)
		}
	}
	for name, flags := range map[string]int{"remove": os.O_RDONLY, "vendor": os.O_WRONLY, "reset": os.O_RDWR} {
		if f, err := os.OpenFile(dir+name, flags, 0); !os.IsPermission(err) {
			t.Errorf("open %s with %#x: %v, %v; want EACCES, also for root", name, flags, f, err)
		}
	}
	f, err := os.OpenFile(dir+"driver_override", os.O_RDWR|os.O_APPEND|os.O_TRUNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if n := len(k.Writes()); n != 0 {
		t.Errorf("opening with O_TRUNC was %d stores", n)
	}
	for _, value := range []string{"first", "second"} {
		if n, err := f.WriteString(value); err != nil || n != len(value) {
			t.Errorf("write %s: %d, %v", value, n, err)
		}
	}
	if n, err := f.Write(nil); n != 0 || err != nil {
		t.Errorf("an empty write: %d, %v", n, err)
	}
	probe, err := unix.Open(h.Root()+"/sys/bus/pci/drivers_probe", unix.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(probe)
	if n, err := unix.Write(probe, append([]byte(disk), make([]byte, 5000)...)); n != 4096 || err != nil {
		t.Errorf("a write of 5000 bytes: %d, %v", n, err)
	}
	var values []string
	for _, w := range k.Writes() {
		values = append(values, string(w.Value[:min(len(w.Value), 12)]))
	}
	if diff := cmp.Diff([]string{"first", "second", disk}, values); diff != "" {
		t.Errorf("stores (-want +got):\n%s", diff)
	}
	// What was read at the beginning is what a file goes on with.
	g, err := os.Open(dir + "vendor")
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	two := make([]byte, 2)
	if n, err := io.ReadFull(g, two); n != 2 || err != nil || string(two) != "0x" {
		t.Errorf("%q, %v", two, err)
	}
	if rest, err := io.ReadAll(g); err != nil || string(rest) != "1b36\n" {
		t.Errorf("%q, %v", rest, err)
	}
	if err := os.WriteFile(dir+"new", nil, 0o644); err == nil {
		t.Error("a file was made in sysfs")
	}
}

// TestGroup: a VFIO group is open once, and says whether it is viable.
func TestGroup(t *testing.T) {
	k := kernel(t, sim.Options{VFIO: true})
	h := host(t, k)
	for _, w := range [][2]string{
		{"devices/0000:04:01.0/driver_override", "vfio-pci"}, {"drivers/e1000/unbind", "0000:04:01.0"}, {"drivers_probe", "0000:04:01.0"},
	} {
		if err := k.WriteFile("sys/bus/pci/"+w[0], []byte(w[1])); err != nil {
			t.Fatal(err)
		}
	}
	const node = "/dev/vfio/12"
	for range 50 {
		f, err := os.OpenFile(h.Root()+node, os.O_RDWR, 0)
		if err != nil {
			t.Fatalf("after it was closed: %v", err)
		}
		if g, err := os.OpenFile(h.Root()+node, os.O_RDWR, 0); !isErrno(err, syscall.EBUSY) {
			t.Fatalf("a second opener: %v, %v", g, err)
		}
		f.Close()
	}
	// A driver of the host takes back a function just before the kernel is asked.
	back := [][2]string{
		{"drivers/vfio-pci/unbind", "0000:04:02.0"}, {"devices/0000:04:02.0/driver_override", "\n"}, {"drivers/snd_hda_intel/bind", "0000:04:02.0"},
	}
	h.SetHook(func(o fakehost.Op) fakehost.Fault {
		if o.Kind != "open" {
			return fakehost.Fault{}
		}
		return fakehost.Fault{Before: func() {
			for _, w := range back {
				if err := k.WriteFile("sys/bus/pci/"+w[0], []byte(w[1])); err != nil {
					t.Error(err)
				}
			}
		}}
	})
	r, err := h.Run("indy", "assign", "0000:04:02.0", "--with-companions")
	if err != nil || r.Code == 0 || !strings.Contains(r.Stderr, "IOMMU group 12 is not viable") {
		t.Errorf("%+v, %v", r, err)
	}
	h.SetHook(nil)
	if r, err = h.Run("indy", "assign", "0000:04:02.0", "--with-companions"); err != nil || r.Code != 0 || !strings.Contains(r.Stdout, node) {
		t.Errorf("%+v, %v", r, err)
	}
}

func isErrno(err error, want syscall.Errno) bool {
	pe, ok := err.(*os.PathError)
	return ok && pe.Err == want
}

// TestHook: an operation fails, is done by half, or is the last of its process.
func TestHook(t *testing.T) {
	k := kernel(t, sim.Options{VFIO: true})
	h := host(t, k)
	assign := []string{"assign", "0000:05:00.0"}
	var mu sync.Mutex
	var seen []string
	h.SetHook(func(o fakehost.Op) fakehost.Fault {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, o.String())
		return fakehost.Fault{}
	})
	if r, err := h.Run("indy", assign...); err != nil || r.Code != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, want := range []string{
		"create /run/indy/leases/lock", "fsync /run/indy/leases/.0000:05:00.0@*", "write /sys/bus/pci/drivers_probe", "open /dev/vfio/13",
	} {
		if !slices.Contains(seen, want) {
			t.Errorf("no %q in %q", want, seen)
		}
	}
	for _, c := range []struct {
		fault fakehost.Fault
		want  string
	}{
		{fakehost.Fault{Err: syscall.EIO}, "input/output error"},
		{fakehost.Fault{Take: 3}, "short write"},
	} {
		if err := h.Reset(kernel(t, sim.Options{VFIO: true})); err != nil {
			t.Fatal(err)
		}
		h.SetHook(func(o fakehost.Op) fakehost.Fault {
			if strings.HasSuffix(o.Name, "/unbind") {
				return c.fault
			}
			return fakehost.Fault{}
		})
		if r, err := h.Run("indy", assign...); err != nil || r.Code != 1 || !strings.Contains(r.Stderr, c.want) {
			t.Errorf("%+v, %v; want %q", r, err, c.want)
		}
	}
}
