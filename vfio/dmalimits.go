package vfio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"syscall"
)

// Limits are what may be mapped in an address space.
type Limits struct {
	// PageSizes has bit N set where pages of 2^N bytes can be mapped; of iommufd it is the
	// smallest alone. 0 is unknown.
	PageSizes uint64
	// Ranges are the valid addresses, in order. Nil is unknown, as with Linux before 5.4.
	Ranges []Range
	// Mappings is how many more there can be, where MappingsKnown: groups since Linux
	// 5.10. Iommufd counts none.
	Mappings      uint32
	MappingsKnown bool
}

// Alignment returns of what number addresses and sizes have to be multiples: the
// smallest page. It is 0 where that is not known.
func (l Limits) Alignment() uint64 { return 1 << bits.TrailingZeros64(l.PageSizes) }

// Limits asks the kernel what may be mapped (VFIO_IOMMU_GET_INFO,
// IOMMU_IOAS_IOVA_RANGES). It changes with each device that comes into the address
// space, and is an error while there is none.
func (s *AddressSpace) Limits() (l Limits, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		err = fs.ErrClosed
	case !s.set:
		err = errors.New("no device is in the address space yet")
	default:
		l, err = s.limits()
	}
	if err != nil {
		return Limits{}, &OpError{Op: "ask what may be mapped", Err: err}
	}
	return l, nil
}

func (s *AddressSpace) limits() (Limits, error) {
	if s.kind == IOMMUFD {
		return s.ranges()
	}
	b, err := growing(s.node, iommuGetInfo, make([]byte, type1InfoSize), type1HasCaps)
	if err != nil {
		return Limits{}, err
	}
	return parseType1Info(b), nil
}

const (
	rangesSize = 32
	maxRanges  = 4096
)

// ranges makes IOMMU_IOAS_IOVA_RANGES, with the array that it fills behind the
// structure.
func (s *AddressSpace) ranges() (Limits, error) {
	u := binary.NativeEndian
	room := 16
	for range 4 { // a device may come meanwhile
		b := make([]byte, rangesSize+16*room) // size, ioas_id, num_iovas, reserved, allowed_iovas, out_iova_alignment
		u.PutUint32(b, rangesSize)
		u.PutUint32(b[4:], s.ioas)
		u.PutUint32(b[8:], uint32(room))
		err := s.node.point(iommuIOASRanges, b, 16, b[rangesSize:])
		count := int(u.Uint32(b[8:]))
		switch {
		case err != nil && !errors.Is(err, syscall.EMSGSIZE):
			return Limits{}, err
		case count > maxRanges:
			return Limits{}, fmt.Errorf("the kernel speaks of %d ranges", count)
		case count > room:
			room = count
			continue
		case err != nil:
			return Limits{}, err
		}
		return Limits{PageSizes: u.Uint64(b[24:]), Ranges: parseRanges(b[rangesSize:], count)}, nil
	}
	return Limits{}, errors.New("the number of ranges changes all the time")
}

// parseRanges understands an array of struct vfio_iova_range or iommu_iova_range, of
// which some may be missing. One that ends before it begins is none.
func parseRanges(b []byte, count int) []Range {
	u := binary.NativeEndian
	all := []Range{}
	for i := 0; i < count && len(b) >= 16; i++ {
		if r := (Range{u.Uint64(b), u.Uint64(b[8:])}); r.First <= r.Last {
			all = append(all, r)
		}
		b = b[16:]
	}
	return all
}

const (
	type1InfoSize = 24 // argsz, flags, iova_pgsizes, cap_offset, padding
	type1HasCaps  = 1 << 1
	capRanges     = 1
	capMappings   = 3
)

// parseType1Info understands struct vfio_iommu_type1_info and what follows it.
func parseType1Info(b []byte) (l Limits) {
	u := binary.NativeEndian
	flags := u.Uint32(b[4:])
	if flags&1 != 0 { // VFIO_IOMMU_INFO_PGSIZES
		l.PageSizes = u.Uint64(b[8:])
	}
	if flags&type1HasCaps == 0 {
		return l
	}
	for id, c := range capabilities(b, u.Uint32(b[16:]), type1InfoSize-4) {
		switch {
		case id == capRanges && l.Ranges == nil && len(c) >= 16:
			l.Ranges = parseRanges(c[16:], int(min(u.Uint32(c[8:]), maxRanges)))
		case id == capMappings && len(c) >= 12:
			l.Mappings, l.MappingsKnown = u.Uint32(c[8:]), true
		}
	}
	return l
}
