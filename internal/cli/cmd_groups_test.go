package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
)

const pciDir = "sys/bus/pci/devices/"

// laboratory returns a saved machine to change.
func laboratory(t *testing.T, name string) *hostfs.Tree {
	t.Helper()
	saved, err := hostfs.Open(filepath.Join(hosttest.Root(t), "testdata", "hosts", name+".txtar"))
	if err != nil {
		t.Fatal(err)
	}
	tr := saved.(*hostfs.Tree)
	if err := tr.Put(pciDir+"0000:00:1f.3/power/runtime_status", []byte("active\n")); err != nil { // which slept
		t.Fatal(err)
	}
	return tr
}

// regroup moves a function into another group of the kernel.
func regroup(t *testing.T, tr *hostfs.Tree, a, from, to string) {
	t.Helper()
	for _, err := range []error{
		tr.Remove("sys/kernel/iommu_groups/" + from + "/devices/" + a),
		tr.Symlink("../../../../devices/pci0000:00/"+a, "sys/kernel/iommu_groups/"+to+"/devices/"+a),
		tr.Remove(pciDir + a + "/iommu_group"),
		tr.Symlink("../../../kernel/iommu_groups/"+to, "sys/devices/pci0000:00/"+a+"/iommu_group"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

type groupsDocument struct {
	Groups []struct {
		ID      int
		Devices []string
		Joins   []struct{ Device, With, Reason, At, Quirk, Detail string }
		Unread  []string
		Derived string
	}
	Differences []struct {
		Kind, Detail string
		Groups       []int
		Devices      []string
	}
}

// groupsOf runs indy groups and indy groups --json on a host.
func groupsOf(t *testing.T, tr *hostfs.Tree, args ...string) (string, groupsDocument) {
	t.Helper()
	c := newConsole(t)
	c.env.Host = hosttest.Failing{Tree: tr, Fail: func(string) error { return nil }}
	text, stderr, code := c.run(append([]string{"groups"}, args...)...)
	if code != 0 || stderr != "" {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	doc, stderr, code := c.run(append([]string{"groups", "--json"}, args...)...)
	if code != 0 || stderr != "" {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	validate(t, "groups", []byte(doc))
	var parsed groupsDocument
	if err := json.Unmarshal([]byte(doc), &parsed); err != nil {
		t.Fatal(err)
	}
	return text, parsed
}

// With an override groups look split; it is said that they are not isolated, where it looks so.
func TestGroupsThatLookSplit(t *testing.T) {
	tr := laboratory(t, "lab-vmd")
	text, doc := groupsOf(t, tr)
	if strings.Contains(text, "differs") || len(doc.Differences) != 0 {
		t.Errorf("%s\n%v", text, doc.Differences)
	}
	for _, g := range doc.Groups {
		if g.Derived != "same" || len(g.Unread) > 0 || len(g.Joins) != len(g.Devices)-1 {
			t.Errorf("%+v", g)
		}
	}
	regroup(t, tr, "0000:00:1f.2", "10", "90")
	regroup(t, tr, "0000:00:1f.3", "10", "91")
	line, err := tr.ReadFile("proc/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Put("proc/cmdline", []byte(strings.TrimSpace(string(line))+" pcie_acs_override=downstream,multifunction\n")); err != nil {
		t.Fatal(err)
	}
	text, doc = groupsOf(t, tr)
	const want = "       differs: the kernel has 0000:00:1f.0, 0000:00:1f.2, 0000:00:1f.3 in groups of their own (10, 90, 91), though by what the" +
		" functions say they are not kept apart; its command line has pcie_acs_override=downstream,multifunction, which parts groups without isolating them\n"
	if !strings.Contains(text, "lpc_ich        Intel 82801IB (ICH9) LPC Interface Controller\n"+want) || strings.Count(text, "differs") != 1 {
		t.Errorf("%s", text)
	}
	if len(doc.Differences) != 1 || doc.Differences[0].Kind != "kernel-parts" || !slices.Equal(doc.Differences[0].Groups, []int{10, 90, 91}) || len(doc.Differences[0].Devices) != 3 {
		t.Errorf("%+v", doc.Differences)
	}
	for _, g := range doc.Groups {
		if (g.Derived == "differs") != slices.Contains([]int{10, 90, 91}, g.ID) {
			t.Errorf("%+v", g)
		}
	}
}

// A kernel that has together what the rules part knows something that was not read.
func TestGroupsThatTheKernelJoins(t *testing.T) {
	tr := laboratory(t, "lab-vmd")
	regroup(t, tr, "0000:00:14.0", "8", "9")
	text, doc := groupsOf(t, tr)
	if want := "       differs: the kernel has 0000:00:14.0, 0000:00:1b.0 in one group, 9, for a reason that is not among the facts read\n"; !strings.Contains(text, want) {
		t.Errorf("%s", text)
	}
	if len(doc.Differences) != 1 || doc.Differences[0].Kind != "kernel-joins" {
		t.Errorf("%+v", doc.Differences)
	}
}

// What is not told for now is said once, with what would tell it.
func TestGroupsThatAreNotTold(t *testing.T) {
	tr := laboratory(t, "lab-vmd")
	if text, _ := groupsOf(t, tr); strings.Contains(text, "why some") {
		t.Error(text)
	}
	const asleep = "why some functions share a group is not known, as it would wake 0000:03:00.0 to ask; indy groups --wake does\n"
	for _, a := range []string{"0000:00:1f.0", "0000:03:00.0"} { // the first is no PCI Express, which is known without asking it
		if err := tr.Put(pciDir+a+"/power/runtime_status", []byte("suspended\n")); err != nil {
			t.Fatal(err)
		}
	}
	text, doc := groupsOf(t, tr)
	if !strings.HasSuffix(text, "\n"+asleep) || !strings.Contains(text, "why: 0000:00:1f.2 and 0000:00:1f.3 share the group of 0000:00:1f.0 because") {
		t.Error(text)
	}
	for _, g := range doc.Groups {
		if unknown := slices.Contains(g.Devices, "0000:03:00.0"); (g.Derived == "unknown") != unknown || (len(g.Unread) > 0) != unknown {
			t.Errorf("%+v", g)
		}
	}
	if text, doc := groupsOf(t, tr, "--wake"); strings.Contains(text, "why some") || len(doc.Groups[13].Joins) != 2 {
		t.Error(text)
	}
	entries, err := tr.ReadDir(pciDir[:len(pciDir)-1])
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := pciDir + e.Name() + "/config"
		config, err := tr.ReadFile(name)
		if err == nil {
			err = tr.Put(name, config[:64])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	want := "why some functions share a group is in what only root may read; sudo indy groups tells it\n"
	if os.Geteuid() == 0 {
		want = "why some functions share a group is not known"
	}
	text, doc = groupsOf(t, tr)
	if !strings.Contains(text, "\n\n"+want) || strings.Count(text, "why some") != 1 {
		t.Error(text)
	}
	for _, g := range doc.Groups {
		for _, j := range g.Joins {
			if j.Reason == "missing-acs" {
				t.Errorf("claimed without having been read: %+v", j)
			}
		}
	}
}

// On a terminal the reasons are broken where the table ends.
func TestGroupsOnATerminal(t *testing.T) {
	c := newConsole(t)
	c.env.Host = hosttest.Failing{Tree: laboratory(t, "lab-vmd"), Fail: func(string) error { return nil }}
	c.env.Width = 80
	text, _, _ := c.run("groups")
	if !strings.Contains(text, "\n       why: 0000:00:01.1 shares the group of 0000:00:01.0 because both are\n            functions of one device,") {
		t.Error(text)
	}
}
