package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/hostfs"
)

func bootID(fsys fs.FS) (string, error) {
	return hostfs.ReadString(fsys, "proc/sys/kernel/random/boot_id")
}

// releasing returns the names of the devices to release: those that words name, or without
// words the first of every lease. A device that has gone can still be named by its
// address, its port path or its UUID.
func releasing(env *Env, words []string) ([]string, error) {
	if len(words) == 0 {
		leases, err := env.store().List()
		var first []string
		for _, l := range leases {
			first = append(first, l.Name())
		}
		return first, err
	}
	var names []string
	var m *machine
	for _, w := range words {
		if name := leaseWord(w); name != "" {
			names = append(names, name)
			continue
		}
		if m == nil {
			m = readMachine(env, env.Host)
		}
		d, err := m.Find(w, m.names)
		if err != nil {
			return nil, err
		}
		names = append(names, strings.TrimPrefix(d.ID(), "pci:"))
	}
	return names, nil
}

// completeLeased offers the devices that guests have.
func completeLeased(env *Env) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		leases, _ := env.store().List() // of what cannot be read nothing is offered
		var offered []cobra.Completion
		for _, l := range leases {
			for _, name := range l.Names() {
				if strings.HasPrefix(name, prefix) {
					offered = append(offered, cobra.CompletionWithDesc(name, "guest "+or(l.Guest, "-")))
				}
			}
		}
		return offered, cobra.ShellCompDirectiveNoFileComp
	}
}

func newLeasesCommand(env *Env) *cobra.Command {
	var flags reading
	cmd := &cobra.Command{
		Use:   "leases",
		Short: "devices in guests' hands",
		Long: `List the leases: which functions which guest has, since when, and how far it got.
"interrupted" is a lease on which nobody works any more: "indy recover" sees to it.
"stuck" is one with a write that has not come back, and who has the device open. Then
the devices in which guests have left something, and that no other guest gets before they
are reset.

` + exitHelp,
		Args: usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			leases, err := env.store().List()
			noted, rerr := env.store().Residues(env.Host)
			err = errors.Join(err, rerr)
			left := []assign.Residue{}
			if noted != nil {
				left = append(left, noted.All()...)
			}
			if flags.json {
				out := struct {
					Leases  []assign.Lease   `json:"leases"`
					Residue []assign.Residue `json:"residue"`
				}{append([]assign.Lease{}, leases...), left}
				if werr := writeJSON(env, out); werr != nil {
					return werr
				}
				return err
			}
			if len(leases) == 0 {
				if err == nil { // else there may be leases that cannot be read
					fmt.Fprintln(env.Stdout, "no device is handed out")
				}
				writeResidues(env, left, nil)
				return err
			}
			boot, _ := bootID(env.Host)
			var t table
			t.add("GUEST", "STATE", "SINCE", "GROUPS", "DEVICES")
			for _, l := range leases {
				state := leaseState(env, &l)
				if l.BootID != boot {
					state = "before the last boot"
				}
				groups := make([]string, len(l.Groups))
				for i, g := range l.Groups {
					groups[i] = g.String()
				}
				t.add(or(l.Guest, "-"), state, l.Since.Local().Format(time.DateTime), strings.Join(groups, ","), strings.Join(l.Names(), ", "))
			}
			t.write(env, env.Stdout)
			for _, l := range leases {
				for _, w := range l.Stuck {
					fmt.Fprintf(env.Stdout, "%s: %s\n", w.Device, printable(w.Error()))
				}
				if len(l.Lost) > 0 {
					fmt.Fprintf(env.Stdout, "%s: in other hands since it went and something came back in its place\n", joinAddresses(l.Lost))
				}
			}
			writeResidues(env, left, leases)
			return err
		},
	}
	flags.addJSON(cmd)
	return cmd
}

// leaseState says how far a lease has come, and whether anybody works on it.
func leaseState(env *Env, l *assign.Lease) string {
	switch {
	case l.Interrupted(env.Host):
		return string(l.State) + ", interrupted"
	case l.Confirm != nil:
		return string(l.State) + ", to be confirmed by " + l.Confirm.Time.Local().Format(time.TimeOnly)
	}
	return string(l.State)
}
