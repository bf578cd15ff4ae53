package gpu

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/plain"
)

// The functions of this file each read one attribute below
// /sys/class/drm/cardN-NAME, when they are asked to: a listing reads none of them.
// They take a connector of [Displays]; of another one Name and Card are all that
// counts. Their errors are *[OpError]; one that is [fs.ErrNotExist] means that the
// connector is gone, or that a saved machine lacks the file.

func (c Connector) attribute(fsys fs.FS, name string) ([]byte, error) {
	dir := c.Card + "-" + c.Name
	var data []byte
	var err error
	if !numbered(c.Card, "card") || c.Name == "" || strings.Contains(c.Name, "/") {
		err = fmt.Errorf("%.64q is not how the kernel names a connector", dir)
	} else {
		data, err = fs.ReadFile(fsys, class+"/"+dir+"/"+name)
	}
	if err != nil {
		return nil, &OpError{"read " + name + " of", dir, err}
	}
	return data, nil
}

// ReadEDID reads what the screen on a connector says of itself
// (/sys/class/drm/cardN-NAME/edid). The cause of the error is ErrNoEDID when the
// kernel has none, as without a screen.
//
// The kernel gives what it read when it last looked, under a lock that is held
// while it looks, so this may block for as long as a screen takes to answer: some
// hundred milliseconds, more with broken ones. Drivers may look again now, over the
// wires, and wake a GPU that sleeps for it; so this is not part of a listing.
func ReadEDID(fsys fs.FS, c Connector) (EDID, error) {
	data, err := c.attribute(fsys, "edid")
	if err != nil {
		return EDID{}, err
	}
	e, err := ParseEDID(data)
	if err != nil {
		return e, &OpError{"read edid of", c.Card + "-" + c.Name, err}
	}
	return e, nil
}

// Modes returns the modes the kernel knows for a connector, 1920x1080 or
// 1920x1080i, the preferred one first (modes). A mode at several refresh rates is
// listed once. There are none without a screen. The kernel cuts the list at one
// page, some 400 modes.
func Modes(fsys fs.FS, c Connector) ([]string, error) {
	data, err := c.attribute(fsys, "modes")
	if err != nil {
		return nil, err
	}
	var modes []string
	seen := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		mode := plain.Line(line, maxText)
		if mode == "" || seen[mode] || len(modes) == maxModes {
			continue
		}
		seen[mode] = true
		modes = append(modes, mode)
	}
	return modes, nil
}

const maxModes = 1024

// Enabled returns whether the kernel sends a picture to the connector (enabled).
func Enabled(fsys fs.FS, c Connector) (Answer, error) {
	data, err := c.attribute(fsys, "enabled")
	if err != nil {
		return Unknown, err
	}
	switch s := strings.TrimSpace(string(data)); s {
	case "enabled":
		return Yes, nil
	case "disabled":
		return No, nil
	default:
		return Unknown, &OpError{"read enabled of", c.Card + "-" + c.Name, fmt.Errorf("unexpected value %.64q", s)}
	}
}

// DPMS returns the power state the connector was last set to: On, Standby, Suspend
// or Off (dpms).
func DPMS(fsys fs.FS, c Connector) (string, error) {
	data, err := c.attribute(fsys, "dpms")
	return plain.Line(string(data), maxText), err
}

// BootDisplay returns whether the firmware's picture was on a screen of the card
// (/sys/class/drm/cardN/boot_display, of the newest kernels). Where the file is missing
// the kernel does not know, or is older: Unknown. Unlike boot_vga it is stated for
// display functions of every class.
func BootDisplay(fsys fs.FS, card string) (Answer, error) {
	if !numbered(card, "card") {
		return Unknown, &OpError{"read boot_display of", plain.Line(card, maxText), errors.New("is not how the kernel names a card")}
	}
	s, err := hostfs.ReadString(fsys, class+"/"+card+"/boot_display")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Unknown, nil
	case err != nil:
		return Unknown, &OpError{"read boot_display of", card, err}
	case s == "1":
		return Yes, nil
	}
	return Unknown, nil
}
