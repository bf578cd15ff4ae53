package cli

import (
	"testing"

	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
)

func TestJoinLabel(t *testing.T) {
	const all = pci.ACSIsolation
	with := pci.NewAddress(0, 0, 0x1c, 0)
	for want, j := range map[string]iommu.Join{
		"no ACS":                         {Reason: iommu.MissingACS, Missing: all},
		"ACS lacks RR CR":                {Reason: iommu.MissingACS, Missing: pci.ACSRequestRedirect | pci.ACSCompletionRedirect, Quirk: "pci_quirk_xgene_acs"},
		"ACS is off: SV RR CR UF":        {Reason: iommu.MissingACS, Missing: all, HasACS: true},
		"functions: no ACS":              {Reason: iommu.Multifunction, Missing: all},
		"functions: ACS is off: RR":      {Reason: iommu.Multifunction, Missing: pci.ACSRequestRedirect, HasACS: true},
		"conventional PCI bus":           {Reason: iommu.PCIBridge, Missing: all},
		"one device to the IOMMU (VMD)":  {Reason: iommu.RealDMADevice},
		"sends as another: 0000:00:1c.0": {Reason: iommu.DMAAlias, With: with},
	} {
		if got := joinLabel(j); got != want {
			t.Errorf("%v: %q, not %q", j, got, want)
		}
	}
}
