package pci

import (
	"errors"
	"io/fs"
	"slices"
)

// A BusReset is what goes through a reset together with one function when its bus is
// reset: all functions on the bus and below it. The zero BusReset is that of a function
// on a root bus, which cannot be reset.
type BusReset struct {
	// Bridge is the bridge above, whose secondary bus is reset. It is the zero Address
	// on a root bus, and on a bus that was made up for virtual functions.
	Bridge Address

	// Functions are those that are reset, in the order of their addresses: the function
	// itself, the others on its bus, and what is below bridges on it.
	Functions []Address

	// Unfit is the first of them, or the bridge, with which a bus reset does not work
	// ([NoBusReset]): the kernel then resets none of them so. The zero Address is none.
	Unfit Address
}

// Possible reports whether the kernel would reset the bus at all, if who asks owns
// everything on it.
func (r BusReset) Possible() bool { return r.Bridge.IsValid() && !r.Unfit.IsValid() }

// Alone reports whether a reset of the bus affects one function only.
func (r BusReset) Alone() bool { return len(r.Functions) == 1 }

// Outside returns the functions that would be reset and are not among those given: as
// long as they are in other hands, VFIO does not reset the bus.
func (r BusReset) Outside(handed []Address) []Address {
	var outside []Address
	for _, a := range r.Functions {
		if !slices.Contains(handed, a) {
			outside = append(outside, a)
		}
	}
	return outside
}

// FunctionResets returns those of the given reset methods (of [ResetMethods]) that work
// on the function by itself. That is all of them but bus and cxl_bus, where it is not
// alone on its bus: Linux says bus of the first function that it finds on a bus, because
// it asks before it finds the others, and then refuses.
func (r BusReset) FunctionResets(methods []string) []string {
	if r.Alone() && r.Possible() {
		return methods
	}
	var own []string
	for _, m := range methods {
		if m != "bus" && m != "cxl_bus" {
			own = append(own, m)
		}
	}
	return own
}

// ReadBusReset finds what a reset of the bus of function a takes along, among the
// functions of the machine, from the links /sys/bus/pci/devices/ADDRESS. It opens no
// file and wakes nothing. The error is an *[OpError].
//
// A hot-plug slot (pciehp) has a reset of its own, of the functions in the slot. On PCI
// Express these are the functions on the bus.
func ReadBusReset(fsys fs.FS, a Address, functions []Function) (BusReset, error) {
	above, err := Bridges(fsys, a)
	if err != nil {
		return BusReset{}, err
	}
	if len(above) == 0 || above[len(above)-1].Domain() != a.Domain() {
		return BusReset{}, nil // on a root bus, such as the one that Intel VMD carries
	}
	if pf, err := PhysicalFunction(fsys, a); err != nil {
		return BusReset{}, err
	} else if pf.IsValid() && pf.Bus() != a.Bus() {
		return BusReset{}, nil
	}
	r := BusReset{Bridge: above[len(above)-1]}
	deeper := false // there is a bridge on the bus
	for _, f := range functions {
		switch b := f.Address; {
		case b.Domain() == a.Domain() && b.Bus() == a.Bus():
			r.Functions = append(r.Functions, b)
			deeper = deeper || Forwards(fsys, f)
		case b == r.Bridge:
		default:
			continue
		}
		// The bridge above is on a root bus or not; that matters to none of the quirks.
		if slices.Contains(ResetQuirks(f, false), NoBusReset) && !r.Unfit.IsValid() {
			r.Unfit = f.Address
		}
	}
	if deeper {
		if err := r.below(fsys, a, functions); err != nil {
			return BusReset{}, err
		}
	}
	slices.SortFunc(r.Functions, Address.Compare)
	return r, nil
}

// below adds what is behind bridges on the bus of a.
func (r *BusReset) below(fsys fs.FS, a Address, functions []Function) error {
	on := r.Functions
	for _, f := range functions {
		if f.Address.Domain() != a.Domain() || f.Address.Bus() == a.Bus() {
			continue
		}
		above, err := Bridges(fsys, f.Address)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue // unplugged meanwhile
		case err != nil:
			return err
		}
		if !slices.ContainsFunc(above, func(b Address) bool { return slices.Contains(on, b) }) {
			continue
		}
		r.Functions = append(r.Functions, f.Address)
		if slices.Contains(ResetQuirks(f, false), NoBusReset) && !r.Unfit.IsValid() {
			r.Unfit = f.Address
		}
	}
	return nil
}
