package iommu_test

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
)

// requesterOf writes an address as the decoded tables do, BB:DD.F.
func requesterOf(a pci.Address) string { return strings.TrimPrefix(a.String(), "0000:") }

// Every real table says to us what it says to another program, entry by entry.
func TestIVRSTables(t *testing.T) {
	facts, blocks, kinds, wrongSums := 0, map[string]int{}, map[iommu.IVHDEntryKind]int{}, 0
	tables := decodedTables(t, "IVRS", func(want decodedTable, data []byte) {
		v, err := iommu.ParseIVRS(data)
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
		equal(want.File+": revision", v.Header.Revision, w.Rev)
		equal(want.File+": OEM", v.Header.OEM, w.OEM)
		equal(want.File+": info", fmt.Sprintf("%#x", uint32(v.Info)), w.IVInfo)
		if v.Header.Checksum != iommu.Yes {
			wrongSums++
		}
		units, memory, unknown := v.Units, v.Memory, v.Unknown
		for _, b := range w.Blocks {
			kind := b["kind"].(string)
			blocks[kind+" "+b["type"].(string)]++
			facts += len(b)
			switch {
			case kind == "IVHD" && len(units) > 0:
				u := units[0]
				units = units[1:]
				theirs := b["entries"].([]any)
				delete(b, "entries")
				equal(want.File, map[string]any{"kind": kind, "type": fmt.Sprintf("%#x", uint8(u.Type)), "flags": fmt.Sprintf("%#x", uint8(u.Flags)),
					"iommu": requesterOf(u.Function), "cap_offset": fmt.Sprintf("%#x", u.Capability), "base": fmt.Sprintf("%#x", u.Base), "segment": float64(u.Segment)}, b)
				equal(want.File+": entries", len(u.Entries), len(theirs))
				for i, e := range u.Entries {
					kinds[e.Kind]++
					their := theirs[i].(map[string]any)
					facts += len(their)
					equal(fmt.Sprintf("%s, entry %d", want.File, i), entryAs(e, their), their)
				}
			case kind == "IVMD" && len(memory) > 0:
				m := memory[0]
				memory = memory[1:]
				ours := map[string]any{"kind": kind, "type": fmt.Sprintf("%#x", m.Type), "flags": fmt.Sprintf("%#x", uint8(m.Flags)),
					"start": fmt.Sprintf("%#x", m.Start), "length": fmt.Sprintf("%#x", m.Length), "devid": b["devid"], "aux": b["aux"]}
				if m.Type != 0x20 {
					ours["devid"] = requesterOf(m.First)
				}
				if m.Type == 0x22 {
					ours["aux"] = fmt.Sprintf("%#x", uint16(m.Last.Bus())<<8|uint16(m.Last.Device())<<3|uint16(m.Last.Function()))
				}
				equal(want.File, ours, b)
			case b["type"] == "0x51" && len(unknown) > 0: // Linux does not know it either
				equal(want.File, unknown[0].Type, uint16(0x51))
				unknown = unknown[1:]
			default:
				t.Errorf("%s: there is no %s", want.File, kind)
			}
		}
		equal(want.File+": what is left", fmt.Sprint(units, memory, unknown), "[] [] []")
		for _, u := range v.InUse() {
			if len(u.Ranges()) == 0 {
				t.Errorf("%s: %v has no devices", want.File, u)
			}
		}
	})
	t.Logf("%d tables, %d facts compared: %v, entries %v; %d wrong checksums", tables, facts, blocks, kinds, wrongSums)
	if blocks["IVHD 0x10"] < 80 || blocks["IVHD 0x11"] < 50 || blocks["IVHD 0x40"] < 50 || kinds[iommu.EntrySpecial] < 700 || kinds[iommu.EntryACPI] < 200 || kinds[iommu.EntryAliasStart] < 200 {
		t.Error("too few")
	}
}

// entryAs gives an entry in the words of the other program. Of reserved bytes it also
// says what is in them; those are taken as they are.
func entryAs(e iommu.IVHDEntry, theirs map[string]any) map[string]any {
	m := map[string]any{"type": fmt.Sprintf("0x%02x", uint8(e.Kind)), "data": fmt.Sprintf("0x%02x", uint8(e.Settings)), "devid": requesterOf(e.Device)}
	switch e.Kind {
	case iommu.EntryPadding, iommu.EntryAll, iommu.EntrySpecial:
		m["devid"] = theirs["devid"]
	case iommu.EntryACPI:
		m["hid"], m["uid_len"] = e.HID, theirs["uid_len"]
	}
	if extra, ok := theirs["extra"]; ok {
		m["extra"] = extra
	}
	if e.Alias.IsValid() {
		m["alias_source"] = requesterOf(e.Alias)
	}
	if e.Kind == iommu.EntrySpecial {
		m["special"] = map[string]any{"handle": float64(e.Handle), "source": requesterOf(e.Device), "variety": strings.ToLower(e.Special.String())}
	}
	return m
}

// ivrsBlock makes a block of a kind: its fixed part of n bytes, and entries.
func ivrsBlock(kind byte, n int, entries ...[]byte) []byte {
	b := make([]byte, n)
	b[0] = kind
	for _, e := range entries {
		b = append(b, e...)
	}
	binary.LittleEndian.PutUint16(b[2:], uint16(len(b)))
	return b
}

// ivrsTable has each kind of block and of entry, all in segment 1.
func ivrsTable() []byte {
	hid := append([]byte{0xf0, 0xa5, 0, 0x40}, "AMDI0020AMDI\x00\x00\x00\x00\x02\x09\\_SB.FUR0"...)
	number := append([]byte{0xf0, 0xa6, 0, 0}, "AMDI0021\x00\x00\x00\x00\x00\x00\x00\x00\x01\x08\x02\x01\x00\x00\x00\x00\x00\x00"...)
	nameless := append([]byte{0xf0, 0xa7, 0, 0}, "AMDI0040\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
	entries := [][]byte{
		{1, 0, 0, 0xf3}, {2, 0x08, 0, 0}, {3, 0x10, 0, 0}, {4, 0xff, 0, 0}, {0, 0, 0, 0},
		{0x42, 0x00, 0x05, 0, 0, 0x00, 0x04, 0}, {0x43, 0x00, 0xff, 0, 0, 0xa5, 0, 0}, {4, 0xff, 0xff, 0},
		{0x46, 0x18, 0, 0, 0, 0, 0, 0x80}, {0x47, 0x20, 0, 0, 0, 0, 0, 0}, {4, 0x27, 0, 0},
		{0x48, 0, 0, 0xd7, 33, 0xa0, 0, 1}, {0x48, 0, 0, 0, 0, 0xa0, 0, 2}, {0x48, 0, 0, 0, 0, 0xa0, 0, 9}, hid, number, nameless,
		{4, 0xff, 0, 0},                  // an end without a beginning
		{3, 0x10, 0, 0}, {4, 0x08, 0, 0}, // and one before it
	}
	old, middle, last := ivrsBlock(0x10, 24, entries[1]), ivrsBlock(0x11, 40), ivrsBlock(0x40, 40, entries...)
	for _, b := range [][]byte{old, middle, last} {
		b[1], b[4], b[6], b[16] = 0xb0, 2, 0x40, 1
		binary.LittleEndian.PutUint64(b[8:], 0xfdf00000)
	}
	copy(last[24:], []byte{0xd7, 0x29})
	all, one, some := ivrsBlock(0x20, 32), ivrsBlock(0x21, 32), ivrsBlock(0x22, 32)
	for i, b := range [][]byte{all, one, some} {
		b[1], b[4], b[6], b[8] = 0x07+byte(i), 0x08, 0x0f, 1
		binary.LittleEndian.PutUint64(b[16:], 0x7c000000)
		binary.LittleEndian.PutUint64(b[24:], 0x100000)
	}
	body := []byte{0x43, 0x30, 0x60, 11: 0}
	for _, b := range [][]byte{old, middle, last, all, one, some} {
		body = append(body, b...)
	}
	return acpiTable("IVRS", body...)
}

func TestIVRS(t *testing.T) {
	v, err := iommu.ParseIVRS(ivrsTable())
	must(t, err)
	i := v.Info
	if !i.FeaturesStated() || !i.DMARemapSupport() || i.PhysicalBits() != 48 || i.VirtualBits() != 64 || i.GuestVirtualBits() != 48 || !i.ATSRangeReserved() {
		t.Errorf("%#x", uint32(i))
	}
	if iommu.IVInfo(0).GuestVirtualBits() != 0 {
		t.Error("a width without a code")
	}
	used := v.InUse()
	if len(v.Units) != 3 || len(used) != 1 || used[0].Type != iommu.IVHD40 || used[0].Features != 0x29d7 {
		t.Fatalf("%+v", used)
	}
	var b strings.Builder
	fmt.Fprintln(&b, i)
	for _, u := range v.Units {
		fmt.Fprintln(&b, u, "|", u.Flags)
	}
	for _, e := range used[0].Entries {
		fmt.Fprintln(&b, e, "|", e.Settings)
	}
	for _, m := range v.Memory {
		fmt.Fprintln(&b, m, "|", m.Flags)
	}
	want := `48 bits of physical, 64 of device addresses, DMA remapping before boot
unit 0001:00:00.2 at 0xfdf00000, form 10h | IotlbSup, Coherent, PPRSup
unit 0001:00:00.2 at 0xfdf00000, form 11h | IotlbSup, Coherent, PPRSup
unit 0001:00:00.2 at 0xfdf00000, form 40h | IotlbSup, Coherent, PPRSup
all devices | INITPass, EIntPass, SysMgt1, SysMgt2, Lint0Pass, Lint1Pass
device 0001:00:01.0 | none
range from 0001:00:02.0 | none
range to 0001:00:1f.7 | none
padding | none
alias 0001:05:00.0 as 0001:04:00.0 | none
alias range from 0001:ff:00.0 as 0001:00:14.5 | none
range to 0001:ff:1f.7 | none
extended device 0001:00:03.0 | none
extended range from 0001:00:04.0 | none
range to 0001:00:04.7 | none
IOAPIC 33 is 0001:00:14.0 | INITPass, EIntPass, NMIPass, SysMgt1, Lint0Pass, Lint1Pass
HPET 0 is 0001:00:14.0 | none
special device 9 0 is 0001:00:14.0 | none
ACPI device AMDI0020 (\_SB.FUR0) is 0001:00:14.5 | Lint0Pass
ACPI device AMDI0021 (258) is 0001:00:14.6 | none
ACPI device AMDI0040 is 0001:00:14.7 | none
range to 0001:00:1f.7 | none
range from 0001:00:02.0 | none
range to 0001:00:01.0 | none
memory 0x7c000000 and 1048576 bytes on for all of segment 0001 | Unity, IR, IW
memory 0x7c000000 and 1048576 bytes on for 0001:00:01.0 | ExclRange
memory 0x7c000000 and 1048576 bytes on for 0001:00:01.0 to 0001:00:01.7 | Unity, ExclRange
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
	at := func(s string) pci.Address { return addr(t, "0001:"+s) }
	ranges := []iommu.DeviceRange{
		{First: at("00:00.0"), Last: at("ff:1f.7"), Settings: 0xf3},
		{First: at("00:01.0"), Last: at("00:01.0")},
		{First: at("00:02.0"), Last: at("00:1f.7")},
		{First: at("05:00.0"), Last: at("05:00.0"), Alias: at("04:00.0")},
		{First: at("ff:00.0"), Last: at("ff:1f.7"), Alias: at("00:14.5")},
		{First: at("00:03.0"), Last: at("00:03.0"), ATSDisabled: true},
		{First: at("00:04.0"), Last: at("00:04.7")},
	}
	got := used[0].Ranges()
	if diff := cmp.Diff(ranges, got, cmp.Comparer(func(a, b pci.Address) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	if r := got[2]; !r.Has(at("00:02.0")) || !r.Has(at("00:1f.7")) || r.Has(at("00:01.7")) || r.Has(at("01:00.0")) || r.Has(addr(t, "0000:00:03.0")) {
		t.Error(r)
	}
	if (iommu.IVRS{}).InUse() != nil {
		t.Error("units of no table")
	}
}
