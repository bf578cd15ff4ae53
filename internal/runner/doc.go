// Package runner is the process that one guest has: it takes what the guest needs, runs
// its QEMU, and gives everything back when that has ended. It outlives the command, or the
// daemon, that started it.
//
// A runner alone can speak with its QEMU, over an inherited socket, and dies with it: QEMU
// gets a signal when its runner ends, and the runner ends with QEMU. Whoever wants to know
// something of the guest, or wants something of it, asks the runner, by HTTP on a unix
// socket in the guest's directory; see [Dir]. The user that the runner has may ask, and
// root, nobody else.
//
// What is kept of a guest in its directory is bounded: its console, the log and the events
// are the last of each.
package runner
