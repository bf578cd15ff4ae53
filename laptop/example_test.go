package laptop_test

import (
	"fmt"
	"strings"

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

// A controller that is to go to a guest carries the disk with the host's swap space,
// and the only keyboard.
func ExampleLosses() {
	host, _, err := hostfs.ParseTxtar([]byte(`
-- sys/bus/pci/devices/0000:00:14.0 -> ../../../devices/pci0000:00/0000:00:14.0 --
-- sys/devices/pci0000:00/0000:00:14.0/uevent --
DRIVER=xhci_hcd
PCI_CLASS=C0330
PCI_ID=8086:A0ED
-- sys/bus/usb/devices/1-2 -> ../../../devices/pci0000:00/0000:00:14.0/usb1/1-2 --
-- sys/devices/pci0000:00/0000:00:14.0/usb1/1-2/uevent --
DRIVER=usb
PRODUCT=781/5581/100
TYPE=0/0/0
-- sys/class/block/sda -> ../../devices/pci0000:00/0000:00:14.0/usb1/1-2/1-2:1.0/host0/target0:0:0/0:0:0:0/block/sda --
-- sys/class/block/dm-0 -> ../../devices/virtual/block/dm-0 --
-- sys/devices/virtual/block/dm-0/dm/name --
cryptswap
-- sys/devices/virtual/block/dm-0/dm/uuid --
CRYPT-LUKS2-0123456789abcdef-cryptswap
-- sys/devices/virtual/block/dm-0/slaves/sda --
-- sys/class/input/input3 -> ../../devices/pci0000:00/0000:00:14.0/usb1/1-3/1-3:1.0/input/input3 --
-- sys/devices/pci0000:00/0000:00:14.0/usb1/1-3/1-3:1.0/input/input3/uevent --
NAME="Keyboard"
EV=120013
KEY=fffffffffffffffe
-- sys/bus/usb/devices/1-3 -> ../../../devices/pci0000:00/0000:00:14.0/usb1/1-3 --
-- sys/devices/pci0000:00/0000:00:14.0/usb1/1-3/uevent --
DRIVER=usb
PRODUCT=46d/c31c/6400
TYPE=0/0/0
-- proc/self/mountinfo --
22 1 0:21 / / rw,relatime shared:1 - tmpfs none rw
-- proc/swaps --
Filename	Type	Size	Used	Priority
/dev/dm-0	partition	8388604	0	-2
-- proc/1/comm --
systemd
-- proc/1/fd/0 -> /dev/null --
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	l, err := laptop.Read(host)
	if err != nil {
		fmt.Println(err)
	}
	losses, err := laptop.Losses(host, l, []*laptop.Device{l.Device("pci:0000:00:14.0")})
	if err != nil {
		fmt.Println(err) // what is known is in losses all the same
	}
	for _, loss := range losses {
		fmt.Printf("%s: %s\n  %s\n", loss.Severity, loss.What, strings.Join(loss.Via, " on "))
	}
	// Output:
	// block: swap on dm-0 (LUKS cryptswap) on sda
	//   swap on dm-0 (LUKS cryptswap) on sda on usb:1-2 on pci:0000:00:14.0
	// block: the host is left without a keyboard: Keyboard (usb:1-3)
	//   input3 on usb:1-3 on pci:0000:00:14.0
	// warning: storage 1-2
	//   usb:1-2 on pci:0000:00:14.0
	// warning: input 1-3
	//   usb:1-3 on pci:0000:00:14.0
}
