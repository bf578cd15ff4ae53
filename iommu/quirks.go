package iommu

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/project-independence/indy/pci"
)

// What the kernel knows of devices that do otherwise than they say, from Linux 6.18
// (drivers/pci/quirks.c, pci_dev_acs_enabled and pci_add_dma_alias), as far as it may be in
// a notebook or PC. Of the same tables in older kernels they are a superset.

// condition is what a quirk asks besides ids.
type condition uint8

const (
	always       condition = iota
	ofPort                 // a root or downstream port
	ofIntegrated           // an endpoint in the root complex
	ofSouth                // of several functions on the root bus, and the firmware has an IVRS table
	ofPCH                  // a root port, and the kernel reached the chipset's registers
)

// An acsQuirk says which services the kernel takes for granted.
type acsQuirk struct {
	kernel  string // its function
	vendor  uint16
	devices []ids // none for all
	when    condition
	grants  pci.ACSFlags
}

// ids is a range of device ids; a zero last is first.
type ids struct{ first, last uint16 }

func (r ids) has(id uint16) bool { return id >= r.first && id <= max(r.first, r.last) }

const (
	betweenFunctions = pci.ACSRequestRedirect | pci.ACSCompletionRedirect
	// pci_quirk_amd_sb_acs does not ask for what means nothing between functions.
	askedOfSouth = betweenFunctions | pci.ACSEgressControl | pci.ACSDirectTranslatedP2P
	ofEndpoint   = pci.ACSIsolation | pci.ACSTranslationBlocking | pci.ACSDirectTranslatedP2P
)

// acsQuirks are in the kernel's order: the first that applies decides.
var acsQuirks = []acsQuirk{
	{"pci_quirk_amd_sb_acs", 0x1002, []ids{{0x4383, 0x4385}, {0x4399, 0}, {0x439c, 0x439d}}, ofSouth, betweenFunctions},
	{"pci_quirk_amd_sb_acs", 0x1022, []ids{{0x7809, 0}, {0x780f, 0}}, ofSouth, betweenFunctions},
	{"pci_quirk_mf_endpoint_acs", 0x1924, []ids{{0x0903, 0}, {0x0923, 0}, {0x0a03, 0}}, always, ofEndpoint},
	{"pci_quirk_mf_endpoint_acs", 0x8086, []ids{
		{0x105e, 0x1060}, {0x10a7, 0}, {0x10a9, 0}, {0x10c6, 0}, {0x10c9, 0}, {0x10d6, 0}, {0x10d9, 0}, {0x10db, 0}, {0x10dd, 0}, {0x10e1, 0},
		{0x10e6, 0x10e8}, {0x10f1, 0}, {0x10f7, 0x10fc}, {0x1507, 0}, {0x1509, 0x150a}, {0x150d, 0x1511}, {0x1514, 0},
		{0x1516, 0}, {0x1518, 0}, {0x151c, 0}, {0x1521, 0x1524}, {0x1526, 0x1527}, {0x1529, 0x152a}, {0x154d, 0}, {0x154f, 0},
		{0x1551, 0}, {0x1558, 0}, {0x15b7, 0x15b8},
	}, always, ofEndpoint},
	{"pci_quirk_intel_pch_acs", 0x8086, []ids{
		{0x3b42, 0x3b51}, {0x1c10, 0x1c1f}, {0x1e10, 0x1e1f}, {0x8c10, 0x8c1f}, {0x9c10, 0x9c1b}, {0x9c90, 0x9c9b},
		{0x1d10, 0}, {0x1d12, 0}, {0x1d14, 0}, {0x1d16, 0}, {0x1d18, 0}, {0x1d1a, 0}, {0x1d1c, 0}, {0x1d1e, 0},
		{0x8d10, 0x8d1e}, {0x8c90, 0}, {0x8c92, 0}, {0x8c94, 0}, {0x8c96, 0}, {0x8c98, 0}, {0x8c9a, 0}, {0x8c9c, 0}, {0x8c9e, 0},
	}, ofPCH, pci.ACSIsolation},
	// pci_quirk_intel_spt_pch_acs: where the registers are, see shiftedACSIDs.
	{"pci_quirk_rciep_acs", 0x8086, nil, ofIntegrated, pci.ACSIsolation},
	{"pci_quirk_qcom_rp_acs", 0x17cb, []ids{{0x0115, 0}, {0x0400, 0x0401}}, always, pci.ACSIsolation},
	{"pci_quirk_qcom_rp_acs", 0x1dbf, []ids{{0x0401, 0}}, always, pci.ACSIsolation},
	{"pci_quirk_mf_endpoint_acs", 0x19a2, []ids{{0x0710, 0}}, always, ofEndpoint},
	{"pci_quirk_mf_endpoint_acs", 0x10df, []ids{{0x0720, 0}}, always, ofEndpoint},
	{"pci_quirk_mf_endpoint_acs", 0x177d, []ids{{0xa026, 0}, {0xa059, 0}, {0xa060, 0}}, always, ofEndpoint},
	{"pci_quirk_mf_endpoint_acs", 0x14e4, []ids{{0x16d7, 0}, {0x1750, 0x1752}, {0x1760, 0x1763}}, always, ofEndpoint},
	{"pci_quirk_loongson_acs", 0x0014, []ids{
		{0x3c09, 0}, {0x3c19, 0}, {0x3c29, 0}, {0x7a09, 0}, {0x7a19, 0}, {0x7a29, 0}, {0x7a39, 0}, {0x7a49, 0}, {0x7a59, 0}, {0x7a69, 0},
	}, always, pci.ACSIsolation},
	{"pci_quirk_mf_endpoint_acs", 0x1d17, []ids{{0x3038, 0}, {0x3104, 0}, {0x9083, 0}}, always, ofEndpoint},
	{"pci_quirk_zhaoxin_pcie_ports_acs", 0x1d17, []ids{{0x0710, 0x071e}, {0x0721, 0}, {0x0723, 0x0752}}, ofPort, pci.ACSIsolation},
	{"pci_quirk_zhaoxin_pcie_ports_acs", 0x1d17, nil, ofPort, 0}, // the others have none, whatever they say
	{"pci_quirk_wangxun_nic_acs", 0x8088, []ids{
		{0x0100, 0x010f}, {0x1001, 0}, {0x2001, 0}, {0x5010, 0}, {0x5025, 0}, {0x5040, 0}, {0x5110, 0}, {0x5125, 0}, {0x5140, 0},
	}, always, pci.ACSIsolation},
	{"pci_quirk_wangxun_nic_acs", 0x8088, nil, always, 0},
}

// shiftedACSIDs are root ports of Intel whose ACS registers have 32 bits instead of 16
// (pci_quirk_intel_spt_pch_acs).
var shiftedACSIDs = []ids{{0xa110, 0xa11f}, {0xa167, 0xa16a}, {0xa290, 0xa29f}, {0xa2e7, 0xa2ee}, {0x9d10, 0x9d1b}}

// aliasQuirks are functions that send under the number of another one of their bus, too,
// or only.
var aliasQuirks = []struct {
	kernel          string
	vendor          uint16
	devices         []ids
	subsystemVendor uint16 // 0 for any
	subsystems      []ids
	device          int8 // of the other, -1 for its own
	function        uint8
}{
	{"quirk_dma_func0_alias", 0x1180, []ids{{0xe476, 0}, {0xe832, 0}}, 0, nil, -1, 0},
	{"quirk_dma_func0_alias", 0x6766, []ids{{0x3d40, 0x3d41}}, 0, nil, -1, 0},
	{"quirk_dma_func1_alias", 0x1103, []ids{{0x0642, 0}, {0x0645, 0}}, 0, nil, -1, 1},
	{"quirk_dma_func1_alias", 0x197b, []ids{{0x2392, 0}}, 0, nil, -1, 1},
	{"quirk_dma_func1_alias", 0x1b4b, []ids{
		{0x9120, 0}, {0x9123, 0}, {0x9125, 0}, {0x9128, 0}, {0x9130, 0}, {0x9170, 0}, {0x9172, 0}, {0x917a, 0}, {0x9182, 0x9183},
		{0x91a0, 0}, {0x9215, 0}, {0x9220, 0}, {0x9230, 0}, {0x9235, 0},
	}, 0, nil, -1, 1},
	{"quirk_dma_func1_alias", 0x1c28, []ids{{0x0122, 0}}, 0, nil, -1, 1},
	{"quirk_fixed_dma_alias", 0x9005, []ids{{0x0285, 0}}, 0x9005, []ids{{0x02bb, 0x02bc}}, 1, 0},
}

func in(all []ids, id uint16) bool {
	return slices.ContainsFunc(all, func(r ids) bool { return r.has(id) })
}

// An alias is another number that a function's traffic may carry, on its own bus.
type alias struct {
	of    pci.Address
	quirk string
}

// aliases are those that the kernel knows of a function, by its ids.
func (n *node) aliases() []alias {
	if !n.Vendor.Known() || !n.Device.Known() {
		return nil
	}
	var all []alias
	for _, q := range aliasQuirks {
		if q.vendor != n.Vendor.Uint16() || !in(q.devices, n.Device.Uint16()) {
			continue
		}
		if q.subsystemVendor != 0 && (n.SubsystemVendor != pci.NewID(q.subsystemVendor) ||
			!n.SubsystemDevice.Known() || !in(q.subsystems, n.SubsystemDevice.Uint16())) {
			continue
		}
		device := n.Address.Device()
		if q.device >= 0 {
			device = uint8(q.device)
		}
		if a := pci.NewAddress(n.Address.Domain(), n.Address.Bus(), device, q.function); a != n.Address {
			all = append(all, alias{a, q.kernel})
		}
	}
	return all
}

// acsQuirk decides by what the kernel knows of a function (pci_dev_specific_acs_enabled),
// and false when it goes by what the function says.
func (t *Topology) acsQuirk(n *node, want pci.ACSFlags) (isolation, bool) {
	if !n.Vendor.Known() || !n.Device.Known() {
		return isolation{}, false
	}
	for _, q := range acsQuirks {
		if q.vendor != n.Vendor.Uint16() || q.devices != nil && !in(q.devices, n.Device.Uint16()) {
			continue
		}
		applies := t.applies(q.when, n)
		if applies.is == No {
			continue
		}
		asked, grants := want, q.grants
		if q.when == ofSouth {
			asked &= askedOfSouth
		}
		if q.when == ofPCH {
			open := t.rcba[pci.NewAddress(n.Address.Domain(), n.Address.Bus(), 0x1f, 0)]
			switch open.is {
			case No:
				grants = 0
			case Unknown:
				applies = known{why: open.why}
				if n.caps.pcie == Unknown {
					applies.why = n.caps.err
				}
			}
		}
		if applies.is == Unknown {
			return isolation{quirk: q.kernel, err: applies.why}, true
		}
		if missing := asked &^ grants; missing != 0 {
			return isolation{ok: No, missing: missing, quirk: q.kernel}, true
		}
		return isolation{ok: Yes, quirk: q.kernel}, true
	}
	return isolation{}, false
}

// applies says whether a function meets what a quirk asks besides ids.
func (t *Topology) applies(when condition, n *node) known {
	port := func(types ...pci.PortType) known {
		switch n.caps.pcie {
		case Unknown:
			return known{why: n.caps.err}
		case No:
			return known{is: No}
		}
		if slices.Contains(types, n.caps.port) {
			return known{is: Yes}
		}
		return known{is: No}
	}
	switch when {
	case ofPCH:
		return port(pci.PortRoot)
	case ofPort:
		return port(pci.PortRoot, pci.PortDownstream)
	case ofIntegrated:
		return port(pci.PortIntegratedEndpoint)
	case ofSouth:
		switch {
		case n.pathErr != nil:
			return known{why: n.pathErr}
		case n.multi.is == No || len(n.above) > 0 || n.real.IsValid():
			return known{is: No}
		case n.multi.is == Unknown:
			return n.multi
		case t.ivrs == Unknown:
			return known{why: errors.New("it is not known whether the firmware has an IVRS table")}
		}
		return known{is: t.ivrs}
	}
	return known{is: Yes}
}

// readChipset reads what quirks of chipsets ask, if one of theirs is there.
func (t *Topology) readChipset(fsys fs.FS, wake bool) {
	for _, n := range t.order {
		for _, q := range acsQuirks {
			if n.Vendor != pci.NewID(q.vendor) || !n.Device.Known() || !in(q.devices, n.Device.Uint16()) {
				continue
			}
			lpc := pci.NewAddress(n.Address.Domain(), n.Address.Bus(), 0x1f, 0)
			if _, done := t.rcba[lpc]; q.when == ofPCH && n.caps.pcie == Yes && !done {
				t.rcba[lpc] = readRCBA(fsys, lpc, wake)
			}
			if q.when == ofSouth && t.ivrs == Unknown {
				t.ivrs = hasIVRS(fsys)
			}
		}
	}
}

// readRCBA says whether the registers of an Intel chipset are open: bit 0 at 0xf0 of its
// LPC bridge. Linux then isolates the root ports by them (pci_quirk_enable_intel_lpc_acs).
func readRCBA(fsys fs.FS, lpc pci.Address, wake bool) known {
	const at = 0xf0
	if !wake && asleep(fsys, lpc) {
		return known{why: ErrAsleep}
	}
	config, err := pci.ReadConfig(fsys, lpc)
	if err != nil {
		return known{why: err}
	}
	if config.Len() < at+4 {
		return known{why: &pci.OpError{Op: "read config of", Address: lpc, Err: pci.ErrUnread}}
	}
	if config.Bytes()[at]&1 == 0 {
		return known{is: No}
	}
	return known{is: Yes}
}

// hasIVRS says whether the firmware describes an AMD IOMMU: by the table, or by the unit
// that the kernel made of it.
func hasIVRS(fsys fs.FS) Answer {
	if units, err := fs.ReadDir(fsys, "sys/class/iommu"); err == nil {
		if slices.ContainsFunc(units, func(e fs.DirEntry) bool { return strings.HasPrefix(e.Name(), "ivhd") }) {
			return Yes
		}
	}
	tables, err := fs.ReadDir(fsys, "sys/firmware/acpi/tables")
	if err != nil {
		return Unknown
	}
	answer := Unknown // a copy may hold some tables only
	for _, e := range tables {
		switch e.Name() {
		case "IVRS":
			return Yes
		case "DMAR", "DSDT":
			answer = No
		}
	}
	return answer
}

func hasShiftedACS(f pci.Function) bool {
	return f.Vendor == pci.NewID(0x8086) && f.Device.Known() && in(shiftedACSIDs, f.Device.Uint16())
}

// shiftedACS decodes the ACS capability of Intel's 100 and 200 series: two registers of 32
// bits, at 4 and at 8.
func shiftedACS(config pci.Config) (supported, enabled pci.ACSFlags, err error) {
	found, err := config.FindExtended(pci.ExtendedACS)
	if err != nil {
		return 0, 0, err
	}
	b := config.Bytes()
	at := int(found.Offset)
	if at+12 > len(b) {
		return 0, 0, fmt.Errorf("ACS at %#x: %w", at, pci.ErrUnread)
	}
	return pci.ACSFlags(b[at+4] & 0x7f), pci.ACSFlags(b[at+8] & 0x7f), nil
}
