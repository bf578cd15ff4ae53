package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/laptop"
)

// request are the flags of every command that hands devices over.
type request struct {
	guest      string
	locked     bool
	companions bool
	allow      []string
	parts      parts
	confirm    confirming // of "indy assign" alone
}

func (r *request) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&r.companions, "with-companions", false, "take along the other functions of the IOMMU groups")
	cmd.Flags().StringSliceVar(&r.allow, "allow", nil, "override the refusal of this `NAME`, such as host-disk, at your own risk")
	cmd.Flags().BoolVar(&r.locked, "locked", false, "the guest is locked: it gets nothing that another guest used and that was not reset since, and no other gets what it used")
}

// resolve makes of flags and words what is asked for.
func (r *request) resolve(m *machine, words []string) (assign.Request, error) {
	to := assign.Request{Guest: r.guest, Locked: r.locked, Companions: r.companions}
	for _, a := range r.allow {
		code := laptop.Code(a)
		if !code.Overridable() {
			return to, usageError{fmt.Errorf("--allow %s: there is no refusal of this name that can be overridden", a)}
		}
		to.Allow = append(to.Allow, code)
	}
	return to, r.parts.name(m, words, &to)
}

// plan decides how to hand over the devices that words name.
func (r *request) plan(m *machine, words []string) (*assign.Plan, error) {
	to, err := r.resolve(m, words)
	if err != nil {
		return nil, err
	}
	facts, err := assign.ReadRequest(m.settings, m.Laptop, to)
	if err != nil {
		return nil, err
	}
	if m.residues != nil {
		noted, err := m.residues()
		if err == nil {
			err = facts.AddResidue(m.fsys, noted)
		}
		if err != nil {
			return nil, err
		}
	}
	p, err := assign.NewPlan(facts, to)
	if err != nil {
		return nil, err
	}
	// A process that cannot be looked at does not keep anybody from planning: a driver that
	// waits for it is given up in time.
	open, _ := assign.OpenNodes(m.fsys, p)
	p.Findings = append(p.Findings, open...)
	return p, nil
}

func newPlanCommand(env *Env) *cobra.Command {
	var flags reading
	var req request
	var what supposing
	cmd := &cobra.Command{
		Use:   "plan DEVICE... | plan --what-if KIND[=ARG]... [DEVICE...]",
		Short: "the exact steps to hand devices over, or how verdicts would change; nothing is touched",
		Long: `Show every write that "indy assign" would make, with the value found before and how
it is taken back. Nothing is touched.

` + kindsHelp + `

` + whatIfHelp + `

` + exitHelp,
		Args: usage(func(cmd *cobra.Command, args []string) error {
			if len(what.kinds) > 0 {
				return nil
			}
			return cobra.MinimumNArgs(1)(cmd, args)
		}),
		ValidArgsFunction: completeDevices(env),
		RunE: func(cmd *cobra.Command, args []string) error {
			assume, err := what.parse(cmd)
			if err != nil {
				return err
			}
			return flags.look(env, func(m *machine) error {
				if len(assume) > 0 {
					what.wake = what.wake || flags.from != "" // a saved machine sleeps for ever
					return what.show(env, m, assume, args, flags.json)
				}
				p, err := req.plan(m, args)
				if err != nil {
					return err
				}
				losses, err := m.lossesWith(p)
				m.err = errors.Join(m.err, err)
				if flags.json {
					return writeJSON(env, struct {
						*assign.Plan
						Losses []laptop.Loss `json:"losses"`
					}{p, append([]laptop.Loss{}, losses...)})
				}
				writePlan(env.Stdout, p)
				writeLosses(env, m.unsaid(losses, p.Findings))
				return nil
			})
		},
	}
	flags.add(cmd)
	req.add(cmd)
	req.parts.add(env, cmd)
	cmd.Flags().StringVar(&req.guest, "guest", "", "name of the guest")
	what.add(cmd)
	return cmd
}

// lossesWith returns what the host loses with all that a plan hands over.
func (m *machine) lossesWith(p *assign.Plan) ([]laptop.Loss, error) {
	var devices []*laptop.Device
	for _, a := range p.Devices {
		if d := m.Function(a); d != nil {
			devices = append(devices, d)
		}
	}
	for _, u := range p.USB {
		if d := m.Device("usb:" + u.Path.String()); d != nil {
			devices = append(devices, d)
		}
	}
	return laptop.Losses(m.fsys, m.Laptop, devices)
}

func writePlan(w io.Writer, p *assign.Plan) {
	fmt.Fprintf(w, "hand over %s", strings.Join(p.Names(), ", "))
	if len(p.Groups) > 0 {
		groups := make([]string, len(p.Groups))
		for i, g := range p.Groups {
			groups[i] = g.String()
		}
		fmt.Fprintf(w, " (IOMMU group %s)", strings.Join(groups, ", "))
	}
	fmt.Fprintln(w)
	writeMade(w, p)
	writes := false
	for i, s := range p.Steps {
		if s.Keeps() {
			fmt.Fprintf(w, "%3d. keep that of %s %s\n", i+1, s.Device, s.Prior)
			continue
		}
		writes = true
		fmt.Fprintf(w, "%3d. %s\n", i+1, stepText(s.Do))
		fmt.Fprintf(w, "     before: %s; after: %s\n", s.Prior, s.Do.After)
		for _, u := range s.Undo {
			fmt.Fprintf(w, "     undo: %s\n", stepText(u))
		}
	}
	switch {
	case len(p.Steps) == 0 && len(p.USB) > 0 && len(p.Devices) == 0:
		fmt.Fprintln(w, "  nothing to write: no driver of the host has any of it")
	case !writes:
		fmt.Fprintln(w, "  nothing to write: vfio-pci has all of it already")
	}
	for _, f := range alike(p.Findings) {
		fmt.Fprintf(w, "%s: %s: %s\n", f.Severity, f.Code, printable(f.Detail))
	}
}
