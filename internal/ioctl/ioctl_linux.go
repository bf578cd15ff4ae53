package ioctl

import (
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
