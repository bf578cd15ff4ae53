// Package qmp speaks QMP, the protocol in which QEMU takes commands and reports
// events, over a connection that is already open.
//
// [New] reads the greeting and leaves the negotiation behind. [Conn.Call] runs one
// command; calls may run at the same time, and each one ends when its context
// does, whatever QEMU does. Events go to those who asked by [Conn.Subscribe]; one
// who does not read loses events, which are counted, and never holds up a call.
//
// The other side is not trusted: messages have a greatest size and depth, an
// answer counts only under the id of a call, and the first message that makes no
// sense ends the connection with an error that says so.
package qmp
