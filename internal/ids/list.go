package ids

import "bytes"

// A list bisects the bytes of a file. It remembers the lines at the top that it
// came by, and which of its sections are known to be in order.
type list struct {
	data    []byte
	pages   *pages // where data comes from as it is needed; nil when it is all there
	ordered order
	blocks  []block // by key; the last one stands for the end
}

// An order says whether the keys of a section ascend, each above the one before, so
// that what bisecting does not find is not there.
type order uint8

const (
	unknown order = iota
	ascends
	mixed
)

// child finds a line with a key below the line of the key top: a device of a
// vendor, or a subclass of a class.
func (l *list) child(top, key uint64) (line int, ok bool) {
	b := l.block(top)
	if b == nil {
		return 0, false
	}
	b.hi = l.end(b)
	f := formDevice
	if top >= firstClass {
		f = formByte
	}
	line, ok = l.bisect(f, b.lo, b.hi, key)
	if !ok && b.ordered != ascends {
		line, ok = l.scan(f, b.lo, b.hi, key, &b.ordered)
	}
	return line, ok
}

// grandchild finds a line with a key below the line of form above that begins at
// parent. These are few; they are looked at one by one.
func (l *list) grandchild(parent int, above, f form, key uint64) (line int, ok bool) {
	for at := l.after(parent, len(l.data)); at < len(l.data); {
		end := l.after(at, len(l.data))
		b := l.data[at:end]
		if k, _, ok := f.key(b); ok && k == key {
			return at, true
		}
		if _, _, ok := above.key(b); ok {
			break
		}
		if _, _, ok := formTop.key(b); ok {
			break
		}
		at = end
	}
	return 0, false
}

// bisect finds the first line with a key in a section that is in order, whose
// bounds are beginnings of lines. Lines of other forms may be among its lines.
func (l *list) bisect(f form, lo, hi int, key uint64) (line int, ok bool) {
	const few = 1 << 10 // bytes that are faster looked at than bisected
	found := -1
	for hi-lo > few {
		mid := l.after((lo+hi)/2, hi)
		if mid == hi {
			break // one long line
		}
		at, k, ok := l.next(f, mid, hi)
		switch {
		case ok && k < key:
			lo = l.after(at, hi)
			continue
		case ok && k == key:
			found = at
		}
		hi = mid
	}
	for lo < hi {
		at, k, ok := l.next(f, lo, hi)
		if !ok || k > key {
			break
		}
		if k == key {
			return at, true
		}
		lo = l.after(at, hi)
	}
	return found, found >= 0
}

// scan finds a line with a key by looking at all of a section, unless that is known
// to be in order, and notes whether it is.
func (l *list) scan(f form, lo, hi int, key uint64, o *order) (line int, ok bool) {
	if *o == ascends {
		return 0, false
	}
	last, state := int64(-1), ascends
	for {
		at, k, any := l.next(f, lo, hi)
		if !any {
			*o = state
			return line, ok
		}
		if int64(k) < last || int64(k) == last && k != otherKey {
			state = mixed
		}
		if k == key && !ok {
			line, ok = at, true
		}
		last = int64(k)
		lo = l.after(at, hi)
	}
}

// next returns the first line of a form in a section, and its key; without one, the
// end of the section.
func (l *list) next(f form, lo, hi int) (line int, key uint64, ok bool) {
	for lo < hi {
		l.load(lo, min(lo+2, hi))
		if c := l.data[lo]; c == '\t' && (f == formTop || f == formDevice && lo+1 < hi && l.data[lo+1] == '\t') {
			lo = l.after(lo, hi) // of a level below, as most are
			continue
		}
		end := l.after(lo, hi)
		if key, _, ok := f.key(l.data[lo:end]); ok {
			return lo, key, true
		}
		lo = end
	}
	return hi, 0, false
}

// after returns where the line after the one at a position begins, at most hi.
func (l *list) after(at, hi int) int {
	for at < hi {
		end := hi
		if l.pages != nil {
			end = min(hi, at-at%pageSize+pageSize)
			l.load(at, end)
		}
		if i := bytes.IndexByte(l.data[at:end], '\n'); i >= 0 {
			return at + i + 1
		}
		at = end
	}
	return hi
}

// text returns the name on a line of a form. A line without one names nothing.
func (l *list) text(f form, line int) (string, bool) {
	b := l.data[line:l.after(line, len(l.data))]
	_, name, _ := f.key(b)
	s := clean(b[name:])
	return s, s != ""
}
