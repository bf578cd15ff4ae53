package cli

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/pci"
)

func bootID(fsys fs.FS) (string, error) {
	return hostfs.ReadString(fsys, "proc/sys/kernel/random/boot_id")
}

func contains(all []pci.Address, a pci.Address) bool { return slices.Contains(all, a) }

// releasing returns the functions to release: those that words name, or without
// words the first of every lease. A device that has gone can still be named by its
// address.
func releasing(env *Env, words []string) ([]pci.Address, error) {
	if len(words) == 0 {
		leases, err := env.store().List()
		var first []pci.Address
		for _, l := range leases {
			first = append(first, l.Devices[:min(len(l.Devices), 1)]...)
		}
		return first, err
	}
	var devices []pci.Address
	var m *machine
	for _, w := range words {
		if a, err := pci.ParseAddress(strings.TrimPrefix(w, "pci:")); err == nil {
			devices = append(devices, a)
			continue
		}
		if m == nil {
			m = readMachine(env, env.Host)
		}
		named, err := m.functions([]string{w})
		if err != nil {
			return nil, err
		}
		devices = append(devices, named...)
	}
	return devices, nil
}

func newLeasesCommand(env *Env) *cobra.Command {
	var flags reading
	cmd := &cobra.Command{
		Use:   "leases",
		Short: "devices in guests' hands",
		Long: `List the leases: which functions which guest has, since when, and how far it got.
"interrupted" is a lease on which nobody works any more: "indy recover" sees to it.
"stuck" is one with a write that has not come back, and who has the device open.

` + exitHelp,
		Args: usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			leases, err := env.store().List()
			if flags.json {
				out := struct {
					Leases []assign.Lease `json:"leases"`
				}{append([]assign.Lease{}, leases...)}
				if werr := writeJSON(env, out); werr != nil {
					return werr
				}
				return err
			}
			if len(leases) == 0 {
				fmt.Fprintln(env.Stdout, "no device is handed out")
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
				t.add(or(l.Guest, "-"), state, l.Since.Local().Format(time.DateTime), strings.Join(groups, ","), joinAddresses(l.Devices))
			}
			t.write(env, env.Stdout)
			for _, l := range leases {
				for _, w := range l.Stuck {
					fmt.Fprintf(env.Stdout, "%s: %s\n", w.Device, printable(w.Error()))
				}
			}
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
