package vfio_test

import (
	"os"
	"strings"
	"testing"

	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/vfio"
)

func TestDenied(t *testing.T) {
	text, err := os.ReadFile(hosttest.Shared(t, "hwdata", "quirks", "vfio_denylist.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	listed := map[pci.ID]bool{}
	for line := range strings.Lines(string(text)) {
		f := strings.Split(line, "\t")
		if strings.HasPrefix(line, "#") {
			continue
		}
		device, err := pci.ParseID(f[1])
		if err != nil || f[0] != "8086" {
			t.Fatal(line, err)
		}
		listed[device] = true
	}
	found := 0
	for n := range 0x10000 {
		f := pci.Function{Vendor: pci.NewID(0x8086), Device: pci.NewID(uint16(n))}
		name, refused := vfio.Denied(f)
		if refused != listed[f.Device] || refused != (name != "") {
			t.Errorf("%v: %q, %t", f.Device, name, refused)
		}
		if refused {
			found++
		}
		f.Vendor = pci.NewID(0x1002)
		if _, refused := vfio.Denied(f); refused {
			t.Errorf("%v of another vendor", f.Device)
		}
	}
	if found != 8 || found != len(listed) {
		t.Errorf("%d of %d", found, len(listed))
	}
	if _, refused := vfio.Denied(pci.Function{}); refused {
		t.Error("an unknown function")
	}
}
