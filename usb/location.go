package usb

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/plain"
)

// A Location is where on a machine's housing a port is, as its firmware says
// (Documentation/ABI/testing/sysfs-devices-physical_location). It is unknown when
// zero.
type Location struct {
	Panel      string // top, bottom, left, right, front, back or unknown
	Vertical   string // upper, center, lower or unknown
	Horizontal string // left, center, right or unknown
	Dock       bool   // in a docking station
	Lid        bool   // in the lid
}

// Known reports whether anything is said of where the port is. A panel that is
// unknown says nothing: firmware has it for ports within the housing.
func (l Location) Known() bool {
	return l.Dock || l.Lid || l.Panel != "" && l.Panel != "unknown"
}

// readLocation reads physical_location below dir.
func readLocation(fsys fs.FS, dir string) (Location, error) {
	dir += "/physical_location/"
	var l Location
	var errs []error
	word := func(name string, into *string, words ...string) {
		s, err := oneOf(fsys, dir+name, words...)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
		*into = s
	}
	truth := func(name string, into *bool) {
		s, err := hostfs.ReadString(fsys, dir+name)
		if err == nil && !strings.EqualFold(s, "yes") && !strings.EqualFold(s, "no") {
			err = fmt.Errorf("unexpected value %q", plain.Short(s))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
		*into = strings.EqualFold(s, "yes")
	}
	word("panel", &l.Panel, "top", "bottom", "left", "right", "front", "back", "unknown")
	if len(errs) > 0 && errors.Is(errs[0], fs.ErrNotExist) {
		return l, errs[0] // most ports have none of it
	}
	word("vertical_position", &l.Vertical, "upper", "center", "lower", "unknown")
	word("horizontal_position", &l.Horizontal, "left", "center", "right", "unknown")
	truth("dock", &l.Dock)
	truth("lid", &l.Lid)
	return l, errors.Join(errs...)
}
