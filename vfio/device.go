package vfio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/project-independence/indy/pci"
)

// A Device is an open device of an attached group.
type Device struct {
	group   *Group
	address pci.Address
	node    node
}

// Info is what the kernel says of a device as a whole.
type Info struct {
	// Reset: the device can be reset by itself.
	Reset bool
	// PCI: regions and interrupts have the meaning they have for PCI.
	PCI bool
	// Regions and Interrupts are how many indexes there are, not all of them in use.
	Regions, Interrupts uint32
}

// Address returns the address of the device.
func (d *Device) Address() pci.Address { return d.address }

// Info asks the kernel for what the device offers.
func (d *Device) Info() (Info, error) {
	info, err := d.info()
	if err != nil {
		return Info{}, d.fail("ask about", err)
	}
	return info, nil
}

func (d *Device) info() (Info, error) {
	var b [16]byte // argsz, flags, num_regions, num_irqs
	binary.NativeEndian.PutUint32(b[:], uint32(len(b)))
	if err := d.node.data(deviceGetInfo, b[:]); err != nil {
		return Info{}, err
	}
	flags := binary.NativeEndian.Uint32(b[4:])
	return Info{
		Reset:      flags&1 != 0,
		PCI:        flags&2 != 0,
		Regions:    binary.NativeEndian.Uint32(b[8:]),
		Interrupts: binary.NativeEndian.Uint32(b[12:]),
	}, nil
}

// Reset resets the device by itself, which none of the other devices of its bus
// notices. The error is errors.ErrUnsupported when there is no such way.
func (d *Device) Reset() error {
	info, err := d.info()
	if err == nil && !info.Reset {
		err = &lacking{what: "the device cannot be reset by itself"}
	}
	if err == nil {
		_, err = d.node.value(deviceReset, 0)
	}
	if err != nil {
		return d.fail("reset", err)
	}
	return nil
}

// ReadConfig reads the device's config space at off, as the kernel lets a guest see
// it. Like [io.ReaderAt] it reads all of b or says why not; what is beyond the end
// is io.EOF, unwrapped.
func (d *Device) ReadConfig(b []byte, off int64) (int, error) {
	r, err := d.region(configRegion)
	switch {
	case err != nil:
	case off < 0:
		err = fmt.Errorf("offset %d", off)
	case r.Offset > math.MaxInt64 || r.Size > math.MaxInt64-r.Offset:
		err = fmt.Errorf("the kernel puts it at %#x, %#x bytes long", r.Offset, r.Size)
	case !r.Read:
		err = &lacking{what: "the config space cannot be read"}
	}
	if err != nil {
		return 0, d.fail("read the config space of", err)
	}
	left := int64(r.Size) - off
	if left <= 0 {
		return 0, io.EOF
	}
	var end error
	if int64(len(b)) > left {
		b, end = b[:left], io.EOF
	}
	n, err := d.node.ReadAt(b, int64(r.Offset)+off)
	if err == nil || errors.Is(err, io.EOF) && n == len(b) {
		return n, end
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, d.fail("read the config space of", err)
}

// Close closes the device; its group stays open. Closing again does nothing.
func (d *Device) Close() error {
	d.group.mu.Lock()
	defer d.group.mu.Unlock()
	if _, open := d.group.devices[d]; !open {
		return nil
	}
	delete(d.group.devices, d)
	if err := d.node.Close(); err != nil {
		return d.fail("close", err)
	}
	return nil
}

func (d *Device) fail(op string, err error) error {
	return &OpError{Op: op, Group: d.group.id, Device: d.address, Err: err}
}
