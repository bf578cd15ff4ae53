package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/guest/image"
	"github.com/project-independence/indy/guest/store"
)

func newGuestCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "guest",
		Short: "guests: their definitions, and to start, watch and stop them",
		Long: `A guest is a definition: what it has, what it needs of the laptop it runs on, and when it
starts. Definitions name no addresses, and so mean something on any laptop. They are
kept below /var/lib/indy/guests by root, and by others below indy/guests in
$XDG_DATA_HOME, or in ~/.local/share without that.

A guest that was started has a process of its own, which goes on when the command has
ended. What is to be known of it meanwhile is below /run/indy/guests, or below
indy/guests in $XDG_RUNTIME_DIR.

` + exitHelp,
		Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newGuestListCommand(env), newGuestShowCommand(env), newGuestCreateCommand(env), newGuestImportCommand(env),
		newGuestEditCommand(env), newGuestDeleteCommand(env), newGuestStartCommand(env), newGuestStopCommand(env),
		newGuestSuspendCommand(env), newGuestResumeCommand(env), newGuestStatusCommand(env), newGuestConsoleCommand(env),
		newGuestScreenshotCommand(env), newGuestLogCommand(env), newGuestEventsCommand(env), newGuestTopCommand(env),
		newGuestBootReportCommand(env), newGuestRunnerCommand(env), newGuestAttendCommand(env))
	env.orDaemon(cmd)
	return cmd
}

// guestDir is where definitions are kept: of root with the state of the machine, of others
// with their data, as the XDG Base Directory Specification has it.
func guestDir(uid int, getenv func(string) string) string {
	if uid == 0 {
		return "/var/lib/indy/guests"
	}
	data := getenv("XDG_DATA_HOME")
	if !filepath.IsAbs(data) { // what is relative is to be ignored
		home := getenv("HOME")
		if !filepath.IsAbs(home) {
			return ""
		}
		data = filepath.Join(home, ".local", "share")
	}
	return filepath.Join(data, "indy", "guests")
}

func (e *Env) guests() (store.Store, error) {
	if e.GuestDir == "" {
		return store.Store{}, errors.New("neither XDG_DATA_HOME nor HOME says where guests are kept")
	}
	return store.Store{Dir: e.GuestDir, Admin: os.Geteuid() == 0}, nil
}

// findGuest returns the guest with that name, or the definition in a file: a word with a
// slash or a dot is never a name.
func (e *Env) findGuest(word string) (store.Entry, error) {
	if strings.ContainsAny(word, "/.") {
		text, err := e.readDefinition(word)
		if err != nil {
			return store.Entry{}, err
		}
		d, err := guest.ParseDefinition(word, text)
		return store.Entry{Definition: d, Text: text, Dir: filepath.Dir(word)}, err
	}
	s, err := e.guests()
	if err != nil {
		return store.Entry{}, err
	}
	found, err := s.Read(word)
	if errors.Is(err, fs.ErrNotExist) {
		err = usageError{fmt.Errorf("there is no guest %s; indy guest list says which there are, and a file is named with its folder, as in ./%s", word, word)}
	}
	return found, err
}

// readDefinition reads a file, or standard input for -, no further than a definition
// may go.
func (e *Env) readDefinition(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(io.LimitReader(e.Stdin, guest.MaxDefinition+1))
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, guest.MaxDefinition+1))
}

// completeGuests offers the names of guests.
func completeGuests(env *Env) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		s, err := env.guests()
		if err != nil || len(args) > 0 {
			return nil, cobra.ShellCompDirectiveDefault
		}
		all, _ := s.List() // of what cannot be read nothing is offered
		var offered []cobra.Completion
		for _, g := range all {
			if strings.HasPrefix(g.Name, prefix) {
				offered = append(offered, g.Name)
			}
		}
		return offered, cobra.ShellCompDirectiveDefault
	}
}

// refused makes what is refused of it end in the status for that.
func refused(err error) error {
	var tricky *image.RefusedError
	if errors.As(err, &tricky) || errors.Is(err, store.ErrLocked) {
		return refusedEdit{err}
	}
	return err
}

// checkImage reads the header of the image in a file, which stays open. A block device has
// no header but what guests wrote.
func checkImage(name string, format image.Format) (*os.File, image.Info, error) {
	return checkImageOf(name, format, guest.Key{})
}

// checkImageOf is checkImage of a disk with a key, by which it must be encrypted.
func checkImageOf(name string, format image.Format, key guest.Key) (*os.File, image.Info, error) {
	f, err := openImage(name)
	if err != nil {
		return nil, image.Info{}, err
	}
	st, err := f.Stat()
	var info image.Info
	switch {
	case err != nil:
	case st.Mode()&fs.ModeDevice != 0 && st.Mode()&fs.ModeCharDevice == 0 && format == image.Raw:
	case !st.Mode().IsRegular():
		err = fmt.Errorf("%s is no file", name)
	default:
		if key.Kind != guest.NoKey {
			info, err = image.CheckEncrypted(f, st.Size())
		} else {
			info, err = image.Check(f, st.Size(), format)
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", name, err)
		}
	}
	if err != nil {
		_ = f.Close()
		return nil, image.Info{}, refused(err)
	}
	return f, info, nil
}

// imageFormat returns the format of an image from what was said, or else from the
// name of its file.
func imageFormat(file, said string) (image.Format, error) {
	known := image.Formats()
	if said != "" {
		if f := image.Format(said); slices.Contains(known, f) {
			return f, nil
		}
		return "", usageError{fmt.Errorf("format %q is not known; expected raw, qcow2, vmdk, vhdx, vhd, vdi or iso", said)}
	}
	ext := strings.TrimPrefix(filepath.Ext(file), ".")
	switch ext {
	case "img":
		ext = "raw"
	case "vpc":
		ext = "vhd"
	}
	if f := image.Format(ext); slices.Contains(known, f) {
		return f, nil
	}
	looks := ""
	if f, err := openImage(file); err == nil {
		defer f.Close()
		if st, err := f.Stat(); err == nil && st.Mode().IsRegular() {
			if l, err := image.Looks(f, st.Size()); err == nil && l != "" {
				looks = fmt.Sprintf(" (it looks like %s)", l)
			}
		}
	}
	return "", usageError{fmt.Errorf("%s: its name does not say what it is, which is never guessed%s; add ,format=raw or what it is", file, looks)}
}

// openImage opens a file to look at it. It does not wait for a FIFO.
func openImage(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
}
