package iommu_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/iommu"
)

// Every real table says to us what it says to another program, structure by structure.
func TestDMARTables(t *testing.T) {
	facts, structs, scopes, wrongSums := 0, map[string]int{}, 0, 0
	tables := decodedTables(t, "DMAR", func(want decodedTable, data []byte) {
		d, err := iommu.ParseDMAR(data)
		if err != nil {
			t.Errorf("%s: %v", want.File, err)
			return
		}
		equal := func(what string, got, want any) {
			t.Helper()
			facts++
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %s", what, diff)
			}
		}
		w := want.Decode
		equal(want.File+": revision", d.Header.Revision, w.Rev)
		equal(want.File+": OEM", d.Header.OEM, w.OEM)
		equal(want.File+": OEM's table", d.Header.OEMTable, strings.Trim(w.OEMTable, "\x01")) // what is not printable is not kept
		equal(want.File+": width", d.HostAddressWidth, w.HostWidth)
		equal(want.File+": remapping", d.Flags&iommu.DMARInterruptRemapping != 0, w.Flags.IntrRemap)
		equal(want.File+": x2APIC", d.Flags&iommu.DMARX2APICOptOut != 0, w.Flags.X2APICOptOut)
		equal(want.File+": opt in", d.Flags&iommu.DMARPlatformOptIn != 0, w.Flags.DMACtrlOptIn)
		if d.Header.Checksum != iommu.Yes {
			wrongSums++
		}
		// Ours in the other's words, by kind, as the order among kinds is not kept.
		ours, theirs := map[string][]map[string]any{}, map[string][]map[string]any{}
		add := func(kind string, fields map[string]any) {
			fields["kind"] = kind
			ours[kind] = append(ours[kind], fields)
		}
		for _, s := range d.Units {
			size := 0.0
			for n := s.Pages; n > 1; n /= 2 {
				size++
			}
			add("DRHD", map[string]any{"include_all": s.IncludeAll, "size": size, "segment": float64(s.Segment), "base": fmt.Sprintf("%#x", s.Base), "scopes": scopesAs(s.Scopes)})
		}
		for _, s := range d.Reserved {
			add("RMRR", map[string]any{"segment": float64(s.Segment), "base": fmt.Sprintf("%#x", s.Base), "limit": fmt.Sprintf("%#x", s.Limit), "scopes": scopesAs(s.Scopes)})
		}
		for _, s := range d.RootPorts {
			add("ATSR", map[string]any{"all_ports": s.AllPorts, "segment": float64(s.Segment), "scopes": scopesAs(s.Scopes)})
		}
		for range d.Affinities {
			add("RHSA", map[string]any{})
		}
		for _, s := range d.Namespace {
			add("ANDD", map[string]any{"dev_number": float64(s.Number), "name": s.Name})
		}
		for _, s := range d.Caches {
			flags := 0.0
			if s.Required {
				flags = 1
			}
			add("SATC", map[string]any{"flags": flags, "segment": float64(s.Segment), "scopes": scopesAs(s.Scopes)})
		}
		for range d.Properties {
			add("type6", map[string]any{})
		}
		for _, u := range d.Unknown {
			t.Errorf("%s: %v", want.File, u)
		}
		for _, s := range w.Structs {
			kind := s["kind"].(string)
			theirs[kind] = append(theirs[kind], s)
			structs[kind]++
			facts += len(s)
			list, _ := s["scopes"].([]any)
			scopes += len(list)
			facts += 4 * len(list)
		}
		equal(want.File, ours, theirs)
	})
	t.Logf("%d tables, %d facts compared: %d scopes in %v; %d wrong checksums", tables, facts, scopes, structs, wrongSums)
	if structs["DRHD"] < 400 || structs["RMRR"] < 300 || structs["ANDD"] < 40 || structs["ATSR"] < 7 || structs["SATC"] < 3 || structs["RHSA"] < 7 || scopes < 1200 {
		t.Error("too few")
	}
}

func scopesAs(scopes []iommu.Scope) any {
	all := []any{}
	for _, s := range scopes {
		kind := map[iommu.ScopeType]string{iommu.ScopeEndpoint: "endpoint", iommu.ScopeBridge: "bridge", iommu.ScopeIOAPIC: "ioapic",
			iommu.ScopeHPET: "hpet", iommu.ScopeNamespace: "acpi_ns"}[s.Type]
		path := []any{}
		for _, p := range s.Path {
			path = append(path, fmt.Sprintf("%02x.%x", p.Device, p.Function))
		}
		all = append(all, map[string]any{"type": kind, "enum_id": float64(s.EnumerationID), "start_bus": float64(s.StartBus), "path": path})
	}
	return all
}

// dmarTable has one structure of each kind.
func dmarTable() []byte {
	scope := func(kind, id, bus byte, path ...byte) []byte {
		return append([]byte{kind, byte(6 + len(path)), 0, 0, id, bus}, path...)
	}
	structure := func(kind byte, body ...[]byte) []byte {
		b := []byte{kind, 0, 0, 0}
		for _, part := range body {
			b = append(b, part...)
		}
		b[2] = byte(len(b))
		return b
	}
	at := func(base uint32) []byte {
		return []byte{byte(base), byte(base >> 8), byte(base >> 16), byte(base >> 24), 0, 0, 0, 0}
	}
	body := []byte{38, 5, 11: 0}
	for _, s := range [][]byte{
		structure(0, []byte{0, 0, 0, 0}, at(0xfed90000), scope(1, 0, 0, 2, 0)),
		structure(0, []byte{1, 1, 0, 0}, at(0xfed91000), scope(3, 2, 0xf0, 0x1f, 0), scope(4, 0, 0, 0x1e, 6), scope(5, 1, 0, 0x15, 0)),
		structure(1, []byte{0, 0, 0, 0}, at(0x8d800000), at(0x8fffffff), scope(1, 0, 0, 2, 0)),
		structure(2, []byte{0, 0, 0, 0}, scope(2, 0, 0, 1, 0), scope(2, 0, 0, 0x1c, 4, 0, 0)),
		structure(2, []byte{1, 0, 1, 0}),
		structure(3, []byte{0, 0, 0, 0}, at(0xfed90000), []byte{1, 0, 0, 0}),
		structure(4, []byte{0, 0, 0, 1}, []byte("\\_SB.PCI0.I2C0\x00")),
		structure(5, []byte{1, 0, 0, 0}, scope(1, 0, 0, 2, 0)),
		structure(6, []byte{0, 0, 0, 0}, scope(1, 0, 0, 0xb, 0)),
		structure(7, []byte{0, 0}),
	} {
		body = append(body, s...)
	}
	return acpiTable("DMAR", body...)
}

func TestDMARStrings(t *testing.T) {
	d, err := iommu.ParseDMAR(dmarTable())
	must(t, err)
	var b strings.Builder
	fmt.Fprintln(&b, d.HostAddressWidth, d.Flags, iommu.DMARFlags(0), iommu.DMARFlags(0x82))
	for _, list := range []any{d.Units, d.Reserved, d.RootPorts, d.Affinities, d.Namespace, d.Caches, d.Properties, d.Unknown} {
		fmt.Fprintln(&b, list)
	}
	want := `39 INTR_REMAP, DMA_CTRL_PLATFORM_OPT_IN none X2APIC_OPT_OUT, 0x80
[unit at 0xfed90000 for endpoint 0000:00:02.0 unit at 0xfed91000 for all else of segment 0000 and IOAPIC 0000:f0:1f.0 (number 2), HPET 0000:00:1e.6 (number 0), ACPI device 0000:00:15.0 (number 1)]
[memory 0x8d800000-0x8fffffff for endpoint 0000:00:02.0]
[ATS below bridge 0000:00:01.0, bridge 0000:00:1c.4/00.0 ATS below all ports of segment 0001]
[unit at 0xfed90000 is near memory 1]
[ACPI device 1 is \_SB.PCI0.I2C0]
[ATC of endpoint 0000:00:02.0 is required]
[properties of endpoint 0000:00:0b.0]
[structure of unknown type 0x7, 6 bytes at byte 253]
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
	if d.Units[1].Pages != 2 || d.Units[0].Pages != 1 {
		t.Errorf("%+v", d.Units)
	}
	if s := iommu.ScopeType(9).String(); s != "scope type 9" {
		t.Error(s)
	}
}

// A table's name of a device comes from the firmware and may be anything.
func TestDMARText(t *testing.T) {
	body := []byte{38, 0, 11: 0}
	body = append(body, 4, 0, 20, 0, 0, 0, 0, 7)
	body = append(body, "\\_SB.\x1b[2J\nI2C"...)
	d, err := iommu.ParseDMAR(acpiTable("DMAR", body[:48+20-36]...))
	must(t, err)
	if s := d.Namespace[0].Name; s != `\_SB. [2J I2` {
		t.Errorf("%q", s)
	}
}
