package picture

import (
	"fmt"
	"html"
	"slices"
	"strings"
)

const svgHead = `<?xml version="1.0" encoding="UTF-8"?>` + "\n<!-- " + signature + " -->\n"

// The fonts. A picture names no font that has to be there.
const (
	sansFamily = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
	monoFamily = "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace"
)

var (
	titleFont  = font{size: 22, bold: true}
	factFont   = font{size: 13}
	busFont    = font{size: 12, bold: true}
	idFont     = font{size: 12, bold: true, mono: true}
	roleFont   = font{size: 12}
	nameFont   = font{size: 12}
	driverFont = font{size: 11, mono: true}
	extraFont  = font{size: 11}
	numberFont = font{size: 15, bold: true}
)

// SVG draws a picture as SVG.
func SVG(p Picture) []byte {
	w := &writer{d: draw(&p)}
	w.head()
	w.areas()
	w.lines()
	for _, c := range w.d.cells {
		w.cell(c)
	}
	for _, n := range w.d.notes {
		w.note(n)
	}
	w.marks()
	w.printf("</g>\n</svg>\n")
	return []byte(w.String())
}

// A writer writes a drawing as SVG. All texts go through it, and only through text and
// escape.
type writer struct {
	strings.Builder
	d *drawing
}

func (w *writer) printf(format string, args ...any) { fmt.Fprintf(w, format, args...) }

// escape returns s as it may stand in a text or in an attribute.
func escape(s string) string { return html.EscapeString(s) }

// text writes s at x, y, cut to the room there is. What may turn out wider than it
// was measured is made to fit. It returns how much room it took.
func (w *writer) text(f font, s string, x, y, room int, attributes string) int {
	s = f.fit(s, room)
	if s == "" {
		return 0
	}
	wide := f.width(s)
	if !exact(s) {
		attributes += fmt.Sprintf(` textLength="%d" lengthAdjust="spacingAndGlyphs"`, wide)
	}
	if f.bold {
		attributes += ` font-weight="700"`
	}
	if f.mono {
		attributes += fmt.Sprintf(` font-family="%s"`, monoFamily)
	}
	w.printf(`<text x="%d" y="%d" font-size="%d"%s>%s</text>`+"\n", x, y, f.size, attributes, escape(s))
	return wide
}

func (w *writer) areas() {
	for _, a := range w.d.areas {
		h := lightAreas[a.colour]
		w.printf(`<g class="area" data-group="%s"><title>%s</title>`+"\n", escape(a.group), escape(a.words()))
		w.printf(`<path d="%s" class="a%d" fill="%s" stroke="%s" stroke-width="1.25"/>`+"\n", outline(a.rects, 8), a.colour, h.fill, h.edge)
		for _, c := range a.first {
			w.text(numberFont, a.group, c.x-w.d.strip/2, c.y+edgeAt+6, w.d.strip,
				fmt.Sprintf(` class="n%d" fill="%s" text-anchor="middle"`, a.colour, h.number))
		}
		w.printf("</g>\n")
	}
}

// words says what an area is.
func (a *area) words() string {
	if len(a.cells) == 1 {
		return "IOMMU group " + a.group
	}
	ids := make([]string, 0, maxDetails)
	for i, c := range a.cells {
		if i == maxDetails-1 && len(a.cells) > maxDetails {
			ids = append(ids, fmt.Sprintf("and %d more", len(a.cells)-i))
			break
		}
		ids = append(ids, c.ID)
	}
	return "IOMMU group " + a.group + ": " + strings.Join(ids, ", ")
}

func (w *writer) rect(r rect, round int, attributes string) {
	w.printf(`<rect x="%d" y="%d" width="%d" height="%d" rx="%d"%s/>`+"\n", r.x, r.y, r.w, r.h, round, attributes)
}

// lines draws the buses, and from each box to those behind it.
func (w *writer) lines() {
	w.printf(`<g fill="none" stroke-width="1.5"%s>`+"\n", colours("line"))
	for _, b := range w.d.buses {
		for i, s := range b.strips {
			if i > 0 && i == len(b.strips)-1 {
				w.printf(`<path d="M%d %dH%d"/>`+"\n", b.x, s.top, s.x)
			}
			w.printf(`<path d="M%d %dV%d"/>`+"\n", s.x, s.top, s.bottom)
		}
	}
	for _, c := range w.d.cells {
		switch {
		case c.parent == nil:
			w.printf(`<path d="M%d %dH%d"/>`+"\n", c.x-w.d.strip-tick, c.y+edgeAt, w.end(c))
		case !c.parent.stem: // else it is drawn as a mark
			w.printf(`<path d="%s"/>`+"\n", w.link(c))
		}
		if len(c.below) == 0 && c.more > 0 {
			w.printf(`<path d="M%d %dH%d"/>`+"\n", c.x+c.w, c.y+edgeAt, w.d.turn(c))
		}
	}
	for _, n := range w.d.notes {
		middle := n.y + noteBox/2
		w.printf(`<path d="M%d %dV%dH%d"/>`+"\n", n.down, n.from, middle, n.x)
	}
	w.printf("</g>\n")
	for _, b := range w.d.buses {
		w.rect(rect{b.x, b.y, b.w, busHeight}, 6, colours("box", "frame"))
		w.text(busFont, b.name, b.x+inset, b.y+16, b.w, colours("ink"))
	}
}

// end is where the line to a cell ends: at its area, if that begins there.
func (w *writer) end(c *cell) int {
	if c.area != nil && (c.parent == nil || c.parent.area != c.area) {
		return c.x - w.d.strip
	}
	return c.x
}

// link is the line from the parent of a cell to it.
func (w *writer) link(c *cell) string {
	p := c.parent
	from, to := p.y+edgeAt, c.y+edgeAt
	if from == to {
		return fmt.Sprintf("M%d %dH%d", p.x+p.w, from, w.end(c))
	}
	return fmt.Sprintf("M%d %dV%dH%d", w.d.turn(p), from, to, w.end(c))
}

// cell draws a box with what is in it.
func (w *writer) cell(c *cell) {
	w.printf(`<g class="function" data-id="%s"`, escape(c.ID))
	if c.Group != "" {
		w.printf(` data-group="%s"`, escape(c.Group))
	}
	w.printf("><title>%s</title>\n", escape(c.words()))
	w.rect(rect{c.x, c.y, c.w, c.h}, 5, colours("box", "frame"))
	left, room := c.x+inset, c.w-2*inset
	first := room - 22 // where the badge is
	x := w.text(idFont, c.ID, left, c.y+lineAt, first, colours("ink")) + 8
	x += w.text(roleFont, c.Role, left+x, c.y+lineAt, first-x, colours("ink")) + 8
	w.badge(c.Verdict, c.x+c.w-inset-8, c.y+edgeAt)
	taken := 0
	switch end := colours("dim") + ` text-anchor="end"`; {
	case c.Driver == "" || c.Bridge && c.Driver == "pcieport": // as on nearly all bridges
	case driverFont.width(c.Driver) <= first-x:
		w.text(driverFont, c.Driver, left+first, c.y+lineAt, first-x, end)
	default:
		taken = w.text(driverFont, c.Driver, left+room, c.y+nameAt, room*2/5, end) + 8
	}
	w.text(nameFont, c.Name, left, c.y+nameAt, room-taken, colours("ink"))
	y := c.y + moreAt
	for _, e := range c.extra() {
		switch e.kind {
		case reasonLine:
			w.text(extraFont, e.text, left, y, room, badgePaint(c.Verdict))
		case markLine:
			w.broken(left+5, y-4)
			w.text(extraFont, e.text, left+16, y, room-16, colours("bad"))
		case carriedLine:
			w.printf(`<circle cx="%d" cy="%d" r="2"%s/>`+"\n", left+3, y-4, colours("dim"))
			w.text(extraFont, e.text, left+11, y, room-11, colours("dim"))
		}
		y += moreLine
	}
	w.printf("</g>\n")
}

// words says all that is known of a cell, for who points at it.
func (c *cell) words() string {
	s := c.ID
	if c.Role != "" {
		s += " " + c.Role
	}
	for _, part := range []struct{ before, what string }{{"", c.Name}, {"driver ", c.Driver}, {"IOMMU group ", c.Group}} {
		if part.what != "" {
			s += "\n" + part.before + part.what
		}
	}
	if c.Verdict != 0 {
		s += "\n" + c.Verdict.String()
		if c.Reason != "" {
			s += " (" + c.Reason + ")"
		}
	}
	for _, all := range [][]string{c.Details, c.tip, c.Carries} {
		for _, t := range all {
			s += "\n" + t
		}
	}
	return s
}

func (w *writer) note(n note) {
	w.rect(rect{n.x, n.y, n.w, noteBox}, 5, colours("box", "frame")+` stroke-dasharray="4 3"`)
	w.text(extraFont, n.text, n.x+inset, n.y+17, n.w-2*inset, colours("dim"))
}

// marks draws where isolation is missing: over the link below a box, and between two.
func (w *writer) marks() {
	for _, c := range w.d.cells {
		if c.stem && len(c.below) > 0 {
			y := c.y + edgeAt
			w.printf(`<g class="mark" data-at="%s"><title>%s</title>`+"\n", escape(c.ID), escape(strings.Join(slices.Concat(c.link, c.tip), "\n")))
			w.printf(`<g fill="none" stroke-width="2.5" stroke-dasharray="4 3"%s>`+"\n", colours("break"))
			for _, b := range c.below {
				w.printf(`<path d="%s"/>`+"\n", w.link(b))
			}
			w.printf("</g>\n")
			w.broken(w.d.turn(c), y)
			w.printf("</g>\n")
		}
		if len(c.above) > 0 {
			w.printf(`<g class="mark" data-at="%s"><title>%s</title>`+"\n", escape(c.ID), escape(strings.Join(slices.Concat(c.above, c.tip), "\n")))
			x, y := c.x+inset+5, c.y-markGap/2
			w.printf(`<path d="M%d %dV%d" fill="none" stroke-width="2.5" stroke-dasharray="4 3"%s/>`+"\n", x, c.y-markGap, c.y, colours("break"))
			w.broken(x, y)
			w.text(extraFont, strings.Join(c.above, ", "), x+11, y+4, c.w-2*inset-16, colours("bad"))
			w.printf("</g>\n")
		}
	}
}
