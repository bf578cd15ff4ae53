package pci_test

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/pci"
)

var gpu = pci.NewAddress(0, 1, 0, 0)

// attributes is a machine with one function, 0000:01:00.0.
func attributes(of map[string]string) fstest.MapFS {
	m := fstest.MapFS{}
	for name, text := range of {
		m[devices+gpu.String()+"/"+name] = file(text)
	}
	return m
}

const noResource = "0x0000000000000000 0x0000000000000000 0x0000000000000000\n"

func TestResources(t *testing.T) {
	bars := "0x00000000a3000000 0x00000000a3ffffff 0x0000000000040200\n" +
		"0x0000000090000000 0x000000009fffffff 0x000000000014220c\n" + noResource +
		"0x00000000a0000000 0x00000000a1ffffff 0x000000000014220c\n" + noResource +
		"0x0000000000004000 0x000000000000407f 0x0000000000040101\n"
	rom := "0x00000000000c0000 0x00000000000dffff 0x0000000000000212\n"
	vfs := "0x0000000000000000 0x000000000003ffff 0x0000000020140204\n" + strings.Repeat(noResource, 5)
	windows := "0x0000000000003000 0x0000000000003fff 0x0000000000000101\n" +
		"0x00000000a2000000 0x00000000a30fffff 0x0000000000000200\n" + noResource + noResource
	wantBARs := []pci.BAR{
		{Index: 0, Start: 0xa3000000, Size: 16 << 20},
		{Index: 1, Is64: true, Prefetchable: true, Start: 0x90000000, Size: 256 << 20},
		{Index: 3, Is64: true, Prefetchable: true, Start: 0xa0000000, Size: 32 << 20},
		{Index: 5, Space: pci.SpaceIO, Start: 0x4000, Size: 128},
		{Kind: pci.KindROM, Start: 0xc0000, Size: 128 << 10, Shadow: true},
	}
	wantVFs := []pci.BAR{{Kind: pci.KindVFBAR, Is64: true, Size: 256 << 10, Unassigned: true}}
	wantWindows := []pci.BAR{
		{Kind: pci.KindWindow, Space: pci.SpaceIO, Start: 0x3000, Size: 4096},
		{Kind: pci.KindWindow, Index: 1, Start: 0xa2000000, Size: 17 << 20},
	}
	join := func(all ...[]pci.BAR) (bars []pci.BAR) {
		for _, b := range all {
			bars = append(bars, b...)
		}
		return bars
	}
	for _, tt := range []struct {
		name, text string
		want       []pci.BAR
		err        string
	}{
		{"a kernel with SR-IOV", bars + rom + vfs, join(wantBARs, wantVFs), ""},
		{"a kernel without", bars + rom, wantBARs, ""},
		{"a bridge", bars + rom + vfs + windows, join(wantBARs, wantVFs, wantWindows), ""},
		{"a bridge, a kernel without SR-IOV", bars + rom + windows, join(wantBARs, wantWindows), ""},
		{"an older kernel, a bridge", bars + rom + vfs + windows + noResource, join(wantBARs, wantVFs, wantWindows), ""},
		{"an older kernel, without SR-IOV", bars + rom + windows + noResource, join(wantBARs, wantWindows), ""},
		{"an older kernel's flags", "0x90000000 0x9fffffff 0x12120c\n" + strings.Repeat(noResource, 5) + "0xc0000 0xdffff 0x2\n",
			[]pci.BAR{{Is64: true, Prefetchable: true, Start: 0x90000000, Size: 256 << 20}, wantBARs[4]}, ""},
		{"nothing", strings.Repeat(noResource, 13), nil, ""},
		{"a bad line", "rubbish\n" + bars[57:] + rom, wantBARs[1:], `line 1: "rubbish": expected start, end and flags in hexadecimal`},
		{"too long a number", "0x00000000000000000 0x1 0x200\n", nil, "expected start, end and flags"},
		{"neither memory nor I/O", "0x1000 0x1fff 0x0000000000000400\n", nil, "flags 0x400 are neither of I/O nor of memory"},
		{"ends before it begins", "0x2000 0x1fff 0x200\n", []pci.BAR{{Start: 0x2000}}, ""},
		{"all there is", "0x0 0xffffffffffffffff 0x200\n", nil, "line 1: the range is all there is"},
		{"an unknown number of lines", bars + rom + bars[:57], wantBARs, "line 8 of 8: what it stands for is not known"},
		{"too many lines", strings.Repeat(noResource, 65), nil, "65 lines; at most 64 were expected"},
	} {
		got, err := pci.Resources(attributes(map[string]string{"resource": tt.text}), gpu)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
		if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if _, err := pci.Resources(fstest.MapFS{}, gpu); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such function: %v", err)
	}
}

// The kernel's view of BARs and that of configuration space are two sources; on the
// machines of the collection that have both they must agree.
func TestResourcesAgainstConfig(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(hosttest.Shared(t, "hwdata", "sysfs", "hwloc"), "*.tar.bz2"))
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	functions, compared := 0, 0
	for _, name := range files {
		m, err := hostfs.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		root, err := fs.Sub(m, topDirectory(t, m))
		if err != nil {
			t.Fatal(err)
		}
		all, err := pci.Functions(root)
		if err != nil || len(all) < 9 {
			t.Fatalf("%s: %d functions, %v", name, len(all), err)
		}
		for _, f := range all {
			resources, err := pci.Resources(root, f.Address)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			c, err := pci.ReadConfig(root, f.Address)
			if err != nil || c.Len() != 64 {
				t.Errorf("%s: %s: %d bytes, %v", name, f.Address, c.Len(), err)
				continue
			}
			if _, err := c.Capabilities(); err != nil && !errors.Is(err, pci.ErrUnread) {
				t.Errorf("%s: %s: %v", name, f.Address, err)
			}
			h, err := c.Header()
			if err != nil || h.Vendor != f.Vendor || h.Device != f.Device || h.Class != f.Class && f.Class.Base() != 1 {
				t.Errorf("%s: %s: %+v, %v; listed as %+v", name, f.Address, h, err, f)
			}
			functions++
			bars, err := c.BARs()
			if err != nil {
				t.Error(err)
			}
			for _, b := range bars {
				if b.Kind != pci.KindBAR || b.Unassigned {
					continue
				}
				compared++
				found := false
				for _, r := range resources {
					if r.Kind == b.Kind && r.Index == b.Index {
						found = true
						if r.Size == 0 || r.Size&(r.Size-1) != 0 || r.Start%r.Size != 0 {
							t.Errorf("%s: %s: %+v is no size of a BAR", name, f.Address, r)
						}
						if r.Size = 0; r != b {
							t.Errorf("%s: %s: the kernel has %+v, configuration space %+v", name, f.Address, r, b)
						}
					}
				}
				if !found {
					t.Errorf("%s: %s: BAR %d is not among %+v", name, f.Address, b.Index, resources)
				}
			}
		}
	}
	t.Logf("functions: %d, BARs compared: %d", functions, compared)
	if functions < 180 || compared < 60 {
		t.Errorf("only %d functions and %d BARs", functions, compared)
	}
}

// topDirectory is the directory in which hwloc's archives have the machine.
func topDirectory(t *testing.T, m fs.FS) string {
	t.Helper()
	entries, err := fs.ReadDir(m, ".")
	if err != nil || len(entries) != 1 {
		t.Fatal(entries, err)
	}
	return entries[0].Name()
}

func TestResizableSizes(t *testing.T) {
	for text, want := range map[string]string{
		"0000000000000f00\n": "256MB 512MB 1GB 2GB", "0000000000000000\n": "", "0000080000000001\n": "1MB 8EB",
		"0000100000000000\n": "error", "-1\n": "error", "0000000000000000f00\n": "error", "": "error",
	} {
		got, err := pci.ResizableSizes(attributes(map[string]string{"resource1_resize": text}), gpu, 1)
		if (err != nil) != (want == "error") || err == nil && got.String() != want {
			t.Errorf("%q: %s, %v; want %s", text, got, err, want)
		}
	}
	if _, err := pci.ResizableSizes(attributes(map[string]string{"resource1_resize": "f"}), gpu, 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a BAR that cannot be resized: %v", err)
	}
}

func TestLink(t *testing.T) {
	for _, tt := range []struct {
		now, width, most, lanes string
		want                    string
		bad                     bool
	}{
		{"16.0 GT/s PCIe", "4", "32.0 GT/s PCIe", "16", "16GT/s x4 of 32GT/s x16", false},
		{"2.5 GT/s", "1", "8 GT/s", "1", "2.5GT/s x1 of 8GT/s x1", false},
		{"64.0 GT/s PCIe", "32", "5.0 GT/s PCIe", "12", "64GT/s x32 of 5GT/s x12", false},
		{"Unknown", "0", "Unknown speed", "255", "unknown x0 of unknown x0", false},
		{"Unknown", "63", "8.0 GT/s PCIe", "8", "unknown x0 of 8GT/s x8", false}, // ones, from D3cold
		{"fast", "4", "8.0 GT/s PCIe", "wide", "unknown x4 of 8GT/s x0", true},
		{"8.0 GT/sec", "-1", "3.0 GT/s PCIe", "1000", "unknown x0 of unknown x0", true},
	} {
		l, err := pci.Link(attributes(map[string]string{"current_link_speed": tt.now + "\n", "current_link_width": tt.width + "\n",
			"max_link_speed": tt.most + "\n", "max_link_width": tt.lanes + "\n"}), gpu)
		if got := fmt.Sprintf("%s x%d of %s x%d", l.Speed, l.Width, l.MaxSpeed, l.MaxWidth); got != tt.want || (err != nil) != tt.bad {
			t.Errorf("%+v: %s, %v", tt, got, err)
		}
	}
	l, err := pci.Link(attributes(map[string]string{"current_link_width": "2\n"}), gpu)
	var op *pci.OpError
	if l.Width != 2 || !errors.Is(err, fs.ErrNotExist) || !errors.As(err, &op) {
		t.Errorf("one attribute of four: %+v, %v", l, err)
	}
	if s := pci.LinkSpeed(9); s.String() != "unknown" || s.MegatransfersPerSecond() != 0 {
		t.Errorf("%s", s)
	}
	if l := pci.LinkSpeeds(0b11111); l.Max() != pci.Speed32GT || !l.Has(pci.Speed2GT5) || l.Has(pci.Speed64GT) || l.Has(0) || l.String() != "2.5GT/s 5GT/s 8GT/s 16GT/s 32GT/s" {
		t.Errorf("%s", l)
	}
}

func TestPowerAttributes(t *testing.T) {
	m := attributes(map[string]string{"d3cold_allowed": "1\n", "removable": "removable\n", "power_state": "D3cold\n"})
	if yes, err := pci.D3coldAllowed(m, gpu); !yes || err != nil {
		t.Error(yes, err)
	}
	if yes, err := pci.Removable(m, gpu); !yes || err != nil {
		t.Error(yes, err)
	}
	if s, err := pci.PowerState(m, gpu); s != "D3cold" || err != nil {
		t.Error(s, err)
	}
	none := attributes(map[string]string{"vendor": "0x10de\n"})
	if _, err := pci.D3coldAllowed(none, gpu); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if _, err := pci.Removable(none, gpu); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	for text, want := range map[string]string{"fixed": "false <nil>", "unknown": "not said", "perhaps": "odd"} {
		yes, err := pci.Removable(attributes(map[string]string{"removable": text}), gpu)
		got := fmt.Sprint(yes, " ", err)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			got = "not said"
		case err != nil:
			got = "odd"
		}
		if got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	if yes, err := pci.D3coldAllowed(attributes(map[string]string{"d3cold_allowed": "2"}), gpu); yes || err == nil {
		t.Error(yes, err)
	}
}

func FuzzResources(f *testing.F) {
	f.Add(strings.Repeat(noResource, 13))
	f.Add("0x00000000a3000000 0x00000000a3ffffff 0x0000000000040200\n" + strings.Repeat(noResource, 16))
	f.Add("0x0 0xffffffffffffffff 0x200\n")
	f.Add("0x2000 0x1fff 0x101\n\n")
	f.Add("0x1 0x2 0x3 0x4")
	for _, text := range inLab(f, "sys/devices/pci*/*/resource") {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		bars, err := pci.Resources(attributes(map[string]string{"resource": text}), gpu)
		if len(bars) > 17 {
			t.Fatalf("%d ranges", len(bars))
		}
		for _, b := range bars {
			if b.Unassigned && b.Start != 0 || b.Size != 0 && b.Start+b.Size-1 < b.Start {
				t.Fatalf("%+v, %v", b, err)
			}
		}
	})
}

// FuzzLink feeds what a link that is down says of itself, and the other attributes of
// one word or number.
func FuzzLink(f *testing.F) {
	for _, s := range []string{"16.0 GT/s PCIe\n", "Unknown speed\n", "2.5 GT/s\n", "255\n", "-1", "1e9 GT/s", "D3cold\n", "0000000000003f00\n", "\xff"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, speed, width string) {
		m := attributes(map[string]string{"current_link_speed": speed, "max_link_speed": width, "current_link_width": width, "max_link_width": speed,
			"resource1_resize": width, "removable": speed, "d3cold_allowed": width, "power_state": speed, "reset_method": width})
		l, err := pci.Link(m, gpu)
		if l.Width < 0 || l.Width > 32 || l.MaxWidth < 0 || l.MaxWidth > 32 || l.Speed.MegatransfersPerSecond() < 0 {
			t.Errorf("%+v", l)
		}
		sizes, err2 := pci.ResizableSizes(m, gpu, 1)
		_, err3 := pci.Removable(m, gpu)
		_, err4 := pci.D3coldAllowed(m, gpu)
		_, err5 := pci.PowerState(m, gpu)
		_, err6 := pci.ResetMethods(m, gpu)
		if err := errors.Join(err, err2, err3, err4, err5, err6); err != nil && len(err.Error()) > 16<<10 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
		if err2 == nil && sizes.Max() != 0 && !sizes.Has(sizes.Max()) {
			t.Errorf("%v", sizes)
		}
	})
}
