package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
)

func newGroupsCommand(env *Env) *cobra.Command {
	var flags reading
	var draw pictures
	var wake bool
	cmd := &cobra.Command{
		Use:   "groups",
		Short: "IOMMU groups: which devices change hands together",
		Long: `List the IOMMU groups. The functions of a group cannot be kept apart by the
IOMMU, so they change hands as one; bridges stay with the host.

Below a group of several it says why they share it: the port on whose link
isolation is missing, and what is missing. That is in what only root may read.
The reasons are derived by the kernel's rules from what the functions say of
themselves; where the kernel has other groups than that, it says so, and the
kernel's are what holds.

Nothing is woken for it; --wake also asks functions that sleep.

` + exitHelp,
		Args: usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			picture, err := draw.wanted(flags.json)
			if err != nil {
				return err
			}
			return flags.look(env, func(m *machine) error {
				if picture {
					return draw.write(env, m, readSharing(m, &flags, wake, true))
				}
				if flags.json {
					return writeGroupsJSON(env, m, readSharing(m, &flags, wake, true))
				}
				return writeGroups(env, m, readSharing(m, &flags, wake, false))
			})
		},
	}
	flags.add(cmd)
	draw.add(cmd)
	cmd.Flags().BoolVar(&wake, "wake", false, "also read what wakes a sleeping device")
	return cmd
}

func writeGroups(env *Env, m *machine, s *sharing) error {
	fmt.Fprintln(env.Stdout, iommuLine(m.Laptop))
	if !m.IOMMU.Enabled {
		for i := range m.Devices {
			for _, f := range m.Devices[i].Findings {
				if f.Code == laptop.NoIOMMU {
					fmt.Fprintf(env.Stdout, "remedy: %s\n", f.Remedy)
					return nil
				}
			}
		}
		return nil
	}
	fmt.Fprintln(env.Stdout)
	var t table
	notes := map[int][]string{}
	t.add("GROUP", "ADDRESS", "ROLE", "DRIVER", "DEVICE")
	for i := range m.Groups {
		g := &m.Groups[i]
		label := g.ID.String()
		for _, a := range g.Devices {
			if d := m.Function(a); d != nil {
				t.add(label, a.String(), string(d.Role()), or(d.Driver(), "-"), m.names.Name(d))
			} else {
				t.add(label, a.String(), "-", "-", "listed by the group, but there is no such function")
			}
			label = ""
		}
		for _, other := range g.Others {
			t.add(label, other, "-", "-", "on no PCI bus")
			label = ""
		}
		notes[len(t.rows)-1] = s.notes(g)
	}
	fmt.Fprint(env.Stdout, annotated(env, &t, notes, max(len("GROUP"), t.widths(0)[0])+gap))
	if gap := s.gap(m); gap != "" {
		fmt.Fprintf(env.Stdout, "\n%s\n", strings.Join(wrap(printable(gap), env.Width), "\n"))
	}
	return nil
}

type groupJSON struct {
	ID       iommu.GroupID    `json:"id"`
	Type     *string          `json:"type"`
	Devices  []pci.Address    `json:"devices"`
	Others   []string         `json:"others"`
	Viable   iommu.Answer     `json:"viable"`
	Findings []laptop.Finding `json:"findings"`
	Joins    []joinJSON       `json:"joins"`
	Unread   []pci.Address    `json:"unread"`
	Derived  string           `json:"derived"`
}

func writeGroupsJSON(env *Env, m *machine, s *sharing) error {
	groups := []groupJSON{}
	for i := range m.Groups {
		g := &m.Groups[i]
		out := groupJSON{
			ID: g.ID, Devices: append([]pci.Address{}, g.Devices...), Others: append([]string{}, g.Others...),
			Viable: m.Viable(g), Findings: m.groupFindings(g),
			Joins: s.joinsJSON(g), Unread: s.unreadJSON(g), Derived: s.state(g),
		}
		kind, err := iommu.Type(m.fsys, g.ID)
		if err == nil {
			out.Type = &kind
		} else if !errors.Is(err, fs.ErrNotExist) {
			m.err = errors.Join(m.err, err)
		}
		groups = append(groups, out)
	}
	return writeJSON(env, struct {
		IOMMU       iommu.Status     `json:"iommu"`
		Groups      []groupJSON      `json:"groups"`
		Differences []differenceJSON `json:"differences"`
	}{m.IOMMU, groups, s.differencesJSON()})
}

// groupFindings are the drivers for which VFIO does not find the group viable now, and
// the findings of the group's endpoints, each once, without what only says that they
// belong together.
func (m *machine) groupFindings(g *iommu.Group) []laptop.Finding {
	findings := append([]laptop.Finding{}, m.Obstacles(g)...)
	seen := map[string]bool{}
	for _, a := range m.Endpoints(g) {
		d := m.Function(a)
		if d == nil {
			continue
		}
		for _, f := range d.Findings {
			key := string(f.Code) + f.Device + f.Detail
			if !seen[key] && f.Code != laptop.Companions && strings.HasPrefix(f.Device, "pci:"+a.String()) {
				seen[key] = true
				findings = append(findings, f)
			}
		}
	}
	return findings
}
