package importer_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/hostfs/importer"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func readFile(t testing.TB, elem ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(elem...))
	must(t, err)
	return data
}

// parse imports text that must be of the given format and without fault.
func parse(t testing.TB, text string, want importer.Format) *hostfs.Tree {
	t.Helper()
	tree, format, err := importer.Parse([]byte(text))
	must(t, err)
	if format != want {
		t.Fatalf("%v, want %v", format, want)
	}
	return tree
}

// functions gives the PCI functions of a machine as
// "0000:00:02.0 8086:a7a0 f111:0003 030000 i915 group 0 behind".
func functions(t testing.TB, fsys fs.FS) []string {
	t.Helper()
	all, err := pci.Functions(fsys)
	must(t, err)
	var lines []string
	for _, f := range all {
		above, err := pci.Bridges(fsys, f.Address)
		must(t, err)
		line := fmt.Sprintf("%v %v:%v %v:%v %v %s group %v", f.Address, f.Vendor, f.Device, f.SubsystemVendor, f.SubsystemDevice, f.Class, or(f.Driver), f.Group)
		if len(above) > 0 {
			line += " behind" + fmt.Sprint(above)
		}
		lines = append(lines, line)
	}
	return lines
}

func or(driver string) string {
	if driver == "" {
		return "-"
	}
	return driver
}

// usbDevices gives the USB devices of a machine as
// "3-10 8087:0032 0000 e00101 by 0000:00:14.0, 0 e00101 btusb, 1 e00101 btusb".
func usbDevices(t testing.TB, fsys fs.FS) []string {
	t.Helper()
	all, err := usb.Devices(fsys)
	if !errors.Is(err, fs.ErrNotExist) || len(all) > 0 {
		must(t, err)
	}
	var lines []string
	for _, d := range all {
		line := fmt.Sprintf("%v %v:%v %v %v by %v", d.Path, d.Vendor, d.Product, d.Release, d.Class, d.Controller)
		for _, i := range d.Interfaces {
			line += fmt.Sprintf(", %d %v %s", i.Number, i.Class, or(i.Driver))
		}
		lines = append(lines, line)
	}
	return lines
}

func TestFormat(t *testing.T) {
	for _, tt := range []struct {
		text string
		want importer.Format
	}{
		{smallFacter, importer.Facter},
		{"\xef\xbb\xbf \n" + smallFacter, importer.Facter},
		{smallText, importer.LSPCI},
		{"$ lspci -nnvk\npcilib: sysfs_read_vpd: read failed\n" + smallText, importer.LSPCI},
		{strings.ReplaceAll(smallText, "\n", "\r\n"), importer.LSPCI},
		{smallRecords, importer.LSPCIRecords},
		{smallUdev, importer.Udev},
	} {
		_, format, err := importer.Parse([]byte(tt.text))
		if format != tt.want || err != nil {
			t.Errorf("%.40q is %v, %v; want %v", tt.text, format, err, tt.want)
		}
	}
	for _, text := range []string{
		"", "\n\n", "hello\n", "[]", "00:1f\n", "P: devices\n", "Slot:\tx\n", "Device:\t00:02.0\n", strings.Repeat("\n", 100) + smallText,
	} {
		tree, format, err := importer.Parse([]byte(text))
		if tree != nil || format != importer.Unknown || !errors.Is(err, importer.ErrUnknown) || !strings.Contains(fmt.Sprint(err), "nixos-facter report (JSON)") {
			t.Errorf("%.40q is %v, %v", text, format, err)
		}
	}
	var names []string
	for f := importer.Unknown; f <= importer.Udev+1; f++ {
		names = append(names, f.String())
	}
	want := []string{"unknown format", "nixos-facter report", "text of lspci", "records of lspci -vmm", "database of udev", "unknown format"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
}

// What no format but facter's knows is not stated, which is not the same as no IOMMU;
// that facter names no group is (trap 64).
func TestGroupsNotStated(t *testing.T) {
	noGroup := strings.NewReplacer(`"sysfs_iommu_group_id": 0,`, "", `"sysfs_iommu_group_id": "0x1f",`, "").Replace(smallFacter)
	for _, tt := range []struct {
		text            string
		enabled, unsaid bool
		groups          string
	}{
		{smallFacter, true, false, "0 [0000:00:02.0] true, 31 [0000:01:00.0] true"},
		{noGroup, false, false, ""},
		{noGroup[:strings.Index(noGroup, `"network_interface"`)], false, true, ""},
		{smallFacter[:strings.Index(smallFacter, `"network_interface"`)], true, false, "0 [0000:00:02.0] false, 31 [0000:01:00.0] false"},
		{smallText, true, false, "14 [0000:00:1f.3] false"},
		{strings.ReplaceAll(smallText, "\tIOMMU group: 14\n", ""), false, true, ""},
		{smallRecords, true, false, "9 [10000:e1:00.0] false"},
		{smallUdev, false, true, ""},
	} {
		tree, format, _ := importer.Parse([]byte(tt.text))
		all, err := pci.Functions(tree)
		must(t, err)
		groups, err := iommu.Groups(tree, all)
		must(t, err)
		status, err := iommu.ReadStatus(tree, groups)
		must(t, err)
		var said []string
		for _, g := range groups {
			said = append(said, fmt.Sprint(g.ID, g.Devices, g.Known))
		}
		if status.Enabled != tt.enabled || status.Unstated != tt.unsaid || strings.Join(said, ", ") != tt.groups {
			t.Errorf("%v: %+v, groups %q", format, status, said)
		}
	}
}

// A broken record costs that record, and is told with its line (trap 63).
func TestPartial(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		old, new   string
		want       []string // in the error
		left       int      // functions
	}{
		{"facter id", smallFacter, `"pci:v00008086d0000A7A0`, `"pcx:v00008086d0000A7A0`, nil, 2},
		{"facter no id at all", strings.Replace(smallFacter, `"pci:v00008086d0000A7A0`, `"pcx:v00008086d0000A7A0`, 1), `"vendor": {"hex": "8086", "value": 32902},`, "",
			[]string{"nixos-facter report: line 7: 0000:00:02.0: no ids; expected module_alias"}, 1},
		{"facter type", smallFacter, `"sysfs_id": "/devices/pci0000:00/0000:00:02.0"`, `"sysfs_id": 7`, []string{"line 7: ", "sysfs_id"}, 1},
		{"facter path", smallFacter, "/devices/pci0000:00/0000:00:02.0", "/devices/../../0000:00:02.0", []string{"line 7: ", `".." leads elsewhere`}, 1},
		{"facter group", smallFacter, `"sysfs_iommu_group_id": 0`, `"sysfs_iommu_group_id": -3`, []string{"line 7: ", "expected a number"}, 1},
		{"facter cut", smallFacter, `"driver": "nvme"`, "", nil, 1},
		{"facter driver", smallFacter, `"driver": "nvme"`, `"driver": "../nvme"`, []string{"driver: name", "leads elsewhere"}, 2},
		{"facter version", smallFacter, `"version": 1`, `"version": 2`, []string{"line 2: version 2 of the report; expected 1"}, 2},
		{"facter twice", smallFacter, `"/devices/pci0000:00/0000:00:06.0/0000:01:00.0"`, `"/devices/pci0000:00/0000:00:02.0"`, []string{"told of twice"}, 1},
		{"facter smbios", smallFacter, `"product": "Laptop"`, `"product": 5`, []string{`"smbios": json`}, 2},
		{"lspci id", smallText, "[8086:51ca]", "", []string{"text of lspci: line 6: 0000:00:1f.3: its ids and class are not stated; expected lspci with -nn"}, 1},
		{"lspci class", smallText, "[0604]", "[06040]", []string{"line 1: 0000:00:1d.0: its ids"}, 1},
		{"lspci group", smallText, "IOMMU group: 14", "IOMMU group: many", []string{`line 9: 0000:00:1f.3: IOMMU group "many"; expected a decimal number`}, 2},
		{"lspci bus", smallText, "secondary=3d", "secondary=xx", []string{`line 3: 0000:00:1d.0: secondary bus "xx"`}, 2},
		{"lspci twice", smallText, "00:1f.3", "00:1d.0", []string{"line 6: 0000:00:1d.0 is told of twice; the first is taken"}, 1},
		{"lspci words", smallText, "\n\n", "\nwhat\n\n", []string{`line 5: 0000:00:1d.0: "what"; expected a line of -v, or of -x`}, 2},
		{"records slot", smallRecords, "Slot:\t10000:e1:00.0", "Slot:\t10000:e1:20.0", []string{`line 9: slot "10000:e1:20.0"; expected an address`}, 1},
		{"records words", smallRecords, "[8086]", "", []string{"line 1: 0000:00:0e.0: its ids"}, 1},
		{"records interface", smallRecords, "ProgIf:\t02", "ProgIf:\t2", []string{"line 14: 10000:e1:00.0: field ProgIf"}, 2},
		{"udev class", smallUdev, "PCI_CLASS=C0330", "PCI_CLASS=+C0330", []string{`database of udev: line 6: 0000:00:14.0: PCI_CLASS="+C0330"; expected up to six`}, 1},
		{"udev id", smallUdev, "PCI_ID=8086:1E31", "PCI_ID=8086", []string{"line 6: 0000:00:14.0: PCI_ID"}, 1},
		{"udev slot", smallUdev, "PCI_SLOT_NAME=0000:00:14.0", "PCI_SLOT_NAME=0000:00:15.0", []string{"PCI_SLOT_NAME"}, 1},
		{"udev path", smallUdev, "P: /devices/pci0000:00/0000:00:1b.0\n", "P: /devices/pci0000:00/../0000:00:1b.0\n", []string{`line 16: path`, "leads elsewhere"}, 1},
		{"udev line", smallUdev, "E: DEVTYPE=usb_device", "DEVTYPE is usb_device", []string{`line 27: 1-1: "DEVTYPE is usb_device"; expected a letter and a colon`}, 2},
		{"udev subsystem", smallUdev, "SUBSYSTEM=sound", "SUBSYSTEM=../../etc", []string{"card0: SUBSYSTEM: name", "leads elsewhere"}, 2},
		{"udev driver", smallUdev, "DRIVER=snd_hda_intel", "DRIVER=a/b", []string{"0000:00:1b.0: driver: name"}, 2},
		{"udev node", smallUdev, "N: bus/usb/001/002", "N: ../etc/passwd", []string{"1-1: node"}, 2},
		{"udev twice", smallUdev, "P: /devices/pci0000:00/0000:00:1b.0\n", "P: /devices/pci0000:00/0000:00:14.0\n", []string{`line 16: "/devices/pci0000:00/0000:00:14.0" is told of twice; the first is taken`}, 1},
		{"udev below a file", smallUdev, "P: /devices/virtual/input/input5\n", "P: /devices/virtual/dmi/id/uevent\n", []string{"sys/devices/virtual/dmi/id/uevent"}, 2},
		{"udev in a driver", smallUdev, "P: /devices/virtual/input/input5\n", "P: /devices/pci0000:00/0000:00:1b.0/driver/x\n", []string{`"sys/devices/pci0000:00/0000:00:1b.0/driver" belongs to two devices`}, 2},
		{"udev port", smallUdev, "/usb1/1-1\n", "/usb1/1-01\n", []string{"line 25: 1-01: expected a USB port path"}, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(tt.text, tt.old, tt.new, 1)
			if text == tt.text {
				t.Fatalf("%q is not in the text", tt.old)
			}
			if tt.name == "facter cut" {
				at := strings.Index(tt.text, tt.old)
				text, tt.want = tt.text[:at], []string{"line 22: the report is cut off; what came before was read"}
			}
			tree, _, err := importer.Parse([]byte(text))
			if tree == nil {
				t.Fatal(err)
			}
			if (err == nil) != (len(tt.want) == 0) {
				t.Errorf("error %v", err)
			}
			for _, w := range tt.want {
				if !strings.Contains(fmt.Sprint(err), w) {
					t.Errorf("%v; want %s", err, w)
				}
			}
			if all, err := pci.Functions(tree); len(all) != tt.left || err != nil {
				t.Errorf("%d functions left, %v; want %d", len(all), err, tt.left)
			}
			// A device whose record was bad leaves its interfaces behind.
			if _, err := laptop.Read(tree); err != nil && !strings.Contains(err.Error(), "1-1: interfaces without their device") {
				t.Error(err)
			}
		})
	}
}

// Domains have 32 bits, in paths as in addresses (trap 3).
func TestDomains(t *testing.T) {
	facter := strings.NewReplacer("pci0000:00/0000:00:06.0/0000:01:00.0", "pci10000:e0/10000:e0:06.0/10000:e1:00.0").Replace(smallFacter)
	udev := strings.NewReplacer("pci0000:00/0000:00:1b.0", "pcifffffffe:00/fffffffe:00:1b.0").Replace(smallUdev)
	for _, tt := range []struct {
		tree    fs.FS
		address string
		want    string
	}{
		{parse(t, facter, importer.Facter), "10000:e1:00.0", "../../../devices/pci10000:e0/10000:e0:06.0/10000:e1:00.0"},
		{parse(t, udev, importer.Udev), "fffffffe:00:1b.0", "../../../devices/pcifffffffe:00/fffffffe:00:1b.0"},
		{parse(t, smallRecords, importer.LSPCIRecords), "10000:e1:00.0", "../../../devices/pci10000:e1/10000:e1:00.0"},
	} {
		if link, err := fs.ReadLink(tt.tree, "sys/bus/pci/devices/"+tt.address); link != tt.want || err != nil {
			t.Errorf("%s leads to %s, %v", tt.address, link, err)
		}
		if all, err := pci.Functions(tt.tree); err != nil || all[len(all)-1].Address.String() != tt.address {
			t.Errorf("%v, %v", all, err)
		}
	}
}

func TestBounds(t *testing.T) {
	deep := `{"version": 1, "x": ` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `, "hardware": {}}`
	if tree, _, err := importer.Parse([]byte(deep)); tree != nil || err == nil || !strings.Contains(err.Error(), "nested more than 64 deep") {
		t.Errorf("deep: %v", err)
	}
	var many strings.Builder
	for i := range 70_000 {
		fmt.Fprintf(&many, "%08x:00:00.0 0300: 8086:0001 (rev 01)\n", i)
	}
	if tree, _, err := importer.Parse([]byte(many.String())); tree != nil || !errors.Is(err, hostfs.ErrTooLarge) {
		t.Errorf("many records: %v", err)
	}
	many.Reset()
	for i := range 60_000 {
		fmt.Fprintf(&many, "P: /devices/%s%d\nE: SUBSYSTEM=x\n", strings.Repeat(fmt.Sprint("d", i, "/"), 40), i)
	}
	if tree, _, err := importer.Parse([]byte(many.String())); tree != nil || !errors.Is(err, hostfs.ErrTooLarge) {
		t.Errorf("many directories: %v", err)
	}
	path := "/devices" + strings.Repeat("/d", 70)
	for name, text := range map[string]string{
		"path": "P: " + path + "\n\n" + smallUdev,
		"line": smallUdev + "E: X=" + strings.Repeat("x", 70_000) + "\n",
		"name": "P: /devices/" + strings.Repeat("x", 300) + "\n\n" + smallUdev,
	} {
		if tree, _, err := importer.Parse([]byte(text)); tree == nil || err == nil || len(err.Error()) > 500 {
			t.Errorf("%s: %v", name, err)
		}
	}
	// No more is told than somebody reads.
	bad := smallText + strings.Repeat("00:02.0 nothing\n", 1000)
	if _, _, err := importer.Parse([]byte(bad)); err == nil || strings.Count(err.Error(), "\n") != 64 || !strings.Contains(err.Error(), "and 936 more") {
		t.Errorf("%v", err)
	}
	if _, _, err := importer.Parse(make([]byte, hostfs.MaxSaved+1)); !errors.Is(err, hostfs.ErrTooLarge) {
		t.Error(err)
	}
	for _, text := range []string{`{"hardware": {}}`, `{"a": 1}`, "{", "P: /module/x\n"} {
		if tree, _, err := importer.Parse([]byte(text)); tree != nil || err == nil || !strings.Contains(err.Error(), "no device in it") {
			t.Errorf("%q: %v, %v", text, tree, err)
		}
	}
}
