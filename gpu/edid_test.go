package gpu_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/gpu"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
)

// base is a block 0 without anything in it that need not be, and n extensions.
func base(n byte) []byte {
	b := make([]byte, 128)
	copy(b, "\x00\xff\xff\xff\xff\xff\xff\x00\x06\xaf\x2d\x63")
	b[16], b[17], b[18], b[19] = 1, 28, 1, 4
	b[23] = 0xff
	for i := 38; i < 54; i++ {
		b[i] = 1
	}
	b[126] = n
	return fix(b)
}

// fix makes the last byte of each block the checksum.
func fix(data []byte) []byte {
	for i := 0; i+128 <= len(data); i += 128 {
		data[i+127] = 0
		for _, c := range data[i : i+127] {
			data[i+127] -= c
		}
	}
	return data
}

func with(b []byte, at int, s string) []byte {
	b = bytes.Clone(b)
	copy(b[at:], s)
	return fix(b)
}

func TestEDIDRefused(t *testing.T) {
	for _, tt := range []struct {
		data []byte
		want error
		text string
	}{
		{nil, gpu.ErrNoEDID, "no EDID"},
		{make([]byte, 127), nil, "127 bytes"},
		{make([]byte, 128), nil, "not an EDID"},
		{make([]byte, gpu.MaxEDID+1), hostfs.ErrTooLarge, "32769 bytes"},
	} {
		e, err := gpu.ParseEDID(tt.data)
		if err == nil || tt.want != nil && !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) || len(e.Blocks) != 0 {
			t.Errorf("%d bytes: %v, %v", len(tt.data), e, err)
		}
	}
}

// What is wrong is said, and the rest is read.
func TestEDIDProblems(t *testing.T) {
	cta := func(s string) []byte { return with(make([]byte, 128), 0, "\x02\x03"+s) }
	for _, tt := range []struct {
		name string
		data []byte
		want []string
	}{
		{"as it should be", base(0), nil},
		{"checksum", append(base(0)[:127:127], base(0)[127]+1), []string{"block 0: wrong checksum 91, should be 90"}},
		{"missing", base(2), []string{"2 extensions are stated, 0 are here"}},
		{"more", append(base(0), cta("\x00\x00")...), []string{"0 extensions are stated, 1 are here"}},
		{"rest", append(base(0), 1, 2, 3), []string{"3 bytes after the last whole block"}},
		{"version", with(base(0), 18, "\x02\x00"), []string{"version 2.0: read as 1.4"}},
		{"letters", with(base(0), 8, "\x00\x00"), []string{"manufacturer 0000 is not three letters"}},
		{"empty extension", append(base(1), make([]byte, 128)...), []string{"block 1: no extension begins with 00"}},
		{"data block", append(base(1), cta("\x07\x00\x43\x01\x02")...), []string{"block 1: a data block of 3 bytes where 2 are left"}},
		{"timings", append(base(1), cta("\x03\x00")...), []string{"block 1: timings at 3"}},
		{"timings far", append(base(1), cta("\x80\x00")...), []string{"block 1: timings at 128"}},
		{"section", append(base(1), with(make([]byte, 128), 0, "\x70\x12\x7a")...),
			[]string{"block 1: a section of 122 bytes", "block 1: wrong checksum of the section"}},
		{"DisplayID 3", append(base(1), with(make([]byte, 128), 0, "\x70\x30\x00\x00\x00\xd0")...), []string{"block 1: DisplayID 3.0"}},
		{"DisplayID data", append(base(1), with(make([]byte, 128), 0, "\x70\x20\x03\x00\x00\x7f\x00\x01\x5d")...),
			[]string{"block 1: a data block of 1 bytes where 0 are left"}},
	} {
		e, err := gpu.ParseEDID(tt.data)
		if diff := cmp.Diff(tt.want, e.Problems); diff != "" || err != nil || e.Product != 0x632d {
			t.Errorf("%s: %v, %v %s", tt.name, e.Product, err, diff)
		}
	}
	many := append(base(255), make([]byte, 255*128)...)
	if e, err := gpu.ParseEDID(many); err != nil || len(e.Problems) != 32 || len(e.Blocks) != 256 {
		t.Errorf("%d problems, %d blocks, %v", len(e.Problems), len(e.Blocks), err)
	}
}

// What none of the collected screens says.
func TestEDIDRare(t *testing.T) {
	parse := func(data []byte) gpu.EDID {
		t.Helper()
		e, err := gpu.ParseEDID(data)
		if err != nil || len(e.Problems) != 0 {
			t.Errorf("%v, %q", err, e.Problems)
		}
		return e
	}
	if e := parse(with(base(0), 21, "\x4f\x00")); e.WidthCM != 0 || e.Aspect != 1.78 {
		t.Errorf("landscape: %+v", e)
	}
	if e := parse(with(base(0), 21, "\x00\x4f")); e.HeightCM != 0 || e.Aspect != 100/178. {
		t.Errorf("portrait: %+v", e)
	}
	if e := parse(base(0)); e.Gamma != 0 || e.Aspect != 0 || e.Input.Interface.String() != "unknown" {
		t.Errorf("not stated: %+v", e)
	}
	if e := parse(with(base(0), 16, "\xff\x22")); e.Made != (gpu.Made{Year: 2024, Model: true}) {
		t.Errorf("model year: %+v", e.Made)
	}
	if e := parse(with(base(0), 20, "\xf2")); e.Input != (gpu.Input{Digital: true, Interface: gpu.HDMIa}) {
		t.Errorf("a reserved depth: %+v", e.Input)
	}
	// Range limits above 255, standard timings in a descriptor, a name with an escape
	// code, a text that uses all 13 bytes.
	e := parse(with(base(0), 54, "\x00\x00\x00\xfd\x0f\x01\x69\x02\x05\xff\x00\x0a      "+
		"\x00\x00\x00\xfa\x00\xd1\xc0\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x0a"+
		"\x00\x00\x00\xfc\x00a\x1b[31mb\xff\x0a    "+
		"\x00\x00\x00\xfe\x00ABCDEFGHIJKLM"))
	if e.Range != (gpu.Range{MinV: 256, MaxV: 360, MinH: 257, MaxH: 260}) || e.Name != "a [31mb" || !slices.Equal(e.Texts, []string{"ABCDEFGHIJKLM"}) ||
		!slices.Equal(e.Standard, []gpu.Mode{{1920, 1080, 60}}) {
		t.Errorf("descriptors: %+v", e)
	}
	if _, ok := e.Preferred(); ok {
		t.Error("a preferred timing where there is none")
	}
	// DisplayID 1.2: product, panel, tiles of a 5K screen, an interlaced timing.
	section := "\x70\x12\x5d\x03\x00" +
		"\x00\x00\x11GSM\x34\x12\x01\x00\x00\x00\x10\x0f\x05Tiled" +
		"\x01\x00\x0c\xd2\x04\x29\x09\x00\x14\x40\x0b\x00\x00\x00\x00" +
		"\x12\x00\x16\x82\x10\x10\x00\xff\x09\x3f\x0b\x00\x00\x00\x00\x00DEL\x01\x00\x00\x00\x00\x00" +
		"\x03\x00\x14\x00\x1d\x00\x90\x7f\x07\x17\x01\x57\x00\x2b\x00\x37\x04\x2c\x00\x03\x00\x09\x00"
	b := with(make([]byte, 128), 0, section)
	for _, c := range b[1:len(section)] {
		b[5+0x5d] -= c
	}
	e = parse(append(base(1), fix(b)...))
	want := gpu.DisplayID{Version: 1, Revision: 2, Use: 3, Checksum: true, Timings: 1,
		Product: gpu.Product{Vendor: "GSM", Code: 0x1234, Serial: 1, Made: gpu.Made{Year: 2015, Week: 16}, Name: "Tiled"},
		Panel:   gpu.Panel{WidthMM: 123.4, HeightMM: 234.5, Width: 5120, Height: 2880},
		Tile:    gpu.Tile{Columns: 2, Rows: 1, Column: 1, Width: 2560, Height: 2880, Single: true}}
	if len(e.DisplayID) != 1 || len(e.Timings) != 1 {
		t.Fatalf("%+v", e)
	}
	e.DisplayID[0].Panel.WidthMM, e.DisplayID[0].Panel.HeightMM = round(e.DisplayID[0].Panel.WidthMM), round(e.DisplayID[0].Panel.HeightMM)
	if diff := cmp.Diff(want, e.DisplayID[0]); diff != "" {
		t.Error(diff)
	}
	if p, ok := e.Preferred(); !ok || !p.Interlaced || p.Width != 1920 || p.Height != 1080 || fmt.Sprintf("%.2f", p.Refresh()) != "60.00" {
		t.Errorf("%+v %v", p, p.Refresh())
	}
	// DisplayID 2.0: product by OUI, a panel in whole millimetres, two timings of 21 bytes.
	section = "\x70\x20\x4f\x02\x00" +
		"\x20\x00\x0c\x00\x10\xfa\x01\x00\x00\x00\x00\x00\x00\x00\x00" +
		"\x21\x80\x0c\x40\x01\xc8\x00\x00\x0a\x40\x06\x00\x00\x00\x00" +
		"\x22\x10\x2a" + strings.Repeat("\x0f\x27\x00\x00\x63\x00\x63\x00\x00\x00\x00\x00\x63\x00\x63\x00\x00\x00\x00\x00\xee", 2)
	b = with(make([]byte, 128), 0, section)
	b[2] = byte(len(section) - 5)
	for _, c := range b[1:len(section)] {
		b[len(section)] -= c
	}
	e = parse(append(base(1), fix(b)...))
	if d := e.DisplayID[0]; d.Product != (gpu.Product{Vendor: "0010fa", Code: 1}) || d.Panel != (gpu.Panel{WidthMM: 320, HeightMM: 200, Width: 2560, Height: 1600}) ||
		d.Timings != 2 || e.Timings[1].Clock != 10_000_000 || e.Timings[1].Refresh() != 250 {
		t.Errorf("%+v %+v", d, e.Timings)
	}
}

func round(f float64) float64 { return float64(int(f*10+0.5)) / 10 }

func TestEDIDWords(t *testing.T) {
	got := fmt.Sprint(gpu.DisplayPort, gpu.Interface(9), gpu.BaseBlock, gpu.CTABlock, gpu.DisplayIDBlock, gpu.BlockKind(0x10), gpu.BlockKind(0x40),
		gpu.BlockKind(0x50), gpu.BlockKind(0x60), gpu.BlockKind(0xf0), gpu.BlockKind(0x33), gpu.AudioCode(1), gpu.AudioCode(14), gpu.AudioCode(0), gpu.AudioCode(25))
	if want := "DisplayPort unknown base CTA-861 DisplayID video timing display information localized string DPVL block map tag 33 Linear PCM WMA Pro code 0 code 25"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func FuzzParseEDID(f *testing.F) {
	f.Add(base(0))
	f.Add(append(base(1), with(make([]byte, 128), 0, "\x02\x03\x0b\x71\x23\x09\x07\x07\xe3\x0e\x61\x66")...))
	f.Add(append(base(1), with(make([]byte, 128), 0, "\x70\x20\x05\x02\x00\x81\x00\x02\x41\x90")...))
	files, err := filepath.Glob(filepath.Join(hosttest.Shared(f, "hwdata", "edid", "linuxhw"), "*.edid.bin"))
	must(f, err)
	for _, file := range files {
		data, err := os.ReadFile(file)
		must(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := gpu.ParseEDID(data)
		if (err != nil) == (len(e.Blocks) > 0) {
			t.Fatalf("%d blocks and %v", len(e.Blocks), err)
		}
		for _, s := range append([]string{e.Manufacturer, e.Name, e.SerialText}, append(e.Texts, e.Problems...)...) {
			oneLine(t, s)
		}
		for _, x := range e.Timings {
			if hz := x.Refresh(); !(hz >= 0 && hz < 1e15) || x.Clock < 0 {
				t.Fatalf("%+v: %v Hz", x, hz)
			}
		}
		if len(e.Timings) > len(data)/descriptorBytes || len(e.Problems) > 32 {
			t.Fatalf("%d timings, %d problems of %d bytes", len(e.Timings), len(e.Problems), len(data))
		}
	})
}

const descriptorBytes = 18

// oneLine fails unless s may be printed as it is.
func oneLine(t *testing.T, s string) {
	t.Helper()
	if len(s) > 600 || strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) {
		t.Fatalf("%.80q", s)
	}
}

func BenchmarkParseEDID(b *testing.B) {
	for _, name := range []string{"Digital__AU_Optronics__AUO632D__7F2EC2D7A0AD", "Digital__Samsung__SAM7058__CEC794076550"} {
		data, err := os.ReadFile(filepath.Join(hosttest.Shared(b, "hwdata", "edid", "linuxhw"), name+".edid.bin"))
		must(b, err)
		b.Run(strconv.Itoa(len(data)), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if _, err := gpu.ParseEDID(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
