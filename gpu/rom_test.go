package gpu_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/gpu"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/pci"
)

// image makes one of n units with its structure at 0x40 and a list of devices.
func image(n int, code byte, last bool) []byte {
	b := make([]byte, n*512)
	copy(b, "\x55\xaa")
	b[2], b[24] = byte(n), 0x40
	copy(b[0x40:], "PCIR\xde\x10\xb9\x1f\x1c\x00\x24\x00\x03\x00\x00\x03")
	b[0x50], b[0x52], b[0x53], b[0x54] = byte(n), 0x34, 0x12, code
	if last {
		b[0x55] = 0x80
	}
	copy(b[0x5c:], "\xba\x1f\xbb\x1f\x00\x00\xbc\x1f")
	if code == 3 {
		copy(b[4:], "\xf1\x0e\x00\x00\x0b\x00\x64\x86\x01\x00")
		b[0x16] = 0x80
	}
	for _, c := range b[:len(b)-1] {
		b[len(b)-1] -= c
	}
	return b
}

func romLines(images []gpu.Image) string {
	var b strings.Builder
	for _, m := range images {
		fmt.Fprintf(&b, "%#x+%d %v:%v %v %v %v %v rev %x sum %v last %v efi %+v\n", m.Offset, m.Size, m.Vendor, m.Device, m.Devices, m.Class,
			m.Code, m.Code == gpu.CodeEFI, m.Revision, m.Checksum, m.Last, m.EFI)
	}
	return b.String()
}

const (
	biosLine = "0x0+1024 10de:1fb9 [1fba 1fbb] 030000 BIOS false rev 1234 sum yes last false efi {Present:false Subsystem:0 Machine:0 Compressed:false Offset:0}\n"
	efiLine  = "0x400+512 10de:1fb9 [1fba 1fbb] 030000 EFI true rev 1234 sum unknown last true efi {Present:true Subsystem:11 Machine:34404 Compressed:true Offset:128}\n"
)

func TestParseROM(t *testing.T) {
	both := append(image(2, 0, false), image(1, 3, true)...)
	changed := func(at int, s string) []byte { b := bytes.Clone(both); copy(b[at:], s); return b }
	for _, tt := range []struct {
		name, err, want string
		data            []byte
	}{
		{"two", "", biosLine + efiLine, both},
		{"what follows the last", "", biosLine + efiLine, append(bytes.Clone(both), bytes.Repeat([]byte{0xff}, 4096)...)},
		{"a vendor's front", "", strings.NewReplacer("0x0+", "0x600+", "0x400+", "0xa00+").Replace(biosLine + efiLine),
			append(append([]byte("NVGI"), make([]byte, 0x600-4)...), both...)},
		{"closed", "no option ROM: does not begin with 55aa", "", bytes.Repeat([]byte{0xff}, 1024)},
		{"empty", "no option ROM", "", nil},
		{"a far front", "no option ROM", "", append(make([]byte, 65<<10), both...)},
		{"the structure is missing", "image 1 at 0x400: no PCI data structure", biosLine, changed(0x440, "X")},
		{"the structure is outside", "image 1 at 0x400: no PCI data structure", biosLine, changed(0x418, "\xf0\x01")},
		{"the structure is in the head", "image 1 at 0x400: no PCI data structure", biosLine, changed(0x418, "\x10\x00")},
		{"the next does not begin", "image 1 at 0x400: does not begin with 55aa", biosLine, changed(0x400, "\xff")},
		{"cut", "image 1 at 0x400: does not begin with 55aa", biosLine, both[:0x410]},
		{"ends", "image 1 at 0x400: the ROM ends, but no image was the last", biosLine, both[:0x400]},
		{"no length", "image 0 at 0x0: the data structure says that it has no bytes", "", changed(0x50, "\x00")},
		{"checksum", "", strings.Replace(biosLine, "sum yes", "sum no", 1) + efiLine, changed(0x100, "\x01")},
		{"the copy is longer than all", "", strings.Replace(biosLine, "sum yes", "sum unknown", 1) + efiLine, changed(2, "\x10")},
		{"the copy's length is not stated", "", strings.Replace(biosLine, "sum yes", "sum no", 1) + efiLine, changed(2, "\x00")},
		{"before PCI 3.0", "", strings.NewReplacer("[1fba 1fbb]", "[]", "sum yes", "sum no").Replace(biosLine) + efiLine, changed(0x4c, "\x00")},
		{"a list that is outside", "", strings.NewReplacer("[1fba 1fbb]", "[]", "sum yes", "sum no").Replace(biosLine) + efiLine, changed(0x48, "\xff\xff")},
		{"EFI by type alone", "", biosLine + strings.Replace(efiLine, efiLine[strings.Index(efiLine, "efi {"):],
			"efi {Present:false Subsystem:0 Machine:0 Compressed:false Offset:0}\n", 1), changed(0x404, "\x00")},
		{"too large", "larger than allowed", "", make([]byte, gpu.MaxROM+1)},
	} {
		images, err := gpu.ParseROM(tt.data)
		if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if diff := cmp.Diff(tt.want, romLines(images)); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
	if images, err := gpu.ParseROM(bytes.Repeat(image(1, 1, false), 70)); len(images) != 64 || !errors.Is(err, hostfs.ErrTooLarge) {
		t.Errorf("%d images, %v", len(images), err)
	}
	if _, err := gpu.ParseROM(nil); !errors.Is(err, gpu.ErrNoROM) {
		t.Error(err)
	}
	if got := fmt.Sprint(gpu.CodeBIOS, gpu.CodeOpenFirmware, gpu.CodeHPPA, gpu.CodeType(0xe0)); got != "BIOS Open Firmware HP PA-RISC type 224" {
		t.Error(got)
	}
}

// TestRealROMs reads the ROMs that Debian's ipxe-qemu and seabios packages bring.
func TestRealROMs(t *testing.T) {
	files := append(romFiles(t, "/usr/lib/ipxe/qemu/*.rom"), romFiles(t, "/usr/share/seabios/vgabios-*.bin")...)
	if len(files) == 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("neither ipxe-qemu nor seabios is installed, on which qemu-system-x86 of lab/setup.sh depends")
		}
		hosttest.Missing(t, "neither ipxe-qemu nor seabios is installed")
	}
	efi := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		must(t, err)
		images, err := gpu.ParseROM(data)
		if strings.Contains(file, "isavga") || strings.Contains(file, "ramfb") { // not for PCI
			if !errors.Is(err, gpu.ErrNoROM) || !strings.Contains(err.Error(), "no PCI data structure") {
				t.Errorf("%s: %v, %v", file, images, err)
			}
			continue
		}
		if err != nil || len(images) == 0 {
			t.Errorf("%s: %v, %v", file, images, err)
			continue
		}
		for i, m := range images {
			if m.Code == gpu.CodeBIOS && m.Checksum != gpu.Yes || m.Code == gpu.CodeEFI && (!m.EFI.Present || m.EFI.Machine != 0x8664 || m.EFI.Subsystem != 11) ||
				m.Last != (i == len(images)-1) || m.Vendor.Uint16() == 0 && !strings.Contains(file, "ne2k") { // which is for many
				t.Errorf("%s: %+v", file, m)
			}
			if m.Code == gpu.CodeEFI {
				efi++
			}
		}
		end := images[len(images)-1]
		if strings.Contains(file, "/efi-") && (len(images) < 2 || end.Code != gpu.CodeEFI) ||
			strings.Contains(file, "vgabios") && (len(images) != 1 || end.Class.Base() != 3 && end.Class.Base() != 0) || end.Offset+end.Size > len(data) {
			t.Errorf("%s: %+v", file, images)
		}
	}
	t.Logf("ROMs: %d, EFI images: %d", len(files), efi)
}

func romFiles(t testing.TB, pattern string) []string {
	files, err := filepath.Glob(pattern)
	must(t, err)
	return files
}

func TestReadROM(t *testing.T) {
	a := pci.NewAddress(0, 1, 0, 0)
	const file = "sys/bus/pci/devices/0000:01:00.0/rom"
	tr := new(hostfs.Tree)
	must(t, tr.Mkdir("sys/bus/pci/devices/0000:01:00.0"))
	fail := func(err error) fs.FS {
		return hosttest.Failing{Tree: tr, Fail: func(name string) error {
			if name == file {
				return err
			}
			return nil
		}}
	}
	for _, tt := range []struct {
		fsys fs.FS
		want []error
		text string
	}{
		{tr, []error{fs.ErrNotExist}, "no such file"},
		{fail(syscall.EINVAL), []error{errors.ErrUnsupported, syscall.EINVAL}, "writing 1"},
		{fail(syscall.EIO), []error{errors.ErrUnsupported, syscall.EIO}, "no bytes"},
		{fail(syscall.EACCES), []error{fs.ErrPermission}, "permission denied"},
	} {
		var op *gpu.OpError
		_, err := gpu.ReadROM(tt.fsys, a)
		for _, want := range tt.want {
			if !errors.Is(err, want) || !errors.As(err, &op) || op.Device != "0000:01:00.0" {
				t.Errorf("%s: %v", tt.text, err)
			}
		}
	}
	must(t, tr.Put(file, nil))
	if _, err := gpu.ReadROM(tr, a); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("empty: %v", err)
	}
	must(t, tr.Put(file, image(1, 3, true)))
	data, err := gpu.ReadROM(tr, a)
	must(t, err)
	if images, err := gpu.ParseROM(data); err != nil || len(images) != 1 {
		t.Errorf("%v, %v", images, err)
	}
}

func TestShadowROM(t *testing.T) {
	a := pci.NewAddress(0, 0, 2, 0)
	const six = "0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
	for _, tt := range []struct {
		resource string
		want     gpu.Answer
		fails    bool
	}{
		{strings.Repeat(six, 6) + "0x00000000000c0000 0x00000000000dffff 0x0000000000000212\n" + six, gpu.Yes, false},
		{strings.Repeat(six, 6) + "0x00000000fa000000 0x00000000fa07ffff 0x0000000000046200\n", gpu.No, false},
		{strings.Repeat(six, 7), gpu.No, false},
		{strings.Repeat(six, 6) + "0x00000000fa000000 0x00000000fa07ffff 0x0000000000000002\n", gpu.Yes, false}, // before Linux 4.6
		{strings.Repeat(six, 6) + "0x00000000fa000000 0x00000000fa07ffff 0x0000000000007202\n", gpu.Yes, false}, // too
		{"y\n" + strings.Repeat(six, 5) + "0x00000000fa000000 0x00000000fa07ffff 0x0000000000046200\n", gpu.No, false},
		{"", gpu.Unknown, true},
		{strings.Repeat(six, 6) + "x\n", gpu.Unknown, true},
	} {
		tr := new(hostfs.Tree)
		must(t, tr.Put("sys/bus/pci/devices/0000:00:02.0/resource", []byte(tt.resource)))
		var op *gpu.OpError
		if got, err := gpu.ShadowROM(tr, a); got != tt.want || errors.As(err, &op) != tt.fails {
			t.Errorf("%q: %v, %v", tt.resource, got, err)
		}
	}
	if got, err := gpu.ShadowROM(new(hostfs.Tree), a); got != gpu.Unknown || err != nil {
		t.Errorf("missing: %v, %v", got, err)
	}
	failing := hosttest.Failing{Tree: new(hostfs.Tree), Fail: func(string) error { return syscall.EIO }}
	if _, err := gpu.ShadowROM(failing, a); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
}

func FuzzParseROM(f *testing.F) {
	f.Add(append(image(2, 0, false), image(1, 3, true)...))
	f.Add(image(1, 1, false))
	for _, file := range romFiles(f, "/usr/share/seabios/vgabios-isavga.bin") {
		data, err := os.ReadFile(file)
		must(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		images, err := gpu.ParseROM(data)
		end := 0
		for i, m := range images {
			if m.Size <= 0 || m.Offset < end || m.Offset >= len(data) || len(m.Devices) > 1024 || m.Last && i != len(images)-1 {
				t.Fatalf("image %d: %+v", i, m)
			}
			end = m.Offset + m.Size
		}
		if len(images) > 64 || err == nil && (len(images) == 0 || !images[len(images)-1].Last) {
			t.Fatalf("%d images, %v", len(images), err)
		}
	})
}
