// Package uevent listens to the kernel's events about devices: one came, went,
// changed, or got or lost its driver. It needs no udev and, where the kernel gives a
// process the messages at all, no root.
//
// An event says that something happened, not what is so now: by the time it is read
// the device may have gone again. Who wants to know what there is listens first, then
// reads the machine, and reads again after an event. The kernel drops events when its
// buffer for them is full and says so once: [Conn.Read] then returns [ErrOverflow],
// after which only reading everything again tells what there is.
package uevent
