package laptop_test

import (
	"fmt"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/laptop"
)

// The same needs on a notebook without a graphics card, with a webcam that the firmware
// calls built in.
func ExampleResolve() {
	host, _, err := hostfs.ParseTxtar([]byte(`
-- sys/bus/pci/devices/0000:00:02.0 -> ../../../devices/pci0000:00/0000:00:02.0 --
-- sys/devices/pci0000:00/0000:00:02.0/uevent --
DRIVER=i915
PCI_CLASS=30000
PCI_ID=8086:A7A0
-- sys/bus/usb/devices/1-7 -> ../../../devices/pci0000:00/0000:00:14.0/usb1/1-7 --
-- sys/devices/pci0000:00/0000:00:14.0/usb1/1-7/removable --
fixed
-- sys/devices/pci0000:00/0000:00:14.0/usb1/1-7/uevent --
DRIVER=usb
PRODUCT=bda/5634/1
TYPE=239/2/1
-- sys/bus/usb/devices/1-7:1.0 -> ../../../devices/pci0000:00/0000:00:14.0/usb1/1-7/1-7:1.0 --
-- sys/devices/pci0000:00/0000:00:14.0/usb1/1-7/1-7:1.0/uevent --
DRIVER=uvcvideo
INTERFACE=14/1/0
-- proc/net/route --
Iface	Destination	Gateway
-- proc/self/mountinfo --
22 1 0:21 / / rw,relatime shared:1 - tmpfs none rw
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	l, err := laptop.Read(host)
	if err != nil {
		fmt.Println(err)
	}
	at, err := laptop.ReadPlaces(host, l)
	if err != nil {
		fmt.Println(err) // what is known is in at all the same
	}
	resolution := laptop.Resolve(l, at, []laptop.Wanted{
		{Need: guest.Need{Want: guest.WantGPU, Which: guest.Discrete, How: guest.Assign, Optional: true}},
		{Need: guest.Need{Want: guest.WantWebcam, Which: guest.BuiltIn, How: guest.Assign}},
		{Need: guest.Need{Want: guest.WantWLAN, How: guest.Share}},
	})
	for _, n := range resolution {
		fmt.Println(n.Need, n.State, n.Devices)
		if n.Reason != "" {
			fmt.Println(" ", n.Reason)
		}
	}
	fmt.Println(resolution.Startable())
	// Output:
	// discrete gpu missing []
	//   no gpu here is discrete; pci:0000:00:02.0 is integrated (Intel's graphics are device 2 of bus 0)
	// built-in webcam matched [usb:1-7]
	// wlan missing []
	//   this machine has no wlan
	// needed to start: wlan (share) is missing: this machine has no wlan
}
