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

// Power is what a device takes from the bus in its active configuration.
type Power struct {
	MaxPower                  int // mA at most
	SelfPowered, RemoteWakeup bool
}

var errUnconfigured = fmt.Errorf("the device has no active configuration: %w", fs.ErrNotExist)

// ReadPower returns what the device takes from the bus (bMaxPower, bmAttributes). A
// device without an active configuration says nothing of it: [fs.ErrNotExist].
func ReadPower(fsys fs.FS, p PortPath) (Power, error) {
	s, err := attribute(fsys, p, "bMaxPower")
	switch {
	case err != nil:
		return Power{}, err
	case s == "":
		return Power{}, opError("read bMaxPower of", p, errUnconfigured)
	}
	mA, err := strconv.ParseUint(strings.TrimSuffix(s, "mA"), 10, 16)
	if err != nil {
		return Power{}, oddValue(p, "bMaxPower", s)
	}
	attributes, err := number(fsys, p, "bmAttributes", 16, 8)
	if err != nil {
		return Power{}, err
	}
	return Power{int(mA), attributes&0x40 != 0, attributes&0x20 != 0}, nil
}

// Version returns the release of the specification that the device says it follows
// (version) in binary coded decimal: 0320 for 3.20.
func Version(fsys fs.FS, p PortPath) (ID, error) {
	s, err := attribute(fsys, p, "version")
	if err != nil {
		return ID{}, err
	}
	major, minor, _ := strings.Cut(s, ".")
	a, err1 := strconv.ParseUint(major, 16, 8)
	b, err2 := strconv.ParseUint(minor, 16, 8)
	if err1 != nil || err2 != nil || len(minor) != 2 {
		return ID{}, oddValue(p, "version", s)
	}
	return pci.NewID(uint16(a<<8 | b)), nil
}

// Lanes returns how many lanes the device uses in each direction (rx_lanes,
// tx_lanes): 1, or 2 for USB 3.2 over two pairs of wires.
func Lanes(fsys fs.FS, p PortPath) (rx, tx int, err error) {
	r, err := number(fsys, p, "rx_lanes", 10, 8)
	if err != nil {
		return 0, 0, err
	}
	t, err := number(fsys, p, "tx_lanes", 10, 8)
	if err != nil {
		return 0, 0, err
	}
	return int(r), int(t), nil
}

// Configurations returns how many configurations the device has
// (bNumConfigurations). The kernel chooses one of them; another may have other
// interfaces.
func Configurations(fsys fs.FS, p PortPath) (int, error) {
	n, err := number(fsys, p, "bNumConfigurations", 10, 8)
	return int(n), err
}

// ActiveConfiguration returns the value of the configuration that is in use
// (bConfigurationValue), 0 when there is none, as while the device is not
// authorised.
func ActiveConfiguration(fsys fs.FS, p PortPath) (int, error) {
	s, err := attribute(fsys, p, "bConfigurationValue")
	if err != nil || s == "" {
		return 0, err
	}
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil {
		return 0, oddValue(p, "bConfigurationValue", s)
	}
	return int(n), nil
}

// Quirks returns what the kernel does for this device because it is known to be
// broken (quirks), one bit for each (USB_QUIRK in linux/usb/quirks.h).
func Quirks(fsys fs.FS, p PortPath) (uint32, error) {
	n, err := number(fsys, p, "quirks", 16, 32)
	return uint32(n), err
}

// AuthorizedDefault returns which devices of the bus the kernel uses as soon as they
// are plugged in (authorized_default of its root hub): all, none, or internal for
// those that the firmware says are built in.
func AuthorizedDefault(fsys fs.FS, bus int) (string, error) {
	name := "usb" + strconv.Itoa(bus)
	op := "read authorized_default of " + name
	s, err := hostfs.ReadString(fsys, devices+"/"+name+"/authorized_default")
	if err != nil {
		return "", opError(op, PortPath{}, err)
	}
	switch s {
	case "0":
		return "none", nil
	case "1":
		return "all", nil
	case "2":
		return "internal", nil
	}
	return "", opError(op, PortPath{}, errors.New("unexpected value "+strconv.Quote(plain.Short(s))))
}

// number reads an attribute that is one number of that base, with 0x before it or
// not, and of at most that many bits.
func number(fsys fs.FS, p PortPath, name string, base, bits int) (uint64, error) {
	s, err := attribute(fsys, p, name)
	if err != nil {
		return 0, err
	}
	digits := s
	if base == 16 {
		digits = strings.TrimPrefix(s, "0x")
	}
	n, err := strconv.ParseUint(digits, base, bits)
	if err != nil {
		return 0, oddValue(p, name, s)
	}
	return n, nil
}
