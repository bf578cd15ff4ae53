package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/internal/daemon"
	"github.com/project-independence/indy/internal/runner"
)

// The pauses between two countings: of the first two, and of what is shown again and again.
const (
	topFirst = 500 * time.Millisecond
	topPause = 2 * time.Second
)

func newGuestTopCommand(env *Env) *cobra.Command {
	var flags reading
	var once bool
	cmd := &cobra.Command{
		Use:   "top [NAME]...",
		Short: "what running guests use of the host",
		Long: `Show what guests use of this host: processors, memory, disks and networks, and which devices
they have. What goes by NAT nobody counts: that is a question mark. Without a name, all that run. On a terminal it is shown again and again, until it is
interrupted. With --json it is counted once, since the start of each guest.

` + exitHelp,
		RunE: func(_ *cobra.Command, args []string) error {
			ctx, stop := interruptible()
			defer stop()
			c := env.daemon()
			if c != nil {
				defer c.Close()
			}
			if flags.json {
				all, err := env.countTop(ctx, c, args)
				if e := writeJSON(env, map[string][]runner.Top{"guests": append([]runner.Top{}, all...)}); e != nil {
					return e
				}
				return err
			}
			return env.top(ctx, c, args, env.Width > 0 && env.Colour && !once)
		},
	}
	cmd.ValidArgsFunction = completeGuests(env)
	cmd.Flags().BoolVar(&once, "once", false, "show it once, on a terminal too")
	flags.addJSON(cmd)
	return cmd
}

// countTop asks guests what they use, those of the daemon too. One that does not answer hides
// no other.
func (e *Env) countTop(ctx context.Context, c *daemon.Client, names []string) ([]runner.Top, error) {
	own, others := names, []string(nil)
	if c != nil {
		own = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !e.own(name) })
		others = slices.DeleteFunc(slices.Clone(names), e.own)
	}
	var all []runner.Top
	var errs []error
	if len(names) == 0 || len(own) > 0 {
		dirs, err := e.runningGuests(own)
		errs = append(errs, err)
		for _, d := range dirs {
			t, err := d.Top(ctx)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			all = append(all, t)
		}
	}
	if c != nil && len(names) == 0 {
		l, err := c.List(ctx)
		errs = append(errs, err)
		for _, g := range l.Guests {
			if !g.Status.Over() {
				others = append(others, g.Name)
			}
		}
	}
	for _, name := range others {
		t, err := c.Top(ctx, name)
		if err != nil {
			errs = append(errs, refusedBy(err))
			continue
		}
		all = append(all, t)
	}
	return all, errors.Join(errs...)
}

// runningGuests returns the directories of guests with these names, or of all that run.
func (e *Env) runningGuests(names []string) (dirs []runner.Dir, err error) {
	if len(names) > 0 {
		for _, name := range names {
			d, err := e.runningGuest(name)
			if err != nil {
				return nil, err
			}
			dirs = append(dirs, d)
		}
		return dirs, nil
	}
	all, err := runner.Guests(e.RunDir)
	for _, d := range all {
		if s, err := d.Status(context.Background(), e.Host); err == nil && !s.Over() {
			dirs = append(dirs, d)
		}
	}
	return dirs, err
}

func (e *Env) top(ctx context.Context, c *daemon.Client, names []string, again bool) error {
	before, err := e.countTop(ctx, c, names)
	if len(before) == 0 {
		if err == nil {
			fmt.Fprintln(e.Stdout, "no guest is running")
		}
		return err
	}
	for pause := topFirst; ; pause = topPause {
		select {
		case <-ctx.Done():
			return nil // that is how it ends
		case <-time.After(pause):
		}
		now, err := e.countTop(ctx, c, names)
		if again {
			fmt.Fprint(e.Stdout, "\x1b[H\x1b[J") // the top of a blank screen
		}
		e.writeTop(before, now)
		if !again || len(now) == 0 {
			return err
		}
		before = now
	}
}

func (e *Env) writeTop(before, now []runner.Top) {
	var t table
	t.add("GUEST", "CPU", "OF", "MEMORY", "OF", "READ/s", "WRITTEN/s", "IN/s", "OUT/s", "DEVICES")
	for _, n := range now {
		share, read, written := "-", "-", "-"
		in, out := "-", "-"
		for _, b := range before {
			if d := n.At - b.At; b.Name == n.Name && d > 0 && n.CPUSeconds >= b.CPUSeconds {
				share = fmt.Sprintf("%.0f%%", 100*(n.CPUSeconds-b.CPUSeconds)/d)
				r, w := diskBytes(n.Disks)
				r0, w0 := diskBytes(b.Disks)
				read, written = rate(r-r0, d), rate(w-w0, d)
				in, out = networkRates(b.Networks, n.Networks, d)
			}
		}
		t.add(n.Name, share, fmt.Sprintf("%d00%%", n.CPUs), guest.FormatSize(n.Resident>>20<<20), guest.FormatSize(n.Memory), read, written, in, out,
			printable(or(strings.Join(n.Devices, " "), "-")))
	}
	t.write(e, e.Stdout)
}

func diskBytes(all []runner.DiskUse) (read, written int64) {
	for _, d := range all {
		read, written = read+d.ReadBytes, written+d.WrittenBytes
	}
	return read, written
}

// networkRates are those of all interfaces: "-" of none, and "?" when one is not counted.
func networkRates(before, now []runner.NetworkUse, d float64) (in, out string) {
	if len(now) == 0 {
		return "-", "-"
	}
	sum := func(counter func(runner.NetworkUse) *int64) string {
		total := int64(0)
		for i, n := range now {
			if i >= len(before) || counter(n) == nil || counter(before[i]) == nil {
				return "?"
			}
			total += *counter(n) - *counter(before[i])
		}
		return rate(total, d)
	}
	return sum(func(n runner.NetworkUse) *int64 { return n.ReceivedBytes }), sum(func(n runner.NetworkUse) *int64 { return n.SentBytes })
}

// rate writes bytes in d seconds as whole KiB a second.
func rate(n int64, d float64) string {
	return guest.FormatSize(int64(float64(max(n, 0))/d) >> 10 << 10)
}
