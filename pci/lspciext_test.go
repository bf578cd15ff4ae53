package pci_test

import (
	"fmt"
	"strings"

	"github.com/project-independence/indy/pci"
)

// extended compares the decode of one extended capability with lspci's words on it.
func (c *comparison) extended(config pci.Config, title string, m []string, body string) {
	switch title {
	case "Advanced Error Reporting":
		c.aer(config, body)
	case "Access Control Services":
		a, err := config.ACS()
		c.none(title, err)
		names := []string{"SrcValid", "TransBlk", "ReqRedir", "CmpltRedir", "UpstreamFwd", "EgressCtrl", "DirectTrans"}
		c.flags("ACSCap", find(body, `^ACSCap:(.*)`)[1], a.Supported.String(), names...)
		c.flags("ACSCtl", find(body, `^ACSCtl:(.*)`)[1], a.Enabled.String(), names...)
	case "Single Root I/O Virtualization":
		c.sriov(config, body)
	case "Resizable BAR":
		c.resizable(config, body)
	case "Alternative Routing-ID Interpretation":
		a, err := config.ARI()
		c.none(title, err)
		c.same("ARICap", fmt.Sprintf("MFVC- ACS%s, Next Function: %d", sign(a.ACSGroups), a.NextFunction), find(body, `^ARICap:\s+(.*)`)[1])
		c.same("ARICtl", fmt.Sprintf("Function Group: %d", a.FunctionGroup), find(body, `^ARICtl:.*(Function Group: \d+)`)[1])
	case "Address Translation Services":
		a, err := config.ATS()
		c.none(title, err)
		c.same("ATSCap", fmt.Sprintf("%02x", a.QueueDepth%32), find(body, `^ATSCap:\s+Invalidate Queue Depth: (..)`)[1])
		m := find(body, `^ATSCtl:\s+Enable([+-]), Smallest Translation Unit: (..)`)
		var unit uint
		if _, err := fmt.Sscanf(m[2], "%x", &unit); err != nil {
			c.t.Fatal(err)
		}
		c.same("ATSCtl", fmt.Sprint(a.Enabled, a.SmallestUnit), fmt.Sprint(m[1] == "+", uint64(4096)<<unit))
	case "Page Request Interface":
		p, err := config.PageRequest()
		c.none(title, err)
		c.same("PRICtl", p.Enabled, flag(find(body, `^PRICtl:.*`)[0], "Enable"))
		sta := find(body, `^PRISta:.*`)[0]
		c.same("PRISta", fmt.Sprint(p.Failed, p.Stopped), fmt.Sprint(flag(sta, "RF"), flag(sta, "Stopped")))
		c.same("PRI", fmt.Sprintf("Page Request Capacity: %08x, Page Request Allocation: %08x", p.Capacity, p.Allocation), find(body, `^Page Request.*`)[0])
	case "Process Address Space ID":
		p, err := config.PASID()
		c.none(title, err)
		c.same("PASIDCap", fmt.Sprintf("Exec%s Priv%s, Max PASID Width: %02x", sign(p.Execute), sign(p.Privileged), p.Width), find(body, `^PASIDCap: (.*)`)[1])
		c.same("PASIDCtl", fmt.Sprintf("Enable%s Exec%s Priv%s", sign(p.Enabled), sign(p.ExecuteEnabled), sign(p.PrivilegedEnabled)),
			find(body, `^PASIDCtl: (.*)`)[1])
	case "Device Serial Number":
		n, err := config.SerialNumber()
		c.none(title, err)
		c.same(title, title+" "+n.String(), m[3])
	case "Latency Tolerance Reporting":
		l, err := config.LatencyTolerance()
		c.none(title, err)
		c.same(title, fmt.Sprintf("%dns %dns", l.Snoop.Nanoseconds(), l.NoSnoop.Nanoseconds()),
			find(body, `^Max snoop latency: (.*)`)[1]+" "+find(body, `^Max no snoop latency: (.*)`)[1])
	case "Precision Time Measurement":
		p, err := config.PTM()
		c.none(title, err)
		c.same("PTMCap", fmt.Sprintf("Requester:%s Responder:%s Root:%s", sign(p.Requester), sign(p.Responder), sign(p.Root)), find(body, `^PTMCap: (.*)`)[1])
		c.same("PTMControl", fmt.Sprintf("Enabled:%s RootSelected:%s", sign(p.Enabled), sign(p.RootSelected)), find(body, `^PTMControl: (.*)`)[1])
	case "L1 PM Substates":
		l, err := config.L1Substates()
		c.none(title, err)
		names := []string{"PCI-PM_L1.2", "PCI-PM_L1.1", "ASPM_L1.2", "ASPM_L1.1"}
		c.flags("L1SubCap", find(body, `^L1SubCap: (.*)`)[1], l.Supported.String(), names...)
		c.flags("L1SubCtl1", find(body, `^L1SubCtl1: (.*)`)[1], l.Enabled.String(), names...)
	case "Downstream Port Containment":
		d, err := config.DPC()
		c.none(title, err)
		capability, control := find(body, `^DpcCap:.*`)[0], find(body, `^DpcCtl:.*`)[0]
		c.same("DpcCap", fmt.Sprint(d.RootPortExtensions, d.SoftwareTrigger), fmt.Sprint(flag(capability, "RPExt"), flag(capability, "SwTrigger")))
		c.same("DpcCtl", fmt.Sprintf("Trigger:%x", d.Trigger), find(control, `Trigger:\d`)[0])
		sta := find(body, `^DpcSta: Trigger([+-]) Reason:(..)`)
		c.same("DpcSta", fmt.Sprintf("%v %02x", d.Triggered, d.Reason), fmt.Sprint(sta[1] == "+", " ", sta[2]))
		c.same("DPC source", fmt.Sprintf("%04x", d.Source), find(body, `^Source:\s+(....)`)[1])
	case "Vendor Specific":
		c.vendorExtended(config, m)
	}
}

func sign(yes bool) string {
	if yes {
		return "+"
	}
	return "-"
}

func (c *comparison) aer(config pci.Config, body string) {
	a, err := config.AER()
	c.none("AER", err)
	names := []string{"DLP", "SDES", "TLP", "FCP", "CmpltTO", "CmpltAbrt", "UnxCmplt", "RxOF", "MalfTLP", "ECRC", "UnsupReq", "ACSViol"}
	for what, got := range map[string]pci.UncorrectableErrors{"UESta": a.Uncorrectable, "UEMsk": a.UncorrectableMask, "UESvrt": a.Fatal} {
		c.flags(what, find(body, `^`+what+`:(.*)`)[1], got.String(), names...)
	}
	names = []string{"RxErr", "BadTLP", "BadDLLP", "Rollover", "Timeout", "AdvNonFatalErr"}
	for what, got := range map[string]pci.CorrectableErrors{"CESta": a.Correctable, "CEMsk": a.CorrectableMask} {
		c.flags(what, find(body, `^`+what+`:(.*)`)[1], got.String(), names...)
	}
	c.same("first error", fmt.Sprintf("%02x", a.FirstError), find(body, `First Error Pointer: (..)`)[1])
}

func (c *comparison) sriov(config pci.Config, body string) {
	s, err := config.SRIOV()
	c.none("SR-IOV", err)
	ctl := find(body, `^IOVCtl:.*`)[0]
	c.same("IOVCtl", fmt.Sprint(s.Enabled, s.MemoryEnabled, s.ARIHierarchy), fmt.Sprint(flag(ctl, "Enable"), flag(ctl, "MSE"), flag(ctl, "ARIHierarchy")))
	c.same("VFs", fmt.Sprintf("Initial VFs: %d, Total VFs: %d, Number of VFs: %d, Function Dependency Link: %02x",
		s.InitialVFs, s.TotalVFs, s.NumVFs, s.Dependency), find(body, `^Initial VFs: .*`)[0])
	c.same("VF", fmt.Sprintf("VF offset: %d, stride: %d, Device ID: %s", s.Offset, s.Stride, s.Device), find(body, `^VF offset: .*`)[0])
	c.same("VF pages", fmt.Sprintf("Supported Page Size: %08x, System Page Size: %08x", s.PageSizes, s.PageSize), find(body, `^Supported Page Size: .*`)[0])
	var got, want []string
	for _, b := range s.BARs {
		got = append(got, fmt.Sprintf("%d %016x %v %v", b.Index, b.Start, b.Is64, b.Prefetchable))
	}
	for line := range strings.SplitSeq(body, "\n") {
		if m := regionOf.FindStringSubmatch(line); m != nil {
			want = append(want, fmt.Sprintf("%s %s %v %v", m[1], m[3], m[4] == "64", m[5] == ""))
		}
	}
	c.same("VF BARs", strings.Join(got, ", "), strings.Join(want, ", "))
}

func (c *comparison) resizable(config pci.Config, body string) {
	all, err := config.ResizableBARs()
	c.none("resizable", err)
	var got, want []string
	for _, r := range all {
		// lspci writes sizes as the lowest unit does: 256MB 512MB 1GB.
		got = append(got, fmt.Sprintf("BAR %d: current size: %s, supported: %s", r.BAR, pci.BARSizes(r.Size>>20), r.Supported))
	}
	for line := range strings.SplitSeq(body, "\n") {
		if strings.HasPrefix(line, "BAR ") {
			want = append(want, line)
		}
	}
	c.same("resizable", strings.Join(got, "; "), strings.Join(want, "; "))
}

func (c *comparison) vendorExtended(config pci.Config, m []string) {
	all, err := config.VendorExtended()
	c.none("vendor extended", err)
	for _, e := range all {
		if fmt.Sprintf("%x", e.Offset) == m[1] {
			c.same("vendor extended", fmt.Sprintf("Vendor Specific Information: ID=%04x Rev=%d Len=%03x <?>", e.ID, e.Revision, e.Length), m[3])
			return
		}
	}
	c.t.Errorf("%s: no vendor-specific capability at %s", c.where, m[1])
}
