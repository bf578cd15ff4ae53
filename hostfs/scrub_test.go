package hostfs_test

import (
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

// readFacts returns what decisions rest on, and the verdicts.
func readFacts(t *testing.T, fsys fs.FS) (facts []string) {
	t.Helper()
	functions, _ := pci.Functions(fsys)
	for _, f := range functions {
		facts = append(facts, fmt.Sprintf("%+v", f))
	}
	devices, _ := usb.Devices(fsys)
	for _, d := range devices {
		facts = append(facts, fmt.Sprintf("%+v", d))
	}
	groups, _ := iommu.Groups(fsys, functions)
	for _, g := range groups {
		facts = append(facts, fmt.Sprintf("%+v", g))
	}
	l, err := laptop.Read(fsys)
	if l == nil {
		t.Fatal(err)
	}
	for i := range l.Devices {
		d := &l.Devices[i]
		v := fmt.Sprint(d.ID(), " ", d.Verdict, " ", d.Roles, " ", d.Nodes)
		for _, finding := range d.Findings {
			v += fmt.Sprint(" ", finding.Code, finding.Severity)
		}
		facts = append(facts, v)
	}
	return facts
}

// planted is m with serial and host where a device and a person can put them, and
// with mounts and routes if it has none.
func planted(t *testing.T, m *hostfs.Tree, serial, host string) *hostfs.Tree {
	t.Helper()
	m = m.Clone()
	put := func(name, text string) {
		if err := m.Put(name, []byte(text+"\n")); err != nil {
			t.Fatal(err)
		}
	}
	missing := func(name string) bool {
		_, err := fs.Stat(m, name)
		return err != nil
	}
	devices, _ := fs.ReadDir(m, "sys/bus/usb/devices")
	for _, d := range devices {
		if at := "sys/bus/usb/devices/" + d.Name(); !missing(at + "/idVendor") {
			put(at+"/serial", serial)
			put(at+"/product", "Thing "+serial)
		}
	}
	root, route := "0:30 / / rw - tmpfs tmpfs rw", ""
	disks, _ := fs.ReadDir(m, "sys/class/block")
	for _, d := range disks {
		put("sys/class/block/"+d.Name()+"/wwid", serial)
		root = "259:0 / / rw - ext4 /dev/" + d.Name() + " rw"
	}
	for _, class := range []string{"nvme", "nvme-subsystem"} {
		found, _ := fs.ReadDir(m, "sys/class/"+class)
		for _, d := range found {
			put("sys/class/"+class+"/"+d.Name()+"/serial", serial)
		}
	}
	interfaces, _ := fs.ReadDir(m, "sys/class/net")
	for _, d := range interfaces {
		route += d.Name() + "\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n" + d.Name() + "\t0002A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
	}
	put("sys/class/dmi/id/product_serial", serial)
	put("proc/sys/kernel/hostname", host)
	put("proc/cmdline", "quiet hostname="+host+" root=/dev/nvme0n1p1")
	if missing("proc/self/mountinfo") {
		put("proc/self/mountinfo", "28 1 "+root+"\n42 28 0:33 / /run/indy-lab/out rw - 9p lab rw,access=client\n"+
			"43 28 254:0 / /var rw - ext4 /dev/mapper/"+host+"--vg-"+strings.ReplaceAll(serial, "/", "-")+" rw")
	}
	if missing("proc/net/route") {
		put("proc/net/route", "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"+route)
	}
	return m
}

// TestCaptureKeepsFacts: no text that a device or a person chose changes what a
// decision rests on.
func TestCaptureKeepsFacts(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(hosttest.Shared(t, "hosts"), "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	files = append(files, filepath.Join(hosttest.Root(t), "testdata/hosts/lab-intel.txtar"))
	serials := []string{"00000000", "0000:00:1", "pci/devices/0000", "0x8086", "0x00000000000a0000", "eth0", "nvme", "nvme0n1", "input0", "devices1"}
	hosts := []string{"dev", "lab", "sys", "root", "nvme0n1"}
	for nth, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			s, err := hostfs.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			for i, serial := range serials {
				for j, host := range hosts {
					if testing.Short() && (i%2 != nth%2 || j != (i/2+nth)%len(hosts)) {
						continue
					}
					m := planted(t, s.(*hostfs.Tree), serial, host)
					raw, err := hostfs.Capture(m, hostfs.CaptureOptions{Raw: true, Config: true})
					if raw == nil {
						t.Fatal(err)
					}
					scrubbed, err := hostfs.Capture(m, hostfs.CaptureOptions{Config: true})
					if scrubbed == nil {
						t.Fatal(err)
					}
					if diff := cmp.Diff(readFacts(t, raw), readFacts(t, scrubbed)); diff != "" {
						t.Fatalf("serial %q, host %q: -before +after:\n%s", serial, host, diff)
					}
					name := "proc/sys/kernel/hostname"
					if got, _ := hostfs.ReadString(scrubbed, name); got == host {
						t.Errorf("%s still says %s", name, host)
					}
					sameNames(t, raw, scrubbed)
				}
			}
		})
	}
}

// sameNames checks that files and targets have the names they had; machines whose
// names hold an identity are others.
func sameNames(t *testing.T, a, b *hostfs.Tree) {
	t.Helper()
	list := func(m *hostfs.Tree) (names []string) {
		_ = fs.WalkDir(m, ".", func(name string, e fs.DirEntry, err error) error {
			target := ""
			if e.Type()&fs.ModeSymlink != 0 {
				target, _ = m.ReadLink(name)
			}
			if !strings.Contains(name+target, "lx") && !strings.Contains(name+target, "nx") && strings.Count(name+target, "-") < 4 {
				names = append(names, name+" "+target)
			}
			return err
		})
		return names
	}
	if diff := cmp.Diff(list(a), list(b)); diff != "" {
		t.Errorf("names differ: -before +after:\n%s", diff)
	}
}

// leaks has, by the name of a file, what must not leave it; the planted text is in
// braces. Link targets are given with ->.
const leaks = `
proc/cmdline: BOOT_IMAGE=/boot/vmlinuz root=LABEL={annasdisk} resume=/dev/mapper/{smith--nb--vg}-swap ip={192.0.2.7} cryptdevice=/dev/disk/by-id/{ata-SamsungXYZ}:x luks.name="{secret words}" systemd.hostname={smith-nb.example.org} {smith-nb} {SMITH-NB.example.org} intel_iommu=on vfio-pci.ids=10de:1234 pcie_aspm=off quiet -- --listen {192.0.2.11}:2024 {annasinit}
proc/sys/kernel/hostname: {smith-nb.example.org}
proc/net/ipv6_route: ff0200000000000000000001ff{334455} 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000001 00000000 00000001 enx{0a1b2c3d4e5f}
proc/net/if_inet6: {20010db8000100020211223344556677} 02 40 00 80 enx{0a1b2c3d4e5f}
proc/net/fib_trie::      |-- {192.0.2.77}
proc/net/fib_trie::      +-- {192.0.2.64}/26 2 0 2
proc/net/fib_trie::      |-- 0.0.0.0
proc/net/route: enx{0a1b2c3d4e5f} 00000000 {0102A8C0} 0003 0 0 100 00000000 0 0 0
proc/self/mountinfo:: 28 1 253:0 / / rw,relatime shared:1 - ext4 /dev/mapper/{Smith--NB--vg}-root rw,errors=remount-ro
proc/self/mountinfo:: 29 28 0:40 / /mnt/{annasnas} rw - cifs //{fileserver}/{annashare} rw,username={annasmith},domain={annadomain},addr={192.0.2.9},vers=3.1.1
proc/self/mountinfo:: 30 28 0:41 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name={annagroup}
proc/self/mountinfo:: 31 28 0:42 / /srv/{annadata} rw - nfs4 {nas.example.net}:/{export1} rw,clientaddr={192.0.2.10}
proc/self/mountinfo:: 32 28 0:43 /{annasub}/src /home/{annasmith}/src rw - zfs {annapool}/home rw,xattr
proc/self/mountinfo:: 33 28 0:44 / /media/{annasmith}/{Tagebuch} rw - fuse.sshfs {annasmith}@{sshserver}: rw,user_id=1000
proc/self/mountinfo:: 34 28 0:45 / /run/user/{31337}/doc rw - fuse.portal portal rw
proc/self/mountinfo:: 35 28 0:46 / /{annastop}/dir rw - ecryptfs /home/.ecryptfs/{annasmith}/.Private rw,ecryptfs_sig={c7ed5bc8a04c78d8}
proc/self/mountinfo:: 36 28 8:1 / /boot rw - ext4 /dev/disk/by-id/{wwn-0x5000c500a1b2c3d4}-part1 rw
proc/self/mountinfo:: 37 28 8:2 / /boot/efi rw - vfat /dev/disk/by-partuuid/{deadbeef-03} rw
proc/self/mountinfo:: 38 28 0:47 / /var/lib/lxd/storage-pools/{janespool} rw - zfs {janespool} rw
proc/self/mountinfo:: 39 28 254:0 /lib/incus/devices/{janesguest} /var/snap/lxd/common/lxd/{janesguest} rw - ext4 /dev/sda2 rw
proc/self/mountinfo:: 40 28 0:48 /@/var/lib/machines/{janesguest} /var/lib/docker/volumes/{janesguest}/_data rw - btrfs /dev/sda3 rw
proc/self/mountinfo:: 41 28 0:49 / /var/lib/postgresql rw - ext4 /dev/sda4 rw
proc/self/mountinfo:: 42 28 0:50 / /var/lib/containers/{storage7}/overlay rw - overlay overlay rw
proc/cpuinfo: Serial		: {100000003d1d1c36}
proc/swaps: /home/{annasmith}/swapfile file 1 0 -2
sys/class/net/enx{0a1b2c3d4e5f} -> ../../devices/virtual/net/enx{0a1b2c3d4e5f}
sys/devices/virtual/net/enx{0a1b2c3d4e5f}/address: {0a:1b:2c:3d:4e:5f}
sys/class/net/slx{0b1b2c3d4e5f} -> ../../devices/virtual/net/slx{0b1b2c3d4e5f}
sys/devices/virtual/net/slx{0b1b2c3d4e5f}/uevent: INTERFACE=slx{0b1b2c3d4e5f}
sys/class/net/ibx{0c1b2c3d4e5f} -> ../../devices/virtual/net/ibx{0c1b2c3d4e5f}
sys/devices/virtual/net/ibx{0c1b2c3d4e5f}/mtu: 1500
sys/class/net/lan{0d1b2c3d4e5f} -> ../../devices/virtual/net/lan{0d1b2c3d4e5f}
sys/devices/virtual/net/lan{0d1b2c3d4e5f}/uevent: INTERFACE=lan{0d1b2c3d4e5f}
sys/class/net/br0 -> ../../devices/virtual/net/br0
sys/devices/virtual/net/br0/lower_enx{0a1b2c3d4e5f} -> ../enx{0a1b2c3d4e5f}
sys/class/block/dm-0 -> ../../devices/virtual/block/dm-0
sys/devices/virtual/block/dm-0/dm/name: {Smith--NB--vg}-root
sys/devices/virtual/block/dm-0/dm/uuid: mpath-{3600508b400105e210000900000490000}
sys/class/block/dm-1 -> ../../devices/virtual/block/dm-1
sys/devices/virtual/block/dm-1/dm/name: luks-{XK42-8819-07}
sys/devices/virtual/block/dm-1/dm/uuid: CRYPT-PLAIN-luks-{XK42-8819-07}
sys/class/block/loop0 -> ../../devices/virtual/block/loop0
sys/devices/virtual/block/loop0/loop/backing_file: /home/{annasmith}/disk.img
sys/class/block/loop1 -> ../../devices/virtual/block/loop1
sys/devices/virtual/block/loop1/loop/backing_file: /var/lib/libvirt/images/{jane-doe.qcow2}
sys/class/block/sda1 -> ../../devices/virtual/block/sda1
sys/devices/virtual/block/sda1/uevent: PARTNAME={annaspart}
sys/bus/usb/devices/1-4 -> ../../../devices/usb1/1-4
sys/devices/usb1/1-4/idVendor: 1234
sys/devices/usb1/1-4/serial: {XK42-8819-07}
sys/devices/usb1/1-4/product: Stick {XK42-8819-07}
sys/bus/usb/devices/1-5 -> ../../../devices/usb1/1-5
sys/devices/usb1/1-5/serial: {rest1}-0a:1b:2c:3d:4e:5e-{rest2}
sys/bus/usb/devices/1-6 -> ../../../devices/usb1/1-6
sys/devices/usb1/1-6/serial: 3f1c2d4e-1111-4222-8333-444455556666-{rest3}
sys/class/input/input5 -> ../../devices/virtual/misc/uhid/input/input5
sys/devices/virtual/misc/uhid/input/input5/id/bustype: 0005
sys/devices/virtual/misc/uhid/input/input5/name: {Anna's} AirPods
sys/devices/virtual/misc/uhid/input/input5/uevent: NAME="{Anna's} AirPods"
sys/bus/hid/devices/0005:1.1 -> ../../../devices/virtual/misc/uhid/0005:1.1
sys/devices/virtual/misc/uhid/0005:1.1/uevent:: HID_ID=0005:00001234:00005678
sys/devices/virtual/misc/uhid/0005:1.1/uevent:: HID_NAME={Anna's} AirPods
sys/class/power_supply/hid-{CC2604502JRJ}-battery -> ../../devices/hid1/power_supply/hid-{CC2604502JRJ}-battery
sys/devices/hid1/power_supply/hid-{CC2604502JRJ}-battery/type: Battery
sys/devices/hid1/power_supply/hid-{CC2604502JRJ}-battery/uevent: POWER_SUPPLY_NAME=hid-{CC2604502JRJ}-battery
sys/bus/thunderbolt/devices/0-1 -> ../../../devices/tb/0-1
sys/devices/tb/0-1/uevent: DEVTYPE=thunderbolt_xdomain
sys/devices/tb/0-1/device_name: {annamac}
sys/devices/tb/0-1/vendor_name: {annascorp}
sys/class/power_supply/BAT0 -> ../../devices/battery/BAT0
sys/devices/battery/BAT0/serial_number: {BATT77123}
sys/devices/battery/BAT0/model_name: 5B10W13930
sys/devices/battery/BAT0/uevent:: POWER_SUPPLY_NAME=BAT0
sys/devices/battery/BAT0/uevent:: POWER_SUPPLY_MODEL_NAME=5B10W13930
sys/devices/battery/BAT0/uevent:: POWER_SUPPLY_SERIAL_NUMBER={BATT77123}
sys/class/power_supply/sony_controller_battery_{aa:bb:cc:01:02:03} -> ../../devices/hid2/power_supply/sony_controller_battery_{aa:bb:cc:01:02:03}
sys/devices/hid2/power_supply/sony_controller_battery_{aa:bb:cc:01:02:03}/type: Battery
sys/devices/hid2/power_supply/sony_controller_battery_{aa:bb:cc:01:02:03}/uevent: POWER_SUPPLY_NAME=sony_controller_battery_{aa:bb:cc:01:02:03}
sys/class/power_supply/steam-controller-{FXA9900112}-battery -> ../../devices/hid3/power_supply/steam-controller-{FXA9900112}-battery
sys/devices/hid3/power_supply/steam-controller-{FXA9900112}-battery/type: Battery
sys/devices/hid3/power_supply/steam-controller-{FXA9900112}-battery/uevent: POWER_SUPPLY_NAME=steam-controller-{FXA9900112}-battery
sys/bus/thunderbolt/devices/0-0 -> ../../../devices/tb/0-0
sys/devices/tb/0-0/unique_id: {d7030000-0080-7f08-2364-5d2a81dc1e0f}
sys/devices/tb/0-0/nvm_version: 14.86
sys/bus/firewire/devices/fw0 -> ../../../devices/fw0
sys/devices/fw0/guid: 0x{0011060000004567}
sys/devices/fw0/model_name: Camera
sys/bus/mmc/devices/mmc0:aaaa -> ../../../devices/mmc0/mmc0:aaaa
sys/devices/mmc0/mmc0:aaaa/cid: {03534453443332478012345678012a00}
sys/devices/mmc0/mmc0:aaaa/serial: 0x{12345678}
sys/devices/mmc0/mmc0:aaaa/name: SD32G
sys/class/block/sda -> ../../devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sda
sys/devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sda/device -> ../../../0:0:0:0
sys/devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/wwid: t10.ATA     Samsung SSD 860 {S3Z2NB0K112233}
sys/devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/model: Samsung SSD 860
sys/class/block/nvme0n1 -> ../../devices/nvme0/nvme0n1
sys/devices/nvme0/nvme0n1/wwid: nvme.144d-{533634444e4630523132}-53616d73756e67-00000001
sys/bus/usb/devices/1-7 -> ../../../devices/usb1/1-7
sys/devices/usb1/1-7/idVendor: 03f0
sys/devices/usb1/1-7/serial: {CN12B3C0KP}
sys/devices/usb1/1-7/product: LaserJet {CN12B3C0KP}
sys/bus/usb/devices/1-7:1.0 -> ../../../devices/usb1/1-7/1-7:1.0
sys/devices/usb1/1-7/1-7:1.0/ieee1284_id: MFG:HP;MDL:LaserJet;CMD:PCL,POSTSCRIPT;CLS:PRINTER;DES:LaserJet {CN12B3C0KP};SN:{CN12B3C0KP};SERN:{VNB3L00999};S:{038000C4841}0021;X-{annasqueue};
sys/class/usbmisc/lp0 -> ../../devices/usb1/1-7/1-7:1.0/usbmisc/lp0
sys/devices/usb1/1-7/1-7:1.0/usbmisc/lp0/device -> ../../../1-7:1.0
sys/bus/usb/devices/1-8 -> ../../../devices/usb1/1-8
sys/devices/usb1/1-8/idVendor: 0bda
sys/devices/usb1/1-8/serial: {0E1B2C3D4E5F}
sys/class/net/eth7 -> ../../devices/usb1/1-8/1-8:1.0/net/eth7
sys/devices/usb1/1-8/1-8:1.0/net/eth7/address: {0e:1b:2c:3d:4e:5f}
sys/bus/usb/devices/1-9 -> ../../../devices/usb1/1-9
sys/devices/usb1/1-9/idVendor: 1532
sys/devices/usb1/1-9/serial: {ZK77-1234-A}
sys/class/sound/card1 -> ../../devices/usb1/1-9/1-9:1.0/sound/card1
sys/devices/usb1/1-9/1-9:1.0/sound/card1/id: {ZK771234A}
proc/asound/cards:  1 [{ZK771234A}      ]: USB-Audio - Headset {ZK77-1234-A}
proc/asound/card1/id: {ZK771234A}
proc/asound/card1/stream0: Razer Headset {ZK77-1234-A} at usb-0000:00:14.0-9, full speed : USB Audio
proc/asound/card1/pcm0p/info: id: Headset {ZK771234A}
proc/asound/card0/eld#2.0: monitor_name DELL U2720Q
sys/bus/mdev/devices/{83b8f4f2-509f-482f-8e12-3c9d3d9f1c11} -> ../../../devices/pci0000:00/0000:00:02.0/{83b8f4f2-509f-482f-8e12-3c9d3d9f1c11}
sys/devices/pci0000:00/0000:00:02.0/{83b8f4f2-509f-482f-8e12-3c9d3d9f1c11}/uevent: DRIVER=vfio_mdev
sys/class/bluetooth/hci0 -> ../../devices/usb1/1-9/bluetooth/hci0
sys/devices/usb1/1-9/bluetooth/hci0/address: {ac:de:48:00:11:22}
sys/devices/virtual/misc/uhid/input/input5/phys: {ac:de:48:00:11:22}
sys/class/input/input5/uniq: {ac:de:48:aa:bb:cc}
sys/class/nvme/nvme9 -> ../../devices/nvme9
sys/devices/nvme9/serial: {S64DNF0R999999Y}
sys/devices/nvme9/subsysnqn: nqn.1994-11.com.samsung:nvme:980:{S64DNF0R999999Y}
sys/devices/nvme9/hostnqn: nqn.2014-08.org.nvmexpress:uuid:{0f0f0f0f-1111-2222-3333-444455556666}
sys/class/nvme/nvme8 -> ../../devices/virtual/nvme-fabrics/ctl/nvme8
sys/devices/virtual/nvme-fabrics/ctl/nvme8/address: traddr={192.168.77.78},trsvcid=4420,host_traddr={192.168.77.3},host_iface=enx{0a1b2c3d4e5f},src_addr={192.168.77.4}
sys/devices/virtual/nvme-fabrics/ctl/nvme8/uevent:: NVME_TRTYPE=tcp
sys/devices/virtual/nvme-fabrics/ctl/nvme8/uevent:: NVME_TRADDR={192.168.77.78}
sys/devices/virtual/nvme-fabrics/ctl/nvme8/uevent:: NVME_TRSVCID=4420
sys/devices/virtual/nvme-fabrics/ctl/nvme8/uevent:: NVME_HOST_TRADDR={192.168.77.3}
sys/devices/virtual/nvme-fabrics/ctl/nvme8/uevent:: NVME_HOST_IFACE=none
sys/class/nvme/nvme7 -> ../../devices/virtual/nvme-fabrics/ctl/nvme7
sys/devices/virtual/nvme-fabrics/ctl/nvme7/address: traddr={nn-0x20000090fac7c706:pn-0x10000090fac7c706},host_traddr={nn-0x20000090fae0b5f5:pn-0x10000090fae0b5f5},{annasaddr}
sys/class/nvme/nvme6 -> ../../devices/nvme6
sys/devices/nvme6/address: 0000:06:00.0
sys/class/dmi/id -> ../../devices/virtual/dmi/id
sys/devices/virtual/dmi/id/chassis_asset_tag: {ASSET-0042}
sys/devices/virtual/dmi/id/board_serial: {L1HF11223344}
sys/bus/serio/devices/serio7 -> ../../../devices/platform/PNP0C14:00/wmi_bus/wmi_bus-PNP0C14:00/9DBB5994-A997-11DA-B012-B622A1EF5492/serio7
sys/devices/platform/PNP0C14:00/wmi_bus/wmi_bus-PNP0C14:00/9DBB5994-A997-11DA-B012-B622A1EF5492/serio7/description: x
sys/devices/platform/PNP0C14:00/wmi_bus/wmi_bus-PNP0C14:00/9DBB5994-A997-11DA-B012-B622A1EF5492/uevent: MODALIAS=wmi:9DBB5994-A997-11DA-B012-B622A1EF5492
sys/bus/serio/devices/serio8 -> ../../../devices/pci0000:00/0000:00:16.0/0000:00:16.0-b638ab7e-94e2-4ea2-a552-d1c54b627f04/serio8
sys/devices/pci0000:00/0000:00:16.0/0000:00:16.0-b638ab7e-94e2-4ea2-a552-d1c54b627f04/serio8/description: {b0b0ab7e-94e2-4ea2-a552-d1c54b627f04}
proc/self/mounts: /dev/mapper/{Smith--NB--vg}-root /home/{annasmith} ext4 rw,user={annasmith} 0 0
`

func TestCaptureLeaks(t *testing.T) {
	m := new(hostfs.Tree)
	var secrets []string
	for line := range strings.Lines(leaks) {
		line = strings.TrimSpace(line)
		for rest := line; ; {
			_, after, ok := strings.Cut(rest, "{")
			if !ok {
				break
			}
			secret, after, _ := strings.Cut(after, "}")
			secrets, rest = append(secrets, secret), after
		}
		line = strings.NewReplacer("{", "", "}", "").Replace(line)
		name, target, isLink := strings.Cut(line, " -> ")
		var err error
		switch {
		case line == "":
		case isLink:
			err = m.Symlink(target, name)
		default:
			name, text, more := strings.Cut(line, ":: ")
			if more {
				before, _ := m.ReadFile(name)
				text = string(before) + text
			} else {
				name, text, _ = strings.Cut(line, ": ")
			}
			err = m.Put(name, []byte(text+"\n"))
		}
		if err != nil {
			t.Fatal(line, err)
		}
	}
	const function = "sys/bus/pci/devices/0000:01:00.0/"
	config := make([]byte, 4096)
	copy(config[0x100:], "\x01\x00\x01\x14")                        // AER, then 0x140
	copy(config[0x140:], "\x03\x00\x01\x00\x5f\x4e\x3dCBA\x1b\x0a") // serial number, the last
	edid := append(make([]byte, 128), "EDIDTAIL"...)
	for name, data := range map[string][]byte{function + "config": config, "sys/class/drm/card0-eDP-1/edid": edid} {
		if err := m.Put(name, data); err != nil {
			t.Fatal(err)
		}
	}
	c, err := hostfs.Capture(m, hostfs.CaptureOptions{Config: true})
	if err != nil {
		t.Fatal(err)
	}
	text, err := hostfs.FormatTxtar(c, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range secrets {
		if i := strings.Index(strings.ToLower(string(text)), strings.ToLower(s)); i >= 0 {
			t.Errorf("%q is in the capture: %q", s, text[max(0, i-60):min(len(text), i+60)])
		}
	}
	for name, lost := range map[string]string{function + "config": "=CBA", "sys/class/drm/card0-eDP-1/edid": "EDIDTAIL"} {
		if data, err := c.ReadFile(name); err != nil || strings.Contains(string(data), lost) || len(data)%128 != 0 {
			t.Errorf("%s: %d bytes, %v, or it has %q still", name, len(data), err, lost)
		}
	}
	if data, _ := c.ReadFile(function + "config"); len(data) == len(config) {
		copy(config[0x144:], make([]byte, 8))
		if !slices.Equal(data, config) {
			t.Error("more of the config space changed than the serial number")
		}
	}
	for _, kept := range []string{"intel_iommu=on", "vfio-pci.ids=10de:1234", "pcie_aspm=off", "errors=remount-ro", "user_id=1000",
		" /boot/efi ", " /var/lib/lxd/", " /lib/incus/", " /var/snap/lxd/common/", " /@/var/lib/machines/", " /var/lib/postgresql ", "/var/lib/libvirt/", "fuse.portal portal", "ip=...", "quiet -- ...\n", "username=...", "luks.name=...", "vers=3.1.1", "Stick SCRUBBED", "CRYPT-PLAIN-luks-SCRUBBED",
		"5B10W13930", "14.86", "SD32G", "Samsung SSD 860\n", "MFG:HP;MDL:LaserJet;CMD:PCL,POSTSCRIPT;CLS:PRINTER;DES:LaserJet SCRUBBED",
		"MODALIAS=wmi:9DBB5994-A997-11DA-B012-B622A1EF5492", "/9DBB5994-A997-11DA-B012-B622A1EF5492/serio7 --",
		"/0000:00:16.0-b638ab7e-94e2-4ea2-a552-d1c54b627f04/serio8 --", "Headset SCRUBBED", "at usb-0000:00:14.0-9, full speed", "DELL U2720Q"} {
		if !strings.Contains(string(text), kept) {
			t.Errorf("%q was lost", kept)
		}
	}

	// One thing has one name wherever it occurs.
	field := func(name string, n int) string {
		s, err := hostfs.ReadString(c, name)
		if f := strings.Fields(s); err == nil && len(f) > n {
			return f[n]
		}
		t.Errorf("%s: %q, %v", name, s, err)
		return ""
	}
	enx := field("proc/net/route", 0)
	lower, err := c.ReadLink("sys/class/net/br0/lower_" + enx)
	if _, serr := c.Stat("sys/class/net/" + enx + "/address"); serr != nil || err != nil || path.Base(lower) != enx || field("proc/net/ipv6_route", 9) != enx {
		t.Errorf("interface %s: %s, %v, %v", enx, lower, err, serr)
	}
	if dm := "/dev/mapper/" + field("sys/class/block/dm-0/dm/name", 0); dm != field("proc/self/mountinfo", 9) {
		t.Errorf("%s is mounted from %s", dm, field("proc/self/mountinfo", 9))
	}
	stick := field("sys/devices/usb1/1-7/serial", 0)
	if id := field("sys/devices/usb1/1-7/1-7:1.0/ieee1284_id", 0) + field("sys/devices/usb1/1-7/1-7:1.0/ieee1284_id", 1); strings.Count(id, stick) != 2 {
		t.Errorf("the printer %s calls itself %s", stick, id)
	}
	if serial, mac := field("sys/devices/usb1/1-8/serial", 0), field("sys/class/net/eth7/address", 0); !strings.EqualFold(serial, strings.ReplaceAll(mac, ":", "")) {
		t.Errorf("the adapter %s has the address %s", serial, mac)
	}
	for _, name := range []string{"sys/class/sound/card1/id", "proc/asound/card1/id"} {
		if id, serial := field(name, 0), field("sys/devices/usb1/1-9/serial", 0); id != serial {
			t.Errorf("the sound card of %s is called %s", serial, id)
		}
	}
	if battery := field("sys/class/power_supply/BAT0/serial_number", 0); !strings.HasSuffix(field("sys/class/power_supply/BAT0/uevent", 2), "="+battery) {
		t.Errorf("the battery %s has another serial number in uevent", battery)
	}
	if got := field("sys/class/nvme/nvme6/address", 0); got != "0000:06:00.0" {
		t.Errorf("the disk on PCI is at %s", got)
	}
	fabric, uevent := field("sys/class/nvme/nvme8/address", 0), field("sys/class/nvme/nvme8/uevent", 1)
	if target, ok := strings.CutPrefix(uevent, "NVME_TRADDR="); !ok || !strings.HasPrefix(fabric, "traddr="+target+",trsvcid=4420,host_traddr=") || !strings.Contains(fabric, ",host_iface="+enx+",src_addr=") {
		t.Errorf("the disk behind the network is at %s, in uevent %s", fabric, uevent)
	}
	if got := strings.Join([]string{field("sys/class/nvme/nvme8/uevent", 0), field("sys/class/nvme/nvme8/uevent", 2), field("sys/class/nvme/nvme8/uevent", 4)}, " "); got != "NVME_TRTYPE=tcp NVME_TRSVCID=4420 NVME_HOST_IFACE=none" {
		t.Error(got)
	}
	supplies, err := c.ReadDir("sys/class/power_supply")
	if err != nil || len(supplies) != 4 {
		t.Errorf("%d power supplies, %v", len(supplies), err)
	}
	for _, supply := range supplies {
		if got := field("sys/class/power_supply/"+supply.Name()+"/uevent", 0); got != "POWER_SUPPLY_NAME="+supply.Name() {
			t.Errorf("%s says %s", supply.Name(), got)
		}
	}
	if got := field("proc/net/route", 1) + field("proc/net/route", 3) + field("proc/net/route", 7); got != "00000000000300000000" {
		t.Errorf("the default route became %s", got)
	}
}

// TestHostArguments: an argument of the kernel that is the name of the host becomes
// the host's new name, unless the kernel or a driver reads it.
func TestHostArguments(t *testing.T) {
	for _, tt := range []struct {
		host, args string
		kept       bool
	}{
		{"smith-nb", "smith-nb", false},
		{"smith-nb", "SMITH-NB", false},
		{"nomodeset", "nomodeset", true},
		{"noapic", "noapic", true},
		{"smith", "smith-nb", true}, // another word
	} {
		m := new(hostfs.Tree)
		for name, text := range map[string]string{"proc/sys/kernel/hostname": tt.host, "proc/cmdline": "quiet " + tt.args + " ro"} {
			if err := m.Put(name, []byte(text+"\n")); err != nil {
				t.Fatal(err)
			}
		}
		c, err := hostfs.Capture(m, hostfs.CaptureOptions{})
		if err != nil {
			t.Fatal(err)
		}
		args, err := hostfs.ReadString(c, "proc/cmdline")
		if err != nil {
			t.Fatal(err)
		}
		want, err := hostfs.ReadString(c, "proc/sys/kernel/hostname")
		if err != nil || want == tt.host {
			t.Fatalf("host %q, %v", want, err)
		}
		if tt.kept {
			want = tt.args
		}
		if args != "quiet "+want+" ro" {
			t.Errorf("host %s, %s: %q", tt.host, tt.args, args)
		}
	}
}
