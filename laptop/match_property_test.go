package laptop_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/project-independence/indy/laptop"
)

// machine draws the identities of a machine: each at a place of its own, many of them
// twins, some with serial numbers or addresses that others have as well.
func machine(t *rapid.T, label string) []laptop.Identity {
	pick := func(what string, of ...string) string { return rapid.SampledFrom(of).Draw(t, what) }
	n := rapid.IntRange(0, 12).Draw(t, label)
	list := make([]laptop.Identity, 0, n)
	places := rapid.Permutation([]int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}).Draw(t, "places")
	for i := range n {
		bus := pick("bus", "pci", "usb", "acpi", "platform")
		id := laptop.Identity{ID: fmt.Sprintf("usb:1-%d", places[i]+1), Role: laptop.Storage}
		switch bus {
		case "pci":
			id.ID = fmt.Sprintf("pci:0000:00:%02x.0", places[i])
		case "acpi", "platform":
			id.ID = fmt.Sprintf("%s:PNP0C0A:%02d", bus, places[i])
			bus = "other"
		}
		if len(list) > 0 && pick("part", "", "", "part") != "" {
			id.PartOf = list[0].ID
		}
		for _, k := range laptop.Kinds() {
			var value string
			switch k {
			case laptop.BySerial:
				value = pick("serial", "", "", "A1B2", "C3D4", "E5F6", "000000", "SCRUBBED00112233AABB", "SCRUBBED99112233AABB")
			case laptop.ByMAC:
				value = pick("mac", "", "", "", "00:e0:4c:00:00:01", "00:e0:4c:00:00:02", "02:11:22:33:44:55", "00:e0:4c:00:00:01,00:e0:4c:00:00:03")
			case laptop.ByWWID:
				value = pick("wwid", "", "", "eui.1", "eui.2")
			case laptop.ByTopology:
				value = fmt.Sprintf("%s/%d", bus, places[i])
			case laptop.ByFirmware:
				value = pick("firmware", "", fmt.Sprintf("FW%d", places[i]), "FW")
			case laptop.ByPort:
				value = pick("port", "", "panel=left", "panel=right")
			case laptop.ByIDs:
				value = pick("ids", "", "1:1", "1:1", "1:2", "2:1")
			case laptop.BySubsystem:
				value = pick("subsystem", "", "", "a:a", "b:b")
			case laptop.ByRevision:
				value = pick("revision", "", "01", "02")
			case laptop.ByModel:
				value = pick("model", "", "", "SMP 1", "SMP 2")
			case laptop.ByName:
				value = pick("name", "", "", "Touchpad", "Mouse,Touchpad", "Keyboard")
			case laptop.ByEDID:
				value = pick("edid", "", "", "AUO 1", "AUO 1 SERIAL=1", "AUO 1 SERIAL=2", "AUO 2")
			case laptop.ByDescriptors:
				value = pick("descriptors", "", "", "x", "y", fmt.Sprint("of ", places[i]))
			case laptop.ByActive:
				value = pick("active", "", "080650", "030101,080650")
			case laptop.ByInterfaces:
				value = pick("interfaces", "", "080650", "030101", "030101x2", "030101,080650", "030101;080650")
			}
			if value != "" {
				id.Evidence = append(id.Evidence, laptop.Evidence{Kind: k, Value: value, Source: pick("source", "sys/x", "sys/descriptors")})
			}
		}
		list = append(list, id)
	}
	return list
}

func outcomes(rows []laptop.Matched) map[laptop.Outcome]int {
	counts := map[laptop.Outcome]int{}
	for _, r := range rows {
		counts[r.Outcome]++
	}
	return counts
}

func TestMatchItself(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		x := machine(rt, "n")
		for _, r := range laptop.Match(x, x) {
			if r.Outcome != laptop.Same || r.Before != r.After || r.Suspicious {
				rt.Errorf("%+v", r)
			}
		}
	})
}

func TestMatchPermuted(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		a, b := machine(rt, "before"), machine(rt, "after")
		want := laptop.Match(a, b)
		checkMatch(t, a, b, want)
		got := laptop.Match(rapid.Permutation(a).Draw(rt, "a"), rapid.Permutation(b).Draw(rt, "b"))
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Error(diff)
		}
		symmetric(t, a, b)
		if t.Failed() {
			rt.FailNow()
		}
	})
}

func TestMatchOneLess(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		x := machine(rt, "n")
		if len(x) == 0 {
			return
		}
		i := rapid.IntRange(0, len(x)-1).Draw(rt, "without")
		less := slices.Delete(slices.Clone(x), i, i+1)
		for _, r := range laptop.Match(x, less) {
			if r.Before == x[i].ID && r.Outcome != laptop.Gone || r.Before != x[i].ID && r.Outcome != laptop.Same {
				rt.Errorf("without %s: %+v", x[i].ID, r)
			}
		}
		for _, r := range laptop.Match(less, x) {
			if r.After == x[i].ID && r.Outcome != laptop.Arrived || r.After != x[i].ID && r.Outcome != laptop.Same {
				rt.Errorf("with %s: %+v", x[i].ID, r)
			}
		}
	})
}

// A device that alone has its serial number is found wherever it is plugged in.
func TestMatchOneMoved(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		x := machine(rt, "n")
		own := laptop.Identity{ID: "usb:7-1", Evidence: []laptop.Evidence{
			{Kind: laptop.BySerial, Value: "OWN1"}, {Kind: laptop.ByTopology, Value: "usb/own"}, {Kind: laptop.ByIDs, Value: "1:1"}}}
		there := own
		there.ID = "usb:8-2"
		there.Evidence = slices.Clone(own.Evidence)
		there.Evidence[1].Value = "usb/there"
		rows := laptop.Match(append(slices.Clone(x), own), append(slices.Clone(x), there))
		if counts := outcomes(rows); counts[laptop.Moved] != 1 || counts[laptop.Same] != len(x) {
			rt.Errorf("%v", became(rows))
		}
	})
}

// Of twins nothing is guessed: whichever leaves its place is ambiguous.
func TestMatchTwins(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(2, 6).Draw(rt, "twins")
		stay := rapid.IntRange(0, n-1).Draw(rt, "stay")
		back := rapid.IntRange(1, n-stay).Draw(rt, "elsewhere")
		var before, after string
		for i := range n {
			before += fmt.Sprintf("usb:1-%d ids=1:1\n", i+1)
			if i < stay {
				after += fmt.Sprintf("usb:1-%d ids=1:1\n", i+1)
			}
		}
		for i := range back {
			after += fmt.Sprintf("usb:2-%d ids=1:1\n", i+1)
		}
		rows := laptop.Match(identities(before), identities(after))
		if counts := outcomes(rows); counts[laptop.Same] != stay || counts[laptop.Ambiguous] != n-stay+back || len(rows) != n+back {
			rt.Errorf("%v", became(rows))
		}
	})
}

func FuzzMatch(f *testing.F) {
	f.Add("usb:1-1 ids=1:1 serial=A1B2\nusb:1-2 ids=1:1", "usb:1-3 ids=1:1 serial=A1B2")
	f.Add("usb:1-1 ids=1:1\nusb:1-1 ids=1:1 topology=x\npci:x topology=x", "pci:0000:01:00.0 mac=,, wwid=,a,a\n\n:\nusb: serial=000")
	f.Add("a ids=1:1 subsystem=a:a\nb ids=1:1", "c ids=1:1 subsystem=b:b\nd ids=1:1 mac=02:11:22:33:44:55\n")
	f.Add("usb:1-1 ids=1:1 descriptors=x interfaces=030101x2,080650;ff0000! active=ff0000\nusb:1-2 ids=1:1 descriptors=y", "usb:1-1 ids=1:1 descriptors=y\nusb:1-2 ids=1:1 descriptors=x interfaces=030101x0;;,x9")
	f.Add("usb:1-1 ids=1:1 serial=SCRUBBED00112233AABB\nusb:1-2 serial=A1B2", "usb:1-1 ids=1:1 serial=4c4c4544-0042-3510-8047-b9c04f463533\nusb:1-3 ids=1:1 interfaces=080650")
	f.Fuzz(func(t *testing.T, first, second string) {
		if len(first)+len(second) > 4096 {
			return
		}
		before, after := identities(first), identities(second)
		rows := laptop.Match(before, after)
		checkMatch(t, before, after, rows)
		symmetric(t, before, after)
		shuffle := rand.New(rand.NewPCG(1, 2))
		shuffle.Shuffle(len(before), func(i, j int) { before[i], before[j] = before[j], before[i] })
		shuffle.Shuffle(len(after), func(i, j int) { after[i], after[j] = after[j], after[i] })
		if diff := cmp.Diff(rows, laptop.Match(before, after)); diff != "" {
			t.Errorf("in another order: %s", diff)
		}
	})
}

// many is a machine of n devices: a third with serial numbers, a third twins.
func many(n, shift int) []laptop.Identity {
	list := make([]laptop.Identity, n)
	for i := range list {
		e := []laptop.Evidence{}
		add := func(k laptop.Kind, v string) { e = append(e, laptop.Evidence{Kind: k, Value: v, Source: "sys/x"}) }
		if i%3 == 0 {
			add(laptop.BySerial, fmt.Sprintf("S%06dX", i))
		}
		add(laptop.ByTopology, fmt.Sprintf("pci0000:00/%x", i+shift))
		ids := fmt.Sprintf("8086:%04x", i)
		if i%3 == 1 {
			ids = "8086:1234"
		}
		add(laptop.ByIDs, ids)
		add(laptop.BySubsystem, "17aa:2292")
		add(laptop.ByClass, "010802")
		add(laptop.ByDriver, "nvme")
		list[i] = laptop.Identity{ID: fmt.Sprintf("pci:%04x:%02x:%02x.0", i>>13, i>>5&0xff, i&0x1f), Role: laptop.Storage, Evidence: e}
	}
	return list
}

// BenchmarkMatch matches a machine with itself, and with one in which everything sits
// elsewhere, so that a third is ambiguous.
func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{30, 3000, 30000} {
		for name, shift := range map[string]int{"same": 0, "moved": 1 << 20} {
			before, after := many(n, 0), many(n, shift)
			b.Run(fmt.Sprintf("%s-%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					laptop.Match(before, after)
				}
			})
		}
	}
}

// BenchmarkIdentify reads a machine of 3,000 functions.
func BenchmarkIdentify(b *testing.B) {
	h := newHost(b)
	for i := range 3000 {
		h.function(fmt.Sprintf("pci0000:00/%04x:%02x:%02x.0", i>>13, i>>5&0xff, i&0x1f), "010802", "nvme", i)
	}
	l := h.read()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := laptop.Identify(h, l); err != nil {
			b.Fatal(err)
		}
	}
}
