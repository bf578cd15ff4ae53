package cli

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/uevent"
	"github.com/project-independence/indy/usb"
)

// Events is what tells that devices come and go; [uevent.Conn] does.
type Events interface {
	Read(context.Context) (uevent.Event, error)
	Close() error
}

func listen() (Events, error) { return uevent.Listen(uevent.Options{}) }

type watching struct {
	reading
	role    string
	initial bool
	length  time.Duration
}

func newWatchCommand(env *Env) *cobra.Command {
	var w watching
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "devices as they come and go",
		Long: `Print a line for each device that is plugged in (+), unplugged (-), or changes its
driver, its roles or its nodes (~), within a second. A device that comes back as another
one, as after loading its firmware, is one that went and one that came.

It ends after --for, or when it is interrupted. A saved machine has no events, so
there is no --from.

` + exitHelp,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := knownRole(w.role); err != nil {
				return err
			}
			if cmd.Flags().Changed("for") && w.length <= 0 {
				return usageError{fmt.Errorf("--for %v: expected a duration such as 30s", w.length)}
			}
			return w.run(env)
		},
	}
	w.addJSON(cmd)
	cmd.Flags().StringVar(&w.role, "role", "", "only devices of this role")
	cmd.Flags().BoolVar(&w.initial, "initial", false, "print first what is there")
	cmd.Flags().DurationVar(&w.length, "for", 0, "end after this time, such as 30s")
	_ = cmd.RegisterFlagCompletionFunc("role", func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return strings.Split(joinRoles(laptop.Roles()), ", "), cobra.ShellCompDirectiveNoFileComp
	})
	return cmd
}

func knownRole(role string) error {
	if role != "" && !slices.Contains(laptop.Roles(), laptop.Role(role)) {
		return usageError{fmt.Errorf("no role %q; the roles are %s", role, joinRoles(laptop.Roles()))}
	}
	return nil
}

// errEnded is why a watch ends that was to last so long.
var errEnded = errors.New("the time is over")

func (w *watching) run(env *Env) error {
	if env.Listen == nil {
		return cannot{errors.New("listen to the kernel's events: this host has none")}
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	if w.length > 0 {
		end := time.AfterFunc(w.length, func() { cancel(errEnded) })
		defer end.Stop()
	}
	// What happens while the machine is read must not be missed.
	events, err := env.Listen()
	if err != nil {
		return err
	}
	defer func() { _ = events.Close() }()
	go watchReader(ctx, env, cancel)

	o := &onlooker{watching: w, env: env, lists: laptop.NewNames(env.Names)}
	o.look()
	if w.initial {
		for i := range o.devices {
			if err := o.print(item{event: added, device: &o.devices[i]}, o.names); err != nil {
				return err
			}
		}
	}
	for {
		n, err := await(ctx, events)
		switch {
		case err != nil && errors.Is(context.Cause(ctx), errEnded):
			if o.err != nil {
				return partlyRead{o.err}
			}
			return nil
		case err != nil && ctx.Err() != nil:
			// Nobody reads any more: to write ends this as it ends every command.
			_, err := fmt.Fprintln(env.Stdout)
			return errors.Join(context.Cause(ctx), err)
		case err != nil:
			return err
		}
		if err := o.update(n); err != nil {
			return err
		}
	}
}

const (
	quiet   = 75 * time.Millisecond  // without events, and a device is settled
	longest = 500 * time.Millisecond // but when they do not stop, it is looked at so often
)

// news is what a burst of events says about devices.
type news struct {
	lost error             // what cannot be known any more, because events were dropped
	went map[string]uint64 // devices that were removed, by id: the number of the event
}

// await waits for an event that matters, and then until no more of them come.
func await(ctx context.Context, events Events) (news, error) {
	n := news{went: map[string]uint64{}}
	var settled, last time.Time // both zero until something matters
	for {
		wait, cancel := ctx, context.CancelFunc(func() {})
		if !settled.IsZero() {
			if last.Before(settled) {
				settled = last
			}
			wait, cancel = context.WithDeadline(ctx, settled)
		}
		e, err := events.Read(wait)
		cancel()
		switch {
		case errors.Is(err, uevent.ErrOverflow), errors.Is(err, uevent.ErrMalformed):
			n.lost = err
		case err != nil && !settled.IsZero() && wait.Err() != nil:
			return n, nil // also when ctx has ended: what happened is shown
		case err != nil:
			return n, err
		case !matters(e):
			continue
		case e.Action == uevent.Remove:
			if _, made := e.Lookup("SYNTH_UUID"); made {
				break // written by somebody into a uevent file: nothing has gone
			}
			if id := deviceOf(e); id != "" {
				n.went[id] = e.Seqnum
			}
		}
		now := time.Now()
		settled = now.Add(quiet)
		if last.IsZero() {
			last = now.Add(longest)
		}
	}
}

// matters reports whether an event can change which devices there are, what they are,
// or by which nodes they are used.
func matters(e uevent.Event) bool {
	switch e.Subsystem {
	case "pci", "usb":
		return true
	case "net", "ieee80211", "wwan", "bluetooth", "rfkill", "sound", "hdaudio", "video4linux", "media", "drm", "graphics",
		"input", "hid", "hidraw", "block", "nvme", "mmc", "tpm", "tty", "usbmisc", "mei", "thunderbolt", "firewire", "typec",
		"power_supply", "iio", "i2c", "spi", "serio", "serial", "platform", "acpi", "mac80211_hwsim":
		// What changes there are levels, media and cables.
		return e.Action != uevent.Change && !isSoftware(e)
	}
	return false
}

// isSoftware reports whether an event is about a network, a terminal or a disk that is
// made by software, which is no device; containers and images come with many of them.
// A radio or a sound card made so stands in for one.
func isSoftware(e uevent.Event) bool {
	switch e.Subsystem {
	case "net", "tty", "block", "graphics":
		return strings.HasPrefix(e.Path, "/devices/virtual/"+e.Subsystem+"/")
	}
	return false
}

// deviceOf returns the id of the device that an event is about, empty when it is about
// a part of one.
func deviceOf(e uevent.Event) string {
	name := path.Base(e.Path)
	switch {
	case e.Subsystem == "pci":
		if _, err := pci.ParseAddress(name); err == nil {
			return "pci:" + name
		}
	case e.Subsystem == "usb" && e.DevType == "usb_device":
		if _, err := usb.ParsePortPath(name); err == nil {
			return "usb:" + name
		}
	}
	return ""
}
