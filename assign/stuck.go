package assign

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
)

// ErrStuck is what every *[StuckError] answers to in [errors.Is].
var ErrStuck = errors.New("the kernel has not come back from a write")

// A StuckError says that a write to a file of the host has not returned in time. The
// process that made it is still in the kernel, and the device gets no other write until
// that process has ended.
type StuckError struct {
	File    string        `json:"file"`    // below the root, without the leading slash
	Waited  time.Duration `json:"waited"`  // in nanoseconds
	PID     int           `json:"pid"`     // of the process that is in the kernel; 0 when that cannot be seen
	Started string        `json:"started"` // when that process started, in the kernel's ticks
	Holders []Holder      `json:"holders"` // who has the device open, as far as it could be seen
}

// A Holder is a process that has a device open.
type Holder struct {
	PID   int    `json:"pid"`
	Name  string `json:"name"`            // of the program, which it has chosen itself; empty when unknown
	Node  string `json:"node"`            // what it has open, as dev/vfio/11; empty for any VFIO device, maybe this one
	Guest string `json:"guest,omitempty"` // that it runs, if it says so, as libvirt's do
}

// String is as `qemu-system-x86 (process 812, guest work)`.
func (h Holder) String() string {
	s := fmt.Sprintf("%s (process %d", cmp.Or(h.Name, "a process"), h.PID)
	if h.Guest != "" {
		s += ", guest " + h.Guest
	}
	return s + ")"
}

// Error names the file, how long it was waited for, and the holders.
func (e *StuckError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "the kernel has not come back from /%s for %s", e.File, e.Waited)
	if e.PID > 0 {
		fmt.Fprintf(&b, " (process %d is in it)", e.PID)
	}
	for i, h := range e.Holders {
		what := "/" + h.Node
		if h.Node == "" {
			what = "a VFIO device"
		}
		b.WriteString([]string{"; it waits for ", ", "}[min(i, 1)] + h.String() + " with " + what)
	}
	return b.String()
}

// Is reports whether target is [ErrStuck].
func (e *StuckError) Is(target error) bool { return target == ErrStuck }

// Over reports whether the process that was in the kernel has ended, so that the device
// may be written to again.
func (e *StuckError) Over(fsys fs.FS) bool { return !(Process{e.PID, e.Started}).Alive(fsys) }

// ProcessStart returns when a process started, in the kernel's ticks, which tells it
// from a later one with the same number: field 22 of /proc/PID/stat.
func ProcessStart(fsys fs.FS, pid int) (string, error) { return processStart(fsys, pid) }
