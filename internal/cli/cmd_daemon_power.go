package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/daemon"
	"github.com/project-independence/indy/internal/privsep"
	"github.com/project-independence/indy/uevent"
)

// keepPower has a daemon do with guests as the power of this host has it, until ctx ends.
// kept is where it keeps what it must remember, and root opens what this process may not; nil is
// that it may.
func (e *Env) keepPower(ctx context.Context, d *daemon.Daemon, kept string, root *privsep.Client) {
	c := daemon.PowerConfig{Host: e.Host, Bus: e.Getenv("DBUS_SYSTEM_BUS_ADDRESS"), State: filepath.Join(kept, "power.json")}
	if e.Listen != nil {
		c.Events = e.powerEvents
	}
	if live, ok := e.Host.(*hostfs.LiveHost); ok {
		c.OpenInput = func(name string) (io.ReadCloser, error) {
			f, err := openInput(live, name)
			if err != nil {
				return nil, err // not a nil file
			}
			return f, nil
		}
	}
	if root != nil {
		c.OpenInput, c.Inhibit = root.OpenLid, root.Inhibit
	}
	d.KeepPower(ctx, c)
}

// openInput opens an input device so that closing it ends reading.
func openInput(live *hostfs.LiveHost, name string) (*os.File, error) {
	f, err := live.OpenDevice(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// powerEvents calls changed at each event of a power supply.
func (e *Env) powerEvents(ctx context.Context, changed func()) error {
	events, err := e.Listen()
	if err != nil {
		return err
	}
	defer events.Close()
	for {
		event, err := events.Read(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, uevent.ErrOverflow), errors.Is(err, uevent.ErrMalformed):
			changed()
		case err != nil:
			return err
		case event.Subsystem == "power_supply":
			changed()
		}
	}
}

func newDaemonPowerCommand(env *Env, socket *string) *cobra.Command {
	return newAskCommand(env, socket, (*daemon.Client).Power, writePower, &cobra.Command{
		Use:   "power",
		Short: "sleep, lid and battery of the host, and what was done with guests because of them",
		Long: `Show whether logind waits for guests before the host sleeps, and how long, whether the
lid is closed, what is left in the batteries, and what was done with guests because of
those, the latest last. What is done is in the definition of each guest (power).

` + exitHelp,
	})
}

func writePower(env *Env, r daemon.PowerReport) {
	var t table
	wait := fmt.Sprintf("waits %g s for guests before the host sleeps", r.Wait)
	if r.Logind != "" {
		wait = printable("is not heard, guests are not made ready before the host sleeps: " + r.Logind)
	}
	t.add("logind", wait)
	lid, battery := "open, or there is none", "none, or it is not known"
	if r.LidClosed {
		lid = "closed"
	}
	if r.Battery.Known {
		battery = fmt.Sprintf("%d percent", r.Battery.Percent)
		if r.Battery.Discharging {
			battery += ", on which the host runs"
		}
	}
	t.add("lid", lid)
	t.add("battery", battery)
	t.writePlain(env, env.Stdout)
	if len(r.Steps) == 0 {
		return
	}
	var steps table
	steps.add("AFTER", "TOOK", "GUEST", "DONE", "BECAUSE", "")
	for _, s := range r.Steps {
		steps.add(fmt.Sprintf("%.3f s", s.At), fmt.Sprintf("%.3f s", s.Took), s.Guest, string(s.Do), string(s.Reason), printable(s.Error))
	}
	steps.write(env, env.Stdout)
}
