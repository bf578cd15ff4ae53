package broker

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/internal/ioctl"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/vfio"
)

// Viable is [vfio.Viable], asked by another process. The kernel opens no group while it
// opens one of its devices, which resets that first, and may hang (group_lock of
// drivers/vfio/group.c): the error may be an *[assign.StuckError].
func (b *Broker) Viable(fsys fs.FS, id pci.GroupID) error {
	s, err := b.group(id)
	return vfio.Verdict(fsys, id, s, err)
}

// InUse is [vfio.InUse], asked by another process. A group that cannot be opened in time
// is in use: by who opens one of its devices.
func (b *Broker) InUse(id pci.GroupID) error {
	switch _, err := b.group(id); {
	case errors.Is(err, syscall.EBUSY):
		return err
	case errors.Is(err, assign.ErrStuck), errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w; somebody is about to use a device of it", err)
	}
	return nil
}

func (b *Broker) group(id pci.GroupID) (vfio.Status, error) {
	if !id.IsValid() {
		return vfio.Status{}, errors.New("no IOMMU group was given")
	}
	name := "dev/vfio/" + id.String()
	a, err := b.call(ioctl.AsideGroup, name, "")
	switch {
	case err != nil:
		return vfio.Status{}, err
	case a.errno != 0 && a.failed == 'o':
		return vfio.Status{}, b.fail("open", name, a.errno)
	case a.errno != 0:
		return vfio.Status{}, b.fail("VFIO_GROUP_GET_STATUS", name, a.errno)
	}
	return vfio.StatusOf(uint32(a.count)), nil
}
