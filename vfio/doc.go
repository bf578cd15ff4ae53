// Package vfio is the kernel's VFIO as Go: whether this host has it, whether an
// IOMMU group can be handed over, and what the devices in it offer: regions,
// interrupts, a reset.
//
// VFIO hands over groups, not devices. [OpenGroup] opens a group, of which one
// program at a time may be the owner; [Group.Status] tells whether all its devices
// are out of the host's hands; [Group.Attach] puts them behind the IOMMU, which is
// when a device may be opened with [Group.OpenDevice].
//
// Nothing here binds a driver or maps memory for a device. Groups without an IOMMU
// behind them, which the kernel names noiommu, are refused.
//
// Errors are [*OpError]. One that says what this host lacks answers
// errors.Is(err, errors.ErrUnsupported) and names the kernel module or the setting.
//
// A [Group] and a [Device] may be used by several goroutines at once.
package vfio
