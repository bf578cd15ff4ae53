// Package usb enumerates the USB devices of a machine from sysfs: port path, ids,
// class, interfaces with their drivers, and the PCI function whose controller
// carries each of them; of the live host or of a saved machine.
//
// [Devices] lists them for the price of one link and one file each, and one file
// for each interface. What only some callers need (names, serial number, speed,
// whether a device is built in) is read by a function of its own when it is asked
// for. Nothing here opens a device and nothing here writes; package
// [github.com/project-independence/indy/usb/live] does what takes an open device.
//
// [ReadDescriptors] has all that a device says of itself, down to what its
// microphones and modems can do, and [Descriptors.Functions] says which interfaces
// go together. [Ports] lists the sockets of the machine, also the empty ones.
//
// A device is found by its [PortPath], the way through the ports of the hubs from
// the bus: two identical devices differ there, and it stays when the device takes
// a new id after a firmware update. Bus numbers are given out anew at each boot,
// and one physical port is part of two buses when it is a USB 3 port; what lasts
// is the controller's PCI address together with the ports.
//
// What a device says about itself is untrusted. Its strings are cut to a bounded
// line of printable text before anyone sees them.
//
// Listings are partial truth: they return what could be read together with an
// error that joins what could not.
package usb
