package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

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
permanent MAC address, where it sits, what it is. Buses, groups and nodes that got other
numbers and interfaces that got other names are no difference; --all shows them.

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
	if d.otherIOMMU() {
		fmt.Fprintf(w, "iommu:  %s -> %s\n", iommuLine(d.before.Laptop), iommuLine(d.after.Laptop))
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
			d.writeRow(env, i, all)
		}
	}
	shown("suspicious: came back with other interfaces", red, func(i int) bool { return d.rows[i].Suspicious })
	for _, o := range laptop.Outcomes() {
		if o != laptop.Same {
			shown(string(o), bold, func(i int) bool { return d.rows[i].Outcome == o && !d.rows[i].Suspicious })
		}
	}
	same := func(i int) bool { return d.rows[i].Outcome == laptop.Same && !d.rows[i].Suspicious }
	shown("changed", bold, func(i int) bool { return same(i) && d.changed(i) == otherwise })
	if all {
		shown("same", bold, func(i int) bool { return same(i) && d.changed(i) != otherwise })
	}
	n, unsure := map[extent]int{}, 0
	for i := range d.rows {
		if same(i) {
			n[d.changed(i)]++
		}
		if same(i) && d.changed(i) != otherwise && d.rows[i].Note != "" { // all else is shown
			unsure++
		}
	}
	fmt.Fprintf(w, "\n%d unchanged", n[equal])
	if n := n[renumbered]; n > 0 {
		fmt.Fprintf(w, ", %d with other numbers only", n)
	}
	if n := n[judged]; n > 0 {
		fmt.Fprintf(w, ", %d with another group or verdict only", n)
	}
	fmt.Fprintf(w, ", of %s before and %d after\n", count(len(d.before.Devices), "device"), len(d.after.Devices))
	if unsure > 0 && !all {
		fmt.Fprintf(w, "in doubt: %s, as a capture may have replaced serial numbers or addresses; --all shows which\n", count(unsure, "device"))
	}
}

func (d *diff) writeRow(env *Env, i int, all bool) {
	r := &d.rows[i]
	now := d.device(r)
	where := now.Where()
	if r.Before != "" && r.After != "" {
		if was := d.before.byID[r.Before]; was.Where() != where {
			where = was.Where() + " -> " + where
		}
	}
	line := func(format string, args ...any) {
		if s := fmt.Sprintf(format, args...); s != "" {
			fmt.Fprintln(env.Stdout, "      "+printable(s))
		}
	}
	name := d.name(r)
	fmt.Fprintf(env.Stdout, "  %s  %s  %s\n", printable(where), now.Role(), printable(name))
	if len(r.Added) > 0 {
		line("new interfaces: %s", strings.Join(r.Added, ", "))
	}
	if len(r.Removed) > 0 {
		line("interfaces no longer there: %s", strings.Join(r.Removed, ", "))
	}
	line("%s", reason(r, name))
	for _, c := range d.changes[i] {
		switch {
		case c.Field == "address", !all && d.extent(c) != otherwise:
		case c.Field == "group_members":
			line("group members: %s", otherMembers(c))
		default:
			line("%s: %s -> %s", strings.ReplaceAll(c.Field, "_", " "), text(c.Before), text(c.After))
		}
	}
}

// name returns what a device is called: two names if it is another thing now, or calls
// itself another. A name that one of the machines does not know is none.
func (d *diff) name(r *laptop.Matched) string {
	if r.Before == "" {
		return d.after.names.Name(d.after.byID[r.After])
	}
	was := d.before.byID[r.Before]
	old := d.before.names.Name(was)
	if r.After == "" {
		return old
	}
	now := d.after.byID[r.After]
	name := d.after.names.Name(now)
	_, known := d.before.names.VendorDevice(was)
	_, alsoKnown := d.after.names.VendorDevice(now)
	switch {
	case name == old, r.Outcome != laptop.Replaced && known == "":
		return name
	case r.Outcome != laptop.Replaced && alsoKnown == "":
		return old
	}
	return old + " -> " + name
}

func text(s *string) string {
	if s == nil {
		return "none"
	}
	return *s
}
