// Package daemon answers on a unix socket for those who may use, operate or administer the
// guests of this machine.
//
// Who asks is known by the kernel: the user and the groups that a connection was made with.
// What they may do is one table, see [Verbs]. The daemon holds no guest: each has its
// runner, a process of its own that goes on when the daemon ends, and is found again by its
// directory. What the daemon must remember is little and in a file.
package daemon
