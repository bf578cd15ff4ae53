package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/laptop"
)

func newDiffCommand(env *Env) *cobra.Command {
	var flags struct {
		reading
		all, exitCode bool
	}
	cmd := &cobra.Command{
		Use:   "diff BEFORE [AFTER]",
		Short: "what became of each device between two saved machines, or since one was saved",
		Long: `Compare two saved machines, or a saved machine and this host as it is now, device by
device. A device is known again by what outlives a restart and a replug: serial number,
permanent MAC address, where it sits, what it is. Buses that got other numbers and
interfaces that got other names are no difference.

Outcomes: gone, new; replaced, another thing at the same place; moved, the same thing
at another place; ambiguous, one of several that nothing tells apart; same. A device
that came back with other interfaces than before is suspicious: a disk may have become
a keyboard. What is the same is counted, and shown where something about it changed.

` + exitHelp,
		Args: usage(cobra.RangeArgs(1, 2)),
		RunE: func(_ *cobra.Command, args []string) error {
			before, err := readSide(env, args[0])
			if err != nil {
				return err
			}
			defer before.done()
			after := &side{label: "this host"}
			if len(args) == 2 {
				after, err = readSide(env, args[1])
			} else {
				err = after.read(env, &reading{})
			}
			if err != nil {
				return err
			}
			defer after.done()
			d := newDiff(before, after)
			if flags.json {
				err = d.writeJSON(env)
			} else {
				d.write(env, flags.all)
			}
			partly := errors.Join(before.failed(), after.failed())
			switch {
			case err != nil:
				return err
			case partly != nil:
				return partlyRead{partly}
			case flags.exitCode && d.differs():
				return errors.New("the machines differ")
			}
			return nil
		},
	}
	flags.addJSON(cmd)
	cmd.Flags().BoolVar(&flags.all, "all", false, "show also what is the same")
	cmd.Flags().BoolVar(&flags.exitCode, "exit-code", false, "exit with status 1 if anything differs")
	return cmd
}

func (d *diff) write(env *Env, all bool) {
	w := env.Stdout
	for _, s := range []struct {
		when string
		*side
	}{{"before:", d.before}, {"after: ", d.after}} {
		identity, err := laptop.ReadIdentity(s.fsys)
		s.err = errors.Join(s.err, err)
		name := s.label
		if m := identity.String(); m != "" {
			name = m + " (" + s.label + ")"
		}
		fmt.Fprintf(w, "%s %s\n", s.when, printable(name))
	}
	shown := func(title string, c colour, is func(i int) bool) {
		n := 0
		for i := range d.rows {
			if !is(i) {
				continue
			}
			if n++; n == 1 {
				fmt.Fprintf(w, "\n%s\n", env.paint(c, title))
			}
			d.writeRow(env, i)
		}
	}
	shown("suspicious: came back with other interfaces", red, func(i int) bool { return d.rows[i].Suspicious })
	for _, o := range laptop.Outcomes() {
		if o != laptop.Same {
			shown(string(o), bold, func(i int) bool { return d.rows[i].Outcome == o && !d.rows[i].Suspicious })
		}
	}
	same := func(i int) bool { return d.rows[i].Outcome == laptop.Same && !d.rows[i].Suspicious }
	shown("changed", bold, func(i int) bool { return same(i) && d.changed(i) })
	unchanged := 0
	for i := range d.rows {
		if same(i) && !d.changed(i) {
			unchanged++
		}
	}
	if all {
		shown("same", bold, func(i int) bool { return same(i) && !d.changed(i) })
	}
	fmt.Fprintf(w, "\n%d unchanged, of %s before and %d after\n", unchanged, count(len(d.before.Devices), "device"), len(d.after.Devices))
}

func (d *diff) writeRow(env *Env, i int) {
	r := &d.rows[i]
	now := d.device(r)
	where, name := now.Where(), d.after.names.Name(now)
	if r.Before != "" && r.After != "" {
		was := d.before.byID[r.Before]
		if was.Where() != where {
			where = was.Where() + " -> " + where
		}
		if old := d.after.names.Name(was); old != name {
			name = old + " -> " + name
		}
	}
	line := func(format string, args ...any) {
		fmt.Fprintln(env.Stdout, strings.TrimRight("      "+printable(fmt.Sprintf(format, args...)), " "))
	}
	fmt.Fprintf(env.Stdout, "  %s  %s  %s\n", printable(where), now.Role(), printable(name))
	if len(r.Added) > 0 {
		line("new interfaces: %s", strings.Join(r.Added, ", "))
	}
	if len(r.Removed) > 0 {
		line("interfaces no longer there: %s", strings.Join(r.Removed, ", "))
	}
	line("%s", reason(r))
	for _, c := range d.changes[i] {
		if c.Field != "address" {
			line("%s: %s -> %s", strings.ReplaceAll(c.Field, "_", " "), text(c.Before), text(c.After))
		}
	}
}

func text(s *string) string {
	if s == nil {
		return "none"
	}
	return *s
}

// reason says in one line why a device is thought to be what it is.
func reason(r *laptop.Matched) string {
	var agreed, differs, known []string
	for _, e := range r.Evidence {
		switch {
		case e.Agrees == iommu.Yes && e.Weight > 0 && e.Kind != laptop.ByDriver:
			agreed = append(agreed, string(e.Kind))
		case e.Agrees == iommu.No && e.Weight > 0 && e.Kind != laptop.ByDriver:
			differs = append(differs, fmt.Sprintf("%s %s -> %s", e.Kind, brief(e.Before), brief(e.After)))
		}
		switch e.Kind {
		case laptop.BySerial, laptop.ByMAC, laptop.ByTopology, laptop.ByAddress, laptop.ByIDs:
			known = append(known, string(e.Kind)+" "+brief(or(e.After, e.Before)))
		}
	}
	var parts []string
	switch {
	case r.Outcome == laptop.Ambiguous:
		where := make([]string, len(r.Candidates))
		for i, id := range r.Candidates {
			where[i] = id[strings.IndexByte(id, ':')+1:]
		}
		was := "may be one of these now: "
		if r.Before == "" {
			was = "may have been one of these: "
		}
		return r.Note + "; " + was + strings.Join(where, ", ")
	case r.Before == "" || r.After == "":
		return strings.Join(known, ", ")
	}
	if len(agreed) > 0 {
		parts = append(parts, "agrees: "+strings.Join(agreed, ", "))
	}
	if len(differs) > 0 {
		parts = append(parts, "differs: "+strings.Join(differs, ", "))
	}
	if r.Note != "" {
		parts = append(parts, r.Note)
	}
	return fmt.Sprintf("score %d; %s", r.Score, strings.Join(parts, "; "))
}

// brief cuts what is long, such as a hash.
func brief(s string) string { return cut(s, 48) }
