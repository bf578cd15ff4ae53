package laptop

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"

	"github.com/project-independence/indy/hostfs"
)

// A Fact is one thing that is known of a device.
type Fact struct {
	Name   string `json:"name"`   // what it is about, as "reset methods" or "wlan0 state"
	Value  string `json:"value"`  // for a person: one bounded line, never empty
	Source string `json:"source"` // the file that says so, as /sys/class/net/wlan0/operstate
}

// Facts says what is known of a device of l beyond what a listing reads: attributes
// of its bus, and of each thing that the kernel made of it. What a device or its
// firmware says of itself is untrusted. It reads some dozens of files and no config
// space; the kernel may ask the firmware for those of a battery, and waits for a USB
// device that is being reset.
//
// It returns what could be read, and an error that joins what could not: an attribute
// that fails costs the fact that it holds. One that this kernel or saved machine does
// not have is unknown, and neither.
func Facts(fsys fs.FS, l *Laptop, d *Device) ([]Fact, error) {
	f := &facts{fsys: fsys}
	switch {
	case d.PCI != nil:
		f.function(l, d)
	case d.USB != nil:
		f.usb(d)
	default:
		f.other(*d.Other)
	}
	f.parts(d)
	f.display(d)
	f.cards(d)
	for _, c := range d.Classes {
		f.class(c)
	}
	return f.list, errors.Join(f.errs...)
}

// facts are those of one device in the making.
type facts struct {
	fsys fs.FS
	list []Fact
	errs []error
}

// add takes a fact unless its value is empty. Source is below the root, or a list of
// such files as people write it.
func (f *facts) add(name, value, source string) {
	if value = line(value); value != "" {
		f.list = append(f.list, Fact{line(name), value, "/" + strings.TrimPrefix(source, "/")})
	}
}

// note keeps an error unless it says no more than that the attribute has no value:
// it is missing, or the device is not in the state for it, as the speed of an
// interface that is down.
func (f *facts) note(err error) bool {
	switch {
	case err == nil:
		return true
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.ENODATA), errors.Is(err, errors.ErrUnsupported):
	default:
		f.errs = append(f.errs, err)
	}
	return false
}

// read returns the text of an attribute, empty when it has none.
func (f *facts) read(file string) string {
	s, err := hostfs.ReadString(f.fsys, file)
	if !f.note(err) {
		return ""
	}
	return s
}

// parts says what the device is a part of, and of what it consists.
func (f *facts) parts(d *Device) {
	if d.PartOf != "" {
		f.add("part of", d.PartOf, d.source())
	}
	for _, p := range d.Parts {
		what := p.ID
		if what == "" {
			what = "interfaces " + numbers(p.Interfaces)
		}
		f.add("part", what+", "+string(p.Role)+": "+p.Why, p.Evidence)
	}
}

// source returns the directory of the device.
func (d *Device) source() string {
	switch {
	case d.PCI != nil:
		return "sys/bus/pci/devices/" + d.Where()
	case d.USB != nil:
		return "sys/bus/usb/devices/" + d.Where()
	}
	return "sys/devices/" + d.Other.Path
}

func (f *facts) other(o Other) {
	dir := "sys/devices/" + o.Path
	f.add("bus", o.Bus, dir+"/subsystem")
	if _, err := fs.ReadFile(f.fsys, dir+"/uevent"); f.note(err) { // else it is unknown
		f.add("driver", or(o.Driver, "none"), dir+"/uevent")
	}
	f.add("modalias", o.Modalias, dir+"/uevent")
	if o.Controller.IsValid() {
		f.add("behind", o.Controller.String(), dir)
	}
}
