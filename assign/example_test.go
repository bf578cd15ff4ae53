package assign_test

import (
	"fmt"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
)

// A plan says what would be written; nothing is.
func ExampleNewPlan() {
	host, _, err := hostfs.ParseTxtar([]byte(`
-- sys/bus/pci/devices/0000:02:00.0/uevent --
DRIVER=nvme
PCI_CLASS=10802
PCI_ID=144D:A80A
PCI_SUBSYS_ID=144D:A801
-- sys/bus/pci/devices/0000:02:00.0/driver -> ../../drivers/nvme --
-- sys/bus/pci/devices/0000:02:00.0/driver_override --
(null)
-- sys/bus/pci/devices/0000:02:00.0/iommu_group -> ../../../../kernel/iommu_groups/11 --
-- sys/kernel/iommu_groups/11/devices/0000:02:00.0 -> ../../../../bus/pci/devices/0000:02:00.0 --
-- proc/self/mountinfo --
22 1 0:20 / /proc rw - proc proc rw
`)) // or hostfs.Live()
	if err != nil {
		fmt.Println(err)
		return
	}
	nvme := []pci.Address{pci.NewAddress(0, 2, 0, 0)}
	l, err := laptop.Read(host)
	if err != nil {
		fmt.Println(err)
		return
	}
	facts, err := assign.Read(host, l, nvme)
	if err != nil {
		fmt.Println(err)
		return
	}
	plan, err := assign.NewPlan(facts, assign.Request{Guest: "work", Devices: nvme})
	if err != nil {
		fmt.Println(err) // a *assign.RefusedError says why not
		return
	}
	for _, s := range plan.Steps {
		fmt.Printf("%s: write %s to /%s\n", s.Prior, s.Do.Value, s.Do.File)
	}
	// Output:
	// driver_override is none: write vfio-pci to /sys/bus/pci/devices/0000:02:00.0/driver_override
	// driver is nvme: write 0000:02:00.0 to /sys/bus/pci/drivers/nvme/unbind
	// driver is none: write 0000:02:00.0 to /sys/bus/pci/drivers_probe
}
