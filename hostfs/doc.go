// Package hostfs is the door to the host: every byte this module reads from or
// writes to /sys, /proc, /dev and /etc passes through here.
//
// Names are rooted at / without the slash, as in
// sys/bus/pci/devices/0000:01:00.0/uevent, so one tree holds a whole machine and
// paths in code read like paths in the kernel's documentation.
//
// A function that reads takes an [io/fs.FS]; only one that changes the machine
// takes an [FS]. [Live] is the running host. [Open] gives a saved machine: a
// directory, a txtar, or a tar archive of the same tree. Saved machines are
// untrusted: no name and no link in them leads out of them, and their size is
// bounded. [Tree] is a machine held in memory.
package hostfs
