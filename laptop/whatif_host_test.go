package laptop

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
)

// A group that is not there keeps what is kept of those from which it was made.
func TestAsIf(t *testing.T) {
	tree, _, err := hostfs.ParseTxtar([]byte(`
-- proc/cmdline --
quiet
-- sys/kernel/iommu_groups/1/type --
DMA
-- sys/kernel/iommu_groups/1/reserved_regions --
0x00000000fee00000 0x00000000feefffff msi
-- sys/kernel/iommu_groups/2/type --
identity
-- sys/kernel/iommu_groups/2/reserved_regions --
0x0000000000001000 0x0000000000001fff direct
-- sys/class/iommu/dmar0 -> ../../devices/virtual/iommu/dmar0 --
`))
	if err != nil {
		t.Fatal(err)
	}
	one, two, seven, eight := pci.NewGroupID(1), pci.NewGroupID(2), pci.NewGroupID(7), pci.NewGroupID(8)
	h := asIf{FS: tree, commandLine: "loud\n", made: map[iommu.GroupID][]iommu.GroupID{seven: {one, two}, eight: {one}}}
	for id, want := range map[iommu.GroupID]int{one: 1, two: 1, seven: 2, eight: 1} {
		regions, err := iommu.ReservedRegions(h, id)
		if err != nil || len(regions) != want {
			t.Errorf("group %v: %v, %v", id, regions, err)
		}
	}
	if kind, err := iommu.Type(h, seven); kind != "DMA" || err != nil {
		t.Errorf("type %q, %v", kind, err)
	}
	for _, missing := range []string{"sys/kernel/iommu_groups/7/name", "sys/kernel/iommu_groups/9/type", "sys/kernel/iommu_groups/7"} {
		if text, err := fs.ReadFile(h, missing); err == nil || missing != "sys/kernel/iommu_groups/7" && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %q, %v", missing, text, err)
		}
	}
	if text, err := hostfs.ReadString(h, "proc/cmdline"); text != "loud" || err != nil {
		t.Errorf("command line %q, %v", text, err)
	}
	h.commandLine = ""
	if text, err := hostfs.ReadString(h, "proc/cmdline"); text != "quiet" || err != nil {
		t.Errorf("command line %q, %v", text, err)
	}
	if target, err := fs.ReadLink(h, "sys/class/iommu/dmar0"); target != "../../devices/virtual/iommu/dmar0" || err != nil {
		t.Errorf("link %q, %v", target, err)
	}
	if entries, err := fs.ReadDir(h, "sys/kernel/iommu_groups"); len(entries) != 2 || err != nil {
		t.Errorf("groups %v, %v", entries, err)
	}
	if _, err := fs.Lstat(h, "sys/class/iommu/dmar0"); err != nil {
		t.Error(err)
	}
}
