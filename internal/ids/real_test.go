package ids

import (
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/project-independence/indy/pci"
)

// entries is what an independent reader makes of a list: names by the keys above
// and their own, such as "8086/1234/17aa 2245" and "C 03/00/00".
func entries(data string) map[string]string {
	var (
		line = regexp.MustCompile(`^(\t{0,2})(C [0-9a-f]{2}|[0-9a-f]{4} [0-9a-f]{4}|[0-9a-f]{4}|[0-9a-f]{2})\s+(.*?)\s*$`)
		all  = map[string]string{}
		path [3]string
	)
	for text := range strings.Lines(data) {
		text = strings.TrimRight(text, "\r\n")
		if text == "" || text[0] == '#' {
			continue
		}
		m := line.FindStringSubmatch(text)
		if m == nil {
			if text[0] != '\t' {
				path = [3]string{} // a section of another kind
			}
			continue
		}
		depth := len(m[1])
		path[depth] = m[2]
		if path[0] == "" {
			continue
		}
		key := strings.Join(path[:depth+1], "/")
		if _, twice := all[key]; !twice {
			all[key] = m[3]
		}
	}
	return all
}

func number(s string) uint64 {
	n, err := strconv.ParseUint(strings.ReplaceAll(s, " ", ""), 16, 32)
	if err != nil {
		panic(err)
	}
	return n
}

// lookUp asks a File for the name of a key of entries; ok is false for the kinds of
// lines that have none.
func lookUp(f *File, key string) (name string, ok bool) {
	p := strings.Split(key, "/")
	if class, is := strings.CutPrefix(p[0], "C "); is {
		var n [3]uint8
		for i, s := range append([]string{class}, p[1:]...) {
			if len(s) != 2 {
				return "", false
			}
			n[i] = uint8(number(s))
		}
		var names [3]string
		names[0], names[1], names[2] = f.Class(n[0], n[1], n[2])
		return names[len(p)-1], true
	}
	ids := [2]pci.ID{}
	for i, s := range p[:min(len(p), 2)] {
		if len(s) != 4 {
			return "", false
		}
		ids[i] = pci.NewID(uint16(number(s)))
	}
	switch {
	case len(p) == 1:
		name, _ = f.Vendor(ids[0])
	case len(p) == 2:
		name, _ = f.Device(ids[0], ids[1])
	case len(p[2]) == 9:
		sub := number(p[2])
		name, _ = f.Subsystem(ids[0], ids[1], pci.NewID(uint16(sub>>16)), pci.NewID(uint16(sub)))
	default:
		return "", false
	}
	return name, true
}

func TestRealLists(t *testing.T) {
	for _, name := range []string{"pci.ids", "usb.ids"} {
		t.Run(name, func(t *testing.T) {
			data := readReal(t, name)
			f := New(data)
			counts := [2][3]int{}
			wrong := 0
			for key, want := range entries(string(data)) {
				got, ok := lookUp(f, key)
				if !ok || want == "" {
					continue
				}
				if got != want {
					if wrong++; wrong < 20 {
						t.Errorf("%s is %q, want %q", key, got, want)
					}
				}
				kind := 0
				if strings.HasPrefix(key, "C ") {
					kind = 1
				}
				counts[kind][strings.Count(key, "/")]++
			}
			if counts[0][0] < 1000 || counts[0][1] < 10000 || counts[1][0] < 10 {
				t.Errorf("only %v names were compared", counts)
			}
			t.Logf("%d vendors, %d devices, %d subsystems; classes %v; %d wrong",
				counts[0][0], counts[0][1], counts[0][2], counts[1], wrong)
		})
	}
}

// What is not in a list has no name, for every vendor that could be.
func TestRealListMisses(t *testing.T) {
	data := readReal(t, "pci.ids")
	all, f := entries(string(data)), New(data)
	for v := range 1 << 16 {
		v := pci.NewID(uint16(v))
		want, listed := all[v.String()]
		if got, ok := f.Vendor(v); got != want || ok != listed {
			t.Fatalf("Vendor(%v) = %q, %v; want %q", v, got, ok, want)
		}
	}
}

// A question is a vendor and a device, or a vendor alone.
type question [2]uint16

// notebook is what a listing of an Intel notebook with an NVIDIA GPU asks: 30 names.
var notebook = []question{
	{0x8086, 0x9a14}, {0x8086, 0x9a49}, {0x8086, 0x9a03}, {0x8086, 0x9a11}, {0x8086, 0x9a0d}, {0x8086, 0x9a1b},
	{0x8086, 0x9a23}, {0x8086, 0xa0ed}, {0x8086, 0xa0ef}, {0x8086, 0xa0f0}, {0x8086, 0xa0e8}, {0x8086, 0xa0e9},
	{0x8086, 0xa0e0}, {0x8086, 0xa0b0}, {0x8086, 0xa082}, {0x8086, 0xa0c8}, {0x8086, 0xa0a3}, {0x8086, 0xa0a4},
	{0x8086, 0x15fb}, {0x8086, 0x2725}, {0x10de, 0x1f95}, {0x10de, 0x1f9d}, {0x144d, 0xa808}, {0x10ec, 0x522a},
	{0x8086}, {0x10de}, {0x144d}, {0x10ec}, {0x17aa}, {0x1028},
}

// newer is a device and a vendor that the list does not know yet.
var newer = []question{{0x8086, 0xfffe}, {0xabce}}

func ask(f *File, all []question) (found int) {
	for _, q := range all {
		v, ok := pci.NewID(q[0]), false
		if q[1] == 0 {
			_, ok = f.Vendor(v)
		} else {
			_, ok = f.Device(v, pci.NewID(q[1]))
		}
		if ok {
			found++
		}
	}
	return found
}

// Thirty names of a list in memory: First is the first time, as a command has it,
// Missing with two more that are not listed, Again all later times.
func BenchmarkThirtyNames(b *testing.B) {
	data := readReal(b, "pci.ids")
	if n := ask(New(data), notebook); n != 30 {
		b.Logf("%d of 30 names are listed", n)
	}
	b.Run("First", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			ask(New(data), notebook)
		}
	})
	b.Run("Missing", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			f := New(data)
			ask(f, notebook)
			ask(f, newer)
		}
	})
	b.Run("Again", func(b *testing.B) {
		f := New(data)
		b.ReportAllocs()
		for b.Loop() {
			ask(f, notebook)
		}
	})
}

func BenchmarkDevice(b *testing.B) {
	f := New(readReal(b, "pci.ids"))
	v, d := pci.NewID(0x8086), pci.NewID(0xa0ed)
	b.ReportAllocs()
	for b.Loop() {
		f.Device(v, d)
	}
}
