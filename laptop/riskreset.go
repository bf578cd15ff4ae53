package laptop

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
)

// resets knows how the functions of a machine can be reset. It reads what it is asked
// for, once.
type resets struct {
	fsys      fs.FS
	machine   *Laptop
	functions []pci.Function               // of the machine, once they were asked for
	buses     map[pci.Address]pci.BusReset // by the first address on each
	methods   map[pci.Address]resetMethods
	stated    iommu.Answer

	// What of each bus stays behind, by the same key, of those that are handed over.
	left   map[pci.Address][]pci.Address
	handed []pci.Address
}

type resetMethods struct {
	names  []string
	stated bool
	err    error
}

func newResets(fsys fs.FS, l *Laptop) *resets {
	return &resets{fsys: fsys, machine: l, methods: map[pci.Address]resetMethods{}, buses: map[pci.Address]pci.BusReset{}}
}

// all returns the functions of the machine, also when it was read in part.
func (r *resets) all() []pci.Function {
	switch {
	case r.functions != nil:
	case r.machine.partial:
		r.functions, _ = pci.Functions(r.fsys) // as Read does, which goes on with those it could read
	default:
		r.functions = functionsOf(r.machine)
	}
	return r.functions
}

// of returns what the kernel states of a function.
func (r *resets) of(a pci.Address) resetMethods {
	m, ok := r.methods[a]
	if ok {
		return m
	}
	m.names, m.err = pci.ResetMethods(r.fsys, a)
	m.stated = m.err == nil
	if errors.Is(m.err, fs.ErrNotExist) {
		m.err = nil
	}
	r.methods[a] = m
	return m
}

// kernelStates reports whether the machine's kernel states reset methods at all, so that
// a function without such a file has none. Kernels before 5.15 state none, and saved
// machines may lack them.
func (r *resets) kernelStates() bool {
	if r.stated == iommu.Unknown {
		r.stated = iommu.No
		for _, m := range r.methods {
			if m.stated {
				r.stated = iommu.Yes
				return true
			}
		}
		for _, f := range r.all() {
			if r.of(f.Address).stated {
				r.stated = iommu.Yes
				break
			}
		}
	}
	return r.stated == iommu.Yes
}

// finding says what is wrong with the resets of function f if it changes hands together
// with the others; for a listing only what speaks against it, else (full) also what is
// not known and what is good to know. It has no Device yet.
func (r *resets) finding(f pci.Function, handed []pci.Address, full bool) (Finding, bool, error) {
	a := f.Address
	finding := Finding{Code: NoReset, Severity: Block, Evidence: evidence(a, "reset_method")}
	m := r.of(a)
	if m.err != nil {
		return finding, false, m.err
	}
	if !m.stated && !r.kernelStates() {
		finding.Severity = Warning
		finding.Detail = "whether the kernel can reset " + a.String() + " is not stated: if it cannot, what one guest leaves in it the next one finds"
		return finding, full, nil
	}
	if slices.ContainsFunc(m.names, func(s string) bool { return s != "pm" && s != "bus" && s != "cxl_bus" }) {
		return finding, false, nil
	}
	pm := slices.Contains(m.names, "pm")
	if pm && !full {
		return finding, false, nil
	}
	bus, err := r.bus(a)
	if err != nil {
		return finding, false, err
	}
	outside := r.outside(a, bus, handed)
	withBus := bus.Possible() && len(outside) == 0 && (!bus.Alone() || slices.Contains(m.names, "bus"))
	left := ": what one guest leaves in it the next one finds"
	switch {
	case withBus && (bus.Alone() || pm):
		return finding, false, nil
	case withBus:
		finding.Code, finding.Severity = ResetSet, Info
		finding.Detail = fmt.Sprintf("%s can be reset only with its whole bus, which is reset if one guest has all of it: %s", a, named(bus.Functions))
		return finding, full, nil
	case pm && (!bus.Possible() || bus.Alone()):
		return finding, false, nil
	case pm:
		finding.Code, finding.Severity = ResetSet, Info
		finding.Detail = fmt.Sprintf("%s is reset by way of D3hot (pm), which not every device takes for a reset; a reset of its bus would also affect %s", a, named(outside))
		return finding, true, nil
	case bus.Possible() && len(outside) > 0:
		finding.Detail = fmt.Sprintf("%s can be reset only with its whole bus, and %s on it would not be handed over%s", a, named(outside), left)
		finding.Remedy = "hand over " + named(outside) + ", too"
		if slices.ContainsFunc(r.all(), func(f pci.Function) bool { return f.IsBridge() && slices.Contains(outside, f.Address) }) {
			finding.Remedy = switchOff // bridges stay
		}
	case bus.Unfit.IsValid() && bus.Bridge.IsValid():
		finding.Detail = fmt.Sprintf("the kernel knows no way to reset %s: a reset of its bus does not work with %s%s", a, bus.Unfit, left)
		finding.Remedy = switchOff
	default:
		finding.Detail = "the kernel knows no way to reset " + a.String() + left
		finding.Remedy = switchOff
	}
	return finding, true, nil
}

const switchOff = "switch the machine off before another guest, or the host, uses it"

// busKey is the same for all functions on a bus.
func busKey(a pci.Address) pci.Address { return pci.NewAddress(a.Domain(), a.Bus(), 0, 0) }

// outside returns what a reset of the bus of a takes along and is not handed over. It is
// found once a bus and set, because of a large group each member asks.
func (r *resets) outside(a pci.Address, bus pci.BusReset, handed []pci.Address) []pci.Address {
	if len(handed) == 0 {
		return bus.Outside(nil)
	}
	if len(r.handed) != len(handed) || &r.handed[0] != &handed[0] {
		r.left, r.handed = map[pci.Address][]pci.Address{}, handed
	}
	left, ok := r.left[busKey(a)]
	if !ok {
		left = bus.Outside(handed)
		r.left[busKey(a)] = left
	}
	return left
}

// bus returns what a reset of the bus of a takes along, which is the same for all on it.
func (r *resets) bus(a pci.Address) (pci.BusReset, error) {
	key := busKey(a)
	b, ok := r.buses[key]
	if ok {
		return b, nil
	}
	b, err := pci.ReadBusReset(r.fsys, a, r.all())
	if err == nil {
		r.buses[key] = b
	}
	return b, err
}

// named lists functions for a person.
func named(all []pci.Address) string {
	s := texts(all[:min(len(all), maxNamed)])
	return some(s, len(all))
}
