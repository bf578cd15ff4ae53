package labtest

import (
	"os"
	"testing"
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
	if _, err := os.Stat("labtest_test.go"); err != nil {
		t.Errorf("the test does not run in its package's directory: %v", err)
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
