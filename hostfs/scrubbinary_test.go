package hostfs_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/gpu"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
)

// scrubbed returns what a capture makes of one file.
func scrubbed(t testing.TB, name string, data []byte) []byte {
	t.Helper()
	m := new(hostfs.Tree)
	if err := m.Put(name, data); err != nil {
		t.Fatal(err)
	}
	c, err := hostfs.Capture(m, hostfs.CaptureOptions{Salt: []byte("s")})
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

const edidFile = "sys/class/drm/card0-eDP-1/edid"

// withoutSerials is e as it is with every serial number of the screen unknown, and
// without what a scrubbed one does not have.
func withoutSerials(e gpu.EDID) gpu.EDID {
	e.Serial, e.SerialText, e.Problems = 0, "", nil
	e.Blocks = slices.Clone(e.Blocks)
	for i := range e.Blocks {
		e.Blocks[i].Checksum = true
	}
	e.DisplayID = slices.Clone(e.DisplayID)
	for i := range e.DisplayID {
		e.DisplayID[i].Product.Serial = 0
	}
	return e
}

// TestScrubbedEDID: of every screen of the collection all is the same but the serial
// numbers, of which nothing is left, and the checksums are right.
func TestScrubbedEDID(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(hosttest.Shared(t, "hwdata", "edid", "linuxhw"), "*.edid.bin"))
	if err != nil || len(files) < 10 {
		t.Fatalf("%d EDIDs, %v", len(files), err)
	}
	numbers, texts, sections, products := 0, 0, 0, 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		out := scrubbed(t, edidFile, data)
		was, err := gpu.ParseEDID(data)
		if err != nil {
			t.Fatal(err)
		}
		is, err := gpu.ParseEDID(out)
		if err != nil {
			t.Fatalf("%s: %v", filepath.Base(file), err)
		}
		if diff := cmp.Diff(withoutSerials(was), withoutSerials(is)); diff != "" {
			t.Errorf("%s: -before +after\n%s", filepath.Base(file), diff)
		}
		for _, p := range is.Problems {
			if !slices.Contains(was.Problems, p) {
				t.Errorf("%s: a new problem: %s", filepath.Base(file), p)
			}
		}
		for i, b := range is.Blocks {
			if !b.Checksum {
				t.Errorf("%s: block %d has a wrong checksum", filepath.Base(file), i)
			}
		}
		if was.Serial != 0 {
			numbers++
			if was.Serial == is.Serial || is.Serial == 0 {
				t.Errorf("%s: serial number %d became %d", filepath.Base(file), was.Serial, is.Serial)
			}
		}
		if was.SerialText != "" {
			texts++
			if bytes.Contains(out, []byte(was.SerialText)) || is.SerialText == "" {
				t.Errorf("%s: serial number %q became %q", filepath.Base(file), was.SerialText, is.SerialText)
			}
		}
		for i, d := range was.DisplayID {
			sections++
			if n := d.Product.Serial; n != 0 {
				products++
				if is.DisplayID[i].Product.Serial == n {
					t.Errorf("%s: DisplayID has its serial number %d still", filepath.Base(file), n)
				}
			}
		}
	}
	t.Logf("%d screens: %d serial numbers, %d in words, %d sections of DisplayID, %d with a serial number", len(files), numbers, texts, sections, products)
	if numbers == 0 || texts == 0 || sections == 0 {
		t.Error("the collection lacks a kind of serial number")
	}
}

// section returns an EDID with one section of DisplayID of that version.
func section(version byte, blocks ...byte) []byte {
	edid := make([]byte, 256)
	copy(edid, "\x00\xff\xff\xff\xff\xff\xff\x00\x4c\x2d\x34\x12\x11\x22\x33\x44\x01\x20\x01\x04")
	edid[126] = 1
	b := edid[128:]
	copy(b, []byte{0x70, version, byte(len(blocks)), 0, 0})
	copy(b[5:], blocks)
	for _, part := range [][]byte{b[1 : 6+len(blocks)], b, edid[:128]} {
		sum := byte(0)
		for _, c := range part {
			sum += c
		}
		part[len(part)-1] -= sum
	}
	return edid
}

func TestScrubbedDisplayID(t *testing.T) {
	serial := []byte{0x11, 0x22, 0x33, 0x44} // that of the base block
	product := append([]byte("SAM\x34\x12"), append(slices.Clone(serial), 1, 20, 0)...)
	tile := append([]byte("\x82\x10\x00\x00\xff\x0e\x6f\x08\x00\x00\x00\x00\x00SAM\x34\x12"), serial...)
	block := func(tag byte, data []byte) []byte { return append([]byte{tag, 0, byte(len(data))}, data...) }
	for _, tt := range []struct {
		name    string
		version byte
		blocks  []byte
		lost    string // what must not be there
		kept    string
	}{
		{"product", 0x12, block(0x00, product), "", "SAM\x34\x12"},
		{"product of version 2", 0x20, block(0x20, product), "", "SAM\x34\x12"},
		{"tiles", 0x13, append(block(0x12, tile), block(0x00, product)...), "", "\x82\x10\x00\x00\xff\x0e\x6f\x08"},
		{"tiles of version 2", 0x21, block(0x28, tile), "", "\x82\x10\x00\x00\xff\x0e\x6f\x08"},
		{"serial number in words", 0x12, block(0x0a, []byte("SECRET123")), "SECRET123", "\x0a\x00\x09"},
		{"text", 0x12, block(0x0b, []byte("SECRET123")), "SECRET123", ""},
		{"container", 0x20, block(0x29, []byte("SECRET1234567890")), "SECRET", ""},
		{"a vendor's in blocks of CTA-861", 0x20, block(0x81, []byte("\x69\x5c\x12\xcaSECRET\x23\x09\x7f\x07")), "SECRET", "\x69\x5c\x12\xca\x00\x00\x00\x00\x00\x00\x23\x09\x7f\x07"},
		{"the maker's", 0x20, block(0x7e, []byte("\x00\x10\xfaSECRET")), "SECRET", ""},
		{"VESA's", 0x20, block(0x7e, []byte("\x3a\x02\x92KEPT")), "", "KEPT"},
		{"another version", 0x40, block(0x00, []byte("SECRET123")), "SECRET123", ""},
		{"a block cut off", 0x12, []byte("\x0a\x00\x7fSECRET123"), "SECRET123", ""},
		{"a short product", 0x12, block(0x00, []byte("SAM\x34\x12\x11\x22\x33")), "\x11\x22\x33", ""},
		{"full", 0x12, block(0x0a, bytes.Repeat([]byte{'S'}, 118)), "SSSS", ""},
	} {
		edid := section(tt.version, tt.blocks...)
		out := scrubbed(t, edidFile, edid)
		if len(out) != len(edid) || bytes.Contains(out, serial) || tt.lost != "" && bytes.Contains(out, []byte(tt.lost)) {
			t.Errorf("%s: something is left: %x", tt.name, out[128:])
		}
		if !bytes.Contains(out[128:], []byte(tt.kept)) {
			t.Errorf("%s: %q was lost: %x", tt.name, tt.kept, out[128:])
		}
		e, err := gpu.ParseEDID(out)
		if err != nil || !e.Blocks[0].Checksum || !e.Blocks[1].Checksum || len(e.DisplayID) != 1 || !e.DisplayID[0].Checksum {
			t.Errorf("%s: %v, %+v", tt.name, err, e.Blocks)
		}
		// One screen is one screen still.
		if p := e.DisplayID[0].Product; p.Serial != 0 && p.Serial != e.Serial {
			t.Errorf("%s: serial numbers %x and %x", tt.name, p.Serial, e.Serial)
		}
		if strings.HasPrefix(tt.name, "tiles") && binary.LittleEndian.Uint32(out[128+5+3+18:]) != e.Serial {
			t.Errorf("%s: the tiles are of another screen", tt.name)
		}
	}
	damaged := section(0x12, block(0x0a, []byte("SECRET123"))...)
	damaged[128+4]++
	if out := scrubbed(t, edidFile, damaged); bytes.Contains(out, []byte("SECRET")) {
		t.Error("a section with a wrong checksum has its secret still")
	}
	beyond := section(0x12, block(0x03, nil)...)
	copy(beyond[200:], "SECRET")
	if out := scrubbed(t, edidFile, beyond); bytes.Contains(out, []byte("SECRET")) {
		t.Error("what follows a section is there still")
	}
}

// extension returns an EDID with one extension of CTA-861 with that revision whose
// descriptors begin at first.
func extension(revision, first byte, blocks string) []byte {
	edid := make([]byte, 256)
	copy(edid, "\x00\xff\xff\xff\xff\xff\xff\x00\x4c\x2d\x34\x12\x00\x00\x00\x00\x01\x20\x01\x04")
	edid[126] = 1
	b := edid[128:]
	copy(b, []byte{0x02, revision, first, 0xf1})
	copy(b[4:], blocks)
	for _, part := range [][]byte{b, edid[:128]} {
		sum := byte(0)
		for _, c := range part {
			sum += c
		}
		part[len(part)-1] -= sum
	}
	return edid
}

func TestScrubbedCTA(t *testing.T) {
	const (
		container = "0123456789ABCDEF" // of 16 bytes
		microsoft = "\x5c\x12\xca"
		hdmi      = "\x67\x03\x0c\x00\x10\x00\x00\x3c"
		forum     = "\x67\xd8\x5d\xc4\x01\x78\x88\x60"
		modes     = "\x42\x90\x04"
	)
	for _, tt := range []struct {
		name       string
		revision   byte
		first      int // zero is after the blocks
		blocks     string
		lost, kept string
	}{
		{"container id of Microsoft", 3, 0, modes + "\x75" + microsoft + "\x03\x41" + container + hdmi, container, modes + "\x75" + microsoft + strings.Repeat("\x00", 18) + hdmi},
		{"HDMI", 3, 0, hdmi + forum + "\xe3\x06\x0d\x01", "", hdmi + forum + "\xe3\x06\x0d\x01"},
		{"vendor's video", 3, 0, "\xeb\x01\x46\xd0\x00SECRET1" + modes, "SECRET", "\xeb\x01\x46\xd0\x00" + strings.Repeat("\x00", 7) + modes},
		{"vendor's audio", 3, 0, "\xea\x11\x46\xd0\x00SECRET" + modes, "SECRET", "\xea\x11\x46\xd0\x00" + strings.Repeat("\x00", 6) + modes},
		{"colours are no vendor's", 3, 0, "\xe3\x05\xc0\x01", "", "\xe3\x05\xc0\x01"},
		{"a vendor's block cut off", 3, 4 + 10, modes + "\x7f" + microsoft + "SEC", "SEC", modes + "\x7f" + microsoft},
		{"a block without vendor", 3, 0, "\x62\x5c\x12\xe1\x01\xe0\x60" + modes, "", "\x62\x5c\x12\xe1\x01\xe0\x60" + modes},
		{"revision without data blocks", 1, 20, "\x75" + microsoft + container, container, ""},
		{"nothing said to be there", 3, 128, "\x75" + microsoft + container, container, ""},
		{"nothing after the head", 3, 1, "\x75" + microsoft + container, container, ""},
		{"beyond the end", 3, 200, "\x75" + microsoft + container, container, ""},
	} {
		first := tt.first
		switch first {
		case 0:
			first = 4 + len(tt.blocks)
		case 128:
			first = 0
		}
		in := extension(tt.revision, byte(first), tt.blocks)
		out := scrubbed(t, edidFile, in)
		if len(out) != len(in) || tt.lost != "" && bytes.Contains(out, []byte(tt.lost)) {
			t.Errorf("%s: something is left: %q", tt.name, out[128:])
		}
		if !bytes.HasPrefix(out[132:], []byte(tt.kept)) || !bytes.Equal(out[128:132], in[128:132]) {
			t.Errorf("%s: something was lost: %q", tt.name, out[128:])
		}
		was, err := gpu.ParseEDID(in)
		if err != nil {
			t.Fatal(err)
		}
		is, err := gpu.ParseEDID(out)
		if err != nil || !is.Blocks[0].Checksum || !is.Blocks[1].Checksum {
			t.Errorf("%s: %v, %+v", tt.name, err, is.Blocks)
		}
		if tt.first == 0 {
			if diff := cmp.Diff(withoutSerials(was), withoutSerials(is)); diff != "" {
				t.Errorf("%s: -before +after\n%s", tt.name, diff)
			}
		}
	}
}

func TestScrubbedBOS(t *testing.T) {
	const (
		head      = "050f 1e00 02"
		extension = "07 10 02 1e f4 01 00" // USB 2.0 extension
		container = "14 10 04 00 "
		id        = "0102030405060708090a0b0c0d0e0f10"
		file      = "sys/bus/usb/devices/1-4/bos_descriptors"
	)
	in := func(s string) []byte {
		b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	out := scrubbed(t, file, in(head+extension+container+id))
	if bytes.Contains(out, in(id)[:4]) || len(out) != 5+7+20 || !bytes.HasPrefix(out, in(head+extension+container)) {
		t.Errorf("%x", out)
	}
	other := scrubbed(t, file, in(head+container+id))
	if !bytes.Equal(out[len(out)-16:], other[len(other)-16:]) {
		t.Error("one container became two")
	}
	for s, want := range map[string]string{
		head + extension: head + extension, // nothing to hide
		head + container + "00000000000000000000000000000000":   head + container + "00000000000000000000000000000000",
		head + extension + container + id[:8]:                   head + extension, // cut off
		head + "00" + id:                                        head,
		"15 10 04 00 00000000000000000000000000000000 ff":       "15 10 04 00 00000000000000000000000000000000 00",
		"18 10 05 00 df60ddd89245c74c9cd2659d9e648a9f 00000306": "18 10 05 00 df60ddd89245c74c9cd2659d9e648a9f 00000306", // a platform's
	} {
		if got := scrubbed(t, file, in(s)); !bytes.Equal(got, in(want)) {
			t.Errorf("%s became %x", s, got)
		}
	}
}
