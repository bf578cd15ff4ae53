//go:build cgo

package live

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/google/gousb"

	"github.com/project-independence/indy/usb"
)

var errClosed = fmt.Errorf("the device is closed: %w", fs.ErrClosed)

// A Device is an open USB device. It may be used by several goroutines at once.
type Device struct {
	path usb.PortPath

	mu  sync.Mutex
	ctx *gousb.Context // nil when closed
	dev *gousb.Device
}

// Path returns where the device is plugged in.
func (d *Device) Path() usb.PortPath { return d.path }

func open(op string, p usb.PortPath, want func(bus, number int, path usb.PortPath) bool) (*Device, error) {
	d := &Device{path: p}
	if err := guard(func() error { d.ctx = gousb.NewContext(); return nil }); err != nil {
		err = fmt.Errorf("libusb does not start, is there a /dev/bus/usb? %w: %w", errors.ErrUnsupported, err)
		return nil, &usb.OpError{Op: op, Path: p, Err: err}
	}
	var found bool
	err := guard(func() error {
		list, err := d.ctx.OpenDevices(func(desc *gousb.DeviceDesc) bool {
			path := portPath(desc)
			if found || !want(desc.Bus, desc.Address, path) {
				return false
			}
			found, d.path = true, path
			return true
		})
		if len(list) > 0 { // then err is about another device
			d.dev = list[0]
			return nil
		}
		return err
	})
	switch {
	case d.dev != nil:
		return d, nil
	case !found && err == nil:
		err = fmt.Errorf("no such device: %w", fs.ErrNotExist)
	case !found:
		err = fmt.Errorf("no such device, and not all could be looked at: %w: %w", fs.ErrNotExist, err)
	}
	return nil, &usb.OpError{Op: op, Path: p, Err: errors.Join(err, guard(d.ctx.Close))}
}

// portPath returns where the device is plugged in, the zero PortPath for a root hub.
func portPath(desc *gousb.DeviceDesc) usb.PortPath {
	var ports []string
	for _, n := range desc.Path {
		ports = append(ports, strconv.Itoa(n))
	}
	p, err := usb.ParsePortPath(strconv.Itoa(desc.Bus) + "-" + strings.Join(ports, "."))
	if err != nil {
		return usb.PortPath{}
	}
	return p
}

// ClaimTest tries to claim each interface of the active configuration, and lets go
// of it at once. No driver is detached for it, no configuration or alternate setting
// chosen: what has an interface keeps it, and the device is afterwards as it was
// before. The result is in the order of the interfaces' numbers; it is empty when
// the device has no active configuration.
func (d *Device) ClaimTest() ([]Claim, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctx == nil {
		return nil, d.opError("try to claim", errClosed)
	}
	var claims []Claim
	err := guard(func() error {
		if err := d.dev.SetAutoDetach(false); err != nil {
			return err
		}
		active, err := d.dev.ActiveConfigNum()
		if err != nil || active == 0 {
			return err
		}
		config, err := d.dev.Config(active) // sets nothing: it is the active one
		if err != nil {
			return err
		}
		config.Desc.Interfaces = byNumber(config.Desc.Interfaces)
		for n, in := range config.Desc.Interfaces {
			if in.AltSettings == nil {
				continue
			}
			claims = append(claims, Claim{n, guard(func() error {
				claimed, err := config.Interface(n, in.AltSettings[0].Alternate)
				if err == nil {
					claimed.Close()
				}
				return err
			})})
		}
		return config.Close()
	})
	if err != nil {
		return claims, d.opError("try to claim", err)
	}
	return claims, nil
}

// byNumber puts each interface at the index that is its number, with one of its
// settings. gousb takes the number for the index, panics where numbers have gaps, and
// chooses a setting if there are several.
func byNumber(interfaces []gousb.InterfaceDesc) []gousb.InterfaceDesc {
	var list []gousb.InterfaceDesc
	for _, in := range interfaces {
		if in.Number < 0 || in.Number > 255 || len(in.AltSettings) == 0 {
			continue
		}
		for len(list) <= in.Number {
			list = append(list, gousb.InterfaceDesc{Number: -1})
		}
		list[in.Number] = gousb.InterfaceDesc{Number: in.Number, AltSettings: in.AltSettings[:1]}
	}
	return list
}

// Reset resets the device as the hub's port does when it is plugged in. Its drivers
// stay bound if they can start anew; it keeps its number and its place. One that
// comes back as another device, as after an update of its firmware, is gone:
// [fs.ErrNotExist], and d has to be closed. Resetting a hub takes all devices below
// it off the bus.
func (d *Device) Reset() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctx == nil {
		return d.opError("reset", errClosed)
	}
	if err := guard(d.dev.Reset); err != nil {
		return d.opError("reset", err)
	}
	return nil
}

// Close closes the device. A second Close does nothing.
func (d *Device) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ctx == nil {
		return nil
	}
	err := errors.Join(guard(d.dev.Close), guard(d.ctx.Close))
	d.ctx = nil
	if err != nil {
		return d.opError("close", err)
	}
	return nil
}

func (d *Device) opError(op string, err error) error {
	return &usb.OpError{Op: op, Path: d.path, Err: err}
}

// guard turns what gousb panics with into an error, and says in Go's words what its
// errors are.
func guard(f func() error) (err error) {
	defer func() {
		switch v := recover().(type) {
		case nil:
		case gousb.Error: // as NewContext does
			err = explain(v)
		case error:
			err = fmt.Errorf("gousb panicked: %w", v)
		default:
			err = fmt.Errorf("gousb panicked: %v", v)
		}
	}()
	return explain(f())
}

// explain finds libusb's code in an error and adds what it stands for.
func explain(err error) error {
	if err == nil {
		return nil
	}
	var meaning error
	switch code(err) {
	case gousb.ErrorAccess:
		meaning = fs.ErrPermission
	case gousb.ErrorNoDevice, gousb.ErrorNotFound:
		meaning = fs.ErrNotExist
	case gousb.ErrorBusy:
		meaning = syscall.EBUSY
	case gousb.ErrorNotSupported:
		meaning = errors.ErrUnsupported
	default:
		return err
	}
	return fmt.Errorf("%w: %w", meaning, err)
}

// code returns libusb's code, gousb.Success when there is none. gousb keeps only the
// text of most errors, which ends with it.
func code(err error) gousb.Error {
	var code gousb.Error
	if errors.As(err, &code) {
		return code
	}
	_, last, ok := strings.Cut(err.Error(), "[code ")
	digits, rest, ended := strings.Cut(last, "]")
	n, bad := strconv.ParseInt(digits, 10, 16)
	if !ok || !ended || rest != "" || bad != nil {
		return gousb.Success
	}
	return gousb.Error(n)
}
