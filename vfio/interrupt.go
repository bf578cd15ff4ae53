package vfio

import (
	"encoding/binary"
	"strconv"
)

// An Interrupt is one kind of interrupt of a device.
type Interrupt struct {
	// Index is the number of the kind.
	Index uint32
	// Name is intx, msi, msix, err (a PCI Express error) or req (the host wants the
	// device back).
	Name string
	// Count is how many of them the device can raise.
	Count uint32
	// EventFD: each can be delivered to an eventfd.
	EventFD bool
	// Maskable: each can be masked and unmasked.
	Maskable bool
	// AutoMasked: each is masked by the kernel when it comes in.
	AutoMasked bool
	// NoResize: they are enabled all at once, or not at all.
	NoResize bool
}

// Interrupts returns the kinds of interrupts the device has, in order of their
// index. As [os.ReadDir] it returns those that could be asked for, and an error for
// the rest.
func (d *Device) Interrupts() ([]Interrupt, error) {
	info, err := d.info()
	if err != nil {
		return nil, d.fail("list the interrupts of", err)
	}
	all, err := each(info.Interrupts, d.interrupt, func(i Interrupt) bool { return i.Count > 0 })
	if err != nil {
		return all, d.fail("list the interrupts of", err)
	}
	return all, nil
}

func (d *Device) interrupt(index uint32) (Interrupt, error) {
	var b [16]byte // argsz, flags, index, count
	binary.NativeEndian.PutUint32(b[:], uint32(len(b)))
	binary.NativeEndian.PutUint32(b[8:], index)
	if err := d.node.data(deviceGetInterrupt, b[:]); err != nil {
		return Interrupt{}, err
	}
	flags := binary.NativeEndian.Uint32(b[4:])
	return Interrupt{
		Index:      index,
		Name:       interruptName(index),
		Count:      binary.NativeEndian.Uint32(b[12:]),
		EventFD:    flags&1 != 0,
		Maskable:   flags&2 != 0,
		AutoMasked: flags&4 != 0,
		NoResize:   flags&8 != 0,
	}, nil
}

func interruptName(index uint32) string {
	names := [...]string{"intx", "msi", "msix", "err", "req"}
	if index < uint32(len(names)) {
		return names[index]
	}
	return "interrupt " + strconv.FormatUint(uint64(index), 10)
}
