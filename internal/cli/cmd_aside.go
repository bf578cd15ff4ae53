package cli

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/broker"
	"github.com/project-independence/indy/internal/vflink"
)

// asideCommand is the word by which a process serves another one of indy; see
// [broker.Serve].
const asideCommand = "aside"

func newAsideCommand(*Env) *cobra.Command {
	return &cobra.Command{
		Use:    asideCommand,
		Short:  "make calls into the kernel for another process, which gives this one up if they do not return",
		Hidden: true,
		Args:   usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
			host := vflink.Over(hostfs.Live(), nil)
			return broker.Serve(broker.Calls{ReadFile: host.ReadFile, WriteFile: host.WriteFile, ResetBus: resetBus})
		},
	}
}
