package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/internal/broker"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/uevent"
)

// assigning is the host for who is about to hand devices over: once something has to be
// waited for it listens to the kernel, so that a node which comes late is seen when it
// comes. Where that cannot be, it looks again and again.
func (e *Env) assigning() (h *assign.Host, stop func()) {
	h = e.assignHost()
	if e.Listen == nil {
		return h, func() {}
	}
	var events Events
	// Most nodes are there at once, and to listen costs: each event wakes this process
	// while the kernel works.
	h.Pause = func(context.Context, time.Duration) {
		var err error
		if events, err = e.Listen(); err != nil {
			events, h.Pause = nil, nil // as in a sandbox without netlink
			return
		}
		// What came before was not heard, so the first look after this is at once.
		h.Pause = pauser(events)
	}
	return h, func() {
		if events != nil {
			_ = events.Close()
		}
	}
}

// pauser returns when the kernel says something about VFIO, or after d.
func pauser(events Events) func(ctx context.Context, d time.Duration) {
	return func(ctx context.Context, d time.Duration) {
		ctx, cancel := context.WithTimeout(ctx, d)
		defer cancel()
		for {
			switch event, err := events.Read(ctx); {
			case errors.Is(err, uevent.ErrMalformed):
			case errors.Is(err, uevent.ErrOverflow):
				return // it may have been among what was lost
			case err != nil:
				<-ctx.Done()
				return
			case event.Subsystem == "vfio" || event.Subsystem == "vfio-dev":
				return
			}
		}
	}
}

// addDeadline adds the flag that says how long a call into the kernel is waited for.
func (e *Env) addDeadline(cmd *cobra.Command) {
	b := cmp.Or(e.Broker, &broker.Broker{})
	var said time.Duration
	cmd.Flags().DurationVar(&said, "deadline", broker.Deadline,
		fmt.Sprintf("leave a device alone when a write to one of its files has not returned for so long; a reset has %.0fs unless this is given", broker.ResetDeadline.Seconds()))
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if !cmd.Flags().Changed("deadline") {
			return nil
		}
		if said <= 0 {
			return usageError{fmt.Errorf("--deadline %s: expected a time such as 30s", said)}
		}
		b.Deadline = said
		return nil
	}
}

// nodeFault adds to the error that a group cannot be opened what is wrong with its node.
func nodeFault(fsys fs.FS, id iommu.GroupID, err error) error {
	node := "dev/vfio/" + id.String()
	info, lerr := fs.Lstat(fsys, node)
	switch {
	case err == nil || lerr != nil:
		return err
	case info.Mode()&fs.ModeCharDevice == 0:
		return fmt.Errorf("%w; /%s is %s, and not the node of the group; remove it and bind its devices anew", err, node, info.Mode())
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w; /%s is %s: whoever runs guests must be its owner or in its group (chown, or a udev rule for SUBSYSTEM==\"vfio\")", err, node, info.Mode())
	}
	return err
}
