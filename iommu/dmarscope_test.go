package iommu_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
)

func TestDMARUnitFor(t *testing.T) {
	buses, err := iommu.ReadBuses(pciTree(t,
		"pci0000:00/0000:00:02.0", "pci0000:00/0000:00:14.0",
		"pci0000:00/0000:00:1c.4", "pci0000:00/0000:00:1c.4/0000:05:00.0", "pci0000:00/0000:00:1c.4/0000:05:00.0/0000:06:03.0",
		"pci0000:00/0000:00:0e.0", "pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:06.0", "pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:06.0/10000:e1:00.0",
		"pci0001:00/0001:00:02.0", "pci0000:00/0000:00:1e.0",
	))
	must(t, err)
	scope := func(kind iommu.ScopeType, path ...iommu.ScopeStep) iommu.Scope {
		return iommu.Scope{Type: kind, Path: path}
	}
	at := func(device, function uint8) iommu.ScopeStep {
		return iommu.ScopeStep{Device: device, Function: function}
	}
	d := iommu.DMAR{
		Units: []iommu.DRHD{
			{Base: 1, Scopes: []iommu.Scope{scope(iommu.ScopeEndpoint, at(2, 0))}},
			{Base: 2, Scopes: []iommu.Scope{scope(iommu.ScopeBridge, at(0x1c, 4)), scope(iommu.ScopeEndpoint, at(9, 0))}},
			{Base: 3, Scopes: []iommu.Scope{scope(iommu.ScopeEndpoint, at(0x0e, 0))}},
			{Base: 4, IncludeAll: true, Scopes: []iommu.Scope{scope(iommu.ScopeHPET, at(0x14, 0))}},
			{Base: 5, IncludeAll: true},
		},
		Reserved: []iommu.RMRR{
			{Base: 0x1000, Limit: 0x1fff, Scopes: []iommu.Scope{scope(iommu.ScopeEndpoint, at(0x14, 0)), scope(iommu.ScopeEndpoint, at(2, 0))}},
			{Base: 0x2000, Limit: 0x2fff, Scopes: []iommu.Scope{scope(iommu.ScopeEndpoint, at(2, 0))}},
			{Base: 0x3000, Limit: 0x3fff, Scopes: []iommu.Scope{scope(iommu.ScopeBridge, at(0x1c, 4))}},
			{Base: 0x4000, Limit: 0x4fff, Segment: 1, Scopes: []iommu.Scope{{Type: iommu.ScopeEndpoint, Segment: 1, Path: []iommu.ScopeStep{at(2, 0)}}}},
		},
	}
	for of, want := range map[string]string{
		"0000:00:02.0":  "1 [0x1000 0x2000]",
		"0000:00:14.0":  "4 [0x1000]", // the HPET only sends under its number
		"0000:00:1c.4":  "2 [0x3000]",
		"0000:05:00.0":  "2 [0x3000]",
		"0000:06:03.0":  "2 [0x3000]",
		"0000:00:09.0":  "2 []", // not there, and yet its unit is
		"10000:e0:06.0": "3 []", // sends under the number of VMD
		"10000:e1:00.0": "3 []",
		"0001:00:02.0":  "none [0x4000]",
	} {
		u, ok, err := d.UnitFor(addr(t, of), buses)
		must(t, err)
		reserved, err := d.ReservedFor(addr(t, of), buses)
		must(t, err)
		bases := []string{}
		for _, r := range reserved {
			bases = append(bases, fmt.Sprintf("%#x", r.Base))
		}
		got := "none"
		if ok {
			got = fmt.Sprint(u.Base)
		}
		if got = fmt.Sprint(got, " ", bases); got != want {
			t.Errorf("%s: %s, want %s", of, got, want)
		}
	}
	// A scope that leads nowhere might be any function.
	lost := scope(iommu.ScopeEndpoint, at(0x1e, 0), at(0, 0))
	d.Units[0].Scopes = []iommu.Scope{lost}
	d.Reserved[1].Scopes = []iommu.Scope{lost}
	u, ok, err := d.UnitFor(addr(t, "0000:00:14.0"), buses)
	if u.Base != 4 || !ok || err == nil || !strings.Contains(err.Error(), "not known which bus is behind 0000:00:1e.0") {
		t.Error(u, ok, err)
	}
	if r, err := d.ReservedFor(addr(t, "0000:00:14.0"), buses); len(r) != 1 || err == nil {
		t.Error(r, err)
	}
	d.Units = d.Units[:1]
	if u, ok, err := d.UnitFor(addr(t, "0000:00:14.0"), buses); ok || err == nil {
		t.Error(u, ok, err)
	}
}

// The kernel's own list of each unit's functions is what the tables say.
func TestUnitForOfLab(t *testing.T) {
	hosts, err := filepath.Glob(filepath.Join(hosttest.Root(t), "testdata", "hosts", "lab-*.txtar"))
	must(t, err)
	compared := 0
	for _, host := range hosts {
		h, err := hostfs.Open(host)
		must(t, err)
		buses, err := iommu.ReadBuses(h)
		must(t, err)
		units, err := iommu.ReadUnits(h)
		must(t, err)
		find := func(a pci.Address) (bool, error) { return false, nil }
		if d, err := iommu.ReadDMAR(h); err == nil {
			find = func(a pci.Address) (bool, error) { _, ok, err := d.UnitFor(a, buses); return ok, err }
		} else if v, err := iommu.ReadIVRS(h); err == nil {
			find = func(a pci.Address) (bool, error) {
				u, ok := v.UnitFor(a)
				return ok && u.Function == units[0].Function, nil
			}
		}
		for _, a := range buses.Functions() {
			ok, err := find(a)
			must(t, err)
			if kernel := len(units) > 0 && units[0].Has(a); kernel != ok && !(len(units) > 0 && a == units[0].Function) {
				t.Errorf("%s: %v has a unit: %v, the kernel's list: %v", filepath.Base(host), a, ok, kernel)
			}
			compared++
		}
	}
	t.Logf("%d functions compared", compared)
	if compared < 100 {
		t.Error("too few")
	}
}

func TestIVRSMemoryFor(t *testing.T) {
	v, err := iommu.ParseIVRS(ivrsTable())
	must(t, err)
	for of, want := range map[string]string{
		"0001:00:01.0": "[all one some]", "0001:00:01.7": "[all some]", "0001:00:02.0": "[all]", "0000:00:01.0": "[]",
	} {
		kinds := []string{}
		for _, m := range v.MemoryFor(addr(t, of)) {
			kinds = append(kinds, []string{"all", "one", "some"}[m.Type-0x20])
		}
		if got := fmt.Sprint(kinds); got != want {
			t.Errorf("%s: %s, want %s", of, got, want)
		}
	}
	if u, ok := v.UnitFor(addr(t, "0001:05:00.0")); !ok || u.Type != iommu.IVHD40 {
		t.Error(u, ok)
	}
	if u, ok := v.UnitFor(addr(t, "0000:05:00.0")); ok {
		t.Error(u)
	}
}

// In real tables Linux finds a unit for every function that the table itself names.
func TestUnitForTables(t *testing.T) {
	found := 0
	for _, data := range realTables(t, "DMAR") {
		d, err := iommu.ParseDMAR(data)
		must(t, err)
		for i, u := range d.Units {
			for _, s := range u.Scopes {
				a, err := s.Resolve(iommu.Buses{})
				if len(s.Path) > 1 || s.Type != iommu.ScopeEndpoint || !a.IsValid() {
					continue
				}
				got, ok, err2 := d.UnitFor(a, iommu.Buses{})
				must(t, err2)
				if !ok || cmp.Diff(d.Units[i].Base, got.Base) != "" {
					t.Errorf("%v: %v, want %v (%v)", a, got, d.Units[i], errors.Unwrap(err))
				}
				found++
			}
		}
	}
	t.Logf("%d endpoints", found)
	if found < 100 {
		t.Error("too few")
	}
}
