package laptop_test

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/laptop"
)

// locked is a tree in which only root may read some files.
type locked struct {
	*hostfs.Tree
	errs map[string]error
}

func (l locked) ReadFile(name string) ([]byte, error) {
	if err := l.errs[name]; err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return l.Tree.ReadFile(name)
}

func thinkpad(t testing.TB) *hostfs.Tree {
	h := newHost(t)
	for name, value := range map[string]string{
		"sys_vendor": "LENOVO", "product_name": "21CB", "product_version": "ThinkPad X1 Carbon Gen 10", "product_family": "ThinkPad X1",
		"board_vendor": "LENOVO", "board_name": "21CBCTO1WW", "bios_vendor": "LENOVO", "bios_version": "N3AET76W", "bios_date": "09/06/2023",
		"product_serial": "SECRET", "product_uuid": "SECRET", "board_serial": "SECRET",
	} {
		h.put("sys/class/dmi/id/"+name, value+"\n")
	}
	h.put("proc/meminfo", "MemTotal:       16262312 kB\nMemFree: 1 kB\n")
	h.put("proc/cpuinfo", "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: 12th Gen Intel(R) Core(TM) i7\nflags\t: vmx\n\nprocessor\t: 1\nmodel name\t: 12th Gen Intel(R) Core(TM) i7\n\n")
	for _, cpu := range []string{"cpu0", "cpu1"} {
		h.put("sys/devices/system/cpu/"+cpu+"/topology/physical_package_id", "0\n")
		h.put("sys/devices/system/cpu/"+cpu+"/topology/core_id", "0\n")
	}
	h.put("sys/devices/system/cpu/cpufreq/x", "")
	return h.Tree
}

var x1 = laptop.Machine{
	Vendor: "LENOVO", Product: "21CB", Version: "ThinkPad X1 Carbon Gen 10", Family: "ThinkPad X1",
	Board: "LENOVO 21CBCTO1WW", BIOS: "LENOVO N3AET76W 09/06/2023",
	CPU: "12th Gen Intel(R) Core(TM) i7", Threads: 2, Memory: 16262312 << 10,
}

// scratch gives the test its own directory for temporary files and checks that
// nothing is left in it.
func scratch(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Cleanup(func() {
		left, err := os.ReadDir(dir)
		if err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	})
}

func TestMachine(t *testing.T) {
	scratch(t)
	m, err := laptop.ReadMachine(thinkpad(t))
	must(t, err)
	if diff := cmp.Diff(x1, m); diff != "" {
		t.Error(diff)
	}
	if s := m.String(); s != "LENOVO ThinkPad X1 Carbon Gen 10" {
		t.Errorf("%q", s)
	}
	if s := (laptop.Machine{Vendor: "Framework", Product: "Laptop 13", Version: "A7"}).String(); s != "Framework Laptop 13" {
		t.Errorf("%q", s)
	}
	want := x1
	want.CPU, want.Threads, want.Memory = "", 0, 0
	m, err = laptop.ReadIdentity(thinkpad(t))
	must(t, err)
	if diff := cmp.Diff(want, m); diff != "" {
		t.Error(diff)
	}
}

func TestMachineNothing(t *testing.T) {
	scratch(t)
	m, err := laptop.ReadMachine(new(hostfs.Tree))
	if err != nil || m != (laptop.Machine{}) || m.String() != "" {
		t.Errorf("%+v, %v", m, err)
	}
}

// What only root may read is left out; what fails otherwise costs itself alone.
func TestMachinePartly(t *testing.T) {
	scratch(t)
	tr := locked{thinkpad(t), map[string]error{"sys/class/dmi/id/board_name": syscall.EACCES}}
	want := x1
	want.Board = "LENOVO"
	m, err := laptop.ReadMachine(tr)
	must(t, err)
	if diff := cmp.Diff(want, m); diff != "" {
		t.Error(diff)
	}
	tr.errs["proc/meminfo"] = syscall.EIO
	want.Memory = 0
	m, err = laptop.ReadMachine(tr)
	if !errors.Is(err, syscall.EIO) || !strings.HasPrefix(err.Error(), "read machine: ") {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Error(diff)
	}
}

func TestMachineText(t *testing.T) {
	scratch(t)
	tr := thinkpad(t)
	must(t, tr.Put("sys/class/dmi/id/product_name", []byte("a\x1b[31m\x00b\n")))
	must(t, tr.Put("proc/cpuinfo", []byte("processor\t: 0\nmodel name\t: \x1b[2J\xff\n\n")))
	m, err := laptop.ReadMachine(tr)
	must(t, err)
	if strings.ContainsAny(m.Product+m.CPU, "\x1b\x00") || m.Product == "" {
		t.Errorf("%q, %q", m.Product, m.CPU)
	}
}

// FuzzMachine puts nonsense where processors and memory are described.
func FuzzMachine(f *testing.F) {
	f.Add("processor\t: 0\nmodel name\t: x\n\n", "MemTotal: 5 kB\n", "0")
	f.Add("processor : -1\n:\n\n\n", "MemTotal:\n", "-9999999999999999999")
	f.Fuzz(func(t *testing.T, cpuinfo, meminfo, number string) {
		tr := thinkpad(t)
		must(t, tr.Put("proc/cpuinfo", []byte(cpuinfo)))
		must(t, tr.Put("proc/meminfo", []byte(meminfo)))
		must(t, tr.Put("sys/devices/system/cpu/cpu1/topology/core_id", []byte(number)))
		must(t, tr.Put("sys/devices/system/cpu/cpu1/online", []byte(number)))
		if m, _ := laptop.ReadMachine(tr); m.Vendor != "LENOVO" || m.Memory < 0 || m.Threads < 0 {
			t.Errorf("%+v", m)
		}
	})
}
