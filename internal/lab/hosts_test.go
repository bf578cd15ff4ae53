package lab_test

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/internal/lab"
	"github.com/project-independence/indy/internal/lab/labtest"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
)

var update = flag.Bool("update", false, "take what the emulated laptops are for the saved machines")

const (
	commentVariable = "INDY_LAB_COMMENT" // what the saved machine says of itself
	virtualVariable = "INDY_LAB_VIRTUAL" // set, virtual functions are enabled after it was saved
)

// TestHosts boots each topology that has a saved machine, compares the two in what
// commands tell of them, and derives the kernel's groups on both. [lab.IntelIOMMU]'s is kept by the simulated kernel's tests.
func TestHosts(t *testing.T) {
	labtest.Open(t)
	for _, test := range []struct {
		topology lab.Topology
		file     string
		comment  string
		groups   []string // some of those there are
		kind     string
	}{{
		lab.NoIOMMU, "lab-noiommu.txtar",
		"The emulated laptop without an IOMMU, as when the firmware keeps it off.", nil,
		"none",
	}, {
		lab.AMDIOMMU, "lab-amd.txtar",
		"The emulated laptop with an AMD IOMMU, itself the function 00:06.0, which is in no group.",
		[]string{
			"0000:00:0a.0", "0000:00:0b.0", "0000:00:0c.0", "0000:01:00.0", "0000:03:00.0 0000:04:01.0", "0000:05:00.0",
			"0000:00:1f.0 0000:00:1f.2 0000:00:1f.3",
		},
		"amd",
	}, {
		lab.SwitchedIntel, "lab-switched.txtar",
		`The emulated laptop with an Intel IOMMU, a PCIe switch at 06:00.0, root ports without ACS
at 00:07.0, 00:1c.0 and 00:1c.4, and devices of several functions.`,
		[]string{
			"0000:00:06.0", "0000:06:00.0", "0000:07:00.0 0000:07:00.1 0000:08:00.0 0000:09:00.0",
			"0000:07:01.0 0000:0a:00.0", "0000:00:07.0 0000:0b:00.0", "0000:00:08.0", "0000:0c:00.0 0000:0c:00.1",
			"0000:00:1c.0 0000:00:1c.4 0000:0d:00.0 0000:0e:00.0",
			"0000:02:00.0", "0000:03:00.0 0000:04:01.0 0000:04:02.0",
		},
		"intel",
	}, {
		lab.VMDIntel, "lab-vmd.txtar",
		`The emulated laptop with an Intel IOMMU and a function 00:0e.0 that the kernel's driver vmd
has: a display, made to look like a Volume Management Device with domain 10000 behind it.`,
		[]string{"0000:00:0e.0 10000:00:06.0 10000:01:00.0", "0000:02:00.0", "0000:03:00.0 0000:04:01.0 0000:04:02.0"},
		"intel",
	}, {
		lab.NestedIntel, "lab-nested.txtar",
		`The emulated laptop with an Intel IOMMU, switches below switches with ACS and without, two
functions that the kernel knows to be apart, bridges to conventional PCI, and devices of several
root ports. Enabled virtual functions of 0000:11:00.0 come into the group of 00:07.0.`,
		[]string{
			"0000:00:06.0", "0000:06:00.0",
			"0000:07:00.0 0000:08:00.0 0000:09:00.0 0000:09:01.0 0000:0a:00.0 0000:0b:00.0",
			"0000:07:01.0", "0000:0c:00.0", "0000:07:02.0", "0000:0d:00.0", "0000:0e:00.0 0000:0f:00.0", "0000:0e:01.0", "0000:10:00.0",
			"0000:00:07.0 0000:11:00.0", "0000:00:08.0", "0000:00:08.1",
			"0000:00:09.0 0000:12:01.0 0000:12:02.0 0000:13:01.0",
			"0000:00:1d.0", "0000:00:1d.1", "0000:14:00.0", "0000:15:00.0",
			"0000:00:1e.0", "0000:00:1e.1 0000:00:1e.2 0000:17:00.0",
		},
		"intel",
	}, {
		lab.NoRemappingIntel, "lab-noremapping.txtar",
		`The emulated laptop with an Intel IOMMU that does not remap interrupts, a firmware that has
memory reserved for 0000:01:00.0 and 0000:00:14.0, and pcie_acs_override= on the kernel's command line,
which its kernel does not know.`,
		[]string{"0000:01:00.0", "0000:00:14.0", "0000:03:00.0 0000:04:01.0 0000:04:02.0"},
		"intel",
	}} {
		t.Run(test.topology.String(), func(t *testing.T) {
			out := t.TempDir()
			m := lab.Machine{Topology: test.topology, Out: out, Env: []string{commentVariable + "=" + test.comment}}
			virtual := test.topology == lab.NestedIntel || test.topology == lab.AMDIOMMU
			if virtual {
				m.Env = append(m.Env, virtualVariable+"=1")
			}
			if test.topology == lab.NoRemappingIntel {
				m.Kernel = "pcie_acs_override=downstream,multifunction"
			}
			labtest.RunTestOn(t, m, "./internal/lab", "^TestHostInside$")
			kept := filepath.Join(hosttest.Root(t), "testdata", "hosts", test.file)
			if *update {
				data, err := os.ReadFile(filepath.Join(out, "host.txtar"))
				if err == nil {
					err = os.WriteFile(kept, data, 0o644)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			booted, saved := facts(t, filepath.Join(out, "host.txtar")), facts(t, kept)
			if d := cmp.Diff(saved, booted); d != "" {
				t.Errorf("the saved machine and the one that booted (-saved +booted), see -update:\n%s", d)
			}
			links := shapes(test.topology)
			compareDerived(t, out, "boot", links)
			if virtual {
				compareDerived(t, out, "virtual", slices.Concat(links, virtualShapes(test.topology)))
				compareDerived(t, out, "without", links)
			}
			for _, g := range test.groups {
				if !slices.Contains(booted.Groups, g) {
					t.Errorf("no group of exactly %s; there are\n%s", g, strings.Join(booted.Groups, "\n"))
				}
			}
			if s := booted.Status; s.Kind != test.kind || s.Enabled != (test.kind != "none") ||
				s.InterruptRemapping == iommu.Yes != (s.Enabled && test.topology != lab.NoRemappingIntel) {
				t.Errorf("the IOMMU is %+v", s)
			}
		})
	}
}

// hostFacts are the facts of a machine that matter, as text.
type hostFacts struct {
	Functions, Groups []string
	Status            iommu.Status
}

func facts(t *testing.T, file string) hostFacts {
	t.Helper()
	fsys, err := hostfs.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	functions, err := pci.Functions(fsys)
	if err != nil {
		t.Error(err)
	}
	groups, err := iommu.Groups(fsys, functions)
	if err != nil {
		t.Error(err)
	}
	status, err := iommu.ReadStatus(fsys, groups)
	if err != nil {
		t.Error(err)
	}
	topology, err := iommu.ReadTopology(fsys, functions, iommu.TopologyOptions{})
	if err != nil {
		t.Error(err)
	}
	for _, d := range iommu.Compare(topology.Derive(), groups) {
		t.Errorf("%s: %s", file, d)
	}
	f := hostFacts{Status: status}
	for _, fn := range functions {
		config, err := fs.ReadFile(fsys, "sys/bus/pci/devices/"+fn.Address.String()+"/config")
		if fn.IsBridge() && (err != nil || len(config) < 256) {
			t.Errorf("%s, %s: %d bytes of config space, %v", file, fn.Address, len(config), err)
		}
		f.Functions = append(f.Functions, fmt.Sprintf("%s %s %s:%s driver %q group %q",
			fn.Address, fn.Class, fn.Vendor, fn.Device, fn.Driver, fn.Group))
	}
	for _, g := range groups {
		var members []string
		for _, a := range g.Devices {
			members = append(members, a.String())
		}
		f.Groups = append(f.Groups, strings.Join(members, " "))
	}
	return f
}

// TestHostInside saves the machine it runs on.
func TestHostInside(t *testing.T) {
	labtest.Inside(t)
	comment := os.Getenv(commentVariable)
	settle(t)
	// The mount of the kernel's modules names the directory this repository is in.
	modules, err := filepath.Glob("/lib/modules/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range modules {
		if err := syscall.Unmount(m, 0); err != nil && !errors.Is(err, syscall.EINVAL) {
			t.Error(err)
		}
	}
	opts := hostfs.CaptureOptions{Config: true, Salt: []byte("the emulated laptop")}
	m, err := hostfs.Capture(hostfs.Live(), opts)
	if err != nil {
		t.Error(err)
	}
	deriveInside(t, "boot")
	if os.Getenv(virtualVariable) != "" {
		virtualFunctions(t, 7)
		deriveInside(t, "virtual")
		virtualFunctions(t, 0)
		deriveInside(t, "without")
	}
	dropConfig(t, m)
	if err := hostfs.Save(filepath.Join(lab.OutDir, "host.txtar"), m, comment+"\n"+opts.Comment()+"\n"); err != nil {
		t.Error(err)
	}
}

// dropConfig leaves the config space of bridges and of devices with several functions
// alone, where ACS matters, if there are so many functions that the saved machine would
// be large.
func dropConfig(t *testing.T, m *hostfs.Tree) {
	t.Helper()
	functions, err := pci.Functions(m)
	if err != nil {
		t.Error(err)
	}
	if len(functions) <= 25 {
		return
	}
	type device struct {
		domain      uint32
		bus, number uint8
	}
	of := func(a pci.Address) device { return device{a.Domain(), a.Bus(), a.Device()} }
	count := map[device]int{}
	for _, fn := range functions {
		count[of(fn.Address)]++
	}
	for _, fn := range functions {
		if count[of(fn.Address)] > 1 {
			continue
		}
		link := "sys/bus/pci/devices/" + fn.Address.String()
		to, err := m.ReadLink(link)
		if err == nil && !fn.IsBridge() {
			err = m.Remove(path.Join(path.Dir(link), to, "config"))
		}
		if err != nil {
			t.Error(err)
		}
	}
}

// settle waits until the kernel has told of no event for a second.
func settle(t *testing.T) {
	t.Helper()
	last := ""
	for same := 0; same < 10; same++ {
		now, err := hostfs.ReadString(hostfs.Live(), "sys/kernel/uevent_seqnum")
		if err != nil {
			t.Fatal(err)
		}
		if now != last {
			last, same = now, 0
		}
		time.Sleep(100 * time.Millisecond)
	}
}
