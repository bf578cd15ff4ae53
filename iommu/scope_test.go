package iommu_test

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
)

// pciTree has functions and buses by their paths below /sys/devices.
func pciTree(t testing.TB, paths ...string) *hostfs.Tree {
	t.Helper()
	tr := new(hostfs.Tree)
	for _, p := range paths {
		dir, base := "sys/bus/pci/devices/", p[strings.LastIndexByte(p, '/')+1:]
		if strings.Contains(p, "/pci_bus/") {
			dir = "sys/class/pci_bus/"
		}
		must(t, tr.Mkdir("sys/devices/"+p))
		must(t, tr.Symlink("../../../devices/"+p, dir+base))
	}
	return tr
}

func TestScopeResolve(t *testing.T) {
	tr := pciTree(t,
		"pci0000:00/0000:00:02.0",
		"pci0000:00/0000:00:1c.4",
		"pci0000:00/0000:00:1c.4/0000:05:00.0",
		"pci0000:00/0000:00:1c.4/0000:05:00.0/0000:06:03.0",                  // behind the switch or bridge
		"pci0000:00/0000:00:1d.0", "pci0000:00/0000:00:1d.0/pci_bus/0000:09", // nothing is on it
		"pci0000:00/0000:00:1e.0", // a bridge of which nothing is said
		"pci0000:00/0000:00:01.0",
		"pci0000:00/0000:00:01.0/0000:03:10.0", // a virtual function, beside its physical one
		"pci0000:00/0000:00:01.0/0000:02:00.0",
		"pci0000:00/0000:00:0e.0",
		"pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:06.0", // VMD: no bus of the domain is behind it
		"pci0000:00/pci_bus/0000:00",
		"pci0001:80/0001:80:00.0",
	)
	must(t, tr.Mkdir("sys/bus/pci/devices/nonsense"))
	must(t, tr.Mkdir("sys/bus/pci/devices/0000:00:1f.0")) // no link, as a tree made by hand may have it
	buses, err := iommu.ReadBuses(tr)
	if !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), "0000:00:1f.0") {
		t.Error(err)
	}
	step := func(device, function uint8) iommu.ScopeStep {
		return iommu.ScopeStep{Device: device, Function: function}
	}
	for _, tt := range []struct {
		segment uint16
		bus     uint8
		path    []iommu.ScopeStep
		want    string
		err     string // part of it
	}{
		{0, 0, []iommu.ScopeStep{step(2, 0)}, "0000:00:02.0", ""},
		{0, 0, []iommu.ScopeStep{step(0x1f, 0)}, "0000:00:1f.0", ""},
		{0, 0, []iommu.ScopeStep{step(0x1c, 4), step(0, 0)}, "0000:05:00.0", ""},
		{0, 0, []iommu.ScopeStep{step(0x1c, 4), step(0, 0), step(3, 0)}, "0000:06:03.0", ""},
		{0, 5, []iommu.ScopeStep{step(0, 0)}, "0000:05:00.0", ""},
		{0, 0, []iommu.ScopeStep{step(1, 0), step(0, 0)}, "0000:02:00.0", ""},
		{0, 0, []iommu.ScopeStep{step(0x1d, 0), step(0, 0)}, "0000:09:00.0", "there is no function 0000:09:00.0"},
		{1, 0x80, []iommu.ScopeStep{step(0, 0)}, "0001:80:00.0", ""},
		{1, 0, []iommu.ScopeStep{step(2, 0)}, "0001:00:02.0", "there is no function"},
		{0, 0xf0, []iommu.ScopeStep{step(0x1f, 0)}, "0000:f0:1f.0", "there is no function"},
		{0, 0, nil, "", "has no path"},
		{0, 0, []iommu.ScopeStep{step(32, 0)}, "", "none that can be"},
		{0, 0, []iommu.ScopeStep{step(32, 0), step(0, 0)}, "", "none that can be"},
		{0, 0, []iommu.ScopeStep{step(0x1c, 4), step(0, 9)}, "", "none that can be"},
		{0, 0, []iommu.ScopeStep{step(0x1e, 0), step(0, 0)}, "", "not known which bus is behind 0000:00:1e.0"},
		{0, 0, []iommu.ScopeStep{step(0x0e, 0), step(6, 0)}, "", "not known which bus is behind 0000:00:0e.0"},
		{0, 0, []iommu.ScopeStep{step(9, 0), step(0, 0)}, "", "there is no bridge 0000:00:09.0"},
	} {
		s := iommu.Scope{Type: iommu.ScopeEndpoint, Segment: tt.segment, StartBus: tt.bus, Path: tt.path}
		got, err := s.Resolve(buses)
		if got.IsValid() != (tt.want != "") || got.IsValid() && got.String() != tt.want {
			t.Errorf("%v is %v", s, got)
		}
		if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%v: %v", s, err)
		}
		if missing := errors.Is(err, fs.ErrNotExist); missing != strings.Contains(tt.err, "there is no") {
			t.Errorf("%v: %v", s, err)
		}
	}
	if bus, ok := buses.Behind(addr(t, "0000:00:01.0")); bus != 2 || !ok {
		t.Error(bus, ok)
	}
	if _, ok := buses.Behind(addr(t, "0000:00:02.0")); ok || !buses.Has(addr(t, "0000:00:02.0")) || buses.Has(addr(t, "0000:00:03.0")) {
		t.Error("a function is a bridge, or missing, or there is one too many")
	}
	if all := buses.Functions(); len(all) != 13 || !slices.IsSortedFunc(all, pci.Address.Compare) {
		t.Errorf("%d: %v", len(all), all)
	}
}

func TestBusesUnreadable(t *testing.T) {
	if b, err := iommu.ReadBuses(new(hostfs.Tree)); err != nil || len(b.Functions()) != 0 {
		t.Error(b, err)
	}
	tr := pciTree(t, "pci0000:00/0000:00:1c.4", "pci0000:00/0000:00:1c.4/0000:05:00.0", "pci0000:00/0000:00:1d.0/pci_bus/0000:09")
	for _, broken := range []string{"sys/bus/pci/devices", "sys/class/pci_bus", "sys/bus/pci/devices/0000:05:00.0", "sys/class/pci_bus/0000:09"} {
		b, err := iommu.ReadBuses(hosttest.Failing{Tree: tr, Fail: func(name string) error {
			if name == broken {
				return syscall.EIO
			}
			return nil
		}})
		var op *iommu.OpError
		if !errors.Is(err, syscall.EIO) || !errors.As(err, &op) {
			t.Errorf("%s: %v", broken, err)
		}
		if broken != "sys/bus/pci/devices" && len(b.Functions()) != 2 {
			t.Errorf("%s: %v", broken, b.Functions())
		}
	}
}

// The tables that QEMU makes name every function of the machine, and virtual functions that
// nobody has enabled; each of the others is there. One of ours has a unit for all.
func TestScopesOfLab(t *testing.T) {
	hosts, err := filepath.Glob(filepath.Join(hosttest.Root(t), "testdata", "hosts", "lab-*.txtar"))
	must(t, err)
	tables, resolved := 0, 0
	for _, host := range hosts {
		h, err := hostfs.Open(host)
		must(t, err)
		buses, err := iommu.ReadBuses(h)
		must(t, err)
		d, err := iommu.ReadDMAR(h)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		must(t, err)
		tables++
		var text []string
		for _, u := range d.Units {
			for _, s := range u.Scopes {
				a, err := s.Resolve(buses)
				if virtual := a.Device() >= 0x18 && a.Device() < 0x1c; virtual && strings.HasSuffix(host, "-nested.txtar") && errors.Is(err, fs.ErrNotExist) {
					continue // of 0000:00:08.0 and 00:08.1
				}
				if s.Type == iommu.ScopeIOAPIC {
					if !errors.Is(err, fs.ErrNotExist) || a.String() != "0000:ff:00.0" {
						t.Errorf("%s: %v is %v, %v", host, s, a, err)
					}
					continue
				}
				if err != nil {
					t.Errorf("%s: %v", host, err)
				}
				resolved++
				text = append(text, a.String())
			}
		}
		for _, a := range buses.Functions() {
			u, found, err := d.UnitFor(a, buses)
			if err != nil || !found || a.Domain() == 0 && a.Bus() == 0 && !u.IncludeAll && !slices.Contains(text, a.String()) {
				t.Errorf("%s: no unit has %v: %v", host, a, err)
			}
		}
	}
	t.Logf("%d tables, %d scopes resolved", tables, resolved)
	if tables < 3 || resolved < 30 {
		t.Error("too few")
	}
}

// A path of any length and content ends in an address or an error.
func FuzzScope(f *testing.F) {
	f.Add([]byte{1, 8, 0, 0, 0, 0, 2, 0})
	f.Add([]byte{2, 10, 0, 0, 0, 0, 0x1c, 4, 0, 0})
	f.Add([]byte{2, 6, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, scope []byte) {
		if len(scope) > 200 {
			return
		}
		body := append([]byte{38, 0, 11: 0}, 0, 0, byte(16+len(scope)), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
		d, err := iommu.ParseDMAR(acpiTable("DMAR", append(body, scope...)...))
		buses, _ := iommu.ReadBuses(pciTree(t, "pci0000:00/0000:00:1c.4", "pci0000:00/0000:00:1c.4/0000:05:00.0"))
		n := 0
		for _, u := range d.Units {
			for _, s := range u.Scopes {
				n += 6 + 2*len(s.Path)
				a, err := s.Resolve(buses)
				if err == nil && (!a.IsValid() || !buses.Has(a)) || s.String() == "" {
					t.Error(s, a, err)
				}
			}
		}
		if err == nil && n != len(scope) {
			t.Errorf("%d of %d bytes are in scopes", n, len(scope))
		}
	})
}

// With hostfs.Live() in place of the tree this prints what the firmware of the running
// machine says of its IOMMU, as root.
func ExampleReadDMAR() {
	host := new(hostfs.Tree)
	_ = host.Put("sys/firmware/acpi/tables/DMAR", dmarTable())
	_ = host.Symlink("../../../devices/pci0000:00/0000:00:02.0", "sys/bus/pci/devices/0000:00:02.0")

	d, err := iommu.ReadDMAR(host)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		fmt.Println("the firmware describes no IOMMU of Intel's")
	case errors.Is(err, fs.ErrPermission):
		fmt.Println("only root may read what the firmware says")
	}
	fmt.Println(d.Header)
	fmt.Println(d.Flags)
	buses, err := iommu.ReadBuses(host)
	if err != nil {
		fmt.Println(err)
	}
	for _, r := range d.Reserved {
		for _, s := range r.Scopes {
			address, err := s.Resolve(buses)
			fmt.Printf("%s must reach %d bytes at %#x (%v)\n", address, r.Limit-r.Base+1, r.Base, err)
		}
	}
	// Output:
	// DMAR revision 1 of OEM [2 TABLE
	// INTR_REMAP, DMA_CTRL_PLATFORM_OPT_IN
	// 0000:00:02.0 must reach 41943040 bytes at 0x8d800000 (<nil>)
}
