package assign

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

// A Cleaning says what is to be done about what guests have left in functions and USB devices
// that nobody has.
type Cleaning struct {
	Devices []pci.Address
	USB     []usb.PortPath
	// Group returns the IOMMU group of a function, which nobody else gets meanwhile.
	Group func(pci.Address) iommu.GroupID
	// AsNew takes what the functions say of themselves now for how they were before: they
	// are others than before, or the owner knows what has changed.
	AsNew bool
	// PowerCycled says that the machine was without power since they were used. Nothing is
	// then reset; it is believed, unless the kernel on which they were used still runs.
	PowerCycled bool
}

// Clean resets functions that no guest has and no host driver uses, and notes what came of
// it. They are claimed meanwhile: who has one of them is a *[HeldError]. It returns what is
// left in each; the error is [ErrRefused] for those that were not reset because somebody
// uses them.
func (s *Store) Clean(ctx context.Context, h *Host, c Cleaning) ([]Residue, error) {
	if s.StateDir == "" {
		return nil, errors.New("clean: there is no directory to note it in")
	}
	var claims []Claim
	for _, a := range c.Devices {
		if claim := GroupClaim(c.Group(a)); !slices.Contains(claims, claim) {
			claims = append(claims, claim)
		}
	}
	for _, p := range c.USB {
		claims = append(claims, USBClaim(p))
		if d, err := usb.ReadDevice(h.FS, p); err == nil && d.Controller.IsValid() && c.Group(d.Controller).IsValid() {
			claims = append(claims, Under(GroupClaim(c.Group(d.Controller))))
		}
	}
	o, err := s.claim(ctx, h, Taking{Guest: "indy-reset", Devices: c.Devices, Claims: claims})
	if err != nil {
		return nil, err
	}
	defer o.close()
	residues, stuck, err := s.clean(o.lent(h), o, c)
	if len(stuck) > 0 {
		return residues, &PartialError{Left: append([]error{err}, o.setStuck(stuck)...)}
	}
	return residues, errors.Join(err, o.remove())
}

// clean does the work of Clean under a claim.
func (s *Store) clean(h *Host, o *openLease, c Cleaning) ([]Residue, []StuckWrite, error) {
	if c.PowerCycled {
		residues, err := s.notePowerCycle(h, o.Lease, c.names())
		return residues, nil, err
	}
	for _, a := range c.Devices {
		driver, err := pci.Driver(h.FS, a)
		switch {
		case err != nil:
			return nil, nil, err
		case driver != "" && driver != VFIODriver:
			return nil, nil, &OpError{"reset", a.String(), fmt.Errorf("%w: its driver %s uses it; "+
				"hand it over and take it back, which resets it: indy assign %s, with the guest that used it, and indy release %s", ErrRefused, driver, a, a)}
		case driver == VFIODriver && h.InUse != nil:
			if err := h.InUse(c.Group(a)); err != nil {
				return nil, nil, &OpError{"reset", a.String(), fmt.Errorf("%w: somebody runs with it: %w", ErrRefused, err)}
			}
		}
	}
	for _, path := range c.USB {
		d, err := usb.ReadDevice(h.FS, path)
		if err != nil {
			return nil, nil, err
		}
		for _, i := range d.Interfaces {
			switch {
			case i.Driver == usbfs:
				return nil, nil, &OpError{"reset", path.String(), fmt.Errorf("%w: %s", ErrRefused, claimedText(path, i.Number, nil))}
			case i.Driver != "":
				return nil, nil, &OpError{"reset", path.String(), fmt.Errorf("%w: the driver %s of the host uses it; "+
					"hand it over and take it back, which resets it: indy assign %s, with the guest that used it, and indy release %s", ErrRefused, i.Driver, path, path)}
			}
		}
	}
	p, err := resetPlan(h, c.Devices)
	if err != nil {
		return nil, nil, err
	}
	if err := o.planned(p, 0); err != nil {
		return nil, nil, err
	}
	for i := range p.Steps { // whoever finds this undone puts the methods back
		if err := o.note(opDo, i); err != nil {
			return nil, nil, err
		}
	}
	results, stuck, err := h.reset(c.Devices, p, nil, func(pci.Address) bool { return true })
	all := byName(results)
	more, uerr := h.resetUSB(c.USB, all)
	stuck = append(stuck, more...)
	noted, nerr := s.noteReset(h.FS, o.Lease, all, stuck, c.AsNew)
	return noted, stuck, errors.Join(err, uerr, nerr)
}

// resetPlan is a plan that changes nothing but what a reset does, and puts that back.
func resetPlan(h *Host, devices []pci.Address) (*Plan, error) {
	p := &Plan{Guest: "indy-reset", Devices: devices, Groups: []iommu.GroupID{}, Steps: []Step{}}
	for _, a := range devices {
		f, err := pci.ReadFunction(h.FS, a)
		if err != nil {
			return nil, err
		}
		p.Identities = append(p.Identities, Identity{Device: a.String(), ID: identify(f)})
		for _, what := range []string{resetMethods, control} { // the second is set to wake it
			value, err := hostfs.ReadString(h.FS, deviceDir("", a.String())+"/"+what)
			if err != nil {
				continue // there is nothing to put back
			}
			now := Check{What: what, Is: value}
			w := Write{File: deviceDir("", a.String()) + "/" + what, Value: value, After: now}
			p.Steps = append(p.Steps, Step{Device: a.String(), Prior: now, Do: w, Undo: []Write{w}})
		}
	}
	return p, nil
}

// notePowerCycle takes the owner's word for it that the machine was without power.
func (s *Store) notePowerCycle(h *Host, own *Lease, devices []string) ([]Residue, error) {
	var noted []Residue
	var refused []error
	at := time.Now().UTC().Truncate(time.Second)
	err := s.note(h.FS, own, devices, ifAwake, 0, func(r Residue, now Fingerprint, boot string) Residue {
		switch {
		case r.State == Clean || r.State == "":
		case r.BootID == boot:
			refused = append(refused, &OpError{"reset", r.Device,
				fmt.Errorf("%w: it came to be %s while this kernel runs, and the machine was not without power since", ErrRefused, r.State)})
		default:
			r = Residue{Device: r.Device, Fingerprint: now.merge(r.Fingerprint), State: Clean, Since: at, BootID: boot,
				Detail: "without power in between, as its owner said"}
		}
		noted = append(noted, r)
		return r
	})
	return noted, errors.Join(append(refused, err)...)
}
