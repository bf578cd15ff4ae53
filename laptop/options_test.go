package laptop_test

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/laptop"
)

// options are the ways of a device: "other-controller pci:0000:00:0d.0 loses nothing".
func options(t testing.TB, fsys fs.FS, l *laptop.Laptop, where string) []string {
	t.Helper()
	found, err := laptop.Options(fsys, l, find(t, l, where))
	must(t, err)
	var s []string
	for _, o := range found {
		line := string(o.Kind) + " " + o.Device
		if !o.Available {
			line += " (not yet)"
		}
		if lost, ok := strings.CutPrefix(o.Cost, "the host loses "); ok && lost != "nothing besides" {
			line += " loses " + lost
		}
		if strings.Contains(o.Detail, "not known") {
			line += ", unsure"
		}
		s = append(s, line)
	}
	return s
}

// socket adds a port of a root hub, empty, of a kind as connect_type has it.
func (h *host) socket(controller, bus, port, kind string) {
	h.t.Helper()
	root := controller + "/usb" + bus
	if _, err := h.Lstat("sys/bus/usb/devices/usb" + bus); err != nil {
		h.link("../../../devices/"+root, "sys/bus/usb/devices/usb"+bus)
		h.put("sys/devices/"+root+"/uevent", "DRIVER=usb\nPRODUCT=1d6b/2/601\nTYPE=9/0/1\nBUSNUM=00"+bus+"\nDEVNUM=001\n")
		h.put("sys/devices/"+root+"/bDeviceClass", "09\n")
		h.put("sys/devices/"+root+"/speed", "480\n")
		h.put("sys/devices/"+root+"/maxchild", "4\n")
		name := bus + "-0:1.0"
		h.link("../../../devices/"+root+"/"+name, "sys/bus/usb/devices/"+name)
		h.put("sys/devices/"+root+"/"+name+"/uevent", "DRIVER=hub\nINTERFACE=9/0/0\n")
	}
	h.put("sys/devices/"+root+"/"+bus+"-0:1.0/usb"+bus+"-port"+port+"/connect_type", kind+"\n")
}

func TestOptions(t *testing.T) {
	const second = "pci0000:00/0000:00:0d.0" // another USB controller
	const port, nic, sound = "pci0000:00/0000:00:1c.0", "pci0000:00/0000:00:1c.0/0000:05:00.0", "pci0000:00/0000:00:1c.0/0000:05:00.1"
	for _, tt := range []struct {
		name  string
		build func(*host)
		of    string
		want  []string
	}{
		{"nothing to wish for", func(h *host) {}, "0000:04:00.0", nil},
		{"a bridge", func(h *host) {}, "0000:00:1d.0", nil},
		{"a disk in use", func(h *host) {
			h.block(nvme+"/nvme/nvme0", "nvme0n1", "259:0")
			h.mount("259:0", "/", "ext4", "/dev/nvme0n1")
		}, "0000:04:00.0", []string{"share pci:0000:04:00.0"}},
		{"and another disk", func(h *host) {
			h.block(nvme+"/nvme/nvme0", "nvme0n1", "259:0")
			h.mount("259:0", "/", "ext4", "/dev/nvme0n1")
			h.function(nic, "010802", "nvme", 9)
			h.function("pci0000:00/0000:00:1e.0", "080501", "sdhci-pci", 10) // a card reader is no disk
		}, "0000:04:00.0", []string{"other-device pci:0000:05:00.0", "share pci:0000:04:00.0"}},
		{"both in use", func(h *host) {
			h.function(nic, "010802", "nvme", 9)
			h.block(nvme+"/nvme/nvme0", "nvme0n1", "259:0")
			h.block(nic+"/nvme/nvme1", "nvme1n1", "259:1")
			h.mount("259:0", "/", "ext4", "/dev/nvme0n1")
			h.mount("259:1", "/home", "ext4", "/dev/nvme1n1")
		}, "0000:04:00.0", []string{"share pci:0000:04:00.0"}},
		{"a group", func(h *host) {
			h.function(nic, "020000", "e1000e", 9)
			h.function(sound, "040300", "snd_hda_intel", 9)
		}, "0000:05:00.0", []string{"whole-group pci:0000:05:00.0 loses 0000:05:00.1 (audio)", "share pci:0000:05:00.0"}},
		{"a group of which one stays", func(h *host) {
			h.function(nic, "020000", "e1000e", 9)
			h.function(sound, "010802", "nvme", 9)
			h.block(sound+"/nvme/nvme1", "nvme1n1", "259:1")
			h.mount("259:1", "/", "ext4", "/dev/nvme1n1")
		}, "0000:05:00.0", []string{"share pci:0000:05:00.0"}},
		{"one alone before a group, and none that costs more", func(h *host) {
			h.function(nic, "020000", "e1000e", 9)
			h.function(sound, "040300", "snd_hda_intel", 9)
			h.function("pci0000:00/0000:00:19.0", "020000", "e1000e", 10)
			for i := range 3 {
				h.function(fmt.Sprintf("pci0000:00/0000:00:1a.%d", i), "020000", "e1000e", 11)
			}
		}, "0000:05:00.0", []string{
			"other-device pci:0000:00:19.0", "whole-group pci:0000:05:00.0 loses 0000:05:00.1 (audio)", "share pci:0000:05:00.0",
		}},
		{"the card it is on, with its sound, is one thing", func(h *host) {
			h.function(nic, "030000", "nouveau", 9)
			h.function(sound, "040300", "snd_hda_intel", 9)
			h.function("pci0000:00/0000:00:1b.0", "040300", "snd_hda_intel", 10)
			h.function("pci0000:00/0000:00:1b.1", "078000", "mei_me", 10)
			h.put("sys/devices/"+nic+"/boot_vga", "0\n")
		}, "0000:00:1b.0", []string{"whole-group pci:0000:00:1b.0 loses 0000:00:1b.1 (system)", "share pci:0000:00:1b.0"}},
		{"virtual functions to come", func(h *host) {
			h.function(nic, "020000", "igb", 9)
			h.put("sys/devices/"+nic+"/sriov_totalvfs", "7\n")
			h.put("sys/devices/"+nic+"/sriov_numvfs", "0\n")
			h.net(nic, "eth0")
			h.route("eth0", "00000000", "00000000")
		}, "0000:05:00.0", []string{"virtual-function pci:0000:05:00.0", "share pci:0000:05:00.0"}},
		{"virtual functions", func(h *host) {
			h.function(nic, "020000", "igb", 9)
			h.function(port+"/0000:05:10.0", "020000", "igbvf", 12)
			h.put("sys/devices/"+nic+"/sriov_totalvfs", "7\n")
			h.put("sys/devices/"+nic+"/sriov_numvfs", "1\n")
			h.link("../0000:05:10.0", "sys/devices/"+nic+"/virtfn0")
			h.net(nic, "eth0")
			h.route("eth0", "00000000", "00000000")
		}, "0000:05:00.0", []string{"virtual-function pci:0000:05:10.0", "share pci:0000:05:00.0"}},
		{"without an IOMMU no virtual function helps", func(h *host) {
			h.function(nic, "020000", "igb", -1)
			h.put("sys/devices/"+nic+"/sriov_totalvfs", "7\n")
		}, "0000:05:00.0", []string{"share pci:0000:05:00.0"}},
		{"slots", func(h *host) {
			h.function(port, "060400", "pcieport", 9)
			h.function(nic, "020000", "e1000e", 9)
			h.function("pci0000:00/0000:00:1c.4/0000:06:00.0", "0c0010", "firewire_ohci", 9)
			h.put("sys/bus/pci/slots/1/address", "0000:05:00\n")
			h.put("sys/bus/pci/slots/2/address", "0000:06:00\n")
			h.put("sys/bus/pci/slots/3/address", "0000:07:00\n")
			h.put("sys/bus/pci/slots/4/address", "0000:08\n") // a whole bus
		}, "0000:05:00.0", []string{
			"whole-group pci:0000:05:00.0 loses 0000:06:00.0 (firewire)", "other-slot pci:0000:05:00.0", "share pci:0000:05:00.0",
		}},
		{"a stick", func(h *host) {
			h.usb(xhci, "1-4", "8/6/80 usb-storage")
			h.usb(xhci, "1-5", "14/1/0 uvcvideo")
		}, "1-4", []string{
			"other-device pci:0000:04:00.0", "controller pci:0000:00:14.0 loses 1-5 (webcam)", "share usb:1-4",
		}},
		{"a stick and another controller", func(h *host) {
			h.function(second, "0c0330", "xhci_hcd", 9)
			h.usb(xhci, "1-4", "8/6/80 usb-storage")
			h.usb(xhci, "1-5", "14/1/0 uvcvideo")
			h.usb(second, "3-1", "224/1/1 btusb")
			h.usb(second, "3-2", "14/1/0 uvcvideo")
		}, "1-4", []string{
			"other-device pci:0000:04:00.0", "controller pci:0000:00:14.0 loses 1-5 (webcam)", "share usb:1-4",
		}},
		{"a stick and an idle controller", func(h *host) {
			h.function(second, "0c0330", "xhci_hcd", 9)
			h.function(nvme, "010802", "nvme", 2)
			h.usb(xhci, "1-4", "8/6/80 usb-storage")
			h.usb(xhci, "1-5", "14/1/0 uvcvideo")
		}, "1-4", []string{
			"other-controller pci:0000:00:0d.0", "other-device pci:0000:04:00.0", "controller pci:0000:00:14.0 loses 1-5 (webcam)",
			"share usb:1-4",
		}},
		{"a stick from which the host runs goes nowhere", func(h *host) {
			h.function(second, "0c0330", "xhci_hcd", 9)
			h.usb(xhci, "1-4", "8/6/80 usb-storage")
			h.block(xhci+"/usb1/1-4/1-4:1.0/host0/target0:0:0/0:0:0:0/block", "sda", "8:0")
			h.mount("8:0", "/", "ext4", "/dev/sda")
		}, "1-4", []string{"other-device pci:0000:04:00.0", "share usb:1-4"}},
		{"no free port", func(h *host) {
			h.function(second, "0c0330", "xhci_hcd", 9)
			h.usb(xhci, "1-4", "224/1/1 btusb")
			h.usb(xhci, "1-5", "14/1/0 uvcvideo")
			h.socket(second, "3", "1", "hardwired")
			h.socket(second, "3", "2", "not used")
		}, "1-4", []string{"controller pci:0000:00:14.0 loses 1-5 (webcam)"}},
		{"built in", func(h *host) {
			h.function(second, "0c0330", "xhci_hcd", 9)
			h.usb(xhci, "1-4", "224/1/1 btusb")
			h.put("sys/devices/"+xhci+"/usb1/1-4/removable", "fixed\n")
		}, "1-4", []string{"controller pci:0000:00:14.0"}},
		{"a controller on which much hangs", func(h *host) {
			h.function(second, "0c0330", "xhci_hcd", 9)
			h.usb(xhci, "1-5", "14/1/0 uvcvideo")
			h.usb(xhci, "1-6", "224/1/1 btusb")
			h.usb(second, "3-1", "14/1/0 uvcvideo")
			h.socket(second, "3", "2", "hotplug")
		}, "0000:00:14.0", []string{"other-controller pci:0000:00:0d.0 loses 3-1 (webcam)", "device-alone pci:0000:00:14.0"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := laptopHost(t)
			tt.build(h)
			if diff := cmp.Diff(tt.want, options(t, h, h.read(), tt.of)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What changes hands with a device, whoever asks.
func TestAlong(t *testing.T) {
	h := laptopHost(t)
	h.function("pci0000:00/0000:00:1c.0", "060400", "pcieport", 9)
	h.function("pci0000:00/0000:00:1c.0/0000:05:00.0", "020000", "e1000e", 9)
	h.function("pci0000:00/0000:00:1c.4/0000:06:00.0", "0c0330", "xhci_hcd", 9)
	h.usb("pci0000:00/0000:00:1c.4/0000:06:00.0", "3-1", "8/6/80 usb-storage")
	h.usb("pci0000:00/0000:00:1c.4/0000:06:00.0", "3-2", "14/1/0 uvcvideo")
	l := h.read()
	for where, want := range map[string]string{
		"0000:04:00.0": "", "0000:00:1c.0": "",
		"0000:05:00.0": "pci:0000:06:00.0 usb:3-1 usb:3-2",
		"0000:06:00.0": "pci:0000:05:00.0 usb:3-1 usb:3-2",
		"3-1":          "pci:0000:06:00.0 pci:0000:05:00.0 usb:3-2",
	} {
		var ids []string
		for _, d := range l.Along(find(t, l, where)) {
			ids = append(ids, d.ID())
		}
		if got := strings.Join(ids, " "); got != want {
			t.Errorf("%s: %q, want %q", where, got, want)
		}
	}
}

// The ports that are free are named, each socket once.
func TestOptionsNamePorts(t *testing.T) {
	h := laptopHost(t)
	h.function("pci0000:00/0000:00:0d.0", "0c0330", "xhci_hcd", 9)
	h.usb(xhci, "1-4", "8/6/80 usb-storage")
	h.usb(xhci, "1-5", "14/1/0 uvcvideo")
	h.put("sys/devices/"+xhci+"/usb1/1-4/removable", "removable\n")
	h.socket("pci0000:00/0000:00:0d.0", "3", "1", "hotplug")
	h.socket("pci0000:00/0000:00:0d.0", "3", "2", "hardwired")
	h.socket("pci0000:00/0000:00:0d.0", "3", "3", "unknown")
	l := h.read()
	found, err := laptop.Options(h, l, find(t, l, "1-4"))
	must(t, err)
	const want = "plug it into a free port (3-1, 3-3) of the USB controller 0000:00:0d.0, and hand over that"
	if len(found) == 0 || found[0].Detail != want || found[0].Rank != 1 {
		t.Errorf("%+v", found)
	}
}

// What cannot be read is said, and hides nothing else.
func TestOptionsPartlyRead(t *testing.T) {
	h := laptopHost(t)
	h.function("pci0000:00/0000:00:1c.0/0000:05:00.0", "020000", "igb", 9)
	h.function("pci0000:00/0000:00:1c.4/0000:06:00.0", "0c0010", "firewire_ohci", 9)
	h.put("sys/bus/pci/slots/1/address", "0000:05:00\n")
	h.put("sys/devices/pci0000:00/0000:00:1c.0/0000:05:00.0/sriov_totalvfs", "many\n")
	l := h.read()
	failing := hosttest.Failing{Tree: h.Tree, Fail: func(name string) error {
		if strings.Contains(name, "pci/slots/") {
			return syscall.EIO
		}
		return nil
	}}
	found, err := laptop.Options(failing, l, find(t, l, "0000:05:00.0"))
	if len(found) != 2 || found[0].Kind != laptop.WholeGroup || !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), "virtual functions") {
		t.Errorf("%+v, %v", found, err)
	}
}

// machines are all saved machines, ours and the shared ones.
func machines(t testing.TB) []string {
	t.Helper()
	all, _ := filepath.Glob(filepath.Join(hosttest.Root(t), "testdata", "hosts", "*.txtar"))
	shared, _ := filepath.Glob(filepath.Join(hosttest.Shared(t, "hosts"), "*.txtar"))
	if all = append(all, shared...); len(all) < 20 {
		t.Fatalf("%d saved machines", len(all))
	}
	return all
}

// On no machine is anything refused recommended, and what is said is the same each time.
func TestOptionsOfHosts(t *testing.T) {
	kinds := map[laptop.OptionKind]int{}
	for _, file := range machines(t) {
		fsys := open(t, file)
		l, err := laptop.Read(fsys)
		must(t, err)
		for i := range l.Devices {
			d := &l.Devices[i]
			found, err := laptop.Options(fsys, l, d)
			must(t, err)
			again, _ := laptop.Options(fsys, l, d)
			if diff := cmp.Diff(found, again, cmp.Comparer(func(a, b laptop.Option) bool { return a == b })); diff != "" {
				t.Errorf("%s: %s: %s", file, d.ID(), diff)
			}
			for n, o := range found {
				kinds[o.Kind]++
				checkOption(t, l, d, n, o)
			}
		}
	}
	t.Logf("%v", kinds)
	for _, k := range []laptop.OptionKind{
		laptop.WholeGroup, laptop.ViaController, laptop.OtherController, laptop.OtherDevice, laptop.Share, laptop.DeviceAlone,
	} {
		if kinds[k] == 0 {
			t.Errorf("no %s on any machine", k)
		}
	}
}

func checkOption(t *testing.T, l *laptop.Laptop, d *laptop.Device, n int, o laptop.Option) {
	t.Helper()
	target := l.Device(o.Device)
	if target == nil || o.Rank != n+1 || o.Detail == "" || o.Cost == "" || !strings.HasPrefix(o.Evidence, "/sys/") || strings.ContainsAny(o.Detail+o.Cost+o.Evidence, "\n\x1b") {
		t.Errorf("%s: %+v", d.ID(), o)
		return
	}
	if o.Kind == laptop.OtherDevice && target.USB != nil {
		target = l.Function(target.USB.Controller)
	}
	switch o.Kind {
	case laptop.WholeGroup, laptop.ViaController, laptop.OtherController, laptop.OtherDevice:
		if target == nil || target.Verdict == laptop.Refused || target.Verdict == laptop.ShareOnly {
			t.Errorf("%s: recommends %+v, which is refused", d.ID(), o)
		}
	case laptop.Share, laptop.DeviceAlone:
		if o.Available == strings.Contains(o.Detail, "cannot do this yet") {
			t.Errorf("%s: %+v", d.ID(), o)
		}
	}
}

// A saved machine of thousands of controllers in one group takes no time to speak of.
func TestOptionsOfMany(t *testing.T) {
	h := &host{Tree: new(hostfs.Tree), t: t}
	for i := range 1500 {
		h.function(fmt.Sprintf("pci0000:%02x/0000:%02x:%02x.%d", i/256, i/256, i/8%32, i%8), "0c0330", "xhci_hcd", i%3)
	}
	h.usb("pci0000:00/0000:00:00.0", "1-1", "8/6/80 usb-storage")
	l, err := laptop.Read(h)
	must(t, err)
	found, err := laptop.Options(h, l, find(t, l, "1-1"))
	must(t, err)
	if len(found) > 40 {
		t.Errorf("%d options", len(found))
	}
}
