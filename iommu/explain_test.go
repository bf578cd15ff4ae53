package iommu_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
)

func TestJoinString(t *testing.T) {
	const all = "Source Validation, Request Redirect, Completion Redirect, Upstream Forwarding"
	for _, tt := range []struct{ name, machine, want string }{
		{
			"a port without ACS", "00:01.0 root\n00:01.0/01:00.0 ep",
			"0000:01:00.0 shares the group of 0000:00:01.0 because root port 0000:00:01.0 lacks ACS (" + all + "): what is behind it could reach what is beside it",
		},
		{
			"switched off", "00:01.0 root acs=SRCU/SU\n00:01.0/01:00.0 ep",
			"0000:01:00.0 shares the group of 0000:00:01.0 because root port 0000:00:01.0 has ACS with Request Redirect, Completion Redirect switched off: what is behind it could reach what is beside it",
		},
		{
			"further up", "00:01.0 root acs=SRCU/SRC\n00:01.0/01:00.0 up",
			"0000:01:00.0 shares the group of 0000:00:01.0 because root port 0000:00:01.0 has ACS with Upstream Forwarding switched off: what is behind it could reach what is beside it",
		},
		{
			"beyond the next", "00:01.0 root\n00:01.0/01:00.0 up\n00:01.0/01:00.0/02:00.0 down acs=SRCU/SRCU",
			"0000:02:00.0 shares the group of 0000:01:00.0 because root port 0000:00:01.0 above that lacks ACS (" + all + "): what is behind it could reach what is beside it",
		},
		{
			"by a quirk", "00:1c.1 root id=8086:1e12\n00:1c.1/04:00.0 ep\n00:1f.0 pci",
			"0000:04:00.0 shares the group of 0000:00:1c.1 because root port 0000:00:1c.1 does not give " + all + " (the kernel decides by pci_quirk_intel_pch_acs): what is behind it could reach what is beside it",
		},
		{
			"by a quirk that reads", "00:1c.1 root id=8086:a110 32bit acs=SRCU/SRC\n00:1c.1/04:00.0 ep",
			"0000:04:00.0 shares the group of 0000:00:1c.1 because root port 0000:00:1c.1 has ACS with Upstream Forwarding switched off: what is behind it could reach what is beside it",
		},
		{
			"functions", "00:1f.0 pci mf\n00:1f.3 pci",
			"0000:00:1f.3 shares the group of 0000:00:1f.0 because both are functions of one device, and neither is kept from the other: conventional PCI function 0000:00:1f.3 cannot have ACS",
		},
		{
			"functions of PCI Express", "00:02.0 ep mf\n00:02.1 ep acs=RC/C",
			"0000:00:02.1 shares the group of 0000:00:02.0 because both are functions of one device, and neither is kept from the other: PCI Express function 0000:00:02.1 has ACS with Request Redirect switched off",
		},
		{
			"a conventional bus", "00:1e.0 pci class=0604\n00:1e.0/01:00.0 pci",
			"0000:01:00.0 shares the group of 0000:00:1e.0 because it sits on the conventional PCI bus behind conventional PCI bridge 0000:00:1e.0: to the IOMMU all that comes from there is the bridge's own",
		},
		{
			"an alias", "00:02.0 ep mf acs=/\n00:02.3 ep id=1180:e832 acs=/",
			"0000:00:02.3 shares the group of 0000:00:02.0 because 0000:00:02.3 also sends under the number of 0000:00:02.0 (known to the kernel: quirk_dma_func0_alias)",
		},
		{
			"an alias the other way", "00:02.0 ep mf id=1b4b:9230 acs=/\n00:02.1 ep acs=/",
			"0000:00:02.1 shares the group of 0000:00:02.0 because 0000:00:02.0 also sends under the number of 0000:00:02.1 (known to the kernel: quirk_dma_func1_alias)",
		},
		{
			"VMD", "00:0e.0 rciep id=8086:9a0b\n00:0e.0/10000:e0:06.0 root",
			"10000:e0:06.0 shares the group of 0000:00:0e.0 because 0000:00:0e.0 carries its whole PCI domain (Intel VMD): to the IOMMU its traffic is that of 0000:00:0e.0",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, topology := readAll(t, made(t, tt.machine))
			var got []string
			for _, g := range topology.Derive() {
				for _, j := range g.Joins {
					got = append(got, j.String())
				}
			}
			if !slices.Contains(got, tt.want) {
				t.Errorf("got  %s\nwant %s", strings.Join(got, "\n     "), tt.want)
			}
		})
	}
	if s := (iommu.Join{}).String(); !strings.Contains(s, "invalid address shares") {
		t.Error(s)
	}
}

// Links for the same reason are told at once, others apart, and none is left out.
func TestExplain(t *testing.T) {
	_, _, topology := readAll(t, made(t, `00:01.0 root
		00:01.0/01:00.0 ep
		00:01.0/01:00.1 ep
		00:1f.0 pci mf
		00:1f.2 pci
		00:1f.3 pci
		00:1f.4 ep acs=R/
		00:0e.0 rciep id=8086:9a0b
		00:0e.0/10000:e0:06.0 root
		00:0e.0/10000:e0:06.0/10000:e1:00.0 ep
		00:02.0 ep mf acs=RC/
		00:02.1 ep acs=RC/
		00:02.2 ep acs=RC/
		00:03.0 root acs=SRCU/SRCU
		00:03.0/03:00.0 to-pci
		00:03.0/03:00.0/04:00.0 pci
		00:03.0/03:00.0/04:01.0 pci
		00:03.0/03:00.0/04:02.0 pci`))
	var got []string
	for _, g := range topology.Derive() {
		got = append(got, iommu.Explain(g.Joins)...)
	}
	want := `0000:01:00.0 and 0000:01:00.1 share the group of 0000:00:01.0 because root port 0000:00:01.0 lacks ACS (Source Validation, Request Redirect, Completion Redirect, Upstream Forwarding): what is behind it could reach what is beside it
0000:00:02.1 and 0000:00:02.2 share the group of 0000:00:02.0 because all are functions of one device, and none is kept from the others: PCI Express functions 0000:00:02.1 and 0000:00:02.2 have ACS with Request Redirect, Completion Redirect switched off
10000:e0:06.0 and 10000:e1:00.0 share the group of 0000:00:0e.0 because 0000:00:0e.0 carries their whole PCI domain (Intel VMD): to the IOMMU their traffic is its own
0000:00:1f.2 and 0000:00:1f.3 share the group of 0000:00:1f.0 because all are functions of one device, and none is kept from the others: conventional PCI functions 0000:00:1f.2 and 0000:00:1f.3 cannot have ACS
0000:00:1f.4 shares the group of 0000:00:1f.0 because both are functions of one device, and neither is kept from the other: PCI Express function 0000:00:1f.4 has ACS with Request Redirect switched off
0000:04:00.0, 0000:04:01.0 and 0000:04:02.0 share the group of 0000:03:00.0 because they sit on the conventional PCI bus behind PCI Express to PCI bridge 0000:03:00.0: to the IOMMU all that comes from there is the bridge's own`
	if diff := cmp.Diff(want, strings.Join(got, "\n")); diff != "" {
		t.Error(diff)
	}
	if got := iommu.Explain(nil); got != nil {
		t.Error(got)
	}
}

func TestJoinReason(t *testing.T) {
	var names []string
	for r := iommu.JoinReason(0); r <= iommu.Multifunction+1; r++ {
		names = append(names, r.String())
	}
	if got := strings.Join(names, " "); got != "unknown real-dma-device pci-bridge missing-acs dma-alias multifunction unknown" {
		t.Error(got)
	}
	if data, err := json.Marshal(iommu.MissingACS); string(data) != `"missing-acs"` || err != nil {
		t.Errorf("%s, %v", data, err)
	}
	if got := strings.Join(iommu.ACSNames(0x7f), " "); got != "source-validation translation-blocking request-redirect completion-redirect upstream-forwarding egress-control direct-translated-p2p" {
		t.Error(got)
	}
	if got := iommu.ACSNames(0); got == nil || len(got) != 0 {
		t.Error(got)
	}
	if got := iommu.ACSNames(pci.ACSIsolation); len(got) != 4 {
		t.Error(got)
	}
}
