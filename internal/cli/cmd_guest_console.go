package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/project-independence/indy/internal/runner"
)

// hangUp is the key that ends a console, Ctrl-].
const hangUp = 0x1d

func newGuestConsoleCommand(env *Env) *cobra.Command {
	var kept bool
	cmd := &cobra.Command{
		Use:   "console NAME",
		Short: "this terminal as that on the guest's first serial port",
		Long: `Show what the guest writes to its first serial port, beginning with the last of what it
wrote before, and send it what is typed. On a terminal every key goes to the guest, Ctrl-C
too; Ctrl-] ends. Without one it ends with the guest. Several may look on, and type.

With --kept it prints what is kept of the console and ends, also of a guest that failed.

` + exitHelp,
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: completeGuests(env),
		RunE: func(_ *cobra.Command, args []string) error {
			dir, err := env.guestRun(args[0])
			if err != nil {
				return err
			}
			if kept {
				return env.printKept(dir, dir.Console())
			}
			if dir, err = env.runningGuest(args[0]); err != nil {
				return err
			}
			return env.console(dir)
		},
	}
	cmd.Flags().BoolVar(&kept, "kept", false, "print what is kept of it, and end")
	return cmd
}

// console connects standard input and output with the guest's serial port.
func (e *Env) console(dir runner.Dir) error {
	conn, err := dir.Attach(context.Background())
	if err != nil {
		return err
	}
	return e.talk(context.Background(), conn, dir.Name)
}

// talk connects standard input and output with the serial port of a guest, and closes that.
func (e *Env) talk(ctx context.Context, conn io.ReadWriteCloser, name string) error {
	defer conn.Close()
	if f, ok := e.Stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		before, err := term.MakeRaw(int(f.Fd()))
		if err != nil {
			return err
		}
		defer func() { _ = term.Restore(int(f.Fd()), before) }()
		fmt.Fprintf(e.Stderr, "the console of %s; Ctrl-] ends\r\n", name)
		defer fmt.Fprint(e.Stderr, "\r\n")
	}
	ended := make(chan error, 2)
	go func() { // a Read that waits when the guest ends is left to end with this process
		typed, err := typeUntil(conn, e.Stdin, hangUp)
		if typed || err != nil {
			ended <- err
		}
	}()
	go func() {
		_, err := io.Copy(e.Stdout, conn)
		ended <- err
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// typeUntil copies what is typed to w until the key for that, and reports whether it came.
func typeUntil(w io.Writer, in io.Reader, key byte) (bool, error) {
	buf := make([]byte, 1024)
	for {
		n, err := in.Read(buf)
		text, _, found := bytes.Cut(buf[:n], []byte{key})
		if len(text) > 0 {
			if _, err := w.Write(text); err != nil {
				return false, err
			}
		}
		switch {
		case found:
			return true, nil
		case errors.Is(err, io.EOF):
			return false, nil
		case err != nil:
			return false, err
		}
	}
}
