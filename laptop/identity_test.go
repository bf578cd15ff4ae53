package laptop_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/laptop"
)

// numbers are what the kernel may give otherwise at the next start.
type numbers struct {
	root, dock, vmd   int // PCI buses
	domain            int // that VMD makes
	usb2, usb3        int // USB buses
	card, wlan, group int
}

var firstStart = numbers{root: 1, dock: 4, vmd: 1, domain: 0x10000, usb2: 1, usb3: 2}

// A numbered machine is built with given numbers.
type numbered struct {
	*host
	numbers
	devices map[int]int // the next device number by bus
}

func (h *numbered) hub(controller string, bus, version int) {
	dir := fmt.Sprintf("%s/usb%d", controller, bus)
	h.link("../../../devices/"+dir, fmt.Sprintf("sys/bus/usb/devices/usb%d", bus))
	h.put("sys/devices/"+dir+"/uevent", fmt.Sprintf("PRODUCT=1d6b/%d/618\nTYPE=9/0/%d\n", version, version))
	h.link(fmt.Sprintf("../../../devices/%s/%d-0:1.0", dir, bus), fmt.Sprintf("sys/bus/usb/devices/%d-0:1.0", bus))
	h.put(fmt.Sprintf("sys/devices/%s/%d-0:1.0/uevent", dir, bus), "DRIVER=hub\nINTERFACE=9/0/0\n")
}

// port makes the port of a root hub, whose other half is peer.
func (h *numbered) port(controller string, bus, port, peerBus, peer int) {
	dir := fmt.Sprintf("sys/devices/%s/usb%d/%d-0:1.0/usb%d-port%d", controller, bus, bus, bus, port)
	h.put(dir+"/connect_type", "hotplug\n")
	h.link(fmt.Sprintf("../../../usb%d/%d-0:1.0/usb%d-port%d", peerBus, peerBus, peerBus, peer), dir+"/peer")
}

// stick plugs in a USB device: what is "product/release", the interfaces as
// "8/6/80 usb-storage", the serial number empty for none.
func (h *numbered) stick(controller, path, what, serial string, interfaces ...string) {
	h.usb(controller, path, interfaces...)
	bus, _, _ := strings.Cut(path, "-")
	dir := "sys/devices/" + controller + "/usb" + bus + "/" + path
	number := 0
	_, _ = fmt.Sscan(bus, &number)
	h.devices[number]++
	h.put(dir+"/uevent", fmt.Sprintf("DRIVER=usb\nPRODUCT=%s\nTYPE=0/0/0\nBUSNUM=%03d\nDEVNUM=%03d\n", what, number, h.devices[number]))
	if serial != "" {
		h.put(dir+"/serial", serial+"\n")
	}
}

// workstation is a notebook with one of everything that tells a device, with the
// numbers n.
func workstation(t testing.TB, n numbers) *numbered {
	h := &numbered{laptopHost(t), n, map[int]int{}}
	must(t, h.Remove("sys/bus/pci/devices/0000:04:00.0"))
	ssd := fmt.Sprintf("pci0000:00/0000:00:1d.0/0000:%02x:00.0", n.root)
	h.function(ssd, "010802", "nvme", 2+n.group)
	h.put("sys/devices/"+ssd+"/firmware_node/path", `\_SB_.PC00.RP09.PXSX`+"\n")
	h.put("sys/devices/"+ssd+"/revision", "0x01\n")
	h.link("../../devices/"+ssd+"/nvme/nvme0", "sys/class/nvme/nvme0")
	h.put("sys/devices/"+ssd+"/nvme/nvme0/serial", "S5GXNX0T123456      \n")
	h.block(ssd+"/nvme/nvme0", "nvme0n1", "259:0")
	h.put("sys/devices/"+ssd+"/nvme/nvme0/nvme0n1/wwid", "eui.0025385b11b5a3a1\n")
	h.block(ssd+"/nvme/nvme0/nvme0n1", "nvme0n1p1", "259:1")
	h.put("sys/devices/"+ssd+"/nvme/nvme0/nvme0n1/nvme0n1p1/wwid", "of a partition\n")

	wlan := fmt.Sprintf("pci0000:00/0000:00:1c.0/0000:%02x:00.0", n.root+1)
	h.function("pci0000:00/0000:00:1c.0", "060400", "pcieport", 7+n.group)
	h.function(wlan, "028000", "iwlwifi", 8+n.group)
	name := fmt.Sprint("wlan", n.wlan)
	h.net(wlan, name)
	h.put("sys/class/net/"+name+"/addr_assign_type", "0\n")
	h.put("sys/class/net/"+name+"/address", "a4:c3:f0:12:34:56\n")
	h.link("../../devices/"+wlan+"/ieee80211/phy0", "sys/class/ieee80211/phy0")
	h.put("sys/devices/"+wlan+"/ieee80211/phy0/macaddress", "A4:C3:F0:12:34:56\n")
	h.net("virtual", "lo")
	h.put("sys/class/net/bonding_masters", "\n")

	gpu := "pci0000:00/0000:00:02.0"
	h.function(gpu, "030000", "i915", 9+n.group)
	card := fmt.Sprint("card", n.card)
	h.link("../../devices/"+gpu+"/drm/"+card, "sys/class/drm/"+card)
	for connector, edid := range map[string][]byte{"eDP-1": edid("AUO", 0x632d, 0), "HDMI-A-1": edid("DEL", 0xa0b1, 77), "DP-1": nil} {
		h.link("../../devices/"+gpu+"/drm/"+card+"/"+card+"-"+connector, "sys/class/drm/"+card+"-"+connector)
		h.put("sys/devices/"+gpu+"/drm/"+card+"/"+card+"-"+connector+"/status", "connected\n")
		h.put("sys/devices/"+gpu+"/drm/"+card+"/"+card+"-"+connector+"/edid", string(edid))
	}

	sata := "pci0000:00/0000:00:17.0"
	h.function(sata, "010601", "ahci", 10+n.group)
	h.block(sata+"/ata1/host0/target0:0:0/0:0:0:0/block", "sda", "8:0")
	h.put("sys/devices/"+sata+"/ata1/host0/target0:0:0/0:0:0:0/block/sda/device/wwid", "naa.5000c500a1b2c3d4\n")

	vmd := fmt.Sprintf("pci0000:00/0000:00:0e.0/pci%05x:e0", n.domain)
	h.function("pci0000:00/0000:00:0e.0", "010400", "vmd", 11+n.group)
	h.function(fmt.Sprintf("%s/%05x:e0:06.0", vmd, n.domain), "060400", "pcieport", -1)
	below := fmt.Sprintf("%s/%05x:e0:06.0/%05x:%02x:00.0", vmd, n.domain, n.domain, 0xe0+n.vmd)
	h.function(below, "010802", "nvme", -1)
	h.link("../../devices/"+below+"/nvme/nvme1", "sys/class/nvme/nvme1")
	h.block(below+"/nvme/nvme1", "nvme1n1", "259:2")
	h.put("sys/devices/"+below+"/nvme/nvme1/nvme1n1/wwid", "eui.0025385b11b5a3a2\n")

	// A dock: a switch with a USB controller and a card behind it, twins of those inside.
	dock := fmt.Sprintf("pci0000:00/0000:00:07.0/0000:%02x:00.0", n.dock)
	h.function("pci0000:00/0000:00:07.0", "060400", "pcieport", 12+n.group)
	h.function(dock, "060400", "pcieport", 12+n.group)
	h.function(fmt.Sprintf("%s/0000:%02x:02.0", dock, n.dock+1), "060400", "pcieport", 12+n.group)
	h.function(fmt.Sprintf("%s/0000:%02x:02.0/0000:%02x:00.0", dock, n.dock+1, n.dock+3), "0c0330", "xhci_hcd", 12+n.group)

	h.hub(xhci, n.usb2, 2)
	h.hub(xhci, n.usb3, 3)
	for port := 1; port <= 6; port++ {
		h.port(xhci, n.usb2, port, n.usb3, port+6)
		h.port(xhci, n.usb3, port+6, n.usb2, port)
	}
	h.stick(xhci, fmt.Sprintf("%d-1", n.usb2), "46d/c31c/6400", "", "3/1/1 usbhid", "3/0/0 usbhid")
	h.stick(xhci, fmt.Sprintf("%d-2", n.usb2), "781/5567/100", "", "8/6/80 usb-storage")
	h.stick(xhci, fmt.Sprintf("%d-3", n.usb2), "781/5567/100", "", "8/6/80 usb-storage")
	h.stick(xhci, fmt.Sprintf("%d-10", n.usb3), "bda/8153/3100", "000001000000", "255/255/0 r8152")
	h.stick(xhci, fmt.Sprintf("%d-9", n.usb2), "5c8/815/102", "", "14/1/0 uvcvideo", "14/2/0 uvcvideo")
	h.port(xhci, n.usb2, 9, n.usb3, 0)
	in := fmt.Sprintf("sys/devices/%s/usb%d/%d-0:1.0/usb%d-port9", xhci, n.usb2, n.usb2, n.usb2)
	must(t, h.Remove(in+"/peer"))
	h.put(in+"/connect_type", "hardwired\n")
	h.link(fmt.Sprintf("../../%d-9", n.usb2), in+"/device")
	camera := fmt.Sprintf("sys/devices/%s/usb%d/%d-9", xhci, n.usb2, n.usb2)
	h.put(camera+"/removable", "fixed\n")
	h.put(camera+"/physical_location/panel", "front\n")
	h.put(camera+"/physical_location/horizontal_position", "unknown\n")
	h.put(camera+"/physical_location/vertical_position", "upper\n")
	h.put(camera+"/physical_location/dock", "no\n")
	h.put(camera+"/physical_location/lid", "yes\n")
	h.put(camera+"/firmware_node/path", `\_SB_.PC00.XHCI.RHUB.HS09`+"\n")
	h.others(n)
	h.put(camera+"/descriptors", string(unhex(t, `12010002ef020140c8051508020100010101 09021b0002010080fa 0904000000 0e010000 090401000 00e020000`)))
	return h
}

// others adds what is on neither bus: a battery, a TPM, keyboard and mouse of the
// notebook, a touchpad and another on I2C, a Bluetooth mouse and a soldered disk.
func (h *numbered) others(n numbers) {
	const battery = "LNXSYSTM:00/LNXSYBUS:00/PNP0A08:00/PNP0C0A:00"
	h.class("power_supply", battery+"/power_supply/BAT0", "type=Battery", "manufacturer=SMP", "model_name=5B10W51876", "serial_number=  2013 ")
	h.put("sys/devices/"+battery+"/path", `\_SB_.PC00.LPCB.EC0_.BAT0`+"\n")
	h.class("tpm", "platform/MSFT0101:00/tpm/tpm0", "tpm_version_major=2")
	h.put("sys/devices/platform/MSFT0101:00/uevent", "DRIVER=tpm_crb\nMODALIAS=acpi:MSFT0101:PNP0C31:\n")
	for i := range 2 {
		name := fmt.Sprintf("serio%d", i+2*n.card)
		h.class("input", fmt.Sprintf("platform/i8042/%s/input/input%d", name, 3+i+20*n.card), fmt.Sprintf("name=%d", i), fmt.Sprintf("phys=isa0060/serio%d/input0", i))
		h.put("sys/devices/platform/i8042/"+name+"/firmware_node/path", fmt.Sprintf(`\_SB_.PS%d`, i)+"\n")
	}
	for i, id := range []string{"ELAN0001:00/0018:04F3:3140", "ELAN0001:01/0018:04F3:3140"} {
		at := fmt.Sprintf("pci0000:00/0000:00:15.%d", i)
		h.function(at, "0c8000", "intel-lpss", 30+n.group)
		h.class("input", fmt.Sprintf("%s/i2c_designware.%d/i2c-%d/i2c-%s.%04X/input/input%d", at, i, i+7*n.card, id, i+1+n.group, 8+n.wlan+i),
			"name=Touchpad", fmt.Sprintf("phys=i2c-%s", id))
	}
	h.class("input", fmt.Sprintf("virtual/misc/uhid/0005:046D:B023.%04X/input/input%d", 6+n.group, 27+n.card),
		"name=MX Master 3", "uniq=d0:11:22:33:44:55", "phys=a4:c3:f0:00:00:01")
	card := fmt.Sprintf("platform/80860F14:00/mmc_host/mmc%d/mmc%d:0001", n.card, n.card)
	h.block(card+"/block", fmt.Sprintf("mmcblk%d", n.card), "179:0")
	h.put("sys/devices/"+card+fmt.Sprintf("/block/mmcblk%d/device/cid", n.card), "150100424a4e4234520779c24b0b6100\n")
	h.put("sys/devices/"+card+fmt.Sprintf("/block/mmcblk%d/device/name", n.card), "BJNB4R\n")
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	must(t, err)
	return b
}

// edid makes the base block of a screen's EDID.
func edid(maker string, product, serial uint16) []byte {
	b := make([]byte, 128)
	copy(b, "\x00\xff\xff\xff\xff\xff\xff\x00")
	id := uint16(maker[0]-'@')<<10 | uint16(maker[1]-'@')<<5 | uint16(maker[2]-'@')
	b[8], b[9], b[10], b[11] = byte(id>>8), byte(id), byte(product), byte(product>>8)
	b[12], b[13], b[16], b[17] = byte(serial), byte(serial>>8), 12, 30
	copy(b[72:], "\x00\x00\x00\xff\x00"+fmt.Sprintf("%-13d", serial))
	sum := byte(0)
	for _, c := range b[:127] {
		sum += c
	}
	b[127] = -sum
	return b
}

func (h *numbered) identify() []laptop.Identity {
	h.t.Helper()
	ids, err := laptop.Identify(h, h.read())
	must(h.t, err)
	return ids
}

// evidenceOf lists what is known of a device: "kind value".
func evidenceOf(t testing.TB, ids []laptop.Identity, id string) []string {
	t.Helper()
	i := slices.IndexFunc(ids, func(i laptop.Identity) bool { return i.ID == id })
	if i < 0 {
		t.Fatalf("no %s", id)
	}
	var list []string
	for _, e := range ids[i].Evidence {
		if e.Source == "" || strings.HasPrefix(e.Source, "/") {
			t.Errorf("%s: %+v", id, e)
		}
		list = append(list, string(e.Kind)+" "+e.Value)
	}
	return list
}

func TestIdentify(t *testing.T) {
	ids := workstation(t, firstStart).identify()
	for id, want := range map[string][]string{
		"pci:0000:01:00.0": {
			"serial S5GXNX0T123456", "wwid eui.0025385b11b5a3a1", "topology pci0000:00/1d.0/00.0",
			`firmware \_SB_.PC00.RP09.PXSX`, "ids 8086:1234", "revision 01", "class 010802", "driver nvme",
		},
		"pci:0000:02:00.0": {
			"mac a4:c3:f0:12:34:56", "topology pci0000:00/1c.0/00.0", "ids 8086:1234", "class 028000", "driver iwlwifi",
		},
		"pci:0000:00:02.0": {
			"topology pci0000:00/02.0", "ids 8086:1234", "class 030000", "edid AUO 632d 2020 week 12",
			"driver i915", "monitor HDMI-A-1 DEL a0b1 2020 week 12 SERIAL=0000004d",
		},
		"pci:0000:00:17.0": {
			"topology pci0000:00/17.0", "ids 8086:1234", "class 010601", "driver ahci", "disk naa.5000c500a1b2c3d4",
		},
		"pci:10000:e1:00.0": {
			"wwid eui.0025385b11b5a3a2", "topology pci0000:00/0e.0/pci:e0/06.0/00.0", "ids 8086:1234", "class 010802", "driver nvme",
		},
		"pci:0000:07:00.0": {"topology pci0000:00/07.0/00.0/02.0/00.0", "ids 8086:1234", "class 0c0330", "driver xhci_hcd"},
		"usb:1-1": {
			"topology pci0000:00/14.0/usb/1", "port connect_type=hotplug", "ids 046d:c31c", "revision 6400", "class 000000",
			"interfaces 030000,030101", "driver usbhid",
		},
		"usb:2-10": { // the other half of port 4
			"serial 000001000000", "topology pci0000:00/14.0/usb/4", "port connect_type=hotplug", "ids 0bda:8153", "revision 3100",
			"class 000000", "interfaces ffff00", "driver r8152",
		},
		"usb:1-9": {
			"topology pci0000:00/14.0/usb/9", `firmware \_SB_.PC00.XHCI.RHUB.HS09`, "port connect_type=hardwired removable=fixed panel=front vertical_position=upper lid=yes",
			"ids 05c8:0815", "revision 0102", "class 000000",
			"descriptors sha256:4b2f33dcac790abb2da45dc5b9fe797c8e58ff7b5d9e380d85c778cdb905dafc", "interfaces 0e0100,0e0200", "active 0e0100,0e0200", "driver uvcvideo",
		},
		// The domain's controller is on the way to a disk, and does not have its name.
		"pci:0000:00:0e.0": {"topology pci0000:00/0e.0", "ids 8086:1234", "class 010400", "driver vmd"},
		"acpi:PNP0C0A:00": {
			"serial 2013", "topology LNXSYSTM:00/LNXSYBUS:00/PNP0A08:00/PNP0C0A:00", `firmware \_SB_.PC00.LPCB.EC0_.BAT0`, "ids PNP0C0A",
			"model SMP 5B10W51876",
		},
		"platform:MSFT0101:00": {"topology platform/MSFT0101:00", "ids MSFT0101", "modalias acpi:MSFT0101:PNP0C31:", "name TPM 2", "driver tpm_crb"},
		"serio:serio1":         {"topology platform/i8042/serio1", `firmware \_SB_.PS1`, "name 1"},
		"i2c:i2c-ELAN0001:01":  {"topology pci0000:00/15.1/i2c_designware.1/i2c/i2c-ELAN0001:01", "ids 04f3:3140", "name Touchpad"},
		"hid:0005:046D:B023.0006": {
			"mac d0:11:22:33:44:55", "topology virtual/misc/uhid/0005:046D:B023", "ids 046d:b023", "name MX Master 3",
		},
		"mmc:mmc0:0001": {"serial 150100424a4e4234520779c24b0b6100", "topology platform/80860F14:00/mmc_host/mmc/mmc", "model BJNB4R"},
	} {
		if diff := cmp.Diff(want, evidenceOf(t, ids, id)); diff != "" {
			t.Errorf("%s: %s", id, diff)
		}
	}
}

// TestIdentifyScrubbed has all in a scrubbed capture that is no secret.
func TestIdentifyScrubbed(t *testing.T) {
	h := workstation(t, firstStart)
	tree, err := hostfs.Capture(h, hostfs.CaptureOptions{})
	must(t, err)
	ids := identify(t, tree)
	open := func(list []laptop.Identity, id string) []string {
		bus, _, _ := strings.Cut(id, ":")
		var all []string
		for _, e := range evidenceOf(t, list, id) {
			kind, value, _ := strings.Cut(e, " ")
			switch laptop.Kind(kind) {
			case laptop.ByFirmware: // is captured of those on the two buses
				if bus != "pci" && bus != "usb" {
					continue
				}
			case laptop.BySerial, laptop.ByMAC, laptop.ByWWID, laptop.ByDisk:
				value = ""
			}
			value, _, _ = strings.Cut(value, " SERIAL=")
			all = append(all, kind+" "+value)
		}
		return all
	}
	before := h.identify()
	for _, id := range before {
		if diff := cmp.Diff(open(before, id.ID), open(ids, id.ID)); diff != "" {
			t.Errorf("%s: %s", id.ID, diff)
		}
	}
	for id, want := range map[string]string{
		"pci:0000:01:00.0": "serial SCRUBBED", "pci:0000:02:00.0": "mac 02:", "hid:0005:046D:B023.0006": "mac 02:", "mmc:mmc0:0001": "serial SCRUBBED",
	} {
		if got := evidenceOf(t, ids, id)[0]; !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s", id, got)
		}
	}
}

// Only permanent addresses count; a USB network adapter's are its own and not those
// of the controller it hangs on.
func TestIdentifyAddresses(t *testing.T) {
	h := workstation(t, firstStart)
	dongle := xhci + "/usb2/2-10/2-10:1.0"
	for name, address := range map[string]string{
		"eth0": "0 00:e0:4c:68:00:02", "eth1": "0 00:e0:4c:68:00:01", "eth2": "1 00:e0:4c:68:00:03", "eth3": "3 00:e0:4c:68:00:04",
		"eth4": "0 00:00:00:00:00:00", "eth5": "0 00:11:22:33:44:55:66:77", "eth6": "0 rubbish", "eth7": "0 00:e0:4c:68:00:02",
	} {
		kind, value, _ := strings.Cut(address, " ")
		h.net(dongle, name)
		h.put("sys/class/net/"+name+"/addr_assign_type", kind+"\n")
		h.put("sys/class/net/"+name+"/address", value+"\n")
	}
	ids := h.identify()
	if got := evidenceOf(t, ids, "usb:2-10")[1]; got != "mac 00:e0:4c:68:00:01,00:e0:4c:68:00:02" {
		t.Error(got)
	}
	if got := evidenceOf(t, ids, "pci:0000:00:14.0")[0]; !strings.HasPrefix(got, "topology") {
		t.Error(got)
	}
}

// A reading without descriptors, as the reports of other programs are, is compared by
// the interfaces that are active.
func TestMatchWithoutDescriptors(t *testing.T) {
	const camera = "sys/bus/usb/devices/1-9/descriptors"
	for added, want := range map[string]string{
		"":                    "same usb:1-9 usb:1-9",
		"0904020000030101 00": "same usb:1-9 usb:1-9 +030101 -",
	} {
		report, live := workstation(t, firstStart), workstation(t, firstStart)
		must(t, report.Remove(camera))
		length, count := "1b00", "02"
		if added != "" {
			length, count = "2400", "03"
			live.link("../../../devices/"+xhci+"/usb1/1-9/1-9:1.2", "sys/bus/usb/devices/1-9:1.2")
			live.put("sys/devices/"+xhci+"/usb1/1-9/1-9:1.2/uevent", "DRIVER=usbhid\nINTERFACE=3/1/1\n")
		}
		live.put(camera, string(unhex(t, "12010002ef020140c8051508020100010101 0902"+length+count+"010080fa 0904000000 0e010000 0904010000 0e020000 "+added)))
		before, after := report.identify(), live.identify()
		rows := laptop.Match(before, after)
		checkMatch(t, before, after, rows)
		if got := became(rows); !slices.Contains(got, want) {
			t.Errorf("%q: %v", added, got)
		}
		symmetric(t, before, after)
	}
}

// The index of a serial number's descriptor is no file, and no serial number.
func TestIdentifySerialFile(t *testing.T) {
	h := workstation(t, firstStart)
	h.put("sys/bus/usb/devices/1-2/iSerial", "3\n")
	h.put("sys/bus/usb/devices/1-3/serial", "\x1b[31mAA\u202e0001 \n")
	ids := h.identify()
	if got := evidenceOf(t, ids, "usb:1-2")[0]; !strings.HasPrefix(got, "topology") {
		t.Error(got)
	}
	if got := evidenceOf(t, ids, "usb:1-3")[0]; got != "serial [31mAA 0001" {
		t.Errorf("%q", got)
	}
}

// A virtual function on a bus of its own has the device and function of the physical
// one.
func TestIdentifyVirtual(t *testing.T) {
	h := newHost(t)
	h.function("pci0000:00/0000:00:01.0", "060400", "pcieport", 1)
	h.function("pci0000:00/0000:00:01.0/0000:05:00.0", "020000", "igb", 2)
	h.function("pci0000:00/0000:00:01.0/0000:06:00.0", "020000", "igbvf", 3)
	h.link("../0000:05:00.0", "sys/devices/pci0000:00/0000:00:01.0/0000:06:00.0/physfn")
	h.link("../0000:06:00.0", "sys/devices/pci0000:00/0000:00:01.0/0000:05:00.0/virtfn0")
	ids, err := laptop.Identify(h, h.read())
	must(t, err)
	if got := evidenceOf(t, ids, "pci:0000:06:00.0")[0]; got != "topology pci0000:00/01.0/00.0/vf0" {
		t.Error(got)
	}
	if counts := tally(t, ids, ids); counts[laptop.Same] != 3 {
		t.Error(counts)
	}
}

// Without the link to its place a device has its address.
func TestIdentifyWithoutTopology(t *testing.T) {
	h := newHost(t)
	for _, a := range []string{"0000:01:00.0", "0000:02:00.0"} {
		h.put("sys/bus/pci/devices/"+a+"/uevent", "PCI_CLASS=10802\nPCI_ID=8086:1234\n")
	}
	l, _ := laptop.Read(h)
	ids, err := laptop.Identify(h, l)
	if len(ids) != 2 {
		t.Fatal(ids, err)
	}
	if got := evidenceOf(t, ids, "pci:0000:02:00.0")[0]; got != "address pci:0000:02:00.0" {
		t.Error(got)
	}
	if counts := tally(t, ids, ids); counts[laptop.Same] != 2 {
		t.Error(counts)
	}
}

// What cannot be read is in the error and hides nothing else.
func TestIdentifyFaults(t *testing.T) {
	h := workstation(t, firstStart)
	l := h.read()
	want, err := laptop.Identify(h, l)
	must(t, err)
	for file, id := range map[string]string{
		"sys/bus/usb/devices/2-10/serial": "usb:2-10", "sys/bus/usb/devices/1-9/descriptors": "usb:1-9",
		"sys/bus/pci/devices/0000:01:00.0/revision": "pci:0000:01:00.0", "sys/class/drm/card0-eDP-1/edid": "pci:0000:00:02.0",
		"sys/bus/pci/devices/0000:01:00.0":                "pci:0000:01:00.0",
		"sys/bus/usb/devices/1-9/physical_location/panel": "usb:1-9", "sys/class/nvme/nvme0/serial": "pci:0000:01:00.0",
		"sys/class/net/wlan0/address": "pci:0000:02:00.0", "sys/class/ieee80211/phy0/macaddress": "pci:0000:02:00.0",
		"sys/bus/usb/devices/usb2": "usb:2-10", "sys/bus/usb/devices/2-0:1.0/usb2-port10/peer": "usb:2-10",
		"sys/devices/platform/i8042/serio0/firmware_node/path": "serio:serio0", "sys/class/power_supply/BAT0/serial_number": "acpi:PNP0C0A:00",
		"sys/class/input/input3/phys": "serio:serio0",
	} {
		failing := hosttest.Failing{Tree: h.Tree, Fail: func(name string) error {
			if name == file {
				return syscall.EIO
			}
			return nil
		}}
		got, err := laptop.Identify(failing, l)
		_, where, _ := strings.Cut(id, ":")
		if strings.Contains(file, "usb2") || strings.HasSuffix(file, "/panel") { // found among all ports
			where = "identify: "
		}
		if !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), where) || len(got) != len(want) {
			t.Errorf("%s: %v", file, err)
		}
		for i := range want {
			if want[i].ID != id && !slices.Equal(want[i].Evidence, got[i].Evidence) {
				t.Errorf("%s: %s is %v", file, want[i].ID, got[i].Evidence)
			}
		}
	}
}

// Whatever a file holds, each device has an identity of bounded printable lines, and
// is found again.
func TestIdentifyMutations(t *testing.T) {
	tr := workstation(t, firstStart).Tree
	names := entries(t, tr)
	for i, name := range names {
		for j, data := range nonsense {
			if (i+j)%3 != 0 { // each kind of attribute comes often enough
				continue
			}
			undo := mutate(t, tr, name, data)
			l, _ := laptop.Read(tr)
			ids, _ := laptop.Identify(tr, l)
			if len(ids) != len(l.Devices) {
				t.Errorf("%d identities of %d devices", len(ids), len(l.Devices))
			}
			for _, id := range ids {
				for _, e := range id.Evidence {
					if e.Value == "" || len(e.Value) > 2100 || strings.ContainsFunc(e.Value, func(r rune) bool { return !unicode.IsPrint(r) }) {
						t.Errorf("%s: %s %.80q", id.ID, e.Kind, e.Value)
					}
				}
			}
			if counts := tally(t, ids, ids); counts[laptop.Same] != len(ids) {
				t.Errorf("%v", counts)
			}
			undo()
			if t.Failed() {
				t.Fatalf("%.20q in %s", data, name)
			}
		}
	}
	if len(names) < 100 {
		t.Errorf("only %d names", len(names))
	}
}

func TestKinds(t *testing.T) {
	sum := 0
	for i, k := range laptop.Kinds() {
		if slices.Index(laptop.Kinds(), k) != i || k.Weight() < 0 {
			t.Errorf("%s twice, or of weight %d", k, k.Weight())
		}
		sum += k.Weight()
	}
	if laptop.Kind("hearsay").Weight() != 0 || sum == 0 {
		t.Error("what is not known counts")
	}
}
