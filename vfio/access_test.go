package vfio

import (
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestWriteConfig(t *testing.T) {
	k := newKernel()
	_, d := open(t, k)
	dev := &k.groups[seven].device
	if n, err := d.WriteConfig([]byte{1, 2, 3}, 253); n != 3 || err != nil || dev.config[255] != 3 {
		t.Errorf("%d, %v", n, err)
	}
	before := string(dev.config)
	for _, off := range []int64{-1, 254, 256, math.MaxInt64, math.MinInt64} {
		n, err := d.WriteConfig([]byte{1, 2, 3}, off)
		if wantError(t, err, errAny, "write the config space of 0000:02:00.0"); n != 0 {
			t.Errorf("wrote %d at %d", n, off)
		}
	}
	if string(dev.config) != before {
		t.Error("what was refused was written")
	}
	for _, on := range []bool{true, true, false} {
		dev.config[5] = 0x04 // INTx disabled: another bit of the register
		if err := d.SetBusMaster(on); err != nil {
			t.Error(err)
		}
		if got := dev.config[4]&4 != 0; got != on || dev.config[5] != 0x04 {
			t.Errorf("bus master %t, command % x", got, dev.config[4:6])
		}
	}
	k.fail = failOn("pwrite", syscall.EIO)
	wantError(t, d.SetBusMaster(true), syscall.EIO)
	k.fail = failOn("pread", syscall.EIO)
	wantError(t, d.SetBusMaster(true), syscall.EIO)
	k.fail = nil
	dev.region[7] = regionInfo(1, 256, 7<<40)
	_, err := d.WriteConfig([]byte{0}, 0)
	wantError(t, err, errors.ErrUnsupported, "cannot be written")
	delete(dev.region, 7)
	_, err = d.WriteConfig([]byte{0}, 0)
	wantError(t, err, syscall.EINVAL)
}

func TestRegionFile(t *testing.T) {
	k := newKernel()
	_, d := open(t, k)
	f, err := d.OpenRegion(7)
	if err != nil || f.Region().Name != "config" {
		t.Fatalf("%+v, %v", f, err)
	}
	s := io.NewSectionReader(f, 0, 1<<20)
	if b, err := io.ReadAll(s); err != nil || len(b) != 256 || binary.LittleEndian.Uint16(b) != 0x1b36 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if n, err := f.WriteAt([]byte{9, 9}, 255); n != 0 || err == nil {
		t.Errorf("over the end: %d, %v", n, err)
	}
	if n, err := f.WriteAt([]byte{9}, 255); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	_, err = d.OpenRegion(1)
	wantError(t, err, errors.ErrUnsupported, "no BAR1")
	_, err = d.OpenRegion(8)
	wantError(t, err, syscall.EINVAL, "open region 8")
	rom, err := d.OpenRegion(6)
	if err != nil {
		t.Fatal(err)
	}
	_, err = rom.WriteAt([]byte{1}, 0)
	wantError(t, err, errors.ErrUnsupported, "ROM cannot be written")
	for _, odd := range [][2]uint64{{256, math.MaxUint64}, {math.MaxUint64, 0}, {256, math.MaxInt64}} {
		k.groups[seven].device.region[9] = regionInfo(3, odd[0], odd[1])
		if _, err := d.OpenRegion(9); err == nil {
			t.Errorf("%#x bytes at %#x", odd[0], odd[1])
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = f.ReadAt(make([]byte, 1), 0)
	wantError(t, err, fs.ErrClosed)
}

// sparse is an answer with areas that may be mapped, by offset and size.
func sparse(size uint64, areas ...uint64) []byte {
	b := regionInfo(7|regionHasCaps, size, 0, capSparse, 0, uint32(len(areas)/2), 0)
	for _, v := range areas {
		b = binary.NativeEndian.AppendUint64(b, v)
	}
	return b
}

func TestMappable(t *testing.T) {
	for name, test := range map[string]struct {
		b    []byte
		want []Area
	}{
		"all of it":      {regionInfo(7, 0x4000, 0), []Area{{0, 0x4000}}},
		"none":           {regionInfo(3, 0x4000, 0), nil},
		"other caps":     {regionInfo(7|regionHasCaps, 0x4000, 0, 3, 0), []Area{{0, 0x4000}}},
		"two":            {sparse(0x4000, 0, 0x1000, 0x2000, 0x2000), []Area{{0, 0x1000}, {0x2000, 0x2000}}},
		"no areas":       {sparse(0x4000), []Area{}},
		"short last":     {sparse(0x4100, 0x4000, 0x100), []Area{{0x4000, 0x100}}},
		"outside":        {sparse(0x4000, 0x4000, 0x1000, 0x3000, 0x2000, math.MaxUint64, 2, 0x1000, math.MaxUint64), []Area{}},
		"within a page":  {sparse(0x4000, 0x800, 0x1000, 0x1000, 0x800), []Area{}},
		"empty":          {sparse(0x4000, 0x1000, 0), []Area{}},
		"cut":            {sparse(0x4000, 0, 0x1000, 0x2000, 0x2000)[:64], []Area{{0, 0x1000}}},
		"size of nobody": {regionInfo(7, 0, 0), nil},
	} {
		if d := cmp.Diff(test.want, mappable(test.b, parseRegion(test.b, 0), 4096)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func FuzzMappable(f *testing.F) {
	f.Add(sparse(0x4000, 0, 0x1000, 0x2000, 0x2000))
	f.Add(sparse(0x4100, 0x4000, 0x100, 0x3000, 0x2000))
	f.Add(regionInfo(15, 4096, 1<<40, capSparse, 32, math.MaxUint32, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < regionInfoSize {
			return
		}
		r := parseRegion(b, 0)
		for _, a := range mappable(b, r, 4096) {
			if a.Size == 0 || a.Offset%4096 != 0 || a.Offset > r.Size || a.Size > r.Size-a.Offset {
				t.Errorf("%+v of %#x bytes", a, r.Size)
			}
		}
	})
}

func TestMapRegion(t *testing.T) {
	k := newKernel()
	_, d := open(t, k)
	dev := &k.groups[seven].device
	m, err := d.MapRegion(0)
	if err != nil || m.Region().Size != 0x4000 || len(m.Areas()) != 1 {
		t.Fatalf("%+v, %v", m, err)
	}
	if err := m.Store32(0x3ffc, 0xfeedface); err != nil || binary.NativeEndian.Uint32(dev.memory[0x3ffc:]) != 0xfeedface {
		t.Errorf("%v", err)
	}
	if v, err := m.Load32(0x3ffc); v != 0xfeedface || err != nil {
		t.Errorf("%#x, %v", v, err)
	}
	for _, off := range []int64{-4, 1, 0x3ffe, 0x4000, math.MaxInt64, math.MinInt64} {
		_, err := m.Load32(off)
		wantError(t, err, errAny, "in BAR0 of 0000:02:00.0")
		wantError(t, m.Store32(off, 0), errAny, "in BAR0 of 0000:02:00.0")
	}
	if err := errors.Join(m.Close(), m.Close()); err != nil {
		t.Error(err)
	}
	_, err = m.Load32(0)
	wantError(t, err, fs.ErrClosed)

	dev.region[0] = sparse(0x4000, 0, 0x1000, 0x2000, 0x2000)
	if m, err = d.MapRegion(0); err != nil || dev.mapped != 3 {
		t.Fatalf("%d areas, %v", dev.mapped, err)
	}
	if err := m.Store32(0x2004, 5); err != nil || binary.NativeEndian.Uint32(dev.memory[4:]) != 5 {
		t.Errorf("%v", err)
	}
	wantError(t, m.Store32(0x1000, 5), fs.ErrInvalid, "0x1000 is not mapped")
	if err := d.Close(); err != nil { // and what is mapped of it
		t.Fatal(err)
	}
	wantError(t, m.Store32(0, 5), fs.ErrClosed)
	_, err = d.MapRegion(0)
	wantError(t, err, fs.ErrClosed)
}

func TestMapRegionRefused(t *testing.T) {
	k := newKernel()
	_, d := open(t, k)
	dev := &k.groups[seven].device
	_, err := d.MapRegion(7)
	wantError(t, err, errors.ErrUnsupported, "map region 7", "the config space cannot be mapped")
	_, err = d.MapRegion(1)
	wantError(t, err, errors.ErrUnsupported, "BAR1 cannot be mapped")
	dev.region[0] = regionInfo(4, 4096, 0)
	_, err = d.MapRegion(0)
	wantError(t, err, errors.ErrUnsupported)
	dev.region[0] = regionInfo(5, 4096, 0)
	m, err := d.MapRegion(0)
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, m.Store32(0, 1), errors.ErrUnsupported, "does not allow it")
	dev.region[0] = regionInfo(7, math.MaxUint64, 0)
	if _, err = d.MapRegion(0); err == nil {
		t.Error("16 EiB were mapped")
	}
	k.fail = failOn("mmap", syscall.EPERM) // lockdown
	dev.region[0] = regionInfo(7, 4096, 0)
	_, err = d.MapRegion(0)
	wantError(t, err, syscall.EPERM)
}

// TestFaultIsAnError: what is mapped of a device goes with it, and does not end the
// program that reads it then. A file that was cut short does the same.
func TestFaultIsAnError(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "bar"))
	if err == nil {
		err = f.Truncate(8192)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := unix.Mmap(int(f.Fd()), 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	w := &window{b: b}
	if err := w.store32(4096, 7); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(4096); err != nil {
		t.Fatal(err)
	}
	if _, err := w.load32(4096); !errors.Is(err, errFault) {
		t.Errorf("load: %v", err)
	}
	if err := w.store32(8188, 1); !errors.Is(err, errFault) {
		t.Errorf("store: %v", err)
	}
	if err := w.store32(0, 1); err != nil {
		t.Errorf("the page that is left: %v", err)
	}
	func() {
		defer func() {
			if p := recover(); p != "mine" {
				t.Errorf("recovered %v", p)
			}
		}()
		w.use(func([]byte) error { panic("mine") })
	}()
	if err := w.unmap(); err != nil { // the lock was given back each time
		t.Error(err)
	}
	if _, err := w.load32(0); !errors.Is(err, fs.ErrClosed) || !strings.Contains(err.Error(), "closed") {
		t.Errorf("%v", err)
	}
}
