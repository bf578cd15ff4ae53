package laptop

import (
	"fmt"

	"github.com/project-independence/indy/iommu"
)

// group says of a function's IOMMU group what is neither for nor against handing it
// over: the kind of its default domain, which VFIO replaces by one of its own, and the
// addresses that a guest's memory must leave free.
func (f *facts) group(id iommu.GroupID) {
	if !id.IsValid() {
		return
	}
	dir := "sys/kernel/iommu_groups/" + id.String()
	if kind, err := iommu.Type(f.fsys, id); f.ok("IOMMU domain", dir+"/type", err) {
		if kind == "identity" {
			kind += ", which gives way to VFIO's"
		}
		f.add("IOMMU domain", kind, dir+"/type")
	}
	regions, err := iommu.ReservedRegions(f.fsys, id)
	f.ok("reserved addresses", dir+"/reserved_regions", err)
	var s []string
	for _, r := range regions {
		s = append(s, fmt.Sprintf("%x to %x (%s)", r.Start, r.End, r.Type))
	}
	f.add("reserved addresses", list(s), dir+"/reserved_regions")
}
