package iommu_test

import (
	"fmt"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
)

// With hostfs.Live() in place of the tree this lists the groups of the running
// machine.
func ExampleGroups() {
	host := new(hostfs.Tree)
	for _, a := range []string{"0000:01:00.0", "0000:01:00.1"} {
		dir := "devices/pci0000:00/0000:00:01.0/" + a
		_ = host.Symlink("../../../"+dir, "sys/bus/pci/devices/"+a)
		_ = host.Symlink("../../../../"+dir, "sys/kernel/iommu_groups/14/devices/"+a)
		_ = host.Put("sys/"+dir+"/uevent", []byte("PCI_CLASS=30000\nPCI_ID=10DE:2520\n"))
		_ = host.Symlink("../../../../kernel/iommu_groups/14", "sys/"+dir+"/iommu_group")
	}
	_ = host.Symlink("../../devices/virtual/iommu/ivhd0", "sys/class/iommu/ivhd0")

	functions, err := pci.Functions(host)
	if err != nil {
		fmt.Println(err)
	}
	groups, err := iommu.Groups(host, functions)
	if err != nil {
		fmt.Println(err) // what could be read is in groups all the same
	}
	status, err := iommu.ReadStatus(host, groups)
	fmt.Println(status.Kind, status.Enabled, "interrupt remapping:", status.InterruptRemapping, err)
	for _, g := range groups {
		fmt.Println(g.ID, g.Devices, g.Known)
	}
	// Output:
	// amd true interrupt remapping: unknown <nil>
	// 14 [0000:01:00.0 0000:01:00.1] true
}
