package assign

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/iommu"
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

	// Did is told each write as it is made, with the error it gave.
	Did func(device string, w Write, err error)

	// Waiting is told, once, that another process works on a lease that is to be
	// changed, and that it is waited for.
	Waiting func(Lease)

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

// Apply carries out a plan. Before each step it checks that ctx is not done and that
// the function is as the plan found it; after each it reads back what the kernel
// made of the write. On any error everything is undone in reverse, also when ctx is
// done, and the error is a *[PartialError] only if that failed too.
//
// It blocks as long as the drivers take to let go and to bind, and up to
// [NodeTimeout] for the group's node.
func (h *Host) Apply(ctx context.Context, p *Plan) error {
	done, err := h.apply(ctx, p)
	if err == nil {
		return nil
	}
	if left := h.undo(p.Steps[:done]); left != nil {
		return &PartialError{Cause: err, Left: []error{left}}
	}
	return err
}

// apply returns how many steps were begun. One that was not may find the function
// in somebody else's hands, and must not be undone.
func (h *Host) apply(ctx context.Context, p *Plan) (begun int, err error) {
	if _, err := fs.Stat(h.FS, "sys/bus/pci/drivers/"+VFIODriver); err != nil {
		return 0, fmt.Errorf("%w: the driver vfio-pci is not loaded; run: modprobe vfio-pci (%w)", errors.ErrUnsupported, err)
	}
	for i, s := range p.Steps {
		if err := context.Cause(ctx); err != nil {
			return i, err
		}
		if err := h.expect(s, s.Prior); err != nil {
			return i, &OpError{"assign", s.Device, fmt.Errorf("changed since it was planned: %w", err)}
		}
		if err := h.write(s, s.Do); err != nil {
			return i + 1, &OpError{"assign", s.Device, err}
		}
	}
	for _, g := range p.Groups {
		if err := h.awaitNode(ctx, g); err != nil {
			return len(p.Steps), err
		}
		if h.Viable == nil {
			continue
		}
		if err := h.Viable(g); err != nil {
			return len(p.Steps), err
		}
	}
	return len(p.Steps), nil
}

// Undo takes back every step of a plan, in reverse, whether it was carried out or
// not: what already is as before is left alone. It goes on after an error and
// returns all of them.
func (h *Host) Undo(p *Plan) error { return h.undo(p.Steps) }

func (h *Host) undo(steps []Step) error {
	var errs []error
	for _, s := range slices.Backward(steps) {
		if _, err := fs.Lstat(h.FS, s.dir()); errors.Is(err, fs.ErrNotExist) {
			continue // unplugged: nobody is owed it any more
		}
		for _, w := range s.Undo {
			if h.expect(s, w.After) == nil {
				continue
			}
			if err := h.write(s, w); err != nil {
				errs = append(errs, &OpError{"give back", s.Device, err})
			}
		}
	}
	return errors.Join(errs...)
}

func (h *Host) write(s Step, w Write) error {
	err := h.FS.WriteFile(w.File, []byte(w.Value))
	if err == nil {
		// A write that succeeded proves nothing: drivers_probe does so when no driver
		// took the function.
		if err = h.expect(s, w.After); err != nil {
			err = fmt.Errorf("after writing %q to /%s: %w", w.Value, w.File, err)
		}
	}
	if h.Did != nil {
		h.Did(s.Device, w, err)
	}
	return err
}

// expect reads the device's state and says how it differs from what c demands.
func (h *Host) expect(s Step, c Check) error {
	value, err := readCheck(h.FS, s.dir(), c.What)
	if err != nil {
		return err
	}
	if c.holds(value) {
		return nil
	}
	if value == "" {
		value = "none"
	}
	return fmt.Errorf("expected that %s; it is %s", c, value)
}

// readCheck reads what a [Check] is about of the device in dir.
func readCheck(fsys fs.FS, dir, what string) (value string, err error) {
	switch what {
	case present:
		_, err = fs.Lstat(fsys, dir)
		if errors.Is(err, fs.ErrNotExist) {
			return "", nil
		}
		return "yes", err
	case driver:
		value, err = hostfs.ReadLinkBase(fsys, dir+"/driver")
	default:
		if value, err = hostfs.ReadString(fsys, dir+"/"+what); value == "(null)" {
			value = ""
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		// A device that is there has none of it, or it is no longer there.
		_, err = fs.Lstat(fsys, dir)
	}
	return value, err
}
