package laptop

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/project-independence/indy/internal/hosttest"
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
	files := collected(t, "hwdata", "usb", "raw", "*.descriptors.bin")
	for name, data := range files {
		if all := offered(data); len(all) == 0 {
			t.Errorf("%s has no interfaces", name)
		}
	}
	for name, want := range map[string]string{
		"1d6b_0002_8.descriptors.bin": "090000",        // a root hub
		"04d9_1603_0.descriptors.bin": "030101,030000", // a keyboard
		"138a_0091_0.descriptors.bin": "ff0000",        // a fingerprint reader
	} {
		var s set
		for _, c := range strings.Split(want, ",") {
			s.add(c)
		}
		if got := offered(files[name]); !slices.Equal(got, s) {
			t.Errorf("%s: %v, want %v", name, got, s)
		}
	}
	for _, in := range []string{"", "\x09", "\x00\x04", "\x01\x04", "\xff\x04", "\x09\x04\x00\x00\x00\x08\x06\x50", "\x08\x04\x00\x00\x00\x08\x06\x50"} {
		if got := offered([]byte(in)); len(got) > 0 {
			t.Errorf("%q: %v", in, got)
		}
	}
}

func FuzzOffered(f *testing.F) {
	for _, data := range collected(f, "hwdata", "usb", "raw", "*.descriptors.bin") {
		f.Add(data)
	}
	f.Add([]byte("\x09\x04\x00\x00\x00\x08\x06\x50\x00\x02"))
	f.Fuzz(func(t *testing.T, b []byte) {
		all := offered(b)
		if len(all) > 200 || !slices.IsSorted(all) || len(slices.Compact(slices.Clone(all))) != len(all) {
			t.Errorf("%v", all)
		}
		for _, c := range all {
			if len(c) != 6 || strings.Trim(c, "0123456789abcdef") != "" {
				t.Errorf("%q", c)
			}
		}
	})
}

// TestScreenName has real screens: what they are called does not depend on the serial
// number.
func TestScreenName(t *testing.T) {
	files := collected(t, "hwdata", "edid", "linuxhw", "*.edid.bin")
	for name, data := range files {
		maker := strings.Split(name, "__")[2][:3]
		got := screenName(data)
		if !strings.HasPrefix(got, maker+" ") && strings.ToUpper(maker) == maker {
			t.Errorf("%s is %q", name, got)
		}
		other := slices.Clone(data)
		copy(other[12:16], "1234")
		if other[127]++; screenName(other) != got {
			t.Errorf("%s: another serial number makes it %q", name, screenName(other))
		}
		if other[20]++; screenName(other) == got {
			t.Errorf("%s is the same with another input", name)
		}
		if screenName(data[:127]) != "" || screenName(data[1:]) != "" {
			t.Errorf("%s: half of it is a screen", name)
		}
	}
	t.Logf("%d screens", len(files))
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
		before := slices.Clone(b)
		s := screenName(b)
		if s != oneLine(s) || len(s) > 64 || strings.Contains(s, ",") || !slices.Equal(b, before) {
			t.Errorf("%q", s)
		}
	})
}

func TestTopology(t *testing.T) {
	for in, want := range map[string]string{
		"../../../devices/pci0000:00/0000:00:1c.4/0000:03:00.0":                                             "pci0000:00/1c.4/00.0",
		"../../../devices/pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:06.0/10000:e1:00.0":                  "pci0000:00/0e.0/pci/06.0/00.0",
		"../../../devices/pci0000:80/0000:80:01.1":                                                          "pci0000:80/01.1",
		"../../../devices/platform/vhci_hcd.0":                                                              "platform/vhci_hcd.0",
		"../../../devices/pci0000:00/0000:00:0d.0/xhci-hcd.1.auto":                                          "pci0000:00/0d.0/xhci-hcd.1.auto",
		"../../../bus/elsewhere/0000:00:1c.4":                                                               "",
		"../../../devices/" + strings.Repeat("0000:00:1c.4/", 70):                                           "",
		"../../../devices/LNXSYSTM:00/LNXSYBUS:00/ACPI0004:00/VMBUS:00/3fd5/pci0001:00/0001:00:00.0/../../": "LNXSYSTM:00/LNXSYBUS:00/ACPI0004:00/VMBUS:00/3fd5/pci0001:00/00.0/../../",
	} {
		if got := topology(in); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

func TestPortName(t *testing.T) {
	for in, want := range map[string]string{
		"../../../usb2/2-0:1.0/usb2-port4": "2-4", "../1-4:1.0/1-4-port2": "1-4.2", "1-4.1-port12": "1-4.1.12",
		"": "", "usb2": "", "usb-port1": "", "usb1-port0": "", "usb1-port": "", "1-4.1.1.1.1.1.1-port1": "", "xusb1-port1": "",
	} {
		p, ok := portName(in)
		if got := ""; ok != (want != "") || ok && p.String() != want {
			t.Errorf("%s: %v %s, want %q", in, ok, got, want)
		}
	}
}

func TestOwner(t *testing.T) {
	for in, want := range map[string]string{
		"../../devices/pci0000:00/0000:00:1c.0/0000:02:00.0/net/wlan0":                     "pci:0000:02:00.0",
		"../../devices/pci0000:00/0000:00:14.0/usb1/1-4/1-4.2/1-4.2:1.0/net/eth0":          "usb:1-4.2",
		"../../devices/virtual/net/lo":                                                     "",
		"../../devices/platform/soc/usb/usb1/1-1/1-1:1.0/net/eth0":                         "usb:1-1",
		"../../devices/virtual/nvme-fabrics/ctl/nvme0/0000:zz:00.0/../../../0000:00:1c.9/": "",
	} {
		if got := owner(in); got != want {
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
		"": true, "0": true, "000000000000": true, "XXXX": true, "None": true, "0123456789ABCDEF": true, "123456789012": true,
		"1234567890ABCDEF": true, "0123456789": true, "To be filled by O.E.M.": true,
		"4": true, "12": false, "000001000000": false, "A1B2": false, "1234567891": false, "SCRUBBED00112233AABB": false,
	} {
		if isPlaceholder(serial) != want {
			t.Errorf("%q: %v", serial, !want)
		}
	}
}
