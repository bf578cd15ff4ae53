package vfio_test

import (
	"errors"
	"fmt"

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
