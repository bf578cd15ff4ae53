package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
)

// guard takes the devices of leases from the host's drivers again when they come back to
// them, until the function that it returns is called.
func (e *Env) guard(ctx context.Context, leases []*assign.Lease) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // a guest runs on after the first signal
	var guards sync.WaitGroup
	for _, l := range leases {
		if e.Listen == nil {
			break
		}
		events, err := e.Listen()
		if err != nil {
			e.errorf("a device that is removed and found again would be the host's: %v", err)
			break
		}
		g := &assign.Guard{Store: e.store(), Host: e.assignHost(), Lease: l}
		guards.Go(func() {
			defer events.Close()
			if err := g.Watch(ctx, events.Read, func(i assign.Incident) { e.errorf("%s", i) }); err != nil {
				e.errorf("a device that is removed and found again would be the host's: %v", err)
			}
		})
	}
	return func() {
		cancel()
		guards.Wait()
	}
}

// isolateAgain looks once at the devices of all leases. The host may have used one that
// came back for a while: it is taken only if nothing depends on it.
func (e *Env) isolateAgain(ctx context.Context) ([]assign.Incident, error) {
	leases, _ := e.store().List() // what cannot be read of it, recovering has said
	var errs []error
	boot, _ := bootID(e.Host)
	var all []assign.Incident
	for i := range leases {
		l := &leases[i]
		if l.State != assign.Assigned || l.BootID != boot {
			continue
		}
		g := &assign.Guard{Store: e.store(), Host: e.assignHost(), Lease: l, MayTake: e.mayTake}
		incidents, err := g.Check(ctx)
		all = append(all, incidents...)
		errs = append(errs, err)
	}
	return all, errors.Join(errs...)
}

// mayTake says what of the host depends on a function now.
func (e *Env) mayTake(a pci.Address) error {
	m := readMachine(e, e.Host)
	d := m.Function(a)
	if d == nil {
		return fmt.Errorf("%s: no such function", a)
	}
	needed := []laptop.Code{laptop.HostDisk, laptop.DefaultRoute, laptop.OnlyKeyboard}
	for _, f := range d.Findings {
		if f.Severity == laptop.Block && f.Device == d.ID() && slices.Contains(needed, f.Code) {
			return errors.New(f.Detail)
		}
	}
	return m.disksFree(e, &assign.Plan{Devices: []pci.Address{a}}, &request{})
}
