package uevent

import "errors"

// ErrOverflow is returned by [Conn.Read] after the kernel has dropped events because
// they were not read fast enough. The Conn goes on; what is known of the machine has
// to be read anew.
var ErrOverflow = errors.New("the kernel has dropped events that were not read in time")

// Options says how to listen. The zero value is a good choice.
type Options struct {
	// Buffer is how many bytes the kernel may keep until they are read; 0 is 8 MiB,
	// which is some ten thousand events. Without the capability CAP_NET_ADMIN it is cut to
	// /proc/sys/net/core/rmem_max.
	Buffer int
}

const defaultBuffer = 8 << 20
