package picture

import (
	"fmt"
	"slices"
	"strings"
)

// An item is a piece of the legend.
type item struct {
	x, y  int
	kind  itemKind
	which int // verdict or colour
	words string
}

type itemKind uint8

const (
	badgeItem itemKind = iota
	areaItem
	markItem
)

const (
	legendLine = 26
	swatch     = 30 // what stands before the words of an item
	minWide    = 860
)

// layHead lays out what is above the trees, and returns where that ends.
func (d *drawing) layHead() int {
	room := maxWide - 2*margin
	d.title = titleFont.fit(text(d.Title, maxTitle), room)
	facts := make([]string, 0, len(d.Facts))
	for _, f := range d.Facts {
		if f = text(f, maxText); f != "" {
			facts = append(facts, f)
		}
	}
	d.facts = factFont.fit(strings.Join(facts, "  ·  "), room)
	d.width = max(d.width, margin+titleFont.width(d.title), margin+factFont.width(d.facts))
	const most = 4
	for _, s := range d.Remarks[:min(len(d.Remarks), most)] {
		d.remarks = append(d.remarks, factFont.wrap(text(s, maxSentence), d.width-margin)...)
	}
	y := d.underFacts()
	for _, s := range d.Warning[:min(len(d.Warning), most)] {
		d.warning = append(d.warning, factFont.wrap(text(s, maxSentence), minWide-2*margin-60)...)
	}
	if len(d.warning) > 0 {
		y += len(d.warning)*18 + 34
	}
	d.layLegend(y)
	return y + d.legendHeight + 22
}

// underFacts is where what follows the lines below the title begins.
func (d *drawing) underFacts() int { return 74 + len(d.remarks)*18 }

// layLegend explains what is in the picture, and no more.
func (d *drawing) layLegend(y int) {
	x := margin
	add := func(kind itemKind, which int, words string) {
		wide := swatch + extraFont.width(words) + 22
		if x > margin && x+wide > d.width+22 {
			x, y = margin, y+legendLine
			d.legendHeight += legendLine
		}
		d.legend = append(d.legend, item{x, y, kind, which, words})
		x += wide
	}
	for v := Assignable; v <= Stays; v++ {
		if slices.ContainsFunc(d.cells, func(c *cell) bool { return c.Verdict == v }) {
			add(badgeItem, int(v), v.String())
		}
	}
	members := map[string]int{}
	for _, c := range d.cells {
		members[c.Group]++
	}
	delete(members, "")
	one, several := false, false
	for _, n := range members {
		one, several = one || n == 1, several || n > 1
	}
	if one {
		add(areaItem, 0, "IOMMU group of one, with its number")
	}
	if several {
		add(areaItem, 1, "group of several, which are not kept apart")
	}
	if slices.ContainsFunc(d.cells, func(c *cell) bool { return c.stem || len(c.above) > 0 || len(c.marks) > 0 }) {
		add(markItem, 0, "isolation is missing here")
	}
	if len(d.legend) > 0 {
		d.legendHeight += legendLine
	}
}

func (w *writer) head() {
	d := w.d
	w.WriteString(svgHead)
	w.printf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img" font-family="%s">`+"\n",
		d.width, d.height, d.width, d.height, sansFamily)
	w.printf("<title>%s</title>\n", escape(d.title))
	w.printf("<desc>%s</desc>\n", escape(strings.Join(slices.Concat([]string{d.facts}, d.remarks, d.warning), "\n")))
	w.printf("<style>\n%s</style>\n", darkStyle())
	w.rect(rect{0, 0, d.width, d.height}, 0, colours("ground"))
	w.printf(`<g>` + "\n")
	w.text(titleFont, d.title, margin, 38, d.width-2*margin, colours("ink"))
	w.text(factFont, d.facts, margin, 60, d.width-margin, colours("dim"))
	for i, s := range d.remarks {
		w.text(factFont, s, margin, 78+i*18, d.width-margin, colours("dim"))
	}
	if len(d.warning) > 0 {
		y := d.underFacts() + 6
		edge := "frame"
		if d.Badge == Refused {
			edge = "break"
		}
		w.rect(rect{margin, y, minWide - 2*margin, len(d.warning)*18 + 16}, 8, colours("box", edge)+` stroke-width="2"`)
		w.badge(d.Badge, margin+22, y+8+len(d.warning)*9)
		for i, s := range d.warning {
			w.text(factFont, s, margin+46, y+22+i*18, minWide, colours("ink"))
		}
	}
	for _, i := range d.legend {
		w.item(i)
	}
}

func (w *writer) item(i item) {
	middle := i.y + legendLine/2
	switch i.kind {
	case badgeItem:
		w.badge(Verdict(i.which), i.x+10, middle)
	case areaItem:
		h := lightAreas[i.which]
		w.rect(rect{i.x, middle - 9, 22, 18}, 5, fmt.Sprintf(` class="a%d" fill="%s" stroke="%s" stroke-width="1.25"`, i.which, h.fill, h.edge))
		w.text(font{size: 11, bold: true}, "7", i.x+11, middle+4, 20, ` class="n`+string(rune('0'+i.which))+`" fill="`+h.number+`" text-anchor="middle"`)
	case markItem:
		w.printf(`<path d="M%d %dH%d" fill="none" stroke-width="2.5" stroke-dasharray="4 3"%s/>`+"\n", i.x, middle, i.x+24, colours("break"))
		w.broken(i.x+12, middle)
	}
	w.text(extraFont, i.words, i.x+swatch, middle+4, 400, colours("ink"))
}
