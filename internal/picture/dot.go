package picture

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

const dotHead = "// " + signature + "\n"

// DOT writes a picture in the language of graphviz, for who wants to draw it in a way
// of their own: dot -Tsvg. It has no dark scheme, and verdicts are words in it.
func DOT(p Picture) []byte {
	d := draw(&p)
	var b strings.Builder
	printf := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	b.WriteString(dotHead)
	head := slices.Concat([]string{d.title, d.facts}, d.remarks, d.warning)
	printf("graph machine {\n\tgraph [rankdir=LR, labelloc=t, fontname=\"sans-serif\", label=%s];\n", quote(strings.Join(head, "\n")))
	printf("\tnode [shape=box, style=\"filled,rounded\", fillcolor=white, fontname=\"sans-serif\", fontsize=11];\n")
	printf("\tedge [color=\"#818b98\", fontname=\"sans-serif\", fontsize=10];\n")
	names := map[*cell]string{}
	for i, c := range d.cells {
		name := c.ID
		if i > 0 && names[c] == "" && taken(d.cells[:i], name) {
			name = fmt.Sprintf("%s (%d)", name, i)
		}
		names[c] = name
		if c.area == nil {
			printf("\t%s\n", c.dot(name))
		}
	}
	for _, a := range d.areas {
		h := lightAreas[a.colour]
		printf("\tsubgraph %s {\n\t\tlabel=%s; style=\"filled,rounded\"; color=%q; fillcolor=%q; fontcolor=%q;\n",
			quote("cluster "+a.group), quote("group "+a.group), h.edge, h.fill, h.number)
		for _, c := range a.cells {
			printf("\t\t%s\n", c.dot(names[c]))
		}
		printf("\t}\n")
	}
	for i, t := range d.trees {
		bus := fmt.Sprintf("bus %d", i)
		printf("\t%s [label=%s, fillcolor=\"#eef1f4\"];\n", quote(bus), quote(t.name))
		for _, c := range t.cells {
			printf("\t%s -- %s;\n", quote(bus), quote(names[c]))
		}
		dotMore(&b, bus, t.more)
	}
	for _, c := range d.cells {
		for i, o := range c.below {
			attributes := ""
			if c.stem {
				attributes = badEdge("", c.tip)
				if i == 0 {
					attributes = badEdge(strings.Join(c.link, "\n"), c.tip)
				}
			}
			printf("\t%s -- %s%s;\n", quote(names[c]), quote(names[o]), attributes)
		}
		dotMore(&b, names[c], c.more)
		if len(c.above) > 0 {
			printf("\t%s -- %s%s;\n", quote(names[d.previous[c]]), quote(names[c]),
				strings.Replace(badEdge(strings.Join(c.above, "\n"), c.tip), "[", "[constraint=false, ", 1))
		}
	}
	b.WriteString("}\n")
	return []byte(b.String())
}

// badEdge returns the attributes of an edge where isolation is missing.
func badEdge(label string, tip []string) string {
	return fmt.Sprintf(` [color="#cf222e", fontcolor="#cf222e", style=dashed, penwidth=2, label=%s, tooltip=%s]`,
		quote(label), quote(strings.Join(tip, "\n")))
}

func dotMore(b *strings.Builder, from string, more int) {
	if more > 0 {
		name := quote(from + " more")
		fmt.Fprintf(b, "\t%s [label=%s, style=dashed];\n\t%s -- %s;\n", name, quote(leftOut(more)), quote(from), name)
	}
}

// dot returns the node of a cell.
func (c *cell) dot(name string) string {
	label := []string{strings.TrimSpace(c.ID + " " + c.Role)}
	for _, s := range []string{nameFont.fit(c.Name, wideBox), c.Driver, c.Verdict.String()} {
		if s != "" {
			label = append(label, s)
		}
	}
	for _, e := range c.extra() {
		if e.kind == markLine && slices.Contains(c.link, e.text) {
			continue // is on the edge
		}
		if e.kind == reasonLine {
			label = label[:len(label)-1] // it begins with the verdict
		}
		label = append(label, e.text)
	}
	colour := badgeColour(c.Verdict)
	if colour == "" {
		colour = "#8c959f"
	}
	return fmt.Sprintf("%s [label=%s, color=%q, tooltip=%s];", quote(name), quote(strings.Join(label, "\n")), colour, quote(c.words()))
}

func taken(cells []*cell, id string) bool {
	for _, c := range cells {
		if c.ID == id {
			return true
		}
	}
	return false
}

// quote returns s as a string of DOT, in which graphviz takes nothing for an escape of
// its own or, as labels have them, for an entity of HTML.
func quote(s string) string { return `"` + dotEscapes().Replace(s) + `"` }

var dotEscapes = sync.OnceValue(func() *strings.Replacer {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "&", "&amp;")
})
