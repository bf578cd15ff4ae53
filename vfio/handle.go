package vfio

import (
	"errors"
	"fmt"
	"os"

	"github.com/project-independence/indy/pci"
)

// A HandleKind is what a file of an address space is.
type HandleKind string

// The kinds of files.
const (
	HandleContainer HandleKind = "container"
	HandleIOMMUFD   HandleKind = "iommufd"
	HandleGroup     HandleKind = "group"
	HandleDevice    HandleKind = "device"
)

// A Handle is an open file of an address space, for another process: one that may not
// open it, as a QEMU that does not run as root.
type Handle struct {
	Kind   HandleKind
	Group  pci.GroupID // of a group and of a device
	Device pci.Address // of a device
	IOAS   uint32      // number of the address space in an iommufd
	File   *os.File    // who has the handle closes it
}

// Handles returns duplicates of all open files of the address space: its own, which
// comes first, its groups' and its devices'. [Rebuild] makes an address space of them,
// in this process or, after [Send] and [Receive], in another. Both are the same one
// for the kernel, and each may close its own: devices stop when the last one does.
//
// An address space with memory in it cannot be handed on, as another process would not
// know what is mapped.
func (s *AddressSpace) Handles() ([]Handle, error) {
	all, err := s.handles()
	if err != nil {
		closeHandles(all)
		return nil, &OpError{Op: "hand on an address space", Err: err}
	}
	return all, nil
}

func (s *AddressSpace) handles() (all []Handle, err error) {
	add := func(h Handle, n node) {
		if err == nil {
			if h.File, err = n.duplicate(); err == nil {
				all = append(all, h)
			}
		}
	}
	groups, devices := s.Groups(), s.Devices()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.maps) > 0 {
		return nil, errors.New("memory is mapped in it")
	}
	kind := HandleContainer
	if s.kind == IOMMUFD {
		kind = HandleIOMMUFD
	}
	add(Handle{Kind: kind, IOAS: s.ioas}, s.node)
	for _, g := range groups {
		add(Handle{Kind: HandleGroup, Group: g.id}, g.node)
	}
	for _, d := range devices {
		add(Handle{Kind: HandleDevice, Group: d.id, Device: d.address}, d.node)
	}
	s.shared = s.shared || err == nil
	return all, err
}

func closeHandles(all []Handle) {
	for _, h := range all {
		if h.File != nil {
			h.File.Close()
		}
	}
}

// Rebuild makes an address space, with its groups and devices, of handles that another
// one gave away. It asks the kernel that each file is what its handle says. The files
// are the address space's from then on, and are closed on an error.
func Rebuild(handles []Handle) (*AddressSpace, error) { return rebuild(live(), handles) }

func rebuild(h host, handles []Handle) (*AddressSpace, error) {
	var nodes []node
	s, err := assemble(h, handles, &nodes)
	if err != nil {
		for _, n := range nodes {
			n.Close()
		}
		closeHandles(handles[len(nodes):])
		return nil, &OpError{Op: "take over an address space", Err: err}
	}
	return s, nil
}

func assemble(h host, handles []Handle, nodes *[]node) (*AddressSpace, error) {
	var s *AddressSpace
	for i, x := range handles {
		if x.File == nil {
			return nil, fmt.Errorf("handle %d has no file", i)
		}
		n, err := h.adopt(x.File), error(nil)
		*nodes = append(*nodes, n)
		switch {
		case (i == 0) != (x.Kind == HandleContainer || x.Kind == HandleIOMMUFD):
			err = errors.New("the first handle, and no other, is a container or an iommufd")
		case x.Kind == HandleContainer:
			s, err = adoptContainer(h, n)
		case x.Kind == HandleIOMMUFD:
			s = emptySpace(h, IOMMUFD, n, 0, x.IOAS)
			_, err = s.ranges()
		case x.Kind == HandleGroup:
			err = s.adoptGroup(x.Group, n)
		case x.Kind == HandleDevice:
			err = s.adoptDevice(x, n)
		default:
			err = errors.New("no such kind")
		}
		if err != nil {
			return nil, fmt.Errorf("handle %d, %.16q: %w", i, x.Kind, err)
		}
	}
	if s == nil {
		return nil, errors.New("there are no handles")
	}
	s.shared = true
	return s, nil
}

func adoptContainer(h host, n node) (*AddressSpace, error) {
	kind, err := containerType(n)
	if err != nil {
		return nil, err
	}
	return emptySpace(h, Groups, n, kind, 0), nil
}

func (s *AddressSpace) adoptGroup(id pci.GroupID, n node) error {
	g := &Group{id: id, host: s.host, node: n, space: s, devices: openDevices{all: map[*Device]struct{}{}}}
	st, err := g.status()
	switch {
	case err != nil:
		return err
	case s.kind != Groups || !id.IsValid() || s.groups[id] != nil || !st.ContainerSet:
		return fmt.Errorf("group %v is not in the container, or twice", id)
	}
	s.groups[id] = g
	s.set = true
	return nil
}

func (s *AddressSpace) adoptDevice(x Handle, n node) error {
	owner, g := &s.devices, s.groups[x.Group]
	if s.kind == Groups {
		if g == nil {
			return fmt.Errorf("the group %v of %v is not there", x.Group, x.Device)
		}
		owner = &g.devices
	}
	d := newDevice(s, owner, g, x.Group, x.Device, n)
	if !x.Device.IsValid() {
		return errors.New("no device was named")
	}
	if _, err := d.info(); err != nil {
		return err
	}
	s.set = true
	owner.all[d] = struct{}{}
	return nil
}
