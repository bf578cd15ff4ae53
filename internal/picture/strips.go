package picture

// strips breaks what hangs on a bus into as many columns of about the same height as
// a screen has room for, so that it is not one long list. What is of one group is not
// parted, unless there is very much of it.
func (d *drawing) strips(t *tree) [][]*cell {
	blocks := blocksOf(t.cells)
	best := [][]*cell{t.cells}
	all := d.height1(t.cells)
	lowest := all
	const tries = 96
	for i := 1; i < tries; i++ {
		strips := d.fill(blocks, all*i/tries)
		if wide, high := d.extent(strips); len(strips) > 1 && wide <= maxWide && high+stripCost*(len(strips)-1) < lowest {
			best, lowest = strips, high+stripCost*(len(strips)-1)
		}
	}
	return best
}

// stripCost is how much lower a picture has to get to be worth one strip more.
const stripCost = 2 * boxHeight

// extent says how wide a picture of these strips is, and how high the highest.
func (d *drawing) extent(strips [][]*cell) (wide, high int) {
	wide = 2*margin + 12 - stripGap
	for _, s := range strips {
		w, h := d.measureAll(s, 0)
		wide += stripGap + tick + d.strip + w + d.pad()
		high = max(high, h)
	}
	return wide, high
}

func (d *drawing) height1(cells []*cell) int {
	_, h := d.measureAll(cells, 0)
	return h
}

// blocksOf returns what stays in one strip.
func blocksOf(cells []*cell) [][]*cell {
	const most = 24
	var blocks [][]*cell
	for i, c := range cells {
		if i > 0 {
			last := len(blocks) - 1
			together := c.Group != "" && c.Group == cells[i-1].Group && len(blocks[last]) < most
			if together || len(c.above) > 0 {
				blocks[last] = append(blocks[last], c)
				continue
			}
		}
		blocks = append(blocks, []*cell{c})
	}
	return blocks
}

// fill puts blocks into strips no higher than most, where a block is not.
func (d *drawing) fill(blocks [][]*cell, most int) [][]*cell {
	var strips [][]*cell
	h := 0
	for i, b := range blocks {
		high := d.height1(b)
		if i > 0 {
			last := len(strips) - 1
			s := strips[last]
			if more := gap(s[len(s)-1], b[0]) + high; h+more <= most {
				strips[last] = append(s, b...)
				h += more
				continue
			}
		}
		strips = append(strips, append([]*cell{}, b...))
		h = high
	}
	return strips
}
