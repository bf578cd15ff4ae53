package broker

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/internal/ioctl"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/vfio"
)

// Viable is [vfio.Viable], asked by another process. The kernel opens no group while it
// opens or closes one of its devices, which resets that and may hang (group_lock of
// drivers/vfio/group.c): the error may be an *[assign.StuckError].
func (b *Broker) Viable(fsys fs.FS, id pci.GroupID) error {
	flags, err := b.group(id)
	return vfio.Verdict(fsys, id, flags, err)
}

// InUse is [vfio.InUse], asked by another process. It is nil only when the kernel has said
// that nobody has the group: one that it does not open in time is in use, by who opens or
// closes a device of it.
func (b *Broker) InUse(fsys fs.FS, id pci.GroupID) error {
	if !id.IsValid() {
		return nil
	}
	flags, err := b.group(id)
	var errno syscall.Errno
	if err == nil || errors.As(err, &errno) && errno != syscall.EBUSY && !short(errno) {
		return nil
	}
	return vfio.Verdict(fsys, id, flags, err)
}

// short reports whether the kernel lacked something, or was interrupted, before it looked
// who has the group.
func short(errno syscall.Errno) bool {
	return slices.Contains([]syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EINTR, syscall.EAGAIN}, errno)
}

// group returns the flags of a group. The kernel's own errors are an errno in a
// *[fs.PathError]; those of asking are not.
func (b *Broker) group(id pci.GroupID) (flags uint32, err error) {
	if !id.IsValid() {
		return 0, errors.New("no IOMMU group was given")
	}
	name := "dev/vfio/" + id.String()
	a, err := b.call(nil, ioctl.AsideGroup, name, "")
	switch {
	case err != nil:
		return 0, &askError{err}
	case a.errno != 0 && a.failed == 'o':
		return 0, b.fail("open", name, a.errno)
	case a.errno != 0 && a.failed == 'c':
		return 0, b.fail("close", name, a.errno)
	case a.errno != 0:
		return 0, b.fail("VFIO_GROUP_GET_STATUS", name, a.errno)
	}
	return uint32(a.count), nil
}

// An askError is that a question did not get to the kernel, or its answer not back. What
// kept it from that may be an errno, too, which says nothing of what was asked about.
type askError struct{ err error }

func (e *askError) Error() string { return "ask about a group: " + e.err.Error() }

func (e *askError) As(target any) bool {
	stuck, ok := target.(**assign.StuckError)
	return ok && errors.As(e.err, stuck)
}

func (e *askError) Is(target error) bool {
	return (target == assign.ErrStuck || target == os.ErrDeadlineExceeded) && errors.Is(e.err, target)
}
