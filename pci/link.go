package pci

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"github.com/project-independence/indy/internal/plain"
)

// A LinkState is how fast a function's PCI Express link is and could be. Zero
// values are unknown.
type LinkState struct {
	Speed    LinkSpeed // current_link_speed; it may be lower while the device is idle
	Width    int       // current_link_width, in lanes
	MaxSpeed LinkSpeed // max_link_speed, of this end alone
	MaxWidth int       // max_link_width
}

// Link reads the state of a function's link, which everybody may. The kernel asks
// the device: since Linux 6.18 that wakes a suspended one, before it gave unknown
// or old values in D3cold.
//
// The error joins an *[OpError] for each attribute that could not be read, with
// what could be read. A conventional function has none of them, which is
// [fs.ErrNotExist].
func Link(fsys fs.FS, a Address) (LinkState, error) {
	var l LinkState
	var errs []error
	read := func(name string, parse func(string) error) {
		s, err := attribute(fsys, a, name)
		if err == nil {
			if err = parse(s); err != nil {
				err = opError("read "+name+" of", a, err)
			}
		}
		errs = append(errs, err)
	}
	speed := func(into *LinkSpeed) func(string) error {
		return func(s string) (err error) {
			*into, err = parseLinkSpeed(s)
			return err
		}
	}
	width := func(into *int) func(string) error {
		return func(s string) error {
			n, err := strconv.ParseUint(s, 10, 8)
			if err != nil {
				return fmt.Errorf("%q is no number of lanes", plain.Short(s))
			}
			*into = linkWidth(uint32(n))
			return nil
		}
	}
	read("current_link_speed", speed(&l.Speed))
	read("current_link_width", width(&l.Width))
	read("max_link_speed", speed(&l.MaxSpeed))
	read("max_link_width", width(&l.MaxWidth))
	return l, errors.Join(errs...)
}
