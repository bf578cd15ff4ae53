package assign

import (
	"context"
	"errors"
	"time"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
)

// A Host is the machine on which plans are carried out. What is nil is not asked and
// not told.
type Host struct {
	FS hostfs.FS // an error of a write may be a *[StuckError]

	// Viable asks the kernel whether a group can be used by a guest, once all its
	// functions are bound and its node is there.
	Viable func(iommu.GroupID) error

	// InUse says whether somebody has a group open, a guest that runs with it: giving
	// its functions back would then wait until that guest ends, and could not be
	// stopped.
	InUse func(iommu.GroupID) error

	// ResetBus resets the bus that the functions are on, which are all on it and below it
	// and in the hands of one lease. Its error may be a *[StuckError].
	ResetBus func([]pci.Address) error

	// Lend is told the descriptor by which this process has a lease locked, and returns by
	// what that lease is worked on until back is called, in place of FS and ResetBus. Whatever
	// these write by another process, they give it the descriptor as well for as long as the
	// write takes: when this process is killed meanwhile, that lease stays locked until the
	// kernel has come back, and no other does.
	Lend func(fd int) (fsys hostfs.FS, resetBus func([]pci.Address) error, back func())

	// Did is told each write as it is made, with the error it gave.
	Did func(device string, w Write, err error)

	// Waiting is told, once, that another process works on a lease that is to be
	// changed, and that it is waited for.
	Waiting func(Lease)

	// Told is told, line by line, what whoever looks should know of a release or a
	// recovery that went well: what has gone, what somebody else has changed, what did not
	// come back as it was.
	Told func(line string)

	// Pause returns when the kernel has said that something about its devices has
	// changed, or after d, or when ctx is done. Nil pauses for d.
	Pause func(ctx context.Context, d time.Duration)
}

// NodeTimeout is how long [Host.Apply] waits for /dev/vfio/GROUP to appear.
const NodeTimeout = 5 * time.Second

// A PartialError says that a hand-over failed and that not all of it could be taken
// back: the machine is neither as before nor as planned.
type PartialError struct {
	Cause error   // why the hand-over was given up; nil when a release failed
	Left  []error // what could not be taken back
}

// Error gives the cause and what is left.
func (e *PartialError) Error() string {
	s := "not all could be given back: " + errors.Join(e.Left...).Error()
	if e.Cause != nil {
		s = e.Cause.Error() + "; " + s
	}
	return s
}

// Unwrap returns the cause and what is left.
func (e *PartialError) Unwrap() []error { return append([]error{e.Cause}, e.Left...) }

// An OpError says what could not be done to which device. Err keeps the kernel's
// *fs.PathError.
type OpError struct {
	Op     string
	Device string // its name on its bus
	Err    error
}

// Error returns operation, device and cause.
func (e *OpError) Error() string { return e.Op + " " + e.Device + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *OpError) Unwrap() error { return e.Err }
