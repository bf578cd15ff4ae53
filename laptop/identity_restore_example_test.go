package laptop_test

import (
	"fmt"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/laptop"
)

// A guest with three devices is restored on another notebook: there is one WLAN card of
// the same make there, the very security key is plugged in at another port, and nothing
// takes the place of the graphics card.
func Example_restoreOnAnotherNotebook() {
	identify := func(machine string) []laptop.Identity {
		host, _, err := hostfs.ParseTxtar([]byte(machine))
		if err != nil {
			fmt.Println(err)
			return nil
		}
		l, err := laptop.Read(host)
		if err != nil {
			fmt.Println(err) // what could be read is in l all the same
		}
		ids, err := laptop.Identify(host, l)
		if err != nil {
			fmt.Println(err)
		}
		return ids
	}
	// Backed up with the guest, for instance as JSON.
	saved := identify(`
-- sys/bus/pci/devices/0000:01:00.0 -> ../../../devices/pci0000:00/0000:00:01.0/0000:01:00.0 --
-- sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/uevent --
PCI_CLASS=30000
PCI_ID=10DE:1F91
-- sys/bus/pci/devices/0000:02:00.0 -> ../../../devices/pci0000:00/0000:00:1c.0/0000:02:00.0 --
-- sys/devices/pci0000:00/0000:00:1c.0/0000:02:00.0/uevent --
PCI_CLASS=28000
PCI_ID=8086:2725
-- sys/bus/usb/devices/1-3 -> ../../../devices/pci0000:00/0000:00:14.0/usb1/1-3 --
-- sys/devices/pci0000:00/0000:00:14.0/usb1/1-3/uevent --
PRODUCT=1050/407/543
TYPE=0/0/0
-- sys/devices/pci0000:00/0000:00:14.0/usb1/1-3/serial --
0011223344
`)
	here := identify(`
-- sys/bus/pci/devices/0000:c1:00.0 -> ../../../devices/pci0000:00/0000:00:02.2/0000:c1:00.0 --
-- sys/devices/pci0000:00/0000:00:02.2/0000:c1:00.0/uevent --
PCI_CLASS=28000
PCI_ID=8086:2725
-- sys/bus/usb/devices/5-1 -> ../../../devices/pci0000:00/0000:00:08.3/0000:c3:00.3/usb5/5-1 --
-- sys/devices/pci0000:00/0000:00:08.3/0000:c3:00.3/usb5/5-1/uevent --
PRODUCT=1050/407/543
TYPE=0/0/0
-- sys/devices/pci0000:00/0000:00:08.3/0000:c3:00.3/usb5/5-1/serial --
0011223344
`)
	for _, m := range laptop.Match(saved, here) {
		switch m.Outcome {
		case laptop.Same, laptop.Moved:
			fmt.Println(m.Before, "is", m.After, "here")
		case laptop.Ambiguous:
			fmt.Println(m.Before, "may be any of", m.Candidates)
		case laptop.Gone, laptop.Replaced:
			fmt.Println(m.Before, "is not here")
		}
	}
	// Output:
	// pci:0000:01:00.0 is not here
	// pci:0000:02:00.0 is pci:0000:c1:00.0 here
	// usb:1-3 is usb:5-1 here
}
