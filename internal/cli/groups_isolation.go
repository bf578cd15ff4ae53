package cli

import (
	"errors"
	"maps"
	"slices"

	"github.com/project-independence/indy/internal/picture"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
)

// An isolation is where it is missing, as a picture has it.
type isolation struct {
	marks []picture.Mark
	said  map[pci.Address][]string // of a function: what was not readable, and where the kernel found otherwise

	// unexplained is how many groups hold together a function for which no reason was
	// found, as what it depends on was not readable.
	unexplained int
}

// isolation derives the groups again and keeps what explains those of the kernel.
func (m *machine) isolation() *isolation {
	var functions []pci.Function
	for i := range m.Devices {
		if f := m.Devices[i].PCI; f != nil {
			functions = append(functions, *f)
		}
	}
	topology, err := iommu.ReadTopology(m.fsys, functions, iommu.TopologyOptions{})
	m.err = errors.Join(m.err, err)
	found := &isolation{said: map[pci.Address][]string{}}
	why := map[pci.Address]bool{} // functions that are known to be with others
	doubt := map[iommu.GroupID][]pci.Address{}
	for _, derived := range topology.Derive() {
		links := map[pci.Address][]iommu.Join{} // by the port whose link they are about
		for _, j := range derived.Joins {
			switch {
			case !m.together(j.Device, j.With):
				found.said[j.Device] = append(found.said[j.Device], j.String()+"; the kernel has them apart all the same")
			case j.Reason == iommu.Multifunction || j.Reason == iommu.DMAAlias:
				why[j.Device] = true
				found.marks = append(found.marks, picture.Mark{At: j.With.String(), With: j.Device.String(), Label: joinLabel(j), Detail: j.String()})
			default:
				why[j.Device] = true
				links[j.At] = append(links[j.At], j)
			}
		}
		for _, at := range slices.SortedFunc(maps.Keys(links), pci.Address.Compare) {
			sentences := iommu.Explain(links[at])
			for i, j := range links[at] {
				mark := picture.Mark{At: at.String(), With: j.Device.String(), Label: joinLabel(j)}
				if i < len(sentences) {
					mark.Detail = sentences[i]
				}
				found.marks = append(found.marks, mark)
			}
		}
		for _, u := range derived.Unknown {
			if u.With.IsValid() && !m.together(u.Device, u.With) {
				continue // the kernel knew, and has them apart
			}
			found.said[u.Device] = append(found.said[u.Device], u.String())
			if d := m.Function(u.Device); d != nil {
				doubt[d.Group()] = append(doubt[d.Group()], u.Device)
			}
		}
	}
	for id, functions := range doubt {
		if g := m.Group(id); g != nil && len(g.Devices) > 1 && slices.ContainsFunc(functions, func(a pci.Address) bool { return !why[a] }) {
			found.unexplained++
		}
	}
	return found
}

// together reports whether the kernel has two functions in one group.
func (m *machine) together(a, b pci.Address) bool {
	f, o := m.Function(a), m.Function(b)
	return f != nil && o != nil && f.Group().IsValid() && f.Group() == o.Group()
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
