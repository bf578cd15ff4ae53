package picture

import "strings"

// Which font a viewer has is not known, so widths are those of DejaVu Sans, one of the
// widest that are common: what fits in it fits in the others. In thousandths of the
// size, from the space to the tilde.
var advance = [...]int{
	318, 401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361, 318, 337, // space to /
	636, 636, 636, 636, 636, 636, 636, 636, 636, 636, 337, 337, 838, 838, 838, 531, // 0 to ?
	1000, 684, 686, 698, 770, 632, 575, 775, 752, 295, 295, 656, 557, 863, 748, 787, // @ to O
	603, 787, 695, 635, 611, 732, 684, 989, 685, 611, 685, 390, 337, 390, 838, 500, // P to _
	500, 613, 635, 550, 635, 615, 352, 635, 634, 278, 278, 579, 278, 974, 634, 612, // ` to o
	635, 635, 411, 521, 392, 634, 592, 818, 592, 592, 525, 636, 337, 636, 838, // p to ~
}

// A font is a size and a kind of letters.
type font struct {
	size       int // pixels
	bold, mono bool
}

// width returns how wide s is at most, in pixels. Of what is not ASCII that is a guess:
// see exact.
func (f font) width(s string) int {
	n := 0
	for _, r := range s {
		switch {
		case f.mono && r < 0x7f:
			n += 602
		case r >= ' ' && r < 0x7f:
			n += advance[r-' ']
		case r == '·':
			n += 318
		default:
			n += 1000
		}
	}
	if f.bold && !f.mono {
		n = n * 112 / 100
	}
	return (n*f.size + 999) / 1000
}

// exact reports whether width is sure to be no less than what a viewer makes of s.
func exact(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= 0x250 }) < 0 // Latin letters are at most as wide as high
}

// fit cuts s so that it is no wider than room.
func (f font) fit(s string, room int) string {
	if f.width(s) <= room {
		return s
	}
	const dots = "..."
	cut := 0
	for i := range s {
		if f.width(s[:i]+dots) > room {
			break
		}
		cut = i
	}
	if cut == 0 {
		return ""
	}
	return strings.TrimRight(s[:cut], " ,(/-") + dots
}

// wrap breaks s into lines no wider than room.
func (f font) wrap(s string, room int) []string {
	var all []string
	line := ""
	for _, word := range strings.Fields(s) {
		switch {
		case line == "":
			line = word
		case f.width(line+" "+word) <= room:
			line += " " + word
		default:
			all, line = append(all, f.fit(line, room)), word
		}
	}
	if line != "" {
		all = append(all, f.fit(line, room))
	}
	return all
}
