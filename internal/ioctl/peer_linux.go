package ioctl

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxPeerGroups is how many groups a process can have, NGROUPS_MAX of linux/limits.h.
const maxPeerGroups = 65536

// PeerGroups returns the supplementary groups of the process that made the connection of a
// unix socket, as they were then, SO_PEERGROUPS of unix(7) (Linux 4.13).
func PeerGroups(fd int) ([]uint32, error) {
	groups := make([]uint32, 64)
	for {
		size := uint32(len(groups)) * 4
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		n := int(size / 4)
		switch {
		case errno == 0 && n <= len(groups):
			return groups[:n], nil
		case errno == unix.ERANGE && n > len(groups) && n <= maxPeerGroups:
			groups = make([]uint32, n)
		case errno == 0:
			return nil, errors.New("SO_PEERGROUPS: more groups than there was room for")
		default:
			return nil, errno
		}
	}
}
