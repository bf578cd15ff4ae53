package picture

// A rect is a rectangle in pixels.
type rect struct{ x, y, w, h int }

func (r rect) near(o rect, by int) bool {
	return r.x < o.x+o.w+by && o.x < r.x+r.w+by && r.y < o.y+o.h+by && o.y < r.y+r.h+by
}

// An area is a group: the rectangles that cover its cells, in one piece or several.
type area struct {
	group  string
	cells  []*cell
	rects  []rect
	first  []*cell // of each piece: where its number stands
	colour int     // 0 for a group of one, else a hue
}

// hues is how many colours there are for groups of several.
const hues = 8

// findAreas returns the areas of the groups, in the order of their first cell.
func findAreas(cells []*cell, strip int) []*area {
	var areas []*area
	byGroup := map[string]*area{}
	for _, c := range cells {
		if c.Group == "" {
			continue
		}
		a := byGroup[c.Group]
		if a == nil {
			a = &area{group: c.Group}
			byGroup[c.Group] = a
			areas = append(areas, a)
		}
		a.cells = append(a.cells, c)
		c.area = a
	}
	joined := map[*cell]bool{} // to one before it
	for _, c := range cells {
		if c.area != nil {
			c.area.rects = append(c.area.rects, rect{c.x - strip, c.y - pad, c.w + strip + pad, c.h + 2*pad})
		}
		joinBelow(c, strip, joined)
	}
	joinStrips(cells, strip, joined)
	for _, a := range areas {
		a.close()
		for _, c := range a.cells {
			if !joined[c] {
				a.first = append(a.first, c)
			}
		}
	}
	paint(areas)
	return areas
}

// joinStrips joins what follows each other on a root bus, in one strip.
func joinStrips(cells []*cell, strip int, joined map[*cell]bool) {
	var last *cell
	for _, c := range cells {
		if c.parent != nil {
			continue
		}
		if last != nil && last.x == c.x && last.y < c.y {
			joinDown(last, c, strip, joined)
		}
		last = c
	}
}

// joinBelow joins a cell with those behind it, and these with each other.
func joinBelow(c *cell, strip int, joined map[*cell]bool) {
	down := -1
	for i, b := range c.below {
		if b.area != nil && b.area == c.area {
			down = b.y + b.h
			joined[b] = true
		}
		if i > 0 {
			joinDown(c.below[i-1], b, strip, joined)
		}
	}
	if down >= 0 && len(c.below) == 1 && c.more == 0 { // in one row: one is as high as the other
		end, high := c, c.h
		for len(end.below) == 1 && end.more == 0 && end.below[0].area == c.area {
			end = end.below[0]
			high = max(high, end.h)
		}
		c.area.rects = append(c.area.rects, rect{c.x - strip, c.y - pad, end.x + end.w - c.x + strip + pad, high + 2*pad})
	} else if down >= 0 {
		left := c.x + c.w
		c.area.rects = append(c.area.rects, rect{left, c.y - pad, c.below[0].x - strip - left, down - c.y + 2*pad})
	}
}

// joinDown joins two cells that follow each other on a bus.
func joinDown(a, b *cell, strip int, joined map[*cell]bool) {
	if a.area == nil || a.area != b.area {
		return
	}
	joined[b] = true
	a.area.rects = append(a.area.rects, rect{a.x - strip, a.y - pad, min(a.w, b.w) + strip + pad, b.y + b.h - a.y + 2*pad})
}

// close fills what is left between rectangles of one area that nearly touch: no box
// fits in there.
func (a *area) close() {
	const many = 400
	if len(a.rects) > many {
		return
	}
	for _, r := range a.rects {
		for _, s := range a.rects {
			left, right := max(r.x, s.x), min(r.x+r.w, s.x+s.w)
			if below := s.y - (r.y + r.h); below > 0 && below <= markGap && left < right {
				a.rects = append(a.rects, rect{left, r.y + r.h, right - left, below})
			}
		}
	}
}

// paint gives groups of several their colours: in turn, but never that of a group
// close by while there is another.
func paint(areas []*area) {
	turn := 0
	for i, a := range areas {
		if len(a.cells) < 2 {
			continue
		}
		taken := [hues]bool{}
		for _, o := range areas[:i] {
			if o.colour > 0 && o.nearTo(a) {
				taken[o.colour-1] = true
			}
		}
		hue := turn % hues
		for n := range hues {
			if h := (turn + n) % hues; !taken[h] {
				hue = h
				break
			}
		}
		a.colour = hue + 1
		turn = hue + 1
	}
}

func (a *area) nearTo(o *area) bool {
	const close = 120
	for _, r := range a.rects {
		for _, s := range o.rects {
			if r.near(s, close) {
				return true
			}
		}
	}
	return false
}
