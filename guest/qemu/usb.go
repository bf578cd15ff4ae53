package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/project-independence/indy/usb"
)

// usbDevice is the USB device of the host at p, opened as file. Its bus and number are
// not given: they are others after each plugging, and QEMU would have to open it. The
// guest may reset the device, but a device that comes back as another one, as for
// new firmware, is not to be followed.
func usbDevice(p usb.PortPath, file string) value {
	return value{
		"driver": "usb-host", "id": usbID(p), "bus": "xhci.0", "hostdevice": file,
		"guest-reset": true, "guest-resets-all": false,
	}
}

func usbID(p usb.PortPath) string { return "usb-" + p.String() }

// firstSet is the first of the descriptor sets for what is plugged in later; those
// before are what QEMU was started with.
const firstSet = 1000

// AttachUSB plugs the host's USB device at p into the running guest. The file is its
// node in /dev/bus/usb, open for reading and writing; QEMU gets a descriptor of its
// own, and file stays the caller's. The guest must have a USB controller. It blocks
// until QEMU answers or ctx ends; with an error the guest does not have the device,
// unless ctx ended.
func (v *VM) AttachUSB(ctx context.Context, p usb.PortPath, file *os.File) error {
	if !v.hasUSB {
		return fmt.Errorf("guest %s: it has no USB controller: %w", v.name, errors.ErrUnsupported)
	}
	if !p.IsValid() {
		return fmt.Errorf("guest %s: USB device: no port", v.name)
	}
	set := firstSet + int(v.sets.Add(1))
	if err := v.qmp.SendFile(ctx, file, set); err != nil {
		return err
	}
	err := v.qmp.Call(ctx, "device_add", usbDevice(p, fmt.Sprintf("/dev/fdset/%d", set)), nil)
	// QEMU has its own by now, or needs none
	gone := v.qmp.Call(ctx, "remove-fd", map[string]int{"fdset-id": set}, nil)
	return errors.Join(err, gone)
}

// DetachUSB unplugs the host's USB device at p from the running guest, whether it was
// started with it or got it later. The guest is not asked. It blocks until the device is
// gone, and QEMU has closed its node, or ctx ends, or for ten seconds; the error is
// [ErrUnplug] then, and the guest may still have it.
func (v *VM) DetachUSB(ctx context.Context, p usb.PortPath) error {
	return v.unplug(ctx, usbID(p))
}
