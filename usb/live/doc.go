// Package live does with a USB device what takes an open one: it tries which of its
// interfaces could be claimed, and resets it.
//
// It is built on libusb, and so with cgo. Built without, it has the same functions,
// and each returns an error that answers errors.Is(err, errors.ErrUnsupported).
// What a device is needs none of this: package usb reads it from sysfs without
// opening anything.
//
// Errors are [*usb.OpError]. They answer [errors.Is] with [fs.ErrNotExist] for a
// device that is not there or no longer there, [fs.ErrPermission] for a node that
// this process may not open, [syscall.EBUSY] for what a driver or another program
// has, and [errors.ErrUnsupported] when this host has no libusb that works, as in a
// container without /dev/bus/usb.
//
// Nothing here can be stopped: a device that does not answer keeps its caller
// waiting, for a reset up to several seconds.
package live
