package pci_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/pci"
)

func large(tag byte, body string) string {
	return string([]byte{tag, byte(len(body)), byte(len(body) >> 8)}) + body
}

func field(keyword, value string) string { return keyword + string([]byte{byte(len(value))}) + value }

// summed is VPD whose checksum is right, or wrong by off.
func summed(off byte) string {
	before := large(0x82, "A network card")
	fields := field("PN", "A1-23") + field("EC", "") + field("SN", "0123\x1b[31m456 ") + field("V0", "\x00\x01ab")
	rv := field("RV", "\x00\x00\x00")
	all := []byte(before + large(0x90, fields+rv))
	var sum byte
	for _, b := range all[:len(all)-2] {
		sum += b
	}
	all[len(all)-3] = -sum + off
	return string(all)
}

func TestVPD(t *testing.T) {
	good := pci.VPD{
		Identifier: "A network card",
		ReadOnly:   []pci.VPDField{{"PN", "A1-23"}, {"EC", ""}, {"SN", "0123 [31m456"}, {"V0", "ab"}},
		Checksum:   pci.ChecksumRight,
	}
	wrong := good
	wrong.Checksum = pci.ChecksumWrong
	written := good
	written.ReadWrite = []pci.VPDField{{"YA", "desk 7"}}
	named := pci.VPD{Identifier: "A network card"}
	for _, tt := range []struct {
		name, data string
		want       pci.VPD
		err        string
	}{
		{"good", summed(0) + "\x78", good, ""},
		{"padded", summed(0) + "\x78\xff\xff\x00", good, ""},
		{"a wrong sum", summed(1) + "\x78", wrong, ""},
		{"with a part to write", summed(0) + large(0x91, field("YA", "desk 7")+field("RW", "\x00\x00")) + "\x78", written, ""},
		{"no end", summed(0), good, "vital product data have no end"},
		{"no sum", large(0x82, "A network card") + "\x78", named, ""},
		{"nothing", "", pci.VPD{}, "vital product data have no end"},
		{"ones", strings.Repeat("\xff", 64), pci.VPD{}, "tag 0xff at 0x0 has 65535 bytes, 61 are left"},
		{"zeros", strings.Repeat("\x00", 64), pci.VPD{}, "tag 0x0 at 0x0 is unknown"},
		{"a tag cut off", large(0x82, "A network card") + "\x90\x10", named, "a tag is cut off at 0x11"},
		{"a body cut off", large(0x82, "A network card") + "\x90\x10\x00PN", named, "tag 0x90 at 0x11 has 16 bytes, 2 are left"},
		{"a field cut off", large(0x82, "A network card") + large(0x90, "PN\x10A1") + "\x78", named, "the field at 0x14 is cut off"},
		{"a keyword cut off", large(0x90, "PN") + "\x78", pci.VPD{}, "the field at 0x3 is cut off"},
		{"a sum without bytes", large(0x90, field("RV", "")) + "\x78", pci.VPD{}, ""},
	} {
		m := attributes(map[string]string{"vpd": tt.data})
		got, err := pci.ReadVPD(m, gpu)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
		if (err != nil) != (tt.err != "") || err != nil && (!strings.Contains(err.Error(), tt.err) || !errors.Is(err, pci.ErrMalformed)) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if _, err := pci.ReadVPD(fstest.MapFS{}, gpu); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without the capability: %v", err)
	}
	long, err := pci.ReadVPD(attributes(map[string]string{"vpd": large(0x82, strings.Repeat("ä", 2000)) + "\x78"}), gpu)
	if n := utf8.RuneCountInString(long.Identifier); n != 128 || err != nil {
		t.Errorf("a long name: %d, %v", n, err)
	}
	// 15 bits of addresses: what a saved machine has behind them is not looked at.
	if _, err := pci.ReadVPD(attributes(map[string]string{"vpd": large(0x82, strings.Repeat("x", 40000)) + "\x78"}), gpu); !errors.Is(err, pci.ErrMalformed) {
		t.Errorf("40000 bytes: %v", err)
	}
}

func FuzzVPD(f *testing.F) {
	f.Add([]byte(summed(0) + "\x78"))
	f.Add([]byte(summed(3) + large(0x91, field("YA", "x")+field("RW", "\x00")) + "\x78"))
	f.Add([]byte("\x82\xff\xff"))
	f.Add([]byte(large(0x90, "PN\xff")))
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := pci.ReadVPD(attributes(map[string]string{"vpd": string(data)}), gpu)
		if err != nil && !errors.Is(err, pci.ErrMalformed) {
			t.Fatal(err)
		}
		texts := []string{v.Identifier}
		for _, fields := range [][]pci.VPDField{v.ReadOnly, v.ReadWrite} {
			if len(fields) > 32<<10/3 {
				t.Fatalf("%d fields", len(fields))
			}
			for _, f := range fields {
				texts = append(texts, f.Keyword, f.Value)
			}
		}
		for _, s := range texts {
			if utf8.RuneCountInString(s) > 128 || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Fatalf("%q", s)
			}
		}
	})
}
