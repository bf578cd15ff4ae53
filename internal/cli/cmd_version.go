package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

func newVersionCommand(env *Env) *cobra.Command {
	var flags reading
	cmd := &cobra.Command{
		Use:   "version",
		Short: "which indy this is",
		Long:  "Say which version of indy this is, and what it was built with.\n\n" + exitHelp,
		Args:  usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if flags.json {
				return writeJSON(env, map[string]string{"version": env.Version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH})
			}
			fmt.Fprintf(env.Stdout, "indy %s (%s, %s/%s)\n", env.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return nil
		},
	}
	flags.addJSON(cmd)
	return cmd
}
