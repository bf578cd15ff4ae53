package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/internal/runner"
)

// defaultStop is how long a guest may take to shut itself down.
const defaultStop = 30 * time.Second

func newGuestSuspendCommand(env *Env) *cobra.Command {
	var how sleeping
	cmd := env.shortCommand("suspend", "have a guest stand still, with all that is in its memory", `Have the processors of a guest stand still. Its memory stays where it is, and its
devices stay with it; indy guest resume lets it go on.

With --sleep its power button is pressed, and its system puts itself to sleep (ACPI S3),
if that is what it does then: its drivers make its devices ready for it. A guest that does
not fall asleep within --timeout stands still as without.`, "suspended", func(d runner.Dir, ctx context.Context) (runner.Status, error) {
		switch err := how.valid(); {
		case err != nil:
			return runner.Status{}, err
		case !how.on:
			return d.Suspend(ctx)
		}
		return d.Hold(ctx, runner.SuspendRequest{Sleep: true, Timeout: how.within.Seconds()})
	})
	cmd.Flags().BoolVar(&how.on, "sleep", false, "have its system put itself to sleep, by its power button")
	cmd.Flags().DurationVar(&how.within, "timeout", 30*time.Second, "how long it may take to fall asleep")
	return cmd
}

// sleeping is how a guest is put to sleep.
type sleeping struct {
	on     bool
	within time.Duration
}

func (s sleeping) valid() error {
	if s.within <= 0 || s.within > 10*time.Minute {
		return usageError{fmt.Errorf("--timeout %v: expected a time up to 10m, such as 30s", s.within)}
	}
	return nil
}

func newGuestResumeCommand(env *Env) *cobra.Command {
	return env.shortCommand("resume", "let a guest go on that stands still or sleeps", `Let a guest go on that indy guest suspend has stopped, that QEMU has stopped because a
disk could not be written, or that has put itself to sleep. No guest goes on with a device
of this host that does not answer, or is not bound to the driver that it had for that.`, "resumed", runner.Dir.Resume)
}

// shortCommand makes a command that asks one thing of a guest that runs.
func (e *Env) shortCommand(name, short, long, done string, ask func(runner.Dir, context.Context) (runner.Status, error)) *cobra.Command {
	var flags reading
	cmd := &cobra.Command{
		Use: name + " NAME", Short: short, Long: long + "\n\n" + exitHelp,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			dir, err := e.runningGuest(args[0])
			if err != nil {
				return err
			}
			now, err := ask(dir, context.Background())
			if err != nil {
				return err
			}
			if flags.json {
				return writeJSON(e, now)
			}
			fmt.Fprintf(e.Stdout, "%s %s\n", done, args[0])
			return nil
		},
	}
	cmd.ValidArgsFunction = completeGuests(e)
	flags.addJSON(cmd)
	return cmd
}

// runningGuest returns the directory of a guest that has a runner.
func (e *Env) runningGuest(name string) (runner.Dir, error) {
	dir, err := e.guestRun(name)
	if err != nil {
		return dir, err
	}
	now, err := dir.Status(context.Background(), e.Host)
	if err != nil {
		return dir, err
	}
	switch now.State {
	case runner.Stopped:
		if err := e.known(name); err != nil {
			return dir, err
		}
		return dir, fmt.Errorf("guest %s is not running; indy guest start %s starts it", name, name)
	case runner.Failed:
		return dir, newGuestFailure(now)
	}
	return dir, nil
}

func newGuestStatusCommand(env *Env) *cobra.Command {
	var flags reading
	cmd := &cobra.Command{
		Use:   "status NAME",
		Short: "what a guest is doing, and why it failed",
		Long: `Say what a guest is doing: stopped, starting, running, suspended, stopping, failed or
unresponsive, which is that QEMU does not answer. Whatever QEMU does, the answer comes at
once. Of a guest that failed it says why, with the last that QEMU said.

` + exitHelp,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			dir, err := env.guestRun(args[0])
			if err != nil {
				return err
			}
			now, err := dir.Status(context.Background(), env.Host)
			if err == nil && now.State == runner.Stopped {
				err = env.known(args[0])
			}
			if err != nil {
				return err
			}
			if flags.json {
				return writeJSON(env, now)
			}
			writeStatus(env, now)
			return nil
		},
	}
	cmd.ValidArgsFunction = completeGuests(env)
	flags.addJSON(cmd)
	return cmd
}

func writeStatus(env *Env, s runner.Status) {
	line := env.paint(bold, s.Name) + " is " + string(s.State)
	if s.Ready {
		line += ", and ready"
	}
	if s.Detail != "" {
		line += ": " + printable(s.Detail)
	}
	fmt.Fprintln(env.Stdout, line)
	var t table
	if s.PID != 0 {
		t.add("  runner", fmt.Sprintf("process %d", s.PID))
	}
	if s.Unsaved > 0 {
		t.add("  not saved", fmt.Sprintf("%d bytes of its console, log and events", s.Unsaved))
	}
	if s.QEMU != 0 {
		word := "software emulation"
		if s.Accelerator == "kvm" {
			word = "KVM"
		}
		t.add("  QEMU", fmt.Sprintf("process %d, %s", s.QEMU, word))
	}
	if len(s.Devices) > 0 {
		t.add("  devices", printable(strings.Join(s.Devices, ", ")))
	}
	t.writePlain(env, env.Stdout)
	if s.Failure != nil {
		for line := range strings.Lines(newGuestFailure(s).Error()) {
			env.indented("  ", strings.TrimSpace(line))
		}
	}
}
