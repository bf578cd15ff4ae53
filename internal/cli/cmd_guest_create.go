package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/guest/image"
	"github.com/project-independence/indy/guest/qemu"
	"github.com/project-independence/indy/guest/store"
)

// creating are the flags of guest create and import.
type creating struct {
	template     string
	iso          string
	disks        []string
	size, memory string
	cpus         int
	locked       bool
	system       bool
	encrypt      encryption
}

func (c *creating) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.template, "template", "linux", "what to begin with: "+templateNames())
	f.StringVar(&c.memory, "memory", "", "memory of the guest, such as 8GiB")
	f.IntVar(&c.cpus, "cpus", 0, "processors of the guest")
	c.encrypt.add(cmd)
	f.BoolVar(&c.locked, "locked", false, "let nobody but administrators change it")
	_ = cmd.RegisterFlagCompletionFunc("template", cobra.FixedCompletions(strings.Split(templateNames(), ", "), cobra.ShellCompDirectiveNoFileComp))
}

func templateNames() string {
	var names []string
	for _, t := range guest.Templates() {
		names = append(names, t.Name)
	}
	return strings.Join(names, ", ")
}

func newGuestCreateCommand(env *Env) *cobra.Command {
	var flags creating
	var list strings.Builder
	for _, t := range guest.Templates() {
		fmt.Fprintf(&list, "  %-12s%s\n", t.Name, t.Summary)
	}
	cmd := &cobra.Command{
		Use:   "create NAME [--iso FILE] [--disk FILE]... [--size SIZE]",
		Short: "make a guest, from an installer, a disk image or a template",
		Long: `Make the definition of a guest, from a template:

` + list.String() + `
Without --disk an empty disk is made for it, a qcow2 image as large as the template or
--size says, which takes up no more than is written to it; qemu-img makes it. With --iso
an installer is in its CD-ROM drive, and starts as long as the disk is empty.

Images named by --disk are those that the guest writes to, where they are: raw disks and
qcow2. One of another format (vmdk, vhdx, vhd, vdi) is read once and made a qcow2 image
of. Which format it is the name says, or FILE,format=FORMAT; it is never guessed. An image
that refers to other files, or is otherwise more than it seems, is refused.

With --encrypt the disk that is made is encrypted by LUKS. Its passphrase is asked for now
and at each start, or read from --key-file. With --encrypt=credential or --encrypt=tpm its
key is a random one in a file, encrypted by systemd-creds with a key of this host or of its
TPM: the guest then starts by itself, and on no other host. Nobody can open a disk whose
passphrase or credential is lost.

With --system the daemon is asked to make it, for all who may use the machine's guests;
indy guest edit and delete then ask it, too. Root's guests are always those.

` + exitHelp,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			ctx, stop := interruptible()
			defer stop()
			return orInterrupt(ctx, flags.create(ctx, env, args[0]))
		},
	}
	flags.add(cmd)
	f := cmd.Flags()
	f.StringVar(&flags.iso, "iso", "", "CD-ROM `FILE` to install from")
	f.StringArrayVar(&flags.disks, "disk", nil, "`FILE` with a disk image, or FILE,format=FORMAT")
	f.BoolVar(&flags.system, "system", false, "make it a guest of the machine, which the daemon has, not one of your own")
	f.StringVar(&flags.size, "size", "", "size of the disk that is made, such as 40GiB")
	return cmd
}

// A making is a disk that a new guest is to have.
type making struct {
	file   string   // in the guest's folder, to be made
	size   int64    // of an empty disk
	from   *os.File // or what it is made of
	format image.Format
}

// create makes a guest. Of one that fails nothing is left.
func (c *creating) create(ctx context.Context, env *Env, name string) error {
	s, err := env.guests()
	if err != nil {
		return err
	}
	d, size, err := c.define(name)
	if err != nil {
		return usageError{err}
	}
	var todo []making
	defer func() {
		for _, m := range todo {
			if m.from != nil {
				_ = m.from.Close()
			}
		}
	}()
	if err := c.encrypt.check(); err != nil {
		return err
	}
	if len(c.disks) > 0 {
		if c.size != "" {
			return usageError{errors.New("--size is that of a disk that is made; it does not go with --disk")}
		}
		bus := d.Disks[0].Bus
		d.Disks = nil
		for _, word := range c.disks {
			disk, m, err := takeDisk(word, bus)
			if m.from != nil {
				todo = append(todo, m)
			}
			if err != nil {
				return err
			}
			if c.encrypt.word != "" && m.from == nil {
				return usageError{fmt.Errorf("--encrypt is of a disk that is made; %s is used where it is, and of what is encrypted already the definition says so (key: passphrase)", disk.File)}
			}
			d.Disks = append(d.Disks, disk)
		}
	} else {
		todo = append(todo, making{file: d.Disks[0].File, size: size})
	}
	for i := range d.Disks {
		d.Disks[i].Key = c.encrypt.of(name)
	}
	var notes []string
	if c.iso != "" {
		note, err := takeISO(&d, c.iso)
		if err != nil {
			return err
		}
		notes = append(notes, note...)
	}
	if err := d.Validate(); err != nil {
		return usageError{err}
	}
	if c.system && env.Socket != "" {
		if c.encrypt.word == byCredential || c.encrypt.word == byTPM {
			return cannot{fmt.Errorf("the daemon makes no credentials; root does: indy guest create %s --encrypt=%s", name, c.encrypt.word)}
		}
		key, err := c.encrypt.secret(ctx, env, name)
		if err != nil {
			return err
		}
		for _, n := range notes {
			env.errorf("%s", n)
		}
		return createBy(ctx, env, d, todo, key)
	}
	for _, m := range todo {
		if _, err := os.Lstat(filepath.Join(s.Folder(name), m.file)); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is there already, of a guest that was deleted; delete it, or give it to the guest by --disk", filepath.Join(s.Folder(name), m.file))
		}
	}
	key, err := c.encrypt.secret(ctx, env, name)
	if err != nil {
		return err
	}
	if key != nil {
		defer clear(key.Secret)
	}
	made, err := s.Create(ctx, d.YAML())
	if err != nil {
		return refused(err)
	}
	if err = c.encrypt.seal(ctx, filepath.Join(made.Dir, c.encrypt.of(name).File), key); err == nil {
		err = makeDisks(ctx, made, todo, key)
	}
	if err != nil {
		_, derr := s.Delete(context.WithoutCancel(ctx), made, true)
		return errors.Join(err, derr)
	}
	for _, n := range notes {
		env.errorf("%s", n)
	}
	fmt.Fprintf(env.Stdout, "made guest %s; look at it with: indy guest show %s\n", name, name)
	return nil
}

// define makes a definition of the template and the flags, and says how large its disk is to be.
func (c *creating) define(name string) (guest.Definition, int64, error) {
	all := guest.Templates()
	i := slices.IndexFunc(all, func(t guest.Template) bool { return t.Name == c.template })
	if i < 0 {
		return guest.Definition{}, 0, fmt.Errorf("there is no template %q; expected %s", c.template, templateNames())
	}
	d, size := all[i].Definition, all[i].DiskSize
	d.Name, d.Locked = name, c.locked
	errs := []error{guest.ValidateName(name)}
	if c.cpus != 0 {
		d.CPUs = c.cpus
	}
	if c.cpus < 0 {
		errs = append(errs, fmt.Errorf("--cpus: %d are none", c.cpus))
	}
	for _, f := range []struct {
		word string
		size *int64
	}{{c.memory, &d.Memory}, {c.size, &size}} {
		if f.word != "" {
			n, err := guest.ParseSize(f.word)
			*f.size = n
			errs = append(errs, err)
		}
	}
	const least = 1 << 20
	if err := errors.Join(errs...); err != nil {
		return d, size, err
	}
	if size < least || size > image.MaxVirtual || size%512 != 0 {
		return d, size, fmt.Errorf("--size: %s is not between 1MiB and %s in whole sectors of 512 bytes", guest.FormatSize(size), guest.FormatSize(image.MaxVirtual))
	}
	return d, size, nil
}

// takeDisk checks the image that a word names. One that is not used where it is comes back open.
func takeDisk(word string, bus guest.Bus) (guest.Disk, making, error) {
	file, said, given := strings.Cut(word, ",format=")
	if given && said == "" || file == "" {
		return guest.Disk{}, making{}, usageError{fmt.Errorf("--disk %q: expected FILE or FILE,format=FORMAT", word)}
	}
	format, err := imageFormat(file, said)
	if err != nil {
		return guest.Disk{}, making{}, err
	}
	if format == image.ISO {
		return guest.Disk{}, making{}, usageError{fmt.Errorf("%s is a CD-ROM; it goes with --iso", file)}
	}
	f, _, err := checkImage(file, format)
	if err != nil {
		return guest.Disk{}, making{}, err
	}
	if format == image.Raw || format == image.Qcow2 {
		defer f.Close()
		abs, err := filepath.Abs(file)
		disk := guest.Disk{File: abs, Bus: bus}
		if format == image.Qcow2 {
			disk.Format = guest.Qcow2
		}
		return disk, making{}, err
	}
	base := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file)) + ".qcow2"
	return guest.Disk{File: base, Format: guest.Qcow2, Bus: bus}, making{file: base, from: f, format: format}, nil
}

// takeISO gives the guest a CD-ROM, and says what may keep that from starting.
func takeISO(d *guest.Definition, file string) (notes []string, err error) {
	f, info, err := checkImage(file, image.ISO)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	abs, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	d.CDROMs = append(d.CDROMs, abs)
	switch {
	case !info.BootBIOS && !info.BootUEFI:
		notes = append(notes, fmt.Sprintf("%s is nothing to start from: it has no boot catalogue", file))
	case !info.BootUEFI && d.Firmware == guest.UEFI:
		notes = append(notes, fmt.Sprintf("%s does not start by UEFI, only by BIOS; the guest has firmware: bios for it", file))
		d.Firmware = guest.BIOS
		if d.SecureBoot {
			return nil, fmt.Errorf("%s does not start by UEFI, which this template needs", file)
		}
	}
	return notes, nil
}

// makeDisks makes the disks of a new guest, encrypted unless there is no key.
func makeDisks(ctx context.Context, made store.Entry, disks []making, key *qemu.DiskKey) error {
	for _, m := range disks {
		file := filepath.Join(made.Dir, m.file)
		var err error
		if m.from != nil {
			err = qemu.ConvertDisk(ctx, file, m.from, m.format, key)
		} else {
			err = qemu.MakeDisk(ctx, file, m.size, key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
