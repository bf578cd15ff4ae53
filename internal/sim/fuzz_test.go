package sim_test

import (
	"io/fs"
	"testing"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/sim"
)

// FuzzKernel writes to every door of any machine: nothing may panic.
func FuzzKernel(f *testing.F) {
	const machine = `-- sys/bus/pci/devices/0000:01:00.0 -> ../../../devices/pci0000:00/0000:01:00.0 --
-- sys/devices/pci0000:00/0000:01:00.0/driver -> ../../../bus/pci/drivers/nvme --
-- sys/devices/pci0000:00/0000:01:00.0/iommu_group -> ../../../kernel/iommu_groups/1 --
-- sys/devices/pci0000:00/0000:01:00.0/uevent --
DRIVER=nvme
-- sys/devices/pci0000:00/0000:01:00.0/reset_method --
flr bus
-- sys/devices/pci0000:00/0000:01:00.0/sriov_totalvfs --
7
-- sys/devices/pci0000:00/0000:01:00.0/sriov_numvfs --
0
-- sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0/uevent --
DEVNAME=nvme0
-- sys/class/nvme/nvme0 -> ../../devices/pci0000:00/0000:01:00.0/nvme/nvme0 --
-- dev/nvme0 --
`
	f.Add([]byte(machine), "vfio-pci")
	f.Add([]byte(machine), "1")
	f.Add([]byte(machine), "0000:01:00.0\n")
	f.Add([]byte("-- sys/bus/pci/drivers --\n"), "1")
	f.Add([]byte("-- sys/class --\n"), "1")
	f.Add([]byte("-- sys/bus/pci/drivers/x -> /nowhere --\n-- sys/bus/pci/devices/0000:01:00.0/driver -> ../x --\n"), "x")
	f.Fuzz(func(t *testing.T, data []byte, value string) {
		m, _, err := hostfs.ParseTxtar(data)
		if err != nil {
			return
		}
		k, err := sim.New(m, sim.Options{VFIO: true, RenameNet: true})
		if err != nil {
			return
		}
		var doors []string
		_ = fs.WalkDir(k, ".", func(name string, e fs.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() {
				doors = append(doors, name)
			}
			return nil
		})
		for range 2 {
			for _, name := range doors {
				_ = k.WriteFile(name, []byte(value))
			}
			_ = k.WriteFile("sys/bus/pci/rescan", []byte("1"))
		}
		for _, name := range doors {
			_, _ = k.ReadFile(name)
		}
	})
}
