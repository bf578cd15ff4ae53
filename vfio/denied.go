package vfio

import "github.com/project-independence/indy/pci"

// denied are the functions that vfio-pci does not take (vfio_pci_dev_in_denylist in
// drivers/vfio/pci/vfio_pci.c), as of Linux 6.18: accelerators of Intel's that a guest
// could make harm the host with.
var denied = []struct {
	device uint16
	name   string
}{
	{0x0435, "QuickAssist DH895xCC"},
	{0x0443, "QuickAssist DH895xCC, virtual function"},
	{0x37c8, "QuickAssist C62x"},
	{0x37c9, "QuickAssist C62x, virtual function"},
	{0x19e2, "QuickAssist C3xxx"},
	{0x19e3, "QuickAssist C3xxx, virtual function"},
	{0x0b25, "Data Streaming Accelerator of Sapphire Rapids"}, // since Linux 6.10
	{0x0cfe, "In-Memory Analytics Accelerator of Sapphire Rapids"},
}

// Denied reports whether vfio-pci refuses the function by its ids, and what it is. The
// driver's parameter disable_denylist makes it take them all the same. Kernels before
// 5.9 took all, and those before 6.10 the last two.
func Denied(f pci.Function) (name string, refused bool) {
	if f.Vendor != pci.NewID(0x8086) {
		return "", false
	}
	for _, d := range denied {
		if f.Device == pci.NewID(d.device) {
			return d.name, true
		}
	}
	return "", false
}
