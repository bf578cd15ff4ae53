package laptop_test

import (
	"fmt"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/laptop"
)

// A disk behind the same root port after a start at which its bus got another
// number, which the kernel gives as it finds them.
func ExampleMatch() {
	read := func(bus string) []laptop.Identity {
		disk := "pci0000:00/0000:00:1c.4/0000:" + bus + ":00.0"
		host, _, err := hostfs.ParseTxtar([]byte(`
-- sys/bus/pci/devices/0000:` + bus + `:00.0 -> ../../../devices/` + disk + ` --
-- sys/devices/` + disk + `/uevent --
DRIVER=nvme
PCI_CLASS=10802
PCI_ID=144D:A808
-- sys/class/nvme/nvme0 -> ../../devices/` + disk + `/nvme/nvme0 --
-- sys/devices/` + disk + `/nvme/nvme0/serial --
S5GXNX0T123456
`))
		if err != nil {
			fmt.Println(err)
			return nil
		}
		l, err := laptop.Read(host)
		if err != nil {
			fmt.Println(err) // what could be read is in l all the same
		}
		ids, err := laptop.Identify(host, l)
		if err != nil {
			fmt.Println(err)
		}
		return ids
	}
	for _, m := range laptop.Match(read("03"), read("05")) {
		fmt.Println(m.Outcome, m.Before, m.After, m.Score)
		for _, e := range m.Evidence {
			fmt.Println(" ", e.Kind, e.After, e.Agrees)
		}
	}
	// Output:
	// same pci:0000:03:00.0 pci:0000:05:00.0 100
	//   serial S5GXNX0T123456 yes
	//   topology pci0000:00/1c.4/00.0 yes
	//   ids 144d:a808 yes
	//   class 010802 yes
	//   driver nvme yes
}

func ExampleIdentify() {
	host, _, err := hostfs.ParseTxtar([]byte(`
-- sys/bus/pci/devices/0000:00:14.0 -> ../../../devices/pci0000:00/0000:00:14.0 --
-- sys/devices/pci0000:00/0000:00:14.0/uevent --
PCI_CLASS=C0330
PCI_ID=8086:A36D
-- sys/bus/usb/devices/usb1 -> ../../../devices/pci0000:00/0000:00:14.0/usb1 --
-- sys/devices/pci0000:00/0000:00:14.0/usb1/uevent --
PRODUCT=1d6b/2/618
-- sys/bus/usb/devices/1-4 -> ../../../devices/pci0000:00/0000:00:14.0/usb1/1-4 --
-- sys/devices/pci0000:00/0000:00:14.0/usb1/1-4/uevent --
DRIVER=usb
PRODUCT=781/5567/100
TYPE=0/0/0
-- sys/devices/pci0000:00/0000:00:14.0/usb1/1-4/serial --
4C530001
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	l, err := laptop.Read(host)
	if err != nil {
		fmt.Println(err)
	}
	ids, err := laptop.Identify(host, l)
	if err != nil {
		fmt.Println(err)
	}
	for _, e := range ids[1].Evidence {
		fmt.Println(e.Kind, e.Value)
	}
	// Output:
	// serial 4C530001
	// topology pci0000:00/14.0/usb/4
	// ids 0781:5567
	// revision 0100
	// class 000000
}
