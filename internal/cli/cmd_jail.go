package cli

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/guest/qemu"
	"github.com/project-independence/indy/internal/jail"
)

// jailCommand is the word by which a process becomes QEMU, with all taken from it that
// QEMU does not need; see [jail.Run].
const jailCommand = "jail"

func newJailCommand(*Env) *cobra.Command {
	return &cobra.Command{
		Use:    jailCommand + " DESCRIPTOR",
		Short:  "confine this process as the inherited descriptor says, and become QEMU",
		Hidden: true,
		Args:   usage(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			fd, err := strconv.ParseUint(args[0], 10, 16)
			if err != nil {
				return usageError{fmt.Errorf("descriptor %q is no number", args[0])}
			}
			return jail.Run(int(fd))
		},
	}
}

// unconfined says what of a jail is not in force, if one was asked for.
func (e *Env) unconfined(measures []qemu.Measure) {
	for _, m := range measures {
		if e.Jail != nil && !m.InForce {
			e.errorf("not in force for QEMU: %s: %s", m.What, m.Why)
		}
	}
}
