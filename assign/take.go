package assign

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
)

// A Taking says what is to be taken, and by whom.
type Taking struct {
	// Plan decides what to write. It is asked once nobody else can have what is claimed,
	// so that it sees what the last one left, and again if its plan needs more than that.
	Plan func() (*Plan, error)

	// Guest, Devices and Claims say what is to be held while Plan decides. Without claims
	// Plan is asked once more before, for a plan that says what they are.
	Guest   string
	Devices []pci.Address
	Claims  []Claim

	// Run marks the lease as one that this process gives back by itself.
	Run bool

	// Confirm is how long there is to confirm the hand-over, counted from its end. Without
	// that it is undone by the next [Store.Recover]. Zero needs no confirmation.
	Confirm time.Duration
}

// Assign carries out a plan and keeps it as a lease. The lease is on the disk before
// the first write, each write is before it is made, and the lease stays there if the
// hand-over could not be taken back in full (*[PartialError]). What another lease has is a
// *[HeldError]. It waits for others that claim something, until ctx is done and at most
// for [LockTimeout]; it never waits for others that carry out a plan.
func (s *Store) Assign(ctx context.Context, h *Host, t Taking) (*Lease, error) {
	if len(t.Claims) == 0 {
		p, err := t.Plan()
		if err != nil {
			return nil, err
		}
		t.Guest, t.Devices, t.Claims = p.Guest, p.Devices, p.claims()
	}
	o, err := s.claim(ctx, h, t)
	if err != nil {
		return nil, err
	}
	defer o.close()
	h = o.lent(h)
	p, err := s.planHeld(ctx, h, o, t)
	if err == nil {
		err = o.planned(p, t.Confirm)
	}
	if err == nil {
		err = s.beforeWrites(ctx, h, o.Lease)
	}
	if err != nil {
		if p != nil {
			s.unused(h, o.Lease)
		}
		return nil, errors.Join(err, o.remove())
	}
	w := &work{host: h, plan: p, note: o.note}
	err = w.applyOrUndo(ctx)
	if err == nil {
		if err = o.assigned(t.Confirm); err == nil {
			return o.Lease, nil
		}
		if left := w.undo(); left != nil {
			err = &PartialError{err, []error{left}}
		}
	}
	var partial *PartialError
	if !errors.As(err, &partial) {
		s.unused(h, o.Lease)
		return nil, errors.Join(err, o.remove())
	}
	if len(w.stuck) > 0 {
		partial.Left = append(partial.Left, o.setStuck(w.stuck)...)
	}
	return nil, err
}

// claim makes the file of a lease, if nobody else has what it claims.
func (s *Store) claim(ctx context.Context, h *Host, t Taking) (*openLease, error) {
	boot, err := bootID(h.FS)
	if err != nil {
		return nil, err
	}
	me, err := self(h.FS)
	if err != nil {
		return nil, err
	}
	// Who loses is told so without the lock, for which many would wait in vain.
	if err := s.held(h, boot, t.Claims); err != nil {
		return nil, err
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	ids, err := s.free(h, boot, "", t.Claims)
	if err != nil {
		return nil, err
	}
	l := &Lease{
		ID: s.uniqueID(t.Devices, t.Claims, ids), Guest: t.Guest,
		Devices: append([]pci.Address{}, t.Devices...), Groups: []iommu.GroupID{}, Claims: slices.Clone(t.Claims), State: Planning,
		Since: time.Now().UTC().Truncate(time.Second), PID: me.PID, Started: me.Started, Run: t.Run, BootID: boot, Worker: me,
	}
	file, err := s.dir().Create(l.ID+suffix, reserve, record{Format: format, BootID: boot, Op: opLease, Lease: l})
	if err != nil {
		return nil, fmt.Errorf("write lease: %w", err)
	}
	o := s.hold(h, file)
	o.Lease, o.progress, o.me = l, progress{seq: 1}, me
	return o, nil
}

// reserve is the space that a lease has from the beginning, in bytes: that of most, from
// the first record to the last.
const reserve = 16 << 10

// held says who holds one of the claims for certain; whether they are free only the lock
// can tell.
func (s *Store) held(h *Host, boot string, claims []Claim) error {
	leases, _ := s.List()
	for i := range leases {
		l := &leases[i]
		if c, taken := conflict(claims, l.Claims); taken && l.BootID == boot && l.State != Planning {
			return NewHeldError(h.FS, c, l)
		}
	}
	return nil
}

// free says who holds one of the claims, or why that is not known; else it returns the IDs of
// all leases. The caller has the store's lock; own is the ID of its own lease.
func (s *Store) free(h *Host, boot, own string, claims []Claim) (ids []string, err error) {
	leases, err := s.List()
	if err != nil {
		return nil, err // who holds what must be known
	}
	for i := range leases {
		l := &leases[i]
		ids = append(ids, l.ID)
		if l.ID == own || l.BootID != boot {
			continue // a kernel that has started anew has forgotten it
		}
		c, taken := conflict(claims, l.Claims)
		if !taken {
			continue
		}
		if l.State == Planning && l.Interrupted(h.FS) && s.dropPlanning(h, l) {
			continue
		}
		return nil, NewHeldError(h.FS, c, l)
	}
	return ids, nil
}

// dropPlanning ends a lease under which nothing was written, of a process that has ended.
// If its devices are prepared for a guest all the same, that is for [Store.Recover] to tell.
func (s *Store) dropPlanning(h *Host, l *Lease) bool {
	o, err := s.open(h, l.ID+suffix)
	if o == nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	defer o.close()
	return err == nil && o.Plan == nil && len(o.ahead(h)) == 0 && o.remove() == nil
}

// planHeld asks for the plan, and claims what it needs besides, until it needs no more.
func (s *Store) planHeld(ctx context.Context, h *Host, o *openLease, t Taking) (*Plan, error) {
	for range 4 {
		p, err := t.Plan()
		if err != nil {
			return nil, err
		}
		more := slices.DeleteFunc(p.claims(), func(c Claim) bool { return slices.Contains(o.Claims, c) })
		if len(more) == 0 {
			return p, nil
		}
		if err := s.claimMore(ctx, h, o, more); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("the machine changes faster than it can be planned for")
}

func (s *Store) claimMore(ctx context.Context, h *Host, o *openLease, more []Claim) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := s.free(h, o.BootID, o.ID, more); err != nil {
		return err
	}
	return o.append(record{Op: opClaims, Claims: append(slices.Clone(o.Claims), more...)})
}

// planned notes the plan, and makes sure that all that follows can be noted, too, on
// whatever disk.
func (o *openLease) planned(p *Plan, confirm time.Duration) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	const intent = 256 // more than the longest record of one write
	writes := 0
	for _, s := range p.Steps {
		writes += 1 + len(s.Undo)
	}
	if err := o.file.Reserve(len(text) + 2*intent*writes + 4096); err != nil {
		return fmt.Errorf("write lease: %w", err)
	}
	r := record{Op: opPlan, Plan: p, Process: o.me}
	if confirm > 0 {
		// Until the hand-over is done the deadline is far off: it counts from then.
		r.Confirm = o.store.deadline(confirm + NodeTimeout*time.Duration(1+len(p.Groups)))
	}
	return o.append(r)
}

func (s *Store) deadline(d time.Duration) *Deadline {
	return &Deadline{Clock: s.now() + d, Time: time.Now().Add(d).UTC().Truncate(time.Second)}
}

// assigned notes that the hand-over is complete.
func (o *openLease) assigned(confirm time.Duration) error {
	r := record{Op: opState, State: Assigned, Process: o.me}
	if confirm > 0 {
		r.Confirm = o.store.deadline(confirm)
	}
	return o.append(r)
}

// setStuck notes the writes that have not come back, none when all have.
func (o *openLease) setStuck(stuck []StuckWrite) (failed []error) {
	if err := o.append(record{Op: opStuck, Stuck: stuck}); err != nil {
		failed = append(failed, err)
	}
	if len(stuck) > 0 {
		if err := o.setState(Stuck); err != nil {
			failed = append(failed, err)
		}
	}
	return failed
}

// Confirm says that the hand-over of a lease, named as for [Store.HoldingNamed],
// is as it should be, so that it is not undone. One that needs no confirmation has it. It
// is [ErrLate] once the time for it is over.
func (s *Store) Confirm(ctx context.Context, h *Host, name string) (*Lease, error) {
	l, err := s.HoldingNamed(name)
	if errors.Is(err, ErrNotHeld) {
		return nil, &OpError{"confirm", name, ErrNotHeld}
	}
	if err != nil {
		return nil, err
	}
	o, err := s.lockLease(ctx, h, l)
	if err != nil {
		return nil, err
	}
	defer o.close()
	switch {
	case o.Confirm == nil:
		return o.Lease, nil
	case o.State != Assigned || s.late(o.Lease):
		return nil, &OpError{"confirm", o.Name(), ErrLate}
	}
	return o.Lease, o.append(record{Op: opConfirmed})
}

// ErrLate is the cause when a hand-over is confirmed after its time: it has been undone, or
// is about to be.
var ErrLate = errors.New("the time to confirm it is over; it is given back")

// late reports whether a lease should have been confirmed by now.
func (s *Store) late(l *Lease) bool { return l.Confirm != nil && s.now() >= l.Confirm.Clock }
