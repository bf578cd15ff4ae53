package assign

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/project-independence/indy/pci"
)

// A Result is what became of a lease that was not as it should be.
type Result string

// The results.
const (
	GivenBack  Result = "given-back"  // the devices are as before the lease, which is gone
	Dropped    Result = "dropped"     // it was taken before the last boot, and is gone
	InProgress Result = "in-progress" // a process works on it
	PutAside   Result = "put-aside"   // damaged, with nothing left to give back
	Kept       Result = "kept"        // something is left; the error says what
)

// A Recovered says what [Store.Recover] found and did.
type Recovered struct {
	Lease   string        `json:"lease"` // its ID, or the name of a file that is none
	Guest   string        `json:"guest"`
	Devices []pci.Address `json:"devices"`
	Found   State         `json:"found"` // how far it had come; empty when that is not known
	Result  Result        `json:"result"`
	Told    []string      `json:"told"` // what whoever looks should know
	Error   string        `json:"error,omitempty"`

	// Err is what is left, or what is wrong with a device that was given back.
	Err error `json:"-"`
}

// Recover sees to all leases that are not as they should be, and says what it did with
// each: what was interrupted is taken back, also what a run left that has ended, what was
// not confirmed in time, and what was stuck and has come back. A lease of before the last
// boot is dropped, because the kernel has forgotten it. It looks whether each device is as
// it was before: driver, override, whether it answers, and the interfaces and disks it had.
//
// It may be run at any time, and again; other processes may work on leases meanwhile. It
// may be killed at any time, and the next one does the rest. The error is a
// *[PartialError] when something is left; what is in Told is not.
func (s *Store) Recover(ctx context.Context, h *Host) ([]Recovered, error) {
	names, err := s.leftovers(ctx)
	if err != nil {
		return nil, err
	}
	var all []Recovered
	var left []error
	see := func(names []string, patience time.Duration) (later []string, err error) {
		until := time.Now().Add(patience)
		for _, name := range names {
			if err := context.Cause(ctx); err != nil {
				return nil, err
			}
			r, ok := s.recover(ctx, h, name, max(0, time.Until(until)))
			if errors.Is(r.Err, errLater) {
				later = append(later, name)
				continue
			}
			if r.Err != nil {
				r.Error = r.Err.Error()
				left = append(left, r.Err)
			}
			if ok {
				all = append(all, r)
			}
		}
		return later, nil
	}
	// Those that the kernel is at for a process that was killed are waited for together, and
	// none of the others waits for them.
	later, err := see(names, 0)
	if err == nil && len(later) > 0 {
		_, err = see(later, orphanTime)
	}
	if err != nil {
		return all, err
	}
	if len(left) > 0 {
		return all, &PartialError{Left: left}
	}
	return all, nil
}

// leftovers lists the files of the store, and removes what was left of those that were
// being made when somebody was killed.
func (s *Store) leftovers(ctx context.Context) ([]string, error) {
	names, err := s.dir().Names()
	if err != nil {
		return nil, fmt.Errorf("list leases: %w", err)
	}
	if len(names) == 0 {
		return nil, nil // and there may be no directory to be locked
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := s.dir().Sweep(); err != nil {
		return nil, err
	}
	return s.dir().Names()
}

// errLater is that a lease is locked by a process which makes a call for one that was killed.
var errLater = errors.New("to be waited for")

// recover sees to one file. It is not ok when the lease is as it should be, or has ended.
// What nobody but the kernel is at is waited for as long as patience; without, it is errLater.
func (s *Store) recover(ctx context.Context, h *Host, name string, patience time.Duration) (r Recovered, ok bool) {
	r = Recovered{Lease: name, Devices: []pci.Address{}, Told: []string{}, Result: Kept}
	o, err := s.open(h, name)
	if id := strings.TrimSuffix(name, suffix); errors.Is(err, errLocked) {
		switch {
		case !s.orphaned(h.FS, id):
			o, err = s.open(h, name) // it may have been one a moment ago
		case patience <= 0:
			r.Err = errLater
			return r, false
		default:
			l, _ := s.read(name)
			o, err = s.await(ctx, h, cmp.Or(l, &Lease{ID: id}), patience)
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return r, false
	case errors.Is(err, errLocked), errors.Is(err, ErrStuck), ctx.Err() != nil && errors.Is(err, context.Cause(ctx)):
		if l, _ := s.read(name); l != nil {
			r.about(l)
		}
		if r.Result = InProgress; errors.Is(err, ErrStuck) {
			r.Result, r.Err = Kept, err
		}
		return r, true
	case o == nil:
		return s.recoverUnknown(h, name, nil, r, err), true
	}
	defer o.close()
	if o.Lease != nil {
		r.about(o.Lease)
	}
	if err != nil {
		return s.recoverDamaged(ctx, h, name, o, r, err), true
	}
	boot, err := bootID(h.FS)
	if err != nil {
		r.Err = err
		return r, true
	}
	if o.BootID == boot && o.State == Assigned && !o.Abandoned(h.FS) && !s.late(o.Lease) {
		// What was removed and found again looks the same, and is still the guest's: see Guard.
		if !o.undone(h) || o.Plan.cameBack(h.FS) && s.notGivenBack(o.Lease) {
			return r, false
		}
		r.tell("its devices are not prepared for a guest: whoever gave them back could not note it, or the lease is an older copy")
		if r.Err = o.remove(); r.Err == nil {
			r.Result = GivenBack
			s.verify(ctx, h, o.Lease, &r)
		}
		return r, true
	}
	if s.late(o.Lease) && o.State == Assigned {
		r.tell("it was not confirmed in time")
	}
	r.Result = GivenBack
	var ahead []string
	if o.BootID != boot {
		r.Result = Dropped
	} else if o.State == Assigning || o.State == Planning {
		ahead = o.ahead(h)
	}
	if _, err := s.release(ctx, r.listening(h), o); err != nil {
		r.Result, r.Err = Kept, err
		return r, true
	}
	if r.Result == GivenBack {
		s.verify(ctx, h, o.Lease, &r)
	}
	for _, device := range ahead {
		r.Err = errors.Join(r.Err, &OpError{"give back", device, errAhead})
	}
	return r, true
}

var errAhead = errors.New("it is prepared for a guest, and the lease did not come so far: somebody else has done it, " +
	"or the lease is an older copy; if it is nobody's, give it back by hand")

// ahead returns the devices that are as the plan would have them after steps which were not
// begun: whose they are is not known, and they are left so.
func (o *openLease) ahead(h *Host) []string {
	if o.Plan == nil {
		return o.aheadOfPlan(h)
	}
	begun := map[string]bool{}
	for _, s := range o.Plan.Steps[:o.begun] {
		begun[s.dir()+" "+s.Do.After.String()] = true
	}
	var devices []string
	for _, s := range o.Plan.Steps[o.begun:] {
		if begun[s.dir()+" "+s.Do.After.String()] || s.Do.After.Is == "" || slices.Contains(devices, s.Device) {
			continue
		}
		was, err := h.holds(s, s.Prior)
		if is, err2 := h.holds(s, s.Do.After); err == nil && err2 == nil && is && !was {
			devices = append(devices, s.Device)
		}
	}
	return devices
}

// aheadOfPlan returns the functions of the claimed groups that are with vfio-pci, though
// nothing was written to them.
func (o *openLease) aheadOfPlan(h *Host) []string {
	var devices []string
	for _, c := range o.Claims {
		group, ok := strings.CutPrefix(string(c), "group ")
		if !ok {
			continue
		}
		members, _ := fs.ReadDir(h.FS, "sys/kernel/iommu_groups/"+group+"/devices")
		for _, m := range members {
			if is, err := h.holds(Step{Device: m.Name()}, Check{What: driver, Is: VFIODriver}); err == nil && is {
				devices = append(devices, m.Name())
			}
		}
	}
	return devices
}

// undone reports whether nothing that the plan has done to any device is so any more.
func (o *openLease) undone(h *Host) bool {
	made := 0
	for _, s := range o.Plan.Steps {
		if s.Do.After.Is == "" || s.Keeps() {
			continue
		}
		made++
		if is, err := h.holds(s, s.Do.After); err != nil || is {
			return false // also of a device that has gone: it may come again
		}
	}
	return made > 0
}

// about says which lease it is.
func (r *Recovered) about(l *Lease) {
	r.Lease, r.Guest, r.Devices, r.Found = l.ID, l.Guest, append(r.Devices, l.Devices...), l.State
}

func (r *Recovered) tell(format string, args ...any) {
	r.Told = append(r.Told, fmt.Sprintf(format, args...))
}

// listening returns h, with what it is told kept in r.
func (r *Recovered) listening(h *Host) *Host {
	listening := *h
	listening.Told = func(line string) { r.Told = append(r.Told, line) }
	return &listening
}

// recoverDamaged takes back what is certain of a damaged lease: its plan, whichever of its
// steps were made, for what holds already is left alone.
func (s *Store) recoverDamaged(ctx context.Context, h *Host, name string, o *openLease, r Recovered, damage error) Recovered {
	boot, err := bootID(h.FS)
	switch {
	case err != nil:
		r.Err = err
		return r
	case o.Lease == nil || o.Plan == nil || o.BootID != boot:
		return s.recoverUnknown(h, name, o.Lease, r, damage)
	}
	if err := o.inUse(h); err != nil {
		r.Err = err
		return r
	}
	w := &work{host: o.lent(h), plan: o.Plan, note: func(string, int) error { return nil }, begun: len(o.Plan.Steps), stuck: o.stillStuck(h.FS)}
	left := w.undo()
	r.Told = append(r.Told, w.told...)
	if left != nil {
		r.Err = &PartialError{Cause: damage, Left: []error{left}}
		return r
	}
	r.tell("%v", damage)
	if r = s.putAside(name, r); r.Err == nil {
		r.Result = GivenBack
		s.verify(ctx, h, o.Lease, &r)
	}
	return r
}

// recoverUnknown sees to a file that does not say what it holds. As long as something in
// the machine may be what it held, it stays, and keeps everything from being handed out.
func (s *Store) recoverUnknown(h *Host, name string, l *Lease, r Recovered, why error) Recovered {
	held := map[pci.Address]bool{}
	leases, _ := s.List()
	for _, other := range leases {
		if l == nil || other.ID != l.ID {
			for _, a := range other.Devices {
				held[a] = true
			}
		}
	}
	strangers, err := foreign(h.FS, held)
	if err != nil {
		r.Err = errors.Join(why, err)
		return r
	}
	if len(strangers) > 0 {
		errs := []error{why}
		for _, f := range strangers {
			errs = append(errs, fmt.Errorf("it may have held this: %s", f))
		}
		errs = append(errs, fmt.Errorf("give back by hand what is not yours to keep, and run indy recover again; or remove %s", path.Join(s.Dir, name)))
		r.Err = errors.Join(errs...)
		return r
	}
	r.tell("%v", why)
	r.tell("no function of this machine is with vfio-pci or has an override that no lease explains: there is nothing to give back")
	return s.putAside(name, r)
}

func (s *Store) putAside(name string, r Recovered) Recovered {
	to, err := s.dir().PutAside(name)
	if err != nil {
		r.Err = fmt.Errorf("put the damaged lease aside: %w", err)
		return r
	}
	r.Result = PutAside
	r.tell("the file is kept as %s", to)
	return r
}
