package vfio_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/vfio"
)

// What a device offers a guest, once it is bound to vfio-pci.
func Example() {
	show := func(id pci.GroupID, a pci.Address) error {
		g, err := vfio.OpenGroup(id)
		if err != nil {
			return err
		}
		defer g.Close()
		if err := g.Attach(); err != nil {
			return err
		}
		d, err := g.OpenDevice(a)
		if err != nil {
			return err
		}
		regions, err := d.Regions()
		for _, r := range regions {
			fmt.Println(r.Name, r.Size)
		}
		return err
	}

	// No machine has this group.
	err := show(pci.NewGroupID(1<<31-1), pci.NewAddress(0, 1, 0, 0))
	var op *vfio.OpError
	fmt.Println(errors.As(err, &op), op.Op, "group", op.Group)
	// Output: true open group 2147483647
}

// A device driven from user space, by whichever interface the kernel has.
func ExampleAddressSpace() {
	drive := func(a pci.Address) error {
		space, err := vfio.NewAddressSpace(vfio.AnyInterface)
		if err != nil {
			return err
		}
		defer space.Close()
		device, err := space.Open(a)
		if err != nil {
			return err
		}
		memory, err := vfio.Allocate(1 << 20)
		if err != nil {
			return err
		}
		defer memory.Close() // before the address space: it takes itself from the device
		if _, err := space.Map(0x100000, memory, vfio.Read|vfio.Write); err != nil {
			return err
		}
		registers, err := device.MapRegion(0)
		if err != nil {
			return err
		}
		interrupts, err := device.EnableInterrupts(vfio.MSI, 1)
		if err != nil {
			return err
		}
		if err := device.SetBusMaster(true); err != nil {
			return err
		}
		if err := registers.Store32(0x80, 0x100000); err != nil { // where to read, say
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err = interrupts.Wait(ctx, 0)
		return err
	}

	// No machine has this device.
	var op *vfio.OpError
	fmt.Println(errors.As(drive(pci.NewAddress(1<<32-1, 255, 31, 7)), &op))
	// Output: true
}

// How much memory a guest's devices lock, before it is started.
func ExampleGuestMemory() {
	guest := vfio.GuestMemory{RAM: 4 << 30, Devices: 2}
	fmt.Println(guest.Locked() >> 20)
	fmt.Println(guest.Check(64 << 10))
	// Output:
	// 5120
	// devices need 5120 MiB of locked memory, and 64 KiB are allowed (RLIMIT_MEMLOCK); raise the limit: ulimit -l 5242880, LimitMEMLOCK=5368709120, or memlock in limits.conf
}

// An error that says what this host lacks is errors.ErrUnsupported.
func ExampleAvailable() {
	switch err := vfio.Available(); {
	case err == nil:
		fmt.Println("devices can be handed over")
	case errors.Is(err, errors.ErrUnsupported):
		fmt.Println("not on this host:", err)
	default:
		fmt.Println("not known:", err)
	}
}
