package pci_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/pci"
)

// space is configuration space under construction: n bytes of an endpoint 8086:1234
// with a chain of capabilities that begins at first, if that is not 0.
func space(n int, first byte) []byte {
	b := make([]byte, n)
	copy(b, "\x86\x80\x34\x12\x06\x00\x00\x00\x02\x00\x00\x03")
	if first != 0 {
		b[0x06] |= 0x10
		b[0x34] = first
	}
	return b
}

func put16(b []byte, at int, v uint16) { binary.LittleEndian.PutUint16(b[at:], v) }
func put32(b []byte, at int, v uint32) { binary.LittleEndian.PutUint32(b[at:], v) }

// express is a PCI Express endpoint whose extended capabilities begin with header at 0x100.
func express(header uint32) []byte {
	b := space(4096, 0x40)
	copy(b[0x40:], "\x10\x00\x02\x00")
	put32(b, 0x100, header)
	return b
}

func config(t testing.TB, b []byte) pci.Config {
	t.Helper()
	c, err := pci.NewConfig(b)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Everybody may read 64 bytes: the header is known, capabilities are neither there nor not.
func TestPartOfConfig(t *testing.T) {
	whole := express(0x0001_000d) // ACS
	put16(whole, 0x104, 0x1d)
	for _, tt := range []struct {
		n                        int
		header, caps, extended   error
		express, acs, pm, serial error
	}{
		{0, pci.ErrUnread, pci.ErrUnread, pci.ErrUnread, pci.ErrUnread, pci.ErrUnread, pci.ErrUnread, pci.ErrUnread},
		{10, pci.ErrUnread, pci.ErrUnread, pci.ErrUnread, pci.ErrUnread, pci.ErrUnread, pci.ErrUnread, pci.ErrUnread},
		{64, nil, pci.ErrUnread, pci.ErrUnread, pci.ErrUnread, pci.ErrUnread, pci.ErrUnread, pci.ErrUnread},
		{256, nil, nil, pci.ErrUnread, nil, pci.ErrUnread, pci.ErrNoCapability, pci.ErrUnread},
		{4096, nil, nil, nil, nil, nil, pci.ErrNoCapability, pci.ErrNoCapability},
	} {
		c := config(t, whole[:tt.n])
		_, header := c.Header()
		_, caps := c.Capabilities()
		_, extended := c.ExtendedCapabilities()
		_, express := c.Express()
		_, acs := c.ACS()
		_, pm := c.PowerManagement()
		_, serial := c.SerialNumber()
		for i, pair := range [][2]error{{header, tt.header}, {caps, tt.caps}, {extended, tt.extended}, {express, tt.express},
			{acs, tt.acs}, {pm, tt.pm}, {serial, tt.serial}} {
			if !errors.Is(pair[0], pair[1]) || (pair[0] == nil) != (pair[1] == nil) {
				t.Errorf("%d bytes, question %d: %v, want %v", tt.n, i, pair[0], pair[1])
			}
		}
		if c.Len() != tt.n || !bytes.Equal(c.Bytes(), whole[:tt.n]) {
			t.Errorf("%d bytes: %d", tt.n, c.Len())
		}
	}
	if _, err := pci.NewConfig(make([]byte, 4097)); err == nil {
		t.Error("4097 bytes were taken")
	}
	// That there are none is known from 64 bytes.
	if caps, err := config(t, space(64, 0)).Capabilities(); len(caps) != 0 || err != nil {
		t.Errorf("no capabilities: %v, %v", caps, err)
	}
	if _, err := config(t, space(64, 0)).MSI(); !errors.Is(err, pci.ErrNoCapability) {
		t.Errorf("MSI of a function without capabilities: %v", err)
	}
	// A CardBus bridge shows 128 bytes, and its chain begins elsewhere.
	b := space(128, 0)
	b[0x06], b[0x0e], b[0x14], b[0x40], b[0x41], b[0x42] = 0x10, 2, 0x60, 0x4d, 0x10, 0x10
	copy(b[0x60:], "\x01\xa0")
	c := config(t, b)
	if caps, err := c.Capabilities(); len(caps) != 1 || caps[0].Offset != 0x60 || !errors.Is(err, pci.ErrUnread) {
		t.Errorf("CardBus: %v, %v", caps, err)
	}
	if v, d, err := c.Subsystem(); v != pci.NewID(0x104d) || d != pci.NewID(0x0010) || err != nil {
		t.Errorf("CardBus subsystem: %v %v %v", v, d, err)
	}
}

// A function in D3cold, or one that was pulled, reads as ones. It is not a function
// without capabilities, nor one of vendor ffff.
func TestAsleep(t *testing.T) {
	a := pci.NewAddress(0, 1, 0, 0)
	for _, n := range []int{64, 256, 4096} {
		m := new(hostfs.Tree)
		if err := m.Put(devices+a.String()+"/config", bytes.Repeat([]byte{0xff}, n)); err != nil {
			t.Fatal(err)
		}
		c, err := pci.ReadConfig(m, a)
		var op *pci.OpError
		if !errors.Is(err, pci.ErrNoAnswer) || !errors.As(err, &op) || op.Address != a || c.Len() != n || c.Answers() {
			t.Errorf("%d bytes of ones: %v", n, err)
		}
		_, header := c.Header()
		caps, chain := c.Capabilities()
		_, extended := c.ExtendedCapabilities()
		_, bars := c.BARs()
		_, windows := c.Windows()
		_, _, subsystem := c.Subsystem()
		_, express := c.Express()
		for i, err := range []error{header, chain, extended, bars, windows, subsystem, express} {
			if !errors.Is(err, pci.ErrNoAnswer) {
				t.Errorf("%d bytes of ones, question %d: %v", n, i, err)
			}
		}
		if len(caps) != 0 {
			t.Errorf("%d bytes of ones: capabilities %v", n, caps)
		}
	}
	// A virtual function has ffff for vendor and device, and answers.
	b := space(256, 0)
	copy(b, "\xff\xff\xff\xff")
	c := config(t, b)
	if h, err := c.Header(); err != nil || h.Vendor.Known() || h.Device.Known() || h.Class != pci.NewClass(0x030000) || !c.Answers() {
		t.Errorf("virtual function: %+v, %v", h, err)
	}
}

func TestReadConfig(t *testing.T) {
	a := pci.NewAddress(0, 1, 0, 0)
	m := new(hostfs.Tree)
	if _, err := pci.ReadConfig(m, a); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no function: %v", err)
	}
	name := devices + a.String() + "/config"
	if err := m.Put(name, make([]byte, 5000)); err != nil {
		t.Fatal(err)
	}
	if c, err := pci.ReadConfig(m, a); err == nil || c.Len() != 0 {
		t.Errorf("5000 bytes: %d, %v", c.Len(), err)
	}
	if err := m.Put(name, space(64, 0x40)); err != nil {
		t.Fatal(err)
	}
	if c, err := pci.ReadConfig(m, a); err != nil || c.Len() != 64 {
		t.Errorf("64 bytes: %d, %v", c.Len(), err)
	}
	// It vanishes between the listing and the reading.
	gone := hosttest.Failing{Tree: m, Fail: func(string) error { return syscall.ENODEV }}
	var path *fs.PathError
	if _, err := pci.ReadConfig(gone, a); !errors.Is(err, syscall.ENODEV) || !errors.As(err, &path) {
		t.Errorf("a function that vanished: %v", err)
	}
}

// Listings never read config, which may wake what sleeps.
func TestListingsReadNoConfig(t *testing.T) {
	m := new(hostfs.Tree)
	dir := devices + "0000:01:00.0/"
	for name, data := range map[string]string{"uevent": "PCI_CLASS=30000\nPCI_ID=10DE:1F91\nPCI_SUBSYS_ID=1028:097D\n",
		"config": "x", "vpd": "x", "secondary_bus_number": "1\n", "current_link_speed": "x", "resource0_resize": "x", "resource": "x"} {
		if err := m.Put(dir+name, []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	var read []string
	watched := hosttest.Failing{Tree: m, Fail: func(name string) error {
		if strings.HasPrefix(name, dir) {
			read = append(read, strings.TrimPrefix(name, dir))
		}
		return nil
	}}
	functions, err := pci.Functions(watched)
	if len(functions) != 1 || err != nil {
		t.Fatal(functions, err)
	}
	if !pci.Forwards(watched, functions[0]) {
		t.Error("a function with secondary_bus_number forwards")
	}
	slices.Sort(read)
	if want := []string{"iommu_group", "uevent"}; !slices.Equal(read, want) {
		t.Errorf("read %v, want %v", read, want)
	}
}
