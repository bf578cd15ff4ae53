package iommu_test

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/iommu"
)

// notOurs are families of the kernel's quirks that the tables leave out, each with why.
var notOurs = map[string]string{
	"pci_quirk_al_acs":                  "Annapurna's server processors",
	"pci_quirk_brcm_acs":                "Broadcom's processors of switches and storage",
	"pci_quirk_cavium_acs":              "Cavium's ARM server processors",
	"pci_quirk_nxp_rp_acs":              "NXP's processors of routers",
	"pci_quirk_xgene_acs":               "Applied Micro's ARM server processors",
	"quirk_bridge_cavm_thrx2_pcie_root": "Cavium's ARM server processors",
	"quirk_mic_x200_dma_alias":          "Intel's Xeon Phi cards for servers",
	"quirk_pex_vca_alias":               "Intel's VCA cards for servers",
	"quirk_plx_ntb_dma_alias":           "non-transparent bridges between servers",
	"quirk_switchtec_ntb_dma_alias":     "non-transparent bridges between servers, whose aliases are in their memory",
	"quirk_use_pcie_bridge_dma_alias":   "changes under which number a bridge sends, not that it does: grouping is the same",
}

// The tables hold what the kernel's do, but for the families that are left out, and nothing
// else.
func TestQuirksAreTheKernels(t *testing.T) {
	data, err := os.ReadFile(hosttest.Shared(t, "hwdata", "quirks", "pci_quirks_6.18.tsv"))
	must(t, err)
	var want []string
	left := map[string]int{}
	for line := range strings.Lines(string(data)) {
		f := strings.Split(line, "\t")
		if f[0] != "acs_enabled" && f[0] != "dma_alias" && f[0] != "bridge_xlate_root" {
			continue
		}
		if notOurs[f[4]] != "" {
			left[f[4]]++
			continue
		}
		first, last, isRange := strings.Cut(f[2], "-")
		if !isRange {
			want = append(want, f[4]+" "+f[1]+":"+f[2])
			continue
		}
		a, err := strconv.ParseUint(first, 16, 16)
		must(t, err)
		b, err := strconv.ParseUint(last, 16, 16)
		must(t, err)
		for ; a <= b; a++ {
			want = append(want, fmt.Sprintf("%s %s:%04x", f[4], f[1], a))
		}
	}
	// The kernel's functions for these vendors say no to all other ids; the list of facts
	// says so in words.
	want = append(want, "pci_quirk_zhaoxin_pcie_ports_acs 1d17:*", "pci_quirk_wangxun_nic_acs 8088:*")
	got := iommu.QuirkRows()
	slices.Sort(want)
	slices.Sort(got)
	if len(want) < 280 {
		t.Errorf("only %d rows", len(want))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for family, why := range notOurs {
		if left[family] == 0 {
			t.Errorf("%s is not among the kernel's, and need not be left out (%s)", family, why)
		}
	}
}

// What the quirks do, on the functions they are for.
func TestQuirks(t *testing.T) {
	const lpc = "00:1f.0 pci class=0601"
	for _, tt := range []struct {
		name, machine, groups, joins string
		also                         func(*hostfs.Tree)
	}{
		{
			name: "network controllers whose functions are apart without saying so",
			machine: `00:01.0 root acs=SRCU/SRCU
				00:01.0/01:00.0 ep mf id=8086:1521
				00:01.0/01:00.1 ep id=8086:1521`,
			groups: "00:01.0\n01:00.0\n01:00.1\n",
		},
		{
			name: "the same by ids alone, without root", machine: `00:19.0 ep mf id=8086:15b7 len=64
				00:19.1 ep id=8086:15b8 len=64`,
			groups: "00:19.0\n00:19.1\n",
		},
		{
			name: "endpoints in Intel's root complex", machine: `00:14.0 rciep mf id=8086:43ed
				00:14.2 rciep id=8086:43ef
				00:15.0 pci mf id=8086:43e8
				00:15.1 rciep id=8086:43e9`,
			groups: "00:14.0\n00:14.2\n00:15.0\n00:15.1\n",
		},
		{
			name: "the same of another vendor", machine: `00:14.0 rciep mf id=1022:43ed
				00:14.2 rciep id=1022:43ef`,
			groups: "00:14.0 00:14.2\n", joins: "00:14.2 with 00:14.0: multifunction at 00:14.2 PCI Express function\n",
		},
		{
			name: "Intel's chipsets, whose registers were open to the kernel", machine: `00:1c.0 root mf id=8086:1e10
				00:1c.1 root id=8086:1e12
				00:1c.1/02:00.0 ep
				` + lpc,
			groups: "00:1c.0\n00:1c.1\n00:1f.0\n02:00.0\n",
			also:   func(tr *hostfs.Tree) { setByte(t, tr, "0000:00:1f.0", 0xf0, 1) },
		},
		{
			name: "closed", machine: `00:1c.1 root id=8086:1e12 acs=SRCU/SRCU
				00:1c.1/02:00.0 ep
				` + lpc,
			groups: "00:1c.1 02:00.0\n00:1f.0\n",
			joins:  "02:00.0 with 00:1c.1: missing-acs at 00:1c.1 root port, pci_quirk_intel_pch_acs\n",
		},
		{
			name: "not readable", machine: `00:1c.1 root id=8086:1e12
				00:1c.1/02:00.0 ep
				` + lpc + " len=64",
			groups: "00:1c.1 ?02:00.0+00:1c.1\n00:1f.0\n02:00.0 ?02:00.0+00:1c.1\n",
		},
		{
			name: "of these chipsets what is no root port", machine: `00:1c.0 pci mf id=8086:1e10
				00:1c.1 pci id=8086:1e12`,
			groups: "00:1c.0 00:1c.1\n", joins: "00:1c.1 with 00:1c.0: multifunction at 00:1c.1 conventional PCI function\n",
		},
		{
			name: "Intel's 100 and 200 series have registers of 32 bits", machine: `00:1c.0 root id=8086:a110 acs=SRCU/SRCU 32bit
				00:1c.0/01:00.0 ep
				00:1d.0 root id=8086:a118 acs=SRCU/SR 32bit
				00:1d.0/02:00.0 ep
				00:1b.0 root id=8086:a167
				00:1b.0/03:00.0 ep
				00:1a.0 root id=8086:a167 len=256
				00:1a.0/04:00.0 ep`,
			groups: "00:1a.0 ?04:00.0+00:1a.0\n00:1b.0 03:00.0\n00:1c.0\n00:1d.0 02:00.0\n01:00.0\n04:00.0 ?04:00.0+00:1a.0\n",
			joins: `03:00.0 with 00:1b.0: missing-acs at 00:1b.0 root port
02:00.0 with 00:1d.0: missing-acs at 00:1d.0 root port, off: CmpltRedir UpstreamFwd, pci_quirk_intel_spt_pch_acs
`,
		},
		{
			name: "AMD's south bridges, with an IVRS table", machine: `00:14.0 pci mf id=1022:780b
				00:14.2 pci id=1022:780d
				00:14.3 pci id=1022:780f
				00:14.4 pci id=1022:7809`,
			groups: "00:14.0 00:14.2\n00:14.3\n00:14.4\n", joins: "00:14.2 with 00:14.0: multifunction at 00:14.2 conventional PCI function\n",
			also: func(tr *hostfs.Tree) { put(t, tr, "sys/firmware/acpi/tables/IVRS", "IVRS") },
		},
		{
			name: "or with the unit it describes", machine: `00:14.3 pci mf id=1022:780f
				00:14.4 pci id=1022:7809`,
			groups: "00:14.3\n00:14.4\n",
			also:   func(tr *hostfs.Tree) { must(t, tr.Symlink("../../devices/ivhd0", "sys/class/iommu/ivhd0")) },
		},
		{
			name: "without", machine: `00:14.3 pci mf id=1022:780f
				00:14.4 pci id=1022:7809`,
			groups: "00:14.3 00:14.4\n", joins: "00:14.4 with 00:14.3: multifunction at 00:14.4 conventional PCI function\n",
			also: func(tr *hostfs.Tree) { put(t, tr, "sys/firmware/acpi/tables/DSDT", "DSDT") },
		},
		{
			name: "not known", machine: `00:14.3 pci mf id=1022:780f
				00:14.4 pci id=1022:7809`,
			groups: "00:14.3 ?00:14.4+00:14.3\n00:14.4 ?00:14.4+00:14.3\n",
		},
		{
			name: "and none behind a bridge", machine: `00:1e.0 pci class=0604
				00:1e.0/01:14.3 pci mf id=1022:780f
				00:1e.0/01:14.4 pci id=1022:7809`,
			groups: "00:1e.0 01:14.3 01:14.4\n",
			joins: `01:14.3 with 00:1e.0: pci-bridge at 00:1e.0 conventional PCI bridge
01:14.4 with 00:1e.0: pci-bridge at 00:1e.0 conventional PCI bridge
`,
		},
		{
			name: "Zhaoxin's ports are taken by their ids alone", machine: `00:03.0 root id=1d17:0717
				00:03.0/01:00.0 ep
				00:04.0 root id=1d17:0700 acs=SRCU/SRCU
				00:04.0/02:00.0 ep`,
			groups: "00:03.0\n00:04.0 02:00.0\n01:00.0\n",
			joins:  "02:00.0 with 00:04.0: missing-acs at 00:04.0 root port, pci_quirk_zhaoxin_pcie_ports_acs\n",
		},
		{
			name: "functions that send as function 0", machine: `00:1c.0 root acs=SRCU/SRCU
				00:1c.0/03:00.0 ep mf acs=/ id=1180:e230
				00:1c.0/03:00.3 ep acs=/ id=1180:e832`,
			groups: "00:1c.0\n03:00.0 03:00.3\n", joins: "03:00.3 with 03:00.0: dma-alias at 03:00.3 PCI Express function, quirk_dma_func0_alias\n",
		},
		{
			name: "disk controllers that send as function 1, which is there, or not", machine: `00:1c.0 root acs=SRCU/SRCU
				00:1c.0/03:00.0 ep mf acs=/ id=1b4b:9230
				00:1c.0/03:00.1 ep acs=/
				00:1d.0 root acs=SRCU/SRCU
				00:1d.0/04:00.0 ep id=1b4b:9230`,
			groups: "00:1c.0\n00:1d.0\n03:00.0 03:00.1\n04:00.0\n",
			joins:  "03:00.1 with 03:00.0: dma-alias at 03:00.0 PCI Express function, quirk_dma_func1_alias\n",
		},
		{
			name: "a fixed number, by subsystem", machine: `00:1e.0 root acs=SRCU/SRCU
				00:1e.0/01:00.0 ep id=9005:0285 sub=9005:02bb
				00:1e.0/01:01.0 ep acs=/
				00:1d.0 root acs=SRCU/SRCU
				00:1d.0/02:00.0 ep id=9005:0285 sub=9005:0299
				00:1d.0/02:01.0 ep acs=/`,
			groups: "00:1d.0\n00:1e.0\n01:00.0 01:01.0\n02:00.0\n02:01.0\n",
			joins:  "01:01.0 with 01:00.0: dma-alias at 01:00.0, quirk_fixed_dma_alias\n",
		},
		{
			name: "through an alias to a neighbour that is not apart from others", machine: `00:1c.0 root acs=SRCU/SRCU
				00:1c.0/03:00.0 ep mf
				00:1c.0/03:00.1 ep
				00:1c.0/03:00.2 ep acs=/ id=1180:e832`,
			groups: "00:1c.0\n03:00.0 03:00.1 03:00.2\n",
			joins: `03:00.1 with 03:00.0: multifunction at 03:00.1 PCI Express function
03:00.2 with 03:00.0: dma-alias at 03:00.2 PCI Express function, quirk_dma_func0_alias
`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := made(t, tt.machine)
			if tt.also != nil {
				tt.also(tr)
			}
			_, _, topology := readAll(t, tr)
			groups := topology.Derive()
			if diff := cmp.Diff(tt.groups, derived(groups)); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tt.joins, joins(groups)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func setByte(t testing.TB, tr *hostfs.Tree, function string, at int, to byte) {
	t.Helper()
	name := "sys/bus/pci/devices/" + function + "/config"
	data, err := tr.ReadFile(name)
	must(t, err)
	data = slices.Clone(data)
	data[at] = to
	put(t, tr, name, string(data))
}

// The override patch vouches for what has no ACS of its own, and for nothing else.
func TestWithACSOverride(t *testing.T) {
	const machine = `00:01.0 root id=1022:1234
		00:01.0/01:00.0 ep mf id=10de:2520
		00:01.0/01:00.1 ep id=10de:228e
		00:02.0 root acs=SRCU/SR
		00:02.0/02:00.0 ep
		00:03.0 pci class=0604
		00:03.0/03:00.0 ep
		00:1c.1 root id=8086:1e12
		00:1c.1/04:00.0 ep
		00:1f.0 pci mf
		00:1f.3 pci`
	const none = "00:01.0 01:00.0 01:00.1\n00:02.0 02:00.0\n00:03.0 03:00.0\n00:1c.1 04:00.0\n00:1f.0 00:1f.3\n"
	_, _, topology := readAll(t, made(t, machine))
	for _, tt := range []struct{ kinds, want string }{
		{"", none},
		{"multifunction", none},
		{"upstream id:nothing id:1022", none},
		{"downstream", strings.Replace(none, "00:01.0 01:00.0 01:00.1\n", "00:01.0\n", 1) + "01:00.0 01:00.1\n"},
		{"id:1022:1234", strings.Replace(none, "00:01.0 01:00.0 01:00.1\n", "00:01.0\n", 1) + "01:00.0 01:00.1\n"},
		{"downstream,multifunction", strings.Replace(none, "00:01.0 01:00.0 01:00.1\n", "00:01.0\n", 1) + "01:00.0\n01:00.1\n"},
		{"multifunction downstream", strings.Replace(none, "00:01.0 01:00.0 01:00.1\n", "00:01.0\n", 1) + "01:00.0\n01:00.1\n"},
		{"downstream,id:10DE:228e", strings.Replace(none, "00:01.0 01:00.0 01:00.1\n", "00:01.0\n", 1) + "01:00.0\n01:00.1\n"},
	} {
		if got := derived(topology.WithACSOverride(strings.Fields(tt.kinds)...).Derive()); got != tt.want {
			t.Errorf("%s: got\n%swant\n%s", tt.kinds, got, tt.want)
		}
	}
	if got := derived(topology.Derive()); got != none {
		t.Errorf("the topology itself changed:\n%s", got)
	}
}
