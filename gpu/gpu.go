package gpu

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/pci"
)

const (
	class   = "sys/class/drm"
	devices = "sys/bus/pci/devices"
)

const (
	baseDisplay = 0x03
	subVGA      = 0x0300
)

// A Display is one PCI function of base class 03: a VGA, XGA, 3D or other display
// controller.
type Display struct {
	Function pci.Address

	// BootVGA tells whether the firmware used the function as its display, from
	// /sys/bus/pci/devices/ADDRESS/boot_vga. The kernel states it for VGA controllers
	// (class 0300) alone; elsewhere it is Unknown, which is not No: on many laptops
	// the panel is wired to a function of another class.
	BootVGA Answer

	// Nodes are the device nodes, dev/dri/card0 and dev/dri/renderD128, from the
	// links in /sys/class/drm that lead to below the function, in the order of the
	// names there. A function without a graphics driver has none.
	Nodes []string

	// Connectors are from /sys/class/drm/cardN-NAME in the order of the names there.
	Connectors []Connector
}

// Panel reports whether a built-in panel is wired to one of the connectors and
// was found there: the screen of the laptop.
func (d Display) Panel() bool {
	for _, c := range d.Connectors {
		if c.Panel && c.Status != Disconnected {
			return true
		}
	}
	return false
}

// Card returns the kernel's name of the card, card0, or the empty string without a
// graphics driver.
func (d Display) Card() string { return d.node("card") }

// Render returns the kernel's name of the node for drawing without a screen,
// renderD128, or the empty string. A card that can show but not draw has none.
func (d Display) Render() string { return d.node("renderD") }

// node returns the first of the nodes that is named so.
func (d Display) node(prefix string) string {
	for _, n := range d.Nodes {
		if name, ok := strings.CutPrefix(n, "dev/dri/"); ok && numbered(name, prefix) {
			return name
		}
	}
	return ""
}

// A Connector is where a screen is or may be plugged in, or the wires to a panel.
type Connector struct {
	// Name is the kernel's without the card: eDP-1, HDMI-A-1.
	Name string

	// Status is from /sys/class/drm/cardN-NAME/status.
	Status Status

	// Panel tells that the connector is of a kind for panels that are built in: eDP,
	// LVDS or DSI.
	Panel bool

	// Card is the kernel's name of the card it belongs to: card0.
	Card string
}

// An Answer is yes, no, or unknown when nothing says. The zero Answer is Unknown.
type Answer uint8

// The answers.
const (
	Unknown Answer = iota
	No
	Yes
)

// String returns unknown, no or yes.
func (a Answer) String() string { return name([]string{"unknown", "no", "yes"}, int(a)) }

// MarshalText writes the answer as String does.
func (a Answer) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// A Status says whether a screen is on a connector. The zero Status is
// StatusUnknown, which the kernel says of connectors that cannot tell.
type Status uint8

// The states of a connector.
const (
	StatusUnknown Status = iota
	Disconnected
	Connected
)

// String returns unknown, disconnected or connected, as the kernel does.
func (s Status) String() string {
	return name([]string{"unknown", "disconnected", "connected"}, int(s))
}

// MarshalText writes the status as String does.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func name(names []string, i int) string {
	if i >= len(names) {
		return names[0]
	}
	return names[i]
}

// An OpError says what could not be done with which function or connector. Err
// keeps the kernel's *fs.PathError.
type OpError struct {
	Op     string
	Device string // as 0000:00:02.0 or card0-eDP-1; empty when about all of them
	Err    error
}

// Error returns operation, device and cause.
func (e *OpError) Error() string {
	if e.Device == "" {
		return e.Op + ": " + e.Err.Error()
	}
	return e.Op + " " + e.Device + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *OpError) Unwrap() error { return e.Err }

// Displays returns the display functions among functions, in their order. A machine
// without /sys/class/drm, or with a GPU that no graphics driver has, has its
// displays without nodes and connectors, and that is no error.
//
// The error, if any, joins one *[OpError] for each attribute that could not be
// read; the displays are returned all the same, with what is known. What vanished
// meanwhile, such as a connector of a dock, is left out.
func Displays(fsys fs.FS, functions []pci.Function) ([]Display, error) {
	var displays []Display
	var errs []error
	at := map[pci.Address]int{}
	for _, f := range functions {
		if f.Class.Base() != baseDisplay {
			continue
		}
		d := Display{Function: f.Address}
		if f.Class.Sub() == subVGA {
			var err error
			if d.BootVGA, err = bootVGA(fsys, f.Address); err != nil {
				errs = append(errs, &OpError{"read boot_vga of", f.Address.String(), err})
			}
		}
		at[f.Address] = len(displays)
		displays = append(displays, d)
	}
	if len(displays) == 0 {
		return nil, nil
	}
	entries, err := fs.ReadDir(fsys, class)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, &OpError{"list graphics cards", "", err})
	}
	for _, e := range entries {
		target, err := fs.ReadLink(fsys, class+"/"+e.Name())
		if err != nil {
			if e.Type()&fs.ModeSymlink != 0 && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, &OpError{"read", e.Name(), err})
			}
			continue // not a device: the file version
		}
		above := pci.InPath(target)
		if len(above) == 0 {
			continue
		}
		i, ok := at[above[len(above)-1]]
		if !ok {
			continue
		}
		if err := displays[i].add(fsys, e.Name()); err != nil {
			errs = append(errs, &OpError{"read", e.Name(), err})
		}
	}
	return displays, errors.Join(errs...)
}

// bootVGA is Unknown where the file is missing or says neither.
func bootVGA(fsys fs.FS, a pci.Address) (Answer, error) {
	s, err := hostfs.ReadString(fsys, devices+"/"+a.String()+"/boot_vga")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Unknown, nil
	case err != nil:
		return Unknown, err
	case s == "1":
		return Yes, nil
	case s == "0":
		return No, nil
	}
	return Unknown, fmt.Errorf("unexpected value %.64q", s)
}

// add takes the entry of the class that name is: a card, a render node or a
// connector of a card.
func (d *Display) add(fsys fs.FS, name string) error {
	card, connector, ok := strings.Cut(name, "-")
	switch {
	case !ok && (numbered(name, "card") || numbered(name, "renderD")):
		d.Nodes = append(d.Nodes, "dev/dri/"+name)
	case ok && numbered(card, "card") && connector != "":
		status, err := readStatus(fsys, name)
		if errors.Is(err, fs.ErrNotExist) {
			if _, gone := fs.Stat(fsys, class+"/"+name); gone != nil {
				return nil
			}
			err = nil // a saved machine may lack it: unknown
		}
		d.Connectors = append(d.Connectors, Connector{connector, status, isPanel(connector), card})
		return err
	}
	return nil
}

func readStatus(fsys fs.FS, name string) (Status, error) {
	s, err := hostfs.ReadString(fsys, class+"/"+name+"/status")
	switch {
	case err != nil:
		return StatusUnknown, err
	case s == "connected":
		return Connected, nil
	case s == "disconnected":
		return Disconnected, nil
	case s == "unknown":
		return StatusUnknown, nil
	}
	return StatusUnknown, fmt.Errorf("unexpected status %.64q", s)
}

func isPanel(connector string) bool {
	kind, _, _ := strings.Cut(connector, "-")
	return kind == "eDP" || kind == "LVDS" || kind == "DSI"
}

// numbered reports whether name is prefix and a number.
func numbered(name, prefix string) bool {
	digits, ok := strings.CutPrefix(name, prefix)
	_, err := strconv.ParseUint(digits, 10, 32)
	return ok && err == nil
}
