package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/guest/image"
	"github.com/project-independence/indy/guest/qemu"
	"github.com/project-independence/indy/guest/store"
	"github.com/project-independence/indy/laptop"
)

func newGuestShowCommand(env *Env) *cobra.Command {
	var flags reading
	cmd := &cobra.Command{
		Use:   "show NAME|FILE",
		Short: "what a guest has and needs, and which devices of this laptop meet that",
		Long: `Show what a guest has, and which device of this laptop, or of a saved one, meets each of
its needs. The guest is one of indy guest list, or one that a definition in a file
describes, which is named with its folder or its extension. A need is matched; substituted, by another device that plays the
role; missing; or ambiguous, when several would do and nothing says which. Why, whether it is
known from an earlier start, and what changes hands along with a device, is said below.

A guest starts without what is optional. What is required and not there keeps it from
starting.

` + exitHelp,
		Args: usage(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			e, err := env.findGuest(args[0])
			if err != nil {
				return err
			}
			d := e.Definition
			return flags.look(env, func(m *machine) error {
				var known knownDevices
				if !strings.ContainsAny(args[0], "/.") { // which has been started nowhere
					var err error
					known, err = readKnown(e)
					m.err = errors.Join(m.err, err)
				}
				needs, _ := m.resolveNeeds(d, known)
				if flags.json {
					return writeJSON(env, needsJSON(d.Name, needs))
				}
				heading := env.paint(bold, d.Name)
				if id, _ := laptop.ReadIdentity(m.fsys); id.String() != "" {
					heading += " on " + printable(id.String())
				}
				fmt.Fprintln(env.Stdout, heading)
				writeDefinition(env, e)
				fmt.Fprintln(env.Stdout)
				writeNeeds(env, m, needs)
				return nil
			})
		},
	}
	flags.add(cmd)
	cmd.ValidArgsFunction = completeGuests(env)
	return cmd
}

// writeDefinition says what a guest has, in a line each.
func writeDefinition(env *Env, e store.Entry) {
	var t table
	add := func(what string, said ...string) {
		said = slices.DeleteFunc(said, func(s string) bool { return s == "" })
		t.add("  "+what, printable(strings.Join(said, ", ")))
	}
	when := func(is bool, s string) string {
		if is {
			return s
		}
		return ""
	}
	add("has", count(max(e.CPUs, 1), "processor"), guest.FormatSize(e.Memory)+" of memory", e.Firmware.String(), when(e.SecureBoot, "Secure Boot"), when(e.TPM, "TPM"))
	for _, k := range e.Disks {
		format := image.Raw
		if k.Format == guest.Qcow2 {
			format = image.Qcow2
		}
		add("disk", k.File, imageState(inFolder(e, k.File), format, k.Key), keyState(e, k.Key), when(k.Bus != guest.AutoBus, k.Bus.String()), when(k.ReadOnly, "read-only"))
	}
	for _, c := range e.CDROMs {
		add("CD-ROM", c, imageState(inFolder(e, c), image.ISO, guest.Key{}))
	}
	if e.Network.Kind != guest.NoNetwork {
		add("network", e.Network.String())
	}
	if d := e.Display; d.Kind != guest.NoDisplay {
		add("display", string(d.Kind), string(d.Where))
	}
	if e.Audio != (guest.Audio{}) {
		add("audio", when(e.Audio.Play, "plays"), when(e.Audio.Record, "records"))
	}
	for _, f := range e.Folders {
		add("folder", f.Path, "as "+f.Name, when(f.ReadOnly, "read-only"))
	}
	if a := e.Autostart; a != nil {
		add("starts", fmt.Sprintf("with the host, priority %d", a.Priority), when(len(a.Needs) > 0, "after "+strings.Join(a.Needs, " and ")), when(a.Fullscreen, "on the whole screen"))
	}
	if e.Locked {
		add("locked", "changed by administrators only")
	}
	t.writePlain(env, env.Stdout)
}

// keyState says in a few words that a disk is encrypted, and where its key is.
func keyState(e store.Entry, k guest.Key) string {
	switch k.Kind {
	case guest.Passphrase:
		if e.Autostart != nil {
			return "encrypted, opened by a passphrase, so that it does not start by itself"
		}
		return "encrypted, opened by a passphrase"
	case guest.Credential:
		text := "encrypted, opened by the credential " + k.File
		seal, err := qemu.CredentialSeal(inFolder(e, k.File))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			text += ", which is missing"
		case seal == qemu.HostSeal:
			text += ", sealed by a key of the host"
		case seal == qemu.TPMSeal:
			text += ", sealed to the TPM"
		case seal == qemu.BothSeal:
			text += ", sealed by a key of the host and to the TPM"
		case seal == qemu.NoSeal:
			text += ", which is refused: no key seals it"
		}
		return text
	}
	return ""
}

// imageState says in a few words how an image is: how large, or why not.
func imageState(file string, format image.Format, key guest.Key) string {
	f, info, err := checkImageOf(file, format, key)
	var tricky *image.RefusedError
	switch {
	case errors.As(err, &tricky):
		return "refused: " + string(tricky.Trick)
	case errors.Is(err, fs.ErrNotExist):
		return "missing"
	case err != nil:
		return "cannot be read"
	}
	_ = f.Close()
	if info.Virtual == 0 {
		return ""
	}
	return guest.FormatSize(info.Virtual)
}
