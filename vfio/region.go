package vfio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"syscall"
)

// A Region is a part of a device that a guest reaches: a BAR, the ROM, the config
// space, the legacy VGA ranges, or what a driver adds for one kind of device.
type Region struct {
	// Index is the number of the region; 0 to 5 are the BARs.
	Index uint32
	// Name is BAR0 to BAR5, ROM, config, VGA, or what the kernel says of the others.
	Name string
	// Size is the length in bytes, 0 where the device has no such region.
	Size uint64
	// Offset is where the region is in the device's file.
	Offset uint64
	// Read, Write and Mmap are what may be done with it; the last perhaps with parts.
	Read, Write, Mmap bool
}

const (
	configRegion = 7
	vgaRegion    = 8

	// maxIndexes bounds how many regions and interrupts are asked for.
	maxIndexes     = 64
	regionInfoSize = 32
	regionHasCaps  = 1 << 3
	capSparse      = 1
	capType        = 2
)

// Regions returns the regions the device has, in order of their index. As
// [os.ReadDir] it returns those that could be asked for, and an error for the rest.
func (d *Device) Regions() ([]Region, error) {
	info, err := d.info()
	if err != nil {
		return nil, d.fail("list the regions of", err)
	}
	all, err := each(info.Regions, d.region, func(r Region) bool { return r.Size > 0 })
	if err != nil {
		return all, d.fail("list the regions of", err)
	}
	return all, nil
}

// Region returns the region of the given index. An index the device does not know
// is EINVAL.
func (d *Device) Region(index uint32) (Region, error) {
	r, err := d.region(index)
	if err != nil {
		return Region{}, d.fail("ask for region "+strconv.FormatUint(uint64(index), 10)+" of", err)
	}
	return r, nil
}

func (d *Device) region(index uint32) (Region, error) {
	b, err := d.regionInfo(index)
	if err != nil {
		return Region{}, err
	}
	return parseRegion(b, index), nil
}

func (d *Device) regionInfo(index uint32) ([]byte, error) {
	b := make([]byte, regionInfoSize) // argsz, flags, index, cap_offset, size, offset
	binary.NativeEndian.PutUint32(b[8:], index)
	return growing(d.node, deviceGetRegion, b, regionHasCaps)
}

// parseRegion understands struct vfio_region_info and what follows it.
func parseRegion(b []byte, index uint32) Region {
	flags := binary.NativeEndian.Uint32(b[4:])
	r := Region{
		Index:  index,
		Size:   binary.NativeEndian.Uint64(b[16:]),
		Offset: binary.NativeEndian.Uint64(b[24:]),
		Read:   flags&1 != 0,
		Write:  flags&2 != 0,
		Mmap:   flags&4 != 0,
	}
	var typ, subtype uint32
	if flags&regionHasCaps != 0 {
		typ, subtype = regionType(b)
	}
	r.Name = regionName(index, typ, subtype)
	return r
}

// regionType finds the capability that says what a region beyond those of PCI is.
func regionType(b []byte) (typ, subtype uint32) {
	for id, c := range capabilities(b, binary.NativeEndian.Uint32(b[12:]), regionInfoSize) {
		if id == capType && len(c) >= 16 {
			return binary.NativeEndian.Uint32(c[8:]), binary.NativeEndian.Uint32(c[12:])
		}
	}
	return 0, 0
}

// An Area is a part of a region, in bytes from the region's beginning.
type Area struct{ Offset, Size uint64 }

// mappable returns which parts of a region may be mapped: those of the capability
// VFIO_REGION_INFO_CAP_SPARSE_MMAP if it has one, and all of it if not. What is not
// within the region is left out, as is what is not a whole number of pages; the last
// page of a region may be shorter.
func mappable(b []byte, r Region, page uint64) []Area {
	if !r.Mmap || r.Size == 0 {
		return nil
	}
	u := binary.NativeEndian
	if u.Uint32(b[4:])&regionHasCaps == 0 {
		return []Area{{0, r.Size}}
	}
	for id, c := range capabilities(b, u.Uint32(b[12:]), regionInfoSize) {
		if id != capSparse || len(c) < 16 {
			continue
		}
		all := []Area{}
		count, c := u.Uint32(c[8:]), c[16:]
		for ; count > 0 && len(c) >= 16; count-- {
			a := Area{u.Uint64(c), u.Uint64(c[8:])}
			c = c[16:]
			if a.Size == 0 || a.Offset >= r.Size || a.Size > r.Size-a.Offset ||
				a.Offset%page != 0 || a.Size%page != 0 && a.Offset+a.Size != r.Size {
				continue
			}
			all = append(all, a)
		}
		return all
	}
	return []Area{{0, r.Size}}
}

func regionName(index, typ, subtype uint32) string {
	const vendor, intel, gfx = 1 << 31, 0x8086, 1
	switch {
	case index < 6:
		return "BAR" + strconv.Itoa(int(index))
	case index == 6:
		return "ROM"
	case index == configRegion:
		return "config"
	case index == vgaRegion:
		return "VGA"
	case typ == vendor|intel && subtype == 1:
		return "OpRegion"
	case typ == vendor|intel && subtype == 2:
		return "host bridge config"
	case typ == vendor|intel && subtype == 3:
		return "LPC bridge config"
	case typ == gfx && subtype == 1:
		return "EDID"
	case typ&vendor != 0:
		return fmt.Sprintf("vendor %04x region %d", typ&0xffff, subtype)
	}
	return "region " + strconv.FormatUint(uint64(index), 10)
}

// each asks for n indexes and keeps what is wanted. An index that the kernel calls
// EINVAL is one this device does not have.
func each[T any](n uint32, ask func(uint32) (T, error), want func(T) bool) ([]T, error) {
	var errs []error
	if n > maxIndexes {
		errs = append(errs, fmt.Errorf("the kernel speaks of %d, the first %d were asked for", n, maxIndexes))
	}
	var all []T
	for i := range min(n, maxIndexes) {
		v, err := ask(i)
		switch {
		case errors.Is(err, syscall.EINVAL):
		case err != nil:
			errs = append(errs, fmt.Errorf("number %d: %w", i, err))
		case want(v):
			all = append(all, v)
		}
	}
	return all, errors.Join(errs...)
}
