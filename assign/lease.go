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

// The states. A lease found in any but Assigned was interrupted.
const (
	Assigning State = "assigning"
	Assigned  State = "assigned"
	Releasing State = "releasing"
)

// A Lease is a set of functions in a guest's hands, and how they get back.
type Lease struct {
	Guest   string          `json:"guest"`
	Devices []pci.Address   `json:"devices"`
	Groups  []iommu.GroupID `json:"groups"`
	State   State           `json:"state"`
	Since   time.Time       `json:"since"`
	PID     int             `json:"pid"`     // process that took it
	BootID  string          `json:"boot_id"` // kernel it was taken on; another one has forgotten it
	Plan    *Plan           `json:"plan"`
}

// file is the name of the lease in its store: that of its first function.
func (l *Lease) file() string { return l.Devices[0].String() + ".json" }

// A HeldError says who holds a group that was asked for.
type HeldError struct {
	Group iommu.GroupID
	Lease Lease
}

// Error names the holder.
func (e *HeldError) Error() string {
	return fmt.Sprintf("IOMMU group %s is held by guest %q since %s; indy release %s gives it back",
		e.Group, e.Lease.Guest, e.Lease.Since.Format(time.RFC3339), e.Lease.Devices[0])
}

// Is reports whether target is [ErrRefused]: a group has one owner.
func (e *HeldError) Is(target error) bool { return target == ErrRefused }

// ErrNotHeld is the cause when a function to be released is in no lease.
var ErrNotHeld = errors.New("not handed out by indy; indy leases lists what is")

// A Store keeps leases as files in Dir, one each, changed under a lock that all
// processes using the directory share.
type Store struct{ Dir string }

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
		return l, fmt.Errorf("lease %s: %w", name, err)
	}
	return l, nil
}

// Assign carries out a plan and keeps it as a lease. The lease is on disk before
// the first write and stays there if the hand-over could not be taken back in full
// (*[PartialError]). A group in another lease is a *[HeldError].
func (s *Store) Assign(ctx context.Context, h *Host, p *Plan) (*Lease, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	held, err := s.List()
	if err != nil {
		return nil, err // who holds what must be known
	}
	boot, err := hostfs.ReadString(h.FS, "proc/sys/kernel/random/boot_id")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, l := range held {
		for _, g := range p.Groups {
			if slices.Contains(l.Groups, g) && l.BootID == boot {
				return nil, &HeldError{g, l}
			}
		}
	}
	l := &Lease{
		Guest: p.Guest, Devices: p.Devices, Groups: p.Groups, State: Assigning,
		Since: time.Now().UTC().Truncate(time.Second), PID: os.Getpid(), BootID: boot, Plan: p,
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
// that is [ErrNotHeld] means that there is no such lease; a *[PartialError] that the
// lease is kept.
//
// It is not interrupted by ctx once it has begun to write.
func (s *Store) Release(ctx context.Context, h *Host, a pci.Address) (*Lease, error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	l, err := s.Holding(a)
	if err != nil {
		return nil, err
	}
	boot, err := hostfs.ReadString(h.FS, "proc/sys/kernel/random/boot_id")
	if err == nil && l.BootID != "" && l.BootID != boot {
		return l, s.remove(l) // a kernel that has started anew binds its own drivers
	}
	l.State = Releasing
	if err := s.put(l); err != nil {
		return nil, err
	}
	if err := h.Undo(l.Plan); err != nil {
		return l, &PartialError{Left: []error{err}}
	}
	return l, s.remove(l)
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
	return nil, &OpError{"release", a, ErrNotHeld}
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
