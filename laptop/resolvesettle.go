package laptop

import "slices"

// settle gives devices to needs, of which order says who comes first. Devices that are
// reserved are not given; those that were given, or may be to one that is ambiguous, are
// reserved afterwards. A need that gets none keeps its state.
//
// It finds a largest set of needs that can be met at once, in the order of the needs,
// and then for each of them all devices that it has in any way to meet that set. With
// one such device it gets that; so do needs that are the same and have no more devices
// among them than they are.
func settle(order []*ask, reserved map[int]bool, of func(*ask) []int, state NeedState) {
	m := matching{order: order, devices: make([][]int, len(order)), has: make([]int, len(order)), owner: map[int]int{}}
	for n, a := range order {
		m.devices[n] = slices.DeleteFunc(slices.Clone(of(a)), func(i int) bool { return reserved[i] })
		m.has[n] = -1
	}
	for n := range order {
		m.augment(n, map[int]bool{})
	}
	possible := make([][]int, len(order))
	for n := range order {
		if m.has[n] >= 0 {
			possible[n] = m.possible(n)
		}
	}
	for n, a := range order {
		if m.has[n] < 0 {
			continue
		}
		alike := 0 // needs that are the same, and of those met, the ones before
		before := 0
		for o, b := range order {
			if b.words == a.words && m.has[o] >= 0 {
				alike++
				if o < n {
					before++
				}
			}
		}
		if len(possible[n]) == alike {
			a.state, a.device = state, possible[n][before]
		} else {
			a.state, a.candidates = NeedAmbiguous, possible[n]
		}
		for _, i := range possible[n] {
			reserved[i] = true
		}
	}
}

// A matching gives each need at most one device, and each device to one need at most.
type matching struct {
	order   []*ask
	devices [][]int     // by need, those it may have
	has     []int       // by need, its device or -1
	owner   map[int]int // by device, its need
}

// augment gives need n a device, if need be by giving others another one.
func (m *matching) augment(n int, tried map[int]bool) bool {
	for _, d := range m.devices[n] {
		if tried[d] {
			continue
		}
		tried[d] = true
		if o, taken := m.owner[d]; !taken || m.augment(o, tried) {
			m.owner[d], m.has[n] = n, d
			return true
		}
	}
	return false
}

// possible returns the devices that n has in any matching that meets the same needs.
func (m *matching) possible(n int) []int {
	// Those that can make room for it: each can take a free device, or that of n, or
	// that of another that can make room.
	room := map[int]bool{}
	free := func(d int) bool {
		o, taken := m.owner[d]
		return !taken || o == n || room[o]
	}
	for grown := true; grown; {
		grown = false
		for o := range m.order {
			if o != n && !room[o] && m.has[o] >= 0 && slices.ContainsFunc(m.devices[o], func(d int) bool { return d != m.has[o] && free(d) }) {
				room[o], grown = true, true
			}
		}
	}
	var found []int
	for _, d := range m.devices[n] {
		if free(d) {
			found = append(found, d)
		}
	}
	return found
}
