package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/guest/store"
	"github.com/project-independence/indy/internal/daemon"
	"github.com/project-independence/indy/internal/runner"
)

// An asking does what a command about guests does, by the daemon.
type asking func(ctx context.Context, env *Env, c *daemon.Client, cmd *cobra.Command, args []string) error

// viaDaemon returns how the commands that can be had from the daemon are.
func viaDaemon() map[string]asking {
	return map[string]asking{
		"start": startBy, "stop": stopBy, "status": statusBy, "screenshot": screenshotBy,
		"suspend": suspendBy, "resume": shortBy("resumed", (*daemon.Client).Resume),
		"log": keptBy("log"), "events": keptBy("events"), "console": consoleBy, "edit": editBy, "delete": deleteBy,
	}
}

// orDaemon has commands about guests ask the daemon when there is one that knows who asks.
// Guests of one's own come first: the daemon is asked about those that one has not.
func (e *Env) orDaemon(guests *cobra.Command) {
	how := viaDaemon()
	for _, cmd := range guests.Commands() {
		ask, alone := how[cmd.Name()], cmd.RunE
		if ask == nil {
			continue
		}
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			if e.Socket == "" || e.own(args[0]) {
				return alone(cmd, args)
			}
			c := e.daemon()
			if c == nil {
				return alone(cmd, args)
			}
			defer c.Close()
			ctx, stop := interruptible()
			defer stop()
			return orInterrupt(ctx, refusedBy(ask(ctx, e, c, cmd, args)))
		}
	}
}

// own reports whether a guest is one's own, or a file.
func (e *Env) own(name string) bool {
	s, err := e.guests()
	if err != nil || guest.ValidateName(name) != nil {
		return err == nil
	}
	_, err = s.Read(name)
	return !errors.Is(err, fs.ErrNotExist)
}

// daemon returns a client of the daemon; nil when there is none, or none for who asks.
func (e *Env) daemon() *daemon.Client {
	if e.Socket == "" {
		return nil
	}
	c, err := daemon.Dial(e.Socket)
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if _, err := c.Version(ctx); err != nil {
		c.Close()
		return nil
	}
	return c
}

// refusedBy makes what the daemon refuses end in the status for that.
func refusedBy(err error) error {
	var r *daemon.RefusalError
	switch {
	case !errors.As(err, &r):
		return err
	case r.Code == 403:
		return refusedEdit{err}
	case r.Code == 404:
		return usageError{err}
	case r.Code == 501:
		return cannot{err}
	}
	return err
}

// sharedGuests returns the guests that the daemon has, as far as who asks may see them.
func (e *Env) sharedGuests() (all []store.Entry, states []runner.Status) {
	c := e.daemon()
	if c == nil {
		return nil, nil
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	l, err := c.List(ctx)
	if err != nil {
		return nil, nil
	}
	for _, g := range l.Guests {
		text, err := c.Show(ctx, g.Name)
		if err != nil {
			continue // it has gone meanwhile
		}
		d, err := guest.ParseDefinition(g.Name, []byte(text.Definition))
		if err != nil {
			continue
		}
		all = append(all, store.Entry{Definition: d, Text: []byte(text.Definition), Dir: filepath.Join(guestDir(0, e.Getenv), g.Name)})
		states = append(states, g.Status)
	}
	return all, states
}

func asJSON(cmd *cobra.Command) bool {
	on, err := cmd.Flags().GetBool("json")
	return err == nil && on
}

func startBy(ctx context.Context, env *Env, c *daemon.Client, cmd *cobra.Command, args []string) error {
	for _, flag := range []string{"accel", "allow"} {
		if cmd.Flags().Changed(flag) {
			return usageError{fmt.Errorf("--%s goes with guests of one's own; %s is started by the daemon", flag, args[0])}
		}
	}
	var wait waiting
	var err1, err2 error
	wait.until, err1 = cmd.Flags().GetString("wait")
	wait.limit, err2 = cmd.Flags().GetDuration("timeout")
	if err := errors.Join(err1, err2, wait.valid()); err != nil {
		return err
	}
	key, err := keyBy(ctx, env, c, cmd, args[0])
	if err != nil {
		return err
	}
	defer clear(key)
	now, err := startAndWait(ctx, c, args[0], key, wait)
	if err != nil {
		return err
	}
	if asJSON(cmd) {
		return writeJSON(env, now)
	}
	fmt.Fprintln(env.Stdout, startedWord(args[0], now))
	return nil
}

// startAndWait has the daemon start a guest, which it does until that runs.
func startAndWait(ctx context.Context, c *daemon.Client, name string, key []byte, wait waiting) (runner.Status, error) {
	var d guest.Definition
	if text, err := c.Show(ctx, name); err != nil {
		return runner.Status{}, err
	} else if text.Error == "" {
		d, _ = guest.ParseDefinition(name, []byte(text.Definition)) // which the daemon complains about
	}
	ctx, late, cancel := wait.within(ctx, name, readyBy(d))
	defer cancel()
	now, err := c.Start(ctx, name, key)
	for err == nil && wait.until == "ready" && !now.Ready {
		late.saw(now)
		if now.Over() {
			return now, newGuestFailure(now)
		}
		select {
		case <-time.After(100 * time.Millisecond):
			now, err = c.Status(ctx, name)
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return now, err
}

func stopBy(ctx context.Context, env *Env, c *daemon.Client, cmd *cobra.Command, args []string) error {
	within, err := cmd.Flags().GetDuration("timeout")
	if err != nil {
		return err
	}
	if within <= 0 {
		return usageError{fmt.Errorf("--timeout %v: expected a time such as 30s; --force does not wait", within)}
	}
	stop := func() (runner.Status, error) { return c.Stop(ctx, args[0], within) }
	if force, err := cmd.Flags().GetBool("force"); err == nil && force {
		stop = func() (runner.Status, error) { return c.Kill(ctx, args[0]) }
	}
	now, err := stop()
	switch {
	case err != nil:
		return err
	case now.State == runner.Failed:
		return newGuestFailure(now)
	case asJSON(cmd):
		return writeJSON(env, now)
	}
	fmt.Fprintf(env.Stdout, "stopped %s\n", args[0])
	return nil
}

func statusBy(ctx context.Context, env *Env, c *daemon.Client, cmd *cobra.Command, args []string) error {
	now, err := c.Status(ctx, args[0])
	if err != nil {
		return err
	}
	if asJSON(cmd) {
		return writeJSON(env, now)
	}
	writeStatus(env, now)
	return nil
}

func shortBy(done string, do func(*daemon.Client, context.Context, string) (runner.Status, error)) asking {
	return func(ctx context.Context, env *Env, c *daemon.Client, cmd *cobra.Command, args []string) error {
		now, err := do(c, ctx, args[0])
		if err != nil {
			return err
		}
		if asJSON(cmd) {
			return writeJSON(env, now)
		}
		fmt.Fprintf(env.Stdout, "%s %s\n", done, args[0])
		return nil
	}
}

func suspendBy(ctx context.Context, env *Env, c *daemon.Client, cmd *cobra.Command, args []string) error {
	var how sleeping
	how.on, _ = cmd.Flags().GetBool("sleep")
	how.within, _ = cmd.Flags().GetDuration("timeout")
	if err := how.valid(); err != nil {
		return err
	}
	return shortBy("suspended", func(c *daemon.Client, ctx context.Context, name string) (runner.Status, error) {
		if how.on {
			return c.Sleep(ctx, name, how.within)
		}
		return c.Suspend(ctx, name)
	})(ctx, env, c, cmd, args)
}

func keptBy(what string) asking {
	return func(ctx context.Context, env *Env, c *daemon.Client, cmd *cobra.Command, args []string) error {
		if on, err := cmd.Flags().GetBool("follow"); err == nil && on {
			return followBy(ctx, env, c, args[0], what)
		}
		text, err := c.Kept(ctx, args[0], what)
		if err == nil {
			_, err = plainWriter{env.Stdout}.Write(text)
		}
		return err
	}
}

// followBy prints what comes until the guest has ended.
func followBy(ctx context.Context, env *Env, c *daemon.Client, name, what string) error {
	r, err := c.Follow(ctx, name, what)
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := io.Copy(plainWriter{env.Stdout}, r); err != nil {
		return err
	}
	// It also ends with the daemon, and for those who may be told no more, who are told so.
	var refused *daemon.RefusalError
	if _, err := c.Kept(ctx, name, what); errors.As(err, &refused) && refused.Code == 403 {
		return err
	}
	now, err := c.Status(ctx, name)
	if err == nil && now.State == runner.Running {
		err = fmt.Errorf("the daemon has ended meanwhile, and guest %s goes on; indy guest %s --follow %s goes on, too", name, what, name)
	}
	return err
}

func screenshotBy(ctx context.Context, env *Env, c *daemon.Client, _ *cobra.Command, args []string) error {
	picture, err := c.Kept(ctx, args[0], "screenshot")
	if err != nil {
		return err
	}
	write := func(w io.Writer) error { _, err := w.Write(picture); return err }
	if args[1] == "-" {
		return write(env.Stdout)
	}
	return replaceFile(args[1], write)
}
