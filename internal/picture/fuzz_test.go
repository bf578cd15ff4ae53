package picture

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// grown returns a picture with a tree that the seed decides, with every text s.
func grown(seed uint64, s string) Picture {
	r := rand.New(rand.NewPCG(seed, 1))
	n, most := 0, 40
	if seed%8 == 1 {
		most = 300
	}
	var ids []string
	var nodes func(depth int) []Node
	group := ""
	nodes = func(depth int) []Node {
		var all []Node
		for range r.IntN(7) {
			if n++; n > most {
				break
			}
			if r.IntN(3) > 0 {
				group = fmt.Sprint(r.IntN(40))
			}
			if r.IntN(9) == 0 {
				group = ""
			}
			x := Node{
				ID: fmt.Sprintf("0000:%02x:%02x.0", n/32, n%32), Bridge: r.IntN(2) == 0, Role: s, Name: s + s, Driver: s, Group: group,
				Verdict: Verdict(r.IntN(8)), Details: []string{s},
			}
			if r.IntN(2) == 0 {
				x.Role, x.Driver, x.Reason = "usb-controller", "snd_hda_intel", s
			}
			if r.IntN(20) == 0 {
				x.ID, x.Group = s, s
			}
			for range r.IntN(4) * r.IntN(4) {
				x.Carries = append(x.Carries, s)
			}
			ids = append(ids, x.ID)
			if depth < 6 && r.IntN(depth+1) == 0 {
				x.Below = nodes(depth + 1)
			}
			all = append(all, x)
		}
		return all
	}
	p := Picture{Title: s, Facts: []string{s, "", s}, Remarks: []string{s, s}, Warning: []string{s}, Badge: Verdict(r.IntN(8))}
	for range 1 + r.IntN(4) {
		p.Buses = append(p.Buses, Bus{Name: s, Below: append(nodes(0), nodes(1)...)})
	}
	for range len(ids) / 2 {
		p.Marks = append(p.Marks, Mark{At: ids[r.IntN(len(ids))], With: ids[r.IntN(len(ids))], Label: s, Detail: s})
	}
	// As of functions of one device, which a choice at random seldom hits.
	for i := 1; i < len(ids); i += 1 + r.IntN(4) {
		p.Marks = append(p.Marks, Mark{At: ids[i-1], With: ids[i], Label: s, Detail: s})
	}
	return p
}

// hostile are texts as a saved machine may have them.
func hostile() []string {
	return []string{
		"", "Intel Wi-Fi 6", "<script>alert(1)</script>", "]]>", "-->", `"><rect width="9999"/>`, "&lt;&#0;", "a\x00b\x1b[31m\r\n\t",
		"\xff\xfe", "\u202egnp.exe\u2066", "\ufeff\ufffe\U000e0001", `\`, `\"]; evil [label="`, "\\N\\G\n", "%s%d%!", strings.Repeat("W", 5000),
		"e" + strings.Repeat("\u0301", 500), "\ufdfd\ufdfd\ufdfd", "漢字漢字漢字漢字漢字漢字漢字漢字", "שלום", "🧑‍🚀🧑‍🚀", "url(http://example.org/x)", "</text></g></svg>", " ",
	}
}

func FuzzPicture(f *testing.F) {
	for i, s := range hostile() {
		f.Add(uint64(i), s)
	}
	f.Fuzz(func(t *testing.T, seed uint64, s string) { check(t, grown(seed, s)) })
}

// What two groups are drawn in is told apart where they are close to each other.
func TestColours(t *testing.T) {
	for seed := range uint64(200) {
		p := grown(seed, "x")
		d := draw(&p)
		for i, a := range d.areas {
			if (a.colour > 0) != (len(a.cells) > 1) {
				t.Fatalf("a group of %d has colour %d", len(a.cells), a.colour)
			}
			taken := map[int]bool{}
			for _, o := range d.areas[:i] {
				if o.colour > 0 && a.nearTo(o) {
					taken[o.colour] = true
				}
			}
			if a.colour > 0 && taken[a.colour] && len(taken) < hues {
				t.Errorf("seed %d: group %s has the colour of one close by, and %d are free", seed, a.group, hues-len(taken))
			}
		}
	}
}

func TestBounded(t *testing.T) {
	functions := func(n, from int) []Node {
		all := make([]Node, n)
		for i := range all {
			all[i] = Node{ID: fmt.Sprintf("f%d", from+i), Group: fmt.Sprint(from + i), Carries: make([]string, 100), Details: make([]string, 100), Verdict: Assignable}
		}
		return all
	}
	flat := functions(3000, 0)
	var buses []Bus
	for i := range 3000 {
		buses = append(buses, Bus{Name: fmt.Sprint(i), Below: functions(2, 2*i)})
	}
	deep := functions(3000, 0)
	for i := len(deep) - 1; i > 0; i-- {
		deep[i-1].Below = deep[i : i+1]
	}
	wide := functions(20, 0)
	for i := range wide {
		wide[i].Bridge = true
		wide[i].Below = functions(150, 100+150*i)
	}
	one := functions(3000, 0)
	for i := range one {
		one[i].Group = "1"
	}
	for name, p := range map[string]Picture{
		"flat": {Buses: []Bus{{"all", flat}}}, "deep": {Buses: []Bus{{"all", deep[:1]}}}, "wide": {Buses: []Bus{{"all", wide}}},
		"one group": {Buses: []Bus{{"all", one}}}, "buses": {Buses: buses},
	} {
		all := 0
		for i := range p.Buses {
			all += size(p.Buses[i].Below)
		}
		d := draw(&p)
		left := 0
		for _, tr := range d.trees {
			left += tr.more
		}
		for _, c := range d.cells {
			left += c.more
		}
		if len(d.cells)+left != all || len(d.cells) > maxNodes || len(d.notes) == 0 {
			t.Errorf("%s: %d drawn, %d counted, of %d; %d notes", name, len(d.cells), left, all, len(d.notes))
		}
		svg, dot := SVG(p), DOT(p)
		if len(svg) > 2<<20 || len(dot) > 1<<20 {
			t.Errorf("%s: %d bytes of SVG, %d of DOT", name, len(svg), len(dot))
		}
		t.Logf("%s: %d drawn, %d x %d, %d KiB", name, len(d.cells), d.width, d.height, len(svg)>>10)
		check(t, p)
	}
	exactly := Picture{Buses: []Bus{{"all", functions(maxNodes, 0)}}}
	if d := draw(&exactly); len(d.cells) != maxNodes || len(d.notes) != 0 {
		t.Errorf("of %d functions %d are drawn", maxNodes, len(d.cells))
	}
}
