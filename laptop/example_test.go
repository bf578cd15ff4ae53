package laptop_test

import (
	"fmt"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/laptop"
)

// With hostfs.Live() in place of the small machine in memory this judges the
// devices of the running one.
func ExampleRead() {
	host, _, err := hostfs.ParseTxtar([]byte(`
-- sys/bus/pci/devices/0000:00:14.0 -> ../../../devices/pci0000:00/0000:00:14.0 --
-- sys/devices/pci0000:00/0000:00:14.0/uevent --
DRIVER=xhci_hcd
PCI_CLASS=C0330
PCI_ID=8086:A0ED
-- sys/devices/pci0000:00/0000:00:14.0/iommu_group -> ../../../kernel/iommu_groups/0 --
-- sys/kernel/iommu_groups/0/devices/0000:00:14.0 -> ../../../../devices/pci0000:00/0000:00:14.0 --
-- sys/bus/pci/devices/0000:00:17.0 -> ../../../devices/pci0000:00/0000:00:17.0 --
-- sys/devices/pci0000:00/0000:00:17.0/uevent --
DRIVER=ahci
PCI_CLASS=10601
PCI_ID=8086:A0D3
-- sys/devices/pci0000:00/0000:00:17.0/iommu_group -> ../../../kernel/iommu_groups/1 --
-- sys/kernel/iommu_groups/1/devices/0000:00:17.0 -> ../../../../devices/pci0000:00/0000:00:17.0 --
-- sys/class/block/sda -> ../../devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sda --
-- proc/self/mountinfo --
22 1 8:0 / / rw,relatime shared:1 - ext4 /dev/sda rw
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	l, err := laptop.Read(host)
	if err != nil {
		fmt.Println(err) // what could be read is in l all the same
	}
	for _, d := range l.Devices {
		fmt.Println(d.Where(), d.Role(), d.Nodes, d.Verdict)
		for _, f := range d.Findings {
			fmt.Println("  "+string(f.Code)+":", f.Detail)
		}
	}
	// Output:
	// 0000:00:14.0 usb-controller [] assignable
	// 0000:00:17.0 storage [dev/sda] refused
	//   host-disk: 0000:00:17.0 carries a disk the host is using: / on sda
}
