package gpu_test

import (
	"fmt"

	"github.com/project-independence/indy/gpu"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/pci"
)

// With hostfs.Live() in place of the tree this lists the displays of the running
// machine.
func ExampleDisplays() {
	host := new(hostfs.Tree)
	const igpu = "devices/pci0000:00/0000:00:02.0"
	const dgpu = "devices/pci0000:00/0000:00:01.0/0000:01:00.0"
	_ = host.Symlink("../../../"+igpu, "sys/bus/pci/devices/0000:00:02.0")
	_ = host.Symlink("../../../"+dgpu, "sys/bus/pci/devices/0000:01:00.0")
	_ = host.Put("sys/"+igpu+"/uevent", []byte("DRIVER=i915\nPCI_CLASS=30000\nPCI_ID=8086:46A6\nPCI_SUBSYS_ID=17AA:22D8\n"))
	_ = host.Put("sys/"+dgpu+"/uevent", []byte("DRIVER=vfio-pci\nPCI_CLASS=30200\nPCI_ID=10DE:1FB9\nPCI_SUBSYS_ID=17AA:22D8\n"))
	_ = host.Put("sys/"+igpu+"/boot_vga", []byte("1\n"))
	_ = host.Put("sys/"+igpu+"/drm/card0/card0-eDP-1/status", []byte("connected\n"))
	_ = host.Symlink("../../"+igpu+"/drm/card0", "sys/class/drm/card0")
	_ = host.Symlink("../../"+igpu+"/drm/card0/card0-eDP-1", "sys/class/drm/card0-eDP-1")

	functions, err := pci.Functions(host)
	if err != nil {
		fmt.Println(err)
	}
	displays, err := gpu.Displays(host, functions)
	if err != nil {
		fmt.Println(err) // what could be read is in displays all the same
	}
	for _, d := range displays {
		fmt.Printf("%v: boot display: %v, nodes %v, connectors %v\n", d.Function, d.BootVGA, d.Nodes, d.Connectors)
	}
	// Output:
	// 0000:00:02.0: boot display: yes, nodes [dev/dri/card0], connectors [{eDP-1 connected true}]
	// 0000:01:00.0: boot display: unknown, nodes [], connectors []
}
