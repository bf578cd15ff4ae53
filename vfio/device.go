package vfio

import (
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"sync"

	"github.com/project-independence/indy/pci"
)

// A Device is an open device behind the IOMMU. It may be used by several goroutines at
// once.
type Device struct {
	space   *AddressSpace
	owner   *openDevices // of its group, or of its address space
	group   *Group       // nil for one with a node of its own
	id      pci.GroupID
	address pci.Address
	node    node

	mu     sync.Mutex
	closed bool
	parts  map[io.Closer]struct{} // what has to be closed with it
	events map[uint32]*Signals    // enabled interrupts by their index
}

func newDevice(s *AddressSpace, owner *openDevices, g *Group, id pci.GroupID, a pci.Address, n node) *Device {
	return &Device{
		space: s, owner: owner, group: g, id: id, address: a, node: n,
		parts: map[io.Closer]struct{}{}, events: map[uint32]*Signals{},
	}
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

// Space returns the address space the device is in.
func (d *Device) Space() *AddressSpace { return d.space }

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
// notices (VFIO_DEVICE_RESET). The error is errors.ErrUnsupported when there is no such way.
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
	if err != nil {
		return 0, d.fail("read the config space of", err)
	}
	return d.readAt(r, b, off)
}

// WriteConfig writes to the device's config space at off, as the kernel lets a guest
// do it: much of it, as BARs and interrupts, is VFIO's, and takes what is written
// without acting on it. All of b is written, or the error says how much was not; what
// is not within it is refused.
func (d *Device) WriteConfig(b []byte, off int64) (int, error) {
	r, err := d.region(configRegion)
	if err != nil {
		return 0, d.fail("write the config space of", err)
	}
	return d.writeAt(r, b, off)
}

// SetBusMaster lets the device reach memory by itself, which it needs for DMA and for
// message signalled interrupts, or stops it (PCI's command register, bit 2). A device
// that was just opened does not.
func (d *Device) SetBusMaster(on bool) error {
	const command, master = 4, 1 << 2
	var b [2]byte
	if _, err := d.ReadConfig(b[:], command); err != nil {
		return err
	}
	v := binary.LittleEndian.Uint16(b[:]) &^ master
	if on {
		v |= master
	}
	binary.LittleEndian.PutUint16(b[:], v)
	_, err := d.WriteConfig(b[:], command)
	return err
}

// keep has a part of the device closed with it.
func (d *Device) keep(part io.Closer) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return fs.ErrClosed
	}
	d.parts[part] = struct{}{}
	return nil
}

func (d *Device) forget(part io.Closer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.parts, part)
}

// Close closes the device, its mapped regions and its interrupts; the kernel resets it
// where it can. Its group stays open. Closing again does nothing.
func (d *Device) Close() error {
	if !d.owner.remove(d) {
		return nil
	}
	if err := d.close(); err != nil {
		return d.fail("close", err)
	}
	return nil
}

// close is for who has removed the device from its owner.
func (d *Device) close() error {
	d.mu.Lock()
	d.closed = true
	parts := d.parts
	d.parts = map[io.Closer]struct{}{}
	d.mu.Unlock()
	var errs []error
	for p := range parts {
		errs = append(errs, p.Close())
	}
	return errors.Join(append(errs, d.node.Close())...)
}

func (d *Device) fail(op string, err error) error {
	return &OpError{Op: op, Group: d.id, Device: d.address, Err: err}
}
