package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/doctor"
	"github.com/project-independence/indy/internal/earlybind"
	"github.com/project-independence/indy/internal/hostedit"
	"github.com/project-independence/indy/pci"
)

// binding are the flags of early.
type binding struct {
	reading
	request
	editing
	undo bool
}

func newEarlyCommand(env *Env) *cobra.Command {
	var flags binding
	cmd := &cobra.Command{
		Use:   "early [DEVICE...]",
		Short: "devices that vfio-pci takes at each start, before their host driver",
		Long: `Have vfio-pci take devices when the machine starts, before their host driver can
touch them; without a device, list those for which that is set up.

For each function a file below /etc/modprobe.d and a rule of udev are written, which
name it by its address and its ids, and vfio-pci is put into the initial file system.
Nothing changes until the next start; to hand a device over now, there is indy assign.
What is refused there is refused here. The change is shown first and recorded below
/var/lib/indy/edits, and --undo takes it back, of the devices named or of all.

A machine that does not come up as it should is started once with ` + earlybind.Off + `
on the kernel's command line, and lets all devices be. A driver that is built into the
kernel has its device before any file is read, so that nothing can be earlier.

` + exitHelp,
		ValidArgsFunction: completeDevices(env),
		RunE: func(_ *cobra.Command, args []string) error {
			switch {
			case flags.undo:
				return flags.takeBack(env, args)
			case len(args) == 0:
				return flags.list(env)
			case flags.json:
				return usageError{errors.New("--json lists; it does not go with a device")}
			}
			return flags.bind(env, args)
		},
	}
	flags.addJSON(cmd)
	flags.request.add(cmd)
	flags.editing.add(cmd)
	cmd.Flags().StringVar(&flags.from, "from", "", "the hardware of the machine saved there; needs --root")
	flags.given = func() bool { return cmd.Flags().Changed("from") }
	cmd.Flags().BoolVar(&flags.undo, "undo", false, "take it back, for the devices named or for all")
	return cmd
}

// files opens the file system whose configuration is looked at.
func (b *binding) files(env *Env) (fs.FS, func(), error) {
	if b.root == "" {
		return env.Host, func() {}, nil
	}
	dir, err := hostfs.OpenDir(b.root)
	if err != nil {
		return nil, nil, err
	}
	return dir, func() { _ = dir.Close() }, nil
}

func (b *binding) bind(env *Env, words []string) error {
	if b.given() && b.root == "" {
		return usageError{errors.New("--from needs --root: the files of a saved machine are not changed")}
	}
	return b.look(env, func(m *machine) error {
		if _, err := m.functions(words); err != nil {
			return err // vfio-pci takes functions
		}
		p, err := b.plan(m, words)
		if err != nil {
			return err
		}
		files, done, err := b.files(env)
		if err != nil {
			return err
		}
		defer done()
		functions := make([]earlybind.Function, len(p.Devices))
		for i, a := range p.Devices {
			if functions[i], err = earlybind.Read(m.fsys, a); err != nil {
				return err
			}
		}
		edits, err := earlybind.Edits(doctor.ReadHost(m.fsys, files), functions)
		if err != nil {
			return refusedEdit{err}
		}
		editor, err := b.editor()
		if err != nil {
			return err
		}
		c, err := editor.Prepare(edits...)
		if err != nil {
			return asRoot(err)
		}
		if len(c.Files) == 0 {
			fmt.Fprintf(env.Stdout, "%s: set up already\n", joinAddresses(p.Devices))
			return nil
		}
		writeFindings(env, p.Findings)
		if err := b.make(env, editor, c); err != nil {
			return err
		}
		fmt.Fprintf(env.Stdout, "vfio-pci takes %s from the next start on; indy early --undo takes that back,\nand %s on the kernel's command line leaves it out once\n",
			joinAddresses(p.Devices), earlybind.Off)
		return nil
	})
}

func (b *binding) takeBack(env *Env, words []string) error {
	if b.given() || b.json {
		return usageError{errors.New("--undo looks at files alone; --from and --json do not go with it")}
	}
	files, done, err := b.files(env)
	if err != nil {
		return err
	}
	defer done()
	set, unread := earlybind.List(files)
	var named, kept []pci.Address
	for _, w := range words {
		a, err := pci.ParseAddress(strings.TrimPrefix(w, "pci:"))
		if err != nil {
			devices, err := readMachine(env, env.Host).functions([]string{w})
			if err != nil {
				return err
			}
			a = devices[0]
		}
		if !slices.ContainsFunc(set, func(f earlybind.Function) bool { return f.Address == a }) {
			return errors.Join(fmt.Errorf("%s is not bound early; indy early lists what is", a), unread)
		}
		named = append(named, a)
	}
	for _, f := range set {
		switch {
		case len(words) == 0:
			named = append(named, f.Address)
		case !slices.Contains(named, f.Address):
			kept = append(kept, f.Address)
		}
	}
	return b.undoRecorded(env, earlybind.Undo(named, len(kept) > 0))
}

func (b *binding) list(env *Env) error {
	if b.given() || b.yes {
		return usageError{errors.New("name the devices, or --undo")}
	}
	files, done, err := b.files(env)
	if err != nil {
		return err
	}
	defer done()
	set, err := earlybind.List(files)
	type line struct {
		Device  pci.Address `json:"device"`
		Modules []string    `json:"modules"`
		Driver  string      `json:"driver"`
	}
	lines := []line{}
	for _, f := range set {
		driver, _ := pci.Driver(env.Host, f.Address) // it may not be there now
		lines = append(lines, line{f.Address, append([]string{}, f.Modules...), driver})
	}
	if b.json {
		return errors.Join(writeJSON(env, map[string][]line{"early": lines}), err)
	}
	if len(lines) == 0 {
		fmt.Fprintln(env.Stdout, "no device is bound early")
		return err
	}
	var t table
	t.add("DEVICE", "BEFORE", "DRIVER NOW")
	for _, l := range lines {
		t.add(l.Device.String(), strings.Join(l.Modules, ","), or(l.Driver, "-"))
	}
	t.write(env, env.Stdout)
	return err
}

// recordedByDoctor are the edits that indy doctor takes back: all that nothing else does.
func recordedByDoctor(r hostedit.Record) bool { return r.For == "" }
