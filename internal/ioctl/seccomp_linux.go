package ioctl

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Supervise has the calling thread, and every process started from it from now on, obey
// a seccomp filter, and returns the file by which the system calls are answered for
// which the filter says SECCOMP_RET_USER_NOTIF (seccomp_unotify(2)). It cannot be taken
// back: the caller locks its goroutine to the thread and ends it without unlocking. An
// empty filter is EINVAL; without CAP_SYS_ADMIN it is EACCES.
func Supervise(filter []unix.SockFilter) (listener int, err error) {
	if len(filter) == 0 {
		return -1, unix.EINVAL
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	n, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER,
		uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}
