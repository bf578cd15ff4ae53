// Package doctor says whether a machine is ready to hand devices to guests, and what
// would make it so.
//
// [Examine] looks at a running host or a saved machine and returns a [Report]: one
// [Check] for each thing that has to be so, with the file that says so and, where it is
// not so, a remedy that fits this host: its distribution, its boot loader, its
// initramfs. What a machine does not state is unknown.
//
// What works is told from what the kernel made, never from what it was asked for: an
// IOMMU works when there are groups, whatever stands on the command line.
//
// [Report.Edits] are the changes of configuration files that would mend what can be
// mended so. Nothing here writes, and nothing it proposes binds a device at the next
// start.
package doctor
