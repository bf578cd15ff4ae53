package vfio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// errAny stands for an error of any kind in wantError.
var errAny error = anyError{}

type anyError struct{}

func (anyError) Error() string { return "any error" }

func newFile(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }

func allocate(t *testing.T, size int) *Memory {
	t.Helper()
	m, err := Allocate(size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// opened returns an address space with the NVMe in it.
func opened(t *testing.T, k *kernel, kind Interface) (*AddressSpace, *Device) {
	t.Helper()
	s := newSpace(t, k, kind)
	d, err := s.Open(nvme)
	if err != nil {
		t.Fatal(err)
	}
	return s, d
}

// mapsOf returns what the kernel has mapped.
func mapsOf(k *kernel) (all []fakeMap) {
	for n := range k.open {
		all = append(all, n.maps...)
	}
	return all
}

func TestMap(t *testing.T) {
	eachInterface(t, func(t *testing.T, kind Interface) {
		k := newKernelWith(kind)
		s := newSpace(t, k, kind)
		m := allocate(t, 3*4096)
		_, err := s.Map(0, m, Read)
		wantError(t, err, errAny, "no device is in the address space yet")
		if _, err := s.Limits(); err == nil {
			t.Error("limits without a device")
		}
		if _, err := s.Open(nvme); err != nil {
			t.Fatal(err)
		}
		p, err := s.Map(1<<20, m, Read|Write)
		if err != nil || p.Range() != (Range{1 << 20, 1<<20 + 3*4096 - 1}) || p.Memory() != m {
			t.Fatalf("%v, %v", p, err)
		}
		if _, err := m.WriteAt([]byte("for the device"), 100); err != nil {
			t.Error(err)
		}
		seen := mapsOf(k)
		if len(seen) != 1 || seen[0].at != p.Range() || !bytes.HasPrefix(seen[0].b[100:], []byte("for the device")) {
			t.Fatalf("the kernel has %v", seen)
		}
		flags := uint32(Read | Write)
		if kind == IOMMUFD {
			flags = 7
		}
		if seen[0].flags != flags {
			t.Errorf("flags %#x, want %#x", seen[0].flags, flags)
		}
		calls := len(k.log)
		for name, c := range map[string]struct {
			iova   uint64
			m      *Memory
			access Access
			is     error
			text   string
		}{
			"nothing":       {0, nil, Read, errAny, "no memory"},
			"empty":         {0, &Memory{}, Read, errAny, "no memory"},
			"no access":     {0, m, 0, syscall.EINVAL, "neither reading nor writing"},
			"odd access":    {0, m, 8, syscall.EINVAL, "0x8"},
			"unaligned":     {0x800, m, Read, syscall.EINVAL, "whole pages of 4096 bytes"},
			"window":        {0xfedff000, m, Read, syscall.EINVAL, "not within what the IOMMU and the devices can do, 0x0-0xfedfffff, 0xfef00000-0x7fffffffff"},
			"too high":      {1 << 39, m, Read, syscall.EINVAL, "not within"},
			"over the end":  {math.MaxUint64 - 4095, m, Read, syscall.EINVAL, "beyond the last address"},
			"overlap":       {1<<20 + 2*4096, m, Read, syscall.EEXIST, "0x102000-0x104fff overlaps 0x100000-0x102fff"},
			"overlap below": {1<<20 - 4096, m, Read, syscall.EEXIST, "overlaps"},
		} {
			_, err := s.Map(c.iova, c.m, c.access)
			wantError(t, err, c.is, c.text)
			if len(k.log) != calls {
				t.Errorf("%s: the kernel was asked", name)
				calls = len(k.log)
			}
		}
		if l, err := s.Limits(); err != nil || !cmp.Equal(l.Ranges, k.ranges) || l.Alignment() != 4096 || l.MappingsKnown != (kind == Groups) {
			t.Errorf("limits %+v, %v", l, err)
		}
		for range 2 {
			if err := p.Unmap(); err != nil {
				t.Error(err)
			}
		}
		if left := mapsOf(k); len(left) != 0 {
			t.Errorf("mapped: %v", left)
		}
		if p, err = s.Map(1<<20, m, Read); err != nil { // again
			t.Error(err)
		}
		k.fail = func(call string) error {
			if strings.HasSuffix(call, "UNMAP_DMA") || strings.HasSuffix(call, "IOAS_UNMAP") {
				return syscall.EIO
			}
			return nil
		}
		wantError(t, p.Unmap(), syscall.EIO, "unmap 0x100000-0x102fff: ")
		wantError(t, m.Close(), syscall.EIO, "close memory")
		if _, err := m.Load32(0); err != nil {
			t.Errorf("what stays mapped is gone: %v", err)
		}
		k.fail = nil
	})
}

// TestMemoryOutlivesNothing closes memory and address space in either order.
func TestMemoryOutlivesNothing(t *testing.T) {
	eachInterface(t, func(t *testing.T, kind Interface) {
		k := newKernelWith(kind)
		s, d := opened(t, k, kind)
		m, n := allocate(t, 4096), allocate(t, 4096)
		for i, x := range []*Memory{m, n} {
			if _, err := s.Map(uint64(i)<<12, x, Read); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		if left := mapsOf(k); len(left) != 1 || left[0].at.First != 4096 {
			t.Errorf("mapped: %v", left)
		}
		_, err := s.Map(0, m, Read)
		wantError(t, err, fs.ErrClosed)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if _, err := n.Load32(0); err != nil {
			t.Errorf("memory that is not closed: %v", err)
		}
		_, err = d.Info()
		wantError(t, err, fs.ErrClosed)
		_, err = s.Map(0, n, Read)
		wantError(t, err, fs.ErrClosed)
	})
}

// TestLastGroupTakesMappings: the kernel forgets what is mapped with the last group.
func TestLastGroupTakesMappings(t *testing.T) {
	k := newKernel()
	sound := twoGroups(k)
	s, _ := opened(t, k, Groups)
	if _, err := s.Open(sound); err != nil {
		t.Fatal(err)
	}
	m := allocate(t, 4096)
	p, err := s.Map(0, m, Read)
	if err != nil {
		t.Fatal(err)
	}
	groups := s.Groups()
	if err := groups[0].Close(); err != nil {
		t.Fatal(err)
	}
	if len(mapsOf(k)) != 1 {
		t.Error("the mapping went with the first of two groups")
	}
	if err := groups[1].Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.Unmap(); err != nil {
		t.Errorf("what the kernel forgot: %v", err)
	}
	_, err = s.Map(0, m, Read)
	wantError(t, err, errAny, "no device")
	if _, err := s.Open(nvme); err != nil { // from the beginning
		t.Fatal(err)
	}
	if _, err := s.Map(0, m, Read); err != nil {
		t.Error(err)
	}
}

func TestLimitsOfKernels(t *testing.T) {
	k := newKernel()
	s, _ := opened(t, k, Groups)
	m := allocate(t, 4096)
	k.most = 1
	p, err := s.Map(0, m, Read)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Map(4096, m, Read)
	wantError(t, err, syscall.ENOSPC, "dma_entry_limit")
	if err := p.Unmap(); err != nil {
		t.Fatal(err)
	}
	k.noRange = true // before Linux 5.4 only the kernel knows
	if l, err := s.Limits(); err != nil || l.Ranges != nil || l.MappingsKnown || l.Alignment() != 4096 {
		t.Errorf("%+v, %v", l, err)
	}
	if _, err = s.Map(1<<50, m, Read); err != nil {
		t.Error(err)
	}
	if (Limits{}).Alignment() != 0 {
		t.Error("an alignment of nothing")
	}
	fd := newKernelWith(IOMMUFD)
	fd.ranges = nil
	for i := range uint64(100) { // more than fit at first
		fd.ranges = append(fd.ranges, Range{i << 20, i<<20 + 0xffff})
	}
	s, _ = opened(t, fd, IOMMUFD)
	if l, err := s.Limits(); err != nil || len(l.Ranges) != 100 {
		t.Errorf("%d ranges, %v", len(l.Ranges), err)
	}
	_, err = s.Map(1<<50, m, Read)
	wantError(t, err, syscall.EINVAL, "0x0-0xffff, ", "and more")
	fd.ranges = make([]Range, maxRanges+1)
	if _, err := s.Limits(); err == nil || !strings.Contains(err.Error(), "4097 ranges") {
		t.Errorf("%v", err)
	}
	fd.ranges = fd.ranges[:3] // each of one byte at 0
	if l, err := s.Limits(); err != nil || len(l.Ranges) != 3 {
		t.Errorf("%+v, %v", l, err)
	}
}

func TestMemory(t *testing.T) {
	m := allocate(t, 5000)
	if page := os.Getpagesize(); m.Size()%page != 0 || m.Size() < 5000 {
		t.Errorf("%d bytes", m.Size())
	}
	end := int64(m.Size())
	b := make([]byte, 16)
	for _, c := range []struct {
		off int64
		n   int
		err error
	}{{0, 16, nil}, {end - 16, 16, nil}, {end - 1, 1, io.EOF}, {end, 0, io.EOF}, {math.MaxInt64, 0, io.EOF}} {
		if n, err := m.ReadAt(b, c.off); n != c.n || err != c.err {
			t.Errorf("read at %d: %d, %v", c.off, n, err)
		}
	}
	if n, err := m.WriteAt([]byte("abcd"), end-4); n != 4 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	for _, off := range []int64{-1, end - 3, end + 1, math.MaxInt64, math.MinInt64} {
		n, err := m.WriteAt([]byte("efgh"), off)
		if wantError(t, err, errAny, "not within"); n != 0 {
			t.Errorf("wrote %d at %d", n, off)
		}
	}
	if _, err := m.ReadAt(b, -1); err == nil {
		t.Error("read at -1")
	}
	if v, err := m.Load32(end - 4); err != nil || v != binary.NativeEndian.Uint32([]byte("abcd")) {
		t.Errorf("%#x, %v", v, err)
	}
	if err := m.Store32(8, 0x01020304); err != nil {
		t.Error(err)
	}
	if _, err := m.ReadAt(b, 8); err != nil || binary.NativeEndian.Uint32(b) != 0x01020304 {
		t.Errorf("% x, %v", b, err)
	}
	for _, off := range []int64{-4, 2, end - 2, end} {
		_, err := m.Load32(off)
		wantError(t, errors.Join(err, err), errAny, "not the place of 32 bits")
		wantError(t, m.Store32(off, 1), errAny, "not the place of 32 bits")
	}
	if err := errors.Join(m.Close(), m.Close()); err != nil {
		t.Error(err)
	}
	_, err := m.ReadAt(b, 0)
	wantError(t, err, fs.ErrClosed)
	_, err = m.WriteAt(b, 0)
	wantError(t, err, fs.ErrClosed)
	_, err = m.Load32(0)
	wantError(t, err, fs.ErrClosed)
	wantError(t, m.Store32(0, 0), fs.ErrClosed)
	if m.Size() != int(end) {
		t.Error("it has forgotten its size")
	}
	for _, size := range []int{0, -1, math.MinInt, math.MaxInt} {
		if _, err := Allocate(size); err == nil {
			t.Errorf("%d bytes were allocated", size)
		}
	}
}

// TestMemoryConcurrently closes memory while others use it.
func TestMemoryConcurrently(t *testing.T) {
	for range 20 {
		m := allocate(t, 4096)
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				for n := range 200 {
					_, err := m.Load32(int64(n*4) % 4096)
					m.Store32(int64(i*4), uint32(n))
					if err != nil && !errors.Is(err, fs.ErrClosed) {
						t.Error(err)
					}
					if i == 0 && n == 100 {
						m.Close()
					}
				}
			})
		}
		wg.Wait()
	}
}

func FuzzParseType1Info(f *testing.F) {
	f.Add(type1Info([]Range{{0, 0xfedfffff}, {0xfef00000, 1<<39 - 1}}, 65535))
	ring := type1Info(nil, 1)
	binary.NativeEndian.PutUint32(ring[28:], type1InfoSize)
	f.Add(ring)
	many := type1Info([]Range{{1, 0}}, 0)
	binary.NativeEndian.PutUint32(many[48:], math.MaxUint32)
	f.Add(many)
	f.Add(make([]byte, type1InfoSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < type1InfoSize {
			return // the kernel is given at least as much
		}
		l := parseType1Info(b)
		if len(l.Ranges) > len(b)/16 || l.PageSizes != 0 && l.PageSizes%l.Alignment() != 0 {
			t.Errorf("%+v", l)
		}
		for _, r := range l.Ranges {
			if r.First > r.Last {
				t.Errorf("%v", r)
			}
		}
	})
}
