package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/guest/store"
)

func newGuestEditCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "edit NAME [--file FILE]",
		Short: "change a guest's definition in an editor",
		Long: `Open a copy of a guest's definition in the editor that $VISUAL or $EDITOR names, and keep
what was written if it is a definition. What is none is shown with its reasons, and never
takes the place of what was there: on a terminal you are asked to mend it, and otherwise it is left in a
file that is named. --file takes what is in that file, or - for standard input, without
an editor.

What somebody else has changed meanwhile is not overwritten. A guest that runs has the
change at its next start.

` + exitHelp,
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: completeGuests(env),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := env.guests()
			if err != nil {
				return err
			}
			before, err := readToChange(env, s, args[0])
			if err != nil {
				return err
			}
			return edit(env, cmd, before, func(text []byte) error {
				_, err := s.Replace(context.Background(), before, text)
				return refused(err)
			})
		},
	}
	cmd.Flags().String("file", "", "take the definition in `FILE` instead of opening an editor")
	return cmd
}

// readToChange reads a guest that is to be changed. One whose definition is damaged can be
// mended, too.
func readToChange(env *Env, s store.Store, name string) (store.Entry, error) {
	if strings.ContainsAny(name, "/.") {
		return store.Entry{}, usageError{errors.New("name a guest; a file of your own is changed as any file is")}
	}
	before, err := env.findGuest(name)
	if err != nil && before.Text == nil {
		return before, err
	}
	if err != nil {
		env.errorf("%v", err)
	}
	if before.Locked && !s.Admin {
		return before, refused(fmt.Errorf("guest %s: %w", before.Name, store.ErrLocked))
	}
	return before, nil
}

// edit takes the definition that --file names, or what the user makes of the one that is
// there, and has it kept by replace.
func edit(env *Env, cmd *cobra.Command, before store.Entry, replace func(text []byte) error) error {
	keep := func(text []byte) error {
		if bytes.Equal(text, before.Text) {
			fmt.Fprintf(env.Stdout, "guest %s is as it was\n", before.Name)
			return nil
		}
		if err := replace(text); err != nil {
			return err
		}
		fmt.Fprintf(env.Stdout, "changed guest %s\n", before.Name)
		return nil
	}
	if !cmd.Flags().Changed("file") {
		return editGuest(env, before, keep)
	}
	file, err := cmd.Flags().GetString("file")
	if err != nil {
		return err
	}
	text, err := env.readDefinition(file)
	if err != nil {
		return err
	}
	if _, err := guest.ParseDefinition(file, text); err != nil {
		return err
	}
	return keep(text)
}

// editGuest has the user edit a copy until it is a definition, or the user gives up.
func editGuest(env *Env, before store.Entry, keep func(text []byte) error) (err error) {
	editor := or(env.Getenv("VISUAL"), or(env.Getenv("EDITOR"), "vi"))
	f, err := os.CreateTemp("", "indy-"+before.Name+"-*.yaml") // that nobody else can read
	if err != nil {
		return err
	}
	copied := f.Name()
	_, err = f.Write(before.Text)
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(copied))
	}
	for {
		if err := env.Attach(editor, copied); err != nil {
			return fmt.Errorf("the editor %q: %w; what was written is in %s", editor, err, copied)
		}
		text, err := env.readDefinition(copied)
		if err != nil {
			return err
		}
		if _, err = guest.ParseDefinition(copied, text); err == nil {
			err = keep(text)
		}
		if err == nil {
			return os.Remove(copied)
		}
		env.errorf("%v", err)
		if !askAgain(env) {
			return fmt.Errorf("guest %s is as it was; what was written is in %s, and taken by: indy guest edit %s --file %s",
				before.Name, copied, before.Name, copied)
		}
	}
}

// askAgain asks on a terminal whether to edit once more; without one nobody is asked.
func askAgain(env *Env) bool {
	in, ok := env.Stdin.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return false
	}
	fmt.Fprint(env.Stderr, "edit it again? [Y/n] ")
	answer, err := bufio.NewReader(io.LimitReader(in, 1024)).ReadString('\n')
	answer = strings.ToLower(strings.TrimSpace(answer))
	return err == nil && (answer == "" || answer == "y" || answer == "yes")
}
