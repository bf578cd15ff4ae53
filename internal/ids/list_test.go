package ids

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/pci"
)

const small = "# comment\n\n# Syntax:\n" +
	"0001  First\n\n" +
	"1af4  Red Hat, Inc.\n" +
	"\t1000  Virtio network device\n" +
	"# a comment among devices\n" +
	"\t\t01de fffb  Propolis\n" +
	"\n" +
	"\t\t1af4 0001  Virtio\n" +
	"\t1001  Virtio block device\n" +
	"\t\t1af4 0002  Disk\n" +
	"8086  Intel \x1b[31mCorporation\x00\x7f\n" +
	"\t0007  82379AB\n" +
	"\t00FF  upper case\r\n" +
	"ffff  Illegal Vendor ID\n" +
	"# classes\n" +
	"C 00  Unclassified device\n" +
	"\t00  Non-VGA unclassified device\n" +
	"C 03  Display controller\n" +
	"\t00  VGA compatible controller\n" +
	"\t\t00  VGA controller\n" +
	"\t\t01  8514 controller\n" +
	"\t01  XGA compatible controller\n" +
	"AT 0100  USB Undefined\n" +
	"HID 21  HID"

func id(n uint16) pci.ID { return pci.NewID(n) }

func TestNames(t *testing.T) {
	for range 2 { // and again with what is remembered
		f := New([]byte(small))
		for _, c := range []struct {
			v    uint16
			want string
		}{
			{0xffff, "Illegal Vendor ID"}, {0x0001, "First"}, {0x8086, "Intel [31mCorporation"}, {0x1af4, "Red Hat, Inc."},
			{0x0000, ""}, {0x1af5, ""}, {0x0100, ""}, {0xfffe, ""}, {0x1af4, "Red Hat, Inc."}, {0x0001, "First"},
		} {
			if got, ok := f.Vendor(id(c.v)); got != c.want || ok != (c.want != "") {
				t.Errorf("Vendor(%04x) = %q, %v; want %q", c.v, got, ok, c.want)
			}
		}
		for _, c := range []struct {
			v, d uint16
			want string
		}{
			{0x1af4, 0x1000, "Virtio network device"}, {0x1af4, 0x1001, "Virtio block device"}, {0x8086, 0x7, "82379AB"},
			{0x8086, 0xff, "upper case"}, {0x1af4, 0x7, ""}, {0x1, 0x1, ""}, {0x2, 0x1, ""}, {0xffff, 0, ""},
		} {
			if got, ok := f.Device(id(c.v), id(c.d)); got != c.want || ok != (c.want != "") {
				t.Errorf("Device(%04x, %04x) = %q, %v; want %q", c.v, c.d, got, ok, c.want)
			}
		}
		for _, c := range []struct {
			d, sv, sd uint16
			want      string
		}{
			{0x1000, 0x01de, 0xfffb, "Propolis"}, {0x1000, 0x1af4, 1, "Virtio"}, {0x1001, 0x1af4, 2, "Disk"},
			{0x1000, 0x1af4, 2, ""}, {0x1001, 0x1af4, 1, ""}, {0x1002, 0x1af4, 1, ""},
		} {
			if got, ok := f.Subsystem(id(0x1af4), id(c.d), id(c.sv), id(c.sd)); got != c.want || ok != (c.want != "") {
				t.Errorf("Subsystem(1af4, %04x, %04x, %04x) = %q, %v; want %q", c.d, c.sv, c.sd, got, ok, c.want)
			}
		}
		for _, c := range []struct {
			class [3]uint8
			want  [3]string
		}{
			{[3]uint8{3, 0, 1}, [3]string{"Display controller", "VGA compatible controller", "8514 controller"}},
			{[3]uint8{3, 1, 0}, [3]string{"Display controller", "XGA compatible controller"}},
			{[3]uint8{3, 2, 0}, [3]string{"Display controller"}},
			{[3]uint8{0, 0, 0}, [3]string{"Unclassified device", "Non-VGA unclassified device"}},
			{[3]uint8{4, 0, 0}, [3]string{}},
		} {
			var got [3]string
			got[0], got[1], got[2] = f.Class(c.class[0], c.class[1], c.class[2])
			if got != c.want {
				t.Errorf("Class(%x) = %q, want %q", c.class, got, c.want)
			}
		}
	}
}

func TestUnknownIDsHaveNoNames(t *testing.T) {
	var none *File
	for _, f := range []*File{New([]byte(small)), New(nil), none, Open(fstest.MapFS{}), {}} {
		v, vok := f.Vendor(pci.ID{})
		d, dok := f.Device(id(0x8086), pci.ID{})
		s, sok := f.Subsystem(id(0x1af4), id(0x1000), pci.ID{}, pci.ID{})
		if v+d+s != "" || vok || dok || sok {
			t.Errorf("names %q %q %q for unknown ids", v, d, s)
		}
	}
	if none.Err() == nil {
		t.Error("a nil File has no reason")
	}
	if c, s, i := none.Class(3, 0, 0); c+s+i != "" {
		t.Error("a nil File has classes")
	}
}

func TestOutOfOrder(t *testing.T) {
	// Enough vendors for bisecting, one of them in the wrong place, and so a device.
	var b strings.Builder
	line := func(tabs string, n int, name string) {
		b.WriteString(tabs + id(uint16(n)).String() + "  " + name + "\n")
	}
	devices := func() {
		for d := 0x1000; d < 0x1200; d += 2 {
			if d == 0x1080 {
				line("\t", 0x0003, "lost device")
			}
			line("\t", d, "device "+id(uint16(d)).String())
		}
	}
	for v := 0x100; v < 0x200; v += 2 {
		line("", v, "vendor "+id(uint16(v)).String())
		if v == 0x180 {
			devices()
			line("", 0x10, "lost vendor")
		}
	}
	f := New([]byte(b.String()))
	for range 2 {
		if got, _ := f.Vendor(id(0x10)); got != "lost vendor" {
			t.Errorf("the vendor out of order is %q", got)
		}
		if got, _ := f.Device(id(0x180), id(3)); got != "lost device" {
			t.Errorf("the device out of order is %q", got)
		}
		for v := 0x100; v < 0x200; v++ {
			if got, ok := f.Vendor(id(uint16(v))); ok != (v%2 == 0) || ok && got != "vendor "+id(uint16(v)).String() {
				t.Errorf("Vendor(%04x) = %q, %v", v, got, ok)
			}
		}
		for d := 0x1000; d < 0x1200; d++ {
			if got, ok := f.Device(id(0x180), id(uint16(d))); ok != (d%2 == 0) || ok && got != "device "+id(uint16(d)).String() {
				t.Errorf("Device(0180, %04x) = %q, %v", d, got, ok)
			}
		}
	}
}

func TestSameKeyTwice(t *testing.T) {
	lines := func(v uint16, name string) string { return strings.Repeat(id(v).String()+"  "+name+"\n", 200) }
	f := New([]byte(lines(1, "one") + lines(5, "five") + "0007  seven\n" + lines(9, "nine") + strings.Repeat("X 1  y\n", 200)))
	for range 2 {
		for v, want := range map[uint16]string{1: "one", 2: "", 5: "five", 7: "seven", 8: "", 9: "nine", 0xffff: ""} {
			if got, ok := f.Vendor(id(v)); got != want || ok != (want != "") {
				t.Errorf("Vendor(%d) = %q, %v; want %q", v, got, ok, want)
			}
		}
	}
}

func TestNamesAreCleanAndBounded(t *testing.T) {
	f := New([]byte("0001  \ta\x00\x1b[2Jb\u202e\u0085\xff\u00e9 \r\n0002  " + strings.Repeat("x", 1<<20) + "\n0003  \x01\x02\n0004\n"))
	if got, ok := f.Vendor(id(1)); got != "a[2Jb\u00e9" || !ok {
		t.Errorf("%q, %v", got, ok)
	}
	if got, _ := f.Vendor(id(2)); len(got) != maxName {
		t.Errorf("a name of %d bytes", len(got))
	}
	for _, v := range []uint16{3, 4} {
		if got, ok := f.Vendor(id(v)); got != "" || ok {
			t.Errorf("a line without a name: %q, %v", got, ok)
		}
	}
}

func TestOpen(t *testing.T) {
	file := &fstest.MapFile{Data: []byte(small)}
	for _, name := range []string{"usr/share/misc/pci.ids", "usr/share/hwdata/pci.ids", "var/lib/pciutils/pci.ids"} {
		f := PCI(fstest.MapFS{name: file})
		if got, _ := f.Vendor(id(0x1af4)); got != "Red Hat, Inc." || f.Err() != nil {
			t.Errorf("%s: %q, %v", name, got, f.Err())
		}
	}
	f := USB(fstest.MapFS{"usr/share/hwdata/usb.ids": file})
	if got, _ := f.Device(id(0x1af4), id(0x1001)); got != "Virtio block device" || f.Err() != nil {
		t.Errorf("usb.ids: %q, %v", got, f.Err())
	}
	f = PCI(fstest.MapFS{})
	if got, ok := f.Vendor(id(0x1af4)); got != "" || ok {
		t.Errorf("a name without a list: %q", got)
	}
	if err := f.Err(); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "usr/share/misc/pci.ids") {
		t.Errorf("without a list: %v", err)
	}
	if err := Open(fstest.MapFS{}).Err(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a name of a list: %v", err)
	}
	f = Open(fstest.MapFS{"big": {Data: make([]byte, maxFile+1)}}, "none", "big", "nor this")
	if err := f.Err(); err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a list that is too long: %v", err)
	}
}

// A countingFS refuses one name, and counts the reads.
type countingFS struct {
	fstest.MapFS
	mu    sync.Mutex
	reads int
}

func (c *countingFS) ReadFile(name string) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reads++; name == "closed" {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EACCES}
	}
	return c.MapFS.ReadFile(name)
}

func TestReadLateAndOnce(t *testing.T) {
	c := &countingFS{MapFS: fstest.MapFS{"list": {Data: []byte(small)}}}
	f := Open(c, "closed", "list")
	if c.reads != 0 {
		t.Error("Open reads")
	}
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for range 100 {
				if got, _ := f.Device(id(0x1af4), id(0x1000+uint16(i&1))); !strings.HasPrefix(got, "Virtio") {
					t.Errorf("%q", got)
				}
				f.Class(3, 0, 0)
				f.Vendor(id(uint16(i)))
			}
		})
	}
	wg.Wait()
	if c.reads != 2 || f.Err() != nil {
		t.Errorf("%d reads, want one that was refused and one; %v", c.reads, f.Err())
	}
	if err := Open(c, "none", "closed").Err(); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("a list that may not be read: %v", err)
	}
}

func FuzzFile(f *testing.F) {
	f.Add([]byte(small), uint16(0x1af4), uint16(0x1000), uint16(0x1af4), uint16(1))
	f.Add([]byte("\t\t\t\n\n8086\n\t\t1af4 0001"), uint16(0x8086), uint16(0), uint16(0x1af4), uint16(1))
	f.Add([]byte("C \nC 0\nC 03\n\t\t00"), uint16(0), uint16(3), uint16(0), uint16(0))
	f.Add([]byte(strings.Repeat("ffff x\n\t0000 y\n", 200)+"0000  z"), uint16(0), uint16(0xffff), uint16(1), uint16(2))
	for _, name := range []string{"pci.ids", "usb.ids"} {
		real := readReal(f, name)
		end := len(real)
		f.Add(real[:min(end, 8<<10)], uint16(0x0001), uint16(0x7a09), uint16(0), uint16(0))
		f.Add(real[max(0, end-8<<10):], uint16(0xc03), uint16(0x30), uint16(0), uint16(0))
	}
	f.Fuzz(func(t *testing.T, data []byte, v, d, sv, sd uint16) {
		l := New(data)
		for range 2 {
			vendor, ok := l.Vendor(id(v))
			if line := id(v).String(); ok && !strings.Contains(strings.ToLower(string(data)), line) {
				t.Errorf("%q for vendor %s, which the list has not", vendor, line)
			}
			device, _ := l.Device(id(v), id(d))
			subsystem, _ := l.Subsystem(id(v), id(d), id(sv), id(sd))
			class, sub, iface := l.Class(uint8(v), uint8(d), uint8(sv))
			for _, s := range []string{vendor, device, subsystem, class, sub, iface} {
				if len(s) > maxName || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
					t.Errorf("name %q", s)
				}
			}
		}
	})
}

// readReal returns an installed list; without one the test is skipped, but not in CI.
func readReal(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile("/usr/share/misc/" + name)
	if errors.Is(err, fs.ErrNotExist) {
		data, err = os.ReadFile("/usr/share/hwdata/" + name)
	}
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatalf("CI needs the package %s: %v", name, err)
	} else if err != nil {
		hosttest.Missing(t, "%v", err)
	}
	return data
}
