package laptop

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/vfio"
)

// Viable reports whether VFIO would find the group viable as its functions are bound
// now: each to a driver that leaves DMA to others, or to none, whatever the function
// is. Members on no PCI bus make the answer unknown. [Laptop.Obstacles] says what
// stands in the way.
func (l *Laptop) Viable(g *iommu.Group) iommu.Answer {
	for _, a := range g.Devices {
		if d := l.Function(a); d != nil && !managesDMA(d.PCI.Driver) {
			return iommu.No
		}
	}
	if !g.Known || len(g.Others) > 0 {
		return iommu.Unknown
	}
	return iommu.Yes
}

// managesDMA reports whether a driver does no DMA by the kernel's means, so that a
// function that it has does not keep its group from a guest. Those are the drivers of
// the PCI bus with driver_managed_dma, as of Linux 6.12: that of root ports and
// switches, pci-stub, and vfio-pci with its variants for single devices. All others
// own the DMA of their group, that of hot-plug bridges (shpchp) among them. Kernels
// before 5.19 let any driver of a bridge pass. The names of modules have _ for -.
func managesDMA(driver string) bool {
	name := strings.ReplaceAll(driver, "_", "-")
	switch name {
	case "", "pcieport", "pci-stub", "vfio-pci":
		return true
	}
	return strings.HasSuffix(name, "-vfio-pci")
}

// Obstacles names each function with a driver for which VFIO does not find the group
// viable now. That of an endpoint lets go of it when the group changes hands, and is
// Info; that of a bridge is in the way for good, because bridges are left alone, and
// is Block.
func (l *Laptop) Obstacles(g *iommu.Group) []Finding {
	var findings []Finding
	for _, a := range g.Devices {
		d := l.Function(a)
		if d == nil || managesDMA(d.PCI.Driver) {
			continue
		}
		f := Finding{
			Code: NotViable, Severity: Info, Device: d.ID(), Evidence: evidence(a, "driver"),
			Detail: fmt.Sprintf("%s is with the driver %s, which does DMA: VFIO does not find the group viable until it lets go of it", a, d.PCI.Driver),
			Remedy: "assigning the group does that",
		}
		if StaysWithHost(*d.PCI) {
			f.Severity = Block
			f.Detail = fmt.Sprintf("the bridge %s is with the driver %s, which VFIO takes for one that does DMA: it finds the group not viable", a, d.PCI.Driver)
			f.Remedy = "keep that driver from the bridge, as by the module option blacklist=" + d.PCI.Driver
		}
		f.Detail, f.Remedy = oneLine(f.Detail), oneLine(f.Remedy)
		findings = append(findings, f)
	}
	return findings
}

// staying are the obstacles that assigning the group does not remove.
func (l *Laptop) staying(g *iommu.Group) []Finding {
	var findings []Finding
	for _, f := range l.Obstacles(g) {
		if f.Severity == Block {
			findings = append(findings, f)
		}
	}
	return findings
}

// reservedFor says what the firmware keeps for itself of the addresses of a group. A
// group without endpoints is of no interest.
func reservedFor(fsys fs.FS, g *iommu.Group, endpoints []pci.Address) ([]Finding, error) {
	if len(endpoints) == 0 {
		return nil, nil
	}
	file := "/sys/kernel/iommu_groups/" + g.ID.String() + "/reserved_regions"
	regions, err := iommu.ReservedRegions(fsys, g.ID)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // a saved machine may lack it
	}
	if err != nil {
		return []Finding{{
			Code: Partial, Severity: Gap, Evidence: file, Remedy: lookAgain,
			Detail: "whether the firmware keeps memory mapped for group " + g.ID.String() + " could not be read",
		}}, err
	}
	for _, r := range regions {
		// direct-relaxable regions are given up when a guest takes over; direct ones
		// are not, and VFIO refuses the group.
		if r.Type == "direct" {
			return []Finding{{
				Code: ReservedDirect, Severity: Block, Evidence: file,
				Detail: fmt.Sprintf("the firmware keeps memory %#x-%#x mapped for IOMMU group %s (RMRR, IVMD), so VFIO refuses it", r.Start, r.End, g.ID),
				Remedy: "look for a firmware setting that takes the device from the firmware's hands, or update the firmware",
			}}, nil
		}
	}
	return nil, nil
}

// denied says that vfio-pci does not take a function, unless it was told to.
func denied(fsys fs.FS, f pci.Function) (Finding, bool) {
	name, refused := vfio.Denied(f)
	if !refused {
		return Finding{}, false
	}
	const file = "sys/module/vfio_pci/parameters/disable_denylist"
	finding := Finding{
		Code: VFIODenied, Severity: Block, Device: "pci:" + f.Address.String(), Evidence: evidence(f.Address, "device") + ", /" + file,
		Detail: fmt.Sprintf("vfio-pci refuses %s by its ids (%s), because a guest could do harm with it", f.Address, name),
		Remedy: "load vfio-pci with disable_denylist=1, at your own risk",
	}
	// Not there, vfio-pci is not loaded and knows nothing yet of such a wish.
	if s, err := hostfs.ReadString(fsys, file); err == nil && (s == "Y" || s == "1") {
		finding.Severity = Warning
		finding.Detail = fmt.Sprintf("vfio-pci takes %s (%s), with which a guest could do harm, only because of disable_denylist", f.Address, name)
		finding.Remedy = ""
	}
	return finding, true
}
