package ids_test

import (
	"fmt"
	"testing/fstest"

	"github.com/project-independence/indy/internal/ids"
	"github.com/project-independence/indy/pci"
)

func Example() {
	host := fstest.MapFS{"usr/share/misc/pci.ids": {Data: []byte(
		"8086  Intel Corporation\n" +
			"\ta0c8  Tiger Lake-LP Smart Sound Technology Audio Controller\n" +
			"C 04  Multimedia controller\n" +
			"\t03  Audio device\n")}}
	names := ids.PCI(host)
	vendor, _ := names.Vendor(pci.NewID(0x8086))
	device, _ := names.Device(pci.NewID(0x8086), pci.NewID(0xa0c8))
	_, subclass, _ := names.Class(4, 3, 0)
	fmt.Println(subclass, "from", vendor)
	fmt.Println(device)
	_, ok := names.Vendor(pci.NewID(0x1234))
	fmt.Println(ok, names.Err())
	// Output:
	// Audio device from Intel Corporation
	// Tiger Lake-LP Smart Sound Technology Audio Controller
	// false <nil>
}
