package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/guest/qemu"
	"github.com/project-independence/indy/internal/runner"
	"github.com/project-independence/indy/pci"
)

// A bootReport is what --json says of how a guest started.
type bootReport struct {
	Name   string      `json:"name"`
	Phases []bootPhase `json:"phases"`

	// Bare is the same guest on QEMU alone; nil when it was not compared.
	Bare *bareReport `json:"bare"`
}

// A bareReport is how long QEMU takes by itself, in seconds from its own start on: the median
// of some starts in turn.
type bareReport struct {
	QMP     float64 `json:"qmp"`
	Running float64 `json:"running"`

	// Own is how long this start took to the guest's first instruction, from the moment on when
	// its devices were assigned, which nothing can be compared with.
	Own     float64  `json:"own"`
	Starts  int      `json:"starts"`
	Without []string `json:"without"` // what the guest has of the host, and QEMU alone had not
}

// bareStarts is how often a bare QEMU is started to be compared with. The first warms caches,
// and does not count.
const bareStarts = 5

type bootPhase struct {
	Phase runner.PhaseName `json:"phase"`
	At    float64          `json:"at"`   // seconds since the kernel started
	Took  float64          `json:"took"` // seconds since the phase before
}

func newGuestBootReportCommand(env *Env) *cobra.Command {
	var flags reading
	var compare bool
	cmd := &cobra.Command{
		Use:   "boot-report [NAME]...",
		Short: "how long each part of a guest's start took, from the start of the kernel",
		Long: `Show when the start of running guests passed each point, in seconds since the kernel of
this host started, and how long it took from the point before. Without a name, of all that
run.

With --compare, QEMU is started some times more for each guest, of the same machine but
with an empty disk in the place of each, and without what the guest has of the host, and
what it takes then is shown beside. The guests go on meanwhile.

` + exitHelp,
		RunE: func(_ *cobra.Command, args []string) error {
			ctx, stop := interruptible()
			defer stop()
			dirs, err := env.runningGuests(args)
			if err != nil {
				return err
			}
			reports := []bootReport{}
			for _, d := range dirs {
				s, err := d.Status(ctx, env.Host)
				if err != nil {
					return err
				}
				r := reportOf(s)
				if compare {
					if r.Bare, err = env.compareBare(ctx, s); err != nil {
						return orInterrupt(ctx, err)
					}
				}
				reports = append(reports, r)
			}
			if flags.json {
				return writeJSON(env, map[string][]bootReport{"guests": reports})
			}
			if len(reports) == 0 {
				fmt.Fprintln(env.Stdout, "no guest is running")
			}
			for _, r := range reports {
				writeBoot(env, r)
			}
			return nil
		},
	}
	cmd.ValidArgsFunction = completeGuests(env)
	cmd.Flags().BoolVar(&compare, "compare", false, "beside the time that QEMU alone needs for the same guest, found out now")
	flags.addJSON(cmd)
	return cmd
}

// compareBare starts QEMU by itself for a guest that runs, as the definition of that is now.
func (e *Env) compareBare(ctx context.Context, s runner.Status) (*bareReport, error) {
	found, err := e.findGuest(s.Name)
	if err != nil {
		return nil, err
	}
	o := qemu.Options{}
	if o.Accelerator, err = parseAccelerator(s.Accelerator); err != nil || o.Accelerator == qemu.Auto {
		return nil, errors.Join(err, fmt.Errorf("guest %s does not run yet", s.Name))
	}
	g, err := found.Guest(found.Dir, make([][]pci.Address, len(found.Devices)))
	if err == nil {
		g, err = found.Share(g, found.Dir, false, nil)
	}
	if err != nil {
		return nil, err
	}
	r := &bareReport{Starts: bareStarts, Without: []string{}}
	var answered, going []float64
	for range bareStarts + 1 {
		b, err := qemu.Bare(ctx, g, o)
		if err != nil {
			return nil, err
		}
		answered, going = append(answered, b.Answered.Seconds()), append(going, b.Going.Seconds())
		r.Without = append([]string{}, b.Without...)
	}
	if slices.ContainsFunc(found.Devices, func(n guest.Need) bool { return n.How == guest.Assign }) {
		r.Without = append(r.Without, "assigned devices")
	}
	r.QMP, r.Running = middle(answered[1:]), middle(going[1:])
	devices, _ := s.At(runner.PhaseDevices)
	if running, ok := s.At(runner.PhaseRunning); ok {
		r.Own = running - devices
	}
	return r, nil
}

// middle is the median of an odd number of values.
func middle(of []float64) float64 { return slices.Sorted(slices.Values(of))[len(of)/2] }

func reportOf(s runner.Status) bootReport {
	r := bootReport{Name: s.Name, Phases: []bootPhase{}}
	before := 0.0
	for _, p := range s.Phases {
		r.Phases = append(r.Phases, bootPhase{p.Name, p.At, p.At - before})
		before = p.At
	}
	return r
}

func writeBoot(env *Env, r bootReport) {
	fmt.Fprintln(env.Stdout, env.paint(bold, r.Name))
	var t table
	t.add("  AFTER", "TOOK", "")
	for _, p := range r.Phases {
		t.add(fmt.Sprintf("  %.3f s", p.At), fmt.Sprintf("%.3f s", p.Took), phaseWord(p.Phase))
	}
	t.write(env, env.Stdout)
	if b := r.Bare; b != nil {
		without := ""
		if len(b.Without) > 0 {
			without = ", without " + strings.Join(b.Without, ", ")
		}
		fmt.Fprintf(env.Stdout, "  from its devices to its first instruction %.3f s; QEMU alone needs %.3f s (median of %d%s)\n", b.Own, b.Running, b.Starts, without)
	}
}

// phaseWord says for a person what a start has reached.
func phaseWord(p runner.PhaseName) string {
	switch p {
	case runner.PhaseRunner:
		return "its process was started"
	case runner.PhaseResolved:
		return "what it needs was found"
	case runner.PhaseDevices:
		return "its devices were assigned"
	case runner.PhaseQEMU:
		return "QEMU was started"
	case runner.PhaseQMP:
		return "QEMU answered"
	case runner.PhaseRunning:
		return "first instruction of the guest"
	case runner.PhaseSerial:
		return "first byte on its serial port"
	case runner.PhaseReady:
		return "ready"
	}
	return string(p)
}
