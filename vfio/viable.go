package vfio

import (
	"errors"
	"io/fs"
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
	return verdict(h.fsys, id, s, err)
}

// Verdict is what [Viable] says when another process has opened the group and asked for its
// status, because both may wait for as long as somebody resets one of its devices: it was
// told the flags of struct vfio_group_status (linux/vfio.h), or err, with op "open" of the
// *[fs.PathError] when it could not open the group. It reads below sys/ in fsys which
// drivers the devices of the group have.
func Verdict(fsys fs.FS, id pci.GroupID, flags uint32, err error) error {
	var path *fs.PathError
	if errors.As(err, &path) && path.Op == "open" {
		return notOpened(fsys, id, err)
	}
	return verdict(fsys, id, statusOf(flags), err)
}

func verdict(fsys fs.FS, id pci.GroupID, s Status, err error) error {
	if err == nil && !s.Viable {
		err = whyNotViable(fsys, id)
	}
	if err != nil {
		return &OpError{Op: "use", Group: id, Err: err}
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
