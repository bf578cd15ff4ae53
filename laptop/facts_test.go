package laptop_test

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unicode"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/laptop"
)

// checkFacts holds for the facts of every device whatsoever.
func checkFacts(t testing.TB, facts []laptop.Fact) {
	t.Helper()
	if !slices.IsSortedFunc(facts, func(a, b laptop.Fact) int {
		return slices.Index(laptop.Sections(), a.Section) - slices.Index(laptop.Sections(), b.Section)
	}) {
		t.Errorf("sections are not in their order: %v", facts)
	}
	for _, f := range facts {
		text := f.Name + f.Value + f.Source
		if !slices.Contains(laptop.Sections(), f.Section) || f.Name == "" || f.Value == "" || !strings.HasPrefix(f.Source, "/") || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) || len(f.Value) > 2048 {
			t.Errorf("fact %q %q %q", f.Name, f.Value, f.Source)
		}
	}
}

// fact is the value of the first fact of that name.
func fact(facts []laptop.Fact, name string) string {
	i := slices.IndexFunc(facts, func(f laptop.Fact) bool { return f.Name == name })
	if i < 0 {
		return ""
	}
	return facts[i].Value
}

// attributes adds files of a directory, as "name=value".
func (h *host) attributes(dir string, attributes ...string) {
	h.t.Helper()
	for _, a := range attributes {
		name, value, _ := strings.Cut(a, "=")
		h.put(dir+"/"+name, value+"\n")
	}
}

// class adds a class device at a path below sys/devices, with attributes.
func (h *host) class(class, path string, attributes ...string) {
	h.t.Helper()
	name, dir := path[strings.LastIndexByte(path, '/')+1:], "sys/class/"+class+"/"
	up := "../../"
	switch class {
	case "iio", "media", "thunderbolt", "firewire":
		dir, up = "sys/bus/"+class+"/devices/", "../../../"
	}
	h.link(up+"devices/"+path, dir+name)
	h.put("sys/devices/"+path+"/uevent", "")
	h.attributes("sys/devices/"+path, attributes...)
}

// factsHost has a device of each kind with what is stated of it.
func factsHost(t testing.TB) *host {
	h := laptopHost(t)
	const wlan, tb = "pci0000:00/0000:00:14.3", "pci0000:00/0000:00:0d.2"
	h.function(wlan, "028000", "iwlwifi", 10)
	h.attributes("sys/devices/"+wlan, "revision=0x1a", "power_state=D0", "power/runtime_status=active", "reset_method=flr pm",
		"current_link_speed=2.5 GT/s PCIe", "current_link_width=1", "max_link_speed=5.0 GT/s PCIe", "max_link_width=1", "driver_override=(null)")
	h.class("net", wlan+"/net/wlan0", "operstate=up", "address=02:00:00:00:00:01", "type=1", "speed=-1")
	h.class("ieee80211", wlan+"/ieee80211/phy0", "macaddress=02:00:00:00:00:01")
	h.class("rfkill", wlan+"/ieee80211/phy0/rfkill0", "type=wlan", "name=phy0", "soft=0", "hard=1")
	h.usb(xhci, "1-3", "224/1/1 btusb", "224/1/1 btusb")
	h.class("bluetooth", xhci+"/usb1/1-3/1-3:1.0/bluetooth/hci0")
	h.class("rfkill", xhci+"/usb1/1-3/1-3:1.0/bluetooth/hci0/rfkill1", "type=bluetooth", "soft=1", "hard=0")
	h.attributes("sys/devices/"+xhci+"/usb1/1-3", "speed=12", "removable=fixed", "authorized=1", "product=Bluetooth \x1b[31mradio", "manufacturer=Acme")
	h.usb(xhci, "1-4", "7/1/2 usblp")
	h.class("usbmisc", xhci+"/usb1/1-4/1-4:1.0/usbmisc/lp0")
	h.put("sys/devices/"+xhci+"/usb1/1-4/1-4:1.0/ieee1284_id", "MFG:HP;MDL:LaserJet;\n")
	h.link("../../../1-4:1.0", "sys/devices/"+xhci+"/usb1/1-4/1-4:1.0/usbmisc/lp0/device")
	h.function(tb, "0c0340", "thunderbolt", 11)
	h.class("thunderbolt", tb+"/domain0", "security=user", "iommu_dma_protection=1")
	h.class("thunderbolt", tb+"/domain0/0-0", "unique_id=aaaa-bbbb", "generation=4", "vendor_name=Intel", "authorized=1")
	h.class("thunderbolt", tb+"/domain0/0-0/0-1", "unique_id=cccc-dddd", "device_name=Dock", "authorized=0")
	h.class("tpm", "LNXSYSTM:00/LNXSYBUS:00/MSFT0101:00/tpm/tpm0", "tpm_version_major=2")
	h.put("sys/devices/LNXSYSTM:00/LNXSYBUS:00/MSFT0101:00/uevent", "DRIVER=tpm_crb\nMODALIAS=acpi:MSFT0101:\n")
	h.class("input", "platform/i8042/serio0/input/input3", "name=AT Translated Set 2 keyboard", "phys=isa0060/serio0/input0",
		"capabilities/ev=120013", "capabilities/key=402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe")
	h.class("input", "platform/i8042/serio0/input/input3/event3")
	h.class("power_supply", "LNXSYSTM:00/LNXSYBUS:00/PNP0C0A:00/power_supply/BAT0", "type=Battery", "status=Discharging",
		"manufacturer=LGC", "model_name=5B10W51876", "capacity=87", "present=1")
	h.class("iio", "platform/AMDI0081:00/HID-SENSOR-200041.1.auto/iio:device0", "name=als")
	h.class("video4linux", "platform/vivid.0/video4linux/video9", "name=vivid-000-vid-cap")
	h.class("hidraw", "pci0000:00/0000:00:15.1/i2c_designware.1/i2c-1/i2c-ELAN0001:00/0018:04F3:3140.0001/hidraw/hidraw0")
	h.function("pci0000:00/0000:00:15.1", "0c8000", "intel-lpss", 12)
	h.class("nvme", nvme+"/nvme/nvme0", "model=Fast  Disk", "firmware_rev=1.0", "state=live", "transport=pcie")
	h.block(nvmeDisk, "nvme0n1", "259:0")
	h.attributes("sys/devices/"+nvmeDisk+"/nvme0n1", "size=1000", "removable=0", "queue/rotational=0")
	return h
}

func TestFacts(t *testing.T) {
	h := factsHost(t)
	l := h.read()
	for where, want := range map[string]string{
		"0000:00:14.3": `ids=8086:1234, revision=1a, driver=iwlwifi, IOMMU group=10, reset methods=flr pm, power=D0, runtime power=active,
			link=2.5 GT/s x1; at most 5 GT/s x1, wlan0 state=up, wlan0 type=Ethernet, wlan0 address=02:00:00:00:00:01, wlan0 speed=,
			phy0 address=02:00:00:00:00:01, rfkill0 type=wlan, rfkill0 blocked by software=no, rfkill0 blocked by a switch=yes, driver override=`,
		"0000:00:14.0": `carries=usb:1-3; bluetooth, reset methods=none stated, power=, link=`,
		"1-3": `product=Bluetooth [31mradio, manufacturer=Acme, speed=12 Mbit/s, removable=fixed, authorised=yes, interface 1=e00101 Bluetooth; btusb,
			rfkill1 blocked by software=yes, controller=0000:00:14.0, hci0 address=`,
		"1-4": `lp0 printer=MFG:HP;MDL:LaserJet;`,
		"0000:00:0d.2": `domain0 security level=user, domain0 DMA protection by the IOMMU=yes, 0-0 generation=4, 0-0 unique id=aaaa-bbbb, 0-0 authorised=yes,
			0-1 device=Dock, 0-1 authorised=no`,
		"MSFT0101:00":     `bus=acpi, driver=tpm_crb, modalias=acpi:MSFT0101:, tpm0 version=2`,
		"serio0":          `input3 name=AT Translated Set 2 keyboard, input3 kind=keyboard, input3 place=isa0060/serio0/input0, driver=`,
		"PNP0C0A:00":      `BAT0 type=Battery, BAT0 status=Discharging, BAT0 model=5B10W51876, BAT0 capacity=87 %, BAT0 present=yes`,
		"AMDI0081:00":     `iio:device0 name=als`,
		"vivid.0":         `video9 name=vivid-000-vid-cap`,
		"i2c-ELAN0001:00": `behind=0000:00:15.1`,
		"0000:00:15.1":    `carries=i2c:i2c-ELAN0001:00; input`,
		"0000:04:00.0":    `nvme0 model=Fast Disk, nvme0 state=live, nvme0n1 size=512000 bytes, nvme0n1 rotational=no, nvme0n1 removable=no, behind=0000:00:1d.0`,
	} {
		facts, err := laptop.Facts(h, l, find(t, l, where), laptop.FactOptions{Wake: true})
		must(t, err)
		checkFacts(t, facts)
		for pair := range strings.SplitSeq(strings.ReplaceAll(strings.ReplaceAll(want, "\n", " "), "\t", ""), ", ") {
			name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
			if got := strings.ReplaceAll(fact(facts, name), ", ", "; "); got != value {
				t.Errorf("%s, %s: %q, want %q", where, name, got, value)
			}
		}
		// Each file that a fact names is there, but for the directories of classes.
		for _, f := range facts {
			if _, err := fs.Stat(h, f.Source[1:]); err != nil && !strings.HasSuffix(f.Source, "/driver") && !strings.HasSuffix(f.Source, "/subsystem") && f.Value != "none stated" {
				t.Errorf("%s, %s: %v", where, f.Name, err)
			}
		}
	}
}

// An attribute that fails costs the fact it holds and no other, whatever the device.
func TestFactsFail(t *testing.T) {
	h := factsHost(t)
	screens(t, h)
	sound(t, h)
	h.put("sys/devices/pci0000:00/0000:00:14.3/config", dumpedConfig(t, "cap-rebar", "09:00.0"))
	h.attributes("sys/devices/pci0000:00/0000:00:14.3", "d3cold_allowed=1", "removable=fixed", "sriov_totalvfs=4", "sriov_numvfs=0", "power/control=auto")
	h.put("sys/devices/pci0000:00/0000:00:14.3/resource", "0x00000000fe800000 0x00000000fe8fffff 0x0000000000040200\n")
	h.put("sys/devices/pci0000:00/0000:00:14.3/vpd", "\x82\x04\x00Card\x78")
	h.put("sys/devices/"+xhci+"/usb1/1-3/descriptors", descriptors(t, webcam))
	h.put("sys/devices/"+xhci+"/usb1/1-3/bos_descriptors", "\x05\x0f\x0c\x00\x01\x07\x10\x02\x02\x00\x00\x00")
	h.attributes("sys/devices/"+xhci+"/usb1/1-3", "bConfigurationValue=1", "bMaxPower=500mA", "bmAttributes=80", "version= 2.00", "serial=1", "power/runtime_status=active")
	l := h.read()
	read := func(fsys fs.FS, d *laptop.Device) (map[string]string, error) {
		facts, err := laptop.Facts(fsys, l, d, laptop.FactOptions{Wake: true})
		checkFacts(t, facts)
		m := map[string]string{}
		for _, f := range facts {
			m[f.Name+" in "+f.Source] = f.Value
		}
		return m, err
	}
	tried := 0
	for i := range l.Devices {
		d := &l.Devices[i]
		all, err := read(h, d)
		must(t, err)
		for name := range all {
			_, file, _ := strings.Cut(name, " in /")
			if info, err := fs.Stat(h, file); err != nil || info.IsDir() || strings.HasSuffix(file, "/uevent") {
				continue // from the listing
			}
			// What listings of displays find, and what is concluded from that, is told as unknown.
			for _, cause := range []error{syscall.ENODEV, syscall.EIO, syscall.EACCES, syscall.ENOENT, syscall.EINVAL} {
				tried++
				failing := hosttest.Failing{Tree: h.Tree, Fail: func(n string) error {
					if n == file {
						return cause
					}
					return nil
				}}
				got, err := read(failing, d)
				if strings.HasSuffix(file, "/rom") {
					continue // closed unless somebody opens it, which is nothing to tell
				}
				shown := strings.HasSuffix(file, "/boot_vga") || strings.HasSuffix(file, "/status") && strings.Contains(file, "/drm/") || file == "proc/iomem"
				silent := cause == syscall.ENOENT || cause == syscall.EINVAL || cause == syscall.EACCES
				if cause == syscall.EACCES && !shown && !saysRoot(got, file) {
					t.Errorf("%s, %s: who is not root is told nothing", d.ID(), file)
				}
				if silent != (err == nil) || err != nil && !errors.Is(err, cause) {
					t.Errorf("%s, %s: %v gives the error %v", d.ID(), file, cause, err)
				}
				for n, v := range all {
					_, from, _ := strings.Cut(n, " in /")
					// The two files of a link's speed, and the bits of an input device, make one fact.
					several := strings.HasPrefix(n, "wiring of the panel") || strings.HasPrefix(n, "boot display")
					if got[n] != v && !several && from != file && !strings.HasSuffix(file, "power_state") {
						t.Errorf("%s: %v of %s costs %s", d.ID(), cause, file, n)
					}
				}
			}
		}
	}
	if tried < 450 {
		t.Errorf("only %d tried", tried)
	}
}

// saysRoot reports whether a fact says that root could read a file.
func saysRoot(got map[string]string, file string) bool {
	for name, value := range got {
		if strings.HasSuffix(name, " in /"+file) && strings.Contains(value, "root") {
			return true
		}
	}
	return false
}

// A sleeping function is not asked for its link, which is in config space.
func TestFactsAsleep(t *testing.T) {
	h := factsHost(t)
	h.put("sys/devices/pci0000:00/0000:00:14.3/power_state", "D3cold\n")
	l := h.read()
	asked := false
	fsys := hosttest.Failing{Tree: h.Tree, Fail: func(name string) error {
		asked = asked || strings.Contains(name, "_link_") || strings.HasSuffix(name, "/config")
		return nil
	}}
	facts, err := laptop.Facts(fsys, l, find(t, l, "0000:00:14.3"), laptop.FactOptions{})
	if err != nil || asked || fact(facts, "link") != "" || fact(facts, "power") != "D3cold" || !strings.Contains(fact(facts, "configuration space"), "--wake") {
		t.Errorf("asked: %v, %v, %v", asked, facts, err)
	}
	facts, err = laptop.Facts(fsys, l, find(t, l, "0000:00:14.3"), laptop.FactOptions{Wake: true})
	if err != nil || !asked || fact(facts, "link") == "" {
		t.Errorf("asked: %v, %v, %v", asked, facts, err)
	}
}

// Every device of every saved machine has facts, and none fails.
func TestFactsOfHosts(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(hosttest.Shared(t, "hosts"), "*.txtar"))
	must(t, err)
	count := 0
	for _, file := range files {
		saved := open(t, file)
		l, err := laptop.Read(saved)
		must(t, err)
		for i := range l.Devices {
			facts, err := laptop.Facts(saved, l, &l.Devices[i], laptop.FactOptions{Wake: true})
			checkFacts(t, facts)
			if err != nil || len(facts) < 3 {
				t.Errorf("%s, %s: %d facts, %v", filepath.Base(file), l.Devices[i].ID(), len(facts), err)
			}
			count += len(facts)
		}
	}
	t.Logf("%d facts on %d machines", count, len(files))
	if count < 2000 {
		t.Errorf("only %d facts", count)
	}
}

func ExampleFacts() {
	host, _, err := hostfs.ParseTxtar([]byte(`
-- sys/class/tpm/tpm0 -> ../../devices/LNXSYSTM:00/LNXSYBUS:00/MSFT0101:00/tpm/tpm0 --
-- sys/devices/LNXSYSTM:00/LNXSYBUS:00/MSFT0101:00/uevent --
DRIVER=tpm_crb
MODALIAS=acpi:MSFT0101:
-- sys/devices/LNXSYSTM:00/LNXSYBUS:00/MSFT0101:00/tpm/tpm0/tpm_version_major --
2
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	l, err := laptop.Read(host)
	if err != nil {
		fmt.Println(err)
	}
	for i := range l.Devices {
		d := &l.Devices[i]
		fmt.Println(d.ID(), d.Role(), d.Nodes, d.Verdict)
		facts, err := laptop.Facts(host, l, d, laptop.FactOptions{})
		if err != nil {
			fmt.Println(err) // what could be read is in facts all the same
		}
		for _, f := range facts {
			fmt.Printf("  %s: %s (%s)\n", f.Name, f.Value, f.Source)
		}
	}
	// Output:
	// acpi:MSFT0101:00 tpm [dev/tpm0] share-only
	//   bus: acpi (/sys/devices/LNXSYSTM:00/LNXSYBUS:00/MSFT0101:00/subsystem)
	//   modalias: acpi:MSFT0101: (/sys/devices/LNXSYSTM:00/LNXSYBUS:00/MSFT0101:00/uevent)
	//   driver: tpm_crb (/sys/devices/LNXSYSTM:00/LNXSYBUS:00/MSFT0101:00/uevent)
	//   tpm0 version: 2 (/sys/class/tpm/tpm0/tpm_version_major)
}
