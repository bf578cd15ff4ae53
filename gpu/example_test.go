package gpu_test

import (
	"encoding/hex"
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
	// 0000:00:02.0: boot display: yes, nodes [dev/dri/card0], connectors [{eDP-1 connected true card0}]
	// 0000:01:00.0: boot display: unknown, nodes [], connectors []
}

// The screen of a laptop says its maker, model and size on demand.
func ExampleReadEDID() {
	host := new(hostfs.Tree)
	edid, _ := hex.DecodeString("00ffffffffffff00249934120000000007240104a51f1178020000000000000000000000000001010101010101010101010101010101023a801871382d40582c" +
		"450035ae1000001e000000fe0050616e656c2031340a202020200000001000000000000000000000000000000000001000000000000000000000000000000093")
	_ = host.Put("sys/class/drm/card0-eDP-1/edid", edid)

	e, err := gpu.ReadEDID(host, gpu.Connector{Card: "card0", Name: "eDP-1"})
	if err != nil {
		fmt.Println(err)
		return
	}
	t, _ := e.Preferred()
	fmt.Printf("%s %04x, %q, made %d\n", e.Manufacturer, e.Product, e.Texts, e.Made.Year)
	fmt.Printf("%dx%d at %.2f Hz, %d x %d mm, %d bits by %v\n", t.Width, t.Height, t.Refresh(), t.WidthMM, t.HeightMM, e.Input.Depth, e.Input.Interface)
	// Output:
	// IDY 1234, ["Panel 14"], made 2026
	// 1920x1080 at 60.00 Hz, 309 x 174 mm, 8 bits by DisplayPort
}
