package iommu

import (
	"errors"

	"github.com/project-independence/indy/pci"
)

// caps is what configuration space says of a function's part in isolation.
type caps struct {
	pcie               Answer
	port               pci.PortType // if pcie is Yes
	acs                Answer
	supported, enabled pci.ACSFlags // if acs is Yes
	err                error        // why an answer is Unknown
}

// decodeCaps takes them from what was read. Ids tell the chipsets whose registers are not
// where the specification has them.
func decodeCaps(config pci.Config, f pci.Function) caps {
	var c caps
	express, err := config.Express()
	switch {
	case errors.Is(err, pci.ErrNoCapability):
		c.pcie, c.acs = No, No
		return c
	case err != nil && express == (pci.Express{}):
		c.err = err
		return c
	}
	c.pcie, c.port = Yes, express.Type // also of one whose later registers were not read
	acs, err := config.ACS()
	switch {
	case errors.Is(err, pci.ErrNoCapability):
		c.acs = No
	case err != nil:
		c.err = err
	default:
		c.acs, c.supported, c.enabled = Yes, acs.Supported, acs.Enabled
		if c.port == pci.PortRoot && hasShiftedACS(f) {
			c.supported, c.enabled, err = shiftedACS(config)
			if err != nil {
				c.acs, c.err = Unknown, err
			}
		}
	}
	return c
}

// isolation says whether a function keeps apart what it should: the kernel's
// pci_acs_enabled for the services that grouping asks for.
type isolation struct {
	ok      Answer
	missing pci.ACSFlags // if ok is No
	hasACS  bool         // and could be switched on
	quirk   string       // the kernel's function that decided, if one did
	err     error        // if ok is Unknown
}

// isolation decides for one function, by the rules of Linux 6.12 (drivers/pci/pci.c):
// quirks first; conventional PCI never; root and downstream ports by their capability;
// others by it only as functions of a device with several.
func (t *Topology) isolation(n *node) isolation {
	const want = pci.ACSIsolation
	if n.virtual {
		return isolation{ok: Yes} // PCI Express, and a device of its own
	}
	if d, ok := t.acsQuirk(n, want); ok {
		return d
	}
	c := n.caps
	if c.pcie == Unknown {
		return isolation{err: c.err}
	}
	if t.override.grants(n) {
		return isolation{ok: Yes, quirk: "pcie_acs_overrides"}
	}
	none := isolation{ok: No, missing: want}
	if c.pcie == No {
		return none
	}
	switch c.port {
	case pci.PortToConventional, pci.PortFromConventional, pci.PortEventCollector:
		return none
	case pci.PortRoot, pci.PortDownstream:
	case pci.PortEndpoint, pci.PortUpstream, pci.PortLegacyEndpoint, pci.PortIntegratedEndpoint:
		switch n.multi.is {
		case No:
			return isolation{ok: Yes}
		case Unknown:
			return isolation{err: n.multi.why}
		}
	default:
		return isolation{ok: Yes} // of no type that the kernel knows
	}
	switch c.acs {
	case Unknown:
		return isolation{err: c.err}
	case No:
		return none
	}
	enabled := c.enabled
	if t.override.enabled {
		enabled |= c.supported & want
	}
	// What a function says that it does not have it does without being told.
	d := isolation{ok: Yes, missing: want & c.supported &^ enabled, hasACS: true}
	if d.missing != 0 {
		d.ok = No
	}
	if c.port == pci.PortRoot && hasShiftedACS(n.Function) {
		d.quirk = "pci_quirk_intel_spt_pch_acs"
	}
	return d
}

// path says whether all from the bridge above[last] up to the root keep apart what is
// behind it (pci_acs_path_enabled), and which is the first that does not, or is not known.
func (t *Topology) path(above []pci.Address) (isolation, *node, pci.Address) {
	unknown := isolation{ok: Yes}
	var at *node
	var where pci.Address
	for i := len(above) - 1; i >= 0; i-- {
		n := t.nodes[above[i]]
		got := isolation{err: errNoBridge}
		if n != nil {
			got = t.isolation(n)
		}
		switch {
		case got.ok == No:
			return got, n, above[i] // whatever else is not known
		case got.ok == Unknown && unknown.ok == Yes:
			unknown, at, where = got, n, above[i]
		}
	}
	return unknown, at, where
}

// what names a function's part in words.
func (n *node) what() string {
	switch {
	case n == nil:
		return ""
	case n.caps.pcie == Yes:
		switch n.caps.port {
		case pci.PortRoot:
			return "root port"
		case pci.PortDownstream:
			return "switch downstream port"
		case pci.PortUpstream:
			return "switch upstream port"
		case pci.PortToConventional:
			return "PCI Express to PCI bridge"
		case pci.PortFromConventional:
			return "PCI to PCI Express bridge"
		case pci.PortEventCollector:
			return "event collector"
		}
		return "PCI Express function"
	case n.caps.pcie == No && n.IsBridge():
		return "conventional PCI bridge"
	case n.caps.pcie == No:
		return "conventional PCI function"
	}
	return ""
}
