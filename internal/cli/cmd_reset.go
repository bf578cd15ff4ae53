package cli

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

func newResetCommand(env *Env) *cobra.Command {
	var flags reading
	var c assign.Cleaning
	cmd := &cobra.Command{
		Use:   "reset DEVICE...",
		Short: "reset devices that nobody uses, so that the next guest finds nothing in them",
		Long: `Reset devices by the kernel's methods in the kernel's order, until one works and the
device answers afterwards, and note what came of it. Only then does another guest get what
a guest has used. "indy release" does the same by itself.

A USB device is reset as the port of its hub does it when it is plugged in, and has to say
the same of itself afterwards. That erases neither its firmware nor what is stored in it.

What a driver of the host or a guest uses is not reset. A device that the kernel cannot
reset is clean once the machine was without power: switch it off, and on again, and say
so with --power-cycled.

` + exitHelp,
		Args:              usage(cobra.MinimumNArgs(1)),
		ValidArgsFunction: completeDevices(env),
		RunE: func(_ *cobra.Command, args []string) error {
			ctx, stop := interruptible()
			defer stop()
			m := readMachine(env, env.Host)
			var err error
			if c.Devices, c.USB, err = m.resettable(args); err != nil {
				return err
			}
			c.Group = func(a pci.Address) iommu.GroupID { return m.Function(a).PCI.Group }
			left, err := env.store().Clean(ctx, env.assignHost(), c)
			if flags.json {
				if werr := writeJSON(env, map[string][]assign.Residue{"residue": append([]assign.Residue{}, left...)}); werr != nil {
					return werr
				}
			} else {
				for _, r := range left {
					fmt.Fprintf(env.Stdout, "%s  %s\n", r.Device, printable(residueWords(r)))
				}
			}
			if err != nil {
				return err
			}
			return notClean(left)
		},
	}
	flags.addJSON(cmd)
	cmd.Flags().BoolVar(&c.AsNew, "as-new", false, "another device sits there now, or you know why it says something else of itself than before")
	cmd.Flags().BoolVar(&c.PowerCycled, "power-cycled", false, "do not reset: the machine was without power since the device was used")
	return cmd
}

// resettable resolves words to functions and USB devices.
func (m *machine) resettable(words []string) (functions []pci.Address, ports []usb.PortPath, err error) {
	var others []string
	for _, w := range words {
		d, err := m.Find(w, m.names)
		switch {
		case err != nil:
			return nil, nil, err
		case d.USB == nil:
			others = append(others, w)
		case d.USB.Hub:
			return nil, nil, cannot{fmt.Errorf("%s: a hub stays with the host; a reset of it would take all behind it off the bus", w)}
		case !slices.Contains(ports, d.USB.Path):
			ports = append(ports, d.USB.Path)
		}
	}
	functions, err = m.functions(others)
	return functions, ports, err
}

// notClean is the error of a reset after which something is left.
func notClean(left []assign.Residue) error {
	for _, r := range left {
		if r.State != assign.Clean {
			return fmt.Errorf("%s is not clean: %s", r.Device, r)
		}
	}
	return nil
}
