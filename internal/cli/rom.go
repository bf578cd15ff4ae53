package cli

import (
	"fmt"
	"strings"

	"github.com/project-independence/indy/guest"
)

// parseROM reads DEVICE=FILE,sha256=HEX. What the file is called does not matter: the
// digest comes last, and no device's name has an equals sign.
func parseROM(s string) (device string, rom guest.ROM, err error) {
	const sum = ",sha256="
	device, rest, ok := strings.Cut(s, "=")
	at := strings.LastIndex(rest, sum)
	if !ok || device == "" || at <= 0 {
		return "", guest.ROM{}, fmt.Errorf("--rom %q: expected DEVICE=FILE,sha256=HEX", s)
	}
	rom.File = rest[:at]
	if rom.SHA256, err = guest.ParseDigest(rest[at+len(sum):]); err != nil {
		return "", guest.ROM{}, fmt.Errorf("--rom %q: %w", s, err)
	}
	return device, rom, nil
}

// addROMs gives g the option ROMs of the flags, and the devices that they are for, so
// that what is wrong with them is known before any device is touched.
func (r *running) addROMs(env *Env, g *guest.Guest) error {
	if len(r.roms) == 0 {
		return nil
	}
	m := readMachine(env, env.Host)
	var err error
	if g.Devices, err = m.functions(r.devices); err != nil {
		return err
	}
	for _, s := range r.roms {
		word, rom, err := parseROM(s)
		if err != nil {
			return usageError{err}
		}
		found, err := m.functions([]string{word})
		if err != nil {
			return err
		}
		rom.Device = found[0]
		g.ROMs = append(g.ROMs, rom)
	}
	if err := g.Validate(); err != nil {
		return usageError{err}
	}
	return nil
}
