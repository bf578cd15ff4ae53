package vfio_test

import (
	"errors"
	"io/fs"
	"math"
	"strings"
	"syscall"
	"testing"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/vfio"
)

func TestDMAEntryLimit(t *testing.T) {
	const name = "sys/module/vfio_iommu_type1/parameters/dma_entry_limit"
	host := func(s string) *hostfs.Tree {
		tr := new(hostfs.Tree)
		if err := tr.Put(name, []byte(s)); err != nil {
			t.Fatal(err)
		}
		return tr
	}
	for s, want := range map[string]uint32{"65535\n": 65535, "0\n": 0, "4294967295\n": math.MaxUint32, "131072": 131072} {
		if got, err := vfio.DMAEntryLimit(host(s)); got != want || err != nil {
			t.Errorf("%q: %d, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "\n", "-1\n", "4294967296\n", "0xffff\n", "many\n", "1 2\n", strings.Repeat("9", 9000)} {
		got, err := vfio.DMAEntryLimit(host(s))
		var op *vfio.OpError
		if got != 0 || !errors.As(err, &op) || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), name) || len(err.Error()) > 300 {
			t.Errorf("%.20q: %d, %v", s, got, err)
		}
	}
	if got, err := vfio.DMAEntryLimit(new(hostfs.Tree)); got != 0 || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without the module: %d, %v", got, err)
	}
	for _, errno := range []error{syscall.EIO, syscall.EACCES, syscall.ENODEV} {
		_, err := vfio.DMAEntryLimit(hosttest.Failing{Tree: host("65535\n"), Fail: func(string) error { return errno }})
		if !errors.Is(err, errno) || !strings.Contains(err.Error(), name) {
			t.Errorf("%v: %v", errno, err)
		}
	}
}

func TestDMALayout(t *testing.T) {
	const kib, mib, gib, limit = 1 << 10, 1 << 20, 1 << 30, 65535
	for _, tt := range []struct {
		name   string
		layout vfio.DMALayout
		most   uint64
		may    bool
	}{
		{"nothing", vfio.DMALayout{}, 0, false},
		{"a guest with a GPU, of any size", vfio.DMALayout{Regions: 9}, 9, false},
		{"256 MiB in pages", vfio.DMALayout{Memory: 256 * mib, Piece: 4 * kib}, 65536, true},
		{"one page less", vfio.DMALayout{Memory: 256*mib - 4*kib, Piece: 4 * kib}, 65535, false},
		{"one page less, and a BAR", vfio.DMALayout{Regions: 1, Memory: 256*mib - 4*kib, Piece: 4 * kib}, 65536, true},
		{"16 GiB in pages", vfio.DMALayout{Regions: 9, Memory: 16 * gib, Piece: 4 * kib}, 4<<20 + 9, true},
		{"16 GiB in huge pages", vfio.DMALayout{Regions: 9, Memory: 16 * gib, Piece: 2 * mib}, 8192 + 9, false},
		{"half a page is one", vfio.DMALayout{Memory: 4*kib + 1, Piece: 4 * kib}, 2, false},
		{"pieces of nothing", vfio.DMALayout{Memory: 1}, math.MaxUint64, true},
		{"too many to count", vfio.DMALayout{Regions: math.MaxUint64, Memory: math.MaxUint64, Piece: 1}, math.MaxUint64, true},
		{"regions alone", vfio.DMALayout{Regions: limit + 1}, limit + 1, true},
	} {
		if most, may := tt.layout.Most(), tt.layout.MayExceed(limit); most != tt.most || may != tt.may {
			t.Errorf("%s: %d, %v, want %d, %v", tt.name, most, may, tt.most, tt.may)
		}
	}
	if (vfio.DMALayout{}).MayExceed(0) || !(vfio.DMALayout{Regions: 1}).MayExceed(0) {
		t.Error("a limit of 0 allows none")
	}
}

func FuzzDMAEntryLimit(f *testing.F) {
	for _, s := range []string{"65535\n", "", "-1", "99999999999999999999"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		tr := new(hostfs.Tree)
		if err := tr.Put("sys/module/vfio_iommu_type1/parameters/dma_entry_limit", data); err != nil {
			t.Fatal(err)
		}
		if n, err := vfio.DMAEntryLimit(tr); err != nil && (n != 0 || len(err.Error()) > 500) {
			t.Errorf("%d, %v", n, err)
		}
	})
}
