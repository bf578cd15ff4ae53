package lab_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/internal/lab"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
)

// A derivation is what was derived on a machine, from what its functions say of
// themselves, and beside it what the kernel has.
type derivation struct {
	// Functions are those that are in a group of the kernel's.
	Functions       int
	Kernel, Derived []string // the addresses of each group
	Joins           []join
}

// A join is an [iommu.Join] and its sentence.
type join struct {
	Link, Sentence string // a Link is DEVICE REASON AT MISSING
}

// missing is what a port or function without ACS lacks; the kernel asks for no more.
const missing = "SrcValid ReqRedir CmpltRedir UpstreamFwd"

// shapes are the links by which functions of a topology share a group, beside those that
// all of them have, by how the topology was built.
func shapes(topology lab.Topology) []string {
	second := "0000:04:02.0 pci-bridge 0000:03:00.0"
	switch topology {
	case lab.AMDIOMMU: // its second sound card is elsewhere
		return nil
	case lab.SwitchedIntel:
		return []string{
			second,
			"0000:07:00.1 multifunction 0000:07:00.1 " + missing,
			"0000:08:00.0 missing-acs 0000:07:00.0 " + missing,
			"0000:09:00.0 missing-acs 0000:07:00.1 " + missing,
			"0000:0a:00.0 missing-acs 0000:07:01.0 " + missing,
			"0000:0b:00.0 missing-acs 0000:00:07.0 " + missing,
			"0000:0c:00.1 multifunction 0000:0c:00.1 " + missing,
			"0000:00:1c.4 multifunction 0000:00:1c.4 " + missing,
			"0000:0d:00.0 missing-acs 0000:00:1c.0 " + missing,
			"0000:0e:00.0 missing-acs 0000:00:1c.4 " + missing,
		}
	case lab.VMDIntel:
		return []string{
			second,
			"10000:00:06.0 real-dma-device 0000:00:0e.0",
			"10000:01:00.0 real-dma-device 0000:00:0e.0",
		}
	case lab.NestedIntel:
		return []string{
			second,
			"0000:08:00.0 missing-acs 0000:07:00.0 " + missing,
			"0000:09:00.0 missing-acs 0000:07:00.0 " + missing,
			"0000:0a:00.0 missing-acs 0000:09:00.0 " + missing,
			"0000:09:01.0 missing-acs 0000:07:00.0 " + missing,
			"0000:0b:00.0 missing-acs 0000:07:00.0 " + missing, // 09:01.0 has ACS, and that does not help
			"0000:0f:00.0 missing-acs 0000:0e:00.0 " + missing,
			"0000:11:00.0 missing-acs 0000:00:07.0 " + missing,
			"0000:12:01.0 pci-bridge 0000:00:09.0",
			"0000:12:02.0 pci-bridge 0000:00:09.0",
			"0000:13:01.0 pci-bridge 0000:12:02.0",
			"0000:00:1e.2 multifunction 0000:00:1e.2 " + missing,
			"0000:17:00.0 missing-acs 0000:00:1e.1 " + missing,
		}
	}
	return []string{second}
}

// virtualShapes are the links that come with seven virtual functions of each igb.
func virtualShapes(topology lab.Topology) []string {
	var links []string
	if topology == lab.NestedIntel {
		for i := range 7 {
			links = append(links, fmt.Sprintf("0000:11:1%d.%d missing-acs 0000:00:07.0 %s", i/4, i%4*2, missing))
		}
	}
	return links
}

// derivedFile is where the machine as it is in state leaves its derivation.
func derivedFile(dir, state string) string { return filepath.Join(dir, "derived-"+state+".json") }

// deriveInside derives the groups of the machine it runs on.
func deriveInside(t *testing.T, state string) {
	t.Helper()
	host := hostfs.Live()
	functions, err := pci.Functions(host)
	if err != nil {
		t.Error(err)
	}
	kernel, err := iommu.Groups(host, functions)
	if err != nil {
		t.Error(err)
	}
	topology, err := iommu.ReadTopology(host, functions, iommu.TopologyOptions{Wake: true})
	if err != nil {
		t.Error(err)
	}
	derived := topology.Derive()
	d := derivation{Kernel: groupLines(kernel)}
	grouped := map[pci.Address]bool{}
	for _, g := range kernel {
		for _, a := range g.Devices {
			grouped[a] = true
		}
	}
	d.Functions = len(grouped)
	if len(kernel) == 0 {
		// The kernel switches ACS on when it has an IOMMU.
		derived = topology.WithACSEnabled().Derive()
	}
	for _, g := range derived {
		for _, u := range g.Unknown {
			t.Errorf("%s: %s", state, u)
		}
		var members []string
		for _, a := range g.Devices {
			// An IOMMU that is a function itself is in no group.
			if grouped[a] || len(kernel) == 0 {
				members = append(members, a.String())
			}
		}
		if members != nil {
			d.Derived = append(d.Derived, strings.Join(members, " "))
		}
		for _, j := range g.Joins {
			link := fmt.Sprint(j.Device, " ", j.Reason, " ", j.At, " ", j.Missing)
			d.Joins = append(d.Joins, join{strings.TrimSpace(link), j.String()})
		}
	}
	for _, diff := range iommu.Compare(derived, kernel) {
		t.Errorf("%s: %s", state, diff)
	}
	// Without the leave to wake what sleeps less is known, and nothing else is said.
	if topology, err = iommu.ReadTopology(host, functions, iommu.TopologyOptions{}); err != nil {
		t.Error(err)
	}
	for _, diff := range iommu.Compare(topology.Derive(), kernel) {
		t.Errorf("%s, what sleeps left asleep: %s", state, diff)
	}
	data, err := json.Marshal(d)
	if err == nil {
		err = os.WriteFile(derivedFile(lab.OutDir, state), data, 0o644)
	}
	if err != nil {
		t.Error(err)
	}
}

// withIOMMU returns the groups of the saved machine that has an IOMMU and is otherwise the
// one without: what is derived there is what will be when the firmware has it on.
func withIOMMU(t *testing.T) []string {
	t.Helper()
	fsys, err := hostfs.Open(filepath.Join(hosttest.Root(t), "testdata", "hosts", "lab-intel.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	functions, err := pci.Functions(fsys)
	if err != nil {
		t.Error(err)
	}
	groups, err := iommu.Groups(fsys, functions)
	if err != nil || len(groups) == 0 {
		t.Errorf("%d groups, %v", len(groups), err)
	}
	lines := groupLines(groups)
	slices.Sort(lines)
	return lines
}

func groupLines(groups []iommu.Group) []string {
	var lines []string
	for _, g := range groups {
		var members []string
		for _, a := range g.Devices {
			members = append(members, a.String())
		}
		lines = append(lines, strings.Join(members, " "))
	}
	return lines
}

// virtualFunctions enables that many virtual functions of each function that has some.
func virtualFunctions(t *testing.T, count int) {
	t.Helper()
	files, err := filepath.Glob("/sys/bus/pci/devices/*/sriov_numvfs")
	if err != nil || len(files) == 0 {
		t.Fatalf("functions with virtual functions: %q, %v", files, err)
	}
	for _, f := range files {
		if err := os.WriteFile(f, fmt.Appendln(nil, count), 0o644); err != nil {
			t.Error(err)
		}
	}
	settle(t)
}

// compareDerived expects, in a state of a machine, that what was derived are the kernel's
// groups; that it was derived by these links and no others; and that the sentence about
// each names where isolation is missing, and what is.
func compareDerived(t *testing.T, dir, state string, links []string) {
	t.Helper()
	data, err := os.ReadFile(derivedFile(dir, state))
	if err != nil {
		t.Error(err)
		return
	}
	var d derivation
	if err := json.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	slices.Sort(d.Derived)
	slices.Sort(d.Kernel)
	if len(d.Kernel) == 0 {
		d.Kernel = withIOMMU(t)
	}
	if diff := cmp.Diff(d.Kernel, d.Derived); diff != "" {
		t.Errorf("%s: the kernel's groups and the derived ones (-kernel +derived):\n%s", state, diff)
	}
	links = slices.Concat(links, []string{
		"0000:00:01.1 multifunction 0000:00:01.1 " + missing,
		"0000:00:1f.2 multifunction 0000:00:1f.2 " + missing,
		"0000:00:1f.3 multifunction 0000:00:1f.3 " + missing,
		"0000:04:01.0 pci-bridge 0000:03:00.0",
	})
	var got []string
	for _, j := range d.Joins {
		got = append(got, j.Link)
		words := strings.Fields(j.Link)
		for _, w := range slices.Concat(words[:1], words[2:3]) {
			if !strings.Contains(j.Sentence, w) {
				t.Errorf("%s: %s: the sentence does not name %s: %s", state, j.Link, w, j.Sentence)
			}
		}
		if words[1] == iommu.MissingACS.String() && !strings.Contains(j.Sentence,
			"lacks ACS (Source Validation, Request Redirect, Completion Redirect, Upstream Forwarding)") {
			t.Errorf("%s: %s: the sentence does not say what is missing: %s", state, j.Link, j.Sentence)
		}
		t.Logf("%s: %s", state, j.Sentence)
	}
	slices.Sort(got)
	slices.Sort(links)
	if diff := cmp.Diff(links, got); diff != "" {
		t.Errorf("%s: by the shape of the machine, and derived (-shape +derived):\n%s", state, diff)
	}
	t.Logf("%s: derived as the kernel has them: %d functions in %d groups", state, d.Functions, len(d.Kernel))
}
