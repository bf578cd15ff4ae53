package cli

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/laptop"
)

func newGuestShowCommand(env *Env) *cobra.Command {
	var flags reading
	cmd := &cobra.Command{
		Use:   "show FILE",
		Short: "what a guest needs, and which devices of this laptop meet it",
		Long: `Show which device of this laptop, or of a saved one, meets each need of the guest that a
definition describes. A need is matched; substituted, by another device that plays the
role; missing; or ambiguous, when several would do and nothing says which. Why, and what
changes hands along with a device, is said below.

A guest starts without what is optional. What is required and not there keeps it from
starting.

` + exitHelp,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			d, err := readDefinition(args[0])
			if err != nil {
				return err
			}
			return flags.look(env, func(m *machine) error {
				needs := m.resolveNeeds(d)
				if flags.json {
					return writeJSON(env, needsJSON(d.Name, needs))
				}
				heading := env.paint(bold, d.Name)
				if id, _ := laptop.ReadIdentity(m.fsys); id.String() != "" {
					heading += " on " + printable(id.String())
				}
				fmt.Fprintf(env.Stdout, "%s\n\n", heading)
				writeNeeds(env, m, needs)
				return nil
			})
		},
	}
	flags.add(cmd)
	return cmd
}

// readDefinition reads the definition of a guest from a file.
func readDefinition(name string) (guest.Definition, error) {
	f, err := os.Open(name)
	if err != nil {
		return guest.Definition{}, err
	}
	defer func() { _ = f.Close() }()                                  // it was read only
	text, err := io.ReadAll(io.LimitReader(f, guest.MaxDefinition+1)) // which is too long, and said to be
	if err != nil {
		return guest.Definition{}, err
	}
	return guest.ParseDefinition(name, text)
}
