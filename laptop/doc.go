// Package laptop joins what pci, usb, audio, gpu and iommu read into one machine:
// its devices by role, what the host itself needs of them, and for each a first
// verdict on whether it can go to a guest.
//
// [Read] works on the live host and on a saved machine alike and changes nothing.
// Names of vendors and devices are a lookup beside the facts: see [Names].
package laptop
