package vfio

import (
	"errors"
	"io/fs"
	"maps"
	"slices"
	"sync"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/pci"
)

// An Interface is one of the kernel's two ways to VFIO.
type Interface uint8

// The interfaces.
const (
	// AnyInterface is iommufd where this host has it, and groups elsewhere.
	AnyInterface Interface = iota
	// Groups are the older one: groups, /dev/vfio/N, in a container, /dev/vfio/vfio
	// (linux/vfio.h).
	Groups
	// IOMMUFD is the newer one: devices, /dev/vfio/devices/vfioN, in an I/O address space
	// of /dev/iommu (linux/iommufd.h), since Linux 6.6 and only where it was built with
	// CONFIG_IOMMUFD and CONFIG_VFIO_DEVICE_CDEV.
	IOMMUFD
)

// String returns any, groups or iommufd.
func (i Interface) String() string {
	switch i {
	case AnyInterface:
		return "any"
	case Groups:
		return "groups"
	case IOMMUFD:
		return "iommufd"
	}
	return "unknown interface"
}

// An AddressSpace is what its devices reach of memory: what is mapped there, and
// nothing else. It is the same with either of the kernel's interfaces, a container or
// an I/O address space of iommufd.
//
// It may be used by several goroutines at once.
type AddressSpace struct {
	host   host
	kind   Interface
	node   node    // container or iommufd
	type1  uintptr // which type 1 a container gets
	ioas   uint32  // the object's number in the iommufd
	shared bool    // its files are somebody else's, too

	opening sync.Mutex // one group is opened at a time, so that none is opened twice

	mu      sync.Mutex
	closed  bool
	set     bool // something is attached, and the kernel knows what is valid
	groups  map[pci.GroupID]*Group
	devices openDevices // those with nodes of their own
	maps    map[*Mapping]struct{}
}

// NewAddressSpace returns an empty address space. It is errors.ErrUnsupported, and
// says which module or which option of the kernel is missing, where this host does not
// have the interface, and fs.ErrPermission where it is not for this process:
// /dev/iommu is for root alone unless somebody gives it away.
func NewAddressSpace(i Interface) (*AddressSpace, error) { return newAddressSpace(live(), i) }

func newAddressSpace(h host, i Interface) (s *AddressSpace, err error) {
	switch i {
	case AnyInterface:
		var errs [2]error
		if s, errs[0] = newIOMMUFD(h); errs[0] == nil {
			return s, nil
		}
		if s, errs[1] = newContainer(h); errs[1] == nil {
			return s, nil
		}
		err = errors.Join(errs[1], errs[0])
	case Groups:
		s, err = newContainer(h)
	case IOMMUFD:
		s, err = newIOMMUFD(h)
	default:
		err = errors.New(i.String())
	}
	if err != nil {
		return nil, &OpError{Op: "make an address space", Err: err}
	}
	return s, nil
}

func newContainer(h host) (*AddressSpace, error) {
	c, kind, err := openContainer(h)
	if err != nil {
		return nil, err
	}
	return emptySpace(h, Groups, c, kind, 0), nil
}

func emptySpace(h host, kind Interface, n node, type1 uintptr, ioas uint32) *AddressSpace {
	return &AddressSpace{
		host: h, kind: kind, node: n, type1: type1, ioas: ioas,
		groups: map[pci.GroupID]*Group{}, devices: openDevices{all: map[*Device]struct{}{}}, maps: map[*Mapping]struct{}{},
	}
}

// Interface returns which of the kernel's interfaces it is of.
func (s *AddressSpace) Interface() Interface { return s.kind }

// Open opens a device, which is bound to vfio-pci, and puts it behind the IOMMU into
// this address space. The kernel resets it where it can. With groups it opens the
// group first, which stays open until it or the address space is closed.
//
// The error is ErrNotViable, naming the device and its driver, while the host holds
// another device of its group; EBUSY when somebody has it, its group or, with groups,
// one of its group's devices; fs.ErrNotExist when there is no such device or it is not
// bound to vfio-pci; and errors.ErrUnsupported when the kernel, or the IOMMU, cannot. A
// device whose group is open the old way cannot be opened by iommufd, and the other
// way round: the kernel allows one of the two.
func (s *AddressSpace) Open(a pci.Address) (*Device, error) {
	d, err := s.open(a)
	if err != nil {
		var op *OpError
		if errors.As(err, &op) && op.Device == a {
			return nil, err
		}
		return nil, &OpError{Op: "open", Device: a, Err: err}
	}
	return d, nil
}

func (s *AddressSpace) open(a pci.Address) (*Device, error) {
	if !a.IsValid() {
		return nil, errors.New("no device was given")
	}
	link, err := hostfs.ReadLinkBase(s.host.fsys, "sys/bus/pci/devices/"+a.String()+"/iommu_group")
	if errors.Is(err, fs.ErrNotExist) {
		if exists(s.host.fsys, "sys/bus/pci/devices/"+a.String()) {
			return nil, &lacking{"it is in no IOMMU group: the IOMMU is off in the firmware setup or in the kernel", err}
		}
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	id, err := pci.ParseGroupID(link)
	if err != nil {
		return nil, err
	}
	if s.kind == IOMMUFD {
		return s.openNode(a, id)
	}
	s.opening.Lock()
	defer s.opening.Unlock()
	s.mu.Lock()
	g, closed := s.groups[id], s.closed
	s.mu.Unlock()
	if closed {
		return nil, fs.ErrClosed
	}
	if g == nil {
		if g, err = openGroup(s.host, id); err != nil {
			return nil, err
		}
		if err := g.AttachTo(s); err != nil {
			return nil, errors.Join(err, g.Close())
		}
	}
	return g.OpenDevice(a)
}

// Groups returns the groups in it, by their number. With iommufd there are none.
func (s *AddressSpace) Groups() []*Group {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.groups), func(a, b *Group) int { return a.id.Compare(b.id) })
}

// Devices returns the open devices in it, by their address.
func (s *AddressSpace) Devices() []*Device {
	all := s.devices.list()
	for _, g := range s.Groups() {
		all = append(all, g.devices.list()...)
	}
	slices.SortFunc(all, func(a, b *Device) int { return a.address.Compare(b.address) })
	return all
}

// add puts an open group into the container. The first one decides that the kernel
// translates addresses for it.
func (s *AddressSpace) add(g *Group) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fs.ErrClosed
	}
	if s.kind != Groups {
		return errors.New("the address space is one of iommufd, which takes devices and no groups: AddressSpace.Open opens them")
	}
	if s.groups[g.id] != nil {
		return errors.New("the group is there already")
	}
	var b [4]byte
	if err := g.node.files(groupSetContainer, b[:], 0, s.node); err != nil {
		return err
	}
	if !s.set {
		if _, err := s.node.value(setIOMMU, s.type1); err != nil {
			// The group keeps the container alive until it lets go of it.
			_, unset := g.node.value(groupUnsetContainer, 0)
			return errors.Join(whyNoIOMMU(err), unset)
		}
	}
	s.set = true
	s.groups[g.id] = g
	return nil
}

// drop forgets a group that is closed. With the last one the kernel forgets what is
// mapped.
func (s *AddressSpace) drop(g *Group) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.groups[g.id] != g {
		return
	}
	delete(s.groups, g.id)
	if len(s.groups) == 0 && !s.shared {
		s.set = false
		s.forgetAll()
	}
}

// Close closes the devices, takes all memory from them, and closes the groups and the
// address space itself. Closing again does nothing.
func (s *AddressSpace) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	groups := s.Groups()
	errs := []error{s.devices.close()} // the kernel stops each device before its memory goes
	for _, g := range groups {
		errs = append(errs, g.devices.close())
	}
	s.mu.Lock()
	for m := range s.maps {
		errs = append(errs, s.unmap(m))
	}
	s.forgetAll() // what could not be unmapped goes with the files
	if s.kind == IOMMUFD && !s.shared {
		errs = append(errs, s.destroy())
	}
	s.mu.Unlock()
	for _, g := range groups {
		errs = append(errs, g.Close())
	}
	errs = append(errs, s.node.Close())
	if err := errors.Join(errs...); err != nil {
		return &OpError{Op: "close an address space", Err: err}
	}
	return nil
}

// openDevices are the devices that were opened by one group or address space.
type openDevices struct {
	mu     sync.Mutex
	closed bool
	all    map[*Device]struct{}
}

// add keeps a device that was just opened, or closes it again if all are closed.
func (o *openDevices) add(d *Device) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return errors.Join(fs.ErrClosed, d.node.Close())
	}
	o.all[d] = struct{}{}
	return nil
}

func (o *openDevices) list() []*Device {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Collect(maps.Keys(o.all))
}

// remove reports whether the device was open.
func (o *openDevices) remove(d *Device) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, open := o.all[d]
	delete(o.all, d)
	return open
}

func (o *openDevices) close() error {
	o.mu.Lock()
	o.closed = true
	all := o.all
	o.all = map[*Device]struct{}{}
	o.mu.Unlock()
	var errs []error
	for d := range all {
		errs = append(errs, d.close())
	}
	return errors.Join(errs...)
}
