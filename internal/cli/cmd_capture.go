package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/laptop"
)

func newCaptureCommand(env *Env) *cobra.Command {
	var flags reading
	var raw, config bool
	cmd := &cobra.Command{
		Use:   "capture FILE",
		Short: "save this machine, for --from",
		Long: `Save what the reading commands need of this machine as FILE: .txtar to read and
review, or .tar, .tar.gz, .tar.zst. Every reading command takes it with --from. An
older saved machine is replaced; any other file is left alone.

Serial numbers, MAC addresses, UUIDs and host names are replaced, equal ones by equal
ones, unless --raw is given; vital product data, which is little else, is taken only
with --raw and --config. No sleeping device is woken without --config.

Root sees more than others. What nobody but root may read is named and no failure;
what could not be read for another reason is one, after the rest was saved.

` + exitHelp,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			fsys, done, err := flags.open(env)
			if err != nil {
				return err
			}
			defer done()
			opts := hostfs.CaptureOptions{Raw: raw, Config: config || flags.from != "", Wake: flags.from != ""}
			tree, cerr := hostfs.Capture(fsys, opts)
			if tree == nil {
				return cerr
			}
			// What could not be read of the machine Capture has said.
			m, _ := laptop.ReadMachine(tree)
			comment := fmt.Sprintf("%s, captured by indy %s on %s.\n", or(m.String(), "A machine that does not say what it is"),
				env.Version, time.Now().UTC().Format(time.DateOnly))
			if m.CPU != "" {
				comment += fmt.Sprintf("%s, %d threads, %d MiB of memory.\n", m.CPU, m.Threads, m.Memory>>20)
			}
			if err := hostfs.Save(args[0], tree, comment+opts.Comment()); err != nil {
				return err
			}
			saved := capture{File: args[0], Files: countFiles(tree), Unreadable: []unread{}}
			if st, err := os.Stat(args[0]); err == nil {
				saved.Bytes = st.Size()
			}
			var others []error
			for _, err := range append(joined(flags.partly), joined(cerr)...) {
				saved.Unreadable = append(saved.Unreadable, newUnread(err, flags.from))
				if !errors.Is(err, fs.ErrPermission) {
					others = append(others, err)
				}
			}
			if flags.json {
				err = writeJSON(env, saved)
			} else {
				fmt.Fprintf(env.Stdout, "saved as %s, %d files; look at it with: indy devices --from %s\n", args[0], saved.Files, args[0])
				env.sayUnread(saved.Unreadable)
			}
			if len(others) > 0 {
				err = partlyRead{errors.Join(append([]error{err}, others...)...)}
			}
			return err
		},
	}
	cmd.Flags().StringVar(&flags.from, "from", "", "capture from this saved machine or report instead of this host, to convert it")
	flags.addJSON(cmd)
	cmd.Flags().BoolVar(&raw, "raw", false, "keep serial numbers, MAC addresses, UUIDs and host names")
	cmd.Flags().BoolVar(&config, "config", false, "also take the config space of each function, which may wake it")
	return cmd
}

// A capture is what --json says of one.
type capture struct {
	File       string   `json:"file"`
	Files      int      `json:"files"` // in it
	Bytes      int64    `json:"bytes"` // that it takes
	Unreadable []unread `json:"unreadable"`
}

// An unread is one file, link or directory that could not be read, or what of a report.
type unread struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`

	denied bool
}

// newUnread makes one of an error, which is about a file of the machine or, of a
// report, about a record in the file from.
func newUnread(err error, from string) unread {
	u := unread{Path: from, Reason: printable(err.Error()), denied: errors.Is(err, fs.ErrPermission)}
	var p *fs.PathError
	if errors.As(err, &p) {
		u.Path, u.Reason = printable(p.Path), printable(p.Err.Error())
	}
	return u
}

// joined returns the errors of which err is joined.
func joined(err error) []error {
	if err == nil {
		return nil
	}
	if all, ok := err.(interface{ Unwrap() []error }); ok {
		return all.Unwrap()
	}
	return []error{err}
}

func countFiles(tree fs.FS) (n int) {
	_ = fs.WalkDir(tree, ".", func(_ string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			n++
		}
		return nil
	})
	return n
}

// sayUnread says on standard error which files the caller may not read, in a few
// lines: those of one name, which many devices have, and then those of a directory.
func (e *Env) sayUnread(all []unread) {
	byName, byDir := map[string][]string{}, map[string][]string{}
	denied := 0
	for _, u := range all {
		if u.denied {
			denied++
			byName[path.Base(u.Path)] = append(byName[path.Base(u.Path)], u.Path)
		}
	}
	if denied == 0 {
		return
	}
	var lines []string
	for name, paths := range byName {
		if len(paths) > 2 {
			lines = append(lines, fmt.Sprintf("%d called %s, as %s", len(paths), name, slices.Min(paths)))
			continue
		}
		for _, p := range paths {
			byDir[path.Dir(p)] = append(byDir[path.Dir(p)], name)
		}
	}
	for dir, names := range byDir {
		slices.Sort(names)
		lines = append(lines, dir+": "+strings.Join(names, ", "))
	}
	slices.Sort(lines)
	how := "could not be read; root may"
	if os.Geteuid() == 0 {
		how = "could not be read, permission denied to root"
	}
	files := "1 file"
	if denied > 1 {
		files = fmt.Sprintf("%d files", denied)
	}
	e.errorf("%s %s:\n%s", files, how, strings.Join(lines, "\n"))
}
