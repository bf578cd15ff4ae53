package qemu_test

import (
	"testing"

	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/internal/lab/labtest"
)

// TestJailInLab confines guests in the emulated laptop, which has control groups of version
// 2 and an IOMMU.
func TestJailInLab(t *testing.T) {
	labtest.RunTest(t, "./guest/qemu", "^(TestJail.*Inside|TestConfined.*|TestEscape)$", "", "INDY_TEST_JAIL="+hosttest.BuildJail(t, t.TempDir()))
}
