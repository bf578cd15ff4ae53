package picture

import (
	"fmt"
	"math"
)

// A cell is a node with its place.
type cell struct {
	Node
	more  int      // not a node, but so many of them that are left out
	marks []string // labels of marks for which there is no place but in the box
	tip   []string // sentences of its marks
	stem  bool     // the link below it is marked
	link  []string // labels of those marks
	above []string // labels of marks between it and the cell above

	parent     *cell
	below      []*cell
	x, y, w, h int
	right      int // where all that is behind it ends
	bottom     int
	area       *area
}

// A tree is what remains of a bus.
type tree struct {
	name  string
	cells []*cell
	more  int
}

// grow returns the trees of a picture, each text in them made plain, with no more than
// maxNodes functions: the first ones of each bus, as many on all alike.
func grow(p *Picture) (trees []*tree, all map[string]*cell) {
	widest := 0
	var count func(nodes []Node, depth, most int) int
	count = func(nodes []Node, depth, most int) (n int) {
		if depth > maxDepth {
			return 0
		}
		widest = max(widest, len(nodes))
		for i := range min(len(nodes), most) {
			n += 1 + count(nodes[i].Below, depth+1, most)
		}
		return n
	}
	total := func(most int) (n int) {
		widest = max(widest, len(p.Buses))
		for i := range min(len(p.Buses), most) {
			n += count(p.Buses[i].Below, 1, most)
		}
		return n
	}
	most := math.MaxInt
	if total(most) > maxNodes {
		low, high := 1, widest // what fits, as a rule, and what does not
		for high-low > 1 {
			if mid := (low + high) / 2; total(mid) <= maxNodes {
				low = mid
			} else {
				high = mid
			}
		}
		most = low
	}
	all = map[string]*cell{}
	for i := range p.Buses {
		if i >= most || len(all) >= maxNodes {
			rest := &tree{name: "other buses"}
			for j := range p.Buses[i:] {
				rest.more += size(p.Buses[i+j].Below)
			}
			return append(trees, rest), all
		}
		b := &p.Buses[i]
		t := &tree{name: text(b.Name, maxText)}
		t.cells, t.more = growBelow(b.Below, nil, 1, most, all)
		trees = append(trees, t)
	}
	return trees, all
}

func growBelow(nodes []Node, parent *cell, depth, most int, all map[string]*cell) (cells []*cell, more int) {
	for i := range nodes {
		if i >= most || depth > maxDepth || len(all) >= maxNodes {
			return cells, size(nodes[i:])
		}
		n := nodes[i]
		c := &cell{Node: clean(n), parent: parent}
		if all[c.ID] == nil {
			all[c.ID] = c
		}
		cells = append(cells, c)
		c.below, c.more = growBelow(n.Below, c, depth+1, most, all)
	}
	return cells, 0
}

// size counts nodes and all below them.
func size(nodes []Node) int {
	n := len(nodes)
	for i := range nodes {
		n += size(nodes[i].Below)
	}
	return n
}

func clean(n Node) Node {
	for _, s := range []*string{&n.ID, &n.Role, &n.Name, &n.Driver, &n.Reason} {
		*s = text(*s, maxText)
	}
	n.Group = text(n.Group, 10)
	n.Carries = lines(n.Carries, maxCarries, maxText)
	n.Details = lines(n.Details, maxDetails, maxSentence)
	if n.Verdict > Stays {
		n.Verdict = 0
	}
	n.Below = nil
	return n
}

// lines makes lines of all texts, and says of how many it left out.
func lines(all []string, most, long int) []string {
	kept := make([]string, 0, min(len(all), most))
	for i, s := range all {
		if i == most-1 && len(all) > most {
			return append(kept, fmt.Sprintf("and %d more", len(all)-i))
		}
		kept = append(kept, text(s, long))
	}
	return kept
}

// place puts the marks where they are drawn: below a node, between two on a bus that
// are in one group, or else into the box of a node.
func place(marks []Mark, all map[string]*cell, previous map[*cell]*cell) {
	for _, m := range marks {
		at, with := all[text(m.At, maxText)], all[text(m.With, maxText)]
		label, detail := text(m.Label, maxText), text(m.Detail, maxSentence)
		if at == nil || with == nil {
			continue
		}
		if follows(with, at, previous) {
			at, with = with, at
		}
		holder := with
		switch p := previous[with]; {
		case at != with && isAbove(at, with):
			holder = at
			at.stem = true
			at.link = addTo(at.link, label)
		case p != nil && p.Group == with.Group && follows(at, with, previous):
			with.above = addTo(with.above, label)
		default:
			with.marks = addTo(with.marks, label)
		}
		if len(holder.tip) < maxDetails {
			holder.tip = addTo(holder.tip, detail)
		}
	}
}

func isAbove(at, c *cell) bool {
	for c = c.parent; c != nil; c = c.parent {
		if c == at {
			return true
		}
	}
	return false
}

// follows reports whether b comes after a on the same bus.
func follows(a, b *cell, previous map[*cell]*cell) bool {
	for b = previous[b]; b != nil; b = previous[b] {
		if a == b {
			return true
		}
	}
	return false
}

// addTo adds a text that is not there yet.
func addTo(all []string, s string) []string {
	if s == "" {
		return all
	}
	for _, t := range all {
		if s == t {
			return all
		}
	}
	return append(all, s)
}
