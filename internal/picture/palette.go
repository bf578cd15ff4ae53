package picture

import (
	"fmt"
	"strings"
)

// A hue is the colours of an area: its fill, its edge, and its number.
type hue struct{ fill, edge, number string }

// The areas: first that of groups of one, which are no news, then those of groups of
// several. None is red, which says that something is missing.
var (
	lightAreas = [hues + 1]hue{
		{"#eef1f4", "#cdd4dc", "#57606a"},
		{"#d6e8ff", "#5a9de6", "#0b4f9e"}, // blue
		{"#ffeeb8", "#d9a514", "#7a5200"}, // amber
		{"#d3f1da", "#4cab66", "#12612b"}, // green
		{"#e7dcff", "#9a7ae0", "#512a9e"}, // violet
		{"#c9f1f2", "#26a3ad", "#075c66"}, // cyan
		{"#fcdaec", "#d969a8", "#941259"}, // pink
		{"#e6f3bd", "#92ad24", "#4d5c00"}, // lime
		{"#f1dfcd", "#b8834f", "#71411a"}, // brown
	}
	darkAreas = [hues + 1]hue{
		{"#1a2028", "#39434f", "#9da7b3"},
		{"#11305a", "#4686d2", "#9cc8ff"},
		{"#43340a", "#b98d1d", "#f6d67a"},
		{"#123a20", "#3f9557", "#8fe0a6"},
		{"#33235f", "#8a6cd4", "#cdb8ff"},
		{"#083d43", "#238c96", "#7fdde4"},
		{"#4a1936", "#c45a97", "#ffadd8"},
		{"#2f3a08", "#84a01c", "#cfe574"},
		{"#422a15", "#a97645", "#eabf92"},
	}
)

// The badges of the verdicts. A badge is told by its shape and sign as well.
var (
	lightBadges = [...]string{
		Assignable: "#1a7f37", WithCompanions: "#0b62c4", ShareOnly: "#7a3ed0", Refused: "#cf222e", Unknown: "#9a6700", Stays: "#6e7781",
	}
	darkBadges = [...]string{
		Assignable: "#2ea043", WithCompanions: "#388bfd", ShareOnly: "#a371f7", Refused: "#f85149", Unknown: "#d29922", Stays: "#8b949e",
	}
)

// A tint is a colour by what it is for, in both schemes.
type tint struct{ class, property, light, dark string }

var tints = [...]tint{
	{"ground", "fill", "#ffffff", "#0d1117"},
	{"ink", "fill", "#1f2328", "#e6edf3"},
	{"dim", "fill", "#59636e", "#9da7b3"},
	{"box", "fill", "#ffffff", "#161b22"},
	{"frame", "stroke", "#8c959f", "#5b6570"},
	{"line", "stroke", "#818b98", "#7d8590"},
	{"bad", "fill", "#cf222e", "#ff7b72"},
	{"break", "stroke", "#cf222e", "#ff7b72"},
	{"sign", "stroke", "#ffffff", "#0d1117"},
	{"dot", "fill", "#ffffff", "#0d1117"},
}

// colours returns the attributes that give an element the colours of classes: as it is
// in light, with the class by which the style sheet changes it in dark.
func colours(classes ...string) string {
	s := ` class="` + strings.Join(classes, " ") + `"`
	for _, c := range classes {
		for _, p := range tints {
			if p.class == c {
				s += fmt.Sprintf(` %s="%s"`, p.property, p.light)
			}
		}
	}
	return s
}

// darkStyle returns the style sheet of the dark scheme.
func darkStyle() string {
	var b strings.Builder
	b.WriteString("@media (prefers-color-scheme: dark) {\n")
	for _, p := range tints {
		fmt.Fprintf(&b, ".%s{%s:%s}\n", p.class, p.property, p.dark)
	}
	for i, h := range darkAreas {
		fmt.Fprintf(&b, ".a%d{fill:%s;stroke:%s} .n%d{fill:%s}\n", i, h.fill, h.edge, i, h.number)
	}
	for v, c := range darkBadges {
		if c != "" {
			fmt.Fprintf(&b, ".v%d{fill:%s}\n", v, c)
		}
	}
	b.WriteString("}\n")
	return b.String()
}
