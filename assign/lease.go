package assign

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"

	"github.com/project-independence/indy/hostfs"
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

	// Confirm is until when the hand-over has to be confirmed, see [Store.Confirm]; nil
	// when it need not be, or has been.
	Confirm *Deadline `json:"confirm,omitempty"`

	// Stuck has the writes that have not come back.
	Stuck []StuckError `json:"stuck,omitempty"`
}

// A Deadline is a moment of this boot. Whatever is done to the clock of the host does not
// move it.
type Deadline struct {
	Clock time.Duration `json:"clock"` // of the kernel since it started, suspended or not (CLOCK_BOOTTIME), in nanoseconds
	Time  time.Time     `json:"time"`  // what the host's clock said it would be, to show to people
}

// Abandoned reports whether the lease was taken by a guest's run that has ended
// without giving it back.
func (l *Lease) Abandoned(fsys fs.FS) bool {
	started, err := processStart(fsys, l.PID)
	return l.Run && (err != nil || started != l.Started)
}

// processStart returns when a process started, field 22 of /proc/PID/stat, which tells
// it from a later one with the same number.
func processStart(fsys fs.FS, pid int) (string, error) {
	stat, err := hostfs.ReadString(fsys, "proc/"+strconv.Itoa(pid)+"/stat")
	if err != nil {
		return "", err
	}
	// The second field is a name in parentheses that may hold anything.
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	const start = 22 - 3 // what is left begins with field 3
	if len(fields) <= start {
		return "", fmt.Errorf("/proc/%d/stat has no start time", pid)
	}
	return fields[start], nil
}

// file is the name of the lease in its store: that of its first function.
func (l *Lease) file() string { return l.Devices[0].String() + ".json" }

// A HeldError says who holds what was asked for.
type HeldError struct {
	Claim   Claim  // the first that is held
	Lease   Lease  // by which
	Process string // name of the process that took it; empty when it has ended
}

// Error names guest, state, time and process.
func (e *HeldError) Error() string {
	what := strings.Replace(e.Claim.Key(), "group ", "IOMMU group ", 1)
	by := fmt.Sprintf("process %d, which has ended", e.Lease.PID)
	if e.Process != "" {
		by = fmt.Sprintf("%s (process %d)", e.Process, e.Lease.PID)
	}
	return fmt.Sprintf("%s is held by guest %q since %s, taken by %s, %s; indy release %s gives it back",
		what, e.Lease.Guest, e.Lease.Since.Format(time.RFC3339), by, e.Lease.State, e.Lease.Name())
}

// Is reports whether target is [ErrRefused]: what is held has one owner.
func (e *HeldError) Is(target error) bool { return target == ErrRefused }

// Name is how a person names the lease: by its first device, or by its ID.
func (l *Lease) Name() string {
	if len(l.Devices) > 0 {
		return l.Devices[0].String()
	}
	return l.ID
}

// held makes the error of who wanted what l has.
func held(fsys fs.FS, c Claim, l Lease) *HeldError {
	e := &HeldError{Claim: c, Lease: l}
	if started, err := processStart(fsys, l.PID); err == nil && started == l.Started {
		e.Process, _ = hostfs.ReadString(fsys, "proc/"+strconv.Itoa(l.PID)+"/comm")
	}
	return e
}

// A BusyError says that a lease cannot be ended because a guest runs with it.
type BusyError struct {
	Group iommu.GroupID
	Lease Lease
	Err   error // what the kernel said
}

// Error names the guest.
func (e *BusyError) Error() string {
	return fmt.Sprintf("guest %q still runs with IOMMU group %s; stop it first (%v)", e.Lease.Guest, e.Group, e.Err)
}

// Is reports whether target is [ErrRefused].
func (e *BusyError) Is(target error) bool { return target == ErrRefused }

// Unwrap returns what the kernel said.
func (e *BusyError) Unwrap() error { return e.Err }

// ErrNotHeld is the cause when a function to be released is in no lease.
var ErrNotHeld = errors.New("not handed out by indy; indy leases lists what is")

// A Store keeps leases as files in Dir, one each, changed under a lock that all
// processes using the directory share.
type Store struct {
	Dir string // of the leases, which a new boot forgets: /run/indy/leases

	// StateDir keeps what outlives a boot: /var/lib/indy. Empty keeps nothing.
	StateDir string
}

// List returns the leases by first function. A damaged file is in the error and
// hides no other lease.
func (s *Store) List() ([]Lease, error) {
	entries, err := os.ReadDir(s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list leases: %w", err)
	}
	var leases []Lease
	var errs []error
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".json") {
			continue
		}
		l, err := readLease(filepath.Join(s.Dir, e.Name()))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		leases = append(leases, l)
	}
	slices.SortFunc(leases, func(a, b Lease) int { return a.Devices[0].Compare(b.Devices[0]) })
	return leases, errors.Join(errs...)
}

func readLease(name string) (Lease, error) {
	var l Lease
	data, err := os.ReadFile(name)
	if err == nil {
		err = json.Unmarshal(data, &l)
	}
	if err == nil && (len(l.Devices) == 0 || l.Plan == nil || l.file() != filepath.Base(name)) {
		err = errors.New("no device, no plan, or another device's name")
	}
	if err != nil {
		return l, fmt.Errorf("lease %s is damaged, so what it holds is not known: %w; look at its devices with indy why, then remove the file", name, err)
	}
	return l, nil
}

// A Taking says what is to be taken, and by whom.
type Taking struct {
	// Plan decides what to write. It is asked once nobody else can take or give back
	// anything, so that it sees what the last one left.
	Plan func() (*Plan, error)
	// Run marks the lease as one that this process gives back by itself.
	Run bool
}

// Assign carries out a plan and keeps it as a lease. The lease is on disk before
// the first write and stays there if the hand-over could not be taken back in full
// (*[PartialError]). A group in another lease is a *[HeldError]. It waits for other
// processes that change leases, until ctx is done.
func (s *Store) Assign(ctx context.Context, h *Host, t Taking) (*Lease, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	leases, err := s.List()
	if err != nil {
		return nil, err // who holds what must be known
	}
	p, err := t.Plan()
	if err != nil {
		return nil, err
	}
	boot, err := hostfs.ReadString(h.FS, "proc/sys/kernel/random/boot_id")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, l := range leases {
		for _, g := range p.Groups {
			if slices.Contains(l.Groups, g) && l.BootID == boot {
				return nil, held(h.FS, GroupClaim(g), l)
			}
		}
	}
	started, err := processStart(h.FS, os.Getpid())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l := &Lease{
		ID: p.Devices[0].String(), Guest: p.Guest, Locked: p.Locked, Devices: p.Devices, Groups: p.Groups, Claims: p.claims(), State: Assigning,
		Since: time.Now().UTC().Truncate(time.Second), PID: os.Getpid(), Started: started, Run: t.Run, BootID: boot, Plan: p,
	}
	if err := s.put(l); err != nil {
		return nil, err
	}
	if err := h.Apply(ctx, p); err != nil {
		var partial *PartialError
		if !errors.As(err, &partial) {
			err = errors.Join(err, s.remove(l))
		}
		return nil, err
	}
	l.State = Assigned
	if err := s.put(l); err != nil {
		if left := h.Undo(p); left != nil {
			return nil, &PartialError{err, []error{left}}
		}
		return nil, errors.Join(err, s.remove(l))
	}
	return l, nil
}

// Release gives back the lease that holds function a, whole. What it finds as it
// was before is left alone, so that it may be run again after a failure. An error
// that is [ErrNotHeld] means that there is no such lease, a *[BusyError] that nothing
// was done because a guest runs with it, and a *[PartialError] that the lease is kept.
//
// It is not interrupted by ctx once it has begun to write.
func (s *Store) Release(ctx context.Context, h *Host, a pci.Address) (*Lease, error) {
	l, unlock, err := s.lockHolding(ctx, a)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return s.release(h, l)
}

// ReleaseOwn gives back a lease that this process took or adopted, as [Store.Release]
// does. If its devices are in another lease by now, or in none, somebody else has ended
// it, and nothing is done.
func (s *Store) ReleaseOwn(ctx context.Context, h *Host, own *Lease) error {
	l, unlock, err := s.lockHolding(ctx, own.Devices[0])
	if errors.Is(err, ErrNotHeld) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unlock()
	if l.PID != own.PID || l.Started != own.Started || !l.Since.Equal(own.Since) {
		return nil
	}
	_, err = s.release(h, l)
	return err
}

// Adopt makes the lease that holds function a this process's own, if the run that took
// it has ended without giving it back. Of several that try, one gets it, and the others
// a *[HeldError].
func (s *Store) Adopt(ctx context.Context, h *Host, a pci.Address) (*Lease, error) {
	l, unlock, err := s.lockHolding(ctx, a)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if !l.Abandoned(h.FS) || l.State != Assigned {
		return nil, held(h.FS, GroupClaim(l.Groups[0]), *l)
	}
	started, err := processStart(h.FS, os.Getpid())
	if err != nil {
		return nil, err
	}
	l.PID, l.Started = os.Getpid(), started
	return l, s.put(l)
}

func (s *Store) release(h *Host, l *Lease) (*Lease, error) {
	boot, err := hostfs.ReadString(h.FS, "proc/sys/kernel/random/boot_id")
	if err == nil && l.BootID != "" && l.BootID != boot {
		return l, s.remove(l) // a kernel that has started anew binds its own drivers
	}
	for _, g := range l.Groups {
		if h.InUse == nil {
			break
		}
		if err := h.InUse(g); err != nil {
			return nil, &BusyError{g, *l, err}
		}
	}
	// The device matters more than the note: a full disk does not keep it.
	l.State = Releasing
	errs := []error{s.put(l), h.Undo(l.Plan)}
	if errs[1] == nil {
		errs[1] = s.remove(l)
		if errs[1] == nil {
			return l, nil
		}
	}
	return l, &PartialError{Left: slices.DeleteFunc(errs, func(err error) bool { return err == nil })}
}

// Holding returns the lease that holds function a, or [ErrNotHeld].
func (s *Store) Holding(a pci.Address) (*Lease, error) {
	leases, err := s.List()
	for _, l := range leases {
		if slices.Contains(l.Devices, a) {
			return &l, nil
		}
	}
	if err != nil {
		return nil, err
	}
	return nil, &OpError{"release", a.String(), ErrNotHeld}
}

// lockHolding is Holding for who is about to change the lease. Without an error the
// lock is the caller's.
func (s *Store) lockHolding(ctx context.Context, a pci.Address) (*Lease, func(), error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return nil, nil, err
	}
	l, err := s.Holding(a)
	if err != nil {
		unlock()
		return nil, nil, err
	}
	return l, unlock, nil
}

func (s *Store) lock(ctx context.Context) (func(), error) {
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("lease directory: %w", err)
	}
	l := flock.New(filepath.Join(s.Dir, "lock"))
	if _, err := l.TryLockContext(ctx, 10*time.Millisecond); err != nil {
		return nil, fmt.Errorf("lock %s: %w", l.Path(), err)
	}
	return func() { _ = l.Unlock() }, nil
}

func (s *Store) put(l *Lease) error {
	data, err := json.MarshalIndent(l, "", "\t")
	if err == nil {
		err = renameio.WriteFile(filepath.Join(s.Dir, l.file()), append(data, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write lease: %w", err)
	}
	return nil
}

func (s *Store) remove(l *Lease) error {
	if err := os.Remove(filepath.Join(s.Dir, l.file())); err != nil {
		return fmt.Errorf("remove lease: %w", err)
	}
	return nil
}
