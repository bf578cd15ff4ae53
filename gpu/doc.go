// Package gpu finds the display functions of a machine, the connectors and panels
// on each and the device nodes of each, of the live host or of a saved machine.
//
// Every PCI function of base class 03 is one, whether or not a driver drives it: a
// GPU that waits for a guest has no card in /sys/class/drm and is a GPU all the
// same. Displays that are not PCI functions, such as one behind a USB dock, are
// not listed here.
//
// A listing tells of a connector what the kernel last knew; it starts no probe and
// wakes no sleeping GPU. What may do so is read on demand, one connector or function
// at a time: EDIDs ([ReadEDID], [ParseEDID]) and option ROMs ([ReadROM],
// [ParseROM]). [Hybrid] says which GPU of several drives the panel, and what for a
// reason. Listings are partial truth: they return what could be read
// together with an error that joins what could not.
package gpu
