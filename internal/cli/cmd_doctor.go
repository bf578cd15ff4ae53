package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/guest/qemu"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/doctor"
	"github.com/project-independence/indy/internal/hostedit"
	"github.com/project-independence/indy/internal/vflink"
)

// examining are the flags of doctor.
type examining struct {
	reading
	root                      string
	fix, undo, yes, initramfs bool
}

func newDoctorCommand(env *Env) *cobra.Command {
	var flags examining
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "is this host ready, and what would make it so",
		Long: `Look whether this host can run guests and hand devices to them, and say for
each shortcoming what to do: in the firmware's setup, on the kernel's command
line, with packages. A check is ok, a warning, a problem, or unknown where a
saved machine does not state it.

--fix shows what to change in this host's configuration files, and changes it
when you say yes: a kernel parameter that the IOMMU needs, where the boot
loader takes it from, and modules to load at each start. It runs nothing, but
says what to run afterwards. What it has changed is recorded below
/var/lib/indy/edits, and --undo takes exactly that back, also when the file has
been changed by others since. A file that is not understood is left alone, and
the line named. No device is bound at the next start.

The exit status is 1 if there is a problem.

` + exitHelp,
		Args: usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if err := flags.check(); err != nil {
				return usageError{err}
			}
			if flags.undo {
				return flags.takeBack(env)
			}
			return flags.look(env, func(m *machine) error { return flags.show(env, m) })
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&flags.root, "root", "", "where this host's files are, as for a chroot; the hardware is that of the running host, or of --from")
	cmd.Flags().BoolVar(&flags.fix, "fix", false, "show the changes of configuration files that would help, and make them")
	cmd.Flags().BoolVar(&flags.undo, "undo", false, "take back what --fix has changed")
	cmd.Flags().BoolVar(&flags.yes, "yes", false, "change without asking")
	cmd.Flags().BoolVar(&flags.initramfs, "initramfs", false, "with --fix, put VFIO's modules into the initial file system, too")
	_ = cmd.MarkFlagDirname("root")
	return cmd
}

func (f *examining) check() error {
	switch {
	case f.fix && f.undo:
		return errors.New("--fix and --undo are one or the other")
	case (f.fix || f.undo) && f.json:
		return errors.New("--json shows checks; it does not go with --fix or --undo")
	case f.yes && !f.fix && !f.undo:
		return errors.New("--yes goes with --fix or --undo")
	case f.initramfs && !f.fix:
		return errors.New("--initramfs goes with --fix")
	case f.undo && f.given():
		return errors.New("--from does not go with --undo, which looks at files alone")
	case f.fix && f.given() && f.root == "":
		return errors.New("--fix with --from needs --root: the files of a saved machine are not changed")
	}
	return nil
}

func (f *examining) show(env *Env, m *machine) error {
	report, err := f.examine(env, m)
	if err != nil {
		return err
	}
	if f.fix {
		m.err = nil // what could not be read is unknown, and calls for no edit
		return f.mend(env, report)
	}
	if f.json {
		err = writeJSON(env, struct {
			Checks []doctor.Check `json:"checks"`
		}{report.Checks})
	} else {
		writeChecks(env, report)
	}
	if n := report.Count(doctor.Problem); err == nil && n > 0 {
		err = fmt.Errorf("this host is not ready: %s", count(n, "problem"))
		if m.err != nil {
			err = errors.Join(err, partlyRead{m.err})
		}
	}
	return err
}

// examine asks more of the running host than of a saved one.
func (f *examining) examine(env *Env, m *machine) (doctor.Report, error) {
	var o doctor.Options
	if !f.given() {
		o.Names = env.Names
		leases, err := env.store().List()
		o.Leases, o.LeasesKnown = leases, err == nil
		if _, live := env.Host.(*vflink.Host); live && !f.fix {
			o.KVM, o.Root = tryKVM, os.Geteuid() == 0
		}
	}
	if f.root != "" {
		dir, err := hostfs.OpenDir(f.root)
		if err != nil {
			return doctor.Report{}, err
		}
		defer dir.Close()
		o.Files, o.Names = dir, nil
	}
	return doctor.Examine(m.fsys, m.Laptop, o), nil
}

// tryKVM runs a guest of a few instructions.
func tryKVM() (bool, string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	accelerator, why, err := qemu.Probe(ctx, qemu.Options{})
	return accelerator == qemu.KVM, why, err
}

func writeChecks(env *Env, r doctor.Report) {
	width := env.Width
	if width <= 0 {
		width = 80
	}
	ids := 0
	for _, c := range r.Checks {
		ids = max(ids, len(c.ID))
	}
	const state = 7
	colours := map[doctor.State]colour{doctor.OK: green, doctor.Warning: yellow, doctor.Problem: red, doctor.Unknown: dim}
	for _, c := range r.Checks {
		lead := env.paint(colours[c.State], string(c.State)) + strings.Repeat(" ", state-len(c.State)+gap) + c.ID + strings.Repeat(" ", ids-len(c.ID)+gap)
		writeWrapped(env.Stdout, lead, state+gap+ids+gap, width, printable(c.Detail))
		if c.State == doctor.Warning || c.State == doctor.Problem {
			writeWrapped(env.Stdout, "           seen in: ", 20, width, printable(c.Evidence))
		}
		if c.State != doctor.OK && c.Remedy != "" {
			writeWrapped(env.Stdout, "           remedy:  ", 20, width, printable(c.Remedy))
		}
	}
	fmt.Fprintf(env.Stdout, "\n%s, %s, %d unknown\n", count(r.Count(doctor.Problem), "problem"), count(r.Count(doctor.Warning), "warning"), r.Count(doctor.Unknown))
}

// writeWrapped writes words after lead, which is so many columns wide, and sets off the
// lines that follow as far.
func writeWrapped(w io.Writer, lead string, columns, width int, text string) {
	var b strings.Builder
	b.WriteString(lead)
	at := columns
	var words []string
	for word := range strings.FieldsSeq(text) {
		words = append(words, pieces(word, max(width-columns, 20))...)
	}
	for i, word := range words {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case at+1+n > width:
			b.WriteString("\n" + strings.Repeat(" ", columns))
			at = columns
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += n
	}
	fmt.Fprintln(w, b.String())
}

// pieces cuts a word that is too long for a line, after a slash if it has one.
func pieces(word string, most int) []string {
	var all []string
	for utf8.RuneCountInString(word) > most {
		line := string([]rune(word)[:most])
		if slash := strings.LastIndexByte(line, '/'); slash > 0 {
			line = line[:slash+1]
		}
		all = append(all, line)
		word = word[len(line):]
	}
	return append(all, word)
}

// refusedEdit is a file that is left alone.
type refusedEdit struct{ error }

func (e refusedEdit) Unwrap() error        { return e.error }
func (e refusedEdit) Is(target error) bool { return target == assign.ErrRefused }

func (f *examining) editor() (*hostedit.Editor, error) {
	root := f.root
	if root == "" {
		root = "/"
	}
	abs, err := filepath.Abs(root)
	return &hostedit.Editor{Root: abs}, err
}

// mend makes the edits that the checks ask for. What cannot be done so is said, and the
// rest done.
func (f *examining) mend(env *Env, r doctor.Report) error {
	editor, err := f.editor()
	if err != nil {
		return err
	}
	needs := r.Needs
	if f.initramfs && len(needs) == 0 || f.initramfs && needs[len(needs)-1].Modules == nil {
		needs = append(needs, doctor.Need{Check: "vfio", Modules: []string{"vfio-pci"}})
	}
	var edits []hostedit.Edit
	var left []error
	for _, n := range needs {
		these, err := r.Host.Edits(n, f.initramfs)
		if err != nil { // the rest of it can be done
			left = append(left, err)
		}
		c, err := editor.Prepare(these...)
		switch {
		case errors.Is(err, fs.ErrPermission):
			return asRoot(err)
		case err != nil:
			left = append(left, fmt.Errorf("%s: %w; %s", n.Check, err, byHand(n)))
			continue
		case len(these) > 0 && len(c.Files) == 0:
			fmt.Fprintf(env.Stdout, "%s: what it needs is in %s already\n", n.Check, fileNames(these))
			writeThen(env, these[0].Then)
		}
		edits = append(edits, these...)
	}
	c, err := editor.Prepare(edits...)
	if err != nil {
		return asRoot(err)
	}
	if len(c.Files) > 0 {
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
		fmt.Fprintln(env.Stdout, "indy doctor --undo takes it back")
	}
	switch {
	case len(left) > 0:
		return refusedEdit{errors.Join(left...)}
	case len(needs) > 0:
		return nil
	case r.Count(doctor.Problem) > 0:
		return errors.New("there is nothing in configuration files that would help; indy doctor says what would")
	}
	fmt.Fprintln(env.Stdout, "nothing has to be changed")
	return nil
}

func byHand(n doctor.Need) string {
	if n.Parameter != "" {
		return "add " + n.Parameter + " to the kernel's parameters by hand"
	}
	return "have " + strings.Join(n.Modules, " ") + " loaded at each start by hand"
}

func fileNames(edits []hostedit.Edit) string {
	var names []string
	for _, e := range edits {
		names = append(names, "/"+e.File)
	}
	return printable(strings.Join(names, ", "))
}

// takeBack undoes what is recorded.
func (f *examining) takeBack(env *Env) error {
	editor, err := f.editor()
	if err != nil {
		return err
	}
	c, left := editor.PrepareUndo()
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
func (f *examining) confirm(env *Env) error {
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
