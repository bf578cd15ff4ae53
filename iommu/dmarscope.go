package iommu

import (
	"errors"
	"io/fs"
	"slices"

	"github.com/project-independence/indy/pci"
)

// UnitFor returns the unit that translates for a function, as Linux finds it: one of
// the function's segment with a scope that names it, or a bridge above it, and
// otherwise the unit for all else. It is false when the table names none.
//
// A virtual function is its physical one's; ask for that. The error joins why scopes
// could not be resolved, any of which might be the function. That a scope's device is
// not there is no error.
func (d DMAR) UnitFor(a pci.Address, b Buses) (DRHD, bool, error) {
	a = b.sender(a)
	var errs []error
	rest := -1
	for i, u := range d.Units {
		if uint32(u.Segment) != a.Domain() {
			continue
		}
		if u.IncludeAll {
			if rest < 0 {
				rest = i // its scopes name what it has besides
			}
			continue
		}
		named, err := covers(u.Scopes, a, b)
		if named {
			return u, true, nil
		}
		errs = append(errs, err)
	}
	if rest < 0 {
		return DRHD{}, false, errors.Join(errs...)
	}
	return d.Units[rest], true, errors.Join(errs...)
}

// ReservedFor returns the memory that a function must reach at all times: that of
// scopes that name it, or a bridge above it. Linux maps it, and states it as a region
// of the function's group, see [ReservedRegions]: direct-relaxable of graphics and USB
// controllers, which VFIO passes over, and direct of all others, which VFIO refuses.
// The error is as that of [DMAR.UnitFor].
func (d DMAR) ReservedFor(a pci.Address, b Buses) ([]RMRR, error) {
	a = b.sender(a)
	var found []RMRR
	var errs []error
	for _, r := range d.Reserved {
		if uint32(r.Segment) != a.Domain() {
			continue
		}
		named, err := covers(r.Scopes, a, b)
		if named {
			found = append(found, r)
		} else {
			errs = append(errs, err)
		}
	}
	return found, errors.Join(errs...)
}

// covers reports whether one of the scopes is the function or a bridge above it.
func covers(scopes []Scope, a pci.Address, b Buses) (bool, error) {
	var errs []error
	for _, s := range scopes {
		if s.Type != ScopeEndpoint && s.Type != ScopeBridge {
			continue // others send under that number, but are not that function
		}
		at, err := s.Resolve(b)
		switch {
		case at == a, at.IsValid() && slices.Contains(b.functions[a], at):
			return true, nil
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			errs = append(errs, err)
		}
	}
	return false, errors.Join(errs...)
}

// sender returns the function under whose number a sends: itself, or of a hierarchy
// that a function carries, as Intel VMD does, that function.
func (b Buses) sender(a pci.Address) pci.Address {
	at := a
	for _, above := range b.functions[a] {
		if above.Domain() != a.Domain() {
			at = above
		}
	}
	return at
}

// MemoryFor returns the memory that a function must reach at all times. Linux maps it,
// and states it as a direct region of the function's group, see [ReservedRegions].
func (t IVRS) MemoryFor(a pci.Address) []IVMD {
	var found []IVMD
	for _, m := range t.Memory {
		if m.First.Compare(a) <= 0 && a.Compare(m.Last) <= 0 {
			found = append(found, m)
		}
	}
	return found
}

// UnitFor returns the unit that translates for a function, in the form that Linux goes
// by. It is false when the table names none.
func (t IVRS) UnitFor(a pci.Address) (IVHD, bool) {
	for _, u := range t.InUse() {
		if slices.ContainsFunc(u.Ranges(), func(r DeviceRange) bool { return r.Has(a) }) {
			return u, true
		}
	}
	return IVHD{}, false
}
