package laptop_test

import (
	"fmt"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/laptop"
)

// What a USB device needs is a controller that costs the host less, here one in another
// group than that with the webcam; and what both would be worth then.
func ExampleOptions() {
	host, _, err := hostfs.ParseTxtar([]byte(`
-- sys/bus/pci/devices/0000:00:0d.0 -> ../../../devices/pci0000:00/0000:00:0d.0 --
-- sys/devices/pci0000:00/0000:00:0d.0/uevent --
PCI_CLASS=C0330
PCI_ID=8086:A0ED
-- sys/devices/pci0000:00/0000:00:0d.0/iommu_group -> ../../../kernel/iommu_groups/0 --
-- sys/kernel/iommu_groups/0/devices/0000:00:0d.0 -> ../../../../devices/pci0000:00/0000:00:0d.0 --
-- sys/bus/pci/devices/0000:00:14.0 -> ../../../devices/pci0000:00/0000:00:14.0 --
-- sys/devices/pci0000:00/0000:00:14.0/uevent --
PCI_CLASS=C0330
PCI_ID=8086:A0ED
-- sys/devices/pci0000:00/0000:00:14.0/iommu_group -> ../../../kernel/iommu_groups/1 --
-- sys/kernel/iommu_groups/1/devices/0000:00:14.0 -> ../../../../devices/pci0000:00/0000:00:14.0 --
-- sys/bus/usb/devices/1-1 -> ../../../devices/pci0000:00/0000:00:14.0/usb1/1-1 --
-- sys/devices/pci0000:00/0000:00:14.0/usb1/1-1/uevent --
PRODUCT=4f2/b6d9/1211
TYPE=0/0/0
-- sys/bus/usb/devices/1-1:1.0 -> ../../../devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0 --
-- sys/devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0/uevent --
INTERFACE=14/1/0
-- sys/bus/usb/devices/1-2 -> ../../../devices/pci0000:00/0000:00:14.0/usb1/1-2 --
-- sys/devices/pci0000:00/0000:00:14.0/usb1/1-2/removable --
removable
-- sys/devices/pci0000:00/0000:00:14.0/usb1/1-2/uevent --
PRODUCT=8bb/2902/100
TYPE=0/0/0
-- sys/bus/usb/devices/1-2:1.0 -> ../../../devices/pci0000:00/0000:00:14.0/usb1/1-2/1-2:1.0 --
-- sys/devices/pci0000:00/0000:00:14.0/usb1/1-2/1-2:1.0/uevent --
INTERFACE=1/1/0
-- proc/self/mountinfo --
22 1 0:27 / / rw - tmpfs none rw
-- proc/net/route --
Iface	Destination
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	l, err := laptop.Read(host)
	if err != nil {
		fmt.Println(err)
	}
	sound := l.Device("usb:1-2")
	options, err := laptop.Options(host, l, sound)
	if err != nil {
		fmt.Println(err)
	}
	for _, o := range options {
		fmt.Printf("%d. %s: %s\n", o.Rank, o.Device, o.Cost)
	}
	move, err := laptop.ParseAssumption("move-port=1-2:0000:00:0d.0")
	if err != nil {
		fmt.Println(err)
	}
	then, err := laptop.WhatIf(host, l, []laptop.Assumption{move}, laptop.WhatIfOptions{})
	if err != nil {
		fmt.Println(err)
	}
	for _, c := range then.Changes {
		fmt.Println(c.Device, c.VerdictBefore, c.VerdictAfter)
	}
	// Output:
	// 1. pci:0000:00:0d.0: the host loses nothing besides
	// 2. pci:0000:00:14.0: the host loses 1-1 (webcam)
	// 3. usb:1-2: the host keeps the device and the guest depends on the host's driver
	// pci:0000:00:0d.0 assignable assignable
	// pci:0000:00:14.0 assignable assignable
	// usb:1-2 assignable assignable
}
