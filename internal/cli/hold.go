package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/guest/qemu"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
	"github.com/project-independence/indy/vfio"
)

// holding is a guest's run that holds devices.
type holding struct {
	request
	leases []*assign.Lease // that the guest's devices are in
}

// hold makes sure that the guest has its devices: those in a lease of its own as
// they are, the others in a new one, which giveBack ends. QEMU's user may open the
// groups meanwhile.
func (r *holding) hold(ctx context.Context, env *Env, m *machine, devices []pci.Address, ports []usb.PortPath) (giveBack func() error, err error) {
	var undo []func() error
	undoAll := func() error {
		var errs []error
		for _, f := range slices.Backward(undo) {
			errs = append(errs, f())
		}
		return errors.Join(errs...)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, undoAll())
		}
	}()
	release := func(l *assign.Lease) {
		undo = append(undo, func() error { return env.giveBack(context.WithoutCancel(ctx), l) })
	}
	var wanted []string
	var left []string // the leases that a killed run left
	groups := map[iommu.GroupID]bool{}
	take := func(name string, claim assign.Claim, group iommu.GroupID) error {
		l, err := env.store().HoldingNamed(name)
		switch {
		case err != nil || !m.current(l):
			wanted = append(wanted, name)
			return nil
		case l.Guest != r.guest, l.Locked != r.locked, l.Run && !l.Abandoned(env.Host):
			return assign.NewHeldError(env.Host, claim, l)
		case l.State != assign.Assigned:
			return fmt.Errorf("%s is held by a lease that was interrupted while %s; indy release %s first", name, l.State, name)
		}
		if group.IsValid() && env.InUse != nil {
			if err := env.InUse(group); err != nil {
				return &assign.BusyError{Group: group, Lease: *l, Err: err}
			}
		}
		if l.Run && !slices.Contains(left, l.ID) {
			left = append(left, l.ID)
			release(l) // a run that was killed left it, and this one gives it back
		}
		if group.IsValid() {
			groups[group] = true
		}
		if !slices.ContainsFunc(r.leases, func(known *assign.Lease) bool { return known.ID == l.ID }) {
			r.leases = append(r.leases, l)
		}
		return nil
	}
	for _, a := range devices {
		group := m.Function(a).PCI.Group
		if err := take(a.String(), assign.GroupClaim(group), group); err != nil {
			return nil, err
		}
	}
	for _, p := range ports {
		if err := take("usb:"+p.String(), assign.USBClaim(p), iommu.GroupID{}); err != nil {
			return nil, err
		}
	}
	if len(wanted) > 0 {
		l, err := takeOver(ctx, env, &r.request, wanted, true)
		if err != nil {
			return nil, err
		}
		writeFindings(env, l.Plan.Findings)
		release(l)
		r.leases = append(r.leases, l)
		for _, g := range l.Groups {
			groups[g] = true
		}
	}
	if os.Geteuid() == 0 && len(groups) > 0 {
		user, err := qemu.DefaultUser()
		if err != nil {
			return nil, err
		}
		for g := range groups {
			revoke, err := vfio.Grant(g, user.UID, user.GID)
			if err != nil {
				return nil, err
			}
			undo = append(undo, revoke)
		}
	}
	return undoAll, nil
}

// giveBack ends a run's own lease. The kernel may take a moment to close what QEMU had
// open, and another indy may be looking. What cannot be given back then is left as a
// lease.
func (e *Env) giveBack(ctx context.Context, l *assign.Lease) error {
	var busy *assign.BusyError
	for range 20 {
		err := e.store().ReleaseOwn(ctx, e.assignHost(), l)
		if err == nil {
			return nil
		}
		if !errors.As(err, &busy) {
			return &assign.PartialError{Left: []error{err}}
		}
		time.Sleep(100 * time.Millisecond)
	}
	return &assign.PartialError{Left: []error{busy}}
}
