package laptop_test

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

// judgement is all that is said of the groups of functions by a machine.
type judgement struct {
	Devices  []laptop.Device
	Verdicts []laptop.Verdict
	Findings [][]laptop.Finding
	Risks    []laptop.Finding
	Errors   []string
}

func judge(t testing.TB, fsys fs.FS, l *laptop.Laptop, members []pci.Address) judgement {
	t.Helper()
	var j judgement
	note := func(err error) {
		if err != nil {
			j.Errors = append(j.Errors, err.Error())
		}
	}
	var handed []*laptop.Device
	for _, a := range members {
		d := l.Function(a)
		if d == nil {
			t.Fatalf("%s is not there", a)
		}
		one := *d
		one.Parts, one.PartOf = nil, ""
		j.Devices = append(j.Devices, one)
		v, f, err := laptop.Judge(fsys, l, d)
		note(err)
		j.Verdicts, j.Findings = append(j.Verdicts, v), append(j.Findings, f)
		if !laptop.StaysWithHost(*d.PCI) {
			handed = append(handed, d)
		}
	}
	var err error
	j.Risks, err = laptop.Risks(fsys, l, handed)
	note(err)
	return j
}

// sameJudgement reads the groups of some members alone, and reports whether that took less
// than the whole machine. What it says of them is what the whole says.
func sameJudgement(t testing.TB, fsys fs.FS, whole *laptop.Laptop, members []pci.Address, of ...pci.Address) bool {
	t.Helper()
	part, err := laptop.ReadGroups(fsys, of)
	if part == nil {
		t.Fatal(err)
	}
	same := cmp.Options{cmp.Comparer(func(a, b pci.Address) bool { return a == b }), cmp.Comparer(func(a, b usb.PortPath) bool { return a == b }),
		cmp.Comparer(func(a, b pci.ID) bool { return a == b }), cmp.Comparer(func(a, b pci.Class) bool { return a == b }),
		cmp.Comparer(func(a, b pci.GroupID) bool { return a == b }), cmpopts.EquateEmpty()}
	if d := cmp.Diff(judge(t, fsys, whole, members), judge(t, fsys, part, members), same); d != "" {
		t.Errorf("%v: by the whole machine, and by the groups alone:\n%s", of, d)
	}
	return len(part.Devices) < len(whole.Devices)
}

// savedHosts are the files of real machines and of the emulated one.
func savedHosts(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(hosttest.Shared(t, "hosts"), "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	labs, _ := filepath.Glob(filepath.Join(hosttest.Root(t), "testdata", "hosts", "*.txtar"))
	return append(files, labs...)
}

// TestReadGroupsOfHosts: of each group of each machine, and of each two that follow one
// another, reading them alone says what reading the whole machine says. The real machines
// do not state their IOMMU, their mounts and routes: they are read once more with some, so
// that no less is asked of them than of a machine that runs.
func TestReadGroupsOfHosts(t *testing.T) {
	files := savedHosts(t)
	if testing.Short() {
		files = slices.DeleteFunc(files, func(f string) bool { return slices.Index(files, f)%8 != 0 })
	}
	asked, less := 0, 0
	for _, file := range files {
		for _, running := range []bool{false, true} {
			t.Run(fmt.Sprint(filepath.Base(file), running), func(t *testing.T) {
				fsys := open(t, file).(*hostfs.Tree)
				if running {
					run(t, fsys)
				}
				whole, err := laptop.Read(fsys)
				if err != nil {
					t.Log(err)
				}
				var before []pci.Address
				for i := range whole.Groups {
					members := whole.Groups[i].Devices
					for _, a := range members {
						asked++
						if sameJudgement(t, fsys, whole, members, a) {
							less++
						}
					}
					both := slices.Concat(before, members)
					sameJudgement(t, fsys, whole, both, both...)
					before = members
				}
			})
		}
	}
	t.Logf("%d functions of %d machines, %d judged by their groups alone", asked, len(files), less)
	if asked == 0 || less < asked/2 {
		t.Errorf("of %d functions only %d were judged by their groups alone", asked, less)
	}
}

// run has a saved machine state what one that runs does.
func run(t testing.TB, fsys *hostfs.Tree) {
	t.Helper()
	if _, err := fsys.ReadDir("sys/class/iommu"); err != nil {
		must(t, fsys.Symlink("../../devices/virtual/iommu/dmar0", "sys/class/iommu/dmar0"))
	}
	for name, text := range map[string]string{
		"proc/interrupts":     " 1: 9 IR-IO-APIC 1-edge i8042\n",
		"proc/self/mountinfo": "30 1 0:27 / / rw - tmpfs none rw\n",
		"proc/net/route":      "Iface\tDestination\tGateway\n",
		"proc/net/ipv6_route": "",
	} {
		if _, err := fsys.ReadFile(name); err != nil {
			must(t, fsys.Put(name, []byte(text)))
		}
	}
}

// TestReadGroupsUnread: whatever cannot be read, the groups alone are judged as by the
// whole machine.
func TestReadGroupsUnread(t *testing.T) {
	tree := open(t, filepath.Join(hosttest.Root(t), "testdata", "hosts", "lab-intel.txtar")).(*hostfs.Tree)
	run(t, tree)
	var names []string
	l, err := laptop.Read(hosttest.Failing{Tree: tree, Fail: func(name string) error {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
		return nil
	}})
	must(t, err)
	if len(names) < 150 {
		t.Errorf("%d names", len(names))
	}
	for i, name := range names {
		// Which groups there are besides is of no matter to those that are asked for.
		if testing.Short() && i%10 != 0 || name == "sys/kernel/iommu_groups" {
			continue
		}
		failing := hosttest.Failing{Tree: tree, Fail: func(asked string) error {
			if asked == name {
				return &fs.PathError{Op: "open", Path: name, Err: syscall.EIO}
			}
			return nil
		}}
		whole, _ := laptop.Read(failing)
		for i := range l.Groups {
			// What is no function any more has no group, in either way.
			if members := l.Groups[i].Devices; whole.Function(members[0]) != nil && whole.Group(l.Groups[i].ID) != nil {
				sameJudgement(t, failing, whole, whole.Group(l.Groups[i].ID).Devices, members[0])
			}
		}
	}
}

// TestReadGroupsLess: the NVMe of a machine that runs is judged without a file of another
// function but its link to its group.
func TestReadGroupsLess(t *testing.T) {
	h := laptopHost(t)
	h.block("pci0000:00/0000:00:1d.0/0000:04:00.0/nvme/nvme0", "nvme0n1", "259:0")
	h.put("sys/devices/pci0000:00/0000:00:1d.0/0000:04:00.0/reset_method", "flr bus\n")
	for id, a := range map[string]string{"1": "0000:00:1d.0", "2": "0000:04:00.0", "3": "0000:00:14.0"} {
		h.put("sys/kernel/iommu_groups/"+id+"/devices/"+a, "")
	}
	_, err := laptop.ReadGroups(hosttest.Failing{Tree: h.Tree, Fail: func(name string) error {
		other := strings.Contains(name, "0000:00:14.0") || strings.Contains(name, "0000:00:1d.0")
		if other && !strings.HasSuffix(name, "/iommu_group") && !strings.Contains(name, "0000:04:00.0") {
			t.Errorf("%s was read", name)
		}
		return nil
	}}, []pci.Address{address(t, "0000:04:00.0")})
	must(t, err)
	l, err := laptop.ReadGroups(h, []pci.Address{address(t, "0000:04:00.0")})
	must(t, err)
	expect(t, l, "04:00.0", "assignable")
	if len(l.Devices) != 1 || len(l.Groups) != 1 {
		t.Errorf("%d devices, %d groups", len(l.Devices), len(l.Groups))
	}
}
