package live_test

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/project-independence/indy/usb"
	"github.com/project-independence/indy/usb/live"
)

func ExampleOpen() {
	p, err := usb.ParsePortPath("255-1") // a bus that no machine has
	if err != nil {
		fmt.Println(err)
		return
	}
	d, err := live.Open(p)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, errors.ErrUnsupported):
		fmt.Println("nothing is plugged in there, or this host has no libusb")
		return
	case err != nil:
		fmt.Println(err)
		return
	}
	defer d.Close()
	claims, err := d.ClaimTest()
	for _, c := range claims {
		fmt.Printf("interface %d: %v\n", c.Interface, c.Err)
	}
	if err != nil {
		fmt.Println(err)
	}
	// Output: nothing is plugged in there, or this host has no libusb
}
