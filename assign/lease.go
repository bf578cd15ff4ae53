package assign

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/plain"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
)

// A State is how far a lease has come.
type State string

// The states. A lease that is found in any but Assigned, and on which no process works,
// was interrupted.
const (
	Planning  State = "planning" // claimed, and nothing written yet
	Assigning State = "assigning"
	Assigned  State = "assigned"
	Releasing State = "releasing"
	Stuck     State = "stuck" // a write to one of its devices has not come back
)

// A Lease is a set of devices in a guest's hands, and how they get back.
type Lease struct {
	ID      string          `json:"id"` // of this lease alone, as long as the kernel runs
	Guest   string          `json:"guest"`
	Locked  bool            `json:"locked"`  // the guest is one that only admins change
	Devices []pci.Address   `json:"devices"` // functions; while it is being planned, those asked for
	Groups  []iommu.GroupID `json:"groups"`
	Claims  []Claim         `json:"claims"` // what nobody else gets meanwhile
	State   State           `json:"state"`
	Since   time.Time       `json:"since"`
	PID     int             `json:"pid"`     // process that took it
	Started string          `json:"started"` // when that process started, in the kernel's ticks
	Run     bool            `json:"run"`     // taken by a guest's run, which also gives it back
	BootID  string          `json:"boot_id"` // kernel it was taken on; another one has forgotten it
	Plan    *Plan           `json:"plan"`    // nil while it is being planned

	// Worker is the process that brought it into its state, and works on it in any but
	// Assigned and Stuck, unless it has ended.
	Worker *Process `json:"worker,omitempty"`

	// Confirm is until when the hand-over has to be confirmed, see [Store.Confirm]; nil
	// when it need not be, or has been.
	Confirm *Deadline `json:"confirm,omitempty"`

	// Lost are functions that went and came back as another device, or that the host has
	// now, see [Guard].
	Lost []pci.Address `json:"lost,omitempty"`

	// Stuck has the writes that have not come back.
	Stuck []StuckWrite `json:"stuck,omitempty"`
}

// A Process is one process of this boot: another one may get its number later, and has
// started at another time then.
type Process struct {
	PID     int    `json:"pid"`
	Started string `json:"started"` // in the kernel's ticks, as in /proc/PID/stat
}

// A StuckWrite is a write to a device that has not come back. Until its process has ended
// the device gets no other.
type StuckWrite struct {
	Bus    string `json:"bus,omitempty"` // as in sys/bus; empty is pci
	Device string `json:"device"`        // name in sys/bus/BUS/devices
	StuckError
}

// A Deadline is a moment of this boot. Whatever is done to the clock of the host does not
// move it.
type Deadline struct {
	Clock time.Duration `json:"clock"` // of the kernel since it started, suspended or not (CLOCK_BOOTTIME), in nanoseconds
	Time  time.Time     `json:"time"`  // what the host's clock said it would be, to show to people
}

// Name is how a person names the lease: by its first device, or by its ID.
func (l *Lease) Name() string {
	if names := l.Names(); len(names) > 0 {
		return names[0]
	}
	return l.ID
}

// Abandoned reports whether the lease was taken by a guest's run that has ended
// without giving it back.
func (l *Lease) Abandoned(fsys fs.FS) bool {
	return l.Run && !(Process{l.PID, l.Started}).Alive(fsys)
}

// Interrupted reports whether the lease is on its way to somewhere and nobody works on it
// any more. See [Store.Recover].
func (l *Lease) Interrupted(fsys fs.FS) bool {
	return l.State != Assigned && l.State != Stuck && (l.Worker == nil || !l.Worker.Alive(fsys))
}

// Alive reports whether the process is there. One that cannot be looked at is not.
func (p Process) Alive(fsys fs.FS) bool {
	started, err := processStart(fsys, p.PID)
	return err == nil && started == p.Started
}

// processStart returns when a process started, field 22 of /proc/PID/stat, which tells
// it from a later one with the same number. One that has ended and only waits for its
// parent to take note has none. One of which the first thread alone has ended has not:
// another may be in the kernel (field 20 counts them).
func processStart(fsys fs.FS, pid int) (string, error) {
	stat, err := hostfs.ReadString(fsys, "proc/"+strconv.Itoa(pid)+"/stat")
	if err != nil {
		return "", err
	}
	// The second field is a name in parentheses that may hold anything.
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	const state, threads, start = 0, 20 - 3, 22 - 3 // what is left begins with field 3
	if len(fields) <= start {
		return "", fmt.Errorf("/proc/%d/stat has no start time", pid)
	}
	if n, err := strconv.Atoi(fields[threads]); fields[state] == "X" || fields[state] == "Z" && (err != nil || n < 2) {
		return "", fmt.Errorf("process %d has ended: %w", pid, fs.ErrNotExist)
	}
	return fields[start], nil
}

// A HeldError says who holds what was asked for.
type HeldError struct {
	Claim   Claim  // the first that is held
	Lease   Lease  // by which
	Process string // name of the process that took it; empty when it has ended
}

// NewHeldError makes the error of who wanted c, which l has.
func NewHeldError(fsys fs.FS, c Claim, l *Lease) *HeldError {
	e := &HeldError{Claim: c, Lease: *l}
	if (Process{l.PID, l.Started}).Alive(fsys) {
		e.Process, _ = hostfs.ReadString(fsys, "proc/"+strconv.Itoa(l.PID)+"/comm")
	}
	return e
}

// Error names guest, state, time and process.
func (e *HeldError) Error() string {
	what := strings.Replace(e.Claim.Key(), "group ", "IOMMU group ", 1)
	by := fmt.Sprintf("process %d, which has ended", e.Lease.PID)
	if e.Process != "" {
		by = fmt.Sprintf("%s (process %d)", plain.Short(e.Process), e.Lease.PID)
	}
	s := fmt.Sprintf("%s is held by guest %q since %s, %s by %s", what, e.Lease.Guest, e.Lease.Since.Format(time.RFC3339), e.Lease.State, by)
	if e.Lease.State == Planning {
		return s
	}
	return s + "; indy release " + e.Lease.Name() + " gives it back"
}

// Is reports whether target is [ErrRefused]: what is held has one owner.
func (e *HeldError) Is(target error) bool { return target == ErrRefused }

// A BusyError says that a lease cannot be ended because a guest runs with it.
type BusyError struct {
	Group iommu.GroupID
	What  string // the node that is in use, if it is not that of a group
	Lease Lease
	Err   error // what the kernel said
}

// Error names the guest.
func (e *BusyError) Error() string {
	what := e.What
	if what == "" {
		what = "IOMMU group " + e.Group.String()
	}
	if e.What == "" && !errors.Is(e.Err, syscall.EBUSY) {
		return fmt.Sprintf("whether guest %q still runs with %s cannot be told: %v", e.Lease.Guest, what, e.Err)
	}
	return fmt.Sprintf("guest %q still runs with %s; stop it first (%v)", e.Lease.Guest, what, e.Err)
}

// Is reports whether target is [ErrRefused].
func (e *BusyError) Is(target error) bool { return target == ErrRefused }

// Unwrap returns what the kernel said.
func (e *BusyError) Unwrap() error { return e.Err }

// ErrNotHeld is the cause when a function to be released is in no lease.
var ErrNotHeld = errors.New("not handed out by indy; indy leases lists what is")
