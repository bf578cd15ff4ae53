// Package jail is the stage between the start of QEMU and QEMU itself: a small program,
// or the same one once more, which takes from its own process what QEMU does not need,
// and then becomes QEMU.
//
// Whoever starts it makes namespaces for it (processes, IPC, host name, control
// groups, mostly network, and without root a user namespace), and hands it two files
// besides those for QEMU: a [Spec] as JSON and, at the next number, the writing end of
// a pipe. [Run] makes a root of its own that holds what the Spec names and nothing
// else, gives up every right, says on the pipe what is in force, and executes the
// program. The pipe is closed by that, which tells the starter that it has happened.
//
// The Spec is not trusted to be well made: it is bounded, its paths are absolute and
// clean, and a link in the way of what it names is an error. It is trusted in what it
// names: who writes it decides what QEMU sees.
package jail
