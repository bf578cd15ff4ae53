// Package vfio is the kernel's VFIO as Go: whether this host has it, whether an
// IOMMU group can be handed over, and devices themselves, driven from user space:
// memory for them to reach, registers, interrupts, resets.
//
// [NewAddressSpace] gives an [AddressSpace], by either of the kernel's interfaces:
// groups in a container, which every kernel has, or iommufd, which is used where it is
// there. [AddressSpace.Open] opens a device and puts it behind the IOMMU. From then on
// it reaches what [AddressSpace.Map] has mapped and nothing else. [Probe] tells what
// the kernel has.
//
// VFIO hands over groups, not devices. [OpenGroup] opens one by itself, of which one
// program at a time may be the owner; [Group.Status] tells whether all its devices are
// out of the host's hands. [AddressSpace.Handles], [Send], [Receive] and [Rebuild] pass
// what is open to another process, which needs no right to open it.
//
// Nothing here binds a driver. Groups without an IOMMU behind them, which the kernel
// names noiommu, are refused.
//
// Errors are [*OpError]. One that says what this host lacks answers
// errors.Is(err, errors.ErrUnsupported) and names the kernel module, the option of the
// kernel or the setting. After Close everything answers fs.ErrClosed.
//
// All types may be used by several goroutines at once. What is mapped, a [Memory] or a
// [MappedRegion], is unmapped only when nobody is using it.
package vfio
