package importer_test

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/audio"
	"github.com/project-independence/indy/gpu"
	"github.com/project-independence/indy/hostfs/importer"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

func TestUdev(t *testing.T) {
	tree := parse(t, smallUdev, importer.Udev)
	want := []string{
		"0000:00:14.0 8086:1e31 17aa:21ce 0c0330 xhci_hcd group none",
		"0000:00:1b.0 8086:1e20 ????:???? 040300 snd_hda_intel group none",
	}
	if diff := cmp.Diff(want, functions(t, tree)); diff != "" {
		t.Error(diff)
	}
	want = []string{"1-1 04f2:b221 1020 ef0201 by 0000:00:14.0, 0 0e0100 uvcvideo"}
	if diff := cmp.Diff(want, usbDevices(t, tree)); diff != "" {
		t.Error(diff)
	}
	for name, want := range map[string]string{
		"sys/class/dmi/id/sys_vendor":                             "LENOVO",
		"sys/class/dmi/id/product_version":                        "ThinkPadT420",
		"sys/class/dmi/id/chassis_type":                           "10",
		"sys/class/dmi/id/bios_version":                           "83ET53WW(1.23)",
		"sys/bus/usb/devices/1-1/manufacturer":                    "Chicony Electronics Co., Ltd.",
		"sys/bus/hid/devices/0003:04F2:B221.0001/modalias":        "hid:b0003g0001v000004F2p0000B221",
		"sys/bus/hid/drivers/hid-generic/0003:04F2:B221.0001/dev": "",
		"sys/class/input/input5/name":                             "Video Bus",
		"sys/class/input/input5/capabilities/ev":                  "3",
		"sys/class/block/sda/dev":                                 "8:0",
		"sys/dev/block/8:1/partition":                             "1",
		"sys/bus/pci/devices/0000:00:14.0/class":                  "0x0c0330",
		"sys/bus/pci/devices/0000:00:14.0/subsystem_device":       "0x21ce",
		"sys/bus/usb/devices/1-1/uevent": "DEVTYPE=usb_device\nDEVNAME=bus/usb/001/002\nDRIVER=usb\nPRODUCT=4f2/b221/1020\n" +
			"TYPE=239/2/1\nBUSNUM=001\nDEVNUM=002\nMAJOR=189\nMINOR=1",
	} {
		if got := text(tree, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for name, want := range map[string]string{
		"sys/class/sound/card0":                   "../../devices/pci0000:00/0000:00:1b.0/sound/card0",
		"sys/class/sound/card0/device":            "../../../0000:00:1b.0",
		"sys/block/sda":                           "../devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sda",
		"sys/class/block/sda/device":              "../../../0:0:0:0",
		"sys/bus/scsi/drivers/sd/0:0:0:0":         "../../../../devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0",
		"sys/bus/pci/devices/0000:00:14.0/driver": "../../../bus/pci/drivers/xhci_hcd",
		"sys/bus/usb/devices/1-1:1.0/driver":      "../../../../../../bus/usb/drivers/uvcvideo",
		"sys/class/dmi/id":                        "../../devices/virtual/dmi/id",
		"sys/class/block/sda1/device":             "", // a partition has none
		"sys/bus/usb/devices/1-1/product":         "", // the device has no name
		"sys/module/i915":                         "",
	} {
		if got, err := fs.ReadLink(tree, name); got != want || (err == nil) != (want != "") {
			t.Errorf("%s leads to %q, %v, want %q", name, got, err, want)
		}
	}
	for _, node := range []string{"dev/sda", "dev/bus/usb/001/002"} {
		if st, err := fs.Stat(tree, node); err != nil || st.Size() != 0 {
			t.Errorf("%s: %v", node, err)
		}
	}
}

// TestUdevIdentities: of serial numbers and addresses the database has what udev made
// of them for names.
func TestUdevIdentities(t *testing.T) {
	const hub = "/devices/pci0000:00/0000:00:14.0/usb1"
	usb := func(name, kind, properties string) string {
		return "P: " + hub + "/" + name + "\nE: SUBSYSTEM=usb\nE: DEVTYPE=" + kind + "\n" + properties + "\n\n"
	}
	net := func(name, properties string) string {
		return "P: /devices/virtual/net/" + name + "\nE: SUBSYSTEM=net\nE: INTERFACE=" + name + "\n" + properties + "\n\n"
	}
	tree := parse(t, usb("1-1", "usb_device", "E: ID_SERIAL=Chicony_Camera_200901010001\nE: ID_SERIAL_SHORT=200901010001")+
		usb("1-1/1-1:1.0", "usb_interface", "E: ID_SERIAL_SHORT=200901010001")+
		usb("1-2", "usb_device", "E: ID_SERIAL=0a5c_217f")+
		net("wlan0", "E: ID_NET_NAME_MAC=wlx3413e8467b68")+
		net("eth0", "E: ID_NET_NAME_MAC=enxA44CC853D5E2")+
		net("eth1", "E: ID_NET_NAME_PATH=enp0s31f6")+
		net("eth2", "E: ID_NET_NAME_MAC=enxa44cc853d5")+
		net("eth3", "E: ID_NET_NAME_MAC=enxa44cc853d5zz")+
		net("eth4", "E: ID_NET_NAME_MAC=eth4a44cc853d5e")+
		net("ib0", "E: ID_NET_NAME_MAC=ibx80000a8afe80"), importer.Udev)
	for name, want := range map[string]string{
		"sys/bus/usb/devices/1-1/serial":     "200901010001",
		"sys/bus/usb/devices/1-1:1.0/serial": "",
		"sys/bus/usb/devices/1-2/serial":     "",
		"sys/class/net/wlan0/address":        "34:13:e8:46:7b:68",
		"sys/class/net/eth0/address":         "a4:4c:c8:53:d5:e2",
		"sys/class/net/eth1/address":         "",
		"sys/class/net/eth2/address":         "",
		"sys/class/net/eth3/address":         "",
		"sys/class/net/eth4/address":         "",
		"sys/class/net/ib0/address":          "",
	} {
		if got := text(tree, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
		if _, err := fs.Lstat(tree, name); want == "" && err == nil {
			t.Errorf("%s is there", name)
		}
	}
}

// A bus and a class may have one name, and devices of one name in both.
func TestUdevBothNames(t *testing.T) {
	tree := parse(t, "P: /devices/platform/x\nE: SUBSYSTEM=platform\n\nP: /devices/platform/x/gpiochip0\nE: SUBSYSTEM=gpio\n\n"+
		"P: /devices/platform/x/gpio/gpiochip0\nE: SUBSYSTEM=gpio\n\nP: /devices/pci0000:00/0000:00:14.0/usb2/2-7/2-7:1.0/usb/hiddev0\nN: usb/hiddev0\nE: SUBSYSTEM=usb\n", importer.Udev)
	for name, want := range map[string]string{
		"sys/bus/gpio/devices/gpiochip0":   "../../../devices/platform/x/gpiochip0",
		"sys/class/gpio/gpiochip0":         "../../devices/platform/x/gpio/gpiochip0",
		"sys/class/gpio/gpiochip0/device":  "../../../x",
		"sys/class/usb/hiddev0":            "../../devices/pci0000:00/0000:00:14.0/usb2/2-7/2-7:1.0/usb/hiddev0",
		"sys/bus/platform/devices/x":       "../../../devices/platform/x",
		"sys/bus/platform/devices/x/power": "",
	} {
		if got, err := fs.ReadLink(tree, name); got != want || (err == nil) != (want != "") {
			t.Errorf("%s leads to %q, %v, want %q", name, got, err, want)
		}
	}
}

// checkbox gives the databases of real machines, most of them notebooks.
func checkbox(t testing.TB) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(hosttest.Shared(t, "hwdata", "udevadm", "checkbox"), "*.txt"))
	if err != nil || len(files) != 17 {
		t.Fatalf("%d databases, %v", len(files), err)
	}
	all := map[string]string{}
	for _, f := range files {
		all[strings.TrimSuffix(filepath.Base(f), ".txt")] = string(readFile(t, f))
	}
	return all
}

// TestCheckbox imports every database without fault and counts what is in it by its
// lines.
func TestCheckbox(t *testing.T) {
	total := map[string]int{}
	for name, database := range checkbox(t) {
		t.Run(name, func(t *testing.T) {
			tree := parse(t, database, importer.Udev)
			all, err := pci.Functions(tree)
			must(t, err)
			if want := strings.Count(database, "\nE: PCI_SLOT_NAME="); len(all) != want {
				t.Errorf("%d PCI functions, want %d", len(all), want)
			}
			for _, f := range all {
				link, err := fs.ReadLink(tree, "sys/bus/pci/devices/"+f.Address.String())
				if err != nil || !strings.Contains(database, "P: "+strings.TrimPrefix(link, "../../..")+"\n") {
					t.Errorf("%v leads to %s, %v", f.Address, link, err)
				}
			}
			roots, interfaces, inDatabase := 0, 0, 0
			for _, entry := range names(t, tree, "sys/bus/usb/devices") {
				if strings.HasPrefix(entry, "usb") {
					roots++
				}
			}
			devices, err := usb.Devices(tree)
			if len(devices) > 0 {
				must(t, err)
			}
			for _, d := range devices {
				interfaces += len(d.Interfaces)
			}
			if want := strings.Count(database, "E: DEVTYPE=usb_device\n"); len(devices)+roots != want {
				t.Errorf("%d USB devices and %d root hubs, want %d together", len(devices), roots, want)
			}
			for record := range strings.SplitSeq(database, "\n\n") {
				path, _, _ := strings.Cut(record, "\n")
				if strings.Contains(record, "E: DEVTYPE=usb_interface") && !strings.Contains(path, "-0:1.") {
					inDatabase++
				}
			}
			if interfaces != inDatabase {
				t.Errorf("%d USB interfaces, want %d", interfaces, inDatabase)
			}
			cards, _ := audio.Cards(tree) // whose id is in no database
			named := 0
			for record := range strings.SplitSeq(database, "\n\n") {
				path, _, _ := strings.Cut(record, "\n")
				if i := strings.LastIndex(path, "/sound/card"); i > 0 && !strings.Contains(path[i+7:], "/") {
					named++
				}
			}
			if len(cards) != named {
				t.Errorf("%d sound cards, want %d", len(cards), named)
			}
			displays, err := gpu.Displays(tree, all)
			must(t, err)
			l, err := laptop.Read(tree)
			if err != nil && strings.Contains(strings.ReplaceAll(err.Error(), "/id: file does not exist", ""), "does not exist") {
				t.Error(err)
			}
			if !l.IOMMU.Unstated || l.IOMMU.Enabled {
				t.Errorf("%+v", l.IOMMU)
			}
			total["functions"] += len(all)
			total["usb"] += len(devices)
			total["cards"] += len(cards)
			total["displays"] += len(displays)
		})
	}
	if total["functions"] < 300 || total["usb"] < 60 || total["cards"] < 16 || total["displays"] < 16 {
		t.Errorf("on all machines %v", total)
	}
}

// TestCheckboxFacts pins what some of the machines are known for.
func TestCheckboxFacts(t *testing.T) {
	all := checkbox(t)
	for _, tt := range []struct {
		machine, device string
		want            string // roles, ids, class and driver
	}{
		{"DELL_LATITUDE_7350_WITH_IPU6_DRIVER", "pci:0000:00:05.0", "[webcam] 8086:7d19 048000 intel-ipu6"},
		{"LENOVO_T420", "pci:0000:00:02.0", "[gpu] 8086:0126 030000 i915"},
		{"LENOVO_T420", "pci:0000:03:00.0", "[wlan] 8086:0085 028000 iwlwifi"},
		{"LENOVO_T420", "pci:0000:0d:00.0", " 1180:e822 088001 sdhci-pci"},
		{"LENOVO_T420", "usb:1-1.3", "[fingerprint] 147e:2016 "},
		{"LENOVO_T420", "usb:1-1.4", "[bluetooth] 0a5c:217f btusb"},
		{"LENOVO_T420", "usb:1-1.6", "[webcam] 04f2:b221 uvcvideo"},
		{"HP_PROBOOK6550B_ACCELEROMETER", "pci:0000:43:00.3", "[firewire] 1180:e832 0c0010 firewire_ohci"},
		{"DELL_INSPIRON_7737_NVIDIA", "pci:0000:04:00.0", "[gpu] 10de:0fe4 030200 "},
		{"DELL_LATITUDEE4310", "pci:0000:00:1f.6", " 8086:3b32 118000 intel ips"},
		{"TOSHIBA_NVME", "pci:0000:3e:00.0", "[storage] 1179:0115 010802 nvme"},
		{"TOSHIBA_NVME", "usb:1-6", "[bluetooth] 8087:0a2b btusb"},
		{"LENOVO_E445", "pci:0000:01:00.0", "[gpu] 1002:6663 038000 fglrx_pci"},
	} {
		l, _ := laptop.Read(parse(t, all[tt.machine], importer.Udev)) // the id of a sound card is in no database
		i := slices.IndexFunc(l.Devices, func(d laptop.Device) bool { return d.ID() == tt.device })
		if i < 0 {
			t.Errorf("%s: no %s", tt.machine, tt.device)
			continue
		}
		if got := fact(&l.Devices[i]); !strings.HasSuffix(got, tt.want) {
			t.Errorf("%s, %s: %s, want %s", tt.machine, tt.device, got, tt.want)
		}
	}
	for machine, want := range map[string]string{
		"LENOVO_T420":      "LENOVO ThinkPadT420",
		"CAPTURE_METADATA": "Dell Inc. Latitude3590",
	} {
		m, err := laptop.ReadIdentity(parse(t, all[machine], importer.Udev))
		must(t, err)
		if strings.ReplaceAll(m.String(), " ", "") != strings.ReplaceAll(want, " ", "") {
			t.Errorf("%s calls itself %q", machine, m)
		}
	}
}

func fact(d *laptop.Device) string {
	if d.PCI != nil {
		return fmt.Sprintf("%v %v:%v %v %s", d.Roles, d.PCI.Vendor, d.PCI.Device, d.PCI.Class, d.Driver())
	}
	return fmt.Sprintf("%v %v:%v %s", d.Roles, d.USB.Vendor, d.USB.Product, d.Driver())
}
