package picture

import "fmt"

// badgeColour is that of a verdict, in the light scheme; of none it is empty.
func badgeColour(v Verdict) string {
	if int(v) < len(lightBadges) {
		return lightBadges[v]
	}
	return ""
}

// badgePaint returns the attributes of what has the colour of a verdict.
func badgePaint(v Verdict) string {
	if badgeColour(v) == "" {
		return colours("dim")
	}
	return fmt.Sprintf(` class="v%d" fill="%s"`, v, badgeColour(v))
}

// badge draws a verdict around a point: each has a shape and a sign of its own, so
// that nobody needs to see its colour. The signs are drawn, as a font may lack them.
func (w *writer) badge(v Verdict, x, y int) {
	if badgeColour(v) == "" {
		return
	}
	w.printf(`<g class="badge" transform="translate(%d %d)">`, x, y)
	var shape, sign string
	switch v {
	case Assignable: // a disc with a tick
		shape = `<circle r="8"`
		sign = "M-4 0.3L-1.2 3.2L4 -2.8"
	case WithCompanions: // a square with a cross for more
		shape = `<rect x="-8" y="-8" width="16" height="16" rx="3.5"`
		sign = "M-4.2 0H4.2M0 -4.2V4.2"
	case ShareOnly: // a rhombus with an equals sign
		shape = `<path d="M0 -9.5L9.5 0L0 9.5L-9.5 0Z"`
		sign = "M-3.5 -1.8H3.5M-3.5 1.8H3.5"
	case Refused: // an octagon with a cross
		shape = `<path d="M-3.5 -8.3H3.5L8.3 -3.5V3.5L3.5 8.3H-3.5L-8.3 3.5V-3.5Z"`
		sign = "M-3.2 -3.2L3.2 3.2M3.2 -3.2L-3.2 3.2"
	case Unknown: // a triangle with a question mark
		shape = `<path d="M0 -8.8L9.2 7.4H-9.2Z" stroke-linejoin="round"`
		sign = "M-2.3 -0.9A2.3 2.3 0 1 1 0.9 1.2Q0 1.7 0 2.8M0 5.2V5.4"
	case Stays: // a narrow bar
		shape = `<rect x="-8" y="-5" width="16" height="10" rx="5"`
		sign = "M-3.5 0H3.5"
	}
	w.printf(`%s%s/>`, shape, badgePaint(v))
	wide := "2"
	if v == Unknown {
		wide = "1.7"
	}
	w.printf(`<path d="%s" fill="none" stroke-width="%s" stroke-linecap="round" stroke-linejoin="round"%s/></g>`+"\n", sign, wide, colours("sign"))
}

// broken draws a broken link around a point.
func (w *writer) broken(x, y int) {
	w.printf(`<g transform="translate(%d %d)"><circle r="6.5"%s/>`, x, y, colours("bad"))
	w.printf(`<path d="M-4.2 2.6L-0.8 -3.4M0.8 3.4L4.2 -2.6" fill="none" stroke-width="1.7" stroke-linecap="round"%s/></g>`+"\n", colours("sign"))
}
