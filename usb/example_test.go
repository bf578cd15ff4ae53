package usb_test

import (
	"fmt"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/usb"
)

// With hostfs.Live() in place of the tree this lists the devices of the running
// machine.
func ExampleDevices() {
	host := new(hostfs.Tree)
	const dir = "devices/pci0000:00/0000:00:14.0/usb3/3-5"
	_ = host.Symlink("../../../"+dir, "sys/bus/usb/devices/3-5")
	_ = host.Symlink("../../../"+dir+"/3-5:1.0", "sys/bus/usb/devices/3-5:1.0")
	_ = host.Put("sys/"+dir+"/uevent", []byte("DRIVER=usb\nPRODUCT=8087/32/0\nTYPE=224/1/1\nBUSNUM=003\nDEVNUM=002\n"))
	_ = host.Put("sys/"+dir+"/3-5:1.0/uevent", []byte("DRIVER=btusb\nINTERFACE=224/1/1\n"))

	list, err := usb.Devices(host)
	if err != nil {
		fmt.Println(err) // what could be read is in list all the same
	}
	for _, d := range list {
		fmt.Printf("%v %v:%v class %v on %v, /%s\n", d.Path, d.Vendor, d.Product, d.Class, d.Controller, d.Node())
		for _, i := range d.Interfaces {
			fmt.Printf("  interface %d, class %v, driver %s\n", i.Number, i.Class, i.Driver)
		}
	}
	// Output:
	// 3-5 8087:0032 class e00101 on 0000:00:14.0, /dev/bus/usb/003/002
	//   interface 0, class e00101, driver btusb
}

func ExampleInPath() {
	p, ok := usb.InPath("../../devices/pci0000:00/0000:00:14.0/usb1/1-4/1-4.2/1-4.2:1.0/sound/card1")
	fmt.Println(p, p.Bus(), p.Parent(), ok)
	// Output: 1-4.2 1 1-4 true
}
