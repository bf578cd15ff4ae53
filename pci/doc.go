// Package pci enumerates the PCI functions of a machine from sysfs: address, ids,
// class, driver, IOMMU group and topology, of the live host or of a saved machine.
//
// [Functions] lists them for the price of one file and one link each. What only
// some callers need is read by a function of its own when it is asked for: driver
// override, reset methods, power, bridges above, virtual functions; [Resources],
// the ranges of addresses; [Link]; [ReadRelations] and [Companions], what belongs
// together; [ReadTopologyPath], where a function is plugged in whatever its address
// is today.
//
// [ReadConfig] and [ReadVPD] ask the device itself, which wakes one that sleeps, and
// give all they can only to root. No listing does so. A [Config] tells apart what is
// not there, what was not read, and a function that does not answer.
//
// Nothing here writes. Listings are partial truth: they return what could be read
// together with an error that joins what could not.
package pci
