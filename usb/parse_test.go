package usb

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/internal/plain"
	"github.com/project-independence/indy/pci"
)

func TestParseModalias(t *testing.T) {
	m, ok := parseModalias("usb:v046DpC52Bd1211dc00dsc01dp02ic03isc01ip01in0A")
	want := modalias{pci.NewID(0x46d), pci.NewID(0xc52b), pci.NewID(0x1211), NewClass(0, 1, 2), NewClass(3, 1, 1)}
	if !ok || m != want {
		t.Errorf("%+v, %v", m, ok)
	}
	for _, s := range []string{
		"", "usb:", "usb:v046DpC52Bd1211dc00dsc01dp02ic03isc01ip01", "pci:v046DpC52Bd1211dc00dsc01dp02ic03isc01ip01in00",
		"usb:v046GpC52Bd1211dc00dsc01dp02ic03isc01ip01in00", "usb:v+46DpC52Bd1211dc00dsc01dp02ic03isc01ip01in00",
		"usb:v....p....d....dc..dsc..dp..ic..isc..ip..in..",
	} {
		if m, ok := parseModalias(s); ok {
			t.Errorf("%q parsed as %+v", s, m)
		}
	}
}

func TestParseInterface(t *testing.T) {
	for in, want := range map[string]string{"1-4:1.0": "1-4", "1-4.2:2.31": "1-4.2", "1-0:1.0": "invalid port path"} {
		if p, _, ok := parseInterface(in); !ok || p.String() != want {
			t.Errorf("%q: %v, %v", in, p, ok)
		}
	}
	for _, in := range []string{"1-4", "1-4:", "1-4:1", "1-4:1.", "1-4:.1", "1-4:1.0.0", "0-0:1.0", ":1.0", "usb1:1.0", "1-4:1.-1", "1-4:1.256"} {
		if p, n, ok := parseInterface(in); ok {
			t.Errorf("%q parsed as %v, %d", in, p, n)
		}
	}
}

func FuzzUevent(f *testing.F) {
	f.Add("MAJOR=189\nDEVTYPE=usb_device\nDRIVER=usb\nPRODUCT=46d/c52b/1211\nTYPE=0/0/0\nBUSNUM=001\nDEVNUM=004\n")
	f.Add("DEVTYPE=usb_interface\nDRIVER=usbhid\nPRODUCT=46d/c52b/1211\nTYPE=0/0/0\nINTERFACE=3/1/1\nMODALIAS=usb:v046DpC52Bd1211dc00dsc00dp00ic03isc01ip01in00\n")
	f.Add("PRODUCT=1d6b//\nTYPE=9/0\nBUSNUM=0\nDEVNUM=-1\nINTERFACE=256/0/0\n=\nDRIVER=\n\x00")
	f.Add("usb:v046DpC52Bd1211dc00dsc00dp00ic03isc01ip01in00")
	files, err := filepath.Glob(filepath.Join(hosttest.Shared(f, "hwdata", "usb"), "*", "*.umockdev")) // recordings of real devices
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for record := range strings.SplitSeq(string(text), "\n\n") {
			uevent := ""
			for line := range strings.Lines(record) {
				if rest, ok := strings.CutPrefix(line, "E: "); ok {
					uevent += rest
				}
			}
			f.Add(uevent)
		}
	}
	f.Fuzz(func(t *testing.T, s string) {
		d := Device{Path: PortPath{1<<56 | 4<<48}, Bus: 1}
		errs := d.parseUevent(s)
		for _, err := range errs {
			if !utf8.ValidString(err.Error()) || len(err.Error()) > 400 {
				t.Errorf("an error of %d bytes: %q", len(err.Error()), err)
			}
		}
		if d.Number < 0 || d.Bus != 1 || d.Vendor.Known() != d.Product.Known() {
			t.Errorf("%q gave %+v", s, d)
		}
		var i Interface
		if err := i.parseUevent(s); err == nil && strings.Contains(s, "\nINTERFACE=3/1/1\n") && !i.Class.Known() {
			t.Errorf("%q gave %+v", s, i)
		}
		parseModalias(s)
		if c := plain.Line(s, maxText); !utf8.ValidString(c) || utf8.RuneCountInString(c) > maxText || strings.ContainsAny(c, "\n\x1b") {
			t.Errorf("%q cleaned to %q", s, c)
		}
	})
}
