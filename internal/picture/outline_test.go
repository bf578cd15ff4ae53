package picture

import (
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOutline(t *testing.T) {
	for _, test := range []struct {
		name  string
		rects []rect
		want  string
	}{
		{"one", []rect{{0, 0, 40, 20}}, "M0 4Q0 0 4 0L36 0Q40 0 40 4L40 16Q40 20 36 20L4 20Q0 20 0 16Z"},
		{"two in a row are one", []rect{{0, 0, 30, 20}, {20, 0, 20, 20}}, "M0 4Q0 0 4 0L36 0Q40 0 40 4L40 16Q40 20 36 20L4 20Q0 20 0 16Z"},
		{"a corner smaller than its rounding", []rect{{0, 0, 4, 4}}, "M0 2Q0 0 2 0L2 0Q4 0 4 2L4 2Q4 4 2 4L2 4Q0 4 0 2Z"},
		{"nothing", nil, ""},
	} {
		if d := cmp.Diff(test.want, outline(test.rects, 4)); d != "" {
			t.Errorf("%s: %s", test.name, d)
		}
	}
}

// The outlines enclose as much as the rectangles cover, holes left out.
func TestLoops(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var rects []rect
		covered := map[point]bool{}
		for range 1 + r.IntN(6) {
			a := rect{r.IntN(12), r.IntN(12), 1 + r.IntN(8), 1 + r.IntN(8)}
			rects = append(rects, a)
			for x := a.x; x < a.x+a.w; x++ {
				for y := a.y; y < a.y+a.h; y++ {
					covered[point{x, y}] = true
				}
			}
		}
		twice := 0
		for _, loop := range loops(rects) {
			for i, p := range loop {
				q := loop[(i+1)%len(loop)]
				if (p.x == q.x) == (p.y == q.y) {
					t.Fatalf("%v: the outline goes askew from %v to %v", rects, p, q)
				}
				twice += p.x*q.y - q.x*p.y
			}
		}
		if twice != 2*len(covered) {
			t.Fatalf("%v: the outline is around %d, not %d", rects, twice/2, len(covered))
		}
	}
}

func TestFit(t *testing.T) {
	f := font{size: 12}
	for _, s := range append(hostile(), "Intel 82801FB/FBM/FR/FW/FRW (ICH6 Family) High Definition Audio Controller") {
		s = text(s, maxText)
		for room := 0; room < 400; room += 7 {
			got := f.fit(s, room)
			if w := f.width(got); w > room {
				t.Errorf("fit(%q, %d) is %q and %d wide", s, room, got, w)
			}
			if f.width(s) <= room && got != s {
				t.Errorf("fit(%q, %d) cuts what would fit", s, room)
			}
		}
		for _, l := range f.wrap(s, 200) {
			if f.width(l) > 200 {
				t.Errorf("a line of %q is wider than 200: %q", s, l)
			}
		}
	}
	if got := f.wrap("one two three four", f.width("one two")); !cmp.Equal(got, []string{"one two", "three...", "four"}) && !cmp.Equal(got, []string{"one two", "three", "four"}) {
		t.Errorf("wrap: %q", got)
	}
}

// What is written is legible on what it is written on, in both schemes, as WCAG 2.1
// asks of small text; the signs on badges as it asks of graphics.
func TestContrast(t *testing.T) {
	look := func(class string, dark bool) string {
		for _, p := range tints {
			if p.class == class {
				if dark {
					return p.dark
				}
				return p.light
			}
		}
		t.Fatalf("no colour %s", class)
		return ""
	}
	for _, dark := range []bool{false, true} {
		areas, badges := lightAreas, lightBadges
		if dark {
			areas, badges = darkAreas, darkBadges
		}
		ask := func(what, a, b string, least float64) {
			t.Helper()
			if c := contrast(t, a, b); c < least {
				t.Errorf("dark %v: %s, %s on %s, has a contrast of %.2f", dark, what, a, b, c)
			}
		}
		for _, class := range []string{"ink", "dim", "bad"} {
			ask(class, look(class, dark), look("box", dark), 4.5)
			ask(class, look(class, dark), look("ground", dark), 4.5)
		}
		for v, c := range badges {
			if c != "" {
				ask(Verdict(v).String(), c, look("box", dark), 4.3)
				ask("the sign of "+Verdict(v).String(), look("sign", dark), c, 3)
			}
		}
		for i, h := range areas {
			ask("number "+strconv.Itoa(i), h.number, h.fill, 4.5)
			ask("a mark in area "+strconv.Itoa(i), look("bad", dark), h.fill, 3.5)
			if i > 0 {
				ask("the edge of area "+strconv.Itoa(i), h.edge, look("ground", dark), 1.9)
			}
		}
	}
}
