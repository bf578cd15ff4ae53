package importer_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/hostfs/importer"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
)

func TestFacter(t *testing.T) {
	tree := parse(t, smallFacter, importer.Facter)
	want := []string{
		"0000:00:02.0 8086:a7a0 f111:0003 030000 i915 group 0",
		"0000:01:00.0 15b7:5030 15b7:5030 010802 nvme group 31 behind[0000:00:06.0]",
	}
	if diff := cmp.Diff(want, functions(t, tree)); diff != "" {
		t.Error(diff)
	}
	want = []string{"3-7 0bda:5634 0021 ef0201 by 0000:00:14.0, 0 0e0100 uvcvideo, 1 0e0200 uvcvideo"}
	if diff := cmp.Diff(want, usbDevices(t, tree)); diff != "" {
		t.Error(diff)
	}
	for name, want := range map[string]string{
		"sys/bus/pci/devices/0000:01:00.0/revision":         "0x01",
		"sys/bus/usb/devices/3-7/product":                   "Laptop Camera",
		"sys/bus/usb/devices/3-7/serial":                    "200901010001",
		"sys/bus/usb/devices/usb3/idVendor":                 "1d6b",
		"sys/bus/usb/devices/3-0:1.0/bInterfaceClass":       "09",
		"sys/bus/usb/drivers/uvcvideo/3-7:1.1/modalias":     "usb:v0BDAp5634d0021dcEFdsc02dp01ic0Eisc02ip00in01",
		"sys/class/block/nvme0n1/dev":                       "259:0",
		"sys/firmware/efi/fw_platform_size":                 "64",
		"sys/class/dmi/id/board_name":                       "FRANMCCP06",
		"sys/class/dmi/id/chassis_type":                     "10",
		"sys/class/dmi/id/bios_date":                        "05/24/2023",
		"sys/class/dmi/id/product_serial":                   "",
		"sys/bus/pci/devices/0000:00:02.0/boot_vga":         "",
		"sys/bus/pci/devices/0000:01:00.0/subsystem_vendor": "0x15b7",
	} {
		if got := text(tree, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for name, want := range map[string]string{
		"sys/class/block/nvme0n1":                         "../../devices/pci0000:00/0000:00:06.0/0000:01:00.0/nvme/nvme0/nvme0n1",
		"sys/class/block/nvme0n1/device":                  "../../nvme0",
		"sys/dev/block/259:0":                             "../../devices/pci0000:00/0000:00:06.0/0000:01:00.0/nvme/nvme0/nvme0n1",
		"sys/block/zd0":                                   "../devices/virtual/block/zd0",
		"sys/class/net/lo":                                "../../devices/virtual/net/lo",
		"sys/class/net/eth0":                              "../../devices/pci0000:00/0000:00:14.0/usb3/3-7/3-7:1.0/net/eth0",
		"sys/class/net/eth0/device":                       "../../../3-7:1.0",
		"sys/bus/pci/devices/0000:01:00.0/iommu_group":    "../../../../kernel/iommu_groups/31",
		"sys/kernel/iommu_groups/31/devices/0000:01:00.0": "../../../../devices/pci0000:00/0000:00:06.0/0000:01:00.0",
	} {
		if got, err := fs.ReadLink(tree, name); got != want || err != nil {
			t.Errorf("%s leads to %q, %v, want %q", name, got, err, want)
		}
	}
	m, err := laptop.ReadMachine(tree)
	must(t, err)
	if want := (laptop.Machine{Vendor: "Framework", Product: "Laptop", Version: "A6", Board: "Framework FRANMCCP06", BIOS: "INSYDE Corp. 03.04 05/24/2023"}); m.String() != want.String() || m.BIOS != want.BIOS || m.Board != want.Board || m.CPU != "" || m.Memory != 0 {
		t.Errorf("%+v", m)
	}
}

// TestFacterBridges: what is no number in the report is none in the tree.
func TestFacterBridges(t *testing.T) {
	for detail, want := range map[string]string{
		`"header_type": 1, "secondary_bus": 33`:   "33\n",
		`"header_type": 2, "secondary_bus": 0`:    "0\n",
		`"header_type": 1`:                        "",
		`"header_type": 1, "secondary_bus": null`: "",
		`"header_type": 0, "secondary_bus": 33`:   "none",
		`"secondary_bus": 33`:                     "none",
	} {
		report := `{"version": 1, "hardware": {"bridge": [{"sysfs_id": "/devices/pci0000:00/0000:00:1c.0",
			"module_alias": "pci:v00008086d00009D10sv00000000sd00000000bc06sc80i00", "detail": {` + detail + `}}]}}`
		tree := parse(t, report, importer.Facter)
		data, err := tree.ReadFile("sys/bus/pci/devices/0000:00:1c.0/secondary_bus_number")
		if got := string(data); want != "none" && (err != nil || got != want) || want == "none" && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %q, %v, want %q", detail, got, err, want)
		}
		all, err := pci.Functions(tree)
		must(t, err)
		if forwards := pci.Forwards(tree, all[0]); forwards != (want != "none") {
			t.Errorf("%s: forwards is %v", detail, forwards)
		}
	}
}

// Two words on one device are an error, the same word twice is none.
func TestFacterTwice(t *testing.T) {
	camera := smallFacter[strings.Index(smallFacter, `      {
        "vendor": {"name": "Generic"`):strings.Index(smallFacter, `    "hub"`)]
	twice := strings.Replace(smallFacter, `    "hub"`, `    "unknown": [`+"\n"+camera+`    "hub"`, 1)
	if diff := cmp.Diff(usbDevices(t, parse(t, smallFacter, importer.Facter)), usbDevices(t, parse(t, twice, importer.Facter))); diff != "" {
		t.Error(diff)
	}
	if _, _, err := importer.Parse([]byte(strings.Replace(twice, "p5634d0021dcEFdsc02dp01ic0Eisc02", "p5635d0021dcEFdsc02dp01ic0Eisc02", 1))); err == nil || !strings.Contains(err.Error(), "3-7:1.1: another interface of the device states other ids") {
		t.Error(err)
	}
	if _, _, err := importer.Parse([]byte(strings.Replace(twice, "ic0Eisc01ip00in00", "ic0Eisc09ip00in00", 1))); err == nil || !strings.Contains(err.Error(), `3-7/3-7:1.0" is told of twice; the first is taken`) {
		t.Error(err)
	}
}

// A disk on USB stands for its interface, too, unless that has a record of its own.
func TestFacterUSBDisk(t *testing.T) {
	const disk = `"disk": [
      {
        "vendor": {"hex": "0bda", "name": "Generic-", "value": 3034}, "device": {"hex": "0316", "name": "SD/MMC", "value": 790},
        "sysfs_id": "/class/block/sdb", "driver": "usb-storage", "drivers": ["sd", "usb-storage"],
        "sysfs_device_link": "/devices/pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host2/target2:0:0/2:0:0:0",
        "module_alias": "usb:v0BDAp0316d0204dc00dsc00dp00ic08isc06ip50in00"
      },
      {
        "sysfs_id": "/class/block/sdc", "driver": "usb-storage",
        "sysfs_device_link": "/devices/pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host2/target2:0:0/2:0:0:1",
        "module_alias": "usb:v0BDAp0316d0204dc00dsc00dp00ic08isc06ip50in00"
      },`
	tree := parse(t, strings.Replace(smallFacter, `"disk": [`, disk, 1), importer.Facter)
	got := usbDevices(t, tree)
	if want := "2-1 0bda:0316 0204 000000 by 0000:00:14.0, 0 080650 usb-storage"; len(got) != 2 || got[0] != want {
		t.Errorf("%q, want %q", got, want)
	}
	if s := text(tree, "sys/bus/usb/devices/2-1/product"); s != "" {
		t.Errorf("the disk's name %q is the device's", s)
	}
	if link, err := fs.ReadLink(tree, "sys/class/block/sdc"); link != "../../devices/pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host2/target2:0:0/2:0:0:1/block/sdc" {
		t.Errorf("%s, %v", link, err)
	}
	own := strings.Replace(disk, "usb2/2-1/2-1:1.0", "usb3/3-7/3-7:1.0", 1)
	if got := usbDevices(t, parse(t, strings.Replace(smallFacter, `"disk": [`, own, 1), importer.Facter)); len(got) != 2 || !strings.HasSuffix(got[1], "0 0e0100 uvcvideo, 1 0e0200 uvcvideo") {
		t.Errorf("%q", got)
	}
}
