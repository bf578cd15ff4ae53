package iommu_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/hostfs/importer"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
)

// printed makes a machine of a transcript of lspci -vvvnnk; README.txt beside it says what
// the columns are.
func printed(t *testing.T, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(hosttest.Shared(t, "hwdata", "iommu_groups", "linuxhw_lspci"), pattern))
	must(t, err)
	if len(files) != 1 {
		t.Fatalf("%d files %s", len(files), pattern)
	}
	data, err := os.ReadFile(files[0])
	must(t, err)
	var rows [][]string
	behind := map[string]string{} // by bus, the bridge
	slots := map[string]int{}
	for line := range strings.Lines(string(data)) {
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if strings.HasPrefix(line, "#") || len(f) < 14 {
			continue
		}
		rows = append(rows, f)
		slots[f[0][:10]]++
		if _, below, ok := strings.Cut(f[13], "-"); ok {
			secondary, _, _ := strings.Cut(below, "-")
			behind[secondary] = f[0]
		}
	}
	var b strings.Builder
	for _, f := range rows {
		if bridge := behind[f[0][5:7]]; bridge != "" {
			fmt.Fprintf(&b, "%s/", bridge)
		}
		fmt.Fprintf(&b, "%s id=%s class=%s", f[0], f[2], f[1])
		if slots[f[0][:10]] > 1 {
			b.WriteString(" mf")
		}
		switch f[6] {
		case "RP":
			b.WriteString(" root")
		case "EP":
			b.WriteString(" ep")
		case "LEG":
			b.WriteString(" legacy")
		case "RCiEP":
			b.WriteString(" rciep")
		case "-":
			b.WriteString(" pci")
		case "?":
			b.WriteString(" len=64")
		default:
			t.Fatalf("%s is %q", f[0], f[6])
		}
		if f[7] != "-" && f[7] != "?" {
			fmt.Fprintf(&b, " acs=%s/%s", f[7], f[8])
		}
		if f[11] != "-" {
			fmt.Fprintf(&b, " group=%s", f[11])
		}
		b.WriteString("\n")
	}
	return b.String()
}

// A real laptop, read as root: every group is derived, and why.
func TestDeriveLegion(t *testing.T) {
	_, kernel, topology := readAll(t, made(t, printed(t, "Lenovo_Legion_5_Pro*.tsv")))
	if len(kernel) != 15 {
		t.Errorf("%d groups", len(kernel))
	}
	groups := topology.Derive()
	if d := iommu.Compare(groups, kernel); d != nil {
		t.Error(d)
	}
	// Host bridge and IOMMU are in no group of the kernel, as the IOMMU does not translate them.
	got := strings.Replace(sets(groups), "[0000:00:00.0 0000:00:00.2]\n", "", 1)
	if diff := cmp.Diff(kernelSets(kernel), got); diff != "" {
		t.Error(diff)
	}
	for _, g := range groups {
		if g.Unknown != nil {
			t.Errorf("%v: %v", g.Devices, g.Unknown)
		}
	}
	all := joins(groups)
	for _, want := range []string{
		"01:00.1 with 01:00.0: multifunction at 01:00.1 PCI Express function\n", // the GPU and its sound
		"06:00.3 with 00:08.1: missing-acs at 00:08.1 root port\n",              // USB inside the processor
		"00:08.1 with 00:08.0: multifunction at 00:08.1 root port\n",
		"07:00.1 with 00:08.2: missing-acs at 00:08.2 root port\n",
		"00:14.3 with 00:14.0: multifunction at 00:14.3 conventional PCI function\n",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no %sin\n%s", want, all)
		}
	}
}

// A real laptop, read without root: what is claimed is so, and the rest is unknown.
func TestDeriveWithoutRoot(t *testing.T) {
	functions, kernel, topology := readAll(t, made(t, printed(t, "ADATA_XENIA_15*.tsv")))
	if len(kernel) != 17 || len(functions) != 23 {
		t.Errorf("%d groups, %d functions", len(kernel), len(functions))
	}
	groups := topology.Derive()
	if d := iommu.Compare(groups, kernel); d != nil {
		t.Error(d)
	}
	joined := 0
	for _, g := range groups {
		own := kernel[slices.IndexFunc(kernel, func(k iommu.Group) bool { return slices.Contains(k.Devices, g.Devices[0]) })]
		for _, a := range g.Devices {
			if !slices.Contains(own.Devices, a) {
				t.Errorf("%v is claimed to be with %v", a, g.Devices[0])
			}
		}
		if len(own.Devices) > len(g.Devices) && g.Unknown == nil {
			t.Errorf("%v lacks members of group %v, and does not say so", g.Devices, own.ID)
		}
		for _, u := range g.Unknown {
			if !errors.Is(u.Err, pci.ErrUnread) {
				t.Errorf("%v", u)
			}
		}
		joined += len(g.Joins)
	}
	// Of the functions at 00:1f three have no capabilities at all, which 64 bytes do say.
	if joined != 2 || !strings.Contains(sets(groups), "[0000:00:1f.0 0000:00:1f.4 0000:00:1f.5]") {
		t.Errorf("%d joined: %s", joined, sets(groups))
	}
}

// dump derives the groups of a dump of lspci.
func dump(t *testing.T, name string) ([]pci.Function, []iommu.DerivedGroup, *hostfs.Tree) {
	t.Helper()
	data, err := os.ReadFile(hosttest.Shared(t, "hwdata", "lspci", "pciutils", name))
	must(t, err)
	tr, _, err := importer.Parse(data)
	must(t, err)
	functions, _, topology := readAll(t, tr)
	return functions, topology.Derive(), tr
}

// On a machine of conventional PCI and PCI-X nothing behind a bridge is apart from it.
func TestDerivePCIX(t *testing.T) {
	functions, groups, tr := dump(t, "PCI-X-bridges-and-domains")
	must(t, checkPartition(functions, groups))
	behind := 0
	for _, f := range functions {
		above, err := pci.Bridges(tr, f.Address)
		must(t, err)
		if len(above) == 0 {
			continue
		}
		behind++
		i := slices.IndexFunc(groups, func(g iommu.DerivedGroup) bool { return slices.Contains(g.Devices, f.Address) })
		k := slices.IndexFunc(groups[i].Joins, func(j iommu.Join) bool { return j.Device == f.Address })
		if k < 0 || groups[i].Joins[k].Reason != iommu.PCIBridge || groups[i].Joins[k].With != above[len(above)-1] {
			t.Errorf("%v is behind %v, but %+v", f.Address, above, groups[i])
		}
	}
	if behind != 14 || len(functions) != 31 {
		t.Errorf("%d of %d functions are behind bridges", behind, len(functions))
	}
}

// Real root ports of Intel's 100 series: their control register is where Linux looks for it.
func TestDeriveShifted(t *testing.T) {
	_, groups, _ := dump(t, "cap-exp-lnkcap2")
	if got, want := joins(groups), `02:00.0 with 00:1c.0: missing-acs at 00:1c.0 root port, off: SrcValid ReqRedir CmpltRedir, pci_quirk_intel_spt_pch_acs
09:00.0 with 08:00.0: missing-acs at 08:00.0 switch downstream port
`; got != want {
		t.Error(cmp.Diff(want, got))
	}
}

// without is a machine of which some functions' configuration space was not saved.
type without struct {
	fs.FS
	functions []string
}

func (w without) gone(op, name string) error {
	for _, f := range w.functions {
		if name == "sys/bus/pci/devices/"+f+"/config" {
			return &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
		}
	}
	return nil
}

func (w without) Open(name string) (fs.File, error) {
	if err := w.gone("open", name); err != nil {
		return nil, err
	}
	return w.FS.Open(name)
}

func (w without) ReadLink(name string) (string, error) { return fs.ReadLink(w.FS, name) }

func (w without) Lstat(name string) (fs.FileInfo, error) {
	if err := w.gone("lstat", name); err != nil {
		return nil, err
	}
	return fs.Lstat(w.FS, name)
}

// Machines saved without configuration space, or with some of it: unknown, and never against
// the kernel.
func TestDeriveUnread(t *testing.T) {
	partly := func(name string) fs.FS {
		return without{openLab(t, name), []string{
			"0000:00:01.0", "0000:00:01.1", "0000:00:1f.0", "0000:00:1f.2", "0000:00:1f.3", "0000:0c:00.0", "0000:0c:00.1",
		}}
	}
	for name, want := range map[string]string{
		"intel":   "",
		"gadgets": "",
		"switched": `[0000:00:07.0 0000:0b:00.0]
[0000:00:1c.0 0000:00:1c.4 0000:0d:00.0 0000:0e:00.0]
[0000:03:00.0 0000:04:01.0 0000:04:02.0]
[0000:07:00.0 0000:07:00.1 0000:08:00.0 0000:09:00.0]
[0000:07:01.0 0000:0a:00.0]
`,
	} {
		_, kernel, topology := readAll(t, partly(name))
		groups := topology.Derive()
		if d := iommu.Compare(groups, kernel); d != nil {
			t.Errorf("%s: %v", name, d)
		}
		if got := sets(groups); got != want {
			t.Errorf("%s: %s", name, got)
		}
		known := map[pci.Address]bool{}
		for _, g := range groups {
			if g.Unknown == nil {
				for _, a := range g.Devices {
					known[a] = true
				}
			}
		}
		for _, g := range kernel {
			if n := len(g.Devices); n > 1 && known[g.Devices[0]] && !strings.Contains(want, fmt.Sprint(g.Devices)) {
				t.Errorf("%s: %v is not derived, and not said to be unknown", name, g.Devices)
			}
		}
	}
	_, _, topology := readAll(t, partly("switched"))
	if got, want := joins(topology.Derive()), `0b:00.0 with 00:07.0: missing-acs at 00:07.0 root port
00:1c.4 with 00:1c.0: multifunction at 00:1c.4 root port
0d:00.0 with 00:1c.0: missing-acs at 00:1c.0 root port
0e:00.0 with 00:1c.4: missing-acs at 00:1c.4 root port
04:01.0 with 03:00.0: pci-bridge at 03:00.0 PCI Express to PCI bridge
04:02.0 with 03:00.0: pci-bridge at 03:00.0 PCI Express to PCI bridge
07:00.1 with 07:00.0: multifunction at 07:00.1 switch downstream port
08:00.0 with 07:00.0: missing-acs at 07:00.0 switch downstream port
09:00.0 with 07:00.1: missing-acs at 07:00.1 switch downstream port
0a:00.0 with 07:01.0: missing-acs at 07:01.0 switch downstream port
`; got != want {
		t.Error(cmp.Diff(want, got))
	}
}

// The same machine with its IOMMU off has ACS switched off everywhere. With it on, it would
// have the groups that it has.
func TestWithACSEnabled(t *testing.T) {
	_, kernel, off := readAll(t, openLab(t, "noiommu"))
	if len(kernel) != 0 || iommu.Compare(off.Derive(), kernel) != nil {
		t.Errorf("%v", kernel)
	}
	if !strings.Contains(joins(off.Derive()), "01:00.0 with 00:02.0: missing-acs at 00:02.0 root port, off: SrcValid ReqRedir CmpltRedir UpstreamFwd\n") {
		t.Error(joins(off.Derive()))
	}
	_, kernel, _ = readAll(t, openLab(t, "intel"))
	groups := off.WithACSEnabled().Derive()
	if diff := cmp.Diff(kernelSets(kernel), sets(groups)); diff != "" {
		t.Error(diff)
	}
	if d := iommu.Compare(groups, kernel); d != nil || len(groups) != len(kernel) {
		t.Errorf("%d groups, %v", len(groups), d)
	}
}
