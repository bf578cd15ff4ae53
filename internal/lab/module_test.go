package lab_test

import (
	"strings"
	"testing"

	"github.com/project-independence/indy/internal/lab/labtest"
)

// TestFault37NoModuleInside takes the module away that would have the devices. What is
// missing is named with the remedy, by whoever is asked, and nothing is changed.
func TestFault37NoModuleInside(t *testing.T) {
	labtest.Inside(t)
	indy := needIndy(t)
	if err := soon(nvmeDisk().withHost); err != nil {
		t.Fatal(err)
	}
	if said, status := call(t, "modprobe", "-r", "vfio-pci"); status != 0 {
		t.Fatalf("modprobe -r vfio-pci: %s", said)
	}
	defer func() {
		if said, status := call(t, "modprobe", "vfio-pci"); status != 0 {
			t.Errorf("modprobe vfio-pci: %s", said)
		}
	}()
	said, status := call(t, indy, "assign", "0000:02:00.0")
	if status != 5 || !strings.Contains(said, "vfio-pci") || !strings.Contains(said, "modprobe vfio-pci") {
		t.Errorf("indy assign: status %d, want 5 and the remedy\n%s", status, said)
	}
	if err := nvmeDisk().withHost(); err != nil {
		t.Errorf("refused, and: %v", err)
	}
	said, _ = call(t, indy, "leases", "--json")
	if !strings.Contains(said, `"leases": []`) && !strings.Contains(said, `"leases":[]`) {
		t.Errorf("refused, and there is a lease:\n%s", said)
	}
	if said, _ = call(t, indy, "doctor"); !strings.Contains(said, "modprobe vfio-pci") {
		t.Errorf("indy doctor names no remedy:\n%s", said)
	}
	for line := range strings.Lines(said) {
		if strings.Contains(line, "vfio") {
			t.Log(strings.TrimSpace(line))
		}
	}
}
