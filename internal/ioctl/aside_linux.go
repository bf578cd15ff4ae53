package ioctl

import (
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What a process made by [Aside] reads from its socket: a packet with the verb in its
// first byte, the name of a file from AsideName on, ended by a NUL, and from AsideValue
// on what is to be written. Descriptors that come with it (SCM_RIGHTS), of which it takes
// AsideKept, it has open until the call is over, and no longer; when not all have come it
// makes no call, and answers EMFILE. It answers each with one packet: what failed in the first
// byte, 0 if nothing did, the errno from AsideErrno on, how many bytes were read or
// written from AsideCount on, both as uint32 of this machine, and from AsideData on what
// was read.
const (
	AsideRead  = 'r' // one open, one read of at most AsideMost bytes, one close
	AsideWrite = 'w' // one open, one write, one close
	AsideReset = 'u' // one open, one USBDEVFS_RESET of linux/usbdevice_fs.h, one close
	AsideGroup = 'g' // one open, one VFIO_GROUP_GET_STATUS of linux/vfio.h, whose flags are the count, one close

	AsideName  = 8
	AsideValue = AsideName + 512
	AsideMost  = 16 << 10
	AsideKept  = 16

	AsideErrno = 4
	AsideCount = 8
	AsideData  = 16

	asideSize = AsideValue + AsideMost

	controlSize = unix.SizeofCmsghdr + 4*AsideKept

	usbReset    = ioNone | 'U'<<8 | 20  // USBDEVFS_RESET
	groupStatus = ioNone | ';'<<8 | 103 // VFIO_GROUP_GET_STATUS
)

// An asideMemory is all that the process writes to. What points is set before it begins.
type asideMemory struct {
	packet  [asideSize]byte
	control struct {
		unix.Cmsghdr
		fds [AsideKept]int32
	}
	header unix.Msghdr
	data   unix.Iovec
}

// Aside forks off a process that makes the calls it is asked for on socket, of type
// SOCK_SEQPACKET, one after the other, until the other end is closed. Its name is that
// given, of at most 15 bytes. The caller waits for the process.
//
// The process is a copy of this one in which nothing of the Go runtime runs any more:
// one thread that makes system calls. It costs no execution of a program, which takes
// longer than everything that this module does to hand over a device. It has a session of
// its own, no signal but SIGKILL reaches it, and socket is its only descriptor.
func Aside(socket int, name string) (pid int, err error) {
	memory := new(asideMemory)
	memory.data.Base = &memory.packet[0]
	memory.data.SetLen(asideSize)
	memory.header.Iov = &memory.data
	memory.header.SetIovlen(1)
	memory.header.Control = (*byte)(unsafe.Pointer(&memory.control))
	var comm [16]byte
	copy(comm[:15], name)
	// No fork of os/exec meanwhile: the pipe by which it learns that a program runs would
	// be open in our process, too, for a moment.
	syscall.ForkLock.Lock()
	defer syscall.ForkLock.Unlock()
	n, errno := fork(uintptr(socket), memory, &comm)
	runtime.KeepAlive(memory)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// fork returns in the parent. It and what it calls must not grow the stack, allocate or
// be interrupted by the runtime, of which the child has no other thread.
//
//go:nosplit
//go:norace
//go:nocheckptr
func fork(socket uintptr, memory *asideMemory, comm *[16]byte) (pid uintptr, errno syscall.Errno) {
	// With all signals blocked the runtime cannot preempt this thread, and no handler of
	// ours ever runs in the child.
	all, old := ^uint64(0), uint64(0)
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&old)), 8, 0, 0)
	pid, _, errno = syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno == 0 && pid == 0 {
		// The terminal, locks and the other children's sockets are not its own to keep. Not in
		// serve: without optimisation the stack would not do for that.
		closeRange(0, socket)
		closeRange(socket+1, 1<<16)
		serve(socket, memory, comm)
	}
	syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&old)), 0, 8, 0, 0)
	return pid, errno
}

// serve is all that the child does. It does not return. The checks of pointers that a build
// for tests adds would call the runtime.
//
//go:nosplit
//go:norace
//go:nocheckptr
func serve(socket uintptr, all *asideMemory, comm *[16]byte) {
	const here = ^uintptr(99) // AT_FDCWD
	memory := &all.packet
	start := uintptr(unsafe.Pointer(memory))
	syscall.RawSyscall6(unix.SYS_SETSID, 0, 0, 0, 0, 0, 0)
	syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_NAME, uintptr(unsafe.Pointer(comm)), 0, 0, 0, 0)
	for {
		all.header.SetControllen(controlSize)
		n, _, errno := syscall.RawSyscall6(unix.SYS_RECVMSG, socket, uintptr(unsafe.Pointer(&all.header)), 0, 0, 0, 0)
		if errno != 0 || n < AsideValue {
			break // nobody asks any more
		}
		memory[AsideValue-1] = 0
		flags := uintptr(unix.O_WRONLY | unix.O_CLOEXEC)
		read := memory[0] == AsideRead
		if read {
			flags = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
		}
		failed := byte('o')
		var count uintptr
		if memory[0] == AsideGroup {
			flags = unix.O_RDWR | unix.O_CLOEXEC
		}
		fd := uintptr(0)
		if errno = unix.EMFILE; all.header.Flags&unix.MSG_CTRUNC == 0 {
			fd, _, errno = syscall.RawSyscall6(unix.SYS_OPENAT, here, start+AsideName, flags, 0, 0, 0)
		}
		if errno == 0 {
			failed = memory[0]
			switch failed {
			case AsideWrite:
				count, _, errno = syscall.RawSyscall6(unix.SYS_WRITE, fd, start+AsideValue, n-AsideValue, 0, 0, 0)
			case AsideReset:
				_, _, errno = syscall.RawSyscall6(unix.SYS_IOCTL, fd, usbReset, 0, 0, 0, 0)
			case AsideGroup:
				*(*[2]uint32)(unsafe.Pointer(&memory[AsideValue])) = [2]uint32{8} // argsz, flags
				_, _, errno = syscall.RawSyscall6(unix.SYS_IOCTL, fd, groupStatus, start+AsideValue, 0, 0, 0)
				count = uintptr(*(*uint32)(unsafe.Pointer(&memory[AsideValue+4])))
			default:
				count, _, errno = syscall.RawSyscall6(unix.SYS_READ, fd, start+AsideData, AsideMost, 0, 0, 0)
			}
			_, _, closed := syscall.RawSyscall6(unix.SYS_CLOSE, fd, 0, 0, 0, 0, 0)
			if errno == 0 {
				failed, errno = 'c', closed
			}
		}
		if errno == 0 {
			failed = 0
		} else {
			count = 0
		}
		// Before whoever asked goes on and lets go of them, too.
		if all.header.Controllen > unix.SizeofCmsghdr {
			for i := range (uintptr(all.control.Len) - unix.SizeofCmsghdr) / 4 {
				syscall.RawSyscall6(unix.SYS_CLOSE, uintptr(all.control.fds[i%AsideKept]), 0, 0, 0, 0, 0)
			}
		}
		memory[0] = failed
		*(*uint32)(unsafe.Pointer(&memory[AsideErrno])) = uint32(errno)
		*(*uint32)(unsafe.Pointer(&memory[AsideCount])) = uint32(count)
		size := uintptr(AsideData)
		if read {
			size += count
		}
		if _, _, errno := syscall.RawSyscall6(unix.SYS_WRITE, socket, start, size, 0, 0, 0); errno != 0 {
			break
		}
	}
	for {
		syscall.RawSyscall6(unix.SYS_EXIT_GROUP, 0, 0, 0, 0, 0, 0)
	}
}

// closeRange closes the descriptors from first up to, but without, end. Kernels before
// 5.9 have no call for that.
//
//go:nosplit
//go:norace
func closeRange(first, end uintptr) {
	if first == end {
		return
	}
	last := end - 1
	if first > 0 {
		last = 1<<32 - 1
	}
	if _, _, errno := syscall.RawSyscall6(unix.SYS_CLOSE_RANGE, first, last, 0, 0, 0, 0); errno == 0 {
		return
	}
	for fd := first; fd < end; fd++ {
		syscall.RawSyscall6(unix.SYS_CLOSE, fd, 0, 0, 0, 0, 0)
	}
}
