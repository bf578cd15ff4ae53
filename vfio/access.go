package vfio

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// within checks where n bytes of a region are in the device's file.
func (r Region) within(off int64, n int) error {
	switch {
	case off < 0:
		return fmt.Errorf("offset %d", off)
	case r.Offset > math.MaxInt64 || r.Size > math.MaxInt64-r.Offset:
		return fmt.Errorf("the kernel puts it at %#x, %#x bytes long", r.Offset, r.Size)
	case n > 0 && (uint64(off) > r.Size || uint64(n) > r.Size-uint64(off)):
		return fmt.Errorf("%d bytes at %#x are not within its %#x", n, off, r.Size)
	}
	return nil
}

func (r Region) title() string {
	if r.Index == configRegion {
		return "the config space"
	}
	return r.Name
}

// readAt reads from a region by the rules of io.ReaderAt.
func (d *Device) readAt(r Region, b []byte, off int64) (int, error) {
	op := "read " + r.title() + " of"
	err := r.within(off, 0)
	if err == nil && !r.Read {
		err = &lacking{what: r.title() + " cannot be read"}
	}
	if err != nil {
		return 0, d.fail(op, err)
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
	return n, d.fail(op, err)
}

// writeAt writes to a region by the rules of io.WriterAt.
func (d *Device) writeAt(r Region, b []byte, off int64) (int, error) {
	op := "write " + r.title() + " of"
	err := r.within(off, len(b))
	if err == nil && !r.Write {
		err = &lacking{what: r.title() + " cannot be written"}
	}
	if err != nil {
		return 0, d.fail(op, err)
	}
	n, err := d.node.WriteAt(b, int64(r.Offset)+off)
	if err != nil {
		return n, d.fail(op, err)
	}
	return n, nil
}

// A RegionFile is a region of a device as a file: each read and each write is a call of
// the kernel's, which makes the largest aligned accesses of the device that fit, up to
// 32 or, in later kernels, 64 bits. It works for what cannot be mapped, too, as ranges
// of I/O ports and the ROM. It is usable for as long as the device is open.
type RegionFile struct {
	device *Device
	region Region
}

// OpenRegion returns a region to read and write. The error is EINVAL for an index that
// the device does not know, and errors.ErrUnsupported where it has no such region.
func (d *Device) OpenRegion(index uint32) (*RegionFile, error) {
	r, err := d.region(index)
	if err == nil && r.Size == 0 {
		err = &lacking{what: "the device has no " + r.Name}
	}
	if err == nil {
		err = r.within(0, 0)
	}
	if err != nil {
		return nil, d.fail("open region "+strconv.FormatUint(uint64(index), 10)+" of", err)
	}
	return &RegionFile{d, r}, nil
}

// Region returns what the kernel says of it.
func (f *RegionFile) Region() Region { return f.region }

// ReadAt reads by the rules of [io.ReaderAt]; beyond the end is io.EOF.
func (f *RegionFile) ReadAt(b []byte, off int64) (int, error) {
	return f.device.readAt(f.region, b, off)
}

// WriteAt writes by the rules of [io.WriterAt]. What is not within the region is refused
// and nothing is written.
func (f *RegionFile) WriteAt(b []byte, off int64) (int, error) {
	return f.device.writeAt(f.region, b, off)
}

// A MappedRegion is a region that is mapped into this process: its registers are read
// and written without the kernel. Several goroutines may use it at once; each access is
// of 32 bits, aligned, one for each call.
//
// A mapping keeps the device open, so that Close of the device, which also closes it,
// waits for an access that is being made.
type MappedRegion struct {
	device *Device
	region Region
	areas  []mappedArea
}

type mappedArea struct {
	Area
	*window
}

// MapRegion maps a region, or those parts of it that can be mapped. The error is
// errors.ErrUnsupported when nothing of it can.
func (d *Device) MapRegion(index uint32) (*MappedRegion, error) {
	m, err := d.mapRegion(index)
	if err != nil {
		return nil, d.fail("map region "+strconv.FormatUint(uint64(index), 10)+" of", err)
	}
	return m, nil
}

func (d *Device) mapRegion(index uint32) (*MappedRegion, error) {
	b, err := d.regionInfo(index)
	if err != nil {
		return nil, err
	}
	m := &MappedRegion{device: d, region: parseRegion(b, index)}
	r := m.region
	if err := r.within(0, 0); err != nil {
		return nil, err
	}
	prot := 0
	if r.Read {
		prot |= unix.PROT_READ
	}
	if r.Write {
		prot |= unix.PROT_WRITE
	}
	areas := mappable(b, r, uint64(os.Getpagesize()))
	if len(areas) == 0 || prot == 0 {
		return nil, &lacking{what: r.title() + " cannot be mapped"}
	}
	for _, a := range areas {
		if a.Size > math.MaxInt {
			err = fmt.Errorf("%#x bytes", a.Size)
		}
		var mapped []byte
		if err == nil {
			mapped, err = d.node.mmap(int64(r.Offset+a.Offset), int(a.Size), prot)
		}
		if err != nil {
			return nil, errors.Join(err, m.Close())
		}
		m.areas = append(m.areas, mappedArea{a, &window{b: mapped}})
	}
	if err := d.keep(m); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// Region returns what the kernel says of it.
func (m *MappedRegion) Region() Region { return m.region }

// Areas returns which parts of the region are mapped, in the kernel's order. The
// registers elsewhere are for [Device.OpenRegion].
func (m *MappedRegion) Areas() []Area {
	var all []Area
	for _, a := range m.areas {
		all = append(all, a.Area)
	}
	return all
}

// Load32 reads the register at off, a multiple of four, in one access. The value is in
// the byte order of the processor, which for PCI is little-endian on all that matter.
// The error is fs.ErrClosed after Close.
func (m *MappedRegion) Load32(off int64) (v uint32, err error) {
	a, err := m.area(off, m.region.Read)
	if err == nil {
		v, err = a.load32(off - int64(a.Offset))
	}
	if err != nil {
		return 0, m.device.fail(fmt.Sprintf("read %#x in %s of", off, m.region.Name), err)
	}
	return v, nil
}

// Store32 writes the register at off, a multiple of four, in one access that does not
// read it. What was written to memory before is there before.
func (m *MappedRegion) Store32(off int64, v uint32) error {
	a, err := m.area(off, m.region.Write)
	if err == nil {
		err = a.store32(off-int64(a.Offset), v)
	}
	if err != nil {
		return m.device.fail(fmt.Sprintf("write %#x in %s of", off, m.region.Name), err)
	}
	return nil
}

func (m *MappedRegion) area(off int64, allowed bool) (mappedArea, error) {
	if !allowed {
		return mappedArea{}, &lacking{what: m.region.title() + " does not allow it"}
	}
	for _, a := range m.areas {
		if off >= int64(a.Offset) && off < int64(a.Offset+a.Size) {
			return a, nil
		}
	}
	return mappedArea{}, fmt.Errorf("%#x is not mapped: %w", off, fs.ErrInvalid)
}

// Close unmaps the region. It waits for an access that is being made. Closing again does
// nothing.
func (m *MappedRegion) Close() error {
	m.device.forget(m)
	var errs []error
	for _, a := range m.areas {
		errs = append(errs, a.unmap())
	}
	if err := errors.Join(errs...); err != nil {
		return m.device.fail("unmap a region of", err)
	}
	return nil
}
