package picture

import (
	"fmt"
	"strings"
)

// Distances, in pixels.
const (
	margin    = 24
	maxWide   = 1888 // what a screen of 1920 shows
	wideBox   = 288
	narrowBox = 206
	pad       = 5  // from a box to the edge of its area
	gutter    = 30 // between a column's areas, for the lines
	tick      = 16 // from a bus to what hangs on it
	rowGap    = 16 // between boxes of different areas
	bareGap   = 11 // between boxes of none
	nearGap   = 8  // between boxes of one
	markGap   = 26 // between boxes with a mark between them
	stripGap  = 32
	treeGap   = 28
	busHeight = 24
	inset     = 9  // from the edge of a box to its text
	lineAt    = 18 // from the top of a box to where its first line stands
	nameAt    = 34
	moreAt    = 49 // the line after the name
	moreLine  = 14
	boxHeight = 41
	noteBox   = 26
	edgeAt    = 14 // from the top of a box to where its line comes in
)

// A drawing is a picture with all in its place.
type drawing struct {
	*Picture
	title         string
	facts         string
	remarks       []string // in lines, as are warnings
	warning       []string
	legend        []item
	legendHeight  int
	trees         []*tree
	buses         []bus
	cells         []*cell         // in the order of the trees
	previous      map[*cell]*cell // what comes before a cell on the same bus
	areas         []*area
	notes         []note
	strip         int // room for the number of a group
	width, height int
}

// A bus is the line that the first functions of a tree hang on: from its label over
// all strips, and down each.
type bus struct {
	name    string
	x, y, w int // the label
	strips  []trunk
}

type trunk struct{ x, top, bottom int }

// A note is a box that stands for what is left out.
type note struct {
	x, y, w int
	text    string
	down    int // where the line to it comes down: on a trunk, or to the right of a box
	from    int // and at what height that begins
}

// draw lays a picture out.
func draw(p *Picture) *drawing {
	d := &drawing{Picture: p}
	var all map[string]*cell
	d.trees, all = grow(p)
	longest := 0
	d.previous = map[*cell]*cell{}
	for _, t := range d.trees {
		d.collect(t.cells)
	}
	for _, c := range d.cells {
		longest = max(longest, len(c.Group))
	}
	if longest > 0 {
		d.strip = max(26, numberFont.width(strings.Repeat("0", longest))+10)
	}
	place(p.Marks, all, d.previous)
	for _, c := range d.cells {
		c.w, c.h = wideBox, boxHeight
		if c.Bridge {
			c.w = narrowBox
		}
		if n := len(c.extra()); n > 0 {
			c.h += n*moreLine + 1
		}
	}
	// How high the head is depends on how wide the trees are.
	d.width = minWide - margin
	for _, t := range d.trees {
		d.layTree(t, 0)
	}
	y := d.layHead()
	d.buses, d.notes = nil, nil
	for _, t := range d.trees {
		y = d.layTree(t, y) + treeGap
	}
	d.height = y - treeGap + margin
	d.width += margin
	d.areas = findAreas(d.cells, d.strip)
	return d
}

// collect lists cells in the order of the trees, and which comes before which on the
// same bus.
func (d *drawing) collect(cells []*cell) {
	for i, c := range cells {
		if i > 0 {
			d.previous[c] = cells[i-1]
		}
		d.cells = append(d.cells, c)
		d.collect(c.below)
	}
}

// An extra is one line in a box below the name.
type extra struct {
	text string
	kind extraKind
}

type extraKind uint8

const (
	reasonLine extraKind = iota
	markLine
	carriedLine
)

// extra returns the lines of a box below the name.
func (c *cell) extra() []extra {
	var all []extra
	if c.Reason != "" {
		all = append(all, extra{c.Reason, reasonLine})
	}
	for _, s := range c.link {
		all = append(all, extra{s, markLine})
	}
	for _, s := range c.marks {
		all = append(all, extra{s, markLine})
	}
	for _, s := range c.Carries {
		all = append(all, extra{s, carriedLine})
	}
	return all
}

// gap is the room between two cells that follow each other on a bus.
func gap(a, b *cell) int {
	switch {
	case len(b.above) > 0:
		return markGap
	case a.Group == "" && b.Group == "":
		return bareGap
	case a.Group == "" || a.Group != b.Group || len(a.below)+len(b.below)+a.more+b.more > 0:
		return rowGap
	}
	return nearGap
}

// measure says how much room a cell takes with all behind it: boxes only, without the
// areas around the outermost.
func (d *drawing) measure(c *cell) (w, h int) {
	w, h = c.w, c.h
	wide, high := d.measureAll(c.below, c.more)
	if high > 0 {
		w, h = c.w+d.across()+wide, max(h, high)
	}
	c.right, c.bottom = w, h
	return w, h
}

func (d *drawing) measureAll(cells []*cell, more int) (w, h int) {
	for i, c := range cells {
		if i > 0 {
			h += gap(cells[i-1], c)
		}
		wide, high := d.measure(c)
		w, h = max(w, wide), h+high
	}
	if more > 0 {
		if len(cells) > 0 {
			h += rowGap
		}
		w, h = max(w, wideBox), h+noteBox
	}
	return w, h
}

// across is what lies between a box and that of a function behind it.
func (d *drawing) across() int { return d.pad() + gutter + d.strip }

// turn is where the line from a box to those behind it goes down.
func (d *drawing) turn(c *cell) int { return c.x + c.w + d.pad() + gutter/2 }

func (d *drawing) pad() int {
	if d.strip == 0 {
		return 0
	}
	return pad
}

// put gives cells their places, one below the other, and returns where they end.
func (d *drawing) put(cells []*cell, more, x, y, down int) int {
	top := y
	for i, c := range cells {
		if i > 0 {
			y += gap(cells[i-1], c)
		}
		c.x, c.y = x, y
		d.put(c.below, c.more, x+c.w+d.across(), y, d.turn(c))
		y += c.bottom
		c.right, c.bottom = c.right+x, y
	}
	if more > 0 {
		if len(cells) > 0 {
			y += rowGap
		}
		d.notes = append(d.notes, note{x: x, y: y, w: wideBox, text: leftOut(more), down: down, from: top + edgeAt})
		y += noteBox
	}
	return y
}

func leftOut(n int) string {
	if n == 1 {
		return "and 1 more function, left out here"
	}
	return fmt.Sprintf("and %d more functions, left out here", n)
}

// layTree lays out a bus below y and returns where it ends.
func (d *drawing) layTree(t *tree, y int) int {
	if len(t.cells) == 0 && t.more == 0 {
		return y
	}
	b := bus{name: t.name, x: margin, y: y, w: idFont.width(t.name) + 2*inset}
	top := y + busHeight + 14
	bottom := top
	x := margin + 12
	strips := d.strips(t)
	for i, cells := range strips {
		more := 0
		if i == len(strips)-1 {
			more = t.more
		}
		first := x + tick + d.strip
		w, _ := d.measureAll(cells, more)
		end := d.put(cells, more, first, top, x)
		down := top + edgeAt
		if len(cells) > 0 {
			down = cells[len(cells)-1].y + edgeAt
		}
		if more > 0 {
			down = end - noteBox/2
		}
		b.strips = append(b.strips, trunk{x, y + busHeight/2, down})
		bottom = max(bottom, end)
		x = first + w + d.pad() + stripGap
	}
	d.width = max(d.width, x-stripGap, b.x+b.w)
	d.buses = append(d.buses, b)
	return bottom + d.pad()
}
