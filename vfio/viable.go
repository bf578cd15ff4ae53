package vfio

import (
	"errors"
	"syscall"

	"github.com/project-independence/indy/pci"
)

// Viable returns nil when a guest can use a group: it can be opened, and no driver of
// the host has one of its devices (VFIO_GROUP_GET_STATUS). It opens the group for a
// moment. The error is that of [OpenGroup], or [ErrNotViable], which names the devices
// and their drivers.
func Viable(id pci.GroupID) error { return viable(live(), id) }

func viable(h host, id pci.GroupID) error {
	g, err := openGroup(h, id)
	if err != nil {
		return err
	}
	defer g.Close() // nothing was changed through it
	s, err := g.status()
	if err == nil && !s.Viable {
		err = whyNotViable(h.fsys, id)
	}
	if err != nil {
		return g.fail("use", err)
	}
	return nil
}

// InUse returns EBUSY when somebody has a group open, or one of its devices by its own
// node: a guest that runs with it. It opens the group for a moment, and is nil also
// where that cannot be done for another reason, as for a group without a node, of which
// no device is bound to vfio-pci.
func InUse(id pci.GroupID) error { return inUse(live(), id) }

func inUse(h host, id pci.GroupID) error {
	g, err := openGroup(h, id)
	switch {
	case err == nil:
		return g.Close()
	case errors.Is(err, syscall.EBUSY):
		return err
	}
	return nil
}
