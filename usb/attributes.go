package usb

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/plain"
)

// The functions of this file each read one attribute below
// /sys/bus/usb/devices/PATH. Their errors are *[OpError]; one that is
// [fs.ErrNotExist] means that this kernel, device or saved machine does not state
// it, which is "unknown" and never "no".

func attribute(fsys fs.FS, p PortPath, name string) (string, error) {
	s, err := hostfs.ReadString(fsys, devices+"/"+p.String()+"/"+name)
	if err != nil {
		return "", opError("read "+name+" of", p, err)
	}
	return s, nil
}

func oddValue(p PortPath, name, value string) error {
	return opError("read "+name+" of", p, fmt.Errorf("unexpected value %q", plain.Short(value)))
}

// Speed returns the speed at which the device runs in Mbit/s as the kernel writes
// it: 1.5, 12, 480, 5000, 10000, 20000 or unknown (speed).
func Speed(fsys fs.FS, p PortPath) (string, error) {
	s, err := attribute(fsys, p, "speed")
	switch {
	case err != nil:
		return "", err
	case !isSpeed(s):
		return "", oddValue(p, "speed", s)
	}
	return s, nil
}

func isSpeed(s string) bool {
	_, err := strconv.ParseUint(strings.Replace(s, ".", "", 1), 10, 32)
	return err == nil || s == "unknown"
}

// ProductName returns what the device says it is called (product). The text is
// untrusted: it comes from the device and is cut to one bounded line of printable
// characters. Like all texts of a device it waits while the kernel resets it.
func ProductName(fsys fs.FS, p PortPath) (string, error) { return deviceText(fsys, p, "product") }

// ManufacturerName returns what the device says who made it (manufacturer); as
// untrusted as ProductName.
func ManufacturerName(fsys fs.FS, p PortPath) (string, error) {
	return deviceText(fsys, p, "manufacturer")
}

// Serial returns the serial number that the device states (serial); as untrusted
// as ProductName. Devices may have none, and several may have the same.
func Serial(fsys fs.FS, p PortPath) (string, error) { return deviceText(fsys, p, "serial") }

// Removable returns whether the firmware says that a user can unplug the device
// (removable): removable, fixed for one that is built in, or unknown.
func Removable(fsys fs.FS, p PortPath) (string, error) {
	s, err := attribute(fsys, p, "removable")
	switch {
	case err != nil:
		return "", err
	case s != "removable" && s != "fixed" && s != "unknown":
		return "", oddValue(p, "removable", s)
	}
	return s, nil
}

// Authorized reports whether the kernel may use the device (authorized). One that
// is not authorised has no interfaces.
func Authorized(fsys fs.FS, p PortPath) (bool, error) {
	s, err := attribute(fsys, p, "authorized")
	switch {
	case err != nil:
		return false, err
	case s != "0" && s != "1":
		return false, oddValue(p, "authorized", s)
	}
	return s == "1", nil
}

func deviceText(fsys fs.FS, p PortPath, name string) (string, error) {
	s, err := attribute(fsys, p, name)
	return plain.Line(s, maxText), err
}

// maxText is the most that a string descriptor holds, in characters.
const maxText = 126
