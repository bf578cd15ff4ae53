package assign

import (
	"context"
	"errors"
	"io/fs"
	"slices"

	"github.com/project-independence/indy/pci"
)

// Release gives back the lease that holds function a, whole: also one whose hand-over or
// release was interrupted, and one that was stuck as far as the writes have come back. What
// it finds as it was before is left alone, and so is what somebody else has changed, so that
// it may be run again after a failure. An error that is [ErrNotHeld] means that there is no
// such lease, a *[BusyError] that nothing was done because a guest runs with it, and a
// *[PartialError] that the lease is kept.
//
// It waits until no other process works on the lease, or ctx is done. It is not
// interrupted by ctx once it has begun to write.
func (s *Store) Release(ctx context.Context, h *Host, a pci.Address) (*Lease, error) {
	o, err := s.lockFound(ctx, h, func() (*Lease, error) { return s.Holding(a) })
	if err != nil {
		return nil, err
	}
	defer o.close()
	return s.release(ctx, h, o)
}

// ReleaseOwn gives back a lease that this process took or adopted, as [Store.Release]
// does. If somebody else has ended it or has it by now, nothing is done.
func (s *Store) ReleaseOwn(ctx context.Context, h *Host, own *Lease) error {
	o, err := s.lockLease(ctx, h, own)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer o.close()
	if o.PID != own.PID || o.Started != own.Started || o.BootID != own.BootID {
		return nil
	}
	_, err = s.release(ctx, h, o)
	return err
}

// Adopt makes the lease with a device, named as for [Store.HoldingNamed], this process's
// own, if the run that took it has ended without giving it back. Of several that try, one
// gets it, and the others a *[HeldError].
func (s *Store) Adopt(ctx context.Context, h *Host, name string) (*Lease, error) {
	o, err := s.lockFound(ctx, h, func() (*Lease, error) { return s.HoldingNamed(name) })
	if err != nil {
		return nil, err
	}
	defer o.close()
	if !o.Abandoned(h.FS) || o.State != Assigned {
		return nil, NewHeldError(h.FS, o.claim(), o.Lease)
	}
	return o.Lease, o.append(record{Op: opOwner, Process: o.me, Run: true})
}

// claim is what a lease is named by when somebody else wants what it has.
func (l *Lease) claim() Claim {
	if len(l.Claims) == 0 {
		return Claim(l.Name())
	}
	return l.Claims[0]
}

// lockFound locks the lease that find returns.
func (s *Store) lockFound(ctx context.Context, h *Host, find func() (*Lease, error)) (*openLease, error) {
	for {
		l, err := find()
		if err != nil {
			return nil, err
		}
		o, err := s.lockLease(ctx, h, l)
		if !errors.Is(err, fs.ErrNotExist) || ctx.Err() != nil {
			return o, err
		}
		// It has ended meanwhile; another one may hold the device by now.
	}
}

// release gives back a lease that this process has locked, and ends it.
func (s *Store) release(ctx context.Context, h *Host, o *openLease) (*Lease, error) {
	h = o.lent(h)
	boot, err := bootID(h.FS)
	if err != nil {
		return nil, err
	}
	if o.BootID != boot { // a kernel that has started anew binds its own drivers
		if err := s.forgotten(ctx, h, o.Lease); err != nil {
			return nil, err
		}
		return o.Lease, o.remove()
	}
	if o.Plan == nil { // nothing was written
		return o.Lease, o.remove()
	}
	if err := o.inUse(h); err != nil {
		return nil, err
	}
	interrupted, still := !o.complete, o.stillStuck(h.FS)
	// One that is looked at again and again while nothing has come back says so once.
	same := o.State == Stuck && len(still) == len(o.Stuck)
	var noted error
	if !same {
		// The device matters more than the note: a full disk does not keep it.
		noted = o.setState(Releasing)
		if interrupted {
			s.unused(h, o.Lease)
		} else {
			still = append(still, s.beforeUndo(h, o.Lease, still)...)
		}
	}
	w := &work{host: h, plan: o.Plan, note: o.note, begun: o.begun, stuck: still}
	left := w.undo()
	for _, line := range w.told {
		h.told(line)
	}
	if left != nil {
		errs := []error{left}
		if !same || len(w.stuck) != len(still) {
			errs = append(errs, o.setStuck(w.stuck)...)
		}
		return o.Lease, &PartialError{Left: errs}
	}
	if err := o.remove(); err != nil {
		return o.Lease, &PartialError{Left: slices.DeleteFunc([]error{noted, err}, func(err error) bool { return err == nil })}
	}
	return o.Lease, nil
}

// inUse says which group somebody has open: the kernel would wait for them. What was stuck
// while it was given back is waited for already.
func (o *openLease) inUse(h *Host) error {
	if o.State != Assigned && len(o.stillStuck(h.FS)) > 0 {
		return nil
	}
	if err := h.busy(o.Lease); err != nil || h.InUse == nil {
		return err
	}
	for _, g := range o.Groups {
		if err := h.InUse(g); err != nil {
			return &BusyError{Group: g, Lease: *o.Lease, Err: err}
		}
	}
	return nil
}

// stillStuck returns the writes that have not come back yet, whose processes are there.
func (l *Lease) stillStuck(fsys fs.FS) []StuckWrite {
	var still []StuckWrite
	for _, w := range l.Stuck {
		if (Process{w.PID, w.Started}).Alive(fsys) {
			still = append(still, w)
		}
	}
	return still
}

func (h *Host) told(line string) {
	if h.Told != nil {
		h.Told(line)
	}
}
