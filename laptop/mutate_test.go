package laptop_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/laptop"
)

// everything is a machine with one of each thing that is read.
func everything(t testing.TB) *hostfs.Tree {
	h := laptopHost(t)
	const igpu, eth = "pci0000:00/0000:00:02.0", "pci0000:00/0000:00:1f.6"
	h.function(igpu, "030000", "i915", 0)
	h.put("sys/devices/"+igpu+"/boot_vga", "1\n")
	h.put("sys/devices/"+igpu+"/drm/card0/card0-eDP-1/status", "connected\n")
	h.link("../../devices/"+igpu+"/drm/card0", "sys/class/drm/card0")
	h.link("../../devices/"+igpu+"/drm/card0/card0-eDP-1", "sys/class/drm/card0-eDP-1")
	h.function(eth, "020000", "e1000e", 7)
	h.function("pci0000:00/0000:00:1f.3", "040300", "snd_hda_intel", 7)
	h.link("../../devices/pci0000:00/0000:00:1f.3/sound/card0", "sys/class/sound/card0")
	h.put("sys/devices/pci0000:00/0000:00:1f.3/sound/card0/id", "PCH\n")
	h.net(eth, "eth0")
	h.net("virtual", "br0", "eth0")
	h.route("br0", "00000000", "00000000")
	h.usb(xhci, "1-2", "8/6/80 usb-storage")
	h.usb(xhci, "1-3", "224/1/1 btusb")
	h.block(xhci+"/usb1/1-2/1-2:1.0/host1/target1:0:0/1:0:0:0/block", "sda", "8:0")
	h.block(nvmeDisk, "nvme0n1", "259:0")
	h.block("virtual/block", "dm-0", "254:0", "nvme0n1")
	h.put("sys/devices/virtual/block/dm-0/dm/name", "root\n")
	h.mount("0:31", "/", "btrfs", "/dev/mapper/root")
	h.put("sys/fs/btrfs/b4d1/devices/dm-0", "")
	h.swap("/dev/sda")
	h.class("bluetooth", xhci+"/usb1/1-3/1-3:1.0/bluetooth/hci0")
	h.class("rfkill", xhci+"/usb1/1-3/1-3:1.0/bluetooth/hci0/rfkill0", "type=bluetooth")
	h.class("tpm", "LNXSYSTM:00/LNXSYBUS:00/MSFT0101:00/tpm/tpm0", "tpm_version_major=2")
	h.put("sys/devices/LNXSYSTM:00/LNXSYBUS:00/MSFT0101:00/uevent", "DRIVER=tpm_crb\nMODALIAS=acpi:MSFT0101:\n")
	h.input(i8042+"/input/input3", "AT hotkeys", hotkeyBits)
	const second, image = "pci0000:00/0000:00:15.0", "pci0000:00/0000:00:1c.0/0000:05:00.0"
	h.function(second, "0c0330", "xhci_hcd", 10)
	h.keyboardOn(second, "3-1", "input7")
	h.function(image, "010802", "nvme", 11)
	h.block(image+"/nvme/nvme1", "nvme1n1", "259:8")
	h.put("sys/power/resume", "259:8\n")
	h.put("sys/power/resume_offset", "0\n")
	h.class("iio", "platform/a.0/b.1/iio:device0", "name=als")
	h.link("../../../../bus/platform", "sys/devices/platform/a.0/b.1/subsystem")
	h.function("pci0000:00/0000:00:01.0/0000:01:00.0", "030000", "nouveau", 9)
	h.function("pci0000:00/0000:00:01.0/0000:01:00.1", "040300", "snd_hda_intel", 9)
	h.put("sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/consumer:pci:0000:01:00.1", "")
	return h.Tree
}

var nonsense = [][]byte{
	nil, []byte("\n"), []byte("\x00\xff\xfe=\n\n="), []byte("-1\n"), []byte("0xffffffffffffffffffff\n"),
	[]byte("../../../.."), []byte("0000:00:02.0"), []byte("1-2"), []byte("devices/virtual/nvme-subsystem/"),
	[]byte("DRIVER=\nPCI_CLASS=60400\nPCI_ID=\n"), bytes.Repeat([]byte("A=/:"), 2000),
}

// mutate replaces one file or link of a machine with nonsense, and returns what
// puts it back.
func mutate(t testing.TB, tr *hostfs.Tree, name string, data []byte) (undo func()) {
	target, err := tr.ReadLink(name)
	if err != nil {
		old, err := tr.ReadFile(name)
		must(t, err)
		must(t, tr.WriteFile(name, data))
		return func() { must(t, tr.WriteFile(name, old)) }
	}
	must(t, tr.Remove(name))
	if len(data) > 0 {
		must(t, tr.Symlink(string(data), name))
	}
	return func() {
		_ = tr.Remove(name)
		must(t, tr.Symlink(target, name))
	}
}

// survive compares a machine with what it was before name was replaced: nothing
// has panicked, what always holds does, and each device the name is not about is
// there and is what it was.
func survive(t testing.TB, tr *hostfs.Tree, before *laptop.Laptop, name string) {
	t.Helper()
	after, _ := laptop.Read(tr)
	check(t, after)
	for i := range before.Devices {
		d := &before.Devices[i]
		// What is on neither bus is there for its class devices, and is what they are.
		if strings.Contains(name, d.Where()) || slices.ContainsFunc(d.Classes, func(c laptop.ClassDevice) bool { return strings.Contains(name, "/"+c.Name) }) {
			continue
		}
		j := slices.IndexFunc(after.Devices, func(a laptop.Device) bool { return a.ID() == d.ID() })
		if j < 0 || !slices.Equal(after.Devices[j].Roles, d.Roles) || after.Devices[j].Driver() != d.Driver() {
			t.Errorf("%s is lost or changed", d.ID())
		}
	}
}

func entries(t testing.TB, tr *hostfs.Tree) []string {
	var names []string
	must(t, fs.WalkDir(tr, ".", func(name string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			names = append(names, name)
		}
		return err
	}))
	return names
}

func TestMutations(t *testing.T) {
	tr := everything(t)
	before, err := laptop.Read(tr)
	must(t, err)
	check(t, before)
	names := entries(t, tr)
	for _, name := range names {
		for _, data := range nonsense {
			undo := mutate(t, tr, name, data)
			survive(t, tr, before, name)
			undo()
			if t.Failed() {
				t.Fatalf("%.20q in %s", data, name)
			}
		}
		saved := tr.Clone()
		must(t, saved.Remove(name))
		survive(t, saved, before, name)
	}
	after, err := laptop.Read(tr)
	must(t, err)
	if len(names) < 60 || uses(after) != uses(before) {
		t.Errorf("%d names; the machine was not put back", len(names))
	}
}

func TestMutationsOfHosts(t *testing.T) {
	for _, host := range []string{"framework13-amd-ai300-ignavia.txtar", "thinkpad-t490-fichte-noiommu.txtar"} {
		tr, ok := open(t, filepath.Join(hosttest.Shared(t, "hosts"), host)).(*hostfs.Tree)
		if !ok {
			t.Fatal("not a tree")
		}
		before, err := laptop.Read(tr)
		must(t, err)
		for i, name := range entries(t, tr) {
			if i%3 != 0 { // each kind of attribute comes often enough
				continue
			}
			undo := mutate(t, tr, name, nonsense[i/3%len(nonsense)])
			survive(t, tr, before, name)
			undo()
			if t.Failed() {
				t.Fatalf("%.20q in %s", nonsense[i/3%len(nonsense)], name)
			}
		}
	}
}

func FuzzRead(f *testing.F) {
	tr := everything(f)
	before, err := laptop.Read(tr)
	must(f, err)
	names := entries(f, tr)
	f.Add(uint(0), []byte("x"), uint(1), []byte("../.."))
	f.Fuzz(func(t *testing.T, first uint, data []byte, second uint, more []byte) {
		tr := tr.Clone()
		a, b := names[first%uint(len(names))], names[second%uint(len(names))]
		mutate(t, tr, a, data)
		if _, err := tr.ReadFile(b); err == nil && a != b {
			mutate(t, tr, b, more)
		}
		survive(t, tr, before, a+b)
	})
}

// TestHostile reads machines that are made to take long: each is bounded.
func TestHostile(t *testing.T) {
	for name, build := range map[string]func(*host){
		"thousands of mounts of thousands of devices": func(h *host) {
			var slaves []string
			for i := range 300 {
				slaves = append(slaves, fmt.Sprint("dm-", i))
			}
			var mounts strings.Builder
			for i := range 300 {
				h.block("virtual/block", fmt.Sprint("dm-", i), fmt.Sprint("254:", i), append(slaves, "nvme0n1")...)
			}
			for i := range 5000 {
				fmt.Fprintf(&mounts, "36 30 0:30 / /m%d rw - btrfs /dev/mapper/m%d rw\n36 30 254:%d / /n%d rw - ext4 x rw\n", i, i, i%300, i)
			}
			h.put("proc/self/mountinfo", mounts.String())
		},
		"a chain of slaves": func(h *host) {
			for i := range 2000 {
				h.block("virtual/block", fmt.Sprint("dm-", i), fmt.Sprint("254:", i), fmt.Sprint("dm-", i+1))
			}
			h.mount("254:0", "/", "ext4", "/dev/dm-0")
		},
		"a chain of interfaces": func(h *host) {
			for i := range 2000 {
				h.net("virtual", fmt.Sprint("v", i), fmt.Sprint("v", i+1))
			}
			h.route("v0", "00000000", "00000000")
		},
		"thousands of default routes": func(h *host) {
			var lower []string
			for i := range 200 {
				lower = append(lower, fmt.Sprint("v", i))
				h.net(fmt.Sprintf("pci0000:00/0000:00:%02x.0", i%32), fmt.Sprint("v", i))
			}
			for i := range 500 {
				h.net("virtual", fmt.Sprint("b", i), lower...)
				h.route(fmt.Sprint("b", i), "00000000", "00000000")
			}
		},
		"links in circles": func(h *host) {
			h.link("x", "sys/class/block/x")
			h.link("../net/y", "sys/class/net/y")
			h.link("../../../bus/pci/devices/0000:00:00.0", "sys/bus/pci/devices/0000:00:00.0")
			h.link("1-1", "sys/bus/usb/devices/1-1")
			h.link(".", "sys/kernel/iommu_groups/4/devices")
			h.link("card0", "sys/class/drm/card0")
			h.route("y", "00000000", "00000000")
			h.mount("8:0", "/", "ext4", "/dev/x")
		},
		"thousands of class devices": func(h *host) {
			for i := range 3000 {
				h.link(fmt.Sprintf("../../devices/platform/i8042/serio%d/input/input%d", i, i), fmt.Sprint("sys/class/input/input", i))
				h.link(fmt.Sprintf("../../devices/%s/net/e%d", nvme, i), fmt.Sprint("sys/class/net/e", i))
			}
		},
		"class devices of one name, or with none": func(h *host) {
			for i, to := range []string{"../../devices/platform/a/x/input/input0", "../../devices/platform/b/x/input/input1", "../../devices/", "../../devices/..",
				"../../devices//platform", "devices/platform/a\x1b[2J/input/input5", "../../devices/" + strings.Repeat("platform/", 3000) + "x", "input7", "../../devices/virtual"} {
				h.link(to, fmt.Sprint("sys/class/input/input", i))
			}
			h.link("../../devices/pci0000:00/0000:00:1d.0/0000:04:00.0/net/\x1b[2J", "sys/class/net/\x1b[2J")
			h.put("sys/class/hidraw", "a file")
			h.link("../class/tpm", "sys/class/tpm")
			h.link("../../devices/platform/s/subsystem", "sys/devices/platform/s/subsystem")
			h.link("../../devices/platform/s/t/u/input/input20", "sys/class/input/input20")
		},
		"a deep path": func(h *host) {
			deep := strings.Repeat("pci0000:00/0000:00:01.0/", 5000)
			h.link("../../devices/"+deep+"x", "sys/class/block/x")
			h.mount("0:1", "/", "btrfs", "/dev/x")
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := laptopHost(t)
			h.block(nvmeDisk, "nvme0n1", "259:0")
			build(h)
			l, _ := laptop.Read(h)
			check(t, l)
			d := find(t, l, "0000:04:00.0")
			if d.Verdict == laptop.Assignable && !strings.Contains(name, "route") && !strings.Contains(name, "class") && !strings.Contains(name, "interface") && name != "a deep path" {
				t.Errorf("NVMe: %s", codes(d))
			}
			if len(l.Uses) > 10000 || len(d.Findings) > 10000 {
				t.Errorf("%d uses, %d findings", len(l.Uses), len(d.Findings))
			}
		})
	}
}

// BenchmarkRead reads a machine of 120 functions in 62 groups.
func BenchmarkRead(b *testing.B) {
	h := laptopHost(b)
	h.block(nvmeDisk, "nvme0n1", "259:0")
	h.mount("259:0", "/", "ext4", "/dev/nvme0n1")
	classes := []string{"060400", "020000", "040300", "0c0330", "118000", "010802"}
	for i := range 117 {
		h.function(fmt.Sprintf("pci0000:00/0000:%02x:%02x.0", 16+i/32, i%32), classes[i%len(classes)], "driver", 4+i/2)
	}
	if l := h.read(); len(l.Devices) != 120 {
		b.Fatal(len(l.Devices))
	}
	fsys := fs.FS(h.Tree)
	b.ReportAllocs()
	for b.Loop() {
		_, _ = laptop.Read(fsys)
	}
}
