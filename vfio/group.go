package vfio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"syscall"

	"github.com/project-independence/indy/pci"
)

// Available returns nil when this host has what it takes to hand over PCI devices:
// the modules vfio, vfio_iommu_type1 and vfio-pci, or iommufd instead of the second.
// Otherwise the error is errors.ErrUnsupported and names the module that is not loaded.
// It asks the kernel by opening /dev/vfio/vfio, which everybody may, and which has the
// kernel load the module vfio where it is installed. That the IOMMU is on shows in the
// groups. [Probe] tells each thing by itself.
func Available() error { return available(live()) }

func available(h host) error {
	c, _, err := openContainer(h)
	if err == nil {
		err = c.Close()
	} else if errors.Is(err, errors.ErrUnsupported) {
		if s, other := newIOMMUFD(h); other == nil {
			err = s.Close()
		}
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
	kind, err = containerType(c)
	return c, kind, err
}

// containerType asks a container which type 1 there is.
func containerType(c node) (uintptr, error) {
	version, err := c.value(getAPIVersion, 0)
	if err != nil {
		return 0, err
	}
	if version != 0 {
		return 0, &lacking{what: fmt.Sprintf("the kernel's VFIO has version %d, and only 0 is known", version)}
	}
	for _, kind := range []uintptr{type1v2, type1} {
		has, err := c.value(checkExtension, kind)
		if err != nil {
			return 0, err
		}
		if has > 0 {
			return kind, nil
		}
	}
	return 0, &lacking{what: noType1}
}

// A Group is an open IOMMU group. While it is open nobody else can open it, nor one of
// its devices by its own node.
type Group struct {
	id   pci.GroupID
	host host
	node node

	devices openDevices

	mu     sync.Mutex
	closed bool
	space  *AddressSpace // nil until attached
	own    bool          // the address space is closed with the group
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
// when the host has no IOMMU or lacks a module or CONFIG_VFIO_GROUP, or has the group
// without an IOMMU only, which is refused.
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
		return &Group{id: id, host: h, node: n, devices: openDevices{all: map[*Device]struct{}{}}}, nil
	}
	return nil, notOpened(h.fsys, id, err)
}

// notOpened says why the node of a group could not be opened.
func notOpened(fsys fs.FS, id pci.GroupID, err error) error {
	switch {
	case absent(err):
		err = whyNoNode(fsys, id, err)
	case errors.Is(err, syscall.EBUSY):
		err = fmt.Errorf("somebody else has the group open, or one of its devices by its own node: %w", err)
	}
	return &OpError{Op: "open", Group: id, Err: err}
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
	return statusOf(binary.NativeEndian.Uint32(b[4:])), nil
}

// statusOf says what the flags of a struct vfio_group_status (linux/vfio.h) mean.
func statusOf(flags uint32) Status { return Status{Viable: flags&1 != 0, ContainerSet: flags&2 != 0} }

// Attach puts the devices of the group behind the IOMMU, into an address space of
// their own, where they reach no memory until it is mapped for them; OpenDevice needs
// it. It fails with ErrNotViable, naming the device and its driver, while the host holds
// one of the devices, and with errors.ErrUnsupported when the IOMMU cannot keep them
// apart from the host. An attached group is left as it is.
func (g *Group) Attach() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return g.fail("attach", fs.ErrClosed)
	}
	if g.space != nil {
		return nil
	}
	if err := g.attach(nil); err != nil {
		return g.fail("attach", err)
	}
	return nil
}

// AttachTo does what Attach does, into an address space that may have other groups, all
// of which reach what is mapped there (VFIO_GROUP_SET_CONTAINER). It fails if the group
// is attached, or the address space is one of iommufd.
func (g *Group) AttachTo(s *AddressSpace) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	err := errors.New("it is attached already")
	if g.space == nil {
		err = g.attach(s)
	}
	if err != nil {
		return g.fail("attach", err)
	}
	return nil
}

// attach attaches to s, or a new address space if that is nil.
func (g *Group) attach(s *AddressSpace) error {
	st, err := g.status()
	if err != nil {
		return err
	}
	if !st.Viable {
		return whyNotViable(g.host.fsys, g.id)
	}
	own := s == nil
	if own {
		if s, err = newContainer(g.host); err != nil {
			return err
		}
	}
	if err := s.add(g); err != nil {
		if own {
			err = errors.Join(err, s.node.Close())
		}
		return err
	}
	g.space, g.own = s, own
	return nil
}

// Space returns the address space the group is attached to, or nil.
func (g *Group) Space() *AddressSpace {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.space
}

// OpenDevice opens a device of an attached group (VFIO_GROUP_GET_DEVICE_FD). The kernel
// resets it where it can.
func (g *Group) OpenDevice(a pci.Address) (*Device, error) {
	fail := func(err error) (*Device, error) {
		return nil, &OpError{Op: "open", Group: g.id, Device: a, Err: err}
	}
	if !a.IsValid() {
		return fail(errors.New("no device was given"))
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.space == nil && !g.closed {
		return fail(fmt.Errorf("group %v is not attached", g.id))
	}
	n, err := g.node.device(a.String())
	if errors.Is(err, syscall.ENODEV) {
		err = fmt.Errorf("it is not in group %v, or not bound to vfio-pci: %w", g.id, err)
	}
	if err != nil {
		return fail(err)
	}
	d := newDevice(g.space, &g.devices, g, g.id, a, n)
	if err := g.devices.add(d); err != nil {
		return fail(err)
	}
	return d, nil
}

// Close closes the devices opened through the group, takes it out of its address space
// and lets others open it. With the last group of an address space, what is mapped
// there is mapped no more. Closing again does nothing.
func (g *Group) Close() error {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return nil
	}
	g.closed = true
	s, own := g.space, g.own
	g.mu.Unlock()
	errs := []error{g.devices.close(), g.node.Close()}
	if s != nil {
		s.drop(g)
	}
	if own {
		errs = append(errs, s.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return g.fail("close", err)
	}
	return nil
}

func (g *Group) fail(op string, err error) error { return &OpError{Op: op, Group: g.id, Err: err} }
