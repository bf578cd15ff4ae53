package vfio

import (
	"encoding/binary"
	"fmt"
	"slices"
	"syscall"
)

// note keeps a structure as the kernel got it, in 32 bit words, with addresses left out.
func (k *kernel) note(r request, b []byte) {
	s := r.String()
	for i := 0; i+4 <= len(b); i += 4 {
		s += fmt.Sprintf(" %x", binary.NativeEndian.Uint32(b[i:]))
	}
	k.log = append(k.log, s)
}

func (n *fakeNode) point(r request, b []byte, at int, to []byte) error {
	n.k.mu.Lock()
	defer n.k.mu.Unlock()
	return n.answer(r, func() error {
		if binary.NativeEndian.Uint64(b[at:]) != 0 || len(to) == 0 {
			panic(fmt.Sprintf("%v: something else is where the address goes", r))
		}
		want := map[request]int{iommuMapDMA: 8, iommuIOASMap: 16, iommuIOASRanges: 16}
		if want[r] != at {
			return syscall.ENOTTY
		}
		return n.dma(r, b, to)
	})
}

// dma is what containers and iommufds do about memory.
func (n *fakeNode) dma(r request, b, to []byte) error {
	u := binary.NativeEndian
	if r != iommuIOASRanges && r != iommuGetInfo {
		n.k.note(r, b)
	}
	fd := n.name == iommufdNode
	switch {
	case fd != (r >= iommuDestroy):
		return syscall.ENOTTY
	case !fd && n.iommu == 0:
		return syscall.EINVAL
	}
	switch r {
	case iommuGetInfo:
		n.info(b)
	case iommuMapDMA:
		return n.enter(Range{u.Uint64(b[16:]), u.Uint64(b[16:]) + u.Uint64(b[24:]) - 1}, u.Uint32(b[4:]), to)
	case iommuUnmapDMA:
		u.PutUint64(b[16:], n.remove(u.Uint64(b[8:]), u.Uint64(b[16:])))
	case iommuIOASAlloc:
		n.k.next++
		n.ioas[n.k.next] = true
		u.PutUint32(b[8:], n.k.next)
	case iommuIOASRanges:
		if !n.ioas[u.Uint32(b[4:])] {
			return syscall.ENOENT
		}
		room := int(u.Uint32(b[8:]))
		u.PutUint32(b[8:], uint32(len(n.k.ranges)))
		u.PutUint64(b[24:], 4096)
		if len(n.k.ranges) > room {
			return syscall.EMSGSIZE
		}
		for i, r := range n.k.ranges {
			u.PutUint64(to[16*i:], r.First)
			u.PutUint64(to[16*i+8:], r.Last)
		}
	case iommuIOASMap:
		if !n.ioas[u.Uint32(b[8:])] {
			return syscall.ENOENT
		}
		return n.enter(Range{u.Uint64(b[32:]), u.Uint64(b[32:]) + u.Uint64(b[24:]) - 1}, u.Uint32(b[4:]), to)
	case iommuIOASUnmap:
		got := n.remove(u.Uint64(b[8:]), u.Uint64(b[16:]))
		if got == 0 {
			return syscall.ENOENT
		}
		u.PutUint64(b[16:], got)
	case iommuDestroy:
		if !n.ioas[u.Uint32(b[4:])] {
			return syscall.ENOENT
		}
		for other := range n.k.open {
			if other.container != nil && other.container.fakeState == n.fakeState && other.attached == u.Uint32(b[4:]) {
				return syscall.EBUSY
			}
		}
		delete(n.ioas, u.Uint32(b[4:]))
	default:
		return syscall.ENOTTY
	}
	return nil
}

func (n *fakeNode) enter(at Range, flags uint32, b []byte) error {
	for _, m := range n.maps {
		if m.at.overlaps(at) {
			return syscall.EEXIST
		}
	}
	n.maps = append(n.maps, fakeMap{at, flags, b})
	return nil
}

func (n *fakeNode) remove(iova, size uint64) (removed uint64) {
	n.maps = slices.DeleteFunc(n.maps, func(m fakeMap) bool {
		if m.at.First < iova || m.at.Last-iova >= size {
			return false
		}
		removed += m.at.Last - m.at.First + 1
		return true
	})
	return removed
}

// info is VFIO_IOMMU_GET_INFO, with its capabilities behind the structure.
func (n *fakeNode) info(b []byte) {
	u := binary.NativeEndian
	u.PutUint32(b[4:], 1)
	u.PutUint64(b[8:], 0xfffffffffffff000)
	if n.k.noRange {
		return
	}
	u.PutUint32(b[4:], 1|type1HasCaps)
	caps := type1Info(n.k.ranges, n.k.most-uint32(len(n.maps)))[type1InfoSize:]
	if len(b) < type1InfoSize+len(caps) {
		u.PutUint32(b, uint32(type1InfoSize+len(caps)))
		return
	}
	u.PutUint32(b[16:], type1InfoSize)
	copy(b[type1InfoSize:], caps)
}

// type1Info is a whole answer with both capabilities.
func type1Info(ranges []Range, left uint32) []byte {
	u := binary.NativeEndian
	var b []byte
	for _, v := range []uint32{0, 1 | type1HasCaps, 0xfffff000, 0xffffffff, type1InfoSize, 0} {
		b = u.AppendUint32(b, v)
	}
	next := len(b) + 16
	for _, v := range []uint32{1<<16 | capMappings, uint32(next), left, 0} {
		b = u.AppendUint32(b, v)
	}
	for _, v := range []uint32{1<<16 | capRanges, 0, uint32(len(ranges)), 0} {
		b = u.AppendUint32(b, v)
	}
	for _, r := range ranges {
		b = u.AppendUint64(u.AppendUint64(b, r.First), r.Last)
	}
	return b
}
