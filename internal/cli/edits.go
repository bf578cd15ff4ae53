package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/internal/hostedit"
)

// editing are the flags of commands that change the host's configuration files.
type editing struct {
	root string
	yes  bool
}

func (f *editing) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.root, "root", "", "where this host's files are, as for a chroot; the hardware is that of the running host, or of --from")
	cmd.Flags().BoolVar(&f.yes, "yes", false, "change without asking")
	_ = cmd.MarkFlagDirname("root")
}

// refusedEdit is a file that is left alone.
type refusedEdit struct{ error }

func (e refusedEdit) Unwrap() error        { return e.error }
func (e refusedEdit) Is(target error) bool { return target == assign.ErrRefused }

func (f *editing) editor() (*hostedit.Editor, error) {
	root := f.root
	if root == "" {
		root = "/"
	}
	abs, err := filepath.Abs(root)
	return &hostedit.Editor{Root: abs}, err
}

// make shows a change, asks, and carries it out.
func (f *editing) make(env *Env, editor *hostedit.Editor, c *hostedit.Change) error {
	writeDiff(env, c)
	if err := f.confirm(env); err != nil {
		return err
	}
	if err := editor.Apply(c); err != nil {
		return editError(err)
	}
	for _, file := range c.Files {
		fmt.Fprintf(env.Stdout, "changed %s\n", printable(file.Path))
	}
	writeThen(env, c.Then)
	return nil
}

// undoRecorded takes back what is recorded and wanted.
func (f *editing) undoRecorded(env *Env, wanted func(hostedit.Record) bool) error {
	editor, err := f.editor()
	if err != nil {
		return err
	}
	c, left := editor.PrepareUndo(wanted)
	if len(c.Files) == 0 {
		if errors.Is(left, fs.ErrPermission) {
			return asRoot(left) // nothing was refused
		}
		if left != nil {
			return refusedEdit{left}
		}
		fmt.Fprintln(env.Stdout, "nothing is recorded that could be taken back")
		return nil
	}
	diff := c.Diff() != ""
	if diff {
		writeDiff(env, c)
		if err := f.confirm(env); err != nil {
			return err
		}
	}
	if err := editor.Undo(c); err != nil {
		return editError(err)
	}
	for _, file := range c.Files {
		fmt.Fprintf(env.Stdout, "%s: %s\n", printable(file.Path), outcome(file.Outcome))
	}
	writeThen(env, c.Then)
	if left != nil {
		return refusedEdit{left}
	}
	return nil
}

func outcome(o hostedit.Outcome) string {
	switch o {
	case hostedit.Restored:
		return "is as it was"
	case hostedit.TakenOut:
		return "what was added is taken out; what others changed is kept"
	}
	return "what was added is gone already"
}

// writeDiff writes a diff, with what is not printable replaced but for tabs.
func writeDiff(env *Env, c *hostedit.Change) {
	for line := range strings.Lines(c.Diff()) {
		paint := plain
		switch {
		case strings.HasPrefix(line, "+"):
			paint = green
		case strings.HasPrefix(line, "-"):
			paint = red
		}
		cells := strings.Split(strings.TrimRight(line, "\r\n"), "\t")
		for i := range cells {
			cells[i] = printable(cells[i])
		}
		fmt.Fprintln(env.Stdout, env.paint(paint, strings.Join(cells, "\t")))
	}
	fmt.Fprintln(env.Stdout)
}

func writeThen(env *Env, then []string) {
	for _, command := range then {
		fmt.Fprintf(env.Stdout, "now: %s\n", printable(command))
	}
}

// confirm asks on a terminal.
func (f *editing) confirm(env *Env) error {
	if f.yes {
		return nil
	}
	in, ok := env.Stdin.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return usageError{errors.New("there is no terminal to ask on; --yes makes this change")}
	}
	fmt.Fprint(env.Stderr, "make this change? type yes: ")
	answer, err := bufio.NewReader(io.LimitReader(in, 1024)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if strings.TrimSpace(answer) != "yes" {
		return errors.New("nothing was changed")
	}
	return nil
}

func asRoot(err error) error {
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		return fmt.Errorf("%w; run it as root", err)
	}
	return err
}

func editError(err error) error {
	if partial, ok := errors.AsType[*hostedit.PartialError](err); ok {
		return &assign.PartialError{Cause: partial.Err, Left: partial.Left}
	}
	return asRoot(err)
}
