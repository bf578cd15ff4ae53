package ioctl

import (
	"encoding/binary"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Int makes the request without an argument and returns the kernel's result.
func Int(fd uintptr, req uint) (int, error) { return Value(fd, req, 0) }

// Value makes the request with a plain number as its argument and returns the
// kernel's result. A request that takes an address is for Struct.
func Value(fd uintptr, req uint, arg uintptr) (int, error) {
	return again(func() (uintptr, unix.Errno) {
		n, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, uintptr(req), arg)
		return n, errno
	})
}

// Struct makes the request with the address of b, which the kernel reads, fills or
// both, and returns the kernel's result. An empty b, and one shorter than a size
// written in the request, is EINVAL without asking the kernel. Where the size is
// in the data instead, as VFIO's argsz, it must be at most len(b).
func Struct(fd uintptr, req uint, b []byte) (int, error) {
	if len(b) == 0 || len(b) < encodedSize(req) {
		return 0, unix.EINVAL
	}
	return again(func() (uintptr, unix.Errno) {
		n, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, uintptr(req), uintptr(unsafe.Pointer(&b[0])))
		return n, errno
	})
}

// Pointing makes the request as Struct does, with the address of the first byte of to
// in the eight bytes of b from at on. The kernel reads or fills to during the call; one
// that keeps the address needs memory that Go neither moves nor frees, which is mapped.
// An empty to, and an at that is not within b, is EINVAL without asking the kernel.
func Pointing(fd uintptr, req uint, b []byte, at int, to []byte) (int, error) {
	if len(to) == 0 || at < 0 || at > len(b)-8 {
		return 0, unix.EINVAL
	}
	var pinned runtime.Pinner
	pinned.Pin(&to[0])
	defer pinned.Unpin()
	binary.NativeEndian.PutUint64(b[at:], uint64(uintptr(unsafe.Pointer(&to[0]))))
	return Struct(fd, req, b)
}

// again repeats call for as long as a signal interrupts it.
func again(call func() (uintptr, unix.Errno)) (int, error) {
	for {
		switch n, errno := call(); errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}
