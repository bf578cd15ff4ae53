// Package iommu reads a machine's IOMMU from sysfs: whether it is working, its
// groups and who is in them, and the regions of memory they reserve.
//
// The evidence is what the kernel made (/sys/kernel/iommu_groups, /sys/class/iommu,
// /proc/interrupts), never its command line.
package iommu
