package iommu

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/pci"
)

const groupsDir = "sys/kernel/iommu_groups"

// A GroupID is the number of an IOMMU group. Group 0 is a group; the zero GroupID
// is none. Numbers are sparse.
type GroupID = pci.GroupID

// A Group is a set of devices that the IOMMU cannot tell apart, or that can reach
// each other behind its back. It is the unit that changes hands.
type Group struct {
	ID GroupID

	// Devices are the PCI functions of the group, in the order of their addresses.
	Devices []pci.Address

	// Others are members on no PCI bus, by the name of their device.
	Others []string

	// Known is set when the kernel's own list of members was read, each PCI function
	// on it is a function of the machine, and no function says otherwise of itself.
	// Without it there may be members nobody has seen.
	Known bool
}

// An OpError says what could not be done with which group. Err keeps the cause.
type OpError struct {
	Op    string
	Group GroupID // zero when the error is about all groups
	Err   error
}

// Error returns operation, group and cause.
func (e *OpError) Error() string {
	if !e.Group.IsValid() {
		return e.Op + ": " + e.Err.Error()
	}
	return e.Op + " IOMMU group " + e.Group.String() + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *OpError) Unwrap() error { return e.Err }

// Groups returns the IOMMU groups in the order of their numbers, from the
// directories /sys/kernel/iommu_groups/N/devices and from what the given functions
// say of themselves. A machine without a working IOMMU has none, and no error.
//
// The error joins one *[OpError] for each group that could not be listed; such a
// group is returned with the functions that claim it and is not Known.
func Groups(fsys fs.FS, functions []pci.Function) ([]Group, error) {
	claimed := map[GroupID][]pci.Address{}
	own := make(map[pci.Address]GroupID, len(functions))
	for _, f := range functions {
		own[f.Address] = f.Group
		if f.Group.IsValid() {
			claimed[f.Group] = append(claimed[f.Group], f.Address)
		}
	}
	var errs []error
	entries, err := fs.ReadDir(fsys, groupsDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, &OpError{"list IOMMU groups", GroupID{}, err})
	}
	listed := make([]Group, 0, len(entries))
	for _, e := range entries {
		id, err := pci.ParseGroupID(e.Name())
		if err == nil && id.String() != e.Name() {
			err = fmt.Errorf("%.64q is not how the kernel writes group %s", e.Name(), id)
		}
		if err != nil {
			errs = append(errs, &OpError{"list IOMMU groups", GroupID{}, err})
			continue
		}
		g := Group{ID: id}
		if err := g.list(fsys, own); err != nil {
			errs = append(errs, &OpError{"list", id, err})
		}
		g.merge(claimed[id])
		delete(claimed, id)
		listed = append(listed, g)
	}
	for _, id := range slices.SortedFunc(maps.Keys(claimed), GroupID.Compare) {
		listed = append(listed, Group{ID: id, Devices: claimed[id]})
	}
	for i := range listed {
		slices.SortFunc(listed[i].Devices, pci.Address.Compare)
	}
	slices.SortFunc(listed, func(a, b Group) int { return a.ID.Compare(b.ID) })
	return listed, errors.Join(errs...)
}

// list fills g from the kernel's directory of its members. The functions of the
// machine come with the group each says it is in.
func (g *Group) list(fsys fs.FS, own map[pci.Address]GroupID) error {
	members, err := fs.ReadDir(fsys, groupsDir+"/"+g.ID.String()+"/devices")
	if err != nil {
		return err
	}
	g.Known = true
	for _, m := range members {
		a, err := pci.ParseAddress(m.Name())
		if err != nil || a.String() != m.Name() {
			g.Others = append(g.Others, m.Name())
			continue
		}
		g.Devices = append(g.Devices, a)
		said, exists := own[a]
		g.Known = g.Known && exists && (said == g.ID || !said.IsValid())
	}
	return nil
}

// merge adds functions that claim the group and are not on the kernel's list,
// which also makes that list doubtful.
func (g *Group) merge(claimed []pci.Address) {
	listed := make(map[pci.Address]bool, len(g.Devices))
	for _, a := range g.Devices {
		listed[a] = true
	}
	for _, a := range claimed {
		if !listed[a] {
			listed[a] = true
			g.Devices = append(g.Devices, a)
			g.Known = false
		}
	}
}

// Type returns the kind of the group's default domain, as DMA, DMA-FQ or identity
// (/sys/kernel/iommu_groups/N/type). An identity domain is no obstacle to VFIO. An
// error that is [fs.ErrNotExist] means that it is not stated.
func Type(fsys fs.FS, id GroupID) (string, error) {
	s, err := hostfs.ReadString(fsys, groupsDir+"/"+id.String()+"/type")
	if err != nil {
		return "", &OpError{"read the type of", id, err}
	}
	return s, nil
}

// NoIOMMU says whether the group is one that VFIO's no-IOMMU mode made up
// (/sys/kernel/iommu_groups/N/name is vfio-noiommu): nothing isolates it. A group
// without a name is none. The answer is Unknown with an error, an *[OpError].
func NoIOMMU(fsys fs.FS, id GroupID) (Answer, error) {
	s, err := hostfs.ReadString(fsys, groupsDir+"/"+id.String()+"/name")
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return Unknown, &OpError{"read the name of", id, err}
	case s == "vfio-noiommu":
		return Yes, nil
	}
	return No, nil
}

// IsNoIOMMU reports whether [NoIOMMU] says Yes. That it does not is no promise that an
// IOMMU isolates the group.
func IsNoIOMMU(fsys fs.FS, id GroupID) bool {
	answer, _ := NoIOMMU(fsys, id)
	return answer == Yes
}

// A Region is a range of I/O addresses that a group reserves. Start and End are
// inclusive. Type is the kernel's: direct, direct-relaxable, reserved or msi.
type Region struct {
	Start, End uint64
	Type       string
}

// ReservedRegions reads /sys/kernel/iommu_groups/N/reserved_regions.
func ReservedRegions(fsys fs.FS, id GroupID) ([]Region, error) {
	text, err := fs.ReadFile(fsys, groupsDir+"/"+id.String()+"/reserved_regions")
	if err == nil {
		var regions []Region
		if regions, err = parseRegions(string(text)); err == nil {
			return regions, nil
		}
	}
	return nil, &OpError{"read the reserved regions of", id, err}
}

func parseRegions(text string) ([]Region, error) {
	var regions []Region
	n := 0
	for line := range strings.Lines(text) {
		n++
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) != 3 {
			return nil, fmt.Errorf("line %d: %.64q is not START END TYPE", n, strings.TrimSpace(line))
		}
		start, err1 := strconv.ParseUint(f[0], 0, 64)
		end, err2 := strconv.ParseUint(f[1], 0, 64)
		if err1 != nil || err2 != nil || end < start {
			return nil, fmt.Errorf("line %d: %.64q is no range of addresses", n, f[0]+" "+f[1])
		}
		regions = append(regions, Region{start, end, f[2]})
	}
	return regions, nil
}
