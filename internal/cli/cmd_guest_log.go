package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/internal/runner"
)

func newGuestLogCommand(env *Env) *cobra.Command {
	return env.tapeCommand("log", "what there is to tell of a guest's run", `Print what the process of a guest has to tell of its last run, the newest at the end.`,
		runner.Dir.Log, runner.Dir.FollowLog)
}

func newGuestEventsCommand(env *Env) *cobra.Command {
	return env.tapeCommand("events", "what happened to a guest, as JSON", `Print the events of a guest's run, a JSON document a line: "time", "at" in seconds since
the kernel started, "name", and "data". The name "state" is of ours, with the new state;
all others are events of QEMU, and their data is as QEMU's QMP reference says.`,
		runner.Dir.Events, runner.Dir.FollowEvents)
}

// tapeCommand makes a command that prints what a runner keeps.
func (e *Env) tapeCommand(name, short, long string, file func(runner.Dir) string, follow func(runner.Dir, context.Context) (io.ReadCloser, error)) *cobra.Command {
	var on bool
	cmd := &cobra.Command{
		Use: name + " NAME", Short: short, Long: long + "\n\n" + exitHelp,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			dir, err := e.guestRun(args[0])
			if err != nil {
				return err
			}
			if on {
				if dir, err = e.runningGuest(args[0]); err != nil {
					return err
				}
				ctx, stop := interruptible()
				defer stop()
				r, err := follow(dir, ctx)
				if err != nil {
					return orInterrupt(ctx, err)
				}
				defer r.Close()
				_, err = io.Copy(plainWriter{e.Stdout}, r)
				return orInterrupt(ctx, err)
			}
			return e.printKept(dir, file(dir))
		},
	}
	cmd.ValidArgsFunction = completeGuests(e)
	cmd.Flags().BoolVarP(&on, "follow", "f", false, "go on with what comes, until the guest has ended")
	return cmd
}

// maxKept is the most that is printed of what a runner has kept in a file.
const maxKept = 4 << 20

// printKept prints a file of a guest's run.
func (e *Env) printKept(dir runner.Dir, file string) error {
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if err := e.known(dir.Name); err != nil {
			return err
		}
		return fmt.Errorf("guest %s is not running, and its last run ended well, so nothing is kept of it", dir.Name)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(plainWriter{e.Stdout}, io.LimitReader(f, maxKept))
	return err
}

// plainWriter writes text of others, in which nothing acts on a terminal.
type plainWriter struct{ w io.Writer }

// Write writes p with U+FFFD for each character but line breaks and tabs that is not printable.
func (p plainWriter) Write(b []byte) (int, error) {
	text := make([]rune, 0, len(b))
	for _, r := range string(b) {
		switch r {
		case '\n', '\t':
			text = append(text, r)
			continue
		case '\r': // before each line break on a serial port
			continue
		}
		text = append(text, []rune(printable(string(r)))...)
	}
	_, err := io.WriteString(p.w, string(text))
	return len(b), err
}

func newGuestScreenshotCommand(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:   "screenshot NAME FILE.png",
		Short: "the picture on a guest's screen, as a file",
		Long: `Write the picture on a guest's screen to a file, which is made or replaced, or to
standard output for -. It is PNG. A guest without a display, or with an assigned one, has no
picture that could be had.

` + exitHelp,
		Args:              usage(cobra.ExactArgs(2)),
		ValidArgsFunction: completeGuests(env),
		RunE: func(_ *cobra.Command, args []string) error {
			dir, err := env.runningGuest(args[0])
			if err != nil {
				return err
			}
			if args[1] == "-" {
				return dir.Screenshot(context.Background(), env.Stdout)
			}
			return replaceFile(args[1], func(w io.Writer) error { return dir.Screenshot(context.Background(), w) })
		},
	}
}

// replaceFile writes a file whole, or leaves what is there.
func replaceFile(name string, write func(io.Writer) error) error {
	f, err := os.OpenFile(name+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	err = errors.Join(write(f), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
