package gpu_test

import (
	"os"
	"strings"
	"testing"

	"github.com/project-independence/indy/gpu"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/pci"
)

func TestNeedsVendorReset(t *testing.T) {
	text, err := os.ReadFile(hosttest.Shared(t, "hwdata", "quirks", "amd_vendor_reset.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	listed := map[pci.ID]string{}
	for line := range strings.Lines(string(text)) {
		f := strings.Split(line, "\t")
		if strings.HasPrefix(line, "#") {
			continue
		}
		device, err := pci.ParseID(f[1])
		if err != nil || f[0] != "1002" {
			t.Fatal(line, err)
		}
		listed[device] += " " + f[2]
	}
	if len(listed) < 60 {
		t.Fatalf("only %d", len(listed))
	}
	for n := range 0x10000 {
		f := pci.Function{Vendor: pci.NewID(0x1002), Device: pci.NewID(uint16(n)), Class: pci.NewClass(0x030000)}
		family, needed := gpu.NeedsVendorReset(f)
		if needed != (listed[f.Device] != "") {
			t.Errorf("%v: %q", f.Device, family)
		}
		// The list's own names, where ours is no processor.
		if name := strings.ToUpper(strings.ReplaceAll(family, " ", "")); needed && !strings.Contains(family, "processor") && !strings.Contains(listed[f.Device], name) {
			t.Errorf("%v: %q, is %s", f.Device, family, listed[f.Device])
		}
		f.Class = pci.NewClass(0x040300)
		if _, needed := gpu.NeedsVendorReset(f); needed {
			t.Errorf("%v: its audio", f.Device)
		}
	}
	if _, needed := gpu.NeedsVendorReset(pci.Function{Device: pci.NewID(0x731f), Class: pci.NewClass(0x030000)}); needed {
		t.Error("of an unknown vendor")
	}
}
