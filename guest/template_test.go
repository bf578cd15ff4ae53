package guest

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTemplates(t *testing.T) {
	var names []string
	for _, tt := range Templates() {
		names = append(names, tt.Name)
		d := tt.Definition
		if d.Name != "" || tt.Summary == "" || tt.DiskSize < 1<<30 || len(d.Disks) != 1 || d.Disks[0] != (Disk{File: "system.qcow2", Format: Qcow2, Bus: d.Disks[0].Bus}) {
			t.Errorf("%+v", tt)
		}
		d.Name = "x"
		got, err := ParseDefinition(tt.Name, d.YAML())
		if diff := cmp.Diff(d, got, compareIDs); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", tt.Name, err, diff)
		}
	}
	if diff := cmp.Diff([]string{"linux", "windows-11", "network", "usb"}, names); diff != "" {
		t.Error(diff)
	}
	// What one caller changes no other sees.
	Templates()[2].Definition.Devices[0].Want = WantGPU
	if got := Templates()[2].Definition.Devices[0].Want; got != WantEthernet {
		t.Errorf("a template was changed to want %s", got)
	}
	windows := Templates()[1].Definition
	if windows.CPUs < 2 || windows.Memory < 4<<30 || !windows.SecureBoot || !windows.TPM || Templates()[1].DiskSize < 64e9 {
		t.Errorf("not what Windows 11 asks for: %+v", windows)
	}
}
