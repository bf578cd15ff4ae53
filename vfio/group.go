package vfio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"syscall"

	"github.com/project-independence/indy/pci"
)

// Available returns nil when this host has what it takes to hand over PCI devices:
// the modules vfio, vfio_iommu_type1 and vfio-pci. Otherwise the error is
// errors.ErrUnsupported and names the module that is not loaded. It asks the kernel
// by opening /dev/vfio/vfio, which everybody may, and which has the kernel load the
// module vfio where it is installed. That the IOMMU is on shows in the groups.
func Available() error { return available(live()) }

func available(h host) error {
	c, _, err := openContainer(h)
	if err == nil {
		err = c.Close()
	}
	if err == nil && !exists(h.fsys, driverDir) {
		err = &lacking{what: noPCI}
	}
	if err != nil {
		return &OpError{Op: "look for VFIO", Err: err}
	}
	return nil
}

// openContainer returns a new container and the kind of IOMMU to ask for in it.
func openContainer(h host) (c node, kind uintptr, err error) {
	c, err = h.open(containerNode)
	if absent(err) {
		return nil, 0, &lacking{noVFIO, err}
	} else if err != nil {
		return nil, 0, err
	}
	defer func() {
		if err != nil {
			c.Close()
			c = nil
		}
	}()
	version, err := c.value(getAPIVersion, 0)
	if err != nil {
		return c, 0, err
	}
	if version != 0 {
		return c, 0, &lacking{what: fmt.Sprintf("the kernel's VFIO has version %d, and only 0 is known", version)}
	}
	for _, kind := range []uintptr{type1v2, type1} {
		has, err := c.value(checkExtension, kind)
		if err != nil {
			return c, 0, err
		}
		if has > 0 {
			return c, kind, nil
		}
	}
	return c, 0, &lacking{what: noType1}
}

// A Group is an open IOMMU group. While it is open nobody else can open it.
type Group struct {
	id   pci.GroupID
	host host
	node node

	mu        sync.Mutex
	closed    bool
	container node // nil until attached
	devices   map[*Device]struct{}
}

// Status is what the kernel says of a group.
type Status struct {
	// Viable: no driver of the host holds a device of the group.
	Viable bool
	// ContainerSet: the group is attached.
	ContainerSet bool
}

// OpenGroup opens /dev/vfio/N for group N. It fails with EBUSY when somebody else
// has the group open; with fs.ErrNotExist, and the drivers that its devices are
// bound to, when none of them is bound to vfio-pci; and with errors.ErrUnsupported
// when the host has no IOMMU or lacks a module, or has the group without an IOMMU
// only, which is refused.
//
// The node of a group appears soon after the first of its devices is bound, not at
// once; a caller that has just bound one tries again for a while.
func OpenGroup(id pci.GroupID) (*Group, error) { return openGroup(live(), id) }

func openGroup(h host, id pci.GroupID) (*Group, error) {
	if !id.IsValid() {
		return nil, &OpError{Op: "open", Err: errors.New("no IOMMU group was given")}
	}
	n, err := h.open("/dev/vfio/" + id.String())
	if err == nil {
		return &Group{id: id, host: h, node: n, devices: map[*Device]struct{}{}}, nil
	}
	switch {
	case absent(err):
		err = whyNoNode(h.fsys, id, err)
	case errors.Is(err, syscall.EBUSY):
		err = fmt.Errorf("somebody else has the group open: %w", err)
	}
	return nil, &OpError{Op: "open", Group: id, Err: err}
}

// ID returns the number of the group.
func (g *Group) ID() pci.GroupID { return g.id }

// Status asks the kernel how the group stands.
func (g *Group) Status() (Status, error) {
	s, err := g.status()
	if err != nil {
		return Status{}, g.fail("ask the status of", err)
	}
	return s, nil
}

func (g *Group) status() (Status, error) {
	var b [8]byte // argsz, flags
	binary.NativeEndian.PutUint32(b[:], uint32(len(b)))
	if err := g.node.data(groupGetStatus, b[:]); err != nil {
		return Status{}, err
	}
	flags := binary.NativeEndian.Uint32(b[4:])
	return Status{Viable: flags&1 != 0, ContainerSet: flags&2 != 0}, nil
}

// Attach puts the devices of the group behind the IOMMU, where they reach no memory
// until it is mapped for them, and which OpenDevice needs. It fails with
// ErrNotViable, naming the device and its driver, while the host holds one of the
// devices, and with errors.ErrUnsupported when the IOMMU cannot keep them apart from
// the host. An attached group is left as it is.
func (g *Group) Attach() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.container != nil {
		return nil
	}
	if err := g.attach(); err != nil {
		return g.fail("attach", err)
	}
	return nil
}

func (g *Group) attach() (err error) {
	s, err := g.status()
	if err != nil {
		return err
	}
	if !s.Viable {
		return whyNotViable(g.host.fsys, g.id)
	}
	c, kind, err := openContainer(g.host)
	if err != nil {
		return err
	}
	if err := g.node.attach(c); err != nil {
		return errors.Join(err, c.Close())
	}
	if _, err := c.value(setIOMMU, kind); err != nil {
		if errors.Is(err, syscall.EPERM) {
			err = &lacking{"the IOMMU does not remap interrupts, or the firmware has reserved memory for a device of the group", err}
		}
		// The group keeps the container alive until it lets go of it.
		_, unset := g.node.value(groupUnsetContainer, 0)
		return errors.Join(err, unset, c.Close())
	}
	g.container = c
	return nil
}

// OpenDevice opens a device of an attached group. The kernel resets it where it can.
func (g *Group) OpenDevice(a pci.Address) (*Device, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	fail := func(err error) (*Device, error) {
		return nil, &OpError{Op: "open", Group: g.id, Device: a, Err: err}
	}
	if !a.IsValid() {
		return fail(errors.New("no device was given"))
	}
	if g.container == nil && !g.closed {
		return fail(fmt.Errorf("group %v is not attached", g.id))
	}
	n, err := g.node.device(a.String())
	if errors.Is(err, syscall.ENODEV) {
		err = fmt.Errorf("it is not in group %v, or not bound to vfio-pci: %w", g.id, err)
	}
	if err != nil {
		return fail(err)
	}
	d := &Device{group: g, address: a, node: n}
	g.devices[d] = struct{}{}
	return d, nil
}

// Close closes the devices opened through the group, detaches it and lets others
// open it. Closing again does nothing.
func (g *Group) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil
	}
	g.closed = true
	var errs []error
	for d := range g.devices {
		errs = append(errs, d.node.Close())
	}
	clear(g.devices)
	errs = append(errs, g.node.Close())
	if g.container != nil {
		errs = append(errs, g.container.Close())
		g.container = nil
	}
	if err := errors.Join(errs...); err != nil {
		return g.fail("close", err)
	}
	return nil
}

func (g *Group) fail(op string, err error) error { return &OpError{Op: op, Group: g.id, Err: err} }
