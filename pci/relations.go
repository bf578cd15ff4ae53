package pci

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/project-independence/indy/internal/plain"
)

// Relations is how the kernel ties one function to others, apart from buses and
// IOMMU groups. The zero Relations has no ties.
type Relations struct {
	// Suppliers must have power and a driver before this function can work, and
	// Consumers need this one: the links supplier:pci:ADDRESS and consumer:pci:ADDRESS
	// in its directory. The audio, USB and USB-C functions of a graphics card are its
	// consumers, and the tunnels of a Thunderbolt controller are.
	Suppliers, Consumers []Address
	// Physical is the physical function of a virtual one (physfn), Virtual are the
	// virtual ones of a physical (virtfnN).
	Physical Address
	Virtual  []Address
	// Integrated: it sits on a root bus, where functions of one device have no more in
	// common than that the chipset's maker numbered them so.
	Integrated bool
}

// ReadRelations reads the ties of function a, from the names and links in
// /sys/bus/pci/devices/ADDRESS. It wakes nothing and reads no attribute, so that it
// does not wait for a driver either. Links to devices that are no PCI functions are left out. The error joins *[OpError]s; what could be read is
// returned with it. Linux states suppliers and consumers since 5.9.
func ReadRelations(fsys fs.FS, a Address) (Relations, error) {
	entries, err := fs.ReadDir(fsys, devices+"/"+a.String())
	if err != nil {
		return Relations{}, opError("read relations of", a, err)
	}
	var r Relations
	var errs []error
	for _, e := range entries {
		if isVirtualLink(e.Name()) {
			vf, err := virtualFunction(fsys, a, e.Name())
			if err != nil {
				errs = append(errs, err)
				continue
			}
			r.Virtual = append(r.Virtual, vf)
			continue
		}
		kind, other, ok := strings.Cut(e.Name(), ":")
		if !ok || kind != "supplier" && kind != "consumer" {
			continue
		}
		// Before 5.12 Linux wrote no bus; other buses have names of other forms.
		b, err := ParseAddress(strings.TrimPrefix(other, "pci:"))
		if err != nil {
			if strings.HasPrefix(other, "pci:") {
				errs = append(errs, opError("read relations of", a, fmt.Errorf("%q: %w", plain.Short(e.Name()), err)))
			}
			continue
		}
		if kind == "supplier" {
			r.Suppliers = append(r.Suppliers, b)
		} else {
			r.Consumers = append(r.Consumers, b)
		}
	}
	slices.SortFunc(r.Suppliers, Address.Compare)
	slices.SortFunc(r.Consumers, Address.Compare)
	slices.SortFunc(r.Virtual, Address.Compare)
	if r.Physical, err = PhysicalFunction(fsys, a); err != nil {
		errs = append(errs, err)
	}
	above, err := Bridges(fsys, a)
	if err != nil {
		errs = append(errs, err)
	}
	r.Integrated = err == nil && len(above) == 0
	return r, errors.Join(errs...)
}

// isVirtualLink reports whether name is that of a link to a virtual function: virtfn0.
func isVirtualLink(name string) bool {
	digits, ok := strings.CutPrefix(name, "virtfn")
	_, err := strconv.ParseUint(digits, 10, 16)
	return ok && err == nil
}

// A CompanionReason says why one function belongs with another.
type CompanionReason uint8

// The reasons.
const (
	SameSlot   CompanionReason = iota + 1 // another function of the same card
	IsSupplier                            // the function does not work without it
	IsConsumer                            // it does not work without the function
)

// String returns same-slot, supplier or consumer.
func (r CompanionReason) String() string {
	return name([]string{1: "same-slot", 2: "supplier", 3: "consumer"}, r)
}

// A Companion is a function that belongs with another.
type Companion struct {
	Function Function
	Why      CompanionReason // a tie that the kernel states before the slot
}

// Companions returns what belongs with a function, in the order of addresses: the
// suppliers and consumers that the kernel states, and the functions of the same
// slot. With a graphics card those are its audio, its USB controller and its USB-C
// controller, as many of them as there are: firmware may hide the audio function
// until a cable is in, so that one is missing means nothing.
//
// Bridges are no companions. A slot makes companions only behind a bridge, not on a
// root bus (see [Relations]). Virtual functions have none and are none.
//
// Companions say what works together. What must change hands together is another
// question, to which the IOMMU group is the answer.
func Companions(of Address, functions []Function, relations map[Address]Relations) []Companion {
	own := relations[of]
	if own.Physical.IsValid() {
		return nil
	}
	virtual := map[Address]bool{}
	for a, r := range relations {
		if r.Physical.IsValid() {
			virtual[a] = true
		}
		for _, v := range r.Virtual {
			virtual[v] = true
		}
	}
	var all []Companion
	for _, f := range functions {
		a := f.Address
		if a == of {
			if f.IsBridge() {
				return nil
			}
			continue
		}
		if f.IsBridge() || virtual[a] {
			continue
		}
		switch {
		case slices.Contains(own.Suppliers, a):
			all = append(all, Companion{f, IsSupplier})
		case slices.Contains(own.Consumers, a):
			all = append(all, Companion{f, IsConsumer})
		case !own.Integrated && sameSlot(a, of):
			all = append(all, Companion{f, SameSlot})
		}
	}
	slices.SortFunc(all, func(c, d Companion) int { return c.Function.Address.Compare(d.Function.Address) })
	return all
}

func sameSlot(a, b Address) bool {
	return a.Domain() == b.Domain() && a.Bus() == b.Bus() && a.Device() == b.Device()
}

// ReadCompanions is [Companions] with the relations of the function and of the
// others in its slot read from the machine. The companions are returned with the
// error, as far as what could be read tells them.
func ReadCompanions(fsys fs.FS, of Address, functions []Function) ([]Companion, error) {
	relations := map[Address]Relations{}
	var errs []error
	for _, f := range functions {
		if f.Address != of && !sameSlot(f.Address, of) {
			continue
		}
		r, err := ReadRelations(fsys, f.Address)
		if err != nil {
			errs = append(errs, err)
		}
		relations[f.Address] = r
	}
	return Companions(of, functions, relations), errors.Join(errs...)
}
