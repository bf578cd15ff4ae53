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

// A laptop with two GPUs, of which the discrete one waits for a guest.
func ExampleHybrid() {
	host := new(hostfs.Tree)
	const igpu = "devices/pci0000:00/0000:00:02.0"
	const port = "devices/pci0000:00/0000:00:01.0"
	const dgpu = port + "/0000:01:00.0"
	_ = host.Symlink("../../../"+port, "sys/bus/pci/devices/0000:00:01.0")
	_ = host.Symlink("../../../"+igpu, "sys/bus/pci/devices/0000:00:02.0")
	_ = host.Symlink("../../../"+dgpu, "sys/bus/pci/devices/0000:01:00.0")
	_ = host.Put("sys/"+port+"/uevent", []byte("DRIVER=pcieport\nPCI_CLASS=60400\nPCI_ID=8086:460D\n"))
	_ = host.Put("sys/"+igpu+"/uevent", []byte("DRIVER=i915\nPCI_CLASS=30000\nPCI_ID=8086:46A6\n"))
	_ = host.Put("sys/"+dgpu+"/uevent", []byte("DRIVER=vfio-pci\nPCI_CLASS=30200\nPCI_ID=10DE:1FB9\n"))
	_ = host.Put("sys/"+igpu+"/boot_vga", []byte("1\n"))
	_ = host.Put("sys/"+igpu+"/drm/card0/card0-eDP-1/status", []byte("connected\n"))
	_ = host.Symlink("../../"+igpu+"/drm/card0", "sys/class/drm/card0")
	_ = host.Symlink("../../"+igpu+"/drm/card0/card0-eDP-1", "sys/class/drm/card0-eDP-1")

	functions, err := pci.Functions(host)
	if err != nil {
		fmt.Println(err)
	}
	facts, err := gpu.ReadFacts(host, functions)
	if err != nil {
		fmt.Println(err) // what could be read is in facts all the same
	}
	g := gpu.Hybrid(facts)
	for _, x := range g.GPUs {
		fmt.Printf("%v: integrated %v, drives the panel %v\n", x.Function, x.Integrated.Answer, x.Panel.Answer)
		fmt.Printf("  %s (%s)\n", x.Panel.Because[0].Detail, x.Panel.Because[0].File)
	}
	fmt.Printf("wiring %v: %s\n", g.Wiring, g.Because[0].Detail)
	// Output:
	// 0000:00:02.0: integrated yes, drives the panel yes
	//   eDP-1 is connected (/sys/class/drm/card0-eDP-1/status)
	// 0000:01:00.0: integrated no, drives the panel no
	//   eDP-1 of 0000:00:02.0 is connected (/sys/class/drm/card0-eDP-1/status)
	// wiring unknown: 0000:01:00.0: no graphics driver shows its connectors
}

// A ROM that a guest with UEFI can use has an image for it.
func ExampleParseROM() {
	rom := make([]byte, 512)
	copy(rom, "\x55\xaa\x01\x00\xf1\x0e\x00\x00\x0b\x00\x64\x86")
	rom[0x18] = 0x1c // where the PCI data structure is
	copy(rom[0x1c:], "PCIR\xde\x10\xb9\x1f\x00\x00\x1c\x00\x03\x00\x00\x03\x01\x00\x00\x00\x03\x80")

	images, err := gpu.ParseROM(rom)
	if err != nil {
		fmt.Println(err) // what could be read is in images all the same
	}
	for _, m := range images {
		fmt.Printf("%v of %v:%v, machine %x\n", m.Code, m.Vendor, m.Device, m.EFI.Machine)
	}
	// Output:
	// EFI of 10de:1fb9, machine 8664
}
