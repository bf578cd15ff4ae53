package ids

import (
	"cmp"
	"slices"
)

// A block is a line at the top with the lines that belong to it.
type block struct {
	key     uint64
	line    int // where its first line begins
	gap     int // between here and line no line is of the top
	lo, hi  int // the lines below; hi is 0 until it is needed
	ordered order
}

// endKey is above every key.
const endKey = otherKey + 1

// block finds a line with a key at the top, nil without one. What it returns is good
// until the next call.
//
// Some blocks are a quarter of the file, and where such a one ends shows only from
// reading it; so what is learnt on the way to one key serves those after it, and no
// part of the file is read twice.
func (l *list) block(key uint64) *block {
	if l.blocks == nil {
		end := len(l.data)
		l.blocks = append(make([]block, 0, 128), block{key: endKey, line: end, gap: end, lo: end, hi: end})
	}
	for {
		i, ok := l.find(key)
		if ok {
			return &l.blocks[i]
		}
		lo, low, above := 0, int64(-1), &l.blocks[i]
		if i > 0 {
			below := &l.blocks[i-1]
			lo, low = max(below.lo, below.hi), int64(below.key)
		}
		if lo > above.gap {
			return l.missing(key) // not in order
		}
		mid := l.after((lo+above.gap)/2, above.gap)
		if mid == above.gap {
			mid = lo // what is left is one line, or begins with a long one
		}
		at, k, ok := l.next(formTop, mid, above.gap)
		switch {
		case !ok && mid == lo:
			return l.missing(key)
		case !ok:
			above.gap = mid
		case int64(k) <= low || k > above.key:
			return l.missing(key) // not in order
		default:
			l.learn(i, k, at, mid)
		}
	}
}

// missing finds a block where it should not be.
func (l *list) missing(key uint64) *block {
	at, ok := l.scan(formTop, 0, len(l.data), key, &l.ordered)
	if !ok {
		return nil
	}
	// It is no neighbour of anything, and so not remembered.
	lo := l.after(at, len(l.data))
	hi, _, _ := l.next(formTop, lo, len(l.data))
	return &block{key: key, line: at, gap: at, lo: lo, hi: hi}
}

func (l *list) find(key uint64) (int, bool) {
	return slices.BinarySearchFunc(l.blocks, key, func(b block, key uint64) int { return cmp.Compare(b.key, key) })
}

// learn remembers a block that begins at a line before that of number i.
func (l *list) learn(i int, key uint64, line, gap int) {
	b := block{key: key, line: line, gap: gap, lo: l.after(line, len(l.data))}
	if l.blocks[i].key == key { // the same key again, as in the sections after the classes
		l.blocks[i] = b
		return
	}
	l.blocks = slices.Insert(l.blocks, i, b)
}

// end returns where a block ends.
func (l *list) end(b *block) int {
	if b.hi > 0 {
		return b.hi
	}
	i, _ := l.find(b.key)
	above := &l.blocks[i+1]
	if b.lo <= above.gap {
		if at, _, ok := l.next(formTop, b.lo, above.gap); ok {
			return at
		}
		above.gap = b.lo
	}
	return above.line
}
