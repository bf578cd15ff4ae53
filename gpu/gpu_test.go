package gpu_test

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/project-independence/indy/gpu"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/pci"
)

// desk is a laptop with a built-in GPU that has panel and boot display, a discrete
// one without DRM (it waits for a guest), a 3D controller with a card, an external
// one behind bridges, a USB dock with a display, and cards made by software.
func desk(t testing.TB) (*hostfs.Tree, []pci.Function) {
	tr := new(hostfs.Tree)
	igpu := "devices/pci0000:00/0000:00:02.0"
	dgpu := "devices/pci0000:00/0000:00:01.0/0000:01:00.0"
	compute := "devices/pci0000:00/0000:00:01.1/0000:02:00.0"
	egpu := "devices/pci0000:00/0000:00:07.0/0000:20:00.0/0000:21:01.0/0000:22:00.0"
	dock := "devices/pci0000:00/0000:00:14.0/usb3/3-2/3-2:1.0"
	var functions []pci.Function
	for _, f := range []struct {
		path  string
		class uint32
		files map[string]string
	}{
		{igpu, 0x030000, map[string]string{"boot_vga": "1\n"}},
		{dgpu, 0x030000, map[string]string{"boot_vga": "0\n"}},
		{dgpu[:len(dgpu)-1] + "1", 0x040300, map[string]string{"boot_vga": "1\n"}},
		{compute, 0x030200, map[string]string{"boot_vga": "1\n"}}, // not stated by the kernel for this class
		{egpu, 0x030000, nil},
		{"devices/pci0000:00/0000:00:14.0", 0x0c0330, nil},
	} {
		a := pci.InPath(f.path)
		functions = append(functions, pci.Function{Address: a[len(a)-1], Class: pci.NewClass(f.class)})
		must(t, tr.Symlink("../../../"+f.path, "sys/bus/pci/devices/"+a[len(a)-1].String()))
		must(t, tr.Mkdir("sys/"+f.path))
		for name, value := range f.files {
			must(t, tr.Put("sys/"+f.path+"/"+name, []byte(value)))
		}
	}
	functions = append(functions, pci.Function{Address: pci.NewAddress(0, 0x30, 0, 0)}) // of unknown class
	drm := func(dir, name, status string) {
		if status != "" {
			must(t, tr.Put("sys/"+dir+"/"+name+"/status", []byte(status+"\n")))
		} else {
			must(t, tr.Mkdir("sys/"+dir+"/"+name))
		}
		must(t, tr.Symlink("../../"+dir+"/"+name, "sys/class/drm/"+name))
	}
	drm(igpu+"/drm", "card1", "")
	drm(igpu+"/drm", "renderD128", "")
	drm(igpu+"/drm/card1", "card1-eDP-1", "connected")
	drm(igpu+"/drm/card1", "card1-HDMI-A-1", "disconnected")
	drm(igpu+"/drm/card1", "card1-Writeback-1", "unknown")
	drm(compute+"/drm", "card2", "")
	drm(egpu+"/drm", "card3", "")
	drm(egpu+"/drm", "renderD130", "")
	drm(egpu+"/drm/card3", "card3-DP-1", "connected")
	drm(dock+"/drm", "card4", "")
	drm(dock+"/drm/card4", "card4-DVI-I-1", "connected")
	drm("devices/platform/simple-framebuffer.0/drm", "card0", "")
	drm("devices/virtual/drm", "ttm", "")
	must(t, tr.Put("sys/class/drm/version", []byte("drm 1.1.0 20060810\n")))
	return tr, functions
}

func lines(displays []gpu.Display) string {
	var b strings.Builder
	for _, d := range displays {
		fmt.Fprintf(&b, "%v boot %v panel %v [%s]", d.Function, d.BootVGA, d.Panel(), strings.Join(d.Nodes, " "))
		for _, c := range d.Connectors {
			fmt.Fprintf(&b, " %s:%v", c.Name, c.Status)
			if c.Panel {
				b.WriteString(":panel")
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

const deskLines = `0000:00:02.0 boot yes panel true [dev/dri/card1 dev/dri/renderD128] HDMI-A-1:disconnected Writeback-1:unknown eDP-1:connected:panel
0000:01:00.0 boot no panel false []
0000:02:00.0 boot unknown panel false [dev/dri/card2]
0000:22:00.0 boot unknown panel false [dev/dri/card3 dev/dri/renderD130] DP-1:connected
`

func TestDisplays(t *testing.T) {
	tr, functions := desk(t)
	displays, err := gpu.Displays(tr, functions)
	if err != nil {
		t.Error(err)
	}
	if got := lines(displays); got != deskLines {
		t.Errorf("got\n%swant\n%s", got, deskLines)
	}
}

// GPUs do not disappear with their driver.
func TestWithoutDRM(t *testing.T) {
	tr, functions := desk(t)
	must(t, tr.Remove("sys/class/drm"))
	displays, err := gpu.Displays(tr, functions)
	if err != nil || len(displays) != 4 {
		t.Errorf("%v, %v", displays, err)
	}
	for _, d := range displays {
		if len(d.Nodes) != 0 || len(d.Connectors) != 0 {
			t.Errorf("%+v", d)
		}
	}
	if displays, err := gpu.Displays(new(hostfs.Tree), functions); len(displays) != 4 || displays[0].BootVGA != gpu.Unknown || err != nil {
		t.Errorf("an empty tree: %v, %v", displays, err)
	}
	if displays, err := gpu.Displays(tr, nil); displays != nil || err != nil {
		t.Errorf("no functions: %v, %v", displays, err)
	}
}

func TestConnectors(t *testing.T) {
	tr, functions := desk(t)
	const dir = "sys/devices/pci0000:00/0000:00:02.0/drm/card1/"
	for name, panel := range map[string]bool{
		"eDP-2": true, "LVDS-1": true, "DSI-1": true, "DP-1": false, "eDPx-1": false, "DVI-D-1": false, "HDMI-A-10": false, "DSI": true,
	} {
		must(t, tr.Remove("sys/class/drm"))
		must(t, tr.Mkdir(dir+"card1-"+name))
		must(t, tr.Symlink("../../"+strings.TrimPrefix(dir, "sys/")+"card1-"+name, "sys/class/drm/card1-"+name))
		displays, err := gpu.Displays(tr, functions)
		want := gpu.Connector{Name: name, Status: gpu.StatusUnknown, Panel: panel, Card: "card1"}
		if err != nil || len(displays[0].Connectors) != 1 || displays[0].Connectors[0] != want || displays[0].Panel() != panel {
			t.Errorf("%s: %+v, %v", name, displays[0], err)
		}
	}
	for _, odd := range []string{"card1-", "cardx-DP-1", "card-DP-1", "renderD1-DP-1", "card", "renderD", "card1x", "controlD64", "-"} {
		must(t, tr.Remove("sys/class/drm"))
		must(t, tr.Symlink("../../devices/pci0000:00/0000:00:02.0/drm/"+odd, "sys/class/drm/"+odd))
		if displays, err := gpu.Displays(tr, functions); err != nil || len(displays[0].Connectors)+len(displays[0].Nodes) != 0 {
			t.Errorf("%q: %+v, %v", odd, displays[0], err)
		}
	}
}

// TestHosts compares with the class files of real machines.
func TestHosts(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(hosttest.Shared(t, "hosts"), "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no saved machines: %v", err)
	}
	for _, file := range files {
		host, err := hostfs.Open(file)
		must(t, err)
		functions, err := pci.Functions(host)
		must(t, err)
		var want []string
		classes, err := fs.Glob(host, "sys/bus/pci/devices/*/class")
		must(t, err)
		for _, c := range classes {
			if s, _ := hostfs.ReadString(host, c); strings.HasPrefix(s, "0x03") {
				want = append(want, strings.Split(c, "/")[4])
			}
		}
		displays, err := gpu.Displays(host, functions)
		var got []string
		for _, d := range displays {
			got = append(got, d.Function.String())
		}
		if err != nil || len(got) == 0 || strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%s: %v, want %v, %v", filepath.Base(file), got, want, err)
		}
		must(t, host.Close())
	}
}

func TestWords(t *testing.T) {
	if got := fmt.Sprint(gpu.Unknown, gpu.No, gpu.Yes, gpu.Answer(9)); got != "unknown no yes unknown" {
		t.Error(got)
	}
	if got := fmt.Sprint(gpu.StatusUnknown, gpu.Disconnected, gpu.Connected, gpu.Status(9)); got != "unknown disconnected connected unknown" {
		t.Error(got)
	}
	a, err1 := gpu.Yes.MarshalText()
	s, err2 := gpu.Connected.MarshalText()
	if string(a) != "yes" || string(s) != "connected" || err1 != nil || err2 != nil {
		t.Errorf("%s %s", a, s)
	}
}

func BenchmarkDisplays(b *testing.B) {
	tr, functions := desk(b)
	b.ReportAllocs()
	for b.Loop() {
		_, _ = gpu.Displays(tr, functions)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
