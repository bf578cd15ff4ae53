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
