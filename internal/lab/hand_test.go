package lab_test

import (
	"context"
	"testing"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/vfio"
)

// A hand gives and takes devices by package assign in this process, as the command does.
type hand struct {
	assign.Store
	assign.Host
	door   *door
	laptop *laptop.Laptop
}

// A door is this host, with something done before each write.
type door struct {
	*hostfs.LiveHost
	before func(name, value string) error
}

func (d *door) WriteFile(name string, data []byte) error {
	if d.before != nil {
		if err := d.before(name, string(data)); err != nil {
			return err
		}
	}
	return d.LiveHost.WriteFile(name, data)
}

func newHand(t *testing.T, dir string) *hand {
	t.Helper()
	h := &hand{Store: assign.Store{Dir: dir}, door: &door{LiveHost: hostfs.Live()}}
	h.Host = assign.Host{FS: h.door, Viable: vfio.Viable, InUse: vfio.InUse}
	h.look(t)
	return h
}

// look reads the machine anew.
func (h *hand) look(t *testing.T) {
	t.Helper()
	l, err := laptop.Read(h.door.LiveHost)
	if err != nil {
		t.Fatal(err)
	}
	h.laptop = l
}

// assign hands g to a guest.
func (h *hand) assign(ctx context.Context, g goods, guest string) (*assign.Lease, error) {
	id, err := g.group()
	if err != nil {
		return nil, err
	}
	var devices []pci.Address
	for _, name := range g.addresses() {
		a, err := pci.ParseAddress(name)
		if err != nil {
			return nil, err
		}
		devices = append(devices, a)
	}
	return h.Store.Assign(ctx, &h.Host, assign.Taking{
		Guest: guest, Devices: devices, Claims: []assign.Claim{assign.GroupClaim(id)},
		Plan: func() (*assign.Plan, error) {
			facts, err := assign.Read(h.door, h.laptop, devices)
			if err != nil {
				return nil, err
			}
			return assign.NewPlan(facts, assign.Request{Guest: guest, Devices: devices, Companions: true})
		},
	})
}

// release gives back what holds the first function of g.
func (h *hand) release(ctx context.Context, g goods) error {
	a, err := pci.ParseAddress(g.addresses()[0])
	if err == nil {
		_, err = h.Store.Release(ctx, &h.Host, a)
	}
	return err
}
