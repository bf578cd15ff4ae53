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

func ExampleDescriptors_Functions() {
	// a device of two interfaces with an association: the control and the data
	// interface of a modem
	host := new(hostfs.Tree)
	_ = host.Put("sys/bus/usb/devices/1-4/descriptors", []byte(""+
		"\x12\x01\x00\x02\xef\x02\x01\x40\x34\x12\x78\x56\x00\x01\x01\x02\x03\x01"+
		"\x09\x02\x33\x00\x02\x01\x00\x80\xfa"+
		"\x08\x0b\x00\x02\x02\x02\x01\x00"+
		"\x09\x04\x00\x00\x00\x02\x02\x01\x00"+
		"\x05\x24\x00\x10\x01"+
		"\x04\x24\x02\x06"+
		"\x09\x04\x01\x00\x01\x0a\x00\x00\x00"+
		"\x07\x05\x81\x02\x00\x02\x00"))
	p, _ := usb.ParsePortPath("1-4")
	d, err := usb.ReadDescriptors(host, p)
	if err != nil {
		fmt.Println(err) // what could be understood is in d all the same
	}
	fmt.Println(d.InterfaceSet(1))
	for _, f := range d.Functions(1) {
		fmt.Printf("class %v, interfaces %v, %v\n", f.Class, f.Interfaces, f.Grouping)
	}
	for _, in := range d.Configurations[0].Interfaces {
		if modem, ok := in.Specific.(usb.CDC); ok {
			fmt.Printf("interface %d: communications %v, takes commands: %v\n", in.Number, modem.Release, modem.ModemControl)
		}
	}
	// Output:
	// 020201+0a0000
	// class 020201, interfaces [0 1], associated
	// interface 0: communications 0110, takes commands: true
}

// One socket is a port on each of two buses, and has one name.
func ExamplePorts() {
	host := new(hostfs.Tree)
	const controller = "devices/pci0000:00/0000:00:14.0/"
	for bus, class := range map[string]string{"usb1": "9/0/1", "usb2": "9/0/3"} {
		name := bus[3:] + "-0:1.0"
		_ = host.Put("sys/"+controller+bus+"/uevent", []byte("PRODUCT=1d6b/2/612\nTYPE="+class+"\n"))
		_ = host.Put("sys/"+controller+bus+"/"+name+"/"+bus+"-port1/connect_type", []byte("hotplug\n"))
		_ = host.Symlink("../../../"+controller+bus, "sys/bus/usb/devices/"+bus)
		_ = host.Symlink("../../../"+controller+bus+"/"+name, "sys/bus/usb/devices/"+name)
	}
	_ = host.Symlink("../../../usb2/2-0:1.0/usb2-port1", "sys/"+controller+"usb1/1-0:1.0/usb1-port1/peer")
	_ = host.Symlink("../../../usb1/1-0:1.0/usb1-port1", "sys/"+controller+"usb2/2-0:1.0/usb2-port1/peer")

	ports, err := usb.Ports(host)
	if err != nil {
		fmt.Println(err)
	}
	for _, p := range ports {
		fmt.Println(p.Path, p.Physical, p.Connect)
	}
	// Output:
	// 1-1 0000:00:14.0/1 hotplug
	// 2-1 0000:00:14.0/1 hotplug
}
