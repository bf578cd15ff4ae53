package cli

import (
	"github.com/spf13/cobra"
)

func newGuestCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "guest",
		Short: "guests, and what they need of this laptop",
		Long: `A guest is what a definition says: a file of YAML, without addresses, that means something
on any laptop.

` + exitHelp,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newGuestShowCommand(env))
	return cmd
}
