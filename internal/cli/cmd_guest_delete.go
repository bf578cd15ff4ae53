package cli

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/guest/store"
)

func newGuestDeleteCommand(env *Env) *cobra.Command {
	var disks bool
	var asking editing
	cmd := &cobra.Command{
		Use:   "delete NAME [--disks]",
		Short: "forget a guest, and with --disks what is on its disks",
		Long: `Delete the definition of a guest and its UEFI variables. Its disks stay, in its folder,
unless --disks is given: then the images that were made there are deleted, too, after a
question or with --yes. Images and disks that are elsewhere are never deleted.

` + exitHelp,
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: completeGuests(env),
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := env.guests()
			if err != nil {
				return err
			}
			before, err := readToChange(env, s, args[0])
			if err != nil {
				return err
			}
			if err := env.notRunning(before.Name); err != nil {
				return err
			}
			return forget(env, before, disks, asking, func() ([]string, error) {
				deleted, err := s.Delete(context.Background(), before, disks)
				return deleted, refused(err)
			})
		},
	}
	cmd.Flags().BoolVar(&disks, "disks", false, "delete the disks in its folder, too")
	cmd.Flags().BoolVar(&asking.yes, "yes", false, "delete them without asking")
	return cmd
}

// forget has a guest deleted, after a question if there is something to lose.
func forget(env *Env, before store.Entry, disks bool, asking editing, do func() (deleted []string, err error)) error {
	own := before.Own()
	if disks && len(own) > 0 {
		for _, file := range own {
			fmt.Fprintf(env.Stdout, "what is on %s would be lost\n", printable(file))
		}
		if err := asking.confirm(env); err != nil {
			return err
		}
	}
	deleted, err := do()
	for _, file := range deleted {
		fmt.Fprintf(env.Stdout, "deleted %s\n", printable(file))
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(env.Stdout, "deleted guest %s\n", before.Name)
	if !disks && len(own) > 0 {
		fmt.Fprintf(env.Stdout, "its disks are still in %s\n", printable(filepath.Dir(own[0])))
	}
	return nil
}
