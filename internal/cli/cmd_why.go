package cli

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/laptop"
)

func newWhyCommand(env *Env) *cobra.Command {
	var flags reading
	var wake bool
	cmd := &cobra.Command{
		Use:   "why DEVICE",
		Short: "one device: can it go to a guest, what goes along, and why not",
		Long: `Say all that is known about one device and what led to its verdict, each fact with
the file it comes from and what to do about it.

Nothing is woken for it: of a device that sleeps it says less. --wake asks such devices,
too, and reads product data (VPD), which takes long; serial numbers are among both.

` + exitHelp,
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: completeDevices(env),
		RunE: func(_ *cobra.Command, args []string) error {
			return flags.look(env, func(m *machine) error {
				d, err := m.Find(args[0], m.names)
				if err != nil {
					return err
				}
				facts, err := laptop.Facts(m.fsys, m.Laptop, d, laptop.FactOptions{Wake: wake || flags.from != ""}) // a saved machine sleeps for ever
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
	cmd.Flags().BoolVar(&wake, "wake", false, "also read what wakes a sleeping device")
	return cmd
}

func writeWhy(env *Env, m *machine, d *laptop.Device, facts []laptop.Fact) {
	w := env.Stdout
	fmt.Fprintf(w, "%s  %s\n", env.paint(bold, d.Where()), printable(m.names.Name(d)))
	rows := [][3]string{{"  role", joinRoles(d.Roles), ""}}
	section := laptop.SectionIdentity
	for _, f := range facts {
		if f.Section != section {
			section = f.Section
			rows = append(rows, [3]string{sectionName(section)})
		}
		rows = append(rows, [3]string{"  " + f.Name, f.Value, f.Source})
	}
	if len(d.Nodes) > 0 {
		rows = append(rows, [3]string{"  nodes", "/" + strings.Join(d.Nodes, " /"), ""})
	}
	t := table{least: []int{0, 0, 12}, ragged: []int{29, 44}, colours: []func(int, string) colour{2: func(int, string) colour { return dim }}}
	width := valueWidth(env.Width, rows)
	for _, r := range rows {
		for i, part := range wrap(r[1], width) {
			if i > 0 {
				r = [3]string{}
			}
			t.add(r[0], part, r[2])
		}
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
		indented := func(label, text string, indent int) {
			lines := wrap(printable(text), max(0, env.Width-indent))
			fmt.Fprintf(w, "%s%s\n", label, strings.Join(lines, "\n"+strings.Repeat(" ", indent)))
		}
		indented("  "+env.paint(c, string(f.Code))+": ", f.Detail, len(f.Code)+4)
		indented("    seen in: ", f.Evidence, 13)
		if f.Remedy != "" {
			indented("    remedy:  ", f.Remedy, 13)
		}
	}
}

// sectionName heads the facts of a section.
func sectionName(s laptop.Section) string {
	switch s {
	case laptop.SectionIdentity:
		return "what it is"
	case laptop.SectionPlace:
		return "where it is"
	case laptop.SectionDriver:
		return "who drives it"
	case laptop.SectionPower:
		return "power and link"
	case laptop.SectionAbilities:
		return "what it can do"
	case laptop.SectionTies:
		return "what belongs with it"
	}
	return "what the host makes of it"
}

// valueWidth is how wide the middle column may be on a terminal, so that the names and
// half of most files' names fit beside it; 0 is any width.
func valueWidth(terminal int, rows [][3]string) int {
	if terminal == 0 {
		return 0
	}
	var names, sources int
	for _, r := range rows {
		names, sources = max(names, utf8.RuneCountInString(r[0])), max(sources, utf8.RuneCountInString(r[2]))
	}
	return max(24, terminal-names-min(sources, terminal*2/5)-2*gap)
}

// wrap breaks text at its blanks into lines of a width, 0 being any. There is always
// one line. A word that is wider has a line of its own.
func wrap(text string, width int) []string {
	var lines []string
	current := ""
	for word := range strings.SplitSeq(text, " ") {
		switch {
		case current == "":
			current = word
		case width > 0 && utf8.RuneCountInString(current)+1+utf8.RuneCountInString(word) > width:
			lines = append(lines, current)
			current = word
		default:
			current += " " + word
		}
	}
	return append(lines, current)
}
