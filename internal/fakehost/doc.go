// Package fakehost is a host that fails on demand, for the real command.
//
// A [Host] shows the simulated kernel of internal/sim as a file system in user space.
// A program that is started by [Host.Command] sees it as /sys and /dev/vfio, and has
// /run/indy and /var/lib/indy of its own; /proc and the kernel it runs on are real.
// Each operation of such a program that changes something is told to a [Hook] before
// it is done, which can have it fail, be done by half, never be answered, or have the
// process killed before or after it. VFIO's ioctls, which no file system in user space
// can answer, are caught by a seccomp filter and answered by the same Host.
//
// It needs root, /dev/fuse and a mount namespace of its own: a test binary gets one by
// [Main]. Only tests import it.
package fakehost
