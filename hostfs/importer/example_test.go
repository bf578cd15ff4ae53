package importer_test

import (
	"fmt"
	"log"

	"github.com/project-independence/indy/hostfs/importer"
	"github.com/project-independence/indy/pci"
)

func ExampleParse() {
	machine, format, err := importer.Parse([]byte(`00:1d.0 PCI bridge [0604]: Intel Corporation Device [8086:51b0] (rev 01) (prog-if 00 [Normal decode])
	Flags: bus master, fast devsel, latency 0
	Bus: primary=00, secondary=3d, subordinate=3d, sec-latency=0
	Kernel driver in use: pcieport

3d:00.0 Network controller [0280]: Intel Corporation Wi-Fi 6 AX210 [8086:2725] (rev 1a)
	Flags: bus master, fast devsel, latency 0
	IOMMU group: 17
	Kernel driver in use: iwlwifi
`))
	if err != nil {
		log.Fatal(err)
	}
	functions, err := pci.Functions(machine)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(format)
	for _, f := range functions {
		behind, err := pci.Bridges(machine, f.Address)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(f.Address, f.Class, f.Vendor, f.Device, f.Driver, "group", f.Group, behind)
	}
	// Output:
	// text of lspci
	// 0000:00:1d.0 060400 8086 51b0 pcieport group none []
	// 0000:3d:00.0 028000 8086 2725 iwlwifi group 17 [0000:00:1d.0]
}
