package usb_test

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

const xhci = "pci0000:00/0000:00:1c.0/0000:3a:00.0"

// plug puts a device below the directory controller of sys/devices, and the links
// and files of its interfaces, each a uevent's INTERFACE and DRIVER.
func plug(t testing.TB, tr *hostfs.Tree, controller, port, uevent string, interfaces ...string) string {
	t.Helper()
	put := func(dir, content string) {
		if err := tr.Put(dir+"/uevent", []byte(content)); err != nil {
			t.Fatal(err)
		}
		name := dir[strings.LastIndexByte(dir, '/')+1:]
		if err := tr.Symlink("../../../"+strings.TrimPrefix(dir, "sys/"), "sys/bus/usb/devices/"+name); err != nil {
			t.Fatal(err)
		}
	}
	bus, _, _ := strings.Cut(port, "-")
	dir := "sys/devices/" + controller + "/usb" + bus
	put(dir, "DEVTYPE=usb_device\nDRIVER=usb\nPRODUCT=1d6b/2/612\nTYPE=9/0/1\nBUSNUM=00"+bus+"\nDEVNUM=001\n")
	put(dir+"/"+bus+"-0:1.0", "DEVTYPE=usb_interface\nDRIVER=hub\nINTERFACE=9/0/0\n")
	for i := range len(port) {
		if port[i] == '.' {
			dir += "/" + port[:i]
		}
	}
	dir += "/" + port
	put(dir, uevent)
	for i, in := range interfaces {
		put(fmt.Sprintf("%s/%s:1.%d", dir, port, i), in)
	}
	return dir
}

const (
	hub      = "DRIVER=usb\nPRODUCT=5e3/610/663\nTYPE=9/0/2\nBUSNUM=001\nDEVNUM=002\n"
	hubIf    = "DRIVER=hub\nINTERFACE=9/0/2\n"
	receiver = "DRIVER=usb\nPRODUCT=46d/c52b/1211\nTYPE=0/0/0\nBUSNUM=001\nDEVNUM=004\n"
	stick    = "DRIVER=usb\nPRODUCT=781/5581/100\nTYPE=0/0/0\nBUSNUM=001\nDEVNUM=%03d\n"
	stickIf  = "DRIVER=usb-storage\nINTERFACE=8/6/80\n"
)

// desk is a machine with a hub, two identical sticks, a composite receiver, a
// device that is not authorised, and one on a controller made by software.
func desk(t testing.TB) *hostfs.Tree {
	tr := new(hostfs.Tree)
	plug(t, tr, xhci, "1-4", hub, hubIf)
	plug(t, tr, xhci, "1-10", fmt.Sprintf(stick, 9), stickIf)
	plug(t, tr, xhci, "1-4.2", fmt.Sprintf(stick, 10), stickIf)
	plug(t, tr, xhci, "1-2", receiver, "DRIVER=usbhid\nINTERFACE=3/1/1\n", "INTERFACE=3/1/2\n", "DRIVER=usbhid\nINTERFACE=255/0/0\n")
	plug(t, tr, xhci, "1-5", "DRIVER=usb\nPRODUCT=bda/b812/0\nTYPE=0/0/0\nBUSNUM=001\nDEVNUM=005\n")
	plug(t, tr, "platform/dummy_hcd.0", "2-1", "PRODUCT=525/a4a1/9999\nTYPE=2/0/0\nBUSNUM=002\nDEVNUM=002\n", "INTERFACE=2/2/255\n")
	return tr
}

func lines(list []usb.Device) string {
	var b strings.Builder
	for _, d := range list {
		fmt.Fprintf(&b, "%v %d/%d %v:%v %v %v", d.Path, d.Bus, d.Number, d.Vendor, d.Product, d.Release, d.Class)
		if d.Hub {
			b.WriteString(" hub")
		}
		fmt.Fprintf(&b, " [%s]", d.Driver)
		if d.Controller.IsValid() {
			fmt.Fprintf(&b, " on %v", d.Controller)
		}
		for _, i := range d.Interfaces {
			fmt.Fprintf(&b, " %d:%v[%s]", i.Number, i.Class, i.Driver)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

const deskLines = `1-2 1/4 046d:c52b 1211 000000 [usb] on 0000:3a:00.0 0:030101[usbhid] 1:030102[] 2:ff0000[usbhid]
1-4 1/2 05e3:0610 0663 090002 hub [usb] on 0000:3a:00.0 0:090002[hub]
1-4.2 1/10 0781:5581 0100 000000 [usb] on 0000:3a:00.0 0:080650[usb-storage]
1-5 1/5 0bda:b812 0000 000000 [usb] on 0000:3a:00.0
1-10 1/9 0781:5581 0100 000000 [usb] on 0000:3a:00.0 0:080650[usb-storage]
2-1 2/2 0525:a4a1 9999 020000 [] 0:0202ff[]
`

func TestDevices(t *testing.T) {
	list, err := usb.Devices(desk(t))
	if err != nil {
		t.Error(err)
	}
	if got := lines(list); got != deskLines {
		t.Errorf("got\n%swant\n%s", got, deskLines)
	}
	if got := list[0].Node() + " " + (usb.Device{Bus: 1}).Node(); got != "dev/bus/usb/001/004 " {
		t.Errorf("nodes: %q", got)
	}
}

func TestReadDevice(t *testing.T) {
	tr := desk(t)
	all, _ := usb.Devices(tr)
	for _, want := range all {
		if got, err := usb.ReadDevice(tr, want.Path); err != nil || lines([]usb.Device{got}) != lines([]usb.Device{want}) {
			t.Errorf("%v: %+v, %v", want.Path, got, err)
		}
	}
	var op *usb.OpError
	if _, err := usb.ReadDevice(tr, path("1-9")); !errors.Is(err, fs.ErrNotExist) || !errors.As(err, &op) || op.Path != path("1-9") {
		t.Errorf("a device that is not there: %v", err)
	}
	if _, err := usb.ReadDevice(new(hostfs.Tree), path("1-9")); !errors.Is(err, fs.ErrNotExist) || !errors.As(err, &op) || op.Path != path("1-9") {
		t.Errorf("no bus: %v", err)
	}
}

func TestNoBus(t *testing.T) {
	list, err := usb.Devices(new(hostfs.Tree))
	var op *usb.OpError
	var pe *fs.PathError
	if len(list) != 0 || !errors.Is(err, fs.ErrNotExist) || !errors.As(err, &op) || op.Path.IsValid() || !errors.As(err, &pe) {
		t.Errorf("%v, %v", list, err)
	}
	tr := new(hostfs.Tree)
	if err := tr.Mkdir("sys/bus/usb/devices"); err != nil {
		t.Fatal(err)
	}
	if list, err := usb.Devices(tr); len(list) != 0 || err != nil {
		t.Errorf("an empty bus: %v, %v", list, err)
	}
}

// Without uevent, as in many saved machines, the attributes say the same.
func TestAttributesInsteadOfUevent(t *testing.T) {
	for _, with := range []string{"attributes", "modalias"} {
		tr := new(hostfs.Tree)
		dir := plug(t, tr, xhci, "1-3", "", "")
		files := map[string]string{dir + "/busnum": "1", dir + "/devnum": "12"}
		in := dir + "/1-3:1.0"
		if with == "attributes" {
			for name, value := range map[string]string{
				dir + "/idVendor": "8087", dir + "/idProduct": "0032", dir + "/bcdDevice": "0002", dir + "/bDeviceClass": "e0", dir + "/bDeviceSubClass": "01",
				dir + "/bDeviceProtocol": "01", in + "/bInterfaceClass": "e0", in + "/bInterfaceSubClass": "01", in + "/bInterfaceProtocol": "04",
			} {
				files[name] = value
			}
		} else {
			files[in+"/modalias"] = "usb:v8087p0032d0002dcE0dsc01dp01icE0isc01ip04in00"
		}
		for name, value := range files {
			must(t, tr.Put(name, []byte(value+"\n")))
		}
		must(t, tr.Symlink("../../../../bus/usb/drivers/usb", dir+"/driver"))
		must(t, tr.Symlink("../../../../../bus/usb/drivers/btusb", in+"/driver"))
		for _, emptied := range []bool{true, false} { // first with empty uevents, then with none
			list, err := usb.Devices(tr)
			if err != nil {
				t.Error(err)
			}
			const want = "1-3 1/12 8087:0032 0002 e00101 [usb] on 0000:3a:00.0 0:e00104[btusb]\n"
			if got := lines(list); got != want {
				t.Errorf("%s, empty uevents %v: got %swant %s", with, emptied, got, want)
			}
			if emptied {
				must(t, tr.Remove(dir+"/uevent"))
				must(t, tr.Remove(in+"/uevent"))
			}
		}
	}
}

func TestAttributes(t *testing.T) {
	tr := desk(t)
	const dir = "sys/bus/usb/devices/1-10/"
	for name, value := range map[string]string{
		"speed": "480\n", "product": "Ultra\x1b[31m  Stick\n", "manufacturer": "SanDisk\n", "serial": "4C53\x00\x01\u202e99\n", "removable": "fixed\n", "authorized": "1\n",
	} {
		must(t, tr.Put(dir+name, []byte(value)))
	}
	p := path("1-10")
	for name, read := range map[string]func(fs.FS, usb.PortPath) (string, error){
		"480": usb.Speed, "Ultra [31m Stick": usb.ProductName, "SanDisk": usb.ManufacturerName, "4C53 99": usb.Serial, "fixed": usb.Removable,
	} {
		if got, err := read(tr, p); err != nil || got != name {
			t.Errorf("%q, %v; want %q", got, err, name)
		}
		var op *usb.OpError
		if got, err := read(tr, path("1-2")); got != "" || !errors.Is(err, fs.ErrNotExist) || !errors.As(err, &op) || op.Path != path("1-2") {
			t.Errorf("missing %q: %q, %v", name, got, err)
		}
	}
	if ok, err := usb.Authorized(tr, p); !ok || err != nil {
		t.Errorf("authorized: %v, %v", ok, err)
	}
	for _, odd := range []string{"", "yes", "-1", "1\n1", strings.Repeat("9", 5000)} {
		for _, name := range []string{"speed", "removable", "authorized"} {
			must(t, tr.Put(dir+name, []byte(odd)))
		}
		_, err1 := usb.Speed(tr, p)
		_, err2 := usb.Removable(tr, p)
		ok, err3 := usb.Authorized(tr, p)
		if err1 == nil || err2 == nil || err3 == nil || ok {
			t.Errorf("%.20q was taken: %v, %v, %v", odd, err1, err2, err3)
		}
	}
	for _, speed := range []string{"1.5", "20000", "unknown"} {
		must(t, tr.Put(dir+"speed", []byte(speed+"\n")))
		if got, err := usb.Speed(tr, p); got != speed || err != nil {
			t.Errorf("speed %s: %q, %v", speed, got, err)
		}
	}
}

func TestClass(t *testing.T) {
	c := usb.NewClass(0xe0, 1, 2)
	b, err := c.MarshalJSON()
	if err != nil || string(b) != `"e00102"` || c.String() != "e00102" || c.Base() != 0xe0 || c.Sub() != 1 || c.Protocol() != 2 || !c.Known() {
		t.Errorf("%v %s %v", c, b, err)
	}
	var d, unknown usb.Class
	if err := d.UnmarshalJSON(b); err != nil || d != c || d.Compare(c) != 0 {
		t.Errorf("%v, %v", d, err)
	}
	if b, err := unknown.MarshalJSON(); err != nil || string(b) != "null" || unknown.Known() || unknown.String() != "??????" || unknown.Base() != 0 {
		t.Errorf("%v %s %v", unknown, b, err)
	}
	if unknown.Compare(usb.NewClass(0, 0, 0)) >= 0 || unknown == usb.NewClass(0, 0, 0) {
		t.Error("unknown is the same as 000000")
	}
}

func TestOddNames(t *testing.T) {
	tr := desk(t)
	must(t, tr.Put("sys/bus/usb/devices/rubbish", nil))
	must(t, tr.Put("sys/bus/usb/devices/7-3:1.0/uevent", []byte("INTERFACE=3/1/1\n")))
	must(t, tr.Symlink("../../../devices/pci0000:00/0000:00:14.0/usb9/9-9", "sys/bus/usb/devices/1-5"))
	list, err := usb.Devices(tr)
	if err == nil || !strings.Contains(err.Error(), `"rubbish"`) || !strings.Contains(err.Error(), "read 7-3: ") || !strings.Contains(err.Error(), "read 1-5: ") {
		t.Errorf("error: %v", err)
	}
	if i := slices.IndexFunc(list, func(d usb.Device) bool { return d.Path == path("1-5") }); i >= 0 {
		t.Errorf("a dangling link was listed: %+v", list[i])
	}
	if len(list) != 5 || list[0].Controller != pci.NewAddress(0, 0x3a, 0, 0) {
		t.Errorf("%d devices: %s", len(list), lines(list))
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
