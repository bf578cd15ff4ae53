// Package pci enumerates the PCI functions of a machine from sysfs: address, ids,
// class, driver, IOMMU group and topology, of the live host or of a saved machine.
//
// [Functions] lists them for the price of one file and one link each. What only
// some callers need (reset methods, driver override, bridges above, virtual
// functions, power state) is read by a function of its own when it is asked for.
// Nothing here opens a function's config space, because that wakes a sleeping
// device, and nothing here writes.
//
// Listings are partial truth: they return what could be read together with an
// error that joins what could not.
package pci
