package vfio

import (
	"fmt"
	"io/fs"
	"math"
	"strconv"

	"github.com/project-independence/indy/hostfs"
)

// entryLimit is there while the module vfio_iommu_type1 is loaded, since Linux 5.1.
const entryLimit = "sys/module/vfio_iommu_type1/parameters/dma_entry_limit"

// DMAEntryLimit reads how many DMA mappings a guest may have at once
// (/sys/module/vfio_iommu_type1/parameters/dma_entry_limit), 65535 unless somebody
// changed it. It holds for guests that are started from then on, and not for those
// that use iommufd, which counts pinned memory instead.
//
// The error is an *[OpError], and [fs.ErrNotExist] where the module is not loaded: the
// limit is not known then.
func DMAEntryLimit(fsys fs.FS) (uint32, error) {
	s, err := hostfs.ReadString(fsys, entryLimit)
	if err == nil {
		var n uint64
		if n, err = strconv.ParseUint(s, 10, 32); err == nil {
			return uint32(n), nil
		}
		err = &fs.PathError{Op: "read", Path: entryLimit, Err: fmt.Errorf("unexpected value %.64q", s)}
	}
	return 0, &OpError{Op: "read the limit of DMA mappings", Err: err}
}

// A DMALayout is how a guest's memory is mapped for its devices. The kernel counts the
// calls that map, not the pages behind them: a guest of any size takes one for each
// region, whether or not its memory is in huge pages. It is when memory comes and goes
// in small pieces that they add up to the limit, and mapping fails with ENOSPC.
type DMALayout struct {
	// Regions is how many pieces of the guest's address space are mapped whole: two or
	// three of memory, and one for each BAR of its devices that can be mapped.
	Regions uint64

	// Memory is how many bytes are mapped piece by piece, as the guest asks for them,
	// and Piece the bytes of the smallest: all of the guest's memory in pages, 4 KiB
	// without huge ones, if the guest has an IOMMU of its own; what virtio-mem may add, in
	// its blocks. Memory of 0 is none.
	Memory, Piece uint64
}

// Most returns the most mappings that there can be at once. A guest's own IOMMU may map
// the same memory at several addresses, and have more. A Piece of 0 with Memory that is
// not is no layout, and gives the largest number.
func (l DMALayout) Most() uint64 {
	pieces := uint64(0)
	if l.Memory > 0 {
		if l.Piece == 0 {
			return math.MaxUint64
		}
		pieces = (l.Memory-1)/l.Piece + 1
	}
	if pieces > math.MaxUint64-l.Regions {
		return math.MaxUint64
	}
	return pieces + l.Regions
}

// MayExceed reports whether the guest can come to more mappings than the limit, as
// [DMAEntryLimit] reads it. That it may does not mean that it will: guests map what is
// next to each other in one call where they can.
func (l DMALayout) MayExceed(limit uint32) bool { return l.Most() > uint64(limit) }
