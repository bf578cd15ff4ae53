package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
)

// sharing is what is known of why functions share the groups of a machine.
type sharing struct {
	derived     []iommu.DerivedGroup
	of          map[pci.Address]int // index into derived
	differences []iommu.Difference
	override    string // the argument of the kernel that parts what is not isolated, if there is one
	saved       bool
}

// readSharing derives the groups again from what the functions say of themselves: of all,
// or only of those that share one. What cannot be read is unknown in the result, so that it
// is no error of the listing.
func readSharing(m *machine, flags *reading, wake, all bool) *sharing {
	s := &sharing{of: map[pci.Address]int{}, saved: flags.from != "", override: acsOverride(m.fsys)}
	var functions []pci.Function
	for i := range m.Devices {
		if f := m.Devices[i].PCI; f != nil {
			functions = append(functions, *f)
		}
	}
	o := iommu.TopologyOptions{Wake: wake || s.saved} // a saved machine sleeps for ever
	if !all && s.override == "" {
		o.Of = []pci.Address{}
		for i := range m.Groups {
			if len(m.Groups[i].Devices) > 1 {
				o.Of = append(o.Of, m.Groups[i].Devices...)
			}
		}
	}
	topology, _ := iommu.ReadTopology(m.fsys, functions, o)
	s.derived = topology.Derive()
	s.differences = iommu.Compare(s.derived, m.Groups)
	for i, g := range s.derived {
		for _, a := range g.Devices {
			s.of[a] = i
		}
	}
	return s
}

// acsOverride is what makes a patched kernel part groups that are not isolated.
func acsOverride(fsys fs.FS) string {
	line, err := iommu.ReadCommandLine(fsys)
	if err != nil || len(line.ACSOverride) == 0 {
		return ""
	}
	return "pcie_acs_override=" + strings.Join(line.ACSOverride, ",")
}

// joins are the links between members of a group.
func (s *sharing) joins(g *iommu.Group) []iommu.Join {
	joins := []iommu.Join{}
	for _, a := range g.Devices {
		i, ok := s.of[a]
		if !ok {
			continue
		}
		for _, j := range s.derived[i].Joins {
			if j.Device == a && slices.Contains(g.Devices, j.With) {
				joins = append(joins, j)
			}
		}
	}
	return joins
}

// unread is what was not readable and may change the group.
func (s *sharing) unread(g *iommu.Group) []iommu.Unread {
	var unread []iommu.Unread
	seen := map[int]bool{}
	for _, a := range g.Devices {
		if i, ok := s.of[a]; ok && !seen[i] {
			seen[i] = true
			unread = append(unread, s.derived[i].Unknown...)
		}
	}
	return unread
}

// state says whether the group is what was derived: same, differs or unknown.
func (s *sharing) state(g *iommu.Group) string {
	for _, d := range s.differences {
		if slices.Contains(d.Groups, g.ID) {
			return "differs"
		}
	}
	if len(g.Devices) == 0 || len(g.Others) > 0 || len(s.unread(g)) > 0 {
		return "unknown"
	}
	for _, a := range g.Devices {
		i, ok := s.of[a]
		if !ok || i != s.of[g.Devices[0]] {
			return "unknown"
		}
	}
	return "same"
}

// notes are the lines below a group: why its functions share it, and where it is not what
// was derived.
func (s *sharing) notes(g *iommu.Group) []string {
	var notes []string
	for _, sentence := range iommu.Explain(s.joins(g)) {
		notes = append(notes, "why: "+sentence)
	}
	for _, d := range s.differences {
		if d.Groups[0] != g.ID {
			continue
		}
		note := "differs: " + d.String()
		if d.Kind == iommu.KernelParts && s.override != "" {
			note += "; its command line has " + s.override + ", which parts groups without isolating them"
		}
		notes = append(notes, note)
	}
	return notes
}

// gap says in one line what would tell more about groups of several functions; it is empty
// when all is told.
func (s *sharing) gap(m *machine) string {
	var asleep []pci.Address
	var short, absent bool
	var other error
	for i := range m.Groups {
		g := &m.Groups[i]
		if len(g.Devices) < 2 || len(s.joins(g)) >= len(g.Devices)-1 {
			continue
		}
		for _, u := range s.unread(g) {
			if !slices.Contains(g.Devices, u.Device) || u.With.IsValid() && !slices.Contains(g.Devices, u.With) {
				continue
			}
			switch {
			case errors.Is(u.Err, iommu.ErrAsleep):
				asleep = append(asleep, u.At)
			case errors.Is(u.Err, pci.ErrUnread), errors.Is(u.Err, fs.ErrPermission):
				short = true
			case errors.Is(u.Err, fs.ErrNotExist):
				absent = true
			case other == nil:
				other = u.Err
			}
		}
	}
	const why = "why some functions share a group "
	switch {
	case (short || absent) && s.saved:
		return why + "was not saved; sudo indy capture --config saves it"
	case short && os.Geteuid() != 0:
		return why + "is in what only root may read; sudo indy groups tells it"
	case len(asleep) > 0:
		slices.SortFunc(asleep, pci.Address.Compare)
		return why + "is not known, as it would wake " + joinAddresses(slices.Compact(asleep)) + " to ask; indy groups --wake does"
	case short:
		return why + "is not known: " + pci.ErrUnread.Error()
	case other != nil:
		return why + "is not known: " + other.Error()
	}
	return ""
}

type joinJSON struct {
	Device  pci.Address      `json:"device"`
	With    pci.Address      `json:"with"`
	Reason  iommu.JoinReason `json:"reason"`
	At      pci.Address      `json:"at"`
	Missing []string         `json:"missing"`
	Quirk   string           `json:"quirk"`
	Detail  string           `json:"detail"`
}

func (s *sharing) joinsJSON(g *iommu.Group) []joinJSON {
	all := []joinJSON{}
	for _, j := range s.joins(g) {
		all = append(all, joinJSON{j.Device, j.With, j.Reason, j.At, iommu.ACSNames(j.Missing), j.Quirk, j.String()})
	}
	return all
}

// unreadJSON are the functions that would tell more of a group.
func (s *sharing) unreadJSON(g *iommu.Group) []pci.Address {
	all := []pci.Address{}
	for _, u := range s.unread(g) {
		all = append(all, u.At)
	}
	slices.SortFunc(all, pci.Address.Compare)
	return slices.Compact(all)
}

type differenceJSON struct {
	Kind    iommu.DifferenceKind `json:"kind"`
	Groups  []iommu.GroupID      `json:"groups"`
	Devices []pci.Address        `json:"devices"`
	Detail  string               `json:"detail"`
}

func (s *sharing) differencesJSON() []differenceJSON {
	all := []differenceJSON{}
	for _, d := range s.differences {
		all = append(all, differenceJSON{d.Kind, d.Groups, d.Devices, d.String()})
	}
	return all
}

// annotated puts notes below the rows of a table: by the number of the row, the heading
// being 0. They are indented by so many columns; what goes on does so below the first blank.
func annotated(env *Env, t *table, notes map[int][]string, indent int) string {
	var rows, out strings.Builder
	t.write(env, &rows)
	n := 0
	for line := range strings.Lines(rows.String()) {
		out.WriteString(line)
		for _, note := range notes[n] {
			label, text, _ := strings.Cut(printable(note), " ")
			further := indent + len(label) + 1
			for i, part := range wrap(text, max(0, env.Width-further)) {
				if i == 0 {
					fmt.Fprintf(&out, "%*s%s %s\n", indent, "", env.paint(dim, label), env.paint(dim, part))
				} else {
					fmt.Fprintf(&out, "%*s%s\n", further, "", env.paint(dim, part))
				}
			}
		}
		n++
	}
	return out.String()
}
