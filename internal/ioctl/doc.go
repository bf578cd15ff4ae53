// Package ioctl makes ioctl calls and reaches mapped registers, and is the only place
// of this module with unsafe code.
//
// A call interrupted by a signal is made again; any other error is the kernel's
// [syscall.Errno]. The caller keeps the file open during the call, for instance by
// calling from within [syscall.RawConn.Control].
//
// On systems other than Linux every call fails with [errors.ErrUnsupported].
package ioctl
