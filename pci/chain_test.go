package pci_test

import (
	"bytes"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/pci"
)

// Chains that lead nowhere end in an error, with what was walked before.
func TestBrokenChains(t *testing.T) {
	at := func(b []byte, where int, data string) []byte { copy(b[where:], data); return b }
	for _, tt := range []struct {
		name string
		b    []byte
		want []uint8
		text string // in the error; empty for none
	}{
		{"good", at(at(space(256, 0x40), 0x40, "\x01\x50"), 0x50, "\x05\x00"), []uint8{0x40, 0x50}, ""},
		{"reserved bits", at(at(space(256, 0x43), 0x40, "\x01\x52"), 0x50, "\x05\x01"), []uint8{0x40, 0x50}, ""},
		{"back to the beginning", at(at(space(256, 0x40), 0x40, "\x01\x50"), 0x50, "\x05\x40"), []uint8{0x40, 0x50}, "leads from 0x50 back to 0x40"},
		{"to itself", at(space(256, 0x40), 0x40, "\x01\x40"), []uint8{0x40}, "leads from 0x40 back to 0x40"},
		{"into the header", at(space(256, 0x40), 0x40, "\x01\x10"), []uint8{0x40}, "leads from 0x40 into the header, to 0x10"},
		{"begins in the header", space(256, 0x3c), nil, "leads from 0x34 into the header, to 0x3c"},
		{"all ones", at(space(256, 0x40), 0x40, "\x01\x80"+strings.Repeat("\xff", 190)), []uint8{0x40}, "broken at 0x80: all ones"},
		{"pointer of ones", at(at(space(256, 0x40), 0x40, "\x01\xff"), 0xfc, "\xff\xff"), []uint8{0x40}, "broken at 0xfc: all ones"},
		{"an unknown header", at(space(256, 0x40), 0x0e, "\x05"), nil, "header type 0x5"},
		{"null entries", at(at(space(256, 0x40), 0x40, "\x00\x50"), 0x50, "\x00\x00"), []uint8{0x40, 0x50}, ""},
	} {
		caps, err := config(t, tt.b).Capabilities()
		var got []uint8
		for _, c := range caps {
			got = append(got, c.Offset)
		}
		if !slices.Equal(got, tt.want) || errors.Is(err, pci.ErrMalformed) != (tt.text != "") || err != nil && !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: %#x, %v", tt.name, got, err)
		}
	}
	// What lies before the break is found; what was not found is not known.
	c := config(t, at(space(256, 0x40), 0x40, "\x01\x40\x03\x00\x08"))
	if p, err := c.PowerManagement(); err != nil || p.Version != 3 || !p.NoSoftReset {
		t.Errorf("before the break: %+v, %v", p, err)
	}
	if _, err := c.MSI(); !errors.Is(err, pci.ErrMalformed) || errors.Is(err, pci.ErrNoCapability) {
		t.Errorf("behind the break: %v", err)
	}
	// The longest chain there can be.
	b := space(256, 0x40)
	for i := 0x40; i < 0xfc; i += 4 {
		b[i], b[i+1] = 9, byte(i+4)
	}
	b[0xfc] = 9
	if caps, err := config(t, b).Capabilities(); len(caps) != 48 || err != nil {
		t.Errorf("the longest chain: %d, %v", len(caps), err)
	}
}

func TestBrokenExtendedChains(t *testing.T) {
	header := func(id, next uint32) uint32 { return id | 1<<16 | next<<20 }
	with := func(first uint32, more map[int]uint32) []byte {
		b := express(first)
		for at, h := range more {
			put32(b, at, h)
		}
		return b
	}
	longest := map[int]uint32{}
	for at := 0x104; at < 0x1000; at += 4 {
		longest[at] = header(0x0b, uint32(at+4)&0xfff)
	}
	conventional := space(4096, 0)
	put32(conventional, 0x100, header(0x0d, 0))
	pcix := space(4096, 0x40)
	copy(pcix[0x40:], "\x07\x00\x00\x00\x00\x00\x00\x40")
	put32(pcix, 0x100, header(0x0d, 0))
	slow := bytes.Clone(pcix)
	slow[0x47] = 0
	for _, tt := range []struct {
		name string
		b    []byte
		n    int
		text string
	}{
		{"none", express(0), 0, ""},
		{"one", express(header(0x0d, 0)), 1, ""},
		{"reserved bits", with(header(1, 0x143), map[int]uint32{0x140: header(0x0d, 1)}), 2, ""},
		{"ones", express(0xffffffff), 0, "broken at 0x100"},
		{"to ones", with(header(1, 0x140), map[int]uint32{0x140: 0xffffffff}), 1, "broken at 0x140"},
		{"to nothing", express(header(1, 0x140)), 1, ""},
		{"to itself", express(header(1, 0x100)), 1, "from 0x100 back to 0x100"},
		{"a loop", with(header(1, 0x140), map[int]uint32{0x140: header(2, 0x180), 0x180: header(3, 0x140)}), 3, "from 0x180 back to 0x140"},
		{"into what is below", express(header(1, 0x40)), 1, "from 0x100 below 0x100, to 0x40"},
		{"the longest", with(header(0x0b, 0x104), longest), 960, ""},
		{"not PCI Express", conventional, 0, ""},
		{"PCI-X of mode 2", pcix, 1, ""},
		{"PCI-X of mode 1", slow, 0, ""},
	} {
		caps, err := config(t, tt.b).ExtendedCapabilities()
		wrong := errors.Is(err, pci.ErrMalformed)
		if len(caps) != tt.n || wrong != (tt.text != "") || err != nil && !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%s: %d, %v", tt.name, len(caps), err)
		}
	}
}

// The dump that pciutils keeps of a host bridge with rubbish above 0x100: it says
// itself that it has no capabilities. Where it claimed to be PCI Express, the walk
// would have to come to an end.
func TestBrokenExtendedDump(t *testing.T) {
	b := readDump(t, filepath.Join(hosttest.Shared(t, "hwdata", "lspci", "pciutils"), "broken-ecaps"))[0].bytes
	if len(b) != 4096 {
		t.Fatalf("%d bytes", len(b))
	}
	if caps, err := config(t, b).ExtendedCapabilities(); len(caps) != 0 || err != nil {
		t.Errorf("as it is: %v, %v", caps, err)
	}
	b[0x06], b[0x34], b[0x40], b[0x41] = b[0x06]|0x10, 0x40, 0x10, 0
	caps, err := config(t, b).ExtendedCapabilities()
	t.Logf("as PCI Express: %v, %v", caps, err)
	if !errors.Is(err, pci.ErrMalformed) {
		t.Errorf("as PCI Express: %d, %v", len(caps), err)
	}
}
