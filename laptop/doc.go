// Package laptop joins what pci, usb, audio, gpu and iommu read into one machine:
// its devices by role, what the kernel made of each, which of them are one thing in
// the hand, what the host itself needs, and for each a first verdict on whether it
// can go to a guest. Devices on neither PCI nor USB are among them.
//
// [Read] works on the live host and on a saved machine alike and changes nothing.
// [Facts] says more of one device, each fact with its file; [Options] what else would do
// when it cannot go, and [WhatIf] what would be of the machine if it were started or
// plugged together differently. Names of vendors and
// devices are a lookup beside the facts: see [Names].
package laptop
