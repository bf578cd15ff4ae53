package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/laptop"
)

func newCaptureCommand(env *Env) *cobra.Command {
	var flags reading
	var raw, config bool
	cmd := &cobra.Command{
		Use:   "capture FILE",
		Short: "save this machine, for --from",
		Long: `Save what the reading commands need of this machine as FILE: .txtar to read and
review, or .tar, .tar.gz, .tar.zst. Every reading command takes it with --from.

Serial numbers, MAC addresses, UUIDs and host names are replaced, equal ones by equal
ones, unless --raw is given. Root sees more than others.

` + exitHelp,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			fsys, done, err := flags.open(env)
			if err != nil {
				return err
			}
			defer done()
			opts := hostfs.CaptureOptions{Raw: raw, Config: config}
			tree, cerr := hostfs.Capture(fsys, opts)
			if tree == nil {
				return cerr
			}
			m, err := laptop.ReadMachine(fsys)
			cerr = errors.Join(flags.partly, cerr, err)
			comment := fmt.Sprintf("%s, captured by indy %s on %s.\n", or(m.String(), "A machine that does not say what it is"),
				env.Version, time.Now().UTC().Format(time.DateOnly))
			if m.CPU != "" {
				comment += fmt.Sprintf("%s, %d threads, %d MiB of memory.\n", m.CPU, m.Threads, m.Memory>>20)
			}
			if err := hostfs.Save(args[0], tree, comment+opts.Comment()); err != nil {
				return err
			}
			if flags.json {
				err = writeJSON(env, map[string]string{"file": args[0]})
			} else {
				fmt.Fprintf(env.Stdout, "saved as %s; look at it with: indy devices --from %s\n", args[0], args[0])
			}
			if cerr != nil {
				err = partlyRead{errors.Join(err, cerr)}
			}
			return err
		},
	}
	cmd.Flags().StringVar(&flags.from, "from", "", "capture from this saved machine or report instead of this host, to convert it")
	flags.addJSON(cmd)
	cmd.Flags().BoolVar(&raw, "raw", false, "keep serial numbers, MAC addresses, UUIDs and host names")
	cmd.Flags().BoolVar(&config, "config", false, "also take the config space of each function, which may wake it")
	return cmd
}
