package labtest

import (
	"os"
	"testing"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
)

func TestRunTest(t *testing.T) {
	RunTest(t, "./internal/lab/labtest", "^TestGroupsInside$", "")
}

func TestGroupsInside(t *testing.T) {
	Inside(t)
	groups, err := os.ReadDir("/sys/kernel/iommu_groups")
	if err != nil || len(groups) == 0 {
		t.Errorf("%d IOMMU groups, %v", len(groups), err)
	}
	derive(t, len(groups))
	if _, err := os.Stat("labtest_test.go"); err != nil {
		t.Errorf("the test does not run in its package's directory: %v", err)
	}
}

// derive derives the kernel's groups from what the functions say of themselves.
func derive(t *testing.T, count int) {
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
	for _, d := range iommu.Compare(derived, kernel) {
		t.Error(d)
	}
	if len(derived) != count || len(kernel) != count {
		t.Errorf("%d groups derived, %d read, of %d", len(derived), len(kernel), count)
	}
	for _, g := range derived {
		for _, u := range g.Unknown {
			t.Error(u)
		}
	}
}

func TestJudge(t *testing.T) {
	for _, test := range []struct {
		status int
		out    string
		ok     bool
	}{
		{0, "=== RUN   TestX\n--- PASS: TestX (0.00s)\nPASS\n", true},
		{1, "--- PASS: TestX (0.00s)\n--- FAIL: TestY (0.00s)\nFAIL\n", false},
		{0, "testing: warning: no tests to run\nPASS\n", false},
		{0, "--- SKIP: TestX (0.00s)\nPASS\n", false},
	} {
		if err := judge(test.status, []byte(test.out)); (err == nil) != test.ok {
			t.Errorf("status %d, %q: %v", test.status, test.out, err)
		}
	}
}
