package pci_test

import (
	"errors"
	"fmt"
	"io/fs"
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

func ExampleReadConfig() {
	// An NVMe drive: power management at 0x40, PCI Express at 0x50.
	config := make([]byte, 256)
	copy(config, "\x4d\x14\x0a\xa8\x06\x04\x10\x00\x00\x02\x08\x01")
	copy(config[0x34:], "\x40")
	copy(config[0x40:], "\x01\x50\x03\x00\x08\x00")
	copy(config[0x50:], "\x10\x00\x02\x00\x00\x00\x00\x10\x00\x00\x00\x00\x44\x00\x00\x00\x00\x00\x43\x00")
	host := fstest.MapFS{
		"sys/bus/pci/devices/0000:03:00.0/config": {Data: config},
		"sys/bus/pci/devices/0000:04:00.0/config": {Data: config[:64]}, // as everybody else sees it
	}
	for _, bus := range []uint8{3, 4} {
		c, err := pci.ReadConfig(host, pci.NewAddress(0, bus, 0, 0)) // or hostfs.Live()
		if err != nil {
			fmt.Println(err)
			continue
		}
		switch e, err := c.Express(); {
		case err == nil:
			fmt.Printf("%d bytes: %s, reset by itself: %t, %s x%d of %s x%d\n", c.Len(), e.Type, e.FLR,
				e.Link.Speed, e.Link.Width, e.Link.MaxSpeed, e.Link.MaxWidth)
		case errors.Is(err, pci.ErrNoCapability):
			fmt.Println("a conventional function")
		default:
			fmt.Printf("%d bytes: not known: %v\n", c.Len(), err)
		}
	}
	// Output:
	// 256 bytes: Endpoint, reset by itself: true, 8GT/s x4 of 16GT/s x4
	// 64 bytes: not known: not among the bytes of configuration space that were read; reading all of them takes root
}

func ExampleResources() {
	host := fstest.MapFS{"sys/bus/pci/devices/0000:01:00.0/resource": {Data: []byte(`0x00000000a3000000 0x00000000a3ffffff 0x0000000000040200
0x0000000090000000 0x000000009fffffff 0x000000000014220c
`)}}
	bars, err := pci.Resources(host, pci.NewAddress(0, 1, 0, 0))
	for _, b := range bars {
		fmt.Printf("%s %d: %s at %#x, %d MiB, prefetchable: %t\n", b.Kind, b.Index, b.Space, b.Start, b.Size>>20, b.Prefetchable)
	}
	fmt.Println(err)
	// Output:
	// bar 0: memory at 0xa3000000, 16 MiB, prefetchable: false
	// bar 1: memory at 0x90000000, 256 MiB, prefetchable: true
	// <nil>
}

func ExampleReadTopologyPath() {
	link := func(to string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte("../../../devices/" + to), Mode: fs.ModeSymlink | 0o777}
	}
	// The same machine before and after a dock was plugged in.
	before := fstest.MapFS{"sys/bus/pci/devices/0000:05:00.0": link("pci0000:00/0000:00:1c.4/0000:05:00.0")}
	after := fstest.MapFS{"sys/bus/pci/devices/0000:3a:00.0": link("pci0000:00/0000:00:1c.4/0000:3a:00.0")}
	was, err := pci.ReadTopologyPath(before, pci.NewAddress(0, 5, 0, 0))
	fmt.Println(was, err)
	is, err := pci.ReadTopologyPath(after, pci.NewAddress(0, 0x3a, 0, 0))
	fmt.Println(is == was, err)
	// Output:
	// pci0000:00/1c.4/00.0 <nil>
	// true <nil>
}

func ExampleCompanions() {
	card := func(function uint8) pci.Address { return pci.NewAddress(0, 1, 0, function) }
	functions := []pci.Function{
		{Address: card(0), Class: pci.NewClass(0x030000)},
		{Address: card(1), Class: pci.NewClass(0x040300)},
		{Address: card(2), Class: pci.NewClass(0x0c0330)},
	}
	relations := map[pci.Address]pci.Relations{card(0): {Consumers: []pci.Address{card(1)}}}
	for _, c := range pci.Companions(card(0), functions, relations) {
		fmt.Println(c.Function.Address, c.Function.Class, c.Why)
	}
	// Output:
	// 0000:01:00.1 040300 consumer
	// 0000:01:00.2 0c0330 same-slot
}

func ExampleReadBusReset() {
	link := func(to string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte("../../../devices/" + to), Mode: fs.ModeSymlink | 0o777}
	}
	// A graphics card whose audio function stays with the host.
	host := fstest.MapFS{
		"sys/bus/pci/devices/0000:01:00.0": link("pci0000:00/0000:00:01.0/0000:01:00.0"),
		"sys/bus/pci/devices/0000:01:00.1": link("pci0000:00/0000:00:01.0/0000:01:00.1"),
	}
	card, sound := pci.NewAddress(0, 1, 0, 0), pci.NewAddress(0, 1, 0, 1)
	r, err := pci.ReadBusReset(host, card, []pci.Function{{Address: card}, {Address: sound}})
	fmt.Println(r.Bridge, r.Functions, r.Outside([]pci.Address{card}), err)
	fmt.Println(r.FunctionResets([]string{"flr", "bus"}))
	// Output:
	// 0000:00:01.0 [0000:01:00.0 0000:01:00.1] [0000:01:00.1] <nil>
	// [flr]
}
