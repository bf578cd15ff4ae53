package cli

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/internal/earlybind"
	"github.com/project-independence/indy/pci"
)

func newRecoverCommand(env *Env) *cobra.Command {
	var flags reading
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "finish or take back what was interrupted",
		Long: `See to every lease that is not as it should be: take back what was interrupted, what
a run left that was killed, and what was not confirmed in time; go on with what was
stuck, once the write has come back; drop what was taken before the last boot. Then look
whether each device is as before: its driver, its override, whether it answers, and its
network interfaces and disks.

It may be run at any time, and again, and may itself be killed: the next one does the
rest. Leases that are as they should be are left alone, but for a device that was removed
and found again meanwhile: it is taken from the host's driver again, unless the host has
begun to use it.

Last it names each device that is with vfio-pci though no lease, no process, neither
driverctl nor "indy early" is the reason, as after a lease was lost. Such a device is
left alone, and does not change the exit status.

` + exitHelp,
		Args: usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			ctx, stop := interruptible()
			defer stop()
			all, err := env.store().Recover(ctx, env.assignHost())
			incidents, gerr := env.isolateAgain(ctx)
			err = errors.Join(err, gerr)
			strays, serr := env.strays()
			if serr != nil && err == nil {
				env.errorf("which devices are with vfio-pci and nobody's is not known: %v", serr)
			}
			if flags.json {
				out := struct {
					Recovered []assign.Recovered `json:"recovered"`
					Incidents []assign.Incident  `json:"incidents"`
					Strays    []assign.Stray     `json:"strays"`
				}{append([]assign.Recovered{}, all...), append([]assign.Incident{}, incidents...), append([]assign.Stray{}, strays...)}
				return errors.Join(writeJSON(env, out), err)
			}
			if len(all)+len(incidents) == 0 && err == nil {
				fmt.Fprintln(env.Stdout, "nothing to recover")
			}
			for _, r := range all {
				writeRecovered(env, r)
			}
			for _, i := range incidents {
				fmt.Fprintln(env.Stdout, printable(i.String()))
			}
			for _, s := range strays {
				fmt.Fprintln(env.Stdout, "note: "+printable(s.String()))
			}
			return err
		},
	}
	flags.addJSON(cmd)
	env.addDeadline(cmd)
	return cmd
}

// strays are the functions with vfio-pci that are nobody's: neither leased, nor used, nor
// bound early.
func (e *Env) strays() ([]assign.Stray, error) {
	early, err := earlybind.List(e.Host)
	if err != nil {
		return nil, err // it may be any of them
	}
	return e.store().Strays(e.Host, func(a pci.Address) bool {
		return slices.ContainsFunc(early, func(f earlybind.Function) bool { return f.Address == a })
	})
}

func writeRecovered(env *Env, r assign.Recovered) {
	what := joinAddresses(r.Devices)
	if len(r.Devices) == 0 {
		what = r.Lease
	}
	var s string
	switch r.Result {
	case assign.GivenBack:
		s = "gave back " + what
	case assign.Dropped:
		s = "dropped " + what + ", of before the last boot"
	case assign.InProgress:
		s = "left " + what + " to the process that works on it"
	case assign.PutAside:
		s = "put aside " + what
	default:
		s = "kept " + what
	}
	if r.Found != "" {
		s += fmt.Sprintf(" (guest %s, %s)", or(r.Guest, "-"), r.Found)
	}
	fmt.Fprintln(env.Stdout, printable(s))
	for _, line := range r.Told {
		fmt.Fprintf(env.Stdout, "  %s\n", printable(line))
	}
}
