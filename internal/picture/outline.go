package picture

import (
	"fmt"
	"slices"
	"strings"
)

// A point is a corner of an outline.
type point struct{ x, y int }

// outline returns the path around the union of rectangles, with rounded corners.
func outline(rects []rect, round int) string {
	var b strings.Builder
	for _, loop := range loops(rects) {
		n := len(loop)
		for i, p := range loop {
			before, after := loop[(i+n-1)%n], loop[(i+1)%n]
			from, to := towards(p, before, round), towards(p, after, round)
			if i == 0 {
				fmt.Fprintf(&b, "M%d %d", from.x, from.y)
			} else {
				fmt.Fprintf(&b, "L%d %d", from.x, from.y)
			}
			fmt.Fprintf(&b, "Q%d %d %d %d", p.x, p.y, to.x, to.y)
		}
		b.WriteByte('Z')
	}
	return b.String()
}

// towards returns the point so far from p on the way to o, at most half the way.
func towards(p, o point, far int) point {
	step := func(from, to int) int {
		if from < to {
			return from + min(far, (to-from)/2)
		}
		return from - min(far, (from-to)/2)
	}
	return point{step(p.x, o.x), step(p.y, o.y)}
}

// loops returns the outlines of the union of rectangles, each as its corners in turn,
// the union at the right hand of who walks along.
func loops(rects []rect) [][]point {
	var xs, ys []int
	for _, r := range rects {
		xs, ys = append(xs, r.x, r.x+r.w), append(ys, r.y, r.y+r.h)
	}
	xs, ys = distinct(xs), distinct(ys)
	// Which cells of the grid of all edges are covered.
	covered := make([]bool, len(xs)*len(ys))
	at := func(i, j int) bool {
		return i >= 0 && j >= 0 && i < len(xs)-1 && j < len(ys)-1 && covered[j*len(xs)+i]
	}
	for _, r := range rects {
		i0, _ := slices.BinarySearch(xs, r.x)
		i1, _ := slices.BinarySearch(xs, r.x+r.w)
		j0, _ := slices.BinarySearch(ys, r.y)
		j1, _ := slices.BinarySearch(ys, r.y+r.h)
		for j := j0; j < j1; j++ {
			for i := i0; i < i1; i++ {
				covered[j*len(xs)+i] = true
			}
		}
	}
	// The sides of covered cells that lie at no other, by where they begin.
	sides := map[point][]point{}
	var starts []point
	side := func(i0, j0, i1, j1 int) {
		from := point{xs[i0], ys[j0]}
		sides[from] = append(sides[from], point{xs[i1], ys[j1]})
		starts = append(starts, from)
	}
	for j := range ys {
		for i := range xs {
			if !at(i, j) {
				continue
			}
			if !at(i, j-1) {
				side(i, j, i+1, j)
			}
			if !at(i+1, j) {
				side(i+1, j, i+1, j+1)
			}
			if !at(i, j+1) {
				side(i+1, j+1, i, j+1)
			}
			if !at(i-1, j) {
				side(i, j+1, i, j)
			}
		}
	}
	var all [][]point
	for _, start := range starts {
		var loop []point
		for p := start; len(sides[p]) > 0; {
			next := sides[p][0]
			sides[p] = sides[p][1:]
			loop = append(loop, p)
			p = next
		}
		if loop = corners(loop); len(loop) > 3 {
			all = append(all, loop)
		}
	}
	return all
}

// corners leaves out the points of a loop at which it does not turn.
func corners(loop []point) []point {
	n := len(loop)
	turns := make([]point, 0, n)
	for i, p := range loop {
		before, after := loop[(i+n-1)%n], loop[(i+1)%n]
		if (before.x == p.x) != (p.x == after.x) {
			turns = append(turns, p)
		}
	}
	return turns
}

func distinct(all []int) []int {
	slices.Sort(all)
	return slices.Compact(all)
}
