package pci_test

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/project-independence/indy/pci"
)

// find returns what pattern finds in the lines below a capability.
func find(body, pattern string) []string {
	return regexp.MustCompile(`(?m)` + pattern).FindStringSubmatch(body)
}

// capability compares the decode of one capability with lspci's words on it.
func (c *comparison) capability(config pci.Config, line, body string) {
	m := capOf.FindStringSubmatch(line)
	if m == nil {
		return
	}
	title, rest := m[3], line
	if m[2] == "" {
		title = baseTitle(title)
	} else {
		title = extendedTitle(title)
	}
	if f, err := config.Find(pci.CapabilityVendor); title == "Vendor Specific" && m[2] == "" && err == nil {
		c.vendor(config, f, m)
	}
	switch title {
	case "PCI Express":
		c.express(config, m[3], body)
	case "Power Management":
		c.power(config, m[3], body)
	case "MSI":
		c.msi(config, m[3], body)
	case "MSI-X":
		c.msix(config, m[3], body)
	case "Advanced Features":
		af, err := config.AdvancedFeatures()
		c.none(title, err)
		c.same("AFCap", fmt.Sprint(af.TransactionsPendingReported, af.FLR), fmt.Sprint(flag(body, "TP"), flag(body, "FLR")))
		if m := find(body, `^AFStatus: TP([+-])`); m != nil {
			c.same("AFStatus", af.TransactionsPending, m[1] == "+")
		}
	case "Bridge Subsystem":
		vendor, device, err := config.Subsystem()
		c.none(title, err)
		c.same("subsystem", fmt.Sprintf("[%s:%s]", vendor, device), lastIDs.FindString(rest))
	case "Debug Port":
		at, err := config.DebugPort()
		c.none(title, err)
		c.same(title, fmt.Sprintf("Debug port: BAR=%d offset=%04x", at.BAR+1, at.Offset), m[3])
	case "HyperTransport":
		c.hyperTransport(config, m)
	case "Enhanced Allocation":
		c.enhanced(config, m[3], body)
	default:
		if m[2] != "" {
			c.extended(config, title, m, body)
		}
	}
}

func (c *comparison) vendor(config pci.Config, first pci.Capability, m []string) {
	all, err := config.VendorCapabilities()
	c.none("vendor specific", err)
	for _, v := range all {
		if fmt.Sprintf("%02x", v.Offset) == m[1] {
			c.same("vendor specific", fmt.Sprintf("Vendor Specific Information: Len=%02x <?>", len(v.Data)+3), m[3])
		}
	}
	if len(all) == 0 || all[0].Offset != first.Offset {
		c.t.Errorf("%s: vendor capabilities %v, the first at %#x", c.where, all, first.Offset)
	}
}

func (c *comparison) hyperTransport(config pci.Config, m []string) {
	all, err := config.HyperTransports()
	c.none("HyperTransport", err)
	for _, h := range all {
		if fmt.Sprintf("%02x", h.Offset) != m[1] {
			continue
		}
		kind := strings.TrimPrefix(m[3], "HyperTransport: ")
		if n, ok := strings.CutPrefix(kind, "#"); ok {
			c.same("HyperTransport", fmt.Sprintf("%02x", uint8(h.Kind)), n)
		} else {
			c.same("HyperTransport", strings.HasPrefix(kind, h.Kind.String()), true)
		}
		return
	}
	c.t.Errorf("%s: no HyperTransport capability at %s", c.where, m[1])
}

func (c *comparison) express(config pci.Config, title, body string) {
	e, err := config.Express()
	c.none("Express", err)
	m := regexp.MustCompile(`^Express \(v(\d)\) (.*?)(?: \(Slot([+-])\))?, MSI ([0-9a-f]{2})$`).FindStringSubmatch(title)
	if m == nil {
		c.t.Errorf("%s: what is %q?", c.where, title)
		return
	}
	c.same("Express version", e.Version, m[1])
	c.same("Express type", e.Type, strings.NewReplacer("PCI/PCI-X to PCI-Express", "PCI to PCI Express",
		"PCI-Express to PCI/PCI-X", "PCI Express to PCI").Replace(m[2]))
	c.same("Express slot", e.HasSlot, m[3] == "+")
	c.same("Express interrupt", fmt.Sprintf("%02x", e.InterruptMessage), m[4])
	if m := find(body, `^DevCap:\s+MaxPayload (\d+) bytes`); m != nil {
		c.same("DevCap MaxPayload", e.MaxPayloadSupported, m[1])
	}
	capability := between(body, "DevCap:", "DevCtl:")
	for name, got := range map[string]bool{"ExtTag": e.ExtendedTagsSupported, "RBE": e.RoleBasedErrors, "FLReset": e.FLR} {
		if states(capability, name) {
			c.same("DevCap "+name, got, flag(capability, name))
		}
	}
	control := between(body, "DevCtl:", "DevSta:")
	if m := find(control, `MaxPayload (\d+) bytes, MaxReadReq (\d+) bytes`); m != nil {
		c.same("DevCtl", fmt.Sprint(e.MaxPayload, e.MaxReadRequest), m[1]+" "+m[2])
	}
	for name, got := range map[string]bool{"ExtTag": e.ExtendedTags, "RlxdOrd": e.RelaxedOrdering, "NoSnoop": e.NoSnoop} {
		c.same("DevCtl "+name, got, flag(control, name))
	}
	status := find(body, `^DevSta:.*`)[0]
	for name, got := range map[string]bool{"CorrErr": e.CorrectableError, "NonFatalErr": e.NonFatalError, "FatalErr": e.FatalError,
		"UnsupReq": e.UnsupportedRequest, "AuxPwr": e.AuxPower, "TransPend": e.TransactionsPending} {
		c.same("DevSta "+name, got, flag(status, name))
	}
	c.link(e, body)
	c.second(e, body)
	slot := find(body, `(?s)SltCap:(.*?)SltCtl:`)
	c.same("SltCap", slot != nil, e.HasSlot)
	if slot != nil {
		for name, got := range map[string]bool{"AttnBtn": e.Slot.AttentionButton, "PwrCtrl": e.Slot.PowerController, "MRL": e.Slot.MRL,
			"HotPlug": e.Slot.HotPlug, "Surprise": e.Slot.Surprise, "Interlock": e.Slot.Interlock} {
			c.same("SltCap "+name, got, flag(slot[1], name))
		}
		c.same("SltCap slot", e.Slot.Number, find(slot[1], `Slot #(\d+),`)[1])
		c.same("SltSta PresDet", e.Slot.Present, flag(find(body, `^SltSta:.*`)[0], "PresDet"))
	}
}

// between returns the part of body from one word to another.
func between(body, from, to string) string {
	_, body, _ = strings.Cut(body, from)
	body, _, _ = strings.Cut(body, to)
	return strings.ReplaceAll(body, "\n", " ")
}

func (c *comparison) link(e pci.Express, body string) {
	m := find(body, `^LnkCap:\s+Port #(\d+), Speed (\S+), Width x(\d+), ASPM (.*?)(?:, Exit.*)?$`)
	c.same("LnkCap", e.HasLink, m != nil)
	if m == nil {
		return
	}
	l := e.Link
	c.same("LnkCap", fmt.Sprint(l.Port, " ", l.MaxSpeed, " x", l.MaxWidth), fmt.Sprint(m[1], " ", m[2], " x", m[3]))
	c.same("LnkCap ASPM", l.ASPMSupported, strings.Replace(m[4], "not supported", "none", 1))
	c.same("LnkCap LLActRep", l.ActiveReporting, flag(between(body, "LnkCap:", "LnkCtl:"), "LLActRep"))
	m = find(body, `^LnkCtl:\s+ASPM (.*?);`)
	c.same("LnkCtl ASPM", l.ASPM, strings.TrimSuffix(strings.Replace(m[1], "Disabled", "none", 1), " Enabled"))
	if states(between(body, "LnkCtl:", "LnkSta:"), "Disabled") {
		c.same("LnkCtl Disabled", l.Disabled, flag(between(body, "LnkCtl:", "LnkSta:"), "Disabled"))
	}
	m = find(body, `^LnkSta:\s+Speed (\S+?)(?: \(.*?\))?, Width x(\d+)`)
	c.same("LnkSta", fmt.Sprint(l.Speed, " x", l.Width), fmt.Sprint(m[1], " x", m[2]))
	status := between(body, "LnkSta:", "\nSltCap")
	c.same("LnkSta Train", l.Training, flag(status, "Train"))
	c.same("LnkSta DLActive", l.Active, flag(status, "DLActive"))
	if m := find(body, `^LnkCap2: Supported Link Speeds: (?:(\S+)-)?(\S+)GT/s`); m != nil {
		c.same("LnkCap2 highest", l.Supported.Max(), m[2]+"GT/s")
		lowest := m[1]
		if lowest == "" {
			lowest = m[2]
		}
		c.same("LnkCap2 lowest", strings.Fields(l.Supported.String())[0], lowest+"GT/s")
	}
}

func (c *comparison) second(e pci.Express, body string) {
	capability, control := between(body, "DevCap2:", "DevCtl2:"), between(body, "DevCtl2:", "Lnk")
	for name, got := range map[string]bool{"LTR": e.LTRSupported, "ARIFwd": e.ARIForwardingSupported, "Routing": e.AtomicRouting,
		"32bit": e.AtomicCompleter32, "64bit": e.AtomicCompleter64, "128bitCAS": e.AtomicCompleter128,
		"10BitTagComp": e.TenBitTagCompleter, "10BitTagReq": e.TenBitTagRequester} {
		if states(capability, name) {
			c.same("DevCap2 "+name, got, flag(capability, name))
		}
	}
	for name, got := range map[string]bool{"LTR": e.LTR, "ARIFwd": e.ARIForwarding, "ReqEn": e.AtomicRequester} {
		if states(control, name) {
			c.same("DevCtl2 "+name, got, flag(control, name))
		}
	}
}

func (c *comparison) power(config pci.Config, title, body string) {
	p, err := config.PowerManagement()
	c.none("power management", err)
	c.same("power management", fmt.Sprintf("Power Management version %d", p.Version), title)
	flags := find(body, `^Flags: .*`)[0]
	c.same("power states", fmt.Sprint(p.D1, p.D2), fmt.Sprint(flag(flags, "D1"), flag(flags, "D2")))
	_, pme, _ := strings.Cut(flags, "PME(")
	c.flags("PME", pme, p.PME.String(), "D0", "D1", "D2", "D3hot", "D3cold")
	status := find(body, `^Status: (D0|D1|D2|D3).*`)
	c.same("power state", strings.TrimSuffix(p.State, "hot"), status[1])
	for name, got := range map[string]bool{"NoSoftRst": p.NoSoftReset, "PME-Enable": p.PMEEnabled} {
		c.same(name, got, flag(status[0], name))
	}
	c.same("PME", p.PMEPending, strings.HasSuffix(status[0], "PME+"))
}

func (c *comparison) msi(config pci.Config, title, body string) {
	v, err := config.MSI()
	c.none("MSI", err)
	m := regexp.MustCompile(`^MSI: Enable[+-] Count=(\d+)/(\d+) Maskable[+-] 64bit[+-]`).FindStringSubmatch(title)
	c.same("MSI", fmt.Sprint(v.VectorsEnabled, v.Vectors), m[1]+" "+m[2])
	for name, got := range map[string]bool{"Enable": v.Enabled, "Maskable": v.Maskable, "64bit": v.Address64} {
		c.same("MSI "+name, got, flag(title, name))
	}
	if m := find(body, `^Address: ([0-9a-f]+)  Data: ([0-9a-f]+)`); m != nil {
		c.same("MSI message", fmt.Sprintf("%0*x %04x", len(m[1]), v.Address, v.Data), m[1]+" "+m[2])
	}
	if m := find(body, `^Masking: ([0-9a-f]+)  Pending: ([0-9a-f]+)`); m != nil {
		c.same("MSI masks", fmt.Sprintf("%08x %08x", v.Mask, v.Pending), m[1]+" "+m[2])
	}
}

func (c *comparison) msix(config pci.Config, title, body string) {
	v, err := config.MSIX()
	c.none("MSI-X", err)
	m := regexp.MustCompile(`^MSI-X: Enable([+-]) Count=(\d+) Masked([+-])`).FindStringSubmatch(title)
	c.same("MSI-X", fmt.Sprint(v.Vectors, v.Enabled, v.Masked), fmt.Sprint(m[2], " ", m[1] == "+", m[3] == "+"))
	m = find(body, `^Vector table: BAR=(\d) offset=([0-9a-f]+)`)
	c.same("MSI-X table", fmt.Sprintf("%d %08x", v.Table.BAR, v.Table.Offset), m[1]+" "+m[2])
	m = find(body, `^PBA: BAR=(\d) offset=([0-9a-f]+)`)
	c.same("MSI-X pending", fmt.Sprintf("%d %08x", v.Pending.BAR, v.Pending.Offset), m[1]+" "+m[2])
}

func (c *comparison) enhanced(config pci.Config, title, body string) {
	ea, err := config.EnhancedAllocation()
	c.none("EA", err)
	c.same("EA", fmt.Sprintf("Enhanced Allocation (EA): NumEntries=%d", len(ea.Entries)), title)
	for i, r := range ea.Entries {
		_, entry, _ := strings.Cut(body, fmt.Sprintf("Entry %d:", i))
		entry, _, _ = strings.Cut(entry, "Entry ")
		c.same("EA flags", fmt.Sprint(r.Enabled, r.Writable), fmt.Sprint(flag(entry, "Enable"), flag(entry, "Writable")))
		m := find(entry, `BAR Equivalent Indicator: (VF-)?BAR (\d)`)
		at, _ := strconv.Atoi(m[2])
		if m[1] != "" {
			at += 9
		}
		c.same("EA for", r.Equivalent, at)
		c.same("EA properties", map[uint8]string{0: "memory space, non-prefetchable", 4: "VF memory space, non-prefetchable"}[r.Properties],
			find(entry, `^PrimaryProperties: (.*)$`)[1])
		c.same("EA base", fmt.Sprintf("%x", r.Start), find(entry, `Base: ([0-9a-f]+)`)[1])
		c.same("EA last", fmt.Sprintf("%09x", r.Last), find(entry, `MaxOffset: ([0-9a-f]+)`)[1])
	}
}
