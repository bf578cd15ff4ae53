package vfio

import (
	"encoding/binary"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/internal/ioctl"
)

// A request is one of the kernel's ioctls. Its low byte is the number in
// linux/vfio.h or linux/iommufd.h; what is above tells apart those that have the same
// number on different kinds of files.
type request uint16

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
	deviceHotReset
)

const (
	deviceBindIOMMUFD request = 118 + iota
	deviceAttachPT
)

const (
	iommuGetInfo request = 1<<8 + 112 + iota // of a container
	iommuMapDMA
	iommuUnmapDMA
)

const ( // of an iommufd
	iommuDestroy    request = 2<<8 + 0x80
	iommuIOASAlloc  request = 2<<8 + 0x81
	iommuIOASRanges request = 2<<8 + 0x84
	iommuIOASMap    request = 2<<8 + 0x85
	iommuIOASUnmap  request = 2<<8 + 0x86
)

var requestNames = map[request]string{
	getAPIVersion: "VFIO_GET_API_VERSION", checkExtension: "VFIO_CHECK_EXTENSION", setIOMMU: "VFIO_SET_IOMMU",
	groupGetStatus: "VFIO_GROUP_GET_STATUS", groupSetContainer: "VFIO_GROUP_SET_CONTAINER",
	groupUnsetContainer: "VFIO_GROUP_UNSET_CONTAINER", groupGetDevice: "VFIO_GROUP_GET_DEVICE_FD",
	deviceGetInfo: "VFIO_DEVICE_GET_INFO", deviceGetRegion: "VFIO_DEVICE_GET_REGION_INFO",
	deviceGetInterrupt: "VFIO_DEVICE_GET_IRQ_INFO", deviceSetInterrupts: "VFIO_DEVICE_SET_IRQS",
	deviceReset: "VFIO_DEVICE_RESET", deviceHotResetInfo: "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO",
	deviceHotReset: "VFIO_DEVICE_PCI_HOT_RESET", deviceBindIOMMUFD: "VFIO_DEVICE_BIND_IOMMUFD",
	deviceAttachPT: "VFIO_DEVICE_ATTACH_IOMMUFD_PT",
	iommuGetInfo:   "VFIO_IOMMU_GET_INFO", iommuMapDMA: "VFIO_IOMMU_MAP_DMA", iommuUnmapDMA: "VFIO_IOMMU_UNMAP_DMA",
	iommuDestroy: "IOMMU_DESTROY", iommuIOASAlloc: "IOMMU_IOAS_ALLOC", iommuIOASRanges: "IOMMU_IOAS_IOVA_RANGES",
	iommuIOASMap: "IOMMU_IOAS_MAP", iommuIOASUnmap: "IOMMU_IOAS_UNMAP",
}

func (r request) String() string { return requestNames[r] }

func (r request) code() uint { return ioctl.IO(';', uint8(r)) }

// What VFIO_CHECK_EXTENSION is asked for: the IOMMU back ends a container may have. Every
// PC's is type 1.
const (
	type1   = 1
	type1v2 = 3
	noIOMMU = 8
)

// A host is the kernel this package talks to.
type host struct {
	fsys  fs.FS                           // sysfs, procfs and /dev, for the reason when something fails
	open  func(name string) (node, error) // opens a node for reading and writing
	adopt func(*os.File) node             // makes a node of a file that came from elsewhere
}

// A node is an open file of VFIO's: a container, a group, a device or an iommufd.
type node interface {
	// value makes a request whose argument is a number.
	value(r request, arg uintptr) (int, error)
	// data makes a request whose argument is a structure.
	data(r request, b []byte) error
	// point makes one with the address of to in the structure, from b[at] on.
	point(r request, b []byte, at int, to []byte) error
	// files makes one with the descriptors of open files in it, from b[at] on; that of
	// nil is -1.
	files(r request, b []byte, at int, files ...holder) error
	// device opens a device of a group.
	device(name string) (node, error)
	mmap(off int64, size, prot int) ([]byte, error)
	// duplicate returns the open file once more, for another process.
	duplicate() (*os.File, error)
	holder
	io.ReaderAt
	io.WriterAt
	io.Closer
}

// A holder keeps its file open, and so the file's number its own, during a call.
type holder interface {
	hold(func(fd uintptr)) error
}

// live returns the running host.
func live() host {
	open := func(name string) (node, error) {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		return &file{f}, nil
	}
	return host{os.DirFS("/"), open, func(f *os.File) node { return &file{f} }}
}

// file is a node of the running kernel. Its calls hold the file open, so that none
// can reach another file that got the same number after a Close.
type file struct{ *os.File }

func (f *file) hold(call func(fd uintptr)) error {
	c, err := f.SyscallConn()
	if err == nil {
		err = c.Control(call)
	}
	if err != nil {
		return fs.ErrClosed // the one reason why Control does not call
	}
	return nil
}

func (f *file) call(op string, call func(fd uintptr) error) error {
	var refused error
	err := f.hold(func(fd uintptr) { refused = call(fd) })
	if err == nil {
		err = refused
	}
	if err != nil {
		return &fs.PathError{Op: op, Path: f.Name(), Err: err}
	}
	return nil
}

func (f *file) value(r request, arg uintptr) (n int, err error) {
	err = f.call(r.String(), func(fd uintptr) (err error) {
		n, err = ioctl.Value(fd, r.code(), arg)
		return err
	})
	return n, err
}

func (f *file) data(r request, b []byte) error {
	return f.call(r.String(), func(fd uintptr) error {
		_, err := ioctl.Struct(fd, r.code(), b)
		return err
	})
}

func (f *file) point(r request, b []byte, at int, to []byte) error {
	return f.call(r.String(), func(fd uintptr) error {
		_, err := ioctl.Pointing(fd, r.code(), b, at, to)
		return err
	})
}

func (f *file) files(r request, b []byte, at int, files ...holder) (err error) {
	if len(files) == 0 {
		return f.data(r, b)
	}
	next := func(fd uintptr) {
		binary.NativeEndian.PutUint32(b[at:], uint32(fd))
		err = f.files(r, b, at+4, files[1:]...)
	}
	if files[0] == nil {
		next(^uintptr(0))
	} else if gone := files[0].hold(next); gone != nil {
		return &fs.PathError{Op: r.String(), Path: f.Name(), Err: gone}
	}
	return err
}

func (f *file) device(name string) (node, error) {
	var n int
	err := f.call(groupGetDevice.String(), func(fd uintptr) (err error) {
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

func (f *file) mmap(off int64, size, prot int) (b []byte, err error) {
	err = f.call("mmap", func(fd uintptr) (err error) {
		b, err = unix.Mmap(int(fd), off, size, prot, unix.MAP_SHARED)
		return err
	})
	return b, err
}

func (f *file) duplicate() (d *os.File, err error) {
	err = f.call("duplicate", func(fd uintptr) error {
		n, err := unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
		if err == nil {
			d = os.NewFile(uintptr(n), f.Name())
		}
		return err
	})
	return d, err
}
