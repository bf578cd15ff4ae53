// Package importer makes saved machines of reports that other programs write: a
// nixos-facter report, text of lspci, and the database of udev.
//
// [Parse] tells by its content what a report is and gives a [hostfs.Tree] in the
// shape of the kernel's /sys, with what the report states and nothing else: what a
// format does not know is absent, which every reader takes for unknown. Where an
// absence would mean no, as that of IOMMU groups, the tree says that it is not stated:
// it has a directory sys/class/iommu and no sys/kernel/iommu_groups.
//
// Reports are untrusted. Sizes, counts and depths are bounded, addresses, port paths
// and names are checked, and no path in a report leads to another place of the tree
// than the kernel would give it.
package importer
