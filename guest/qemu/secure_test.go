package qemu

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/internal/hosttest"
)

// printAndOff is an EFI program: it writes the text behind it to the serial port, and switches the
// machine off.
//
//	      lea rsi, [text]
//	      mov dx, 3f8h
//	next  lodsb
//	      test al, al
//	      jz off
//	      out dx, al
//	      jmp next
//	off   mov dx, 604h
//	      mov ax, 2000h
//	      out dx, ax
//	      jmp $
//	text
const printAndOff = "488d351800000066baf803ac84c07403eeebf866ba040666b8002066efebfe"

// efiProgram is a PE image of printAndOff with a text, which nobody has signed (PE Format, Microsoft).
func efiProgram(t *testing.T, text string) []byte {
	t.Helper()
	code, err := hex.DecodeString(printAndOff)
	if err != nil {
		t.Fatal(err)
	}
	code = append(append(code, text...), 0)
	const pe, optional, section = 0x40, 0x58, 0x58 + 240
	b := make([]byte, 0x400)
	put := func(at int, size int, v uint64) {
		var le [8]byte
		binary.LittleEndian.PutUint64(le[:], v)
		copy(b[at:at+size], le[:])
	}
	copy(b, "MZ")
	put(0x3c, 4, pe)
	copy(b[pe:], "PE\x00\x00")
	put(pe+4, 2, 0x8664)            // x86-64
	put(pe+6, 2, 1)                 // section
	put(pe+20, 2, section-optional) // bytes of the optional header
	put(pe+22, 2, 0x22e)            // an executable without relocations
	put(optional, 2, 0x20b)         // PE32+
	put(optional+4, 4, 0x200)       // bytes of code
	put(optional+16, 4, 0x1000)     // where it begins
	put(optional+20, 4, 0x1000)
	put(optional+32, 4, 0x1000) // alignment in memory
	put(optional+36, 4, 0x200)  // and in the file
	put(optional+56, 4, 0x2000) // bytes in memory
	put(optional+60, 4, 0x200)  // bytes of headers
	put(optional+68, 2, 10)     // an EFI application
	put(optional+108, 4, 16)    // directories, all empty: no signature among them
	copy(b[section:], ".text")
	put(section+8, 4, uint64(len(code)))
	put(section+12, 4, 0x1000)
	put(section+16, 4, 0x200)
	put(section+20, 4, 0x200)
	put(section+36, 4, 0x60000020) // code, to be read and executed
	copy(b[0x200:], code)
	return b
}

// efiDisk makes a disk, one FAT16 file system, from which UEFI starts the program.
func efiDisk(t *testing.T, program []byte) string {
	t.Helper()
	const (
		sector, perCluster, sectors, fat, roots = 512, 4, 32768, 32, 512
		cluster                                 = sector * perCluster
	)
	le := binary.LittleEndian
	disk := make([]byte, sector, sectors*sector)
	copy(disk, "\xeb\x3c\x90MSDOS5.0")
	le.PutUint16(disk[11:], sector)
	disk[13] = perCluster
	le.PutUint16(disk[14:], 1) // the sectors before the tables
	disk[16] = 2               // tables
	le.PutUint16(disk[17:], roots)
	le.PutUint16(disk[19:], sectors)
	disk[21] = 0xf8
	le.PutUint16(disk[22:], fat)
	copy(disk[38:], "\x29\x01\x02\x03\x04ESP        FAT16   ")
	disk[510], disk[511] = 0x55, 0xaa
	table := []uint16{0xfff8, 0xffff}
	var data []byte
	keep := func(b []byte) (first int) {
		first = len(table)
		for range (len(b) - 1) / cluster {
			table = append(table, uint16(len(table)+1))
		}
		table = append(table, 0xffff)
		data = append(data, b...)
		data = append(data, make([]byte, -len(b)&(cluster-1))...)
		return first
	}
	entry := func(name string, attribute byte, first, size int) []byte {
		e := make([]byte, 32)
		copy(e, name)
		e[11] = attribute
		le.PutUint16(e[26:], uint16(first))
		le.PutUint32(e[28:], uint32(size))
		return e
	}
	const directory = 0x10
	file := keep(program)
	boot := keep(entry("BOOTX64 EFI", 0x20, file, len(program)))
	efi := keep(entry("BOOT       ", directory, boot, 0))
	tables := make([]byte, fat*sector)
	for i, next := range table {
		le.PutUint16(tables[2*i:], next)
	}
	root := make([]byte, roots*32)
	copy(root, entry("EFI        ", directory, efi, 0))
	disk = append(append(append(append(disk, tables...), tables...), root...), data...)
	name := filepath.Join(t.TempDir(), "efi.raw")
	if err := os.WriteFile(name, disk[:cap(disk)], 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestSecureBoot starts a program that nobody has signed: with Secure Boot the firmware refuses it, and
// without it runs. With it, too, one runs that Microsoft has signed, the shim of Debian.
func TestSecureBoot(t *testing.T) {
	if testing.Short() {
		t.Skip("starts UEFI three times; not with -short")
	}
	needQEMU(t)
	lab := os.Getenv("INDY_LAB")
	if lab == "" {
		lab = filepath.Join(hosttest.Root(t), ".lab")
	}
	const runs = "a program runs that nobody has signed"
	unsigned := efiProgram(t, runs)
	start := func(t *testing.T, program []byte, secure bool, want string, never ...string) {
		t.Helper()
		g, out := guestOf(efiDisk(t, program)), newConsole()
		g.Memory, g.Firmware, g.SecureBoot = 256<<20, guest.UEFI, secure
		g.Variables = filepath.Join(t.TempDir(), "variables")
		vm, err := Start(t.Context(), g, Options{Accelerator: TCG, PowerdownTimeout: -1, Serial: out})
		if errors.Is(err, errors.ErrUnsupported) && os.Getenv("CI") != "true" {
			hosttest.Missing(t, "%v", err)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = vm.Stop(t.Context()) })
		out.waitFor(t, want)
		for _, n := range never {
			if text := out.String(); strings.Contains(text, n) {
				t.Errorf("%q: %q", n, text)
			}
		}
	}
	t.Run("refused", func(t *testing.T) { start(t, unsigned, true, "Access Denied", runs) })
	t.Run("without", func(t *testing.T) { start(t, unsigned, false, runs, "Access Denied") })
	t.Run("signed", func(t *testing.T) {
		shim, err := os.ReadFile(filepath.Join(lab, "shim/usr/lib/shim/shimx64.efi.signed"))
		if err != nil {
			hosttest.Missing(t, "%v; make lab unpacks it", err)
		}
		start(t, shim, true, "grubx64.efi", "Access Denied") // which shim looks for, and there is none
	})
}

func TestDescriptors(t *testing.T) {
	descriptor := func(change func(m map[string]any)) string {
		m := map[string]any{
			"description": "x", "interface-types": []string{"uefi"},
			"mapping": map[string]any{"device": "flash", "executable": map[string]string{"filename": "/a/code.fd", "format": "raw"},
				"nvram-template": map[string]string{"filename": "/a/vars.fd", "format": "raw"}},
			"targets":  []any{map[string]any{"architecture": "x86_64", "machines": []string{"pc-q35-*"}}},
			"features": []string{"acpi-s3", "enrolled-keys", "requires-smm", "secure-boot"},
		}
		change(m)
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	set := func(name string, v any) func(map[string]any) { return func(m map[string]any) { m[name] = v } }
	mapping := func(name string, v any) func(map[string]any) {
		return func(m map[string]any) { m["mapping"].(map[string]any)[name] = v }
	}
	good := descriptor(func(map[string]any) {})
	for name, tt := range map[string]struct {
		text   string
		secure bool
		fails  bool
	}{
		"good":                {good, true, false},
		"split":               {descriptor(mapping("mode", "split")), true, false},
		"no keys":             {descriptor(set("features", []string{"requires-smm", "secure-boot"})), false, false},
		"no SMM":              {descriptor(set("features", []string{"enrolled-keys", "secure-boot"})), false, false},
		"ARM":                 {descriptor(set("targets", []any{map[string]any{"architecture": "aarch64", "machines": []string{"virt-*"}}})), false, false},
		"another machine":     {descriptor(set("targets", []any{map[string]any{"architecture": "x86_64", "machines": []string{"pc-i440fx-*"}}})), false, false},
		"BIOS":                {descriptor(set("interface-types", []string{"bios"})), false, false},
		"in memory":           {descriptor(mapping("device", "memory")), false, false},
		"one file":            {descriptor(mapping("mode", "combined")), false, false},
		"qcow2":               {descriptor(mapping("executable", map[string]string{"filename": "/a", "format": "qcow2"})), false, false},
		"relative":            {descriptor(mapping("executable", map[string]string{"filename": "../a", "format": "raw"})), false, true},
		"with a zero byte":    {descriptor(mapping("nvram-template", map[string]string{"filename": "/a\x00", "format": "raw"})), false, true},
		"no JSON":             {"{", false, true},
		"a list":              {"[]", false, true},
		"nested without end":  {strings.Repeat(`{"mapping":`, 20000), false, true},
		"with another's type": {`{"features": 7}`, false, true},
	} {
		image, secure, err := parseDescriptor([]byte(tt.text))
		if secure != tt.secure || (err != nil) != tt.fails || secure && image != (firmwareImage{"/a/code.fd", "/a/vars.fd"}) {
			t.Errorf("%s: %v, %v, %v", name, image, secure, err)
		}
	}

	etc, usr := t.TempDir(), t.TempDir()
	at := func(code string) string { return strings.Replace(good, "/a/code.fd", code, 1) }
	for name, text := range map[string]string{
		usr + "/40-a.json": at("/usr/a"), usr + "/50-b.json": at("/usr/b"), usr + "/60-c.json": at("/usr/c"), usr + "/70-d.json": strings.Repeat(" ", maxDescriptor+1),
		usr + "/README": good, etc + "/50-b.json": "", etc + "/60-c.json": at("/etc/c"), etc + "/30-e.json": at("/etc/e"),
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(usr+"/80-f.json", 0o700); err != nil {
		t.Fatal(err)
	}
	found, err := secureFirmware([]string{etc, usr})
	want := []firmwareImage{{"/etc/e", "/a/vars.fd"}, {"/usr/a", "/a/vars.fd"}, {"/etc/c", "/a/vars.fd"}}
	if diff := cmp.Diff(want, found); diff != "" || err == nil || !strings.Contains(err.Error(), "70-d.json: it is longer") || !strings.Contains(err.Error(), "80-f.json") {
		t.Errorf("%s\n%v", diff, err)
	}
	h := inheritance{rights: own{}}
	g := guestOf()
	g.SecureBoot = true
	_, _, err = openSecure(&h, g, []string{etc})
	if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "Secure Boot here") || !strings.Contains(err.Error(), "install the package ovmf") {
		t.Errorf("%v", err)
	}
}

func FuzzDescriptor(f *testing.F) {
	f.Add([]byte(`{"interface-types":["uefi"],"mapping":{"device":"flash","executable":{"filename":"/a","format":"raw"},"nvram-template":{"filename":"/b","format":"raw"}},` +
		`"targets":[{"architecture":"x86_64","machines":["pc-q35-*"]}],"features":["secure-boot","enrolled-keys","requires-smm"]}`))
	for _, name := range descriptorDirs() {
		all, _ := filepath.Glob(name + "/*.json")
		for _, n := range all {
			if text, err := os.ReadFile(n); err == nil {
				f.Add(text)
			}
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		image, secure, err := parseDescriptor(text)
		if secure && (err != nil || !filepath.IsAbs(image.Code) || !filepath.IsAbs(image.Variables) || strings.ContainsRune(image.Code+image.Variables, 0)) {
			t.Errorf("%v, %v", image, err)
		}
	})
}
