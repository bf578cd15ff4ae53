package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/laptop"
)

func newWhyCommand(env *Env) *cobra.Command {
	var flags reading
	cmd := &cobra.Command{
		Use:   "why DEVICE",
		Short: "one device: can it go to a guest, what goes along, and why not",
		Long: `Say all that is known about one device and what led to its verdict, each fact with
the file it comes from and what to do about it.

` + exitHelp,
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: completeDevices(env),
		RunE: func(_ *cobra.Command, args []string) error {
			return flags.look(env, func(m *machine) error {
				d, err := m.Find(args[0], m.names)
				if err != nil {
					return err
				}
				facts, err := laptop.Facts(m.fsys, m.Laptop, d)
				m.err = errors.Join(m.err, err)
				if flags.json {
					return writeJSON(env, struct {
						deviceJSON
						Facts []laptop.Fact `json:"facts"`
					}{toJSON(m, d), append([]laptop.Fact{}, facts...)})
				}
				writeWhy(env, m, d, facts)
				return nil
			})
		},
	}
	flags.add(cmd)
	return cmd
}

func writeWhy(env *Env, m *machine, d *laptop.Device, facts []laptop.Fact) {
	w := env.Stdout
	fmt.Fprintf(w, "%s  %s\n", env.paint(bold, d.Where()), printable(m.names.Name(d)))
	t := table{least: []int{0, 24, 20}, ragged: []int{0, 32}, colours: []func(int, string) colour{2: func(int, string) colour { return dim }}}
	t.add("  role", joinRoles(d.Roles), "")
	for _, f := range facts {
		t.add("  "+f.Name, f.Value, f.Source)
	}
	if len(d.Nodes) > 0 {
		t.add("  nodes", "/"+strings.Join(d.Nodes, " /"), "")
	}
	t.writePlain(env, w)
	fmt.Fprintf(w, "\nverdict: %s\n", env.paint(verdictColour(d.Verdict), string(d.Verdict)))
	if len(d.Findings) == 0 {
		fmt.Fprintln(w, "  no disk, route or screen of the host depends on it, and it is alone in its IOMMU group")
	}
	for _, f := range d.Findings {
		c := plain
		switch f.Severity {
		case laptop.Block:
			c = red
		case laptop.Warning, laptop.Gap:
			c = yellow
		}
		fmt.Fprintf(w, "  %s: %s\n", env.paint(c, string(f.Code)), printable(f.Detail))
		fmt.Fprintf(w, "    seen in: %s\n", printable(f.Evidence))
		if f.Remedy != "" {
			fmt.Fprintf(w, "    remedy:  %s\n", f.Remedy)
		}
	}
}
