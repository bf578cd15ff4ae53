package pci_test

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/pci"
)

func TestParseTopologyPath(t *testing.T) {
	for _, s := range []string{
		"pci0000:00/02.0", "pci0000:00/1c.4/00.0", "pci10000:e0/06.0/00.0", "pciffffffff:ff/1f.7",
		"pci0000:00/0e.0/pci:e0/06.0/00.0", "pci0000:00/1c.4/00.0/vf0", "pci0000:00/0e.0/pci:e0/06.0/00.0/vf65535",
		"pci0000:00" + strings.Repeat("/00.0", 63),
	} {
		p, err := pci.ParseTopologyPath(s)
		if err != nil || p.String() != s || !p.IsValid() {
			t.Errorf("%q: %v, %v", s, p, err)
		}
	}
	for _, s := range []string{
		"", "/", "pci0000:00", "pci0000:00/", "02.0", "pci0000:00/02.8", "pci0000:00/20.0", "pci0000:00/2.0", "pci0000:00/02.0/",
		"pci0000:00//02.0", "pci000:00/02.0", "pci00000:00/02.0", "pci010000:00/02.0", "pci0000:0/02.0", "pci0000:000/02.0",
		"PCI0000:00/02.0", "pci0000:0A/02.0", "pci0000:00/1C.0", "pci0000:00/vf0", "pci0000:00/02.0/vf", "pci0000:00/02.0/vf01",
		"pci0000:00/02.0/vf65536", "pci0000:00/02.0/vf1/00.0", "pci0000:00/02.0/vf1/vf2", "pci0000:00/0e.0/pci:e0", "pci0000:00/pci:e0/00.0",
		"pci:e0/00.0", "pci0000:00/0e.0/pci10000:e0/06.0", "pci100000000:00/02.0", " pci0000:00/02.0", "pci0000:00" + strings.Repeat("/00.0", 64),
	} {
		if p, err := pci.ParseTopologyPath(s); err == nil || p.IsValid() {
			t.Errorf("%q is %v", s, p)
		}
	}
	if (pci.TopologyPath{}).IsValid() || (pci.TopologyPath{}).String() != "invalid topology path" {
		t.Error("the zero TopologyPath is none")
	}
}

// plug makes a machine of links, as /sys/bus/pci/devices has them.
func plug(t testing.TB, paths ...string) *hostfs.Tree {
	t.Helper()
	m := new(hostfs.Tree)
	for _, p := range paths {
		if err := m.Mkdir("sys/devices/" + p); err != nil {
			t.Fatal(err)
		}
		if err := m.Symlink("../../../devices/"+p, devices+p[strings.LastIndexByte(p, '/')+1:]); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func address(t testing.TB, s string) pci.Address {
	t.Helper()
	a, err := pci.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func topology(t testing.TB, fsys fs.FS, a string) string {
	t.Helper()
	p, err := pci.ReadTopologyPath(fsys, address(t, a))
	if err != nil {
		t.Errorf("%s: %v", a, err)
	}
	return p.String()
}

// The firmware switched a card on, a dock was plugged in and VMD's drivers loaded in
// another order: addresses have changed, paths have not.
func TestTopologyPathSurvives(t *testing.T) {
	before := plug(t,
		"pci0000:00/0000:00:02.0", "pci0000:00/0000:00:1c.4", "pci0000:00/0000:00:1c.4/0000:05:00.0", "pci0000:00/0000:00:1c.4/0000:05:00.1",
		"pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:06.0/10000:e1:00.0", "pci0000:80/0000:80:0e.0/pci10001:e0/10001:e0:06.0/10001:e1:00.0")
	after := plug(t,
		"pci0000:00/0000:00:02.0", "pci0000:00/0000:00:1c.0/0000:05:00.0", "pci0000:00/0000:00:1c.4/0000:3a:00.0", "pci0000:00/0000:00:1c.4/0000:3a:00.1",
		"pci0000:00/0000:00:0e.0/pci10001:e0/10001:e0:06.0/10001:e1:00.0", "pci0000:80/0000:80:0e.0/pci10000:e0/10000:e0:06.0/10000:e1:00.0")
	for _, tt := range []struct{ was, is, path string }{
		{"0000:00:02.0", "0000:00:02.0", "pci0000:00/02.0"},
		{"0000:05:00.0", "0000:3a:00.0", "pci0000:00/1c.4/00.0"},
		{"0000:05:00.1", "0000:3a:00.1", "pci0000:00/1c.4/00.1"},
		{"10000:e1:00.0", "10001:e1:00.0", "pci0000:00/0e.0/pci:e0/06.0/00.0"},
		{"10001:e1:00.0", "10000:e1:00.0", "pci0000:80/0e.0/pci:e0/06.0/00.0"},
	} {
		if p, q := topology(t, before, tt.was), topology(t, after, tt.is); p != tt.path || q != tt.path {
			t.Errorf("%s, then %s: %s, then %s; want %s", tt.was, tt.is, p, q, tt.path)
		}
	}
	// The address is another device's now, and the path says so.
	if p := topology(t, after, "0000:05:00.0"); p != "pci0000:00/1c.0/00.0" {
		t.Errorf("0000:05:00.0 is now %s", p)
	}
}

// Virtual functions may have bus numbers of their own, and device and function of
// their physical one.
func TestTopologyPathOfVirtualFunctions(t *testing.T) {
	at := "pci0000:00/0000:00:1c.4/"
	m := plug(t, "pci0000:00/0000:00:1c.4", at+"0000:05:00.0", at+"0000:05:10.0", at+"0000:06:00.0", at+"0000:06:01.0")
	for i, vf := range []string{"0000:05:10.0", "0000:06:00.0"} {
		for target, name := range map[string]string{
			"../0000:05:00.0": "sys/devices/" + at + vf + "/physfn",
			"../" + vf:        "sys/devices/" + at + "0000:05:00.0/virtfn" + fmt.Sprint(i),
		} {
			if err := m.Symlink(target, name); err != nil {
				t.Fatal(err)
			}
		}
	}
	for a, want := range map[string]string{
		"0000:05:00.0": "pci0000:00/1c.4/00.0", "0000:05:10.0": "pci0000:00/1c.4/00.0/vf0", "0000:06:00.0": "pci0000:00/1c.4/00.0/vf1",
	} {
		if got := topology(t, m, a); got != want {
			t.Errorf("%s: %s, want %s", a, got, want)
		}
	}
	// One that its physical function does not name: it may be going away.
	if err := m.Symlink("../0000:05:00.0", "sys/devices/"+at+"0000:06:01.0/physfn"); err != nil {
		t.Fatal(err)
	}
	if p, err := pci.ReadTopologyPath(m, address(t, "0000:06:01.0")); err == nil || p.IsValid() {
		t.Errorf("a virtual function nobody has: %v", p)
	}
}

func TestTopologyPathErrors(t *testing.T) {
	a := address(t, "0000:05:00.0")
	for _, target := range []string{
		"../../../devices/pci0000:00/0000:00:1c.4", "../../../devices/0000:05:00.0", "../../../devices/pci0000:00/usb1/0000:05:00.0",
		"../../../devices/pci0000:00/pci10000:e0/0000:05:00.0", "pci0000:00" + strings.Repeat("/0000:05:00.0", 64), "pci0000:00" + strings.Repeat("/0000:05:00.0", 300), "x",
	} {
		m := new(hostfs.Tree)
		if err := m.Symlink(target, devices+a.String()); err != nil {
			t.Fatal(err)
		}
		p, err := pci.ReadTopologyPath(m, a)
		var op *pci.OpError
		if p.IsValid() || !errors.As(err, &op) {
			t.Errorf("%.60s: %v, %v", target, p, err)
		}
	}
	if _, err := pci.ReadTopologyPath(new(hostfs.Tree), a); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing there: %v", err)
	}
	// On other machines the root is somewhere below; saved ones may have a slash at the end.
	m := new(hostfs.Tree)
	if err := m.Symlink("../../../devices/platform/soc/40000000.pcie/pci0001:00/0001:00:00.0/0001:01:00.0/", devices+"0001:01:00.0"); err != nil {
		t.Fatal(err)
	}
	if got := topology(t, m, "0001:01:00.0"); got != "pci0001:00/00.0/00.0" {
		t.Errorf("a platform device: %s", got)
	}
}

// On every saved machine each function has a path of its own, which reads back.
func TestTopologyPathsOfSavedMachines(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(hosttest.Shared(t, "hosts"), "*.txtar"))
	if err != nil || len(files) < 10 {
		t.Fatalf("%d saved machines, %v", len(files), err)
	}
	more, _ := filepath.Glob(filepath.Join(hosttest.Shared(t, "hwdata", "sysfs", "hwloc"), "*.tar.bz2"))
	files = append(append(files, more...), filepath.Join(hosttest.Root(t), "testdata/hosts/lab-intel.txtar"))
	n := 0
	for _, name := range files {
		var m fs.FS
		if m, err = hostfs.Open(name); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, ".bz2") {
			if m, err = fs.Sub(m, topDirectory(t, m)); err != nil {
				t.Fatal(err)
			}
		}
		functions, err := pci.Functions(m)
		if err != nil || len(functions) == 0 {
			t.Errorf("%s: %d functions, %v", name, len(functions), err)
		}
		seen := map[pci.TopologyPath]pci.Address{}
		for _, f := range functions {
			p, err := pci.ReadTopologyPath(m, f.Address)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if other, twice := seen[p]; twice {
				t.Errorf("%s: %s and %s are both at %s", name, other, f.Address, p)
			}
			seen[p] = f.Address
			if q, err := pci.ParseTopologyPath(p.String()); q != p || err != nil {
				t.Errorf("%s: %s came back as %s, %v", name, p, q, err)
			}
			n++
		}
	}
	t.Logf("machines: %d, paths: %d", len(files), n)
	if n < 500 {
		t.Errorf("only %d paths", n)
	}
}

// lspci draws a tree of each dump from the bus numbers of its bridges. A machine
// made of the same numbers must have the same paths.
func TestTopologyAgainstLspci(t *testing.T) {
	n := 0
	dumps(t, func(t *testing.T, name string, functions []dumped, _ [][]string) {
		want := drawn(t, filepath.Join(hosttest.Shared(t, "hwdata", "lspci", "pciutils_decoded"), name+".tree.txt"))
		type bus struct {
			domain uint32
			number uint8
		}
		bridges := map[bus]pci.Address{}
		for _, f := range functions {
			a := address(t, f.address)
			h, err := f.config.Header()
			if err != nil {
				t.Fatal(err)
			}
			if h.Type != pci.HeaderNormal && h.Secondary != 0 && h.Secondary != a.Bus() {
				bridges[bus{a.Domain(), h.Secondary}] = a
			}
		}
		var where func(a pci.Address) string
		where = func(a pci.Address) string {
			b := bus{a.Domain(), a.Bus()}
			if bridge, ok := bridges[b]; ok && b.number != 0 {
				return where(bridge) + "/" + a.String()
			}
			return fmt.Sprintf("pci%04x:%02x/%s", b.domain, b.number, a)
		}
		var paths, got []string
		for _, f := range functions {
			paths = append(paths, where(address(t, f.address)))
		}
		m := plug(t, paths...)
		for _, f := range functions {
			got = append(got, topology(t, m, address(t, f.address).String()))
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		n += len(got)
	})
	t.Logf("paths compared: %d", n)
	if n < 135 {
		t.Errorf("only %d paths", n)
	}
}

// drawn reads lspci's tree: what stands further to the right is below.
func drawn(t *testing.T, path string) []string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	token := regexp.MustCompile(`\[([0-9a-f]{4}:[0-9a-f]{2})\]|\[[0-9a-f]{2}(?:-[0-9a-f]{2})?\]|([0-9a-f]{2}\.[0-7])`)
	type node struct {
		column int
		path   string
	}
	var stack []node
	found := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		for _, at := range token.FindAllStringSubmatchIndex(line, -1) {
			for len(stack) > 0 && stack[len(stack)-1].column >= at[0] {
				stack = stack[:len(stack)-1]
			}
			switch {
			case at[2] >= 0:
				stack = append(stack, node{at[0], "pci" + line[at[2]:at[3]]})
			case at[4] >= 0:
				p := stack[len(stack)-1].path + "/" + line[at[4]:at[5]]
				stack = append(stack, node{at[0], p})
				found[p] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

func FuzzTopologyPath(f *testing.F) {
	for _, s := range []string{"pci0000:00/1c.4/00.0", "pci0000:00/0e.0/pci:e0/06.0/00.0", "pci10000:e0/06.0/00.0/vf7", "", "pci0000:00", "pci0000:00/1C.4"} {
		f.Add(s, "../../../devices/pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:06.0/10000:e1:00.0")
	}
	f.Add("x", "../../../devices/pci0000:00/0000:00:1c.4/0000:05:00.0/")
	f.Fuzz(func(t *testing.T, s, target string) {
		p, err := pci.ParseTopologyPath(s)
		if err != nil && p.IsValid() || err == nil && p.String() != s {
			t.Fatalf("%q: %v and %v", s, p, err)
		}
		back := func(p pci.TopologyPath) {
			text, _ := p.MarshalText()
			var q pci.TopologyPath
			if err := q.UnmarshalText(text); err != nil || p != q {
				t.Fatalf("%v came back as %v, %v", p, q, err)
			}
		}
		back(p)
		// And one that is read.
		a := pci.NewAddress(0x10000, 0xe1, 0, 0)
		if all := pci.InPath(target); len(all) > 0 {
			a = all[len(all)-1]
		}
		m := new(hostfs.Tree)
		if m.Symlink(target, devices+a.String()) != nil {
			return
		}
		p, err = pci.ReadTopologyPath(m, a)
		if (err == nil) != p.IsValid() {
			t.Fatalf("%q: %v and %v", target, p, err)
		}
		back(p)
	})
}
