package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/internal/runner"
)

// A bootReport is what --json says of how a guest started.
type bootReport struct {
	Name   string      `json:"name"`
	Phases []bootPhase `json:"phases"`
}

type bootPhase struct {
	Phase runner.PhaseName `json:"phase"`
	At    float64          `json:"at"`   // seconds since the kernel started
	Took  float64          `json:"took"` // seconds since the phase before
}

func newGuestBootReportCommand(env *Env) *cobra.Command {
	var flags reading
	cmd := &cobra.Command{
		Use:   "boot-report [NAME]...",
		Short: "how long each part of a guest's start took, from the start of the kernel",
		Long: `Show when the start of running guests passed each point, in seconds since the kernel of
this host started, and how long it took from the point before. Without a name, of all that
run.

` + exitHelp,
		RunE: func(_ *cobra.Command, args []string) error {
			dirs, err := env.runningGuests(args)
			if err != nil {
				return err
			}
			reports := []bootReport{}
			for _, d := range dirs {
				s, err := d.Status(context.Background(), env.Host)
				if err != nil {
					return err
				}
				reports = append(reports, reportOf(s))
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
	flags.addJSON(cmd)
	return cmd
}

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
