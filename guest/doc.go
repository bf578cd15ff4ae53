// Package guest describes a guest as data: processors, memory, firmware, disks, the
// PCI functions and USB devices it is given, and what it shares with the host:
// network, sound, graphics, input, folders.
//
// A [Guest] knows addresses and file names and nothing of the host they are found
// on: it opens nothing and asks nothing. [Guest.Validate] says whether it is a
// guest at all. Package qemu, below this one, runs it.
//
// A [Definition] is a guest as its owner writes it down: it has needs instead of
// addresses, and so means something on any machine. Once its needs are resolved,
// [Definition.Guest] makes a Guest of it.
//
// The format of a disk is always given and never guessed from what the disk
// holds: whoever writes the disk from inside a guest could otherwise make the
// host take it for something else at the next start.
//
// A guest gets the least: the zero value of every field is none, or the least that
// a guest can be run with.
package guest
