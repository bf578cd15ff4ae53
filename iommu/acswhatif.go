package iommu

import (
	"slices"
	"strings"

	"github.com/project-independence/indy/pci"
)

// WithACSOverride returns the Topology as a kernel with the ACS override patch would see
// it, given pcie_acs_override=: downstream, multifunction, or id:vvvv:dddd, several also
// with commas between. Others are without effect, as in the kernel. Groups that only the
// override parts are not isolated.
func (t *Topology) WithACSOverride(kinds ...string) *Topology {
	other := *t
	other.override = t.override.with(kinds)
	return &other
}

// WithACSEnabled returns the Topology as it would be if the kernel had started an IOMMU:
// each function that has ACS has the services switched on that grouping asks for, as Linux
// does (pci_std_enable_acs). It answers what groups a machine would have whose IOMMU is off.
func (t *Topology) WithACSEnabled() *Topology {
	other := *t
	other.override.enabled = true
	return &other
}

// An override is what the command line of a patched kernel vouches for.
type override struct {
	enabled                   bool // not of the patch: see WithACSEnabled
	downstream, multifunction bool
	devices                   []string // vvvv:dddd
}

func (o override) with(kinds []string) override {
	o.devices = slices.Clone(o.devices)
	for _, list := range kinds {
		for kind := range strings.SplitSeq(list, ",") {
			switch {
			case kind == "downstream":
				o.downstream = true
			case kind == "multifunction":
				o.multifunction = true
			case strings.HasPrefix(kind, "id:"):
				vendor, device, _ := strings.Cut(kind[3:], ":")
				v, err1 := pci.ParseID(vendor)
				d, err2 := pci.ParseID(device)
				if err1 == nil && err2 == nil {
					o.devices = append(o.devices, v.String()+":"+d.String())
				}
			}
		}
	}
	return o
}

// grants says whether the patch vouches for a PCI Express function: only for those without
// a capability of their own, and after the quirks.
func (o override) grants(n *node) bool {
	if n.caps.pcie != Yes || n.caps.acs != No {
		return false
	}
	if slices.Contains(o.devices, n.Vendor.String()+":"+n.Device.String()) && n.Vendor.Known() && n.Device.Known() {
		return true
	}
	switch n.caps.port {
	case pci.PortRoot, pci.PortDownstream:
		return o.downstream
	case pci.PortEndpoint, pci.PortUpstream, pci.PortLegacyEndpoint, pci.PortIntegratedEndpoint:
		return o.multifunction && n.multi.is == Yes
	}
	return false
}
