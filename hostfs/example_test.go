package hostfs_test

import (
	"fmt"
	"log"

	"github.com/project-independence/indy/hostfs"
)

func ExampleParseTxtar() {
	machine, comment, err := hostfs.ParseTxtar([]byte(`A laptop with one function.

-- sys/bus/pci/devices/0000:00:02.0 -> ../../../devices/pci0000:00/0000:00:02.0 --
-- sys/devices/pci0000:00/0000:00:02.0/vendor --
0x8086
-- sys/devices/pci0000:00/0000:00:02.0/driver -> ../../../bus/pci/drivers/i915 --
`))
	if err != nil {
		log.Fatal(err)
	}
	vendor, err := hostfs.ReadString(machine, "sys/bus/pci/devices/0000:00:02.0/vendor")
	if err != nil {
		log.Fatal(err)
	}
	driver, err := hostfs.ReadLinkBase(machine, "sys/bus/pci/devices/0000:00:02.0/driver")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(comment)
	fmt.Println(vendor, driver)
	// Output:
	// A laptop with one function.
	//
	// 0x8086 i915
}
