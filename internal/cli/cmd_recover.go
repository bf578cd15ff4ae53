package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/assign"
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
rest. Leases that are as they should be are left alone.

` + exitHelp,
		Args: usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			ctx, stop := interruptible()
			defer stop()
			all, err := env.store().Recover(ctx, env.assignHost())
			if flags.json {
				out := struct {
					Recovered []assign.Recovered `json:"recovered"`
				}{append([]assign.Recovered{}, all...)}
				return errors.Join(writeJSON(env, out), err)
			}
			if len(all) == 0 && err == nil {
				fmt.Fprintln(env.Stdout, "nothing to recover")
			}
			for _, r := range all {
				writeRecovered(env, r)
			}
			return err
		},
	}
	flags.addJSON(cmd)
	return cmd
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
