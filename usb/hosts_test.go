package usb_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/usb"
)

// TestHosts compares the devices of real machines with what their text says when
// it is read line by line.
func TestHosts(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(hosttest.Shared(t, "hosts"), "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no saved machines: %v", err)
	}
	total := 0
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			host, err := hostfs.Open(file)
			must(t, err)
			defer host.Close()
			list, err := usb.Devices(host)
			if err != nil {
				t.Error(err)
			}
			var got []string
			for _, d := range list {
				controller, class := "", d.Class.String()
				if d.Controller.IsValid() {
					controller = d.Controller.String()
				}
				s := fmt.Sprintf("%v %v:%v %s %s", d.Path, d.Vendor, d.Product, class, controller)
				for _, i := range d.Interfaces {
					s += fmt.Sprintf(" %02x:%v", i.Number, i.Class)
				}
				got = append(got, s)
				if d.Hub != (class[:2] == "09") {
					t.Errorf("%v of class %s: hub is %v", d.Path, class, d.Hub)
				}
			}
			text, err := os.ReadFile(file)
			must(t, err)
			want := plainReading(string(text))
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			total += len(list)
		})
	}
	if total < 100 {
		t.Errorf("%d devices in all", total)
	}
}

var (
	section    = regexp.MustCompile(`(?m)^-- (\S+) --\n([^\n]*)`)
	link       = regexp.MustCompile(`(?m)^-- sys/bus/usb/devices/(\d+-[1-9][\d.]*)(:\S+)? -> (?:\.\./)*(devices/\S+) --$`)
	controller = regexp.MustCompile(`([0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])/usb\d+/`)
)

func plainReading(text string) []string {
	value := map[string]string{}
	for _, m := range section.FindAllStringSubmatch(text, -1) {
		value[m[1]] = m[2]
	}
	devices, interfaces := map[string]string{}, map[string][]string{}
	for _, m := range link.FindAllStringSubmatch(text, -1) {
		name, dir := m[1], "sys/"+m[3]+"/"
		if m[2] != "" {
			in := value[dir+"bInterfaceNumber"] + ":" + value[dir+"bInterfaceClass"] + value[dir+"bInterfaceSubClass"] + value[dir+"bInterfaceProtocol"]
			interfaces[name] = append(interfaces[name], in)
			continue
		}
		at := ""
		if c := controller.FindStringSubmatch(dir); c != nil {
			at = c[1]
		}
		devices[name] = fmt.Sprintf("%s %s:%s %s%s%s %s", name, value[dir+"idVendor"], value[dir+"idProduct"],
			value[dir+"bDeviceClass"], value[dir+"bDeviceSubClass"], value[dir+"bDeviceProtocol"], at)
	}
	var all []string
	for name, s := range devices {
		slices.Sort(interfaces[name])
		all = append(all, strings.Join(append([]string{s}, interfaces[name]...), " "))
	}
	return all
}

// TestGarbage puts nonsense into each file, one after another, and into each link:
// nothing panics and every other device stays as it was.
func TestGarbage(t *testing.T) {
	nonsense := [][]byte{
		nil, []byte("\n"), []byte("\x00\xff\xfe=\n\n="), []byte("-1\n"), []byte("0xffffffffffffffffffff\n"), bytes.Repeat([]byte("A=/:"), 5000),
		[]byte("PRODUCT=\nTYPE=\nINTERFACE=\nDEVNUM=\nBUSNUM=9\n"), []byte("PRODUCT=1/2/3/4\nTYPE=1/2/3/4\nINTERFACE=1/2/256\nDEVNUM=99999999999\n"),
	}
	old := desk(t)
	must(t, old.Remove("sys/bus/usb/devices/1-2/uevent"))
	for _, name := range []string{"idVendor", "idProduct", "bcdDevice", "bDeviceClass", "bDeviceSubClass", "bDeviceProtocol", "devnum"} {
		must(t, old.Put("sys/bus/usb/devices/1-2/"+name, []byte("01\n")))
	}
	before, err := usb.Devices(old)
	must(t, err)
	names := 0
	err = fs.WalkDir(old, "sys", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		names++
		for _, data := range nonsense {
			tr := old.Clone()
			if e.Type() == fs.ModeSymlink {
				must(t, tr.Remove(name))
				must(t, tr.Symlink("x"+fmt.Sprintf("%.100q", data), name))
			} else {
				must(t, tr.WriteFile(name, data))
			}
			after, _ := usb.Devices(tr)
			for _, d := range before {
				if onWay(name, d.Path) {
					continue
				}
				i := slices.IndexFunc(after, func(a usb.Device) bool { return a.Path == d.Path })
				if i < 0 || lines(after[i:i+1]) != lines([]usb.Device{d}) {
					t.Errorf("%.20q in %s changed %v", data, name, d.Path)
				}
			}
		}
		return nil
	})
	if err != nil || names < 30 {
		t.Errorf("%d names, %v", names, err)
	}
}

// onWay reports whether name is of the device at p or of one of its interfaces.
func onWay(name string, p usb.PortPath) bool {
	for elem := range strings.SplitSeq(name, "/") {
		if device, _, _ := strings.Cut(elem, ":"); device == p.String() {
			return true
		}
	}
	return false
}

// BenchmarkDevices lists 120 devices with 230 interfaces.
func BenchmarkDevices(b *testing.B) {
	tr := new(hostfs.Tree)
	for i := range 120 {
		port := fmt.Sprintf("%d-%d.%d", 1+i/60, 1+i%60/6, 1+i%6)
		interfaces := []string{"DRIVER=usbhid\nINTERFACE=3/1/1\n", "DRIVER=usbhid\nINTERFACE=3/1/2\n"}
		if i%12 == 0 {
			interfaces = interfaces[:1]
		}
		plug(b, tr, xhci, port, receiver, interfaces...)
	}
	fsys := fs.FS(tr)
	if list, _ := usb.Devices(fsys); len(list) != 120 {
		b.Fatalf("%d devices", len(list))
	}
	b.ReportAllocs()
	for b.Loop() {
		_, _ = usb.Devices(fsys)
	}
}

func BenchmarkParsePortPath(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := usb.ParsePortPath("3-4.2.11"); err != nil {
			b.Fatal(err)
		}
	}
}
