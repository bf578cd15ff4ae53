package usb

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/plain"
	"github.com/project-independence/indy/pci"
)

// readDevice reads the device at p, whose interfaces have the given names.
func readDevice(fsys fs.FS, p PortPath, interfaces []interfaceName) (Device, error) {
	d := Device{Path: p, Bus: p.Bus()}
	dir := devices + "/" + p.String()
	errs := d.readIDs(fsys, dir, interfaces)
	if err := d.readController(fsys, dir); err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		if _, err := fs.Stat(fsys, dir); errors.Is(err, fs.ErrNotExist) {
			return d, opError("read", p, fmt.Errorf("%w: %w", errGone, err))
		}
	}
	d.Hub = d.Class.Base() == classHub
	for _, n := range interfaces {
		i, err := readInterface(fsys, n)
		if err != nil {
			errs = append(errs, fmt.Errorf("interface %s: %w", n.name, err))
			if errors.Is(err, errNoInterface) {
				continue
			}
		}
		d.Hub = d.Hub || i.Class.Base() == classHub
		d.Interfaces = append(d.Interfaces, i)
	}
	if len(errs) > 0 {
		return d, opError("read", p, errors.Join(errs...))
	}
	return d, nil
}

// readController finds the last PCI function above the root hub.
func (d *Device) readController(fsys fs.FS, dir string) error {
	target, err := fs.ReadLink(fsys, dir)
	if err != nil {
		return err
	}
	if p, _ := InPath(target); p != d.Path {
		return fmt.Errorf("link %q leads to another device", plain.Short(target))
	}
	above := target[:strings.LastIndex(target, "/usb"+strconv.Itoa(d.Path.Bus())+"/")+1]
	if functions := pci.InPath(above); len(functions) > 0 {
		d.Controller = functions[len(functions)-1]
	}
	return nil
}

func (d *Device) known() bool { return d.Vendor.Known() && d.Product.Known() && d.Class.Known() }

func (d *Device) readIDs(fsys fs.FS, dir string, interfaces []interfaceName) []error {
	text, unread := fs.ReadFile(fsys, dir+"/uevent")
	if unread == nil {
		if errs := d.parseUevent(string(text)); d.known() {
			return errs
		}
	}
	// Saved machines often lack uevent.
	var errs []error
	if err := readDriver(fsys, dir, &d.Driver); err != nil {
		errs = append(errs, err)
	}
	if err := d.readNumber(fsys, dir); err != nil {
		errs = append(errs, err)
	}
	ids := d.readAttributes(fsys, dir)
	if (d.Number == 0 || !d.known()) && unread != nil && !errors.Is(unread, fs.ErrNotExist) {
		errs = append(errs, unread) // which would have said it
	}
	if d.known() {
		return append(errs, ids...)
	}
	for _, n := range interfaces {
		s, err := hostfs.ReadString(fsys, devices+"/"+n.name+"/modalias")
		if m, ok := parseModalias(s); err == nil && ok {
			d.Vendor, d.Product, d.Release, d.Class = m.vendor, m.product, m.release, m.device
			return errs
		}
	}
	return append(errs, ids...)
}

// readDriver reads the link to the driver. Without one there is none.
func readDriver(fsys fs.FS, dir string, into *string) error {
	driver, err := hostfs.ReadLinkBase(fsys, dir+"/driver")
	switch {
	case err == nil:
		*into = driver
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("driver: %w", err) // it may have one
	}
	return nil
}

func (d *Device) readAttributes(fsys fs.FS, dir string) []error {
	var errs []error
	id := func(name string, into *ID, needed bool) {
		if into.Known() {
			return
		}
		s, err := hostfs.ReadString(fsys, dir+"/"+name)
		if err == nil {
			*into, err = pci.ParseID(s)
		}
		if err != nil && (needed || !errors.Is(err, fs.ErrNotExist)) {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	id("idVendor", &d.Vendor, true)
	id("idProduct", &d.Product, true)
	id("bcdDevice", &d.Release, false)
	if !d.Class.Known() {
		var err error
		if d.Class, err = readClass(fsys, dir+"/bDevice"); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

func (d *Device) readNumber(fsys fs.FS, dir string) error {
	if d.Number != 0 {
		return nil
	}
	s, err := hostfs.ReadString(fsys, dir+"/devnum")
	if err == nil {
		d.Number, err = parseNumber(s)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("devnum: %w", err)
	}
	return nil
}

// readClass reads the three attributes prefixClass, prefixSubClass and
// prefixProtocol.
func readClass(fsys fs.FS, prefix string) (Class, error) {
	var code [3]uint8
	for i, name := range [...]string{"Class", "SubClass", "Protocol"} {
		s, err := hostfs.ReadString(fsys, prefix+name)
		if err != nil {
			return Class{}, err
		}
		n, err := strconv.ParseUint(s, 16, 8)
		if err != nil {
			return Class{}, fmt.Errorf("%s: %q is not a byte in hexadecimal", prefix+name, plain.Short(s))
		}
		code[i] = uint8(n)
	}
	return NewClass(code[0], code[1], code[2]), nil
}

func readInterface(fsys fs.FS, n interfaceName) (Interface, error) {
	i := Interface{Number: n.number}
	dir := devices + "/" + n.name
	text, unread := fs.ReadFile(fsys, dir+"/uevent")
	if unread == nil {
		if err := i.parseUevent(string(text)); i.Class.Known() {
			return i, err
		}
	}
	undriven := readDriver(fsys, dir, &i.Driver)
	if s, err := hostfs.ReadString(fsys, dir+"/modalias"); err == nil {
		if m, ok := parseModalias(s); ok {
			i.Class = m.function
			return i, undriven
		}
	}
	class, err := readClass(fsys, dir+"/bInterface")
	i.Class = class
	if err != nil {
		if _, err := fs.Stat(fsys, dir); errors.Is(err, fs.ErrNotExist) {
			return i, errNoInterface
		}
		if unread != nil && !errors.Is(unread, fs.ErrNotExist) {
			err = errors.Join(unread, err) // which would have said it
		}
	}
	return i, errors.Join(undriven, err)
}
