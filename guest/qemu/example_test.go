package qemu_test

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/guest/qemu"
	"github.com/project-independence/indy/pci"
)

func ExampleStart() {
	g := guest.Guest{
		Name:   "work",
		CPUs:   2,
		Memory: 4 << 30,
		Disks:  []guest.Disk{{File: "system.qcow2", Format: guest.Qcow2}},
	}
	ctx := context.Background()
	vm, err := qemu.Start(ctx, g, qemu.Options{Serial: os.Stdout, SerialInput: os.Stdin})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer vm.Stop(ctx)
	if err := vm.Wait(); err != nil {
		fmt.Println(err)
	}
}

func ExampleArgs() {
	g := guest.Guest{Name: "play", Memory: 1 << 30, Devices: []pci.Address{pci.NewAddress(0, 2, 0, 0)}}
	args, err := qemu.Args(g, qemu.Layout{Accelerator: qemu.KVM, QMP: 3, Serial: 4})
	if err != nil {
		fmt.Println(err)
		return
	}
	for i, a := range args {
		if a == "-device" && strings.Contains(args[i+1], "vfio-pci") {
			fmt.Println(args[i+1])
		}
	}
	// Output: {"bootindex":1,"bus":"port0","driver":"vfio-pci","host":"0000:02:00.0","id":"device0","rombar":0}
}

func ExampleCheckHost() {
	g := guest.Guest{
		Name:     "work",
		Memory:   4 << 30,
		Graphics: guest.VirtIOGPU,
		Screen:   guest.Screen{Kind: guest.SPICE},
		Sound:    guest.SoundCard{Model: guest.HDA, Play: true},
	}
	// as Ask found it on a host that has little of QEMU
	can := qemu.Capabilities{Devices: []string{"virtio-vga"}, Sound: []string{"alsa"}}
	fmt.Println(qemu.CheckHost(context.Background(), g, qemu.Options{Capabilities: &can}))
	// Output: start guest work: QEMU has no SPICE here (unsupported operation); install the package qemu-system-modules-spice
}
