package vfio_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/internal/lab/labtest"
)

// TestLab runs TestLive in the emulated laptop.
func TestLab(t *testing.T) { labtest.RunTest(t, "./vfio", "^TestLive", "") }

// TestLabIOMMUFD does so on a kernel with iommufd, which lab/iommufd.sh builds: no kernel
// of Debian's has it.
func TestLabIOMMUFD(t *testing.T) {
	dir := os.Getenv("INDY_LAB")
	if dir == "" {
		dir = filepath.Join(hosttest.Root(t), ".lab")
	}
	dir = filepath.Join(dir, "iommufd")
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no kernel with iommufd; lab/iommufd.sh builds one: %v", err)
	}
	t.Setenv("INDY_LAB", dir)
	labtest.RunTest(t, "./vfio", "^TestLive", "", "INDY_VFIO_WANT=iommufd")
}
