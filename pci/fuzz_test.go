package pci_test

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"

	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/pci"
)

// exercise asks every question there is.
func exercise(c pci.Config) []error {
	var errs []error
	add := func(err error) { errs = append(errs, err) }
	_, err := c.Header()
	add(err)
	_, _, err = c.Subsystem()
	add(err)
	_, err = c.Capabilities()
	add(err)
	_, err = c.ExtendedCapabilities()
	add(err)
	_, err = c.Express()
	add(err)
	_, err = c.PowerManagement()
	add(err)
	_, err = c.MSI()
	add(err)
	_, err = c.MSIX()
	add(err)
	_, err = c.AdvancedFeatures()
	add(err)
	_, err = c.VendorCapabilities()
	add(err)
	_, err = c.HyperTransports()
	add(err)
	_, err = c.DebugPort()
	add(err)
	_, err = c.EnhancedAllocation()
	add(err)
	_, err = c.ACS()
	add(err)
	_, err = c.AER()
	add(err)
	_, err = c.SRIOV()
	add(err)
	_, err = c.ResizableBARs()
	add(err)
	_, err = c.VFResizableBARs()
	add(err)
	_, err = c.ARI()
	add(err)
	_, err = c.ATS()
	add(err)
	_, err = c.PageRequest()
	add(err)
	_, err = c.PASID()
	add(err)
	_, err = c.SerialNumber()
	add(err)
	_, err = c.LatencyTolerance()
	add(err)
	_, err = c.PTM()
	add(err)
	_, err = c.L1Substates()
	add(err)
	_, err = c.DPC()
	add(err)
	_, err = c.VendorExtended()
	add(err)
	_, err = c.BARs()
	add(err)
	_, err = c.Windows()
	add(err)
	return errs
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte{})
	f.Add(space(64, 0x40))
	f.Add(bytes.Repeat([]byte{0xff}, 256))
	f.Add(express(0x0001_0010 | 0x100<<20))
	f.Add(express(0x0001_0015))
	b := space(256, 0xfc)
	b[0xfc] = 5
	f.Add(b)
	if paths, err := filepath.Glob(filepath.Join(hosttest.Root(f), "..", "shared", "hwdata", "lspci", "pciutils", "*")); err == nil {
		for _, path := range paths {
			for _, d := range readDump(f, path) {
				f.Add(d.bytes)
			}
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := pci.NewConfig(b)
		if err != nil {
			if len(b) <= 4096 {
				t.Fatal(err)
			}
			return
		}
		for i, err := range exercise(c) {
			known := err == nil
			for _, is := range []error{pci.ErrNoAnswer, pci.ErrUnread, pci.ErrMalformed, pci.ErrNoCapability} {
				known = known || errors.Is(err, is)
			}
			if !known {
				t.Fatalf("question %d: %v", i, err)
			}
			if len(b) == 4096 && errors.Is(err, pci.ErrUnread) {
				t.Fatalf("question %d of all there is: %v", i, err)
			}
		}
		base, _ := c.Capabilities()
		extended, _ := c.ExtendedCapabilities()
		if len(base) > 48 || len(extended) > 960 {
			t.Fatalf("%d and %d capabilities", len(base), len(extended))
		}
		for _, found := range base {
			if found.Offset < 64 || found.Offset%4 != 0 {
				t.Fatalf("%s at %#x", found.ID, found.Offset)
			}
		}
	})
}

func BenchmarkCapabilities(b *testing.B) {
	e := express(0x0001_0001 | 0x150<<20)
	copy(e[0x40:], "\x10\x50")
	copy(e[0x50:], "\x01\x60\x03\x00")
	copy(e[0x60:], "\x05\x00")
	put32(e, 0x150, 0x0001_0015|0x200<<20)
	put32(e, 0x200, 0x0001_000d)
	c, err := pci.NewConfig(e)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("list", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			base, err := c.Capabilities()
			extended, err2 := c.ExtendedCapabilities()
			if len(base) != 3 || len(extended) != 3 || err != nil || err2 != nil {
				b.Fatal(base, extended, err, err2)
			}
		}
	})
	b.Run("find", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.ACS(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
