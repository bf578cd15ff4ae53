// Package assign hands devices to guests and takes them back: PCI functions by whole
// IOMMU groups, single USB devices, SR-IOV virtual functions and mediated devices.
//
// [Read] gathers the facts, [NewPlan] decides every write with its undo and the
// value found before, without touching anything, and [Store.Assign] carries the plan
// out: it looks again before each write, reads back after it, and undoes everything
// in reverse when something is not as it should be. What is in a guest's hands is a
// [Lease], kept until [Store.Release] has given the functions back. A lease is a journal:
// each write is in it before it is made, so that after a crash [Store.Recover] finishes
// what was begun or takes it back. What a guest may have left in a function is its
// [Residue], which outlives the lease.
//
// Functions are bound to vfio-pci by their driver_override, each by its exact
// address, and always by whole IOMMU groups. Bridges are left alone.
package assign
