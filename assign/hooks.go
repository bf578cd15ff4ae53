package assign

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

// What else has to be done at some moments of a lease. The lease is locked by this process
// at each of them.

// beforeWrites is called once the plan is on the disk and before the first write. Nothing
// has been written when it returns an error, which ends the hand-over.
//
// Whatever becomes of the hand-over and of this machine, it is on record from here on that
// the guest had the functions.
func (s *Store) beforeWrites(_ context.Context, h *Host, l *Lease) error { return s.noteUse(h.FS, l) }

// beforeUndo is called when a lease is given back, other than one whose hand-over was
// interrupted: nobody uses its devices, it is in the state releasing, and they still are
// with vfio-pci. It is called again when a release that was interrupted, or was stuck, is
// gone on with; some of the devices may be with their drivers then, or be stuck, which is
// what it is given. What it cannot do it keeps on record; the devices are given back all
// the same, but for those whose writes have not come back from it, which it returns.
func (s *Store) beforeUndo(h *Host, l *Lease, stuck []StuckWrite) []StuckWrite {
	if s.StateDir == "" {
		return nil // a reset that nobody remembers is of no use
	}
	var devices []pci.Address
	var names []string
	for _, a := range l.handed() {
		// One that a host driver has already was reset before, or is on record as used.
		driver, err := pci.Driver(h.FS, a)
		if err == nil && (driver == "" || driver == VFIODriver) && !waitsFor(stuck, a.String()) {
			devices, names = append(devices, a), append(names, a.String())
		}
	}
	ports := h.freeUSB(l, stuck)
	for _, p := range ports {
		names = append(names, nameUSB(p))
	}
	before, err := s.residuesAt(l, names)
	if err != nil {
		h.told(err.Error())
	}
	// Nothing is given back before it is on record what came of all their resets. A release
	// that is gone on with may find some with their drivers, and the bus of the others cannot
	// be reset any more, nor need it.
	done := before.resetIn(l.ID, names)
	if len(done) == len(names) {
		return nil
	}
	// What is or was a locked guest's takes more of a reset.
	results, hung, err := h.reset(devices, l.Plan, done, func(a pci.Address) bool { return l.Locked || before.locked(a.String()) })
	all := byName(results)
	ports = slices.DeleteFunc(ports, func(p usb.PortPath) bool { _, ok := done[nameUSB(p)]; return ok })
	more, uerr := h.resetUSB(ports, all)
	hung = append(hung, more...)
	noted, nerr := s.noteReset(h.FS, l, all, hung, false)
	if err = errors.Join(err, uerr, nerr); err != nil {
		h.told(fmt.Sprintf("reset: %v", err))
	}
	for _, r := range noted {
		if r.State != Clean {
			h.told(fmt.Sprintf("%s is %s: %s; another guest gets it once it is reset: indy reset %s", r.Device, r, r.why(), r.Device))
		}
	}
	return hung
}

// unused is called when a hand-over was taken back before it was complete, so that no
// guest can have used the devices. That it is not noted costs a reset and no more.
func (s *Store) unused(h *Host, l *Lease) {
	if err := s.noteUnused(h.FS, l); err != nil {
		h.told(err.Error())
	}
}

// forgotten is called before a lease is removed that was taken on a kernel which does not
// run any more. Its functions may be with host drivers again, and still hold what the
// guest left: a restart resets some devices and not others. Those that nobody has are
// reset; the others stay on record as used.
func (s *Store) forgotten(ctx context.Context, h *Host, l *Lease) error {
	if s.StateDir == "" || l.Plan == nil || l.State == Planning {
		return nil
	}
	noted, err := s.Residues(h.FS)
	if err != nil {
		return err
	}
	var used, free []string
	for _, a := range l.given() {
		now, err := fingerprintOf(h.FS, a, ifAwake)
		if err != nil || !noted.Of(a, now).usedIn(l.ID) {
			continue // it has gone, or another one is there now
		}
		used = append(used, a)
		if driver, err := hostDriver(h.FS, a); err == nil && driver != "" {
			h.told(fmt.Sprintf("%s was used by guest %q before the last boot and is with %s now: another guest gets it once it was reset; "+
				"assign it to that guest and release it, or say indy reset --power-cycled %s if the machine was switched off", a, l.Guest, driver, a))
			continue
		}
		free = append(free, a)
	}
	if err := s.noteUseOf(h.FS, l, used); err != nil || len(free) == 0 {
		return err
	}
	left, err := s.Clean(ctx, h, Cleaning{Devices: functionsOf(free), USB: portsOf(free), Group: func(a pci.Address) iommu.GroupID {
		f, _ := pci.ReadFunction(h.FS, a)
		return f.Group
	}})
	for _, r := range left {
		h.told(fmt.Sprintf("%s was used by guest %q before the last boot; it is %s", r.Device, l.Guest, r))
	}
	if err != nil {
		h.told(err.Error()) // somebody has it by now; it stays on record
	}
	return nil
}

// handed returns the functions that the lease gives to the guest through vfio-pci.
func (l *Lease) handed() []pci.Address {
	if l.Plan == nil {
		return nil
	}
	var all []pci.Address
	for _, a := range l.Devices {
		steps, bound := 0, false
		for _, s := range l.Plan.Steps {
			if s.Bus == "" && s.Device == a.String() && !s.Keeps() {
				steps++
				bound = bound || s.Do.After == Check{What: driver, Is: VFIODriver}
			}
		}
		if bound || steps == 0 { // vfio-pci had it before
			all = append(all, a)
		}
	}
	return all
}
