package usb_test

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

const lidCamera = "DRIVER=usb\nPRODUCT=46d/8e5/2\nTYPE=239/2/1\nDEVNUM=005\n"

// sockets is a laptop whose controller has the buses two, for USB 2, and three. Port
// 1 of two and 3 of three are one socket, with a USB 3 hub plugged in; port 2 is a
// socket for USB 2; in port 5 is the camera in the lid; nothing is at port 6. Port 1
// of three has no half for USB 2.
func sockets(t testing.TB, two, three int) *hostfs.Tree {
	t.Helper()
	tr := new(hostfs.Tree)
	name := func(format string) string {
		return strings.NewReplacer("A", fmt.Sprint(two), "B", fmt.Sprint(three)).Replace(format)
	}
	usb2 := plug(t, tr, xhci, name("A-5"), lidCamera, "DRIVER=uvcvideo\nINTERFACE=14/1/0\n")
	root2 := usb2[:strings.LastIndexByte(usb2, '/')]
	plug(t, tr, xhci, name("A-1"), hub[:strings.Index(hub, "BUSNUM")], hubIf)
	plug(t, tr, xhci, name("A-1.4"), receiver[:strings.Index(receiver, "BUSNUM")], "INTERFACE=3/1/1\n")
	usb3 := plug(t, tr, xhci, name("B-3"), "PRODUCT=5e3/626/663\nTYPE=9/0/3\nDEVNUM=002\n", "DRIVER=hub\nINTERFACE=9/0/0\n")
	root3 := usb3[:strings.LastIndexByte(usb3, '/')]
	must(t, tr.Put(root3+"/uevent", []byte("DRIVER=usb\nPRODUCT=1d6b/3/612\nTYPE=9/0/3\nDEVNUM=001\n")))
	put := func(dir string, attributes ...string) {
		for i := 0; i < len(attributes); i += 2 {
			must(t, tr.Put(dir+"/"+attributes[i], []byte(attributes[i+1]+"\n")))
		}
	}
	put(root2, "maxchild", "6", "speed", "480")
	put(root3, "maxchild", "3", "speed", "10000")
	put(root2+name("/A-1"), "maxchild", "4", "speed", "480")
	put(root3+name("/B-3"), "maxchild", "4", "speed", "5000")
	port := func(root, hub string, n int, connect, location string) string {
		dir := fmt.Sprintf("%s/%s-port%d", root, hub, n)
		put(dir, "connect_type", connect, "location", location, "over_current_count", "0", "state", "not attached")
		return dir
	}
	link := func(dir, target string) { must(t, tr.Symlink(target, dir)) }
	in2, in3 := root2+name("/A-0:1.0"), root3+name("/B-0:1.0")
	one := port(in2, name("usbA"), 1, "hotplug", "0x00000180")
	put(one, "physical_location/panel", "right", "physical_location/vertical_position", "upper", "physical_location/horizontal_position", "left",
		"physical_location/dock", "no", "physical_location/lid", "no", "state", "configured", "over_current_count", "3")
	link(one+"/peer", name("../../../usbB/B-0:1.0/usbB-port3"))
	link(one+"/device", name("../../A-1"))
	port(in2, name("usbA"), 2, "hotplug", "0x00000190")
	five := port(in2, name("usbA"), 5, "hardwired", "0x00000000")
	link(five+"/device", name("../../A-5"))
	put(usb2, "physical_location/panel", "front", "physical_location/vertical_position", "upper", "physical_location/horizontal_position", "center",
		"physical_location/dock", "No", "physical_location/lid", "Yes", "removable", "fixed")
	port(in2, name("usbA"), 6, "not used", "0x00000000")
	three3 := port(in3, name("usbB"), 3, "hotplug", "0x00000180")
	link(three3+"/peer", name("../../../usbA/A-0:1.0/usbA-port1"))
	link(three3+"/device", name("../../B-3"))
	port(in3, name("usbB"), 1, "unknown", "0x00000000")
	for n := 3; n <= 4; n++ {
		a := port(root2+name("/A-1/A-1:1.0"), name("A-1"), n, "unknown", "0x00000000")
		b := port(usb3+name("/B-3:1.0"), name("B-3"), n, "unknown", "0x00000000")
		if n == 4 {
			link(a+"/peer", name("../../../../usbB/B-3/B-3:1.0/B-3-port4"))
			link(b+"/peer", name("../../../../usbA/A-1/A-1:1.0/A-1-port4"))
			link(a+"/device", name("../../A-1.4"))
		}
	}
	return tr
}

func portLines(ports []usb.Port) string {
	var b strings.Builder
	for _, p := range ports {
		fmt.Fprintf(&b, "%v %v %q", p.Path, p.Physical, p.Connect)
		if p.Occupied {
			b.WriteString(" occupied")
		}
		if p.Peer.IsValid() {
			fmt.Fprintf(&b, " peer %v", p.Peer)
		}
		if p.Location.Known() {
			fmt.Fprintf(&b, " %v", p.Location)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

const socketLines = `1-1 0000:3a:00.0/1 "hotplug" occupied peer 2-3 {right upper left false false}
1-1.3 0000:3a:00.0/1.3 "unknown"
1-1.4 0000:3a:00.0/1.4 "unknown" occupied peer 2-3.4
1-2 0000:3a:00.0/2 "hotplug"
1-5 0000:3a:00.0/5 "hardwired" occupied {front upper center false true}
1-6 0000:3a:00.0/6 "not used"
2-1 0000:3a:00.0/usb3-1 "unknown"
2-3 0000:3a:00.0/1 "hotplug" occupied peer 1-1
2-3.3 0000:3a:00.0/1.3 "unknown"
2-3.4 0000:3a:00.0/1.4 "unknown" peer 1-1.4
`

func TestPorts(t *testing.T) {
	ports, err := usb.Ports(sockets(t, 1, 2))
	if err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(socketLines, portLines(ports)); diff != "" {
		t.Error(diff)
	}
	p := ports[0]
	if p.FirmwareLocation != 0x180 || p.State != "configured" || p.OverCurrents != 3 || p.Controller != pci.NewAddress(0, 0x3a, 0, 0) {
		t.Errorf("%+v", p)
	}
}

// Bus numbers are given out anew at each boot; the sockets are the same.
func TestRenumbered(t *testing.T) {
	sorted := func(two, three int) []usb.PhysicalPort {
		ports, err := usb.Ports(sockets(t, two, three))
		must(t, err)
		var list []usb.PhysicalPort
		for _, p := range ports {
			list = append(list, p.Physical)
		}
		slices.SortFunc(list, usb.PhysicalPort.Compare)
		return slices.Compact(list)
	}
	before := sorted(1, 2)
	if len(before) != 7 {
		t.Errorf("%d sockets: %v", len(before), before)
	}
	for _, numbers := range [][2]int{{2, 1}, {3, 9}, {9, 3}} {
		if after := sorted(numbers[0], numbers[1]); !slices.Equal(before, after) {
			t.Errorf("buses %v: %v, before %v", numbers, after, before)
		}
	}
}

// With one half of the hub there the socket is still the same.
func TestOneHalf(t *testing.T) {
	tr := sockets(t, 1, 2)
	for _, name := range []string{"1-1", "1-1:1.0", "1-1.4", "1-1.4:1.0"} {
		must(t, tr.Remove("sys/bus/usb/devices/"+name))
	}
	const root = "sys/devices/" + xhci
	must(t, tr.Remove(root+"/usb1/1-0:1.0/usb1-port1/device"))
	must(t, tr.Remove(root+"/usb2/2-3/2-3:1.0/2-3-port4/peer"))
	ports, err := usb.Ports(tr)
	if err != nil {
		t.Error(err)
	}
	for _, want := range []string{"1-1 0000:3a:00.0/1 \"hotplug\" peer 2-3", "2-3.4 0000:3a:00.0/1.4 \"unknown\"\n"} {
		if got := portLines(ports); !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
}

func TestHubs(t *testing.T) {
	hubs, err := usb.Hubs(sockets(t, 1, 2))
	must(t, err)
	var got []string
	for _, h := range hubs {
		got = append(got, fmt.Sprint(h.Name(), " ", h.Controller, " ", h.Class, " ", h.Ports, " ports, ", h.Speed, " ", h.SuperSpeed()))
	}
	want := []string{"usb1 0000:3a:00.0 090001 6 ports, 480 false", "1-1 0000:3a:00.0 090002 4 ports, 480 false",
		"usb2 0000:3a:00.0 090003 3 ports, 10000 true", "2-3 0000:3a:00.0 090003 4 ports, 5000 true"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	devices, err := usb.Devices(sockets(t, 1, 2))
	must(t, err)
	var list []string // neither root hubs nor interfaces are among them, hubs are marked
	for _, d := range devices {
		list = append(list, fmt.Sprint(d.Path, " ", d.Hub))
	}
	if diff := cmp.Diff([]string{"1-1 true", "1-1.4 false", "1-5 false", "2-3 true"}, list); diff != "" {
		t.Error(diff)
	}
	for _, root := range []string{"usb1", "usb2", "1-0:1.0", "1-1:1.0", "usb1-port1"} {
		if _, err := usb.ParsePortPath(root); err == nil {
			t.Errorf("%s is a device", root)
		}
	}
	if hubs, err := usb.Hubs(new(hostfs.Tree)); hubs != nil || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no bus: %v, %v", hubs, err)
	}
	if ports, err := usb.Ports(new(hostfs.Tree)); ports != nil || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no bus: %v, %v", ports, err)
	}
}

// A hub or a port that cannot be read hides no other.
func TestPortsFail(t *testing.T) {
	dir := "sys/devices/" + xhci + "/usb1/1-0:1.0/"
	for name, test := range map[string]struct {
		fails string
		with  error
		gone  []string
	}{
		"hub unplugged":      {"sys/bus/usb/devices/2-3", syscall.ENOENT, []string{"2-3.3", "2-3.4"}},
		"hub cannot be read": {"sys/bus/usb/devices/2-3:1.0", syscall.EIO, []string{"2-3.3", "2-3.4"}},
		"root hub gone":      {"sys/bus/usb/devices/usb2", syscall.ENOENT, []string{"2-1", "2-3"}},
		"port gone":          {"sys/bus/usb/devices/1-0:1.0/usb1-port2", syscall.ENOENT, []string{"1-2"}},
		"an attribute":       {"sys/bus/usb/devices/1-0:1.0/usb1-port2/connect_type", syscall.EIO, nil},
		"a link":             {"sys/bus/usb/devices/1-0:1.0/usb1-port1/peer", syscall.EIO, nil},
		"a place":            {"sys/bus/usb/devices/1-0:1.0/usb1-port1/physical_location/lid", syscall.EIO, nil},
		"ports of one root":  {"sys/bus/usb/devices/1-0:1.0", syscall.EACCES, []string{"1-1", "1-2", "1-5", "1-6"}},
	} {
		t.Run(name, func(t *testing.T) {
			tr := sockets(t, 1, 2)
			before, err := usb.Ports(tr)
			must(t, err)
			after, err := usb.Ports(hosttest.Failing{Tree: tr, Fail: func(name string) error {
				if rest, ok := strings.CutPrefix(name, test.fails); ok && (rest == "" || rest[0] == '/' || rest[0] == ':') {
					return test.with
				}
				return nil
			}})
			var op *usb.OpError
			if !errors.As(err, &op) || !errors.Is(err, test.with) {
				t.Errorf("error: %v", err)
			}
			for _, p := range before {
				is := slices.ContainsFunc(after, func(a usb.Port) bool { return a.Path == p.Path })
				if is == slices.Contains(test.gone, p.Path.String()) {
					t.Errorf("%v: listed %v", p.Path, is)
				}
			}
		})
	}
	for name, value := range map[string]string{
		"usb1-port1/connect_type": "sometimes", "usb1-port1/location": "0xg", "usb1-port1/over_current_count": "-1", "usb1-port1/state": "",
		"usb1-port1/physical_location/panel": "inside", "usb1-port1/physical_location/dock": "perhaps",
	} {
		tr := sockets(t, 1, 2)
		must(t, tr.Put(dir+name, []byte(value+"\n")))
		ports, err := usb.Ports(tr)
		if len(ports) != 10 || err == nil || !strings.Contains(err.Error(), "read port 1-1: ") || !strings.Contains(err.Error(), "unexpected value") {
			t.Errorf("%s: %d ports, %v", name, len(ports), err)
		}
	}
	for name, target := range map[string]string{"peer": "../../../usb2/2-0:1.0/usb2-port0", "device": "../../1-2"} {
		tr := sockets(t, 1, 2)
		must(t, tr.Remove(dir+"usb1-port1/"+name))
		must(t, tr.Symlink(target, dir+"usb1-port1/"+name))
		ports, err := usb.Ports(tr)
		if len(ports) != 10 || err == nil || !strings.Contains(err.Error(), "read port 1-1: "+name) || ports[0].Occupied && name == "device" || ports[0].Peer.IsValid() && name == "peer" {
			t.Errorf("%s: %+v, %v", name, ports, err)
		}
	}
	tr := sockets(t, 1, 2) // a name of a port that is none, and peers of one speed
	must(t, tr.Put(dir+"usb1-port0/connect_type", nil))
	must(t, tr.Put(dir+"usb1-port256/connect_type", nil))
	must(t, tr.Put(dir+"power/control", nil))
	if ports, err := usb.Ports(tr); len(ports) != 10 || err != nil {
		t.Errorf("%s, %v", portLines(ports), err)
	}
}

// Ports of a kernel that knows less: no type, no state, names without the hub.
func TestOldPorts(t *testing.T) {
	tr := desk(t)
	dir := "sys/devices/" + xhci + "/usb1/"
	must(t, tr.Put(dir+"1-0:1.0/port4/connect_type", []byte("unknown\n")))
	must(t, tr.Put(dir+"1-4/1-4:1.0/port2/power/control", []byte("auto\n")))
	must(t, tr.Symlink("../../1-4.2", dir+"1-4/1-4:1.0/port2/device"))
	ports, err := usb.Ports(tr)
	must(t, err)
	const want = "1-4 0000:3a:00.0/4 \"unknown\"\n1-4.2 0000:3a:00.0/4.2 \"\" occupied\n"
	if got := portLines(ports); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if p := ports[1]; p.OverCurrents != -1 || p.State != "" || p.Location != (usb.Location{}) {
		t.Errorf("%+v", p)
	}
}

// A controller that is no PCI function has ports, but no name that lasts.
func TestPortsWithoutPCI(t *testing.T) {
	tr := desk(t)
	must(t, tr.Put("sys/devices/platform/dummy_hcd.0/usb2/2-0:1.0/usb2-port1/connect_type", []byte("unknown\n")))
	ports, err := usb.Ports(tr)
	must(t, err)
	if len(ports) != 1 || ports[0].Physical.IsValid() || ports[0].Physical.String() != "invalid port" {
		t.Errorf("%+v", ports)
	}
}

// A saved machine may say neither how fast a root hub is nor of which class. Its ports
// then have no name, rather than that of a socket of the controller's other bus.
func TestPortsOfUnknownBus(t *testing.T) {
	tr := new(hostfs.Tree)
	for bus, class := range map[string]string{"1": "", "2": "", "3": "TYPE=9/0/1\n", "4": "TYPE=9/0/3\n"} {
		dir := "sys/devices/" + xhci + "/usb" + bus
		must(t, tr.Put(dir+"/uevent", []byte("DEVTYPE=usb_device\nPRODUCT=1d6b/2/601\n"+class)))
		must(t, tr.Put(dir+"/"+bus+"-0:1.0/usb"+bus+"-port1/connect_type", []byte("hotplug\n")))
		must(t, tr.Symlink("../../../devices/"+xhci+"/usb"+bus, "sys/bus/usb/devices/usb"+bus))
		must(t, tr.Symlink("../../../devices/"+xhci+"/usb"+bus+"/"+bus+"-0:1.0", "sys/bus/usb/devices/"+bus+"-0:1.0"))
	}
	must(t, tr.Put("sys/devices/"+xhci+"/usb2/speed", []byte("unknown\n")))
	ports, err := usb.Ports(tr)
	if err == nil || !strings.Contains(err.Error(), "usb1/bDeviceClass") || strings.Contains(err.Error(), "usb3") {
		t.Errorf("what is missing: %v", err)
	}
	const want = `1-1 invalid port "hotplug"
2-1 invalid port "hotplug"
3-1 0000:3a:00.0/1 "hotplug"
4-1 0000:3a:00.0/usb3-1 "hotplug"
`
	if diff := cmp.Diff(want, portLines(ports)); diff != "" {
		t.Error(diff)
	}
}

func TestPhysicalPort(t *testing.T) {
	for _, s := range []string{"0000:00:14.0/1", "0000:00:14.0/4.2", "10000:00:14.0/usb3-1", "0000:3a:00.0/1.2.3.4.5.6.255"} {
		p, err := usb.ParsePhysicalPort(s)
		if err != nil || p.String() != s || !p.IsValid() || !p.Controller().IsValid() {
			t.Errorf("%s: %v, %v", s, p, err)
		}
		text, err := p.MarshalText()
		must(t, err)
		var back usb.PhysicalPort
		if err := back.UnmarshalText(text); err != nil || back != p || back.Compare(p) != 0 {
			t.Errorf("%s: %v, %v", s, back, err)
		}
	}
	for _, s := range []string{"", "/", "0000:00:14.0", "0000:00:14.0/", "0000:00:14.0/0", "0000:00:14.0/usb3-", "00:14.0/1", "0000:00:14.0/1-2", "0000:00:14.0/1.2.3.4.5.6.7.8", "0000:00:14.0/usb3-usb3-1"} {
		if p, err := usb.ParsePhysicalPort(s); err == nil || p.IsValid() {
			t.Errorf("%q: %v", s, p)
		}
	}
	var zero usb.PhysicalPort
	if text, err := zero.MarshalText(); err != nil || len(text) != 0 || zero.UnmarshalText(nil) != nil || zero.IsValid() {
		t.Errorf("zero: %q, %v", text, err)
	}
	order := []string{"0000:00:14.0/1", "0000:00:14.0/1.2", "0000:00:14.0/2", "0000:00:14.0/10", "0000:00:14.0/usb3-1", "0000:3a:00.0/1"}
	for i := range order[1:] {
		a, _ := usb.ParsePhysicalPort(order[i])
		b, _ := usb.ParsePhysicalPort(order[i+1])
		if a.Compare(b) >= 0 || b.Compare(a) <= 0 || zero.Compare(a) >= 0 {
			t.Errorf("%v is not before %v", a, b)
		}
	}
}

func TestLocation(t *testing.T) {
	for l, known := range map[usb.Location]bool{
		{}: false, {Panel: "unknown", Vertical: "upper", Horizontal: "left"}: false, {Panel: "left"}: true, {Lid: true}: true, {Dock: true, Panel: "unknown"}: true,
	} {
		if l.Known() != known {
			t.Errorf("%+v: known is %v", l, l.Known())
		}
	}
}
