package live

import (
	"errors"
	"fmt"

	"github.com/project-independence/indy/usb"
)

// A Claim says whether an interface could be claimed.
type Claim struct {
	Interface int

	// Err is nil when it could: no driver has it, nor another program. It answers
	// errors.Is(err, syscall.EBUSY) when one of them does.
	Err error
}

// Open opens the device at p. Errors are those of the package; the device is closed
// by [Device.Close].
func Open(p usb.PortPath) (*Device, error) {
	if !p.IsValid() {
		return nil, &usb.OpError{Op: "open", Path: p, Err: errors.New("the zero port path")}
	}
	return open("open", p, func(bus, _ int, path usb.PortPath) bool { return path == p })
}

// OpenNumber opens the device that has that number on the bus now, as in its node
// /dev/bus/usb/BUS/NUMBER. A device has another number after each time it is
// plugged in; Open does not need it.
func OpenNumber(bus, number int) (*Device, error) {
	op := fmt.Sprintf("open number %d on bus %d", number, bus)
	return open(op, usb.PortPath{}, func(b, n int, path usb.PortPath) bool { return b == bus && n == number && path.IsValid() })
}
