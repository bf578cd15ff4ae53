package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/laptop"
)

func newWhyCommand(env *Env) *cobra.Command {
	var flags reading
	var wake bool
	cmd := &cobra.Command{
		Use:   "why DEVICE",
		Short: "one device: can it go to a guest, what goes along, why not, and what else would do",
		Long: `Say whether a device can go to a guest: the verdict, what led to it and what to do about
it, what changes hands with the device, and other ways to the same end, the best first.
Then all that is known about it, each fact with the file it comes from.

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
				r := m.reasons(d, laptop.FactOptions{Wake: wake || flags.from != ""}) // a saved machine sleeps for ever
				if flags.json {
					return writeJSON(env, r.json(m))
				}
				r.write(env, m)
				return nil
			})
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&wake, "wake", false, "also read what wakes a sleeping device")
	return cmd
}

// reasons are the answer to why: what speaks for and against handing over one device.
type reasons struct {
	device  *laptop.Device
	along   []*laptop.Device // what changes hands with it
	losses  []laptop.Loss    // what the host no longer does then
	options []laptop.Option
	facts   []laptop.Fact
	residue *assign.Residue // what guests have left in it; nil when nothing is noted
}

// reasons reads all that is said of a device. What could not be read is noted.
func (m *machine) reasons(d *laptop.Device, opts laptop.FactOptions) *reasons {
	r := &reasons{device: d, along: m.Along(d)}
	note := func(err error) { m.err = errors.Join(m.err, err) }
	var err error
	d.Verdict, d.Findings, err = laptop.Judge(m.fsys, m.Laptop, d)
	note(err)
	if d.Other == nil && (d.PCI == nil || !laptop.StaysWithHost(*d.PCI)) {
		// What hangs on functions is known to go with them.
		set := slices.DeleteFunc(slices.Clone(r.along), func(d *laptop.Device) bool { return d.PCI == nil })
		r.losses, err = laptop.Losses(m.fsys, m.Laptop, append([]*laptop.Device{d}, set...))
		note(err)
	}
	r.options, err = laptop.Options(m.fsys, m.Laptop, d)
	note(err)
	r.facts, err = laptop.Facts(m.fsys, m.Laptop, d, opts)
	note(err)
	r.residue, err = m.residue(d)
	note(err)
	return r
}

type whyJSON struct {
	deviceJSON
	Companions   []string        `json:"companions"` // ids
	Losses       []laptop.Loss   `json:"losses"`
	Alternatives []laptop.Option `json:"alternatives"`
	Facts        []laptop.Fact   `json:"facts"`
	Residue      *assign.Residue `json:"residue"` // null when nothing is noted
}

func (r *reasons) json(m *machine) whyJSON {
	out := whyJSON{
		toJSON(m, r.device), []string{}, append([]laptop.Loss{}, r.losses...),
		append([]laptop.Option{}, r.options...), append([]laptop.Fact{}, r.facts...),
		r.residue,
	}
	for _, d := range r.along {
		out.Companions = append(out.Companions, d.ID())
	}
	return out
}

// write answers a person: first whether the device can go, then what that hangs on, what
// to do instead, and last all that is known.
func (r *reasons) write(env *Env, m *machine) {
	w, d := env.Stdout, r.device
	fmt.Fprintf(w, "%s  %s\n", env.paint(bold, d.Where()), printable(m.names.Name(d)))
	fmt.Fprintf(w, "verdict: %s\n", env.paint(verdictColour(d.Verdict), string(d.Verdict)))
	losses := slices.DeleteFunc(m.unsaid(r.losses, d.Findings), func(loss laptop.Loss) bool { return loss.Kind == laptop.Carries }) // which goes along
	env.indented("  ", answer(m.Laptop, d, losses))
	writeReasons(env, d.Findings)
	r.writeAlong(env, m)
	writeLosses(env, losses)
	if r.residue != nil {
		fmt.Fprintln(w, "left in it by guests:")
		env.indented("  ", residueWords(*r.residue))
	}
	r.writeOptions(env, m)
	r.writeFacts(env)
}

// answer says in one sentence whether a device can go to a guest.
func answer(l *laptop.Laptop, d *laptop.Device, losses []laptop.Loss) string {
	switch d.Verdict {
	case laptop.Assignable:
		switch {
		case slices.ContainsFunc(d.Findings, func(f laptop.Finding) bool { return f.Severity == laptop.Warning }):
			return "It can go to a guest, at a price:"
		case slices.ContainsFunc(losses, func(loss laptop.Loss) bool { return loss.Severity != laptop.Info }):
			return "It can go to a guest, alone, and the host can do without; what it loses stands below."
		case d.USB != nil:
			return "It can go to a guest, alone: no disk, route or keyboard of the host depends on it. The guest has it through the host's USB controller."
		}
		return "It can go to a guest: no disk, route or screen of the host depends on it, and it is alone in its IOMMU group."
	case laptop.WithCompanions:
		others := len(l.Endpoints(l.Group(d.Group()))) - 1
		return "It can go to a guest, but only together with " + count(others, "other function") + " of its IOMMU group:"
	case laptop.ShareOnly:
		return "It cannot go to a guest; the host can only share it:"
	case laptop.Refused:
		return "It cannot go to a guest as things are:"
	}
	return "Whether it can go to a guest is not known:"
}

// writeReasons writes what led to a verdict, the gravest first.
func writeReasons(env *Env, findings []laptop.Finding) {
	grave := []laptop.Severity{laptop.Block, laptop.Gap, laptop.Warning, laptop.Info}
	findings = slices.SortedStableFunc(slices.Values(alike(findings)), func(a, b laptop.Finding) int {
		return slices.Index(grave, a.Severity) - slices.Index(grave, b.Severity)
	})
	for _, f := range findings {
		c := plain
		switch f.Severity {
		case laptop.Block:
			c = red
		case laptop.Warning, laptop.Gap:
			c = yellow
		}
		env.labelled("  "+env.paint(c, string(f.Code))+": ", len(f.Code)+4, f.Detail)
		env.labelled("    seen in: ", 13, f.Evidence)
		if f.Remedy != "" {
			env.labelled("    remedy:  ", 13, f.Remedy)
		}
	}
}

// maxAlong is how many devices that go along are named to a person; JSON has them all.
const maxAlong = 32

func (r *reasons) writeAlong(env *Env, m *machine) {
	if len(r.along) == 0 {
		return
	}
	fmt.Fprintln(env.Stdout, "\nwhat goes along")
	t := table{least: []int{0, 0, 12}}
	for _, d := range r.along[:min(len(r.along), maxAlong)] {
		t.add("  "+d.Where(), string(d.Role()), m.names.Name(d))
	}
	t.writePlain(env, env.Stdout)
	if more := len(r.along) - maxAlong; more > 0 {
		fmt.Fprintf(env.Stdout, "  and %d more\n", more)
	}
}

func (r *reasons) writeOptions(env *Env, m *machine) {
	if len(r.options) == 0 {
		return
	}
	fmt.Fprintln(env.Stdout, "\nother ways, the best first")
	for _, o := range r.options {
		number := fmt.Sprintf("  %d. ", o.Rank)
		c := plain
		if !o.Available {
			c = dim
		}
		env.labelled(env.paint(c, number), len(number), o.Detail)
		if d := m.Device(o.Device); d != nil && d != r.device {
			env.labelled("     device:  ", 14, m.names.Name(d))
		}
		env.labelled("     cost:    ", 14, o.Cost)
		env.labelled("     seen in: ", 14, o.Evidence)
	}
}

func (r *reasons) writeFacts(env *Env) {
	d := r.device
	rows := [][3]string{{""}, {sectionName(laptop.SectionIdentity)}, {"  role", joinRoles(d.Roles), ""}}
	section := laptop.SectionIdentity
	for _, f := range r.facts {
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
	t.writePlain(env, env.Stdout)
}

// indented writes a text in lines that fit the terminal, each after the indentation.
func (e *Env) indented(indent, text string) { e.labelled(indent, len(indent), text) }

// labelled writes a label and a text beside it, in lines that fit the terminal.
func (e *Env) labelled(label string, width int, text string) {
	lines := wrap(printable(text), max(0, e.Width-width))
	fmt.Fprintf(e.Stdout, "%s%s\n", label, strings.Join(lines, "\n"+strings.Repeat(" ", width)))
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
