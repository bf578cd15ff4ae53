package pci_test

import (
	"encoding/json"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/pci"
)

func TestParseAddress(t *testing.T) {
	for _, c := range []struct {
		in, want string // want empty: refused
	}{
		{"0000:01:00.0", "0000:01:00.0"},
		{"01:00.0", "0000:01:00.0"},
		{"0000:00:00.0", "0000:00:00.0"},
		{"10000:e0:1d.7", "10000:e0:1d.7"}, // Intel VMD
		{"ffffffff:ff:1f.7", "ffffffff:ff:1f.7"},
		{"00010000:01:00.0", "10000:01:00.0"},
		{"0000:AB:1F.0", "0000:ab:1f.0"},
		{"", ""}, {"0000:01:00", ""}, {"0000:01:00.8", ""}, {"0000:01:20.0", ""}, {"00:AB.0", ""},
		{"000:01:00.0", ""}, {"100000000:01:00.0", ""}, {"0000-01:00.0", ""}, {"0000:01:00.0 ", ""},
		{"0000:g1:00.0", ""}, {"0000:01:00:0", ""}, {"+000:01:00.0", ""},
	} {
		a, err := pci.ParseAddress(c.in)
		if c.want == "" {
			if err == nil {
				t.Errorf("%q is %v, want an error", c.in, a)
			}
			continue
		}
		if err != nil || a.String() != c.want || !a.IsValid() {
			t.Errorf("%q: %v, %v; want %s", c.in, a, err, c.want)
		}
	}
}

// A machine of the collection has its devices in domains of 32 bits.
func TestWideDomains(t *testing.T) {
	m, err := hostfs.Open(filepath.Join(hosttest.Shared(t, "hwdata", "sysfs", "hwloc"), "2pa-pcidomain32bits.tar.bz2"))
	if err != nil {
		t.Fatal(err)
	}
	root, err := fs.Sub(m, topDirectory(t, m))
	if err != nil {
		t.Fatal(err)
	}
	entries, err := fs.ReadDir(root, "sys/bus/pci/devices")
	if err != nil {
		t.Fatal(err)
	}
	functions, err := pci.Functions(root)
	wide := 0
	for _, f := range functions {
		if f.Address.Domain() > 0xffff {
			wide++
		}
		if back, err := pci.ParseAddress(f.Address.String()); err != nil || back != f.Address {
			t.Errorf("%v came back as %v, %v", f.Address, back, err)
		}
	}
	if err != nil || len(functions) != len(entries) || wide == 0 {
		t.Errorf("%d functions of %d, %d in wide domains, %v", len(functions), len(entries), wide, err)
	}
}

func TestAddressParts(t *testing.T) {
	a := pci.NewAddress(0x10000, 0xe0, 0x1d, 5)
	if a.Domain() != 0x10000 || a.Bus() != 0xe0 || a.Device() != 0x1d || a.Function() != 5 {
		t.Errorf("%v: %x %x %x %x", a, a.Domain(), a.Bus(), a.Device(), a.Function())
	}
	if (pci.Address{}).IsValid() || !pci.NewAddress(0, 0, 0, 0).IsValid() {
		t.Error("0000:00:00.0 is an address, the zero Address is none")
	}
	if pci.NewAddress(0, 0, 32, 0).IsValid() || pci.NewAddress(0, 0, 0, 8).IsValid() {
		t.Error("a device above 31 or a function above 7 is no address")
	}
	if pci.NewAddress(0xffff, 0xff, 31, 7).Compare(pci.NewAddress(0x10000, 0, 0, 0)) >= 0 {
		t.Error("domains come first in the order")
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"0000:01:00.0", "01:00.0", "10000:e0:1d.7", "", "0000:01:00.8", "ffffffff:ff:1f.7"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := pci.ParseAddress(s)
		if err != nil {
			if a.IsValid() {
				t.Fatalf("%q: %v and %v", s, a, err)
			}
			return
		}
		text, _ := a.MarshalText()
		var b pci.Address
		if err := b.UnmarshalText(text); err != nil || a != b {
			t.Fatalf("%q: %v came back as %v, %v", s, a, b, err)
		}
	})
}

func TestUnknownIsNull(t *testing.T) {
	type all struct {
		ID    pci.ID
		Class pci.Class
		Group pci.GroupID
	}
	for _, c := range []struct {
		v    all
		want string
	}{
		{all{}, `{"ID":null,"Class":null,"Group":null}`},
		{all{pci.NewID(0), pci.NewClass(0), pci.NewGroupID(0)}, `{"ID":"0000","Class":"000000","Group":0}`},
		{all{pci.NewID(0x8086), pci.NewClass(0x030000), pci.NewGroupID(31)}, `{"ID":"8086","Class":"030000","Group":31}`},
	} {
		b, err := json.Marshal(c.v)
		if err != nil || string(b) != c.want {
			t.Errorf("%s, %v; want %s", b, err, c.want)
		}
		var back all
		if err := json.Unmarshal(b, &back); err != nil || back != c.v {
			t.Errorf("%s came back as %+v, %v", b, back, err)
		}
	}
}

func TestParseNumbers(t *testing.T) {
	for _, s := range []string{"", "0x", "10000", "12g4", "-1", " 1", "0x0x1", "00001", "0x1" + strings.Repeat("0", 12) + "8086"} { // the last has 65 bits
		if v, err := pci.ParseID(s); err == nil {
			t.Errorf("ParseID(%q) is %v", s, v)
		}
	}
	for _, s := range []string{"", "0x1000000", "0x03000 ", "0x0030000", "1" + strings.Repeat("0", 10) + "030000"} {
		if v, err := pci.ParseClass(s); err == nil {
			t.Errorf("ParseClass(%q) is %v", s, v)
		}
	}
	for _, s := range []string{"", "-1", "0x1", "4294967296", "1 "} {
		if v, err := pci.ParseGroupID(s); err == nil {
			t.Errorf("ParseGroupID(%q) is %v", s, v)
		}
	}
	c, err := pci.ParseClass("0x0c0330")
	if err != nil || c.Base() != 0x0c || c.Sub() != 0x0c03 || c.Interface() != 0x30 {
		t.Errorf("class: %v, %v", c, err)
	}
	for s, want := range map[string]uint32{"0x0c03ff": 0x0c03ff, "0C03FE": 0x0c03fe, "30000": 0x030000, "0xff": 0xff, "0": 0} {
		if c, err := pci.ParseClass(s); err != nil || c.Uint32() != want || c.Interface() != uint8(want) {
			t.Errorf("%s: %v, %v", s, c, err)
		}
	}
	for s, want := range map[string]uint16{"0x8086": 0x8086, "10DE": 0x10de, "0": 0, "0xffff": 0xffff, "46d": 0x46d} {
		if v, err := pci.ParseID(s); err != nil || v != pci.NewID(want) {
			t.Errorf("%s: %v, %v", s, v, err)
		}
	}
	if u := (pci.Class{}); u.Sub() == 0 || u.Base() == 0 {
		t.Error("an unknown class must not look like class 00")
	}
}

func BenchmarkParseAddress(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := pci.ParseAddress("0000:c1:00.0"); err != nil {
			b.Fatal(err)
		}
	}
}
