package pci

import (
	"math"
	"math/bits"
)

// Above4G returns how large a guest's window above 4 GiB has to be to hold these BARs,
// as of [Resources] of all functions it gets: those of 64-bit memory, each at a multiple
// of its size. It is a power of two, or 0 if none of them goes there. The firmware of a
// guest makes the window smaller than that of a GPU with a resizable BAR needs, unless
// it is told (OVMF: X-PciMmio64Mb, in MiB). A BAR that is to be resized is given with
// the Size it will have.
//
// The window has to be within the addresses that the guest's processor and the host's
// IOMMU know.
func Above4G(bars []BAR) uint64 {
	// The largest first, each after the other: then none leaves a gap.
	total := uint64(0)
	for _, b := range bars {
		if b.Kind != KindBAR || b.Space != SpaceMemory || !b.Is64 || b.Size == 0 {
			continue
		}
		size := upToPower(b.Size)
		if size > math.MaxUint64-total {
			return 1 << 63
		}
		total += size
	}
	return upToPower(total)
}

// upToPower returns the smallest power of two that is not below n, at most 1<<63; 0 for 0.
func upToPower(n uint64) uint64 {
	if n == 0 {
		return 0
	}
	return 1 << min(bits.Len64(n-1), 63)
}
