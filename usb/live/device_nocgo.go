//go:build !cgo

package live

import (
	"errors"
	"fmt"

	"github.com/project-independence/indy/usb"
)

var errNoCgo = fmt.Errorf("built without cgo, which libusb needs: %w", errors.ErrUnsupported)

// A Device is an open USB device. There is none in a program built without cgo.
type Device struct{ path usb.PortPath }

// Path returns where the device is plugged in.
func (d *Device) Path() usb.PortPath { return d.path }

func open(op string, p usb.PortPath, _ func(bus, number int, path usb.PortPath) bool) (*Device, error) {
	return nil, &usb.OpError{Op: op, Path: p, Err: errNoCgo}
}

// ClaimTest returns an error.
func (d *Device) ClaimTest() ([]Claim, error) {
	return nil, &usb.OpError{Op: "try to claim", Path: d.path, Err: errNoCgo}
}

// Reset returns an error.
func (d *Device) Reset() error { return &usb.OpError{Op: "reset", Path: d.path, Err: errNoCgo} }

// Close does nothing.
func (d *Device) Close() error { return nil }
