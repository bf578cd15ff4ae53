package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/guest/qemu"
	"github.com/project-independence/indy/guest/store"
	"github.com/project-independence/indy/internal/runner"
)

// starting are the flags of indy guest start.
type starting struct {
	reading
	wait  waiting
	accel string
	allow []string
	key   keyFlag
}

func newGuestStartCommand(env *Env) *cobra.Command {
	var flags starting
	cmd := &cobra.Command{
		Use:   "start NAME",
		Short: "start a guest, which goes on when this command has ended",
		Long: `Start a guest: find the devices that it needs, take them from the host, run it, and give
them back when it has ended. It gets a process of its own and goes on without this
command, which waits until the guest runs, or until it is ready as its definition says.

A required need that nothing on this laptop meets keeps it from starting; an optional one
does not. With an error nothing is left behind, and indy guest log says more. A guest that is
not as far as --wait says when --timeout is over goes on, which is exit status 3.

The passphrase of an encrypted disk is asked for on the terminal, or read from --key-file.

` + exitHelp,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			ctx, stop := interruptible()
			defer stop()
			return flags.run(ctx, env, args[0])
		},
	}
	cmd.ValidArgsFunction = completeGuests(env)
	f := cmd.Flags()
	flags.wait.add(f)
	f.StringVar(&flags.accel, "accel", "auto", "auto, kvm or tcg (software emulation)")
	f.StringSliceVar(&flags.allow, "allow", nil, "override the refusal of this `NAME`, such as no-reset, at your own risk")
	flags.key.add(cmd)
	flags.addJSON(cmd)
	_ = cmd.RegisterFlagCompletionFunc("wait", cobra.FixedCompletions([]cobra.Completion{"ready", "running", "none"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// stored returns the guest of that name and the directory that it has while it runs.
func (e *Env) stored(name string) (store.Entry, runner.Dir, error) {
	if strings.ContainsAny(name, "/.") {
		return store.Entry{}, runner.Dir{}, usageError{fmt.Errorf("%s is a file; only a guest of indy guest list can be started, so import it first: indy guest import %s", name, name)}
	}
	found, err := e.findGuest(name)
	if err != nil {
		return found, runner.Dir{}, err
	}
	d, err := e.guestRun(name)
	return found, d, err
}

func (s *starting) run(ctx context.Context, env *Env, name string) error {
	if err := s.wait.valid(); err != nil {
		return err
	}
	if _, err := parseAccelerator(s.accel); err != nil {
		return usageError{err}
	}
	e, dir, err := env.stored(name)
	if err != nil {
		return err
	}
	if env.DetachWith == nil {
		return cannot{errors.New("no process can be started from here")}
	}
	key, err := s.key.ofGuest(ctx, env, e.Definition)
	if err != nil {
		return err
	}
	defer clear(key)
	l, err := runner.Launch(dir, env.Host, runnerRequest{
		Guests: env.GuestDir, Leases: env.LeaseDir, State: env.StateDir, Run: env.RunDir, Accelerator: s.accel, Allow: s.allow, Key: key,
		Seat: qemu.Seat{
			Display: env.Getenv("DISPLAY"), XAuthority: env.Getenv("XAUTHORITY"), Wayland: env.Getenv("WAYLAND_DISPLAY"),
			RuntimeDir: env.Getenv("XDG_RUNTIME_DIR"),
		},
	}, func(files []*os.File) error { return env.detachRunner(name, files) })
	clear(key)
	if errors.Is(err, runner.ErrRuns) {
		if now, e := dir.Status(ctx, env.Host); e == nil && now.PID != 0 {
			err = fmt.Errorf("%w: process %d, %s", err, now.PID, now.State)
		}
	}
	if err != nil {
		return err
	}
	defer l.Close()
	status, err := s.await(ctx, env, l, name, readyBy(e.Definition))
	if err != nil {
		return err
	}
	if s.json {
		return writeJSON(env, status)
	}
	fmt.Fprintln(env.Stdout, startedWord(name, status))
	return nil
}

// await waits for as much of the start as was asked for.
func (s *starting) await(ctx context.Context, env *Env, l *runner.Launched, name string, by guest.Ready) (now runner.Status, err error) {
	ctx, late, cancel := s.wait.within(ctx, name, by)
	defer cancel()
	type said struct {
		runner.Status
		err error
	}
	all := make(chan said)
	go func() {
		for {
			now, err := l.Next()
			select {
			case all <- said{now, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	for {
		select {
		case next := <-all:
			now = next.Status
			now.Name = name
			err = next.err
			late.saw(now)
		case <-ctx.Done():
			if err := context.Cause(ctx); err == error(late) {
				return now, err
			}
			env.errorf("the guest %s goes on starting; end it with: indy guest stop %s", name, name)
			return now, context.Cause(ctx)
		}
		_, ran := now.At(runner.PhaseRunning)
		switch {
		case now.State == runner.Failed:
			return now, newGuestFailure(now)
		case s.wait.until == "none" && now.State != "", s.wait.until == "running" && ran, s.wait.until == "ready" && now.Ready:
			return now, nil
		case now.State == runner.Stopped:
			return now, fmt.Errorf("guest %s has ended before it was %s", name, s.wait.until)
		case errors.Is(err, io.EOF):
			return now, fmt.Errorf("guest %s: its runner ended without a word", name)
		case err != nil:
			return now, err
		}
	}
}

// startedWord says how far a guest has come.
func startedWord(name string, s runner.Status) string {
	text := fmt.Sprintf("started %s: process %d", name, s.PID)
	began, _ := s.At(runner.PhaseRunner)
	if at, ok := s.At(runner.PhaseReady); ok {
		return fmt.Sprintf("%s, ready after %.2f s", text, at-began)
	}
	if at, ok := s.At(runner.PhaseRunning); ok {
		return fmt.Sprintf("%s, running after %.2f s", text, at-began)
	}
	return text
}

func newGuestStopCommand(env *Env) *cobra.Command {
	var flags reading
	var force bool
	var how runner.StopRequest
	cmd := &cobra.Command{
		Use:   "stop NAME",
		Short: "stop a guest, and give its devices back",
		Long: `Press the guest's power button, and when it has not shut itself down in time, end QEMU,
which is a power cut to the guest. It returns when QEMU has ended and the guest's devices
have been given back.

` + exitHelp,
		Args: usage(cobra.ExactArgs(1)),
	}
	timeout := cmd.Flags().Duration("timeout", defaultStop, "how long the guest may take to shut itself down")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		if *timeout <= 0 {
			return usageError{fmt.Errorf("--timeout %v: expected a time such as 30s; --force does not wait", *timeout)}
		}
		dir, err := env.guestRun(args[0])
		if err != nil {
			return err
		}
		how.Force, how.Timeout = force, timeout.Seconds()
		ctx, stop := interruptible()
		defer stop()
		now, err := stopGuest(ctx, env, dir, how)
		if err != nil {
			return err
		}
		if flags.json {
			return writeJSON(env, now)
		}
		fmt.Fprintf(env.Stdout, "stopped %s\n", args[0])
		return nil
	}
	cmd.ValidArgsFunction = completeGuests(env)
	cmd.Flags().BoolVar(&force, "force", false, "end QEMU at once, as a power cut would")
	flags.addJSON(cmd)
	return cmd
}

// stopGuest stops a guest. One that has failed is forgotten.
func stopGuest(ctx context.Context, env *Env, dir runner.Dir, how runner.StopRequest) (runner.Status, error) {
	before, err := dir.Status(ctx, env.Host)
	if err != nil {
		return before, err
	}
	switch before.State {
	case runner.Stopped:
		if err := env.known(dir.Name); err != nil {
			return before, err
		}
		return before, fmt.Errorf("guest %s is not running", dir.Name)
	case runner.Failed:
		return runner.Status{Name: dir.Name, State: runner.Stopped, Devices: []string{}, Phases: []runner.Phase{}}, dir.Forget()
	}
	now, err := dir.Stop(ctx, how)
	switch {
	case ctx.Err() != nil:
		env.errorf("the guest %s is still stopping", dir.Name)
		return now, context.Cause(ctx)
	case err != nil:
		return now, err
	case now.State == runner.Failed:
		return now, newGuestFailure(now)
	}
	return now, nil
}

// known returns nil if there is a guest of that name, also one that cannot be read.
func (e *Env) known(name string) error {
	s, err := e.guests()
	if err != nil {
		return err
	}
	if _, err := s.Read(name); errors.Is(err, fs.ErrNotExist) {
		_, err = e.findGuest(name)
		return err
	}
	return nil
}

// notRunning refuses what takes away what a guest that runs stands on.
func (e *Env) notRunning(name string) error {
	dir, err := e.guestRun(name)
	if err != nil {
		return nil // nor can it be started from here
	}
	if now, err := dir.Status(context.Background(), e.Host); err == nil && !now.Over() {
		return refusedEdit{fmt.Errorf("guest %s is %s; stop it first: indy guest stop %s", name, now.State, name)}
	}
	return nil
}
