package iommu

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/project-independence/indy/pci"
)

// A Topology is what IOMMU grouping depends on: the functions of a machine, the bridges
// above each, and what was read of the configuration space of those that decide. It is a
// value to ask: nothing in it changes, and its methods read nothing.
type Topology struct {
	nodes    map[pci.Address]*node
	order    []*node                 // bridges before what is behind them
	slots    map[pci.Address][]*node // by the address of function 0
	aliasing map[pci.Address][]*node // by the address of 00.0 of the bus, those that send under other numbers, too

	rcba     map[pci.Address]known // by the address of 1f.0 of the bus: the chipset's registers are open
	ivrs     Answer
	override override
}

// A node is one function in a Topology.
type node struct {
	pci.Function
	above   []pci.Address // bridges, the nearest last
	real    pci.Address   // the function whose number its traffic carries (VMD)
	virtual bool          // of SR-IOV
	pathErr error         // why above, real or virtual is not known

	header, multi known // bit 7 of the header type
	caps          caps
}

// known is an answer and, where it is Unknown, why.
type known struct {
	is  Answer
	why error
}

// TopologyOptions say how far ReadTopology goes.
type TopologyOptions struct {
	// Wake reads the configuration space of functions that sleep, too. It wakes them, and
	// may block for some seconds. Of a saved machine nothing wakes.
	Wake bool
	// Of, unless nil, are the functions whose groups are in question: of others nothing
	// is read that does not decide theirs.
	Of []pci.Address
}

// ErrAsleep is why nothing was read of a function that sleeps.
var ErrAsleep = errors.New("it sleeps, and reading its configuration space would wake it")

var (
	errNotAsked = errors.New("it was not asked")
	errNoBridge = errors.New("there is no such function")
)

// maxAbove bounds how many bridges are above a function. Each takes one of 256 buses, and
// VMD adds a hierarchy.
const maxAbove = 512

// ReadTopology reads what decides the groups of functions, which are all those of the
// machine: the links of their directories in /sys/bus/pci/devices, physfn, and the
// configuration space of bridges with something behind them and of functions that share a
// slot with others. Where that does not tell, it is looked for max_link_speed. No other configuration space is read, and none of a function that
// sleeps (power/runtime_status, power_state) unless options say so.
//
// What could not be read is unknown in the Topology, which is always returned; the groups
// that depend on it say so. The error joins *[pci.OpError]s of links that contradict the
// kernel's form; that configuration space was not readable is no error.
func ReadTopology(fsys fs.FS, functions []pci.Function, o TopologyOptions) (*Topology, error) {
	t := &Topology{
		nodes: make(map[pci.Address]*node, len(functions)), slots: map[pci.Address][]*node{},
		aliasing: map[pci.Address][]*node{}, rcba: map[pci.Address]known{},
	}
	for _, f := range functions {
		if t.nodes[f.Address] != nil || !f.Address.IsValid() {
			continue
		}
		n := &node{Function: f, pathErr: errNotAsked}
		n.caps.err, n.header.why = errNotAsked, errNotAsked
		t.nodes[f.Address] = n
		t.order = append(t.order, n)
	}
	slices.SortFunc(t.order, func(a, b *node) int { return a.Address.Compare(b.Address) })
	for _, n := range t.order {
		slot := slotOf(n.Address)
		t.slots[slot] = append(t.slots[slot], n)
		if len(n.aliases()) > 0 {
			t.aliasing[busOf(n.Address)] = append(t.aliasing[busOf(n.Address)], n)
		}
	}
	asked, forwards, errs := t.place(fsys, o.Of)
	slices.SortStableFunc(t.order, func(a, b *node) int { return len(a.above) - len(b.above) })
	for _, n := range asked {
		shared := len(t.slots[slotOf(n.Address)]) > 1
		if shared || n.Address.Function() > 0 {
			pf, err := pci.PhysicalFunction(fsys, n.Address)
			if n.virtual = pf.IsValid(); err != nil {
				n.pathErr = err // it may be virtual
				errs = append(errs, err)
			}
		}
		if !n.virtual && (forwards[n.Address] || shared) {
			n.read(fsys, o.Wake)
		}
	}
	t.withoutLink(fsys, asked)
	t.readChipset(fsys, o.Wake)
	for _, n := range t.order {
		n.multi = t.multifunction(n)
	}
	return t, errors.Join(errs...)
}

// place finds where functions are plugged in: all, or those in question, what is above
// them, and what shares a slot with any of these. It returns them, and which have others
// behind them.
func (t *Topology) place(fsys fs.FS, of []pci.Address) (asked []*node, forwards map[pci.Address]bool, errs []error) {
	seen := map[*node]bool{}
	ask := func(a pci.Address) {
		for _, n := range t.slots[slotOf(a)] {
			if !seen[n] {
				seen[n] = true
				asked = append(asked, n)
			}
		}
	}
	if of == nil {
		asked = slices.Clone(t.order)
	}
	for _, a := range of {
		ask(a)
	}
	forwards = map[pci.Address]bool{}
	for i := 0; i < len(asked); i++ {
		n := asked[i]
		if n.pathErr = n.place(fsys); n.pathErr != nil {
			errs = append(errs, n.pathErr)
		}
		for _, b := range n.above {
			forwards[b] = true
		}
		if of == nil {
			continue
		}
		for _, b := range n.above {
			ask(b)
		}
		if n.real.IsValid() {
			ask(n.real)
		}
	}
	return asked, forwards, errs
}

// place finds where a function is plugged in.
func (n *node) place(fsys fs.FS) error {
	above, err := pci.Bridges(fsys, n.Address)
	if err != nil {
		return err
	}
	if len(above) > maxAbove {
		return &pci.OpError{Op: "topology", Address: n.Address, Err: fmt.Errorf("%d bridges above it", len(above))}
	}
	// What is in another domain is no bridge: it carries the whole hierarchy.
	for i, b := range slices.Backward(above) {
		if b.Domain() != n.Address.Domain() {
			n.real, above = b, above[i+1:]
			break
		}
	}
	n.above = above
	return nil
}

// read reads a function's configuration space.
func (n *node) read(fsys fs.FS, wake bool) {
	if !wake && asleep(fsys, n.Address) {
		n.caps.err, n.header.why = ErrAsleep, ErrAsleep
		return
	}
	config, err := pci.ReadConfig(fsys, n.Address)
	if err != nil {
		n.caps.err, n.header.why = err, err
		return
	}
	n.caps = decodeCaps(config, n.Function)
	h, err := config.Header()
	if err != nil {
		n.header.why = err
		return
	}
	n.header = known{is: No}
	if h.MultiFunction {
		n.header.is = Yes
	}
}

// withoutLink takes for conventional PCI, of the functions whose configuration space does
// not tell, those that have no max_link_speed. Linux has that file for each function of PCI
// Express and for no other (pcie_dev_attrs_are_visible, since 4.13); that it is there is
// told to everybody, and wakes nothing. A machine on which no function has it is of an older
// kernel or was saved with less, and so was a function without config.
func (t *Topology) withoutLink(fsys fs.FS, asked []*node) {
	has := func(n *node, name string) Answer {
		switch _, err := fs.Lstat(fsys, "sys/bus/pci/devices/"+n.Address.String()+"/"+name); {
		case err == nil:
			return Yes
		case errors.Is(err, fs.ErrNotExist):
			return No
		}
		return Unknown
	}
	stated := Unknown
	for _, n := range asked {
		if n.caps.pcie != Unknown || n.virtual || errors.Is(n.caps.err, errNotAsked) || has(n, "config") != Yes || has(n, "max_link_speed") != No {
			continue
		}
		if stated == Unknown {
			stated = answer(slices.ContainsFunc(t.order, func(n *node) bool { return has(n, "max_link_speed") == Yes }))
		}
		if stated == Yes {
			n.caps = caps{pcie: No, acs: No}
		}
	}
}

// asleep reports whether reading the configuration space of a function would wake it.
func asleep(fsys fs.FS, a pci.Address) bool {
	if s, err := pci.RuntimeStatus(fsys, a); err == nil && strings.HasPrefix(s, "suspend") {
		return true
	}
	s, err := pci.PowerState(fsys, a)
	return err == nil && s == "D3cold"
}

// multifunction is the kernel's pci_dev.multifunction: what function 0 says of itself, and
// of others that they are there. Functions above 7 look as if they were of another slot;
// behind a port there is only slot 0. Virtual functions are none of their device.
func (t *Topology) multifunction(n *node) known {
	switch {
	case n.virtual:
		return known{is: No}
	case n.Address.Function() > 0:
		return known{is: Yes}
	case n.Address.Device() > 0 && len(n.above) > 0:
		if b := t.nodes[n.above[len(n.above)-1]]; b != nil && b.caps.pcie == Yes &&
			(b.caps.port == pci.PortRoot || b.caps.port == pci.PortDownstream) {
			return known{is: Yes}
		}
	}
	if n.header.is == Unknown && slices.ContainsFunc(t.slots[slotOf(n.Address)], func(s *node) bool { return s != n && !s.virtual }) {
		return known{is: Yes} // the others would not have been found
	}
	return n.header
}

// slotOf is the address of function 0 of the same slot, busOf that of the first of the bus.
func slotOf(a pci.Address) pci.Address {
	return pci.NewAddress(a.Domain(), a.Bus(), a.Device(), 0)
}

func busOf(a pci.Address) pci.Address { return pci.NewAddress(a.Domain(), a.Bus(), 0, 0) }
