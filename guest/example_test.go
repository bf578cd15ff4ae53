package guest_test

import (
	"fmt"

	"github.com/project-independence/indy/guest"
)

func Example() {
	disk, err := guest.ParseDisk("qcow2:system.qcow2")
	if err != nil {
		fmt.Println(err)
		return
	}
	memory, _ := guest.ParseSize("8GiB")
	g := guest.Guest{Name: "work", CPUs: 4, Memory: memory, Disks: []guest.Disk{disk}}
	fmt.Println(g.Validate())

	g.Memory = 8
	fmt.Println(g.Validate())
	// Output:
	// <nil>
	// guest "work": memory: 8 is not between 16MiB and 4TiB
}
