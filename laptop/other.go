package laptop

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/pci"
)

// An Other is a device on neither PCI nor USB: a TPM, the keyboard and touchpad of
// the notebook, a battery, the lid, or one made by software. It is known by the
// class devices it carries; what carries none that a person cares about is left out.
type Other struct {
	// Bus is the kernel's name of its subsystem: platform, acpi, pnp, i2c, spi,
	// serial, serio, mmc, sdio, hid and others; virtual for one made by software that
	// hangs on no bus.
	Bus string

	// Name is the kernel's: MSFT0101:00, i2c-ELAN0001:00, serio0, snd_aloop.0, hwsim0.
	Name string

	Path string // below /sys/devices

	// From uevent in the device's directory, each empty when it does not say.
	Driver   string
	Modalias string

	// Controller is the PCI function in whose path the device is, the one next to it:
	// of its bus, as I2C, or the board's bridge to it. The zero Address without one.
	Controller pci.Address
}

// maxLink is the longest path the kernel gives as a link's target: a page.
const maxLink = 4096

// readOther reads what carries class devices and is on neither bus, at the path the
// carrier has: one open (uevent), and one link (subsystem) when its path does not
// tell the bus.
func readOther(fsys fs.FS, c carrier) (Other, error) {
	o := Other{Bus: c.bus, Name: c.path[strings.LastIndexByte(c.path, '/')+1:], Path: c.path, Controller: c.function}
	dir := "sys/devices/" + c.path
	if o.Bus == "" {
		o.Bus = "platform"
		// A name that is none of ours to give: pci and usb stand for the two buses.
		if s, err := hostfs.ReadLinkBase(fsys, dir+"/subsystem"); err == nil && isBusName(s) && s != "pci" && s != "usb" {
			o.Bus = s
		}
	}
	text, err := fs.ReadFile(fsys, dir+"/uevent")
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil // saved machines often lack it
		} else {
			err = fmt.Errorf("device %s: %w", o.Name, err)
		}
		return o, err
	}
	for l := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimRight(l, "\n"), "=")
		switch key {
		case "DRIVER":
			o.Driver = line(value)
		case "MODALIAS":
			o.Modalias = line(value)
		}
	}
	return o, nil
}

func isBusName(s string) bool {
	return s != "" && len(s) <= 32 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_-") == ""
}
