package iommu_test

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
)

// readAll reads functions, the kernel's groups and the topology of a machine.
func readAll(t testing.TB, fsys fs.FS) ([]pci.Function, []iommu.Group, *iommu.Topology) {
	t.Helper()
	functions, err := pci.Functions(fsys)
	must(t, err)
	kernel, err := iommu.Groups(fsys, functions)
	must(t, err)
	topology, err := iommu.ReadTopology(fsys, functions, iommu.TopologyOptions{Wake: true})
	must(t, err)
	return functions, kernel, topology
}

func openLab(t testing.TB, name string) fs.FS {
	t.Helper()
	saved, err := hostfs.Open(filepath.Join(hosttest.Root(t), "testdata", "hosts", "lab-"+name+".txtar"))
	must(t, err)
	t.Cleanup(func() { _ = saved.Close() })
	return saved
}

// sets writes groups as lines of addresses, those of one function left out.
func sets(derived []iommu.DerivedGroup) string {
	var b strings.Builder
	for _, g := range derived {
		if len(g.Devices) > 1 {
			fmt.Fprintln(&b, g.Devices)
		}
	}
	return b.String()
}

func kernelSets(groups []iommu.Group) string {
	var all [][]pci.Address
	for _, g := range groups {
		if len(g.Devices) > 1 {
			all = append(all, g.Devices)
		}
	}
	slices.SortFunc(all, func(a, b []pci.Address) int { return a[0].Compare(b[0]) })
	var b strings.Builder
	for _, g := range all {
		fmt.Fprintln(&b, g)
	}
	return b.String()
}

// joins writes why each function is where it is: "04:01.0 03:00.0 pci-bridge at 03:00.0".
func joins(derived []iommu.DerivedGroup) string {
	var b strings.Builder
	for _, g := range derived {
		for _, j := range g.Joins {
			fmt.Fprintf(&b, "%s with %s: %v at %s", short(j.Device), short(j.With), j.Reason, strings.TrimSpace(short(j.At)+" "+j.What))
			if j.HasACS {
				fmt.Fprintf(&b, ", off: %v", j.Missing)
			}
			if j.Quirk != "" {
				fmt.Fprintf(&b, ", %s", j.Quirk)
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

func short(a pci.Address) string { return strings.TrimPrefix(a.String(), "0000:") }

// What is derived is what the kernels of the emulated laptop made, each link named.
func TestDeriveLab(t *testing.T) {
	const usual = `00:01.1 with 00:01.0: multifunction at 00:01.1 conventional PCI function
00:1f.2 with 00:1f.0: multifunction at 00:1f.2 conventional PCI function
00:1f.3 with 00:1f.0: multifunction at 00:1f.3 conventional PCI function
04:01.0 with 03:00.0: pci-bridge at 03:00.0 PCI Express to PCI bridge
`
	for name, want := range map[string]string{
		"amd": usual,
		"vmd": strings.Replace(usual, "00:1f.2", `10000:00:06.0 with 00:0e.0: real-dma-device at 00:0e.0
10000:01:00.0 with 00:0e.0: real-dma-device at 00:0e.0
00:1f.2`, 1) + "04:02.0 with 03:00.0: pci-bridge at 03:00.0 PCI Express to PCI bridge\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, kernel, topology := readAll(t, openLab(t, name))
			derived := topology.Derive()
			if diff := cmp.Diff(kernelSets(kernel), sets(derived)); diff != "" {
				t.Errorf("kernel's and derived: %s", diff)
			}
			for _, g := range derived {
				if g.Unknown != nil {
					t.Errorf("%v: %v", g.Devices, g.Unknown)
				}
			}
			if diff := cmp.Diff(want, joins(derived)); diff != "" {
				t.Error(diff)
			}
			if d := iommu.Compare(derived, kernel); d != nil {
				t.Error(d)
			}
		})
	}
}

// The rules, each on the smallest machine that shows it.
func TestDerive(t *testing.T) {
	for _, tt := range []struct {
		name, machine, groups, joins string
	}{
		{"nothing", "", "", ""},
		{
			"behind a port with ACS, and one without", `00:01.0 root acs=SRCU/SRCU
			00:01.0/01:00.0 ep
			00:02.0 root
			00:02.0/02:00.0 ep`,
			"00:01.0\n00:02.0 02:00.0\n01:00.0\n", "02:00.0 with 00:02.0: missing-acs at 00:02.0 root port\n",
		},
		{
			"what a port says that it lacks it need not switch on", `00:01.0 root acs=SR/SR
			00:01.0/01:00.0 ep
			00:02.0 root acs=SBRCUT/SRC
			00:02.0/02:00.0 ep`,
			"00:01.0\n00:02.0 02:00.0\n01:00.0\n", "02:00.0 with 00:02.0: missing-acs at 00:02.0 root port, off: UpstreamFwd\n",
		},
		{
			"functions of one endpoint", `00:01.0 root acs=SRCU/SRCU
			00:01.0/01:00.0 ep mf
			00:01.0/01:00.1 ep
			00:02.0 root acs=SRCU/SRCU
			00:02.0/02:00.0 ep mf acs=RC/RC
			00:02.0/02:00.1 ep acs=/
			00:03.0 root acs=SRCU/SRCU
			00:03.0/03:00.0 ep mf acs=RC/RC
			00:03.0/03:00.1 ep
			00:03.0/03:00.2 ep acs=RC/R`,
			"00:01.0\n00:02.0\n00:03.0\n01:00.0 01:00.1\n02:00.0\n02:00.1\n03:00.0\n03:00.1 03:00.2\n",
			`01:00.1 with 01:00.0: multifunction at 01:00.1 PCI Express function
03:00.2 with 03:00.1: multifunction at 03:00.2 PCI Express function, off: CmpltRedir
`,
		},
		{
			"function 0 says that it is alone", `00:1f.0 ep
			00:1f.3 ep
			00:1f.4 ep
			00:16.0 pci
			00:16.3 pci`,
			"00:16.0 00:16.3\n00:1f.0\n00:1f.3 00:1f.4\n",
			`00:16.3 with 00:16.0: multifunction at 00:16.3 conventional PCI function
00:1f.4 with 00:1f.3: multifunction at 00:1f.4 PCI Express function
`,
		},
		{
			"ports of one device: one without ACS is alone", `00:1c.0 root mf acs=SRCU/SRCU
			00:1c.1 root
			00:1c.1/02:00.0 ep
			00:1c.2 root acs=SRCU/SRCU
			00:1c.2/03:00.0 ep`,
			"00:1c.0\n00:1c.1 02:00.0\n00:1c.2\n03:00.0\n", "02:00.0 with 00:1c.1: missing-acs at 00:1c.1 root port\n",
		},
		{
			"ports of one device: two without ACS, and what is behind both", `00:1c.0 root mf
			00:1c.0/01:00.0 ep
			00:1c.4 root
			00:1c.4/02:00.0 ep`,
			"00:1c.0 00:1c.4 01:00.0 02:00.0\n",
			`00:1c.4 with 00:1c.0: multifunction at 00:1c.4 root port
01:00.0 with 00:1c.0: missing-acs at 00:1c.0 root port
02:00.0 with 00:1c.4: missing-acs at 00:1c.4 root port
`,
		},
		{
			"switch that isolates", `00:01.0 root acs=SRCU/SRCU
			00:01.0/01:00.0 up
			00:01.0/01:00.0/02:00.0 down acs=SRCU/SRCU
			00:01.0/01:00.0/02:01.0 down acs=SRCU/SRCU
			00:01.0/01:00.0/02:00.0/03:00.0 ep
			00:01.0/01:00.0/02:01.0/04:00.0 ep`,
			"00:01.0\n01:00.0\n02:00.0\n02:01.0\n03:00.0\n04:00.0\n", "",
		},
		{
			"switch with one port that does not", `00:01.0 root acs=SRCU/SRCU
			00:01.0/01:00.0 up
			00:01.0/01:00.0/02:00.0 down acs=SRCU/SRCU
			00:01.0/01:00.0/02:01.0 down
			00:01.0/01:00.0/02:00.0/03:00.0 ep
			00:01.0/01:00.0/02:01.0/04:00.0 ep`,
			"00:01.0\n01:00.0\n02:00.0\n02:01.0 04:00.0\n03:00.0\n", "04:00.0 with 02:01.0: missing-acs at 02:01.0 switch downstream port\n",
		},
		{
			"switch below a port that does not isolate: the port is named, not the next bridge", `00:01.0 root acs=SRCU/SC
			00:01.0/01:00.0 up
			00:01.0/01:00.0/02:00.0 down acs=SRCU/SRCU
			00:01.0/01:00.0/02:00.0/03:00.0 ep`,
			"00:01.0 01:00.0 02:00.0 03:00.0\n",
			`01:00.0 with 00:01.0: missing-acs at 00:01.0 root port, off: ReqRedir UpstreamFwd
02:00.0 with 01:00.0: missing-acs at 00:01.0 root port, off: ReqRedir UpstreamFwd
03:00.0 with 02:00.0: missing-acs at 00:01.0 root port, off: ReqRedir UpstreamFwd
`,
		},
		{
			"upstream port of several functions", `00:01.0 root acs=SRCU/SRCU
			00:01.0/01:00.0 up mf
			00:01.0/01:00.1 ep
			00:01.0/01:00.0/02:00.0 down acs=SRCU/SRCU
			00:01.0/01:00.0/02:00.0/03:00.0 ep`,
			"00:01.0\n01:00.0 01:00.1 02:00.0 03:00.0\n",
			`01:00.1 with 01:00.0: multifunction at 01:00.1 PCI Express function
02:00.0 with 01:00.0: missing-acs at 01:00.0 switch upstream port
03:00.0 with 02:00.0: missing-acs at 01:00.0 switch upstream port
`,
		},
		{
			"conventional bus behind a PCI Express to PCI bridge", `00:1c.0 root acs=SRCU/SRCU
			00:1c.0/03:00.0 to-pci
			00:1c.0/03:00.0/04:01.0 pci
			00:1c.0/03:00.0/04:02.0 pci mf
			00:1c.0/03:00.0/04:02.1 pci`,
			"00:1c.0\n03:00.0 04:01.0 04:02.0 04:02.1\n",
			`04:01.0 with 03:00.0: pci-bridge at 03:00.0 PCI Express to PCI bridge
04:02.0 with 03:00.0: pci-bridge at 03:00.0 PCI Express to PCI bridge
04:02.1 with 03:00.0: pci-bridge at 03:00.0 PCI Express to PCI bridge
`,
		},
		{
			"conventional bridges, one behind the other", `00:1e.0 pci class=0604
			00:1e.0/01:04.0 pci class=0604
			00:1e.0/01:05.0 pci
			00:1e.0/01:04.0/02:00.0 pci`,
			"00:1e.0 01:04.0 01:05.0 02:00.0\n",
			`01:04.0 with 00:1e.0: pci-bridge at 00:1e.0 conventional PCI bridge
01:05.0 with 00:1e.0: pci-bridge at 00:1e.0 conventional PCI bridge
02:00.0 with 01:04.0: pci-bridge at 01:04.0 conventional PCI bridge
`,
		},
		{
			"conventional bridge right behind a port, and PCI Express behind a bridge", `00:1c.0 root acs=SRCU/SRCU
			00:1c.0/03:00.0 pci class=0604
			00:1c.0/03:00.0/04:00.0 pci
			00:1e.0 pci class=0604
			00:1e.0/05:00.0 from-pci
			00:1e.0/05:00.0/06:00.0 ep`,
			"00:1c.0\n00:1e.0 05:00.0 06:00.0\n03:00.0 04:00.0\n",
			`05:00.0 with 00:1e.0: pci-bridge at 00:1e.0 conventional PCI bridge
06:00.0 with 05:00.0: pci-bridge at 05:00.0 PCI to PCI Express bridge
04:00.0 with 03:00.0: pci-bridge at 03:00.0 conventional PCI bridge
`,
		},
		{
			"virtual functions are each alone, unless the port does not isolate", `00:01.0 root acs=SRCU/SRCU
			00:01.0/01:00.0 ep mf
			00:01.0/01:00.1 ep
			00:01.0/01:00.2 pf=0000:01:00.0 id=ffff:ffff
			00:01.0/01:10.0 pf=0000:01:00.0
			00:01.0/01:10.1 pf=0000:01:00.1
			00:02.0 root
			00:02.0/02:00.0 ep
			00:02.0/02:00.1 pf=0000:02:00.0`,
			"00:01.0\n00:02.0 02:00.0 02:00.1\n01:00.0 01:00.1\n01:00.2\n01:10.0\n01:10.1\n",
			`02:00.0 with 00:02.0: missing-acs at 00:02.0 root port
02:00.1 with 00:02.0: missing-acs at 00:02.0 root port
01:00.1 with 01:00.0: multifunction at 01:00.1 PCI Express function
`,
		},
		{
			"function 8 and above looks like another device, but is of the same", `00:01.0 root acs=SRCU/SRCU
			00:01.0/01:00.0 ep mf acs=RC/RC
			00:01.0/01:01.0 ep
			00:01.0/01:01.1 ep`,
			"00:01.0\n01:00.0\n01:01.0 01:01.1\n", "01:01.1 with 01:01.0: multifunction at 01:01.1 PCI Express function\n",
		},
		{
			"a domain that a function carries", `00:0e.0 rciep id=8086:9a0b
			00:0e.0/10000:e0:06.0 root
			00:0e.0/10000:e0:06.0/10000:e1:00.0 ep
			00:02.0 rciep id=8086:9a49`,
			"00:02.0\n00:0e.0 10000:e0:06.0 10000:e1:00.0\n",
			`10000:e0:06.0 with 00:0e.0: real-dma-device at 00:0e.0
10000:e1:00.0 with 00:0e.0: real-dma-device at 00:0e.0
`,
		},
		{
			"class 0680 is an endpoint, and any class with something behind is a bridge", `00:01.0 root acs=SRCU/SRCU
			00:01.0/01:00.0 ep class=0680
			00:02.0 pci class=0680
			00:02.0/02:00.0 ep`,
			"00:01.0\n00:02.0 02:00.0\n01:00.0\n", "02:00.0 with 00:02.0: pci-bridge at 00:02.0 conventional PCI function\n",
		},
		{
			"a host bridge is a function as any other", `00:00.0 pci mf class=0600
			00:00.1 pci class=0880
			00:01.0 root acs=SRCU/SRCU
			00:01.0/01:00.0 ep class=0600`,
			"00:00.0 00:00.1\n00:01.0\n01:00.0\n", "00:00.1 with 00:00.0: multifunction at 00:00.1 conventional PCI function\n",
		},
		{
			"an event collector never has ACS", `00:00.0 pci mf
			00:00.4 collector acs=SRCU/SRCU
			00:00.5 rciep acs=RC/RC`,
			"00:00.0 00:00.4\n00:00.5\n", "00:00.4 with 00:00.0: multifunction at 00:00.4 event collector\n",
		},
		{
			"without root: what 64 bytes tell", `00:01.0 root len=64
			00:01.0/01:00.0 ep len=64
			00:02.0 rciep len=64
			00:1e.0 pci class=0604 len=64
			00:1e.0/02:00.0 pci
			00:1f.0 pci mf len=64
			00:1f.3 ep len=64
			00:1f.4 pci len=64`,
			"00:01.0 ?01:00.0+00:01.0\n00:02.0\n00:1e.0 02:00.0\n00:1f.0 00:1f.4 ?00:1f.3+00:1f.0\n00:1f.3 ?00:1f.3+00:1f.0\n01:00.0 ?01:00.0+00:01.0\n",
			`02:00.0 with 00:1e.0: pci-bridge at 00:1e.0 conventional PCI bridge
00:1f.4 with 00:1f.0: multifunction at 00:1f.4 conventional PCI function
`,
		},
		{
			"256 bytes tell the type but not ACS", `00:01.0 root len=256
			00:01.0/01:00.0 up
			00:01.0/01:00.0/02:00.0 down
			00:01.0/01:00.0/02:00.0/03:00.0 ep
			00:1c.0 root len=256
			00:1c.0/04:00.0 to-pci len=256
			00:1c.0/04:00.0/05:00.0 pci`,
			`00:01.0 ?01:00.0+00:01.0
00:1c.0 ?04:00.0+00:1c.0
01:00.0 ?01:00.0+00:01.0 ?02:00.0+01:00.0
02:00.0 03:00.0 ?02:00.0+01:00.0
04:00.0 05:00.0 ?04:00.0+00:1c.0
`,
			`03:00.0 with 02:00.0: missing-acs at 02:00.0 switch downstream port
05:00.0 with 04:00.0: pci-bridge at 04:00.0 PCI Express to PCI bridge
`,
		},
		{
			"gone or powered off", `00:01.0 root len=0
			00:01.0/01:00.0 ep`, "00:01.0 ?01:00.0+00:01.0\n01:00.0 ?01:00.0+00:01.0\n", "",
		},
		{"a bridge that is not there", "00:01.0/01:00.0 ep\n00:01.0/01:00.1 ep", "01:00.0 ?01:00.0+00:01.0\n01:00.1 ?01:00.1+00:01.0\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := made(t, tt.machine)
			must(t, tr.Mkdir("sys/bus/pci/devices"))
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
