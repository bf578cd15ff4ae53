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

func ExampleParseDefinition() {
	_, err := guest.ParseDefinition("work.yaml", []byte("name: work\nmemory: 8GiB\nfirmwear: uefi\n"))
	fmt.Println(err)
	d, err := guest.ParseDefinition("work.yaml", []byte(`
name: work
memory: 8GiB
firmware: uefi
devices:
  - {want: webcam, which: built-in, how: assign}
`))
	fmt.Println(d.Devices[0], err)
	// Output:
	// work.yaml:3:1: "firmwear": there is no such field; expected name, cpus, memory, firmware, secure_boot, tpm, locked, autostart, power, disks, cdroms, network, display, audio, folders or devices; did you mean firmware?
	//   3 | firmwear: uefi
	//     | ^
	// built-in webcam <nil>
}
