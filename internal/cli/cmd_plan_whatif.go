package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
)

const whatIfHelp = `With --what-if show instead what would be different of groups and verdicts, of the named
devices or of all, and what that would cost, of safety above all. Several take effect
together:

  acs-override[=downstream,multifunction]
      a patched kernel is started with pcie_acs_override=: groups look split,
      and are not isolated
  disable-override
      the kernel is started without it
  enable-iommu
      the IOMMU is switched on, in the firmware and the kernel
  move-port=DEVICE:PORT
      a USB device is plugged into another port: by its path (3-1), its socket
      (0000:00:14.0/4), or any port of a controller (0000:00:14.0)

Groups are derived of configuration space, which only root may read in full; what was
not read is said to be unknown. --wake reads that of sleeping devices, too, for it.`

// supposing are the flags of a plan that is a question.
type supposing struct {
	kinds []string
	wake  bool
}

func (s *supposing) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&s.kinds, "what-if", nil, "show what would be different with `KIND`: acs-override, disable-override, enable-iommu or move-port=DEVICE:PORT")
	cmd.Flags().BoolVar(&s.wake, "wake", false, "with --what-if, also read what wakes a sleeping device")
	_ = cmd.RegisterFlagCompletionFunc("what-if", func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		var kinds []cobra.Completion
		for _, k := range laptop.AssumptionKinds() {
			kinds = append(kinds, string(k))
		}
		return kinds, cobra.ShellCompDirectiveNoFileComp
	})
}

// parse reads the assumptions. Flags that are about steps have no meaning with them.
func (s *supposing) parse(cmd *cobra.Command) ([]laptop.Assumption, error) {
	if len(s.kinds) == 0 {
		if s.wake {
			return nil, usageError{errors.New("--wake is of use with --what-if only")}
		}
		return nil, nil
	}
	for _, flag := range []string{"guest", "with-companions", "allow"} {
		if cmd.Flags().Changed(flag) {
			return nil, usageError{fmt.Errorf("--%s is about steps, and --what-if shows none", flag)}
		}
	}
	var assume []laptop.Assumption
	for _, k := range s.kinds {
		a, err := laptop.ParseAssumption(k)
		if err != nil {
			return nil, usageError{err}
		}
		assume = append(assume, a)
	}
	return assume, nil
}

func (s *supposing) show(env *Env, m *machine, assume []laptop.Assumption, words []string, asJSON bool) error {
	asked, err := m.resolve(words)
	if err != nil {
		return err
	}
	for i := range assume {
		if a := &assume[i]; a.Kind == laptop.AssumeMove {
			d, err := m.Find(a.Device, m.names)
			if err != nil {
				return err
			}
			a.Device = d.Where()
		}
	}
	o, err := laptop.WhatIf(m.fsys, m.Laptop, assume, laptop.WhatIfOptions{Wake: s.wake})
	if o == nil {
		var bad *laptop.AssumptionError
		if errors.As(err, &bad) {
			return usageError{err}
		}
		return err
	}
	m.err = errors.Join(m.err, err)
	if len(asked) > 0 {
		o.Changes = slices.DeleteFunc(o.Changes, func(c laptop.Change) bool {
			return !slices.ContainsFunc(asked, func(d *laptop.Device) bool { return d.ID() == c.Device })
		})
	}
	if asJSON {
		return writeJSON(env, o)
	}
	writeOutlook(env, m, o, asked)
	return nil
}

// resolve finds the devices that words name, each once.
func (m *machine) resolve(words []string) ([]*laptop.Device, error) {
	var found []*laptop.Device
	for _, w := range words {
		d, err := m.Find(w, m.names)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(found, d) {
			found = append(found, d)
		}
	}
	return found, nil
}

func writeOutlook(env *Env, m *machine, o *laptop.Outlook, asked []*laptop.Device) {
	names := make([]string, len(o.WhatIf))
	for i, a := range o.WhatIf {
		names[i] = a.String()
	}
	fmt.Fprintln(env.Stdout, env.paint(bold, printable("what if "+strings.Join(names, ", "))))
	writeChanges(env, m, o)
	for _, d := range asked {
		if !slices.ContainsFunc(o.Changes, func(c laptop.Change) bool { return c.Device == d.ID() }) {
			fmt.Fprintf(env.Stdout, "%s does not change: %s\n", d.Where(), shortVerdict(d))
		}
	}
	if len(asked) == 0 && len(o.Changes) == 0 {
		fmt.Fprintln(env.Stdout, "nothing changes")
	}
	for _, list := range []struct {
		heading string
		colour  colour
		lines   []string
	}{{"what it costs", red, o.Cost}, {"what is not known", yellow, o.Unknown}, {"besides", plain, o.Notes}} {
		if len(list.lines) == 0 {
			continue
		}
		fmt.Fprintf(env.Stdout, "\n%s\n", env.paint(list.colour, list.heading))
		for _, line := range list.lines {
			env.labelled("  - ", 4, line)
		}
	}
}

// writeChanges writes two lines for each device: its verdict, and what goes along.
func writeChanges(env *Env, m *machine, o *laptop.Outlook) {
	var t table
	t.least = []int{0, 0, 16, 16}
	t.colours = []func(int, string) colour{2: verdictCell, 3: verdictCell}
	t.add("ADDRESS", "ROLE", "NOW", "THEN")
	bridges := 0
	var same, refused, more []string
	for _, c := range o.Changes {
		now, then := m.Device(c.Device), o.Then.Device(c.Device)
		if now.Role() == laptop.BridgeRole {
			bridges++
			continue
		}
		verdicts := [2]string{shortVerdict(now), shortVerdict(then)}
		along := [2]string{goesWith(m.Laptop, now), goesWith(o.Then, then)}
		regrouped := along[0] != along[1] && (along[0] != "" || along[1] != "nothing")
		found := newFindings(c)
		if !regrouped && !c.LooksSplit && onlyOverridden(c) {
			refused = append(refused, now.Where())
			continue
		}
		if verdicts[0] == verdicts[1] && !regrouped && len(found) == 0 {
			same = append(same, now.Where())
			continue
		}
		if c.LooksSplit {
			verdicts[1] += ", NOT isolated"
		}
		t.add(now.Where(), string(now.Role()), verdicts[0], verdicts[1])
		if regrouped {
			t.add("", "  goes with", or(along[0], "-"), or(along[1], "-"))
		}
		for _, f := range found {
			if !slices.Contains(more, f) {
				more = append(more, f)
			}
		}
	}
	if len(t.rows) > 1 {
		fmt.Fprintln(env.Stdout)
		t.narrow(env, 0)
		t.write(env, env.Stdout)
	}
	for _, f := range more {
		env.labelled("  ", 2, f)
	}
	if len(refused) > 0 {
		env.labelled("", 0, "refused as well, unless with --allow acs-override: "+strings.Join(refused, ", "))
	}
	if len(same) > 0 {
		env.labelled("", 0, "in another group, with the same verdict: "+strings.Join(same, ", "))
	}
	if bridges > 0 {
		fmt.Fprintf(env.Stdout, "in another group, and staying with the host: %s\n", count(bridges, "bridge"))
	}
}

// onlyOverridden reports whether all that would be different of a device is that nothing
// goes to a guest under an ACS override.
func onlyOverridden(c laptop.Change) bool {
	rest := slices.DeleteFunc(slices.Clone(c.FindingsAfter), func(f laptop.Finding) bool { return f.Code == "acs-override" })
	return len(rest) < len(c.FindingsAfter) && slices.Equal(c.GroupBefore, c.GroupAfter) && slices.Equal(rest, c.FindingsBefore)
}

// goesWith names what changes hands with a function because of its group; it is empty for
// one in none.
func goesWith(l *laptop.Laptop, d *laptop.Device) string {
	g := l.Group(d.Group())
	if g == nil {
		return ""
	}
	others := slices.DeleteFunc(l.Endpoints(g), func(a pci.Address) bool { return a == d.PCI.Address })
	const most = 3
	if len(others) > most {
		return fmt.Sprintf("%s and %d more", joinAddresses(others[:most]), len(others)-most)
	}
	return or(joinAddresses(others), "nothing")
}

// newFindings are what is found of a device then and not now, and the other way round,
// where neither its verdict nor its group tells.
func newFindings(c laptop.Change) []string {
	if c.VerdictBefore != c.VerdictAfter || !slices.Equal(c.GroupBefore, c.GroupAfter) {
		return nil
	}
	var lines []string
	for _, side := range []struct {
		when           string
		these, without []laptop.Finding
	}{{"now", c.FindingsBefore, c.FindingsAfter}, {"then", c.FindingsAfter, c.FindingsBefore}} {
		for _, f := range side.these {
			if f.Code != laptop.Companions && !slices.Contains(side.without, f) {
				lines = append(lines, side.when+", "+string(f.Code)+": "+f.Detail)
			}
		}
	}
	return lines
}
