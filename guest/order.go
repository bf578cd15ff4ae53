package guest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// An Order is in which order guests start, and in reverse in which they stop. Guests that
// do not wait for one another may start at the same time, those with the higher priority
// first.
type Order []Place

// A Place is the place of a guest in an [Order].
type Place struct {
	Name string

	// After are the guests that must be ready before this one starts, by name.
	After []string

	// Before are the guests that must have ended before this one is stopped, by name.
	Before []string
}

// A CycleError is that guests wait for one another in a circle, so that none can start.
type CycleError struct {
	Guests []string // each waits for the next one, and the last for the first
}

// Error names the guests in their order around the circle.
func (e *CycleError) Error() string {
	return fmt.Sprintf("guests wait for one another: %s", strings.Join(append(slices.Clone(e.Guests), e.Guests[0]), " needs "))
}

// StartOrder returns the order in which the guests among all that start by themselves
// do, with those that they need, which start with them. A guest that needs one that is
// not there, or that waits for itself, is left out with all that need it; the error then
// says why of each, joined, with a *[CycleError] for each circle. What is not left out can
// be started.
//
// Where neither needs the other the one with the higher priority comes first, then the one
// whose name does. A guest that others need comes before all that need it, whatever its
// priority is.
func StartOrder(all []Definition) (Order, error) {
	o := ordering{guests: make(map[string]Definition, len(all)), state: make(map[string]visit, len(all)), circular: make(map[string]bool)}
	for _, d := range all {
		o.guests[d.Name] = d
	}
	first := slices.Clone(all)
	slices.SortFunc(first, func(a, b Definition) int {
		return cmp.Or(cmp.Compare(priority(b), priority(a)), cmp.Compare(a.Name, b.Name))
	})
	for _, d := range first {
		if d.Autostart != nil {
			o.visit(d.Name)
		}
	}
	place := make(map[string]int, len(o.order))
	for i, p := range o.order {
		place[p.Name] = i
		for _, need := range p.After {
			o.order[place[need]].Before = append(o.order[place[need]].Before, p.Name)
		}
	}
	return o.order, errors.Join(o.errs...)
}

func priority(d Definition) int {
	if d.Autostart == nil {
		return 0
	}
	return d.Autostart.Priority
}

// A visit is what is known of a guest while an order is made.
type visit int

const (
	unseen  visit = iota
	waiting       // for what it needs
	placed
	left // out
)

type ordering struct {
	guests map[string]Definition
	state  map[string]visit
	path   []string // those that wait, each for the next
	order  Order
	errs   []error

	circular map[string]bool // it is in a circle that was told
}

// visit gives the guest and what it needs their places, and reports whether it has one.
func (o *ordering) visit(name string) bool {
	switch o.state[name] {
	case placed:
		return true
	case left:
		return false
	case waiting:
		circle := slices.Clone(o.path[slices.Index(o.path, name):])
		for _, one := range circle {
			o.circular[one] = true
		}
		o.errs = append(o.errs, &CycleError{circle})
		return false
	}
	o.state[name] = waiting
	o.path = append(o.path, name)
	var needs []string
	ok := true
	if a := o.guests[name].Autostart; a != nil {
		needs = slices.Compact(slices.Sorted(slices.Values(a.Needs)))
	}
	slices.SortStableFunc(needs, func(a, b string) int {
		return cmp.Compare(priority(o.guests[b]), priority(o.guests[a]))
	})
	for _, need := range needs {
		if _, there := o.guests[need]; !there {
			o.errs = append(o.errs, fmt.Errorf("guest %s needs guest %s, which is not there", name, quote(need)))
			ok = false
			continue
		}
		if !o.visit(need) {
			if !o.circular[name] {
				o.errs = append(o.errs, fmt.Errorf("guest %s needs guest %s, which cannot start", name, need))
			}
			ok = false
		}
	}
	o.path = o.path[:len(o.path)-1]
	if !ok {
		o.state[name] = left
		return false
	}
	o.state[name] = placed
	o.order = append(o.order, Place{Name: name, After: needs})
	return true
}
