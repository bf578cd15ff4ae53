package assign

import (
	"errors"
	"fmt"
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
	PID     int           `json:"pid"`     // of the process that is in the kernel
	Started string        `json:"started"` // when that process started, in the kernel's ticks
	Holders []Holder      `json:"holders"` // who has the device open, as far as it could be seen
}

// A Holder is a process that has a device open.
type Holder struct {
	PID  int    `json:"pid"`
	Name string `json:"name"` // of the program, which it has chosen itself
	Node string `json:"node"` // what it has open, as dev/vfio/11
}

// Error names the file, how long it was waited for, and the holders.
func (e *StuckError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "the write to /%s has not returned for %s", e.File, e.Waited)
	for i, h := range e.Holders {
		b.WriteString([]string{"; held by ", ", "}[min(i, 1)])
		fmt.Fprintf(&b, "%s (process %d) with /%s", h.Name, h.PID, h.Node)
	}
	return b.String()
}

// Is reports whether target is [ErrStuck].
func (e *StuckError) Is(target error) bool { return target == ErrStuck }
