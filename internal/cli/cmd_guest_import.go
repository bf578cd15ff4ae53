package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/guest/image"
)

// importing are the flags of guest import.
type importing struct {
	creating
	name, format string
}

func newGuestImportCommand(env *Env) *cobra.Command {
	var flags importing
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "take in a definition, or a disk image as a new guest",
		Long: `Take in a definition that was written by hand or comes from another laptop (*.yaml, *.yml,
*.json), or make a guest for a disk image, as indy guest create --disk does.

Disks that a definition names are checked as images are: what refers to other files is
refused. They stay where they are; names that are relative to the file's folder are made
absolute. One that is not there yet is no error.

` + exitHelp,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			ctx, stop := interruptible()
			defer stop()
			return orInterrupt(ctx, flags.take(ctx, env, args[0]))
		},
	}
	flags.add(cmd)
	f := cmd.Flags()
	f.StringVar(&flags.name, "name", "", "name of the guest; without it that in the definition, or of the image's file")
	f.StringVar(&flags.format, "format", "", "what the image is, where its name does not say: raw, qcow2, vmdk, vhdx, vhd, vdi")
	return cmd
}

func (i *importing) take(ctx context.Context, env *Env, file string) error {
	switch filepath.Ext(file) {
	case ".yaml", ".yml", ".json":
		if i.memory != "" || i.cpus != 0 || i.locked || i.format != "" || i.name != "" || i.template != "linux" {
			return usageError{errors.New("a definition is taken as it is; change it with indy guest edit")}
		}
		return importDefinition(ctx, env, file)
	}
	name := i.name
	if name == "" {
		base := filepath.Base(file)
		name = strings.ToLower(strings.TrimSuffix(base, filepath.Ext(base)))
		if guest.ValidateName(name) != nil {
			return usageError{fmt.Errorf("the name of %s is no name for a guest; add --name", file)}
		}
	}
	word := file
	if i.format != "" {
		word += ",format=" + i.format
	}
	i.disks = []string{word}
	return i.create(ctx, env, name)
}

func importDefinition(ctx context.Context, env *Env, file string) error {
	s, err := env.guests()
	if err != nil {
		return err
	}
	text, err := env.readDefinition(file)
	if err != nil {
		return err
	}
	d, err := guest.ParseDefinition(file, text)
	if err != nil {
		return err
	}
	changed, err := absolute(&d, filepath.Dir(file))
	if err != nil {
		return err
	}
	var errs []error
	for _, k := range d.Disks {
		format := image.Raw
		if k.Format == guest.Qcow2 {
			format = image.Qcow2
		}
		errs = append(errs, checkIfThere(k.File, format, k.Key))
	}
	for _, c := range d.CDROMs {
		errs = append(errs, checkIfThere(c, image.ISO, guest.Key{}))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if changed { // else it is kept as it was written, with its comments
		text = d.YAML()
	}
	if _, err := s.Create(ctx, text); err != nil {
		return refused(err)
	}
	fmt.Fprintf(env.Stdout, "made guest %s; look at it with: indy guest show %s\n", d.Name, d.Name)
	return nil
}

func checkIfThere(file string, format image.Format, key guest.Key) error {
	f, _, err := checkImageOf(file, format, key)
	if err == nil {
		_ = f.Close()
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// absolute makes the names of files absolute that are relative to dir.
func absolute(d *guest.Definition, dir string) (changed bool, err error) {
	dir, err = filepath.Abs(dir)
	names := make([]*string, 0, len(d.Disks)+len(d.CDROMs)+len(d.Devices))
	for i := range d.Disks {
		names = append(names, &d.Disks[i].File)
		if k := &d.Disks[i].Key; k.Kind == guest.Credential {
			names = append(names, &k.File)
		}
	}
	for i := range d.CDROMs {
		names = append(names, &d.CDROMs[i])
	}
	for i := range d.Devices {
		if rom := d.Devices[i].ROM; rom != nil {
			names = append(names, &rom.File)
		}
	}
	for _, name := range names {
		if !filepath.IsAbs(*name) {
			*name, changed = filepath.Join(dir, *name), true
		}
	}
	return changed, err
}
