package pci_test

import (
	"fmt"
	"testing/fstest"

	"github.com/project-independence/indy/pci"
)

func ExampleFunctions() {
	host := fstest.MapFS{
		"sys/bus/pci/devices/0000:03:00.0/uevent": {Data: []byte("DRIVER=iwlwifi\nPCI_CLASS=28000\nPCI_ID=8086:2725\nPCI_SUBSYS_ID=8086:0024\n")},
	}
	functions, err := pci.Functions(host) // or hostfs.Live()
	for _, f := range functions {
		fmt.Println(f.Address, f.Class, f.Vendor, f.Device, f.Driver, f.Group)
	}
	fmt.Println(err)
	// Output:
	// 0000:03:00.0 028000 8086 2725 iwlwifi none
	// <nil>
}
