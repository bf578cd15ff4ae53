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
	var ours []string // leases that the guest has
	groups := map[iommu.GroupID]bool{}
	take := func(name string, claim assign.Claim, group iommu.GroupID) error {
		l, err := env.store().HoldingNamed(name)
		if err != nil || !m.current(l) {
			wanted = append(wanted, name)
			return nil
		}
		known := slices.Contains(ours, l.ID)
		switch {
		case l.Guest != r.guest, l.Locked != r.locked, l.Run && !known && !l.Abandoned(env.Host):
			return assign.NewHeldError(env.Host, claim, l)
		case l.State != assign.Assigned:
			return fmt.Errorf("%s is held by a lease that was interrupted while %s; indy release %s first", name, l.State, name)
		}
		if group.IsValid() && env.InUse != nil {
			if err := env.InUse(group); err != nil {
				return &assign.BusyError{Group: group, Lease: *l, Err: err}
			}
		}
		if l.Run && !known { // one that was killed left it
			if r.guest == assign.Unnamed { // which is never the same guest
				if _, err := env.store().ReleaseNamed(ctx, env.assignHost(), name); err != nil {
					return err
				}
				wanted = append(wanted, name)
				return nil
			}
			// This one gives it back. From here on nobody takes it for left.
			if l, err = env.store().Adopt(ctx, env.assignHost(), name); err != nil {
				return err
			}
			release(l)
		}
		if group.IsValid() {
			groups[group] = true
		}
		if !known {
			ours, r.leases = append(ours, l.ID), append(r.leases, l)
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
