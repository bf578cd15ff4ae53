package laptop_test

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ulikunitz/xz"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/laptop"
)

// udevMachine makes a machine of what udevadm info --export-db said of one: each
// device's path, subsystem and uevent.
func udevMachine(t testing.TB, text string) *hostfs.Tree {
	t.Helper()
	tr := new(hostfs.Tree)
	for record := range strings.SplitSeq(strings.ReplaceAll(text, "\r", ""), "\n\n") {
		var dir string
		var uevent strings.Builder
		values := map[string]string{}
		for l := range strings.Lines(record) {
			l = strings.TrimSpace(l)
			if p, ok := strings.CutPrefix(l, "P: /devices/"); ok {
				dir = "devices/" + p
			}
			if e, ok := strings.CutPrefix(l, "E: "); ok {
				key, value, _ := strings.Cut(e, "=")
				values[key] = value
				uevent.WriteString(e + "\n")
			}
		}
		if dir == "" || strings.ContainsAny(dir, " \\") {
			continue
		}
		subsystem, name := values["SUBSYSTEM"], path.Base(dir)
		if err := tr.Put("sys/"+dir+"/uevent", []byte(uevent.String())); err != nil {
			t.Fatal(err)
		}
		if s := strings.Trim(values["NAME"], `"`); s != "" {
			must(t, tr.Put("sys/"+dir+"/name", []byte(s+"\n")))
		}
		if subsystem == "sound" {
			must(t, tr.Put("sys/"+dir+"/id", []byte("card\n")))
		}
		if subsystem == "usb" && !strings.Contains(values["DEVTYPE"], "usb_") {
			subsystem = "usbmisc" // as before Linux 3.8
		}
		if strings.HasPrefix(dir, "devices/virtual/sound/") {
			subsystem = ""
		}
		switch subsystem {
		case "":
		case "pci", "usb", "iio", "thunderbolt", "firewire":
			must(t, tr.Symlink("../../../"+dir, "sys/bus/"+subsystem+"/devices/"+name))
		case "media":
			must(t, tr.Symlink("../../../"+dir, "sys/bus/media/devices/"+name))
		case "acpi", "platform", "i2c", "spi", "serio", "serial", "hid", "mmc", "sdio", "pnp", "scsi", "memory", "cpu":
		default:
			must(t, tr.Symlink("../../"+dir, "sys/class/"+subsystem+"/"+name))
		}
	}
	return tr
}

// udevDumps calls f with each machine of the collection of such dumps.
func udevDumps(t *testing.T, f func(t *testing.T, name string, tr *hostfs.Tree)) (count int) {
	dir := hosttest.Shared(t, "hwdata", "udevadm")
	use := func(name, text string) {
		if !strings.Contains(text, "\nE: ") {
			return // what says where the dumps are from
		}
		count++
		t.Run(name, func(t *testing.T) { f(t, name, udevMachine(t, text)) })
	}
	files, err := filepath.Glob(filepath.Join(dir, "checkbox", "*.txt"))
	must(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		must(t, err)
		use(strings.TrimSuffix(filepath.Base(file), ".txt"), string(text))
	}
	archive, err := os.Open(filepath.Join(dir, "checkbox_all_others.tar.xz"))
	must(t, err)
	defer archive.Close()
	unpacked, err := xz.NewReader(archive)
	must(t, err)
	for r := tar.NewReader(unpacked); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return count
		}
		must(t, err)
		text, err := io.ReadAll(r)
		must(t, err)
		use(strings.TrimSuffix(path.Base(h.Name), ".txt"), string(text))
	}
}

// TestUdevMachines reads real machines with all that their kernels made of their
// devices, and holds what is special of some: roles, driver and a node.
func TestUdevMachines(t *testing.T) {
	special := map[string][]string{
		"DELL_VOSTRO3460_FINGERPRINT": {
			"usb:1-1.1 [fingerprint] dev/bus/usb/001/003", "usb:2-1.6 [wwan modem ethernet] dev/ttyACM2 dev/cdc-wdm1",
			"usb:2-1.5 [bluetooth] part of pci:0000:01:00.0", "pci:0000:01:00.0 [wlan]", "usb:1-1.5 [webcam] dev/video0",
			"usb:1-1.3 [storage] dev/sdb", "acpi:PNP0C0D:00 [input] dev/input/event2", "acpi:PNP0C0A:00 [system]",
		},
		"HP_ENVY_15_MEDIATEK_BT": {"usb:1-1.1 [bluetooth] part of pci:0000:07:00.0", "usb:2-1.8 [fingerprint]", "pci:0000:08:00.0 [storage]"},
		"HP_PAVILIONSLEEKBOOK14_ACCELEROMETER": {
			"platform:lis3lv02d [input] dev/input/js0", "pci:0000:01:00.1 [bluetooth] part of pci:0000:01:00.0", "serio:serio1 [input] dev/input/mouse0",
		},
		"DELL_LATITUDE_7350_WITH_IPU6_DRIVER": {"pci:0000:00:05.0 [webcam] dev/video1 dev/media0", "virtual:video0 [webcam] dev/video0"},
		"EMMC_AS_MAIN_DRIVE": {
			"mmc:mmc0:0001 [storage] dev/mmcblk0 dev/mmcblk0p3", "i2c:i2c-DLL0725:01 [input] dev/hidraw0", "usb:1-3 [bluetooth] part of pci:0000:01:00.0",
		},
		"REALTEK_CARD_READER_AND_NVME":  {"pci:0000:03:00.0 [storage]", "pci:0000:01:00.1 [audio] part of pci:0000:01:00.0"},
		"DELL_INSPIRON3521_TOUCHSCREEN": {"usb:1-1.2 [input] dev/hidraw0 dev/usb/hiddev0"},
	}
	roles, buses := map[laptop.Role]int{}, map[string]int{}
	machines := udevDumps(t, func(t *testing.T, name string, tr *hostfs.Tree) {
		l, err := laptop.Read(tr)
		if err != nil {
			t.Log(err)
		}
		check(t, l)
		for _, want := range special[name] {
			id, rest, _ := strings.Cut(want, " ")
			d := l.Device(id)
			if d == nil {
				t.Errorf("no %s", id)
				continue
			}
			got := fmt.Sprint(d.Roles, " part of ", d.PartOf, " ", strings.Join(d.Nodes, " "))
			role, rest, _ := strings.Cut(rest, "]")
			if !strings.HasPrefix(got, role+"]") || strings.Contains(rest, "part of") && !strings.Contains(got, strings.TrimSpace(rest)) {
				t.Errorf("%s: %s, want %s", id, got, want)
			}
			for _, node := range strings.Fields(rest) {
				if strings.HasPrefix(node, "dev/") && !slices.Contains(d.Nodes, node) {
					t.Errorf("%s: %s, want %s", id, got, node)
				}
			}
		}
		delete(special, name)
		for i := range l.Devices {
			d := &l.Devices[i]
			roles[d.Role()]++
			buses[d.Bus()]++
			if d.Other != nil && strings.Contains(d.Other.Name, "event") {
				t.Errorf("%s is a class device", d.ID())
			}
			facts, err := laptop.Facts(tr, l, d, laptop.FactOptions{Wake: true})
			checkFacts(t, facts)
			if err != nil || len(facts) == 0 {
				t.Errorf("%s: %d facts, %v", d.ID(), len(facts), err)
			}
		}
	})
	t.Logf("%d machines, roles %v, buses %v", machines, roles, buses)
	if machines < 60 || len(special) > 0 {
		t.Errorf("%d machines; not found: %v", machines, special)
	}
	for _, r := range laptop.Roles() {
		if roles[r] == 0 && r != laptop.Printer && r != laptop.Thunderbolt {
			t.Errorf("no %s on any machine", r)
		}
	}
}

// TestArchives reads machines that other programs saved, of which some lack uevent,
// have a class without its devices, or none of the two buses.
func TestArchives(t *testing.T) {
	dir := hosttest.Shared(t, "hwdata", "sysfs")
	read := func(name string, fsys fs.FS) {
		l, err := laptop.Read(fsys)
		if err != nil {
			t.Logf("%s: %.300v", name, err)
		}
		check(t, l)
		kinds := [3]int{}
		for i := range l.Devices {
			d := &l.Devices[i]
			switch {
			case d.PCI != nil:
				kinds[0]++
			case d.USB != nil:
				kinds[1]++
			default:
				kinds[2]++
				if d.ID() != "acpi:ACPI0012:00" || d.Role() != laptop.Storage { // memory that lasts, in a server
					t.Errorf("%s: %s %s", name, d.ID(), d.Role())
				}
			}
			facts, err := laptop.Facts(fsys, l, d, laptop.FactOptions{Wake: true})
			checkFacts(t, facts)
			if err != nil {
				t.Errorf("%s, %s: %v", name, d.ID(), err)
			}
		}
		t.Logf("%s: %v", name, kinds)
		if kinds[0] == 0 && !strings.Contains(name, "offlineCPUs") {
			t.Errorf("%s: no devices", name)
		}
	}
	for _, pattern := range []string{"ghw/*.tar.gz", "hwloc/*.tar.bz2"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		must(t, err)
		for _, file := range files {
			var fsys fs.FS = open(t, file)
			if top, err := fs.ReadDir(fsys, "."); err == nil && len(top) == 1 && top[0].Name() != "sys" {
				fsys, err = fs.Sub(fsys, top[0].Name())
				must(t, err)
			}
			read(filepath.Base(file), fsys)
		}
	}
	text, err := os.ReadFile(filepath.Join(dir, "procfs", "pci_fixtures_subset.ttar"))
	must(t, err)
	read("procfs", ttar(t, string(text)))
}

// ttar reads the archive format of Prometheus's procfs.
func ttar(t *testing.T, text string) *hostfs.Tree {
	tr := new(hostfs.Tree)
	lines := strings.Split(text, "\n")
	for i := 0; i+1 < len(lines); i++ {
		name, ok := strings.CutPrefix(lines[i], "Path: fixtures/")
		if !ok {
			continue
		}
		kind, value, _ := strings.Cut(lines[i+1], ": ")
		switch kind {
		case "SymlinkTo":
			must(t, tr.Symlink(value, name))
		case "Lines":
			n, err := strconv.Atoi(value)
			must(t, err)
			must(t, tr.Put(name, []byte(strings.Join(lines[i+2:i+2+n], "\n")+"\n")))
		}
	}
	return tr
}
