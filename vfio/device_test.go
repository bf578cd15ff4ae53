package vfio

import (
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"math"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"github.com/project-independence/indy/pci"
)

func TestOpenDevice(t *testing.T) {
	k := newKernel()
	g, err := openGroup(k.host(), seven)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if _, err := g.OpenDevice(nvme); err == nil || !strings.Contains(err.Error(), "not attached") {
		t.Errorf("before Attach: %v", err)
	}
	if err := g.Attach(); err != nil {
		t.Fatal(err)
	}
	_, err = g.OpenDevice(pci.NewAddress(0, 9, 0, 0))
	wantError(t, err, syscall.ENODEV, "open 0000:09:00.0: ", "not in group 7")
	if _, err = g.OpenDevice(pci.Address{}); err == nil {
		t.Error("the zero Address was opened")
	}
	d, err := g.OpenDevice(nvme)
	if err != nil || d.Address() != nvme {
		t.Fatalf("%v, %v", d, err)
	}
}

func TestDevice(t *testing.T) {
	_, d := open(t, newKernel())
	info, err := d.Info()
	if want := (Info{Reset: true, PCI: true, Regions: 9, Interrupts: 5}); info != want || err != nil {
		t.Errorf("info %+v, %v; want %+v", info, err, want)
	}
	regions, err := d.Regions()
	if err != nil {
		t.Error(err)
	}
	if want := []Region{
		{Index: 0, Name: "BAR0", Size: 0x4000, Read: true, Write: true, Mmap: true},
		{Index: 6, Name: "ROM", Size: 0x1001, Offset: 6 << 40, Read: true},
		{Index: 7, Name: "config", Size: 256, Offset: 7 << 40, Read: true, Write: true},
	}; !reflect.DeepEqual(regions, want) {
		t.Errorf("regions\n%+v, want\n%+v", regions, want)
	}
	if r, err := d.Region(1); r != (Region{Index: 1, Name: "BAR1", Offset: 1 << 40}) || err != nil {
		t.Errorf("BAR1, which the device has not: %+v, %v", r, err)
	}
	_, err = d.Region(8)
	wantError(t, err, syscall.EINVAL, "region 8 of 0000:02:00.0")
	interrupts, err := d.Interrupts()
	if want := []Interrupt{
		{Index: 0, Name: "intx", Count: 1, EventFD: true, Maskable: true, AutoMasked: true},
		{Index: 2, Name: "msix", Count: 65, EventFD: true, NoResize: true},
		{Index: 4, Name: "req", Count: 1, EventFD: true, NoResize: true},
	}; !reflect.DeepEqual(interrupts, want) || err != nil {
		t.Errorf("interrupts\n%+v, %v, want\n%+v", interrupts, err, want)
	}
}

func TestReset(t *testing.T) {
	k := newKernel()
	_, d := open(t, k)
	if err := d.Reset(); err != nil || k.groups[seven].device.resets != 1 {
		t.Errorf("%v, %d resets", err, k.groups[seven].device.resets)
	}
	k.fail = failOn("VFIO_DEVICE_RESET", syscall.EAGAIN)
	wantError(t, d.Reset(), syscall.EAGAIN, "reset 0000:02:00.0: VFIO_DEVICE_RESET")
	k.groups[seven].device.flags = 2
	wantError(t, d.Reset(), errors.ErrUnsupported, "cannot be reset by itself")
}

func TestListsArePartialTruth(t *testing.T) {
	k := newKernel()
	_, d := open(t, k)
	asked := 0
	k.fail = func(call string) error {
		if call == "VFIO_DEVICE_GET_REGION_INFO" || call == "VFIO_DEVICE_GET_IRQ_INFO" {
			if asked++; asked == 1 {
				return syscall.EIO
			}
		}
		return nil
	}
	regions, err := d.Regions()
	wantError(t, err, syscall.EIO, "list the regions of 0000:02:00.0", "number 0")
	asked = 0
	interrupts, err := d.Interrupts()
	wantError(t, err, syscall.EIO, "list the interrupts of 0000:02:00.0")
	if len(regions) != 2 || len(interrupts) != 2 {
		t.Errorf("%d regions, %d interrupts besides the broken ones; want 2, 2", len(regions), len(interrupts))
	}
}

func TestOddCountsAreBounded(t *testing.T) {
	k := newKernel()
	_, d := open(t, k)
	dev := &k.groups[seven].device
	dev.regions, dev.irqs = math.MaxUint32, math.MaxUint32
	for i := range uint32(100) {
		dev.irq[i] = [2]uint32{0, math.MaxUint32}
		dev.region[i] = regionInfo(1, math.MaxUint64, math.MaxUint64)
	}
	before := k.calls
	regions, err := d.Regions()
	if len(regions) != 64 || err == nil || !strings.Contains(err.Error(), "4294967295") {
		t.Errorf("%d regions, %v", len(regions), err)
	}
	interrupts, err := d.Interrupts()
	if len(interrupts) != 64 || err == nil || interrupts[63].Name != "interrupt 63" {
		t.Errorf("%d interrupts, %v", len(interrupts), err)
	}
	if n := k.calls - before; n > 2*(64+1) {
		t.Errorf("%d calls", n)
	}
}

func TestCapabilities(t *testing.T) {
	const intel = 1<<31 | 0x8086
	tests := map[string]struct {
		info []byte
		want string
	}{
		"OpRegion":  {regionInfo(1|regionHasCaps, 8192, 9<<40, 2, 0, intel, 1), "OpRegion"},
		"host":      {regionInfo(1|regionHasCaps, 4096, 9<<40, 2, 0, intel, 2), "host bridge config"},
		"LPC":       {regionInfo(1|regionHasCaps, 4096, 9<<40, 2, 0, intel, 3), "LPC bridge config"},
		"EDID":      {regionInfo(1|regionHasCaps, 4096, 9<<40, 2, 0, 1, 1), "EDID"},
		"vendor":    {regionInfo(1|regionHasCaps, 4096, 9<<40, 2, 0, 1<<31|0x10de, 4), "vendor 10de region 4"},
		"unknown":   {regionInfo(1|regionHasCaps, 4096, 9<<40, 9, 0, 1, 1), "region 9"},
		"no flag":   {regionInfo(1, 4096, 9<<40, 2, 0, intel, 1), "region 9"},
		"ring":      {regionInfo(1|regionHasCaps, 4096, 9<<40, 9, regionInfoSize, 0, 0), "region 9"},
		"cut short": {regionInfo(1|regionHasCaps, 4096, 9<<40, 2, 0), "region 9"},
		"far away":  {regionInfo(1|regionHasCaps, 4096, 9<<40, 9, math.MaxUint32), "region 9"},
		"none":      {regionInfo(1|regionHasCaps, 4096, 9<<40), "region 9"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			k := newKernel()
			_, d := open(t, k)
			k.groups[seven].device.region[9] = test.info
			r, err := d.Region(9)
			if err != nil || r.Name != test.want || r.Index != 9 || r.Offset != 9<<40 {
				t.Errorf("%+v, %v; want the name %q", r, err, test.want)
			}
		})
	}
}

func TestAnswersThatGrow(t *testing.T) {
	k := newKernel()
	_, d := open(t, k)
	info := regionInfo(1|regionHasCaps, 4096, 0)
	k.groups[seven].device.region[9] = info
	binary.NativeEndian.PutUint32(info, math.MaxUint32)
	if _, err := d.Region(9); err == nil || !strings.Contains(err.Error(), "4294967295 bytes") {
		t.Errorf("an answer of 4 GiB: %v", err)
	}
	calls := uint32(0)
	k.fail = func(string) error {
		calls++
		binary.NativeEndian.PutUint32(info, 32+32*calls)
		return nil
	}
	if _, err := d.Region(9); err == nil || calls > 8 {
		t.Errorf("an answer that grows: %v after %d calls", err, calls)
	}
}

func TestReadConfig(t *testing.T) {
	k := newKernel()
	_, d := open(t, k)
	b := make([]byte, 2)
	if n, err := d.ReadConfig(b, 0); n != 2 || err != nil || binary.LittleEndian.Uint16(b) != 0x1b36 {
		t.Errorf("vendor id: %d, %v, % x", n, err, b)
	}
	for _, c := range []struct {
		off  int64
		n    int
		want error
	}{{254, 2, nil}, {255, 1, io.EOF}, {256, 0, io.EOF}, {math.MaxInt64, 0, io.EOF}} {
		if n, err := d.ReadConfig(b, c.off); n != c.n || err != c.want {
			t.Errorf("at %d: %d, %v; want %d, %v", c.off, n, err, c.n, c.want)
		}
	}
	if n, err := d.ReadConfig(b, -1); n != 0 || err == nil {
		t.Errorf("at -1: %d, %v", n, err)
	}
	dev := &k.groups[seven].device
	dev.config = dev.config[:8] // less than the region claims
	n, err := d.ReadConfig(make([]byte, 16), 0)
	if n != 8 {
		t.Errorf("read %d of a short config space, want 8", n)
	}
	wantError(t, err, io.ErrUnexpectedEOF, "read the config space of 0000:02:00.0")
	k.fail = failOn("pread", syscall.EIO)
	_, err = d.ReadConfig(b, 0)
	wantError(t, err, syscall.EIO)
	k.fail = nil
	dev.region[7] = regionInfo(0, 256, 7<<40)
	_, err = d.ReadConfig(b, 0)
	wantError(t, err, errors.ErrUnsupported)
	for _, odd := range [][2]uint64{{256, math.MaxUint64}, {math.MaxUint64, 0}, {256, math.MaxInt64}} {
		dev.region[7] = regionInfo(1, odd[0], odd[1])
		if n, err := d.ReadConfig(b, 0); n != 0 || err == nil || err == io.EOF {
			t.Errorf("config of %#x bytes at %#x: %d, %v", odd[0], odd[1], n, err)
		}
	}
	delete(dev.region, 7)
	_, err = d.ReadConfig(b, 0)
	wantError(t, err, syscall.EINVAL)
}

func TestConcurrentUse(t *testing.T) {
	k := newKernel()
	g, d := open(t, k)
	done := make(chan error)
	for i := range 8 {
		go func() {
			for range 100 {
				d.Info()
				g.Status()
				if e, err := g.OpenDevice(nvme); err == nil {
					e.Close()
				}
			}
			if i == 0 {
				g.Close()
			}
			done <- nil
		}()
	}
	for range 8 {
		<-done
	}
	if _, err := d.Info(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func FuzzParseRegion(f *testing.F) {
	f.Add(regionInfo(15, 4096, 1<<40, 2, 0, 1<<31|0x8086, 1), uint32(9))
	f.Add(regionInfo(15, 4096, 1<<40, 9, 32, 0, 0), uint32(200))
	f.Add(regionInfo(0, 0, 0), uint32(0))
	f.Fuzz(func(t *testing.T, b []byte, index uint32) {
		if len(b) < regionInfoSize {
			return // the kernel is given at least as much
		}
		if r := parseRegion(b, index); r.Index != index || r.Name == "" {
			t.Errorf("%+v", r)
		}
	})
}
