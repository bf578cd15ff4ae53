package importer_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/hostfs/importer"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/pci"
)

func TestText(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       []string
		err        string
	}{
		{"with names and numbers", smallText, []string{
			"0000:00:1d.0 8086:51b0 ????:???? 060400 pcieport group none",
			"0000:00:1f.3 8086:51ca f111:0003 040380 sof-audio-pci-intel-tgl group 14",
		}, ""},
		{"numbers", "00:02.0 0300: 8086:3ea0 (rev 02)\n\tSubsystem: 17aa:2279\n\tFlags: bus master\n", []string{
			"0000:00:02.0 8086:3ea0 17aa:2279 030000 - group none",
		}, ""},
		{"numbers of old", "00:02.0 Class 0300: 8086:3ea0 (rev 02) (prog-if 01)\n\tSubsystem: Unknown device 17aa:2279\n\tFlags: x\n", []string{
			"0000:00:02.0 8086:3ea0 17aa:2279 030001 - group none",
		}, ""},
		{"a short listing has no interfaces", "00:0d.2 USB controller [0c03]: Intel Corporation Device [8086:a73e]\n\tSubsystem: Framework Device [f111:0003]\n\tKernel driver in use: thunderbolt\n", []string{
			"0000:00:0d.2 8086:a73e f111:0003 0c0300 thunderbolt group none",
		}, "line 1: programming interfaces are not stated and taken for 00"},
		// Traps 3 and 62.
		{"domains of 32 bits, ffff and ff are numbers", "10000:e0:06.0 Unassigned class [ffff]: Intel Corporation Device [ffff:ffff] (rev ff) (prog-if ff)\n\tFlags: x\n" +
			"fffffffe:00:1f.7 0300: 0001:0002 (rev 0a)\n\tControl: x\n", []string{
			"10000:e0:06.0 ffff:ffff ????:???? ffffff - group none",
			"fffffffe:00:1f.7 0001:0002 ????:???? 030000 - group none",
		}, ""},
		{"notes in names and in notes", "df:00.0 CXL [0502]: Intel (rev 7) Device (rev 02) [8086:0d93] (prog-if 10 [CXL Memory Device (CXL 2.x)])\n\tFlags: x\n", []string{
			"0000:df:00.0 8086:0d93 ????:???? 050210 - group none",
		}, ""},
		{"a switched off function", "01:00.0 VGA compatible controller [0300]: NVIDIA Corporation Device [10de:1d01] (rev ff) (prog-if ff)\n\t!!! Unknown header type 7f\n\tKernel driver in use: nvidia\n" + dump(64, 0xff), []string{
			"0000:01:00.0 10de:1d01 ????:???? 0300ff nvidia group none",
		}, ""},
		{"words alone", "00:02.0 VGA compatible controller: Intel Corporation UHD Graphics 620 8086:3ea0x\n00:03.0 0300: 8086:0001\n\tFlags: x\n", []string{
			"0000:00:03.0 8086:0001 ????:???? 030000 - group none",
		}, "line 1: 0000:00:02.0: its ids and class are not stated"},
		{"a bridge to its own bus, and two to one", "00:01.0 0604: 8086:0001\n\tFlags: x\n\tBus: primary=00, secondary=00, subordinate=00\n" +
			"00:02.0 0604: 8086:0001\n\tFlags: x\n\tBus: primary=00, secondary=01\n00:03.0 0604: 8086:0001\n\tFlags: x\n\tBus: primary=00, secondary=01\n01:00.0 0200: 8086:0002\n\tFlags: x\n", []string{
			"0000:00:01.0 8086:0001 ????:???? 060400 - group none",
			"0000:00:02.0 8086:0001 ????:???? 060400 - group none",
			"0000:00:03.0 8086:0001 ????:???? 060400 - group none",
			"0000:01:00.0 8086:0002 ????:???? 020000 - group none behind[0000:00:02.0]",
		}, "0000:00:03.0: the bus 01 behind it is behind another bridge, too"},
		{"a dump cut off", "00:02.0 0300: 8086:0001\n" + dump(48, 0), []string{
			"0000:00:02.0 8086:0001 ????:???? 030000 - group none",
		}, "0000:00:02.0: config space of 48 bytes; expected 64, 256 or 4096"},
		{"a line of a dump is missing", "00:02.0 0300: 8086:0001\n\tFlags: x\n" + strings.Replace(dump(64, 0), "10: ", "20: ", 1), []string{
			"0000:00:02.0 8086:0001 ????:???? 030000 - group none",
		}, "line 4: 0000:00:02.0: bytes at 020; expected those at 010"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tree, format, err := importer.Parse([]byte(tt.text))
			if tree == nil || format != importer.LSPCI {
				t.Fatalf("%v, %v", format, err)
			}
			if (err == nil) != (tt.err == "") || !strings.Contains(fmt.Sprint(err), tt.err) {
				t.Errorf("error %v; want %s", err, tt.err)
			}
			if diff := cmp.Diff(tt.want, functions(t, tree)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// dump writes size equal bytes as -x does.
func dump(size int, c byte) string {
	var b strings.Builder
	for at := 0; at < size; at += 16 {
		fmt.Fprintf(&b, "%02x: % x\n", at, bytes.Repeat([]byte{c}, 16))
	}
	return b.String()
}

func TestRecords(t *testing.T) {
	tree := parse(t, smallRecords, importer.LSPCIRecords)
	want := []string{
		"0000:00:0e.0 8086:467f 1028:0b04 010400 vmd group none",
		"10000:e1:00.0 144d:a80b ????:???? 010802 nvme group 9",
	}
	if diff := cmp.Diff(want, functions(t, tree)); diff != "" {
		t.Error(diff)
	}
	if s := text(tree, "sys/bus/pci/devices/10000:e1:00.0/numa_node") + text(tree, "sys/bus/pci/drivers/nvme/10000:e1:00.0/revision"); s != "00x02" {
		t.Error(s)
	}
	numbers := regexp.MustCompile(`(?m)\t.*\[([0-9a-f]{4})\]$`).ReplaceAllString(smallRecords, "\t$1")
	if diff := cmp.Diff(want, functions(t, parse(t, numbers, importer.LSPCIRecords))); diff != "" || numbers == smallRecords {
		t.Error(diff)
	}
	namesOnly := regexp.MustCompile(` \[[0-9a-f]{4}\]`).ReplaceAllString(smallRecords, "")
	if tree, _, err := importer.Parse([]byte(namesOnly)); tree != nil || err == nil || !strings.Contains(err.Error(), "line 9: 10000:e1:00.0: its ids and class are not stated; expected lspci with -nn") {
		t.Error(err)
	}
}

// TestDumps reads dumps of config space of real machines and compares ids and classes
// with what lspci itself makes of them.
func TestDumps(t *testing.T) {
	dir := hosttest.Shared(t, "hwdata", "lspci")
	files, err := os.ReadDir(filepath.Join(dir, "pciutils"))
	must(t, err)
	total := 0
	header := regexp.MustCompile(`(?m)^((?:[0-9a-f]{4,8}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]) .*\[([0-9a-f]{4})\]: .*\[([0-9a-f]{4}:[0-9a-f]{4})\]`)
	for _, e := range files {
		t.Run(e.Name(), func(t *testing.T) {
			data := readFile(t, dir, "pciutils", e.Name())
			tree := parse(t, string(data), importer.LSPCI)
			all, err := pci.Functions(tree)
			must(t, err)
			got := map[string]string{}
			for _, f := range all {
				got[f.Address.String()] = fmt.Sprintf("%04x %v:%v", f.Class.Sub(), f.Vendor, f.Device)
				config, err := fs.ReadFile(tree, "sys/bus/pci/devices/"+f.Address.String()+"/config")
				if err != nil || !bytes.Contains(data, fmt.Appendf(nil, "\n00: % x\n", config[:16])) || len(config)%16 != 0 {
					t.Errorf("%v: config space of %d bytes, %v", f.Address, len(config), err)
				}
			}
			total += len(all)
			decoded := readFile(t, dir, "pciutils_decoded", e.Name()+".lspci-vvvnn.txt")
			want := map[string]string{}
			for _, m := range header.FindAllStringSubmatch(string(decoded), -1) {
				address := m[1]
				if len(address) == len("00:00.0") {
					address = "0000:" + address
				}
				want[address] = m[2] + " " + m[3]
			}
			if diff := cmp.Diff(want, got); diff != "" || len(want) == 0 {
				t.Error(diff)
			}
			// And its words lead to the same functions behind the same bridges.
			// It writes no driver and no group, and no subsystem of 0000:0000.
			hardware := func(tree fs.FS) []string {
				var lines []string
				for _, l := range functions(t, tree) {
					numbers, rest, _ := strings.Cut(strings.Replace(l, " 0000:0000 ", " ????:???? ", 1), " group ")
					_, behind, _ := strings.Cut(rest, " behind")
					lines = append(lines, strings.Join(strings.Fields(numbers)[:4], " ")+behind)
				}
				return lines
			}
			if diff := cmp.Diff(hardware(tree), hardware(parse(t, string(decoded), importer.LSPCI))); diff != "" {
				t.Error(diff)
			}
		})
	}
	if total < 100 {
		t.Errorf("only %d functions in all dumps", total)
	}
}

// Where bridges lead is in the dump; the trees are those that lspci -t draws.
func TestDumpTopology(t *testing.T) {
	dir := hosttest.Shared(t, "hwdata", "lspci", "pciutils")
	for name, tt := range map[string]map[string]string{
		"PCI-X-bridges-and-domains": {
			"0000:00:01.0": "../../../devices/pci0000:00/0000:00:01.0",
			"0001:62:00.0": "../../../devices/pci0001:00/0001:00:02.6/0001:61:01.0/0001:62:00.0",
			"0002:42:03.0": "../../../devices/pci0002:00/0002:00:02.4/0002:41:01.0/0002:42:03.0",
			"0003:21:01.0": "../../../devices/pci0003:00/0003:00:02.2/0003:21:01.0",
		},
		// Of one device no bridge is known.
		"cap-ea-1":         {"0002:01:00.0": "../../../devices/pci0002:01/0002:01:00.0"},
		"tree-fsl-p2020":   {"0000:05:00.0": "../../../devices/pci0000:04/0000:04:00.0/0000:05:00.0"},
		"bridge-ctl-vga16": {"0000:00:1c.2": "../../../devices/pci0000:00/0000:00:1c.2"},
	} {
		tree := parse(t, string(readFile(t, dir, name)), importer.LSPCI)
		for address, want := range tt {
			if got, err := fs.ReadLink(tree, "sys/bus/pci/devices/"+address); got != want || err != nil {
				t.Errorf("%s: %s is %s, %v; want %s", name, address, got, err, want)
			}
		}
	}
	tree := parse(t, string(readFile(t, dir, "PCI-X-bridges-and-domains")), importer.LSPCI)
	if n := text(tree, "sys/bus/pci/devices/0001:00:02.2/secondary_bus_number"); n != "33" {
		t.Errorf("secondary bus %s", n)
	}
}

// TestGroupTables reads groups of real notebooks, as lspci -v told them.
func TestGroupTables(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(hosttest.Shared(t, "hwdata", "iommu_groups", "linuxhw_lspci"), "*.tsv"))
	if err != nil || len(files) != 2 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		var b strings.Builder
		want := map[string]string{}
		for line := range strings.Lines(string(readFile(t, file))) {
			f := strings.Split(line, "\t")
			if strings.HasPrefix(line, "#") || len(f) < 13 {
				continue
			}
			fmt.Fprintf(&b, "%s %s: %s (rev %s) (prog-if %s)\n\tFlags: x\n", f[0], f[1], f[2], f[4], f[5])
			want[f[0]] = "none"
			if f[11] != "-" {
				fmt.Fprintf(&b, "\tIOMMU group: %s\n", f[11])
				want[f[0]] = f[11]
			}
		}
		all, err := pci.Functions(parse(t, b.String(), importer.LSPCI))
		must(t, err)
		got := map[string]string{}
		for _, f := range all {
			got[f.Address.String()] = f.Group.String()
		}
		if diff := cmp.Diff(want, got); diff != "" || len(want) < 20 {
			t.Errorf("%s: %s", filepath.Base(file), diff)
		}
	}
}
