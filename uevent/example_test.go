package uevent_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/project-independence/indy/uevent"
)

func ExampleParse() {
	e, err := uevent.Parse([]byte("add@/devices/pci0000:00/0000:00:14.0/usb1/1-3\x00ACTION=add\x00" +
		"DEVPATH=/devices/pci0000:00/0000:00:14.0/usb1/1-3\x00SUBSYSTEM=usb\x00DEVTYPE=usb_device\x00PRODUCT=46d/843/13\x00SEQNUM=4711\x00"))
	if err != nil {
		fmt.Println(err)
		return
	}
	product, _ := e.Lookup("PRODUCT")
	fmt.Println(e.Action, e.Subsystem, e.DevType, product)
	fmt.Println("/sys" + e.Path)
	// Output:
	// add usb usb_device 46d/843/13
	// /sys/devices/pci0000:00/0000:00:14.0/usb1/1-3
}

// Listen first, read the machine, and then again after each event.
func ExampleListen() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn, err := uevent.Listen(uevent.Options{})
	if err != nil {
		fmt.Println(err) // errors.ErrUnsupported where nobody may listen
		return
	}
	defer conn.Close()
	for {
		e, err := conn.Read(ctx)
		switch {
		case errors.Is(err, uevent.ErrOverflow), errors.Is(err, uevent.ErrMalformed):
			fmt.Println("read everything again")
		case err != nil:
			return // ctx has ended
		default:
			fmt.Println(e.Action, e.Path)
		}
	}
}
