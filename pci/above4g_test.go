package pci_test

import (
	"math"
	"strings"
	"testing"

	"github.com/project-independence/indy/pci"
)

func TestAbove4G(t *testing.T) {
	const mib, gib = 1 << 20, 1 << 30
	bar := func(size uint64) pci.BAR { return pci.BAR{Is64: true, Prefetchable: true, Size: size} }
	for _, tt := range []struct {
		name string
		bars []pci.BAR
		want uint64
	}{
		{"nothing", nil, 0},
		{"a GPU as the firmware leaves it", []pci.BAR{{Size: 16 * mib}, bar(256 * mib), bar(32 * mib)}, 512 * mib},
		{"the same with a BAR of 16 GiB", []pci.BAR{{Size: 16 * mib}, bar(16 * gib), bar(32 * mib)}, 32 * gib},
		{"one that fills the window", []pci.BAR{bar(8 * gib)}, 8 * gib},
		{"two, the smaller first", []pci.BAR{bar(4 * gib), bar(8 * gib)}, 16 * gib},
		{"what stays below", []pci.BAR{
			{Size: 2 * gib}, {Is64: true, Kind: pci.KindROM, Size: mib}, {Is64: true, Kind: pci.KindVFBAR, Size: gib},
			{Is64: true, Kind: pci.KindWindow, Index: 2, Size: gib}, {Space: pci.SpaceIO, Size: 128},
		}, 0},
		{"of unknown size", []pci.BAR{{Is64: true}}, 0},
		{"no power of two", []pci.BAR{bar(3 * gib)}, 4 * gib},
		{"all there is", []pci.BAR{bar(math.MaxUint64), bar(math.MaxUint64), bar(1)}, 1 << 63},
	} {
		if got := pci.Above4G(tt.bars); got != tt.want {
			t.Errorf("%s: %#x, want %#x", tt.name, got, tt.want)
		}
	}
	// As the kernel states it: what a BAR can become is not what it is.
	m := attributes(map[string]string{
		"resource":         noResource + "0x0000000090000000 0x000000009fffffff 0x000000000014220c\n" + strings.Repeat(noResource, 5),
		"resource1_resize": "0000000000003f00\n",
	})
	bars, err := pci.Resources(m, gpu)
	sizes, err2 := pci.ResizableSizes(m, gpu, 1)
	if err != nil || len(bars) != 1 || err2 != nil || pci.Above4G(bars) != 256*mib {
		t.Fatalf("%+v, %v, %v", bars, err, err2)
	}
	bars[0].Size = sizes.Max()
	if got := pci.Above4G(bars); got != 8*gib {
		t.Errorf("resized: %#x", got)
	}
}
