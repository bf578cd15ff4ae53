package usb

import (
	"fmt"
	"iter"
	"strconv"
	"strings"

	"github.com/project-independence/indy/internal/plain"
	"github.com/project-independence/indy/pci"
)

// eachKey ranges over the KEY=VALUE lines of a uevent.
func eachKey(text string) iter.Seq2[string, string] {
	return func(yield func(key, value string) bool) {
		for line := range strings.Lines(text) {
			key, value, ok := strings.Cut(strings.TrimRight(line, "\n"), "=")
			if ok && !yield(key, value) {
				return
			}
		}
	}
}

// parseUevent reads PRODUCT=46d/c52b/1211, TYPE=0/0/0, BUSNUM=001, DEVNUM=004 and
// DRIVER=usb: ids hexadecimal without leading zeros, the rest decimal.
func (d *Device) parseUevent(text string) []error {
	var errs []error
	for key, value := range eachKey(text) {
		var err error
		switch key {
		case "PRODUCT":
			err = d.parseProduct(value)
		case "TYPE":
			d.Class, err = parseType(value)
		case "DEVNUM":
			d.Number, err = parseNumber(value)
		case "BUSNUM":
			var bus int
			if bus, err = parseNumber(value); err == nil && bus != d.Bus {
				err = fmt.Errorf("bus %d, but the port path says %d", bus, d.Bus)
			}
		case "DRIVER":
			d.Driver = strings.Clone(value)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("uevent, %s: %w", key, err))
		}
	}
	return errs
}

// parseUevent reads INTERFACE=3/1/1 and DRIVER=usbhid.
func (i *Interface) parseUevent(text string) (err error) {
	for key, value := range eachKey(text) {
		switch key {
		case "INTERFACE":
			if i.Class, err = parseType(value); err != nil {
				err = fmt.Errorf("uevent, %s: %w", key, err)
			}
		case "DRIVER":
			i.Driver = strings.Clone(value)
		}
	}
	return err
}

func (d *Device) parseProduct(s string) error {
	var id [3]ID
	rest, more := s, true
	for i := range id {
		var field string
		field, rest, more = strings.Cut(rest, "/")
		var err error
		if id[i], err = pci.ParseID(field); err != nil {
			return err
		}
	}
	if more {
		return fmt.Errorf("%q is not vendor/product/release", plain.Short(s))
	}
	d.Vendor, d.Product, d.Release = id[0], id[1], id[2]
	return nil
}

// parseType reads three decimal bytes, as 224/1/1.
func parseType(s string) (Class, error) {
	var code [3]uint8
	rest, more := s, true
	for i := range code {
		var field string
		field, rest, more = strings.Cut(rest, "/")
		n, err := strconv.ParseUint(field, 10, 8)
		if err != nil {
			return Class{}, fmt.Errorf("%q is not class/subclass/protocol", plain.Short(s))
		}
		code[i] = uint8(n)
	}
	if more {
		return Class{}, fmt.Errorf("%q is not class/subclass/protocol", plain.Short(s))
	}
	return NewClass(code[0], code[1], code[2]), nil
}

// parseNumber reads a bus or device number, which the kernel counts from 1.
func parseNumber(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is not a number from 1", plain.Short(s))
	}
	return int(n), nil
}

type modalias struct {
	vendor, product, release ID
	device, function         Class
}

// parseModalias reads usb:vVVVVpPPPPdRRRRdcCCdscSSdpPPicCCiscSSipPPinNN.
func parseModalias(s string) (m modalias, ok bool) {
	const form = "usb:v....p....d....dc..dsc..dp..ic..isc..ip..in.."
	if len(s) != len(form) {
		return m, false
	}
	var field [11]uint16
	n := -1
	for i := range len(form) {
		if form[i] != '.' {
			if s[i] != form[i] {
				return m, false
			}
			continue
		}
		if form[i-1] != '.' {
			n++
		}
		digit, err := strconv.ParseUint(s[i:i+1], 16, 4)
		if err != nil {
			return m, false
		}
		field[n] = field[n]<<4 | uint16(digit)
	}
	m.vendor, m.product, m.release = pci.NewID(field[0]), pci.NewID(field[1]), pci.NewID(field[2])
	m.device = NewClass(uint8(field[3]), uint8(field[4]), uint8(field[5]))
	m.function = NewClass(uint8(field[6]), uint8(field[7]), uint8(field[8]))
	return m, true
}
