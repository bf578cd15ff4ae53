package picture

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// check holds for every picture, whatever is in it.
func check(t *testing.T, p Picture) {
	t.Helper()
	svg := SVG(p)
	if !bytes.Equal(svg, SVG(p)) {
		t.Error("drawn twice it is not the same")
	}
	d := draw(&p)
	checkLayout(t, d)
	checkSVG(t, d, svg)
	checkDOT(t, DOT(p))
}

func (r rect) meets(o rect) bool { return r.near(o, 0) }

func (r rect) holds(o rect) bool {
	return r.x <= o.x && r.y <= o.y && o.x+o.w <= r.x+r.w && o.y+o.h <= r.y+r.h
}

func (c *cell) rect() rect { return rect{c.x, c.y, c.w, c.h} }

func checkLayout(t *testing.T, d *drawing) {
	t.Helper()
	paper := rect{0, 0, d.width, d.height}
	var boxes []rect
	for _, c := range d.cells {
		boxes = append(boxes, c.rect())
	}
	for _, n := range d.notes {
		boxes = append(boxes, rect{n.x, n.y, n.w, noteBox})
	}
	for _, b := range d.buses {
		boxes = append(boxes, rect{b.x, b.y, b.w, busHeight})
	}
	for i, r := range boxes {
		if !paper.holds(r) {
			t.Errorf("box %v is not on the paper, %v", r, paper)
		}
		for _, o := range boxes[:i] {
			if r.meets(o) {
				t.Errorf("boxes %v and %v overlap", r, o)
			}
		}
	}
	for _, n := range d.notes {
		trunk := func(b bus) bool {
			return slices.ContainsFunc(b.strips, func(s trunk) bool { return s.x == n.down })
		}
		behind := func(c *cell) bool { return c.more > 0 && d.turn(c) == n.down }
		if !slices.ContainsFunc(d.buses, trunk) && !slices.ContainsFunc(d.cells, behind) {
			t.Errorf("the line to the note at %d, %d comes from nowhere", n.x, n.y)
		}
	}
	for _, c := range d.cells {
		if p := c.parent; p != nil && c.x < p.x+p.w+gutter {
			t.Errorf("%q is not to the right of what it is behind", c.ID)
		}
	}
	for i, a := range d.areas {
		if len(a.first) == 0 {
			t.Errorf("group %q has no number", a.group)
		}
		for _, r := range a.rects {
			if !paper.holds(r) {
				t.Errorf("area %v of group %q is not on the paper, %v", r, a.group, paper)
			}
			for _, o := range d.areas[:i] {
				for _, s := range o.rects {
					if r.meets(s) {
						t.Errorf("groups %q and %q overlap: %v %v", a.group, o.group, r, s)
					}
				}
			}
			for _, c := range d.cells {
				if c.area != a && r.meets(c.rect()) {
					t.Errorf("%q is not of group %q and in its area", c.ID, a.group)
				}
			}
			for _, n := range d.notes {
				if r.meets(rect{n.x, n.y, n.w, noteBox}) {
					t.Errorf("a note is in the area of group %q", a.group)
				}
			}
		}
	}
}

// elements are all that a picture has, none of which loads or runs anything.
const elements = " svg title desc style g rect path circle text "

func checkSVG(t *testing.T, d *drawing, svg []byte) {
	t.Helper()
	style, _, _ := bytes.Cut(svg, []byte("</style>"))
	var functions int
	groups := map[string]bool{}
	var box rect // of the function that is being read
	in := false
	dec := xml.NewDecoder(bytes.NewReader(svg))
	dec.Strict = true
	var open []string
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("no XML: %v", err)
		}
		switch e := token.(type) {
		case xml.EndElement:
			open = open[:len(open)-1]
			in = in && len(open) > 2
		case xml.StartElement:
			open = append(open, e.Name.Local)
			if !strings.Contains(elements, " "+e.Name.Local+" ") {
				t.Errorf("there is an element %s", e.Name.Local)
			}
			at := map[string]string{}
			for _, a := range e.Attr {
				at[a.Name.Local] = a.Value
				if strings.HasPrefix(a.Name.Local, "on") || strings.Contains(a.Name.Local, "href") || strings.Contains(a.Value, "url(") && e.Name.Local != "g" {
					t.Errorf("attribute %s of %s refers to something", a.Name.Local, e.Name.Local)
				}
			}
			for c := range strings.FieldsSeq(at["class"]) {
				if c != "function" && c != "area" && c != "mark" && c != "badge" && !bytes.Contains(style, []byte("."+c+"{")) {
					t.Errorf("class %s has no colour in the dark", c)
				}
			}
			switch {
			case at["class"] == "function":
				functions++
				in, box = true, rect{}
			case at["class"] == "area":
				groups[at["data-group"]] = true
			case in && e.Name.Local == "rect" && box == rect{}:
				box = rect{number(t, at["x"]), number(t, at["y"]), number(t, at["width"]), number(t, at["height"])}
			case e.Name.Local == "text":
				var words string
				if err := dec.DecodeElement(&words, &e); err != nil {
					t.Fatal(err)
				}
				open = open[:len(open)-1]
				checkText(t, d, at, words, box, in)
			}
		}
	}
	if functions != len(d.cells) || len(groups) != len(d.areas) {
		t.Errorf("%d functions and %d groups drawn of %d and %d", functions, len(groups), len(d.cells), len(d.areas))
	}
}

// checkText asks whether a text is inside its box, or at least on the paper.
func checkText(t *testing.T, d *drawing, at map[string]string, words string, box rect, in bool) {
	t.Helper()
	f := font{size: number(t, at["font-size"]), bold: at["font-weight"] != "", mono: at["font-family"] != ""}
	w := f.width(words)
	r := rect{number(t, at["x"]), number(t, at["y"]) - f.size, w, f.size}
	switch at["text-anchor"] {
	case "end":
		r.x -= w
	case "middle":
		r.x -= w / 2
	}
	if in && !box.holds(r) || !(rect{0, 0, d.width, d.height}).holds(r) {
		t.Errorf("text %q at %v leaves its box %v, or the paper of %d x %d", words, r, box, d.width, d.height)
	}
	if !exact(words) && at["textLength"] != strconv.Itoa(w) {
		t.Errorf("nobody knows how wide %q is, and it is not made to fit", words)
	}
	for _, c := range words {
		if c < ' ' || c == 0x7f || !strconv.IsPrint(c) {
			t.Errorf("%q has characters that are not printable", words)
		}
	}
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// checkDOT takes the strings out, after which nothing is left that a text may have said.
func checkDOT(t *testing.T, dot []byte) {
	t.Helper()
	rest := regexp.MustCompile(`(?s)"(\\.|[^"\\])*"`).ReplaceAll(dot, []byte("S"))
	line := regexp.MustCompile(`^(// drawn by indy groups|graph machine \{|\t+(graph|node|edge) \[.*\];|\t+S \[.*\];|\t+S -- S( \[.*\])?;|\tsubgraph S \{|\t+label=S;.*|\t*\})$`)
	for l := range strings.Lines(string(rest)) {
		if l = strings.TrimSuffix(l, "\n"); !line.MatchString(l) {
			t.Errorf("DOT has a line %q", l)
		}
	}
}
