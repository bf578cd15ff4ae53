package vfio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"syscall"
)

// An Access is what devices may do with memory that is mapped for them.
type Access uint8

// What devices may do; both together are Read | Write.
const (
	Read  Access = 1 << iota // the device reads it
	Write                    // the device writes it
)

// A Range is addresses from First to Last, both included.
type Range struct{ First, Last uint64 }

// String writes the range as 0x0-0xfff.
func (r Range) String() string { return fmt.Sprintf("%#x-%#x", r.First, r.Last) }

func (r Range) holds(s Range) bool    { return r.First <= s.First && s.Last <= r.Last }
func (r Range) overlaps(s Range) bool { return r.First <= s.Last && s.First <= r.Last }

// A Mapping is memory at the addresses where devices find it.
type Mapping struct {
	space  *AddressSpace
	memory *Memory
	at     Range
}

// Range returns the addresses at which devices find the memory.
func (m *Mapping) Range() Range { return m.at }

// Memory returns the memory.
func (m *Mapping) Memory() *Memory { return m.memory }

// Map has all devices of the address space find the memory at the addresses from iova
// on (VFIO_IOMMU_MAP_DMA, IOMMU_IOAS_MAP). The kernel keeps all of it in place, and
// counts it against what the process may lock; where that is too much the error is a
// *[MemlockError]. A device has to be in the address space before, because it decides
// which addresses are valid.
//
// What cannot be is refused before the kernel is asked, with the errno it would give:
// EINVAL for addresses that [AddressSpace.Limits] does not have or that are not
// aligned, EEXIST where something is mapped there, ENOSPC when there are too many
// mappings.
func (s *AddressSpace) Map(iova uint64, m *Memory, access Access) (*Mapping, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, err := s.place(iova, m, access)
	if err != nil {
		return nil, &OpError{Op: "map memory for devices", Err: err}
	}
	p := &Mapping{space: s, memory: m, at: at}
	if err = m.lend(p); err == nil {
		err = m.use(func(b []byte) error { return s.enter(at, b, access) })
		if errors.Is(err, syscall.ENOMEM) {
			err = whyNoMemory(s.host.fsys, uint64(m.size), s.kind, err)
		}
		if err != nil {
			m.forget(p)
		}
	}
	if err != nil {
		return nil, &OpError{Op: "map " + at.String() + " for devices", Err: err}
	}
	s.maps[p] = struct{}{}
	return p, nil
}

// place checks where memory is to be mapped.
func (s *AddressSpace) place(iova uint64, m *Memory, access Access) (Range, error) {
	switch {
	case s.closed:
		return Range{}, fs.ErrClosed
	case m == nil || m.size == 0:
		return Range{}, errors.New("no memory was given")
	case access == 0 || access&^(Read|Write) != 0:
		return Range{}, fmt.Errorf("access %#x is neither reading nor writing: %w", uint8(access), syscall.EINVAL)
	case !s.set:
		return Range{}, errors.New("no device is in the address space yet, which decides what addresses are valid")
	case iova > math.MaxUint64-uint64(m.size-1):
		return Range{}, fmt.Errorf("%d bytes from %#x on go beyond the last address: %w", m.size, iova, syscall.EINVAL)
	}
	at := Range{iova, iova + uint64(m.size-1)}
	l, err := s.limits()
	if err != nil {
		return at, err
	}
	return at, s.check(at, l)
}

func (s *AddressSpace) check(at Range, l Limits) error {
	if page := l.Alignment(); page > 0 && (at.First%page != 0 || (at.Last+1)%page != 0) {
		return fmt.Errorf("%v is not in whole pages of %d bytes: %w", at, page, syscall.EINVAL)
	}
	if l.Ranges != nil {
		valid := false
		for _, r := range l.Ranges {
			valid = valid || r.holds(at)
		}
		if !valid {
			return fmt.Errorf("%v is not within what the IOMMU and the devices can do, %s: %w", at, someRanges(l.Ranges), syscall.EINVAL)
		}
	}
	for m := range s.maps {
		if m.at.overlaps(at) {
			return fmt.Errorf("%v overlaps %v, which is mapped: %w", at, m.at, syscall.EEXIST)
		}
	}
	if l.MappingsKnown && l.Mappings == 0 {
		return fmt.Errorf("there are as many mappings as the kernel allows (%s): %w", entryLimit, syscall.ENOSPC)
	}
	return nil
}

func someRanges(all []Range) string {
	if len(all) == 0 {
		return "which is none"
	}
	var s []string
	for _, r := range all {
		s = append(s, r.String())
	}
	return some(s)
}

// enter asks the kernel to map b.
func (s *AddressSpace) enter(at Range, b []byte, access Access) error {
	u := binary.NativeEndian
	if s.kind == Groups {
		var a [32]byte // argsz, flags, vaddr, iova, size
		u.PutUint32(a[:], uint32(len(a)))
		u.PutUint32(a[4:], uint32(access)) // VFIO_DMA_MAP_FLAG_READ, _WRITE
		u.PutUint64(a[16:], at.First)
		u.PutUint64(a[24:], uint64(len(b)))
		return s.node.point(iommuMapDMA, a[:], 8, b)
	}
	const fixed, writeable, readable = 1, 2, 4
	flags := uint32(fixed)
	if access&Read != 0 {
		flags |= readable
	}
	if access&Write != 0 {
		flags |= writeable
	}
	var a [40]byte // size, flags, ioas_id, reserved, user_va, length, iova
	u.PutUint32(a[:], uint32(len(a)))
	u.PutUint32(a[4:], flags)
	u.PutUint32(a[8:], s.ioas)
	u.PutUint64(a[24:], uint64(len(b)))
	u.PutUint64(a[32:], at.First)
	return s.node.point(iommuIOASMap, a[:], 16, b)
}

// Unmap takes the memory from the devices: one that reaches for it from then on gets a
// fault of the IOMMU (VFIO_IOMMU_UNMAP_DMA, IOMMU_IOAS_UNMAP). When that fails the
// memory stays mapped. Doing so again does nothing.
func (m *Mapping) Unmap() error {
	s := m.space
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.unmap(m); err != nil {
		return &OpError{Op: "unmap " + m.at.String(), Err: err}
	}
	return nil
}

func (s *AddressSpace) unmap(m *Mapping) error {
	if _, mapped := s.maps[m]; !mapped {
		return nil
	}
	size := m.at.Last - m.at.First + 1
	u := binary.NativeEndian
	var b [24]byte // argsz, flags, iova, size; of iommufd: size, ioas_id, iova, length
	u.PutUint32(b[:], uint32(len(b)))
	u.PutUint64(b[8:], m.at.First)
	u.PutUint64(b[16:], size)
	r := iommuUnmapDMA
	if s.kind == IOMMUFD {
		r = iommuIOASUnmap
		u.PutUint32(b[4:], s.ioas)
	}
	if err := s.node.data(r, b[:]); err != nil {
		return err
	}
	if got := u.Uint64(b[16:]); got != size {
		return fmt.Errorf("the kernel unmapped %d of %d bytes", got, size)
	}
	s.forget(m)
	return nil
}

func (s *AddressSpace) forget(m *Mapping) {
	delete(s.maps, m)
	m.memory.forget(m)
}

// forgetAll is for when the kernel has none of the mappings any more.
func (s *AddressSpace) forgetAll() {
	for m := range s.maps {
		s.forget(m)
	}
}
