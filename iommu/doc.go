// Package iommu reads a machine's IOMMU: whether it is working, its groups and who is in
// them, the regions of memory they reserve, and why functions share a group.
//
// The evidence is what the kernel made: [ReadStatus], [Groups] and [ReservedRegions] of
// /sys/kernel/iommu_groups, /sys/class/iommu and /proc/interrupts, and [ReadUnits] of what
// each unit is able to do. What somebody wanted is told apart from that: [ReadSettings] of
// the kernel's command line and modules, and the tables in which firmware describes the
// units, [ReadDMAR] (Intel) and [ReadIVRS] (AMD), with the function that each of their
// scopes names.
//
// [ReadTopology] reads of the functions what grouping depends on, and [Topology.Derive]
// makes the groups again by the rules of Linux 6.12 and the quirks of 6.18, with a [Join]
// for each function that shares one: which link or function lacks what. [Compare] says
// where the kernel has others, and the kernel's are what holds. What could not be read is
// Unknown in all of them; nothing is guessed.
package iommu
