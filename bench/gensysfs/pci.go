package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// A kind is a function as its maker sells it.
type kind struct {
	vendor, device       uint16
	subvendor, subdevice uint16
	class                uint32
	driver               string
}

// onBoard are the functions on the root bus of the first domain, as in a laptop.
func onBoard() []struct {
	at string
	kind
} {
	return []struct {
		at string
		kind
	}{
		{"00.0", kind{0x8086, 0x9b61, 0x17aa, 0x2292, 0x060000, "skl_uncore"}},
		{"02.0", kind{0x8086, 0x9b41, 0x17aa, 0x2292, 0x030000, "i915"}},
		{"14.0", kind{0x8086, 0x02ed, 0x17aa, 0x2292, 0x0c0330, "xhci_hcd"}},
		{"14.3", kind{0x8086, 0x02f0, 0x8086, 0x0070, 0x028000, "iwlwifi"}},
		{"16.0", kind{0x8086, 0x02e0, 0x17aa, 0x2292, 0x078000, "mei_me"}},
		{"1f.0", kind{0x8086, 0x0284, 0x17aa, 0x2292, 0x060100, ""}},
		{"1f.3", kind{0x8086, 0x02c8, 0x17aa, 0x2292, 0x040300, "snd_hda_intel"}},
		{"1f.4", kind{0x8086, 0x02a3, 0x17aa, 0x2292, 0x0c0500, "i801_smbus"}},
	}
}

func hostBridge() kind { return kind{0x8086, 0x9b61, 0x17aa, 0x2292, 0x060000, "skl_uncore"} }
func rootPort() kind   { return kind{0x8086, 0x02b8, 0x17aa, 0x2292, 0x060400, "pcieport"} }

// cards are what sits behind root ports, one card after the other, the first ones as
// in a laptop. A card of two functions is one IOMMU group.
func cards() [][]kind {
	return [][]kind{
		{{0x144d, 0xa808, 0x144d, 0xa801, 0x010802, "nvme"}},
		{{0x10de, 0x1f91, 0x17aa, 0x2297, 0x030200, "nouveau"}, {0x10de, 0x10fa, 0x17aa, 0x2297, 0x040300, "snd_hda_intel"}},
		{{0x10ec, 0x522a, 0x17aa, 0x2292, 0xff0000, "rtsx_pci"}},
		{{0x8086, 0x15e9, 0x2222, 0x1111, 0x0c0330, "xhci_hcd"}},
		{{0x8086, 0x1521, 0x8086, 0x00a2, 0x020000, "igb"}, {0x8086, 0x1521, 0x8086, 0x00a2, 0x020000, "igb"}},
		{{0x15b3, 0x1015, 0x15b3, 0x0006, 0x020000, "mlx5_core"}},
		{{0x8086, 0x1572, 0x8086, 0x0001, 0x020000, "i40e"}, {0x8086, 0x1572, 0x8086, 0x0000, 0x020000, "i40e"}},
		{{0x1b21, 0x0612, 0x1849, 0x0612, 0x010601, "ahci"}},
	}
}

// laptopCards are the first so many of cards, which are there once.
const laptopCards = 4

// ports are the places of root ports on a root bus: devices 03 to 13, 8 functions each.
const firstPort, ports = 0x03, 0x11 * 8

// functions writes n PCI functions, each root port with the card behind it.
func (t *tree) functions(n int) {
	w := &writer{tree: t, left: n}
	for domain := uint32(0); w.left > 0 && t.err == nil; domain++ {
		root := fmt.Sprintf("sys/devices/pci%04x:00", domain)
		if domain == 0 {
			for _, f := range onBoard() {
				w.function(root, fmt.Sprintf("%04x:00:%s", domain, f.at), f.kind, w.newGroup())
			}
		} else {
			w.function(root, fmt.Sprintf("%04x:00:00.0", domain), hostBridge(), w.newGroup())
		}
		for i := 0; i < ports && w.left > 1; i++ {
			port := fmt.Sprintf("%04x:00:%02x.%d", domain, firstPort+i/8, i%8)
			w.function(root, port, rootPort(), w.newGroup())
			t.attribute(root+"/"+port, "secondary_bus_number", strconv.Itoa(i+1))
			group := w.newGroup()
			for number, k := range w.nextCard() {
				w.function(root+"/"+port, fmt.Sprintf("%04x:%02x:00.%d", domain, i+1, number), k, group)
			}
		}
	}
}

// A writer counts what is left to be written.
type writer struct {
	*tree
	left, group, card int
}

func (w *writer) newGroup() int { w.group++; return w.group - 1 }

func (w *writer) nextCard() []kind {
	all := cards()
	i := w.card
	if i >= len(all) {
		i = laptopCards + (i-laptopCards)%(len(all)-laptopCards)
	}
	w.card++
	return all[i]
}

func (w *writer) function(parent, address string, k kind, group int) {
	if w.left == 0 {
		return
	}
	w.left--
	t, dir := w.tree, parent+"/"+address
	var uevent strings.Builder
	if k.driver != "" {
		fmt.Fprintf(&uevent, "DRIVER=%s\n", k.driver)
	}
	modalias := fmt.Sprintf("pci:v%08Xd%08Xsv%08Xsd%08Xbc%02Xsc%02Xi%02X", k.vendor, k.device, k.subvendor, k.subdevice,
		k.class>>16, k.class>>8&0xff, k.class&0xff)
	fmt.Fprintf(&uevent, "PCI_CLASS=%X\nPCI_ID=%04X:%04X\nPCI_SUBSYS_ID=%04X:%04X\nPCI_SLOT_NAME=%s\nMODALIAS=%s",
		k.class, k.vendor, k.device, k.subvendor, k.subdevice, address, modalias)
	t.dir(dir)
	t.file(dir+"/uevent", uevent.String())
	for _, a := range [][2]string{
		{"class", fmt.Sprintf("0x%06x", k.class)}, {"vendor", fmt.Sprintf("0x%04x", k.vendor)}, {"device", fmt.Sprintf("0x%04x", k.device)},
		{"subsystem_vendor", fmt.Sprintf("0x%04x", k.subvendor)}, {"subsystem_device", fmt.Sprintf("0x%04x", k.subdevice)},
		{"revision", "0x00"}, {"modalias", modalias}, {"irq", "0"}, {"numa_node", "-1"}, {"enable", "1"}, {"driver_override", "(null)"},
		{"power_state", "D0"}, {"reset_method", "flr bus"}, {"resource", strings.TrimSuffix(strings.Repeat("0x0000000000000000 0x0000000000000000 0x0000000000000000\n", 13), "\n")},
	} {
		t.attribute(dir, a[0], a[1])
	}
	t.config(dir, k)
	t.link(dir+"/subsystem", "sys/bus/pci")
	t.link("sys/bus/pci/devices/"+address, dir)
	if k.driver != "" {
		t.link(dir+"/driver", "sys/bus/pci/drivers/"+k.driver)
		t.link("sys/bus/pci/drivers/"+k.driver+"/"+address, dir)
	}
	groupDir := "sys/kernel/iommu_groups/" + strconv.Itoa(group)
	t.link(groupDir+"/devices/"+address, dir)
	t.attribute(groupDir, "type", "DMA-FQ")
	t.attribute(groupDir, "reserved_regions", "0x00000000fee00000 0x00000000feefffff msi")
	t.link(dir+"/iommu_group", groupDir)
	t.classes(dir, address, k)
}

// config writes the first 64 bytes of configuration space, which is what a user who
// is not root may read.
func (t *tree) config(dir string, k kind) {
	c := make([]byte, 64)
	binary.LittleEndian.PutUint16(c, k.vendor)
	binary.LittleEndian.PutUint16(c[2:], k.device)
	binary.LittleEndian.PutUint32(c[8:], k.class<<8)
	if k.class>>8 == 0x0604 {
		c[0x0e] = 1
	} else {
		binary.LittleEndian.PutUint16(c[0x2c:], k.subvendor)
		binary.LittleEndian.PutUint16(c[0x2e:], k.subdevice)
	}
	t.do(dir+"/config", func(path string) error { return os.WriteFile(path, c, 0o444) })
}

// classes writes what drivers make of the laptop's own functions.
func (t *tree) classes(dir, address string, k kind) {
	entry := func(class, name string) string {
		t.dir(dir + "/" + class + "/" + name)
		t.link("sys/class/"+class+"/"+name, dir+"/"+class+"/"+name)
		t.link(dir+"/"+class+"/"+name+"/device", dir)
		return dir + "/" + class + "/" + name
	}
	switch k.driver {
	case "i915":
		t.file(dir+"/boot_vga", "1")
		card := entry("drm", "card0")
		entry("drm", "renderD128")
		t.file(card+"/card0-eDP-1/status", "connected")
		t.link("sys/class/drm/card0-eDP-1", card+"/card0-eDP-1")
	case "snd_hda_intel":
		if address == "0000:00:1f.3" {
			card := entry("sound", "card0")
			t.file(card+"/id", "PCH")
			t.dir(card + "/controlC0")
			t.link("sys/class/sound/controlC0", card+"/controlC0")
			t.file("proc/asound/cards", " 0 [PCH            ]: HDA-Intel - HDA Intel PCH")
		}
	case "iwlwifi":
		entry("net", "wlan0")
	case "nvme":
		controller := entry("nvme", "nvme0")
		t.file(controller+"/nvme0n1/size", "1000215216")
		t.link("sys/class/block/nvme0n1", controller+"/nvme0n1")
		t.link("sys/dev/block/259:0", controller+"/nvme0n1")
	}
}
