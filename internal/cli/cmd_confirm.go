package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/assign"
)

// confirming is what a person asks for who may not be able to type after a hand-over: to
// have it undone unless it is confirmed.
type confirming struct {
	within  time.Duration
	guarded bool // somebody watches the time
}

// Bounds of the time to confirm: less nobody can type, and after more nobody would think
// of it any longer.
const (
	confirmLeast = 5 * time.Second
	confirmMost  = time.Hour
)

// watchdogCommand is the command that undoes what is not confirmed. It is for no person
// to type.
const watchdogCommand = "undo-unless-confirmed"

func (c *confirming) add(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&c.within, "confirm-within", 0,
		`undo it unless "indy confirm" is run within this time, 5s to 1h`)
}

// check blames a time that no person can mean.
func (c *confirming) check(cmd *cobra.Command) error {
	if cmd.Flags().Changed("confirm-within") && (c.within < confirmLeast || c.within > confirmMost) {
		return usageError{fmt.Errorf("--confirm-within %s: expected a time from 5s to 1h", c.within)}
	}
	return nil
}

// guard has somebody watch the time from before the first write, who does so when this
// process and its terminal have been killed, too.
func (c *confirming) guard(env *Env, p *assign.Plan) error {
	if c.within == 0 || c.guarded {
		return nil
	}
	if env.Detach == nil {
		return cannot{errors.New("--confirm-within: nobody can watch the time here")}
	}
	if err := env.Detach(watchdogCommand, p.Names()[0]); err != nil {
		return err
	}
	c.guarded = true
	return nil
}

// tell says until when, and how, to confirm.
func (c *confirming) tell(env *Env, l *assign.Lease) {
	if l.Confirm == nil {
		return
	}
	fmt.Fprintf(env.Stdout, "undone in %s, at %s, unless you run: indy confirm %s\n",
		c.within, l.Confirm.Time.Local().Format(time.TimeOnly), l.Name())
}

func newConfirmCommand(env *Env) *cobra.Command {
	var flags reading
	cmd := &cobra.Command{
		Use:   "confirm DEVICE...",
		Short: "keep what was handed over with assign --confirm-within",
		Long: `Say that a hand-over is as it should be, so that it is not undone when the time given
to "indy assign --confirm-within" is over. All devices of the lease are kept. What needs
no confirmation, or has it, is left as it is.

` + exitHelp,
		Args:              usage(cobra.MinimumNArgs(1)),
		ValidArgsFunction: completeLeased(env),
		RunE: func(_ *cobra.Command, args []string) error {
			devices, err := releasing(env, args)
			if err != nil {
				return err
			}
			ctx, stop := interruptible()
			defer stop()
			kept := []string{}
			var errs []error
			for _, name := range devices {
				if slices.Contains(kept, name) {
					continue // went with another device of its lease
				}
				l, err := env.store().Confirm(ctx, env.assignHost(), name)
				if err != nil {
					errs = append(errs, err)
					continue
				}
				kept = append(kept, l.Names()...)
			}
			if flags.json {
				if err := writeJSON(env, map[string][]string{"confirmed": kept}); err != nil {
					return err
				}
			} else if len(kept) > 0 {
				fmt.Fprintf(env.Stdout, "confirmed %s\n", strings.Join(kept, ", "))
			}
			return errors.Join(errs...)
		},
	}
	flags.addJSON(cmd)
	return cmd
}

func newWatchdogCommand(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:    watchdogCommand + " DEVICE",
		Short:  "wait for the time to confirm a lease to be over, and give it back",
		Hidden: true,
		Args:   usage(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			signal.Ignore(os.Interrupt, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE)
			store := env.store()
			return watchdog{
				lease: func() (*assign.Lease, error) { return currentLease(env.Host, store, args[0]) },
				undo: func() error {
					_, err := store.Recover(context.Background(), env.assignHost())
					return err
				},
				now: bootTime, sleep: time.Sleep,
			}.run()
		},
	}
}

// currentLease is the lease with a device that was taken on the kernel which runs now.
func currentLease(fsys fs.FS, store *assign.Store, name string) (*assign.Lease, error) {
	l, err := store.HoldingNamed(name)
	if err != nil {
		return nil, err
	}
	if boot, err := bootID(fsys); err == nil && l.BootID != boot {
		return nil, assign.ErrNotHeld
	}
	return l, nil
}

// bootTime is the time since the kernel started, asleep or not.
func bootTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0 // there is such a clock since Linux 2.6.39
	}
	return time.Duration(t.Nano())
}

// A watchdog undoes a lease whose time to confirm is over.
type watchdog struct {
	lease func() (*assign.Lease, error)
	undo  func() error
	now   func() time.Duration
	sleep func(time.Duration)
}

// watchdogStep is how long it sleeps without looking: the host may have been asleep
// meanwhile, which time.Sleep does not count, and the lease may have been confirmed.
// watchdogLimit is when it gives up what neither becomes a lease nor can be undone; then
// that is for "indy recover". watchdogFirst is how long it looks for a lease that it has not
// seen: it starts with the plan, and until that is on the disk the lease has neither what
// the plan makes nor what goes along.
const (
	watchdogStep  = time.Second
	watchdogLimit = confirmMost + 10*time.Minute
	watchdogFirst = time.Minute
)

// run returns when nothing is left to be undone.
func (w watchdog) run() error {
	begin := w.now()
	end := begin + watchdogLimit
	seen := false
	var last error
	for w.now() < end {
		l, err := w.lease()
		step := watchdogStep
		seen = seen || err == nil
		switch {
		case errors.Is(err, assign.ErrNotHeld) && !seen && w.now()-begin < watchdogFirst:
			// It is about to be taken.
		case errors.Is(err, assign.ErrNotHeld):
			return nil // given back, or not taken
		case err != nil:
			last = err // cannot be read just now
		case l.Confirm == nil && l.State == assign.Assigned:
			return nil // confirmed
		case l.Confirm == nil:
			// It is about to be planned, or given back by somebody else.
		case w.now() >= l.Confirm.Clock:
			last = w.undo() // and look again: a driver that is stuck may come back
		default:
			step = min(step, l.Confirm.Clock-w.now())
		}
		w.sleep(step)
	}
	return last
}
