package vfio

import (
	"errors"

	"github.com/project-independence/indy/pci"
)

// ErrNotViable is the cause when a group has a device that a driver of the host
// still holds. The error around it names the device and the driver.
var ErrNotViable = errors.New("the group is not viable")

// An OpError is what every function of this package returns when it fails.
type OpError struct {
	// Op is what was being done, such as "open" or "reset".
	Op string
	// Group is the group it was done to, or the zero GroupID.
	Group pci.GroupID
	// Device is the device it was done to, or the zero Address for a group.
	Device pci.Address
	// Err is the cause. Where the kernel gave it, it holds an *fs.PathError with the
	// node and the kernel's errno: EBUSY when somebody else has the group open.
	Err error
}

// Error names the operation, the device or else the group, and the cause.
func (e *OpError) Error() string {
	switch {
	case e.Device.IsValid():
		return e.Op + " " + e.Device.String() + ": " + e.Err.Error()
	case e.Group.IsValid():
		return e.Op + " group " + e.Group.String() + ": " + e.Err.Error()
	}
	return e.Op + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *OpError) Unwrap() error { return e.Err }

// lacking says what this host would need. It is errors.ErrUnsupported.
type lacking struct {
	what string
	err  error // what the kernel said, or nil
}

func (e *lacking) Error() string {
	if e.err == nil {
		return e.what
	}
	return e.what + ": " + e.err.Error()
}

func (e *lacking) Is(target error) bool { return target == errors.ErrUnsupported }

func (e *lacking) Unwrap() error { return e.err }
