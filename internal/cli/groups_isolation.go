package cli

import (
	"maps"
	"slices"

	"github.com/project-independence/indy/internal/picture"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
)

// marks returns where isolation is missing, as a picture has it: the reasons for which
// functions share the groups of the kernel.
func (s *sharing) marks(groups []iommu.Group) []picture.Mark {
	var marks []picture.Mark
	for i := range groups {
		links := map[pci.Address][]iommu.Join{} // by the port whose link they are about
		for _, j := range s.joins(&groups[i]) {
			if j.Reason == iommu.Multifunction || j.Reason == iommu.DMAAlias {
				marks = append(marks, picture.Mark{At: j.With.String(), With: j.Device.String(), Label: joinLabel(j), Detail: j.String()})
			} else {
				links[j.At] = append(links[j.At], j)
			}
		}
		for _, at := range slices.SortedFunc(maps.Keys(links), pci.Address.Compare) {
			sentences := iommu.Explain(links[at]) // no more than there are joins
			for i, j := range links[at] {
				mark := picture.Mark{At: at.String(), With: j.Device.String(), Label: joinLabel(j)}
				if i < len(sentences) {
					mark.Detail = sentences[i]
				}
				marks = append(marks, mark)
			}
		}
	}
	return marks
}

// said is what a picture tells of functions besides: what was not readable of why they
// share a group, and where the kernel has other groups than what was derived.
func (s *sharing) said(groups []iommu.Group) map[pci.Address][]string {
	said := map[pci.Address][]string{}
	for i := range groups {
		g := &groups[i]
		if len(g.Devices) < 2 {
			continue
		}
		for _, u := range s.unread(g) {
			if slices.Contains(g.Devices, u.Device) && (!u.With.IsValid() || slices.Contains(g.Devices, u.With)) {
				said[u.Device] = append(said[u.Device], u.String())
			}
		}
	}
	for _, d := range s.differences {
		for _, a := range d.Devices {
			said[a] = append(said[a], d.String())
		}
	}
	return said
}

// joinLabel says in a few words what is missing.
func joinLabel(j iommu.Join) string {
	switch j.Reason {
	case iommu.RealDMADevice:
		return "one device to the IOMMU (VMD)"
	case iommu.PCIBridge:
		return "conventional PCI bus"
	case iommu.DMAAlias:
		return "sends as another: " + j.With.String()
	case iommu.Multifunction:
		return "functions: " + lackingACS(j)
	}
	return lackingACS(j)
}

// lackingACS names the services that are missing by the letters of the specification.
func lackingACS(j iommu.Join) string {
	if !j.HasACS && j.Missing&pci.ACSIsolation == pci.ACSIsolation {
		return "no ACS"
	}
	s := "ACS lacks"
	if j.HasACS {
		s = "ACS is off:"
	}
	for i, letters := range []string{"SV", "TB", "RR", "CR", "UF", "EC", "DT"} {
		if j.Missing>>i&1 != 0 {
			s += " " + letters
		}
	}
	return s
}
