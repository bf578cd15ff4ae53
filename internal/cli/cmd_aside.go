package cli

import (
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/broker"
	"github.com/project-independence/indy/internal/vflink"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/vfio"
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

// resetBus opens the functions, which proves to the kernel that all on their bus are ours,
// and lets it reset the bus.
func resetBus(functions []pci.Address) (err error) {
	space, err := vfio.NewAddressSpace(vfio.AnyInterface)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, space.Close()) }()
	var first *vfio.Device
	for _, a := range functions {
		d, err := space.Open(a)
		if err != nil {
			return err
		}
		if first == nil {
			first = d
		}
	}
	return first.ResetBus()
}
