package vfio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/pci"
)

const (
	iommufdNode = "/dev/iommu"

	noIOMMUFD = "the kernel has no iommufd: it was built without CONFIG_IOMMUFD, or its module is not loaded"
	noCdev    = "the kernel's VFIO has no nodes for devices: it was built without CONFIG_VFIO_DEVICE_CDEV"
)

// newIOMMUFD opens /dev/iommu and makes an I/O address space in it (IOMMU_IOAS_ALLOC).
func newIOMMUFD(h host) (*AddressSpace, error) {
	n, err := h.open(iommufdNode)
	if absent(err) {
		return nil, &lacking{noIOMMUFD, err}
	} else if err != nil {
		return nil, err
	}
	if has, err := characterDevice(h.fsys, "vfio-dev"); err == nil && !has {
		return nil, errors.Join(&lacking{what: noCdev}, n.Close())
	}
	var b [12]byte // size, flags, out_ioas_id
	binary.NativeEndian.PutUint32(b[:], uint32(len(b)))
	if err := n.data(iommuIOASAlloc, b[:]); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return emptySpace(h, IOMMUFD, n, 0, binary.NativeEndian.Uint32(b[8:])), nil
}

// characterDevice reports whether the kernel has a kind of character devices
// (/proc/devices): vfio for groups, vfio-dev for devices. The error is that it is not
// known; both are missing where the module vfio is not loaded, which is no answer.
func characterDevice(fsys fs.FS, name string) (bool, error) {
	text, err := hostfs.ReadString(fsys, "proc/devices")
	if err != nil {
		return false, err
	}
	any, has := false, false
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 2 {
			continue
		}
		any = any || f[1] == "vfio" || f[1] == "vfio-dev"
		has = has || f[1] == name
	}
	if !any {
		return false, &lacking{what: noVFIO}
	}
	return has, nil
}

// openNode opens a device by its own node, binds it to the iommufd and attaches it to
// the address space.
func (s *AddressSpace) openNode(a pci.Address, id pci.GroupID) (*Device, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fs.ErrClosed
	}
	name, err := deviceNode(s.host.fsys, a)
	if err != nil {
		return nil, err
	}
	if node := "/dev/vfio/" + id.String(); heldHere(s.host.fsys, node) {
		return nil, fmt.Errorf("this process has the device's group open (%s), and the kernel allows a group or its devices' own nodes, not both: %w", node, syscall.EBUSY)
	}
	n, err := s.host.open(name)
	if err != nil {
		if absent(err) {
			err = fmt.Errorf("the device has no node yet, or /dev is not the host's: %w", err)
		}
		return nil, err
	}
	if err := s.bind(n); err != nil {
		return nil, errors.Join(whyNotBound(s.host.fsys, id, err), n.Close())
	}
	d := newDevice(s, &s.devices, nil, id, a, n)
	if err := s.devices.add(d); err != nil {
		return nil, err
	}
	s.set = true
	return d, nil
}

// bind makes VFIO_DEVICE_BIND_IOMMUFD and VFIO_DEVICE_ATTACH_IOMMUFD_PT.
func (s *AddressSpace) bind(n node) error {
	var b [16]byte // argsz, flags, iommufd, out_devid
	binary.NativeEndian.PutUint32(b[:], uint32(len(b)))
	if err := n.files(deviceBindIOMMUFD, b[:], 8, s.node); err != nil {
		return err
	}
	var p [12]byte // argsz, flags, pt_id
	binary.NativeEndian.PutUint32(p[:], uint32(len(p)))
	binary.NativeEndian.PutUint32(p[8:], s.ioas)
	return n.data(deviceAttachPT, p[:])
}

// destroy gives the address space back (IOMMU_DESTROY).
func (s *AddressSpace) destroy() error {
	var b [8]byte // size, id
	binary.NativeEndian.PutUint32(b[:], uint32(len(b)))
	binary.NativeEndian.PutUint32(b[4:], s.ioas)
	return s.node.data(iommuDestroy, b[:])
}

// deviceNode returns the node of a device (/sys/bus/pci/devices/ADDRESS/vfio-dev/vfioN,
// which has a file dev where the node exists).
func deviceNode(fsys fs.FS, a pci.Address) (string, error) {
	dir := "sys/bus/pci/devices/" + a.String()
	entries, err := fs.ReadDir(fsys, dir+"/vfio-dev")
	if err == nil && len(entries) == 0 {
		err = &fs.PathError{Op: "open", Path: dir + "/vfio-dev", Err: fs.ErrNotExist}
	}
	if err != nil {
		if driver, _ := pci.Driver(fsys, a); driver != "" {
			return "", fmt.Errorf("it is not bound to vfio-pci, but to %s: %w", driver, err)
		}
		return "", fmt.Errorf("it is not bound to vfio-pci, it has no driver: %w", err)
	}
	name := entries[0].Name()
	if !exists(fsys, dir+"/vfio-dev/"+name+"/dev") {
		return "", &lacking{what: noCdev}
	}
	return "/dev/vfio/devices/" + name, nil
}

// heldHere reports whether this process has a file open.
func heldHere(fsys fs.FS, name string) bool {
	open, _ := fs.ReadDir(fsys, "proc/self/fd") // what cannot be read is left to the kernel
	for _, fd := range open {
		if to, err := fs.ReadLink(fsys, "proc/self/fd/"+fd.Name()); err == nil && to == name {
			return true
		}
	}
	return false
}

// whyNotBound turns the error of a device's own node into the reason. That a driver of
// the host holds a device of its group is EPERM there.
func whyNotBound(fsys fs.FS, id pci.GroupID, err error) error {
	if !errors.Is(err, syscall.EBUSY) && !errors.Is(err, syscall.EPERM) {
		return err
	}
	all, _ := members(fsys, id)
	if held := list(all, func(m member) bool { return !m.harmless() }); held != "" {
		return fmt.Errorf("%w: %s: %w", ErrNotViable, held, err)
	}
	if errors.Is(err, syscall.EPERM) {
		return whyNoIOMMU(err)
	}
	return fmt.Errorf("somebody else has it open, or its group /dev/vfio/%v, and the kernel allows a group or its devices' own nodes, not both: %w", id, err)
}

// whyNoIOMMU turns EPERM of what puts devices behind the IOMMU into the reason.
func whyNoIOMMU(err error) error {
	if errors.Is(err, syscall.EPERM) {
		return &lacking{"the IOMMU does not remap interrupts, or the firmware has reserved memory for a device of the group", err}
	}
	return err
}
