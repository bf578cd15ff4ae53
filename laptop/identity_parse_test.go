package laptop

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/project-independence/indy/gpu"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/usb"
)

// collected returns the files of the collection that match, which seed a fuzzer.
func collected(f testing.TB, elem ...string) map[string][]byte {
	files, err := filepath.Glob(filepath.Join(hosttest.Shared(f, elem[:len(elem)-1]...), elem[len(elem)-1]))
	if err != nil || len(files) < 5 {
		f.Fatalf("%d files, %v", len(files), err)
	}
	all := map[string][]byte{}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		all[filepath.Base(name)] = data
	}
	return all
}

// TestOffered has the interfaces of real devices.
func TestOffered(t *testing.T) {
	parse := func(data []byte) string {
		d, _ := usb.ParseDescriptors(data) // what is wrong with them is in the error
		return joinClasses(offered(d))
	}
	files := collected(t, "hwdata", "usb", "raw", "*.descriptors.bin")
	for name, data := range files {
		if all := parse(data); all == "" || joinClasses(splitClasses(all)) != all {
			t.Errorf("%s has the interfaces %s", name, all)
		}
	}
	for name, want := range map[string]string{
		"1d6b_0002_8.descriptors.bin": "090000",        // a root hub
		"04d9_1603_0.descriptors.bin": "030000,030101", // a keyboard
		"138a_0091_0.descriptors.bin": "ff0000",        // a fingerprint reader
	} {
		if got := parse(files[name]); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	// Whoever names thousands of classes is not asked for more.
	var many usb.Configuration
	for n := range 1000 {
		many.Interfaces = append(many.Interfaces, usb.InterfaceDescriptor{Class: usb.NewClass(byte(n>>8), byte(n), 0)})
	}
	if got := offered(usb.Descriptors{Configurations: []usb.Configuration{many}}); len(got[0]) != 150 {
		t.Errorf("%d classes", len(got[0]))
	}
	// Alternate settings are of one interface, and those of each configuration count.
	var settings []usb.InterfaceDescriptor
	for _, s := range [][2]int{{0, 0}, {0, 1}, {1, 0}, {2, 0}, {2, 1}} {
		settings = append(settings, usb.InterfaceDescriptor{Number: s[0], Alternate: s[1], Class: usb.NewClass(3, 1, 1)})
	}
	settings[1].Class = usb.NewClass(8, 6, 0x50)
	twice := usb.Descriptors{Configurations: []usb.Configuration{{Interfaces: settings}, {Interfaces: settings[1:2]}, {Interfaces: settings[1:2]}}}
	if got := joinClasses(offered(twice)); got != "030101x3,080650;080650" {
		t.Error(got)
	}
}

// TestIsRaw has no serial number in a scrubbed capture of a real machine that would
// tell that it is none, and some in the machines as they are.
func TestIsRaw(t *testing.T) {
	var files []string
	for _, pattern := range []string{
		filepath.Join(hosttest.Shared(t, "hosts"), "*.txtar"), filepath.Join(hosttest.Root(t), "testdata", "hosts", "*.txtar"),
		filepath.Join(hosttest.Shared(t, "hwdata", "sysfs", "ghw"), "*.tar.gz"),
	} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(found), err)
		}
		files = append(files, found...)
	}
	raw, serials := 0, 0
	for _, file := range files {
		saved, err := hostfs.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		captured, _ := hostfs.Capture(saved, hostfs.CaptureOptions{}) // what it lacks is in the error
		for _, fsys := range []fs.FS{saved, captured} {
			l, _ := Read(fsys)
			ids, _ := Identify(fsys, l)
			for _, id := range ids {
				s := id.Value(BySerial)
				if s == "" {
					continue
				}
				serials++
				switch {
				case fsys == fs.FS(captured) && isRaw(s):
					t.Errorf("%s: %s has %q", filepath.Base(file), id.ID, s)
				case isRaw(s):
					raw++
				}
			}
		}
		_ = saved.Close()
	}
	t.Logf("%d machines, %d serial numbers, %d of them raw", len(files), serials, raw)
	for s, want := range map[string]bool{
		"4C530001170522": true, "2013": true, "GS0": true, "": false, "serial": false, "000000": false, "0123456789ABCDEF": false,
		"SCRUBBED00112233AABB": false, "SCRUBBED00112233AAB": true, "02ABCDEF0123": false, "02:11:22:33:44:55": false,
		"4c4c4544-0042-3510-8047-b9c04f463533": false, "28754-0000:00:04.0-1": false, "10000:e1:00.0": false,
	} {
		if isRaw(s) != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
}

// TestScreenName has real screens: another serial number changes nothing but that.
func TestScreenName(t *testing.T) {
	files := collected(t, "hwdata", "edid", "linuxhw", "*.edid.bin")
	named := func(data []byte) (string, string) {
		e, err := gpu.ParseEDID(data)
		if err != nil {
			t.Error(err)
		}
		name, unit, _ := strings.Cut(screenName(e), screenSerial)
		return name, unit
	}
	units := 0
	for file, data := range files {
		maker := strings.Split(file, "__")[2][:3]
		name, unit := named(data)
		if !strings.HasPrefix(name, maker+" ") && strings.ToUpper(maker) == maker || name != line(name) {
			t.Errorf("%s is %q", file, name)
		}
		if unit != "" {
			units++
		}
		other := slices.Clone(data)
		copy(other[12:16], "\x99\x01\x02\x03")
		for at := 54; at+18 < 128; at += 18 { // a text would be told in place of the number
			if d := other[at : at+18]; d[0] == 0 && d[1] == 0 && d[3] == 0xff {
				d[3] = 0x10
			}
		}
		if n, u := named(other); n != name || u != "03020199" {
			t.Errorf("%s: another serial number makes %q of %q, and %q", file, n, name, u)
		}
		copy(other[12:16], "0a9f") // as a scrubbed capture has it
		if n, u := named(other); n != name || u != "" {
			t.Errorf("%s: scrubbed it is %q %q", file, n, u)
		}
		if other[10]++; slices.Equal(other, data) {
			t.Fatal("no change")
		} else if n, _ := named(other); n == name {
			t.Errorf("%s: another product is %q too", file, n)
		}
	}
	t.Logf("%d screens, %d with serial numbers", len(files), units)
	if units < 10 {
		t.Errorf("only %d serial numbers", units)
	}
}

func FuzzScreenName(f *testing.F) {
	n := 0
	for _, data := range collected(f, "hwdata", "edid", "linuxhw", "*.edid.bin") {
		if n++; n < 20 {
			f.Add(data)
		}
	}
	f.Add([]byte("\x00\xff\xff\xff\xff\xff\xff\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := gpu.ParseEDID(b)
		s := screenName(e)
		if s != line(s) || strings.Contains(s, ",") || strings.Count(s, screenSerial) > 1 {
			t.Errorf("%q, %v", s, err)
		}
		if !sameScreens(s, s) {
			t.Errorf("%q is not itself", s)
		}
	})
}

func TestSameScreens(t *testing.T) {
	for pair, want := range map[string]bool{
		"A 1|A 1": true, "A 1|A 2": false, "A 1|A 1,B 2": false, "A 1 SERIAL=x|A 1 SERIAL=x": true, "A 1 SERIAL=x|A 1 SERIAL=y": false,
		"A 1 SERIAL=x|A 1": true, "A 1|A 1 SERIAL=x": true, "A 1,B 1 SERIAL=x|A 1 SERIAL=y,B 1": true,
	} {
		a, b, _ := strings.Cut(pair, "|")
		if sameScreens(a, b) != want {
			t.Errorf("%s: %v", pair, !want)
		}
	}
}

func TestStablePath(t *testing.T) {
	for in, want := range map[string]string{
		"i2c_designware.0/i2c-3/i2c-ELAN0001:00":                  "i2c_designware.0/i2c/i2c-ELAN0001:00",
		"i2c_designware.0/i2c-3/3-002c":                           "i2c_designware.0/i2c/-002c",
		"i2c_designware.0/i2c-3/4-002c":                           "i2c_designware.0/i2c/4-002c", // of no bus above it
		"virtual/misc/uhid/0005:046D:B023.0006":                   "virtual/misc/uhid/0005:046D:B023",
		"pxa2xx-spi.3/spi_master/spi0/spi-ELAN7001:00":            "pxa2xx-spi.3/spi_master/spi/spi-ELAN7001:00",
		"spi_master/spi1/spi1.0":                                  "spi_master/spi/spi.0",
		"dw-apb-uart.2/serial0/serial0-0":                         "dw-apb-uart.2/serial/serial-0",
		"platform/INT33BB:00/mmc_host/mmc1/mmc1:fffd/mmc1:fffd:1": "platform/INT33BB:00/mmc_host/mmc/mmc/mmc:1",
		"platform/80860F14:00/mmc_host/mmc0/mmc0:0001":            "platform/80860F14:00/mmc_host/mmc/mmc",
		"platform/soc/a600000.dwc3/xhci-hcd.3.auto":               "platform/soc/a600000.dwc3/xhci-hcd.auto",
		"platform/vhci_hcd.0":                                     "platform/vhci_hcd.0",
		"platform/i8042/serio1":                                   "platform/i8042/serio1",
		"LNXSYSTM:00/LNXSYBUS:00/PNP0A08:00/device:3a/PNP0C0A:01": "LNXSYSTM:00/LNXSYBUS:00/PNP0A08:00/device/PNP0C0A:01",
		"platform/serial8250":                                     "platform/serial8250",
		"pnp0/00:05":                                              "pnp0/00:05",
		".auto/spi/mmc/serial/i2c-":                               ".auto/spi/mmc/serial/i2c-",
		strings.Repeat("x/", 70):                                  "",
		"":                                                        "",
	} {
		if got := stablePath(in); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestScrubbedNames(t *testing.T) {
	for name, want := range map[string]bool{
		"SCRUBBED00112233AABB": true, "SCRUBBED00112233aabb": false, "SCRUBBED": false, "S5GXNX0T123456": false,
		"02:11:22:33:44:55": true, "02-11-22-33-44-55": true, "00:11:22:33:44:55": false, "02:11": false,
		"4c4c4544-0042-3510-8047-b9c04f463533": true, "4C4C4544-0042-3510-8047-B9C04F463533": true, "": false,
	} {
		if isScrubbed(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
	for serial, want := range map[string]bool{
		"": true, "0": true, "000000000000": true, "ZZZZ": true, "None": true, "0123456789ABCDEF": true, "123456789012": true,
		"1234567890ABCDEF": true, "0123456789": true, "To be filled by O.E.M.": true,
		"4": true, "12": false, "000001000000": false, "A1B2": false, "1234567891": false, "SCRUBBED00112233AABB": false,
	} {
		if isPlaceholder(serial) != want {
			t.Errorf("%q: %v", serial, !want)
		}
	}
}
