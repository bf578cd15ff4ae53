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

// The functions and links of the running machine are read in place of the tree; of
// configuration space that takes root.
func ExampleTopology_Derive() {
	host := new(hostfs.Tree)
	port := make([]byte, 4096) // a root port without the capability ACS
	port[0x06], port[0x34], port[0x40], port[0x42] = 0x10, 0x40, 0x10, 0x42
	for a, dir := range map[string]string{
		"0000:00:01.0": "devices/pci0000:00/0000:00:01.0", "0000:01:00.0": "devices/pci0000:00/0000:00:01.0/0000:01:00.0",
	} {
		_ = host.Symlink("../../../"+dir, "sys/bus/pci/devices/"+a)
		_ = host.Put("sys/"+dir+"/uevent", []byte("PCI_CLASS=60400\nPCI_ID=8086:9A01\n"))
	}
	_ = host.Put("sys/devices/pci0000:00/0000:00:01.0/config", port)

	functions, err := pci.Functions(host)
	if err != nil {
		fmt.Println(err)
	}
	topology, err := iommu.ReadTopology(host, functions, iommu.TopologyOptions{})
	if err != nil {
		fmt.Println(err) // what could be read is in topology all the same
	}
	for _, g := range topology.Derive() {
		fmt.Println(g.Devices, "and unknown:", len(g.Unknown))
		for _, j := range g.Joins {
			fmt.Println(j.Reason, "at", j.At, "without", iommu.ACSNames(j.Missing))
		}
	}
	fmt.Println(len(topology.WithACSOverride("downstream").Derive()), "groups with the override")
	// Output:
	// [0000:00:01.0 0000:01:00.0] and unknown: 0
	// missing-acs at 0000:00:01.0 without [source-validation request-redirect completion-redirect upstream-forwarding]
	// 2 groups with the override
}
