package vfio

import (
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"github.com/project-independence/indy/internal/ioctl"
)

// A request is the number of one of VFIO's ioctls in linux/vfio.h.
type request uint8

const (
	getAPIVersion request = 100 + iota
	checkExtension
	setIOMMU
	groupGetStatus
	groupSetContainer
	groupUnsetContainer
	groupGetDevice
	deviceGetInfo
	deviceGetRegion
	deviceGetInterrupt
	deviceSetInterrupts
	deviceReset
	deviceHotResetInfo
)

var requestNames = [...]string{
	"VFIO_GET_API_VERSION", "VFIO_CHECK_EXTENSION", "VFIO_SET_IOMMU", "VFIO_GROUP_GET_STATUS",
	"VFIO_GROUP_SET_CONTAINER", "VFIO_GROUP_UNSET_CONTAINER", "VFIO_GROUP_GET_DEVICE_FD",
	"VFIO_DEVICE_GET_INFO", "VFIO_DEVICE_GET_REGION_INFO", "VFIO_DEVICE_GET_IRQ_INFO",
	"VFIO_DEVICE_SET_IRQS", "VFIO_DEVICE_RESET", "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO",
}

func (r request) String() string { return requestNames[r-getAPIVersion] }

func (r request) code() uint { return ioctl.IO(';', uint8(r)) }

// The IOMMU back ends a container may have; every PC's is type 1.
const (
	type1   = 1
	type1v2 = 3
)

// A host is the kernel this package talks to.
type host struct {
	fsys fs.FS                           // sysfs and /dev, for the reason when something fails
	open func(name string) (node, error) // opens a node for reading and writing
}

// A node is an open file of VFIO's: a container, a group or a device.
type node interface {
	value(r request, arg uintptr) (int, error)
	data(r request, b []byte) error
	attach(container node) error
	device(name string) (node, error)
	io.ReaderAt
	io.Closer
}

// live returns the running host.
func live() host {
	return host{os.DirFS("/"), func(name string) (node, error) {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		return &file{f}, nil
	}}
}

// file is a node of the running kernel. Its calls hold the file open, so that none
// can reach another file that got the same number after a Close.
type file struct{ *os.File }

func (f *file) call(r request, ioctl func(fd uintptr) error) error {
	c, err := f.SyscallConn()
	if err == nil {
		var refused error
		if err = c.Control(func(fd uintptr) { refused = ioctl(fd) }); err != nil {
			err = fs.ErrClosed // the one reason why Control does not call
		} else {
			err = refused
		}
	}
	if err != nil {
		return &fs.PathError{Op: r.String(), Path: f.Name(), Err: err}
	}
	return nil
}

func (f *file) value(r request, arg uintptr) (n int, err error) {
	err = f.call(r, func(fd uintptr) (err error) {
		n, err = ioctl.Value(fd, r.code(), arg)
		return err
	})
	return n, err
}

func (f *file) data(r request, b []byte) error {
	return f.call(r, func(fd uintptr) error {
		_, err := ioctl.Struct(fd, r.code(), b)
		return err
	})
}

func (f *file) attach(container node) error {
	c, ok := container.(*file)
	if !ok {
		return fmt.Errorf("%v: %T is no container", groupSetContainer, container)
	}
	var b [4]byte
	var err error
	if held := c.call(groupSetContainer, func(fd uintptr) error {
		binary.NativeEndian.PutUint32(b[:], uint32(fd))
		err = f.data(groupSetContainer, b[:])
		return nil
	}); held != nil {
		return held
	}
	return err
}

func (f *file) device(name string) (node, error) {
	var n int
	err := f.call(groupGetDevice, func(fd uintptr) (err error) {
		n, err = ioctl.Struct(fd, groupGetDevice.code(), append([]byte(name), 0))
		return err
	})
	if err != nil {
		return nil, err
	}
	opened := os.NewFile(uintptr(n), name)
	if opened == nil {
		return nil, &fs.PathError{Op: groupGetDevice.String(), Path: f.Name(), Err: syscall.EBADF}
	}
	return &file{opened}, nil
}
