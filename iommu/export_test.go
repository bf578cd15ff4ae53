package iommu

import "fmt"

// QuirkRows are the tables of quirks, one "kernel's function vendor:device" each; a table
// for all devices of a vendor has *.
func QuirkRows() []string {
	var rows []string
	add := func(kernel string, vendor uint16, devices []ids) {
		if devices == nil {
			rows = append(rows, fmt.Sprintf("%s %04x:*", kernel, vendor))
		}
		for _, r := range devices {
			for id := int(r.first); id <= int(max(r.first, r.last)); id++ {
				rows = append(rows, fmt.Sprintf("%s %04x:%04x", kernel, vendor, id))
			}
		}
	}
	for _, q := range acsQuirks {
		add(q.kernel, q.vendor, q.devices)
	}
	for _, q := range aliasQuirks {
		add(q.kernel, q.vendor, q.devices)
	}
	add("pci_quirk_intel_spt_pch_acs", 0x8086, shiftedACSIDs)
	return rows
}
