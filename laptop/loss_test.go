package laptop_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/laptop"
)

// losses are what the host loses with devices, a line each:
// "block host-disk pci:0000:04:00.0: / on nvme0n1 [/ nvme0n1 pci:0000:04:00.0]".
func losses(t testing.TB, h *host, where ...string) string {
	t.Helper()
	l := h.read()
	var devices []*laptop.Device
	for _, w := range where {
		devices = append(devices, find(t, l, w))
	}
	found, err := laptop.Losses(h.Tree, l, devices)
	must(t, err)
	return text(t, h.Tree, found)
}

// text also checks what holds for every loss.
func text(t testing.TB, tr *hostfs.Tree, found []laptop.Loss) string {
	t.Helper()
	var b strings.Builder
	for _, l := range found {
		fmt.Fprintf(&b, "%s %s %s: %s %v\n", l.Severity, l.Kind, l.Device, l.What, l.Via)
		if l.Kind == "" || l.Device == "" || l.What == "" || l.Severity == "" || l.Evidence == "" || len(l.Via) == 0 || strings.ContainsAny(l.What+l.Evidence, "\n\x1b") || !strings.HasPrefix(l.Evidence, "/") {
			t.Errorf("incomplete: %+v", l)
		}
		if l.Remedy == "" && (l.Severity == laptop.Block || l.Severity == laptop.Gap) {
			t.Errorf("no remedy: %+v", l)
		}
	}
	return b.String()
}

// process adds a process with what its descriptors lead to.
func (h *host) process(pid int, program string, targets ...string) {
	h.t.Helper()
	dir := fmt.Sprintf("proc/%d", pid)
	h.put(dir+"/comm", program+"\n")
	h.put(dir+"/stat", fmt.Sprintf("%d (%s) S 1 1 1 0 -1 4194560 1 0\n", pid, program))
	h.put(dir+"/maps", "55d0c0000000-55d0c0001000 r--p 00000000 fe:01 131 /usr/bin/x\n7ffd 0 0 0 0 [stack]\n")
	h.put(dir+"/fd/.keep", "")
	must(h.t, h.Remove(dir+"/fd/.keep"))
	for i, target := range targets {
		h.link(target, fmt.Sprintf("%s/fd/%d", dir, i))
	}
}

// running adds the processes that every host has.
func (h *host) running() {
	h.t.Helper()
	h.process(1, "systemd", "/dev/null", "socket:[123]", "anon_inode:[eventpoll]")
	h.link("mnt:[4026531840]", "proc/self/ns/mnt")
	h.link("mnt:[4026531840]", "proc/1/ns/mnt")
}

const looked = "" // nothing is said of processes when all were looked at

func TestLosses(t *testing.T) {
	const eth, wlan = "pci0000:00/0000:00:1f.6", "pci0000:00/0000:00:1c.0/0000:03:00.0"
	const carriesKeys = "warning carries usb:1-3: input 1-3 (usbhid) [usb:1-3 pci:0000:00:14.0]\n"
	disk := func(h *host) {
		h.block(nvmeDisk, "nvme0n1", "259:0")
		for i := range 3 {
			h.block(nvmeDisk+"/nvme0n1", fmt.Sprint("nvme0n1p", i+1), fmt.Sprint("259:", i+1))
		}
	}
	for _, tt := range []struct {
		name  string
		build func(*host)
		where []string
		want  string
	}{
		{"nothing", disk, []string{"0000:04:00.0"}, looked},
		{"the whole chain to a disk", func(h *host) {
			disk(h)
			h.mapped("dm-0", "254:0", "cryptroot", "CRYPT-LUKS2-5b0d-cryptroot", "nvme0n1p3")
			h.mapped("dm-2", "254:2", "vg-home", "LVM-abcdef", "dm-0")
			h.mount("254:2", "/home", "ext4", "/dev/mapper/vg-home")
		}, []string{"0000:04:00.0"},
			"block host-disk pci:0000:04:00.0: /home on dm-2 (LVM vg-home) on dm-0 (LUKS cryptroot) on nvme0n1p3 " +
				"[/home dm-2 (LVM vg-home) dm-0 (LUKS cryptroot) nvme0n1p3 pci:0000:04:00.0]\n"},
		{"a disk on USB", func(h *host) {
			h.usb(xhci, "1-2", "8/6/80 usb-storage")
			h.block(xhci+"/usb1/1-2/1-2:1.0/host1/target1:0:0/1:0:0:0/block", "sda", "8:0")
			h.mount("8:0", "/media/x", "vfat", "/dev/sda")
		}, []string{"0000:00:14.0"},
			"block host-disk usb:1-2: /media/x on sda [/media/x sda usb:1-2 pci:0000:00:14.0]\n" +
				"warning carries usb:1-2: storage 1-2 (usb-storage) [usb:1-2 pci:0000:00:14.0]\n"},
		{"ZFS", func(h *host) {
			disk(h)
			h.mount("0:30", "/tank", "zfs", "tank/ROOT")
		}, []string{"0000:04:00.0"},
			"unknown host-disk-unknown pci:0000:04:00.0: whether the host uses a disk of 0000:04:00.0 is not known: the kernel does not say on which disks a ZFS pool is [pci:0000:04:00.0]\n"},
		{"a mount that others see", func(h *host) {
			disk(h)
			h.process(77, "container")
			h.link("mnt:[4026532000]", "proc/77/ns/mnt")
			h.put("proc/77/mountinfo", "1 2 259:3 / /data rw - ext4 /dev/nvme0n1p3 rw\n1 2 0:27 / / rw - tmpfs none rw\n")
		}, []string{"0000:04:00.0"},
			"block host-disk pci:0000:04:00.0: /data in the mount namespace of process 77 on nvme0n1p3 [/data in the mount namespace of process 77 nvme0n1p3 pci:0000:04:00.0]\n"},
		{"a machine that has a disk open", func(h *host) {
			disk(h)
			h.process(812, "qemu-system-x86", "/dev/nvme0n1", "/dev/kvm", "/dev/nvme0n1p3 (deleted)")
		}, []string{"0000:04:00.0"},
			"warning node-open pci:0000:04:00.0: /dev/nvme0n1 is open: qemu-system-x86 (process 812) [dev/nvme0n1 pci:0000:04:00.0]\n" +
				"warning node-open pci:0000:04:00.0: /dev/nvme0n1p3 is open: qemu-system-x86 (process 812) [dev/nvme0n1p3 pci:0000:04:00.0]\n"},
		{"a machine that runs from a volume, and one that has it mapped", func(h *host) {
			disk(h)
			h.mapped("dm-1", "254:1", "vg-vm", "LVM-abcdef", "nvme0n1p3")
			h.process(812, "qemu-system-x86", "/dev/dm-1")
			h.process(813, "dd")
			h.put("proc/813/maps", "7f00-7f01 rw-s 00000000 00:05 131 /dev/dm-1\n7f01-7f02 rw-s 00000000 00:05 132 /dev/zero (deleted)\n")
		}, []string{"0000:04:00.0"},
			"block host-disk pci:0000:04:00.0: open as dm-1 (LVM vg-vm) on nvme0n1p3 [open as dm-1 (LVM vg-vm) nvme0n1p3 pci:0000:04:00.0]\n" +
				"warning node-open pci:0000:04:00.0: /dev/dm-1 is open: qemu-system-x86 (process 812), dd (mapped by process 813) [dev/dm-1 nvme0n1p3 pci:0000:04:00.0]\n"},
		{"hibernation to nobody knows where", func(h *host) {
			disk(h)
			h.put("proc/cmdline", "resume=UUID=4f\n")
		}, []string{"0000:04:00.0"},
			"unknown hibernation pci:0000:04:00.0: at its next start the host looks for a hibernation image on UUID=4f, and nothing says which disk that is [pci:0000:04:00.0]\n"},
		{"bridge with a guest on it", func(h *host) {
			h.up(eth, "eth0")
			h.net("virtual", "vnet0")
			h.net("virtual", "br0", "eth0", "vnet0")
			h.put("sys/devices/"+eth+"/net/eth0/upper_br0", "")
			h.route("br0", "00000000", "00000000")
			h.put("proc/net/route", "br0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\nbr0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n")
			h.put("proc/net/if_inet6", "fe8000000000000000fc00fffe000001 04 40 20 80     br0\n00000000000000000000000000000001 01 80 10 80       lo\n")
		}, []string{"0000:00:1f.6"},
			"block default-route pci:0000:00:1f.6: default route by br0 over eth0 [default route br0 eth0 pci:0000:00:1f.6]\n" +
				"warning network-in-use pci:0000:00:1f.6: eth0 is up, in br0 with vnet0: 192.168.1.0/24, fe80::fc:ff:fe00:1/64 [br0 eth0 pci:0000:00:1f.6]\n"},
		{"up without a route", func(h *host) { h.up(eth, "eth0") }, []string{"0000:00:1f.6"},
			"warning network-in-use pci:0000:00:1f.6: eth0 is up [eth0 pci:0000:00:1f.6]\n"},
		{"down", func(h *host) {
			h.up(eth, "eth0")
			h.put("sys/devices/"+eth+"/net/eth0/operstate", "down\n")
		}, []string{"0000:00:1f.6"}, ""},
		{"VPN over one of two", func(h *host) {
			h.net(eth, "eth0")
			h.net("virtual", "tun0")
			h.route("tun0", "00000000", "00000080")
			h.route("tun0", "00000080", "00000080")
			h.route("eth0", "00000000", "00000000")
		}, []string{"0000:00:1f.6"},
			"block default-route pci:0000:00:1f.6: default route by eth0 [default route eth0 pci:0000:00:1f.6]\n" +
				"warning network-in-use pci:0000:00:1f.6: a default route by tun0 on top: what that runs over the kernel's tables do not say; what is not for it goes by eth0 [tun0 eth0 pci:0000:00:1f.6]\n"},
		{"a route in a table of its own", func(h *host) {
			h.net(eth, "eth0")
			h.put("proc/net/fib_trie", trie)
		}, []string{"0000:00:1f.6"},
			"unknown route-unknown pci:0000:00:1f.6: there is a default route in routing table 51820, and procfs does not say by which interface [pci:0000:00:1f.6]\n"},
		{"the board's switch of a radio", func(h *host) {
			h.class("ieee80211", wlan+"/ieee80211/phy0")
			h.class("rfkill", wlan+"/ieee80211/phy0/rfkill0", "type=wlan", "soft=0", "hard=0", "name=phy0")
			h.class("rfkill", "platform/thinkpad_acpi/rfkill/rfkill1", "type=wlan", "soft=0", "hard=1", "name=tpacpi_wlan_sw")
			h.class("rfkill", "platform/thinkpad_acpi/rfkill/rfkill2", "type=bluetooth", "soft=0", "hard=1", "name=tpacpi_bluetooth_sw")
		}, []string{"0000:03:00.0"},
			"warning radio-switch pci:0000:03:00.0: the switch rfkill1 (tpacpi_wlan_sw) stays with the host, and the radio is off while it is, as now [rfkill1 pci:0000:03:00.0]\n"},
		{"the only keyboard, and a mouse elsewhere", func(h *host) {
			h.keyboardOn(xhci, "1-3", "input7")
			h.input("platform/i8042/serio1/input/input4", "PS/2 mouse", mouseBits)
		}, []string{"0000:00:14.0"},
			"block only-keyboard usb:1-3: the host is left without a keyboard: Keys (usb:1-3) [input7 usb:1-3 pci:0000:00:14.0]\n" + carriesKeys},
		{"the only pointer, and a keyboard elsewhere", func(h *host) {
			h.ps2()
			h.usb(xhci, "1-3", "3/1/2 usbhid")
			h.input(xhci+"/usb1/1-3/1-3:1.0/input/input7", "Mouse", mouseBits)
		}, []string{"0000:00:14.0"},
			"warning only-pointer usb:1-3: the host is left without a mouse, touchpad or touchscreen: Mouse (usb:1-3) [input7 usb:1-3 pci:0000:00:14.0]\n" + carriesKeys},
		{"keyboards on two controllers, both of which go", func(h *host) {
			h.function("pci0000:00/0000:00:15.0", "0c0330", "xhci_hcd", 8)
			h.keyboardOn(xhci, "1-3", "input7")
			h.keyboardOn("pci0000:00/0000:00:15.0", "3-1", "input8")
		}, []string{"0000:00:14.0", "0000:00:15.0"},
			"block only-keyboard usb:1-3: the host is left without a keyboard: Keys (usb:1-3), Keys (usb:3-1) [input7 usb:1-3 pci:0000:00:14.0]\n" +
				carriesKeys + "warning carries usb:3-1: input 3-1 (usbhid) [usb:3-1 pci:0000:00:15.0]\n"},
		{"screens and the text console", func(h *host) {
			const igpu = "pci0000:00/0000:00:02.0"
			h.function(igpu, "030000", "i915", 0)
			h.put("sys/devices/"+igpu+"/boot_vga", "1\n")
			for name, status := range map[string]string{"eDP-1": "connected", "HDMI-A-1": "connected", "DP-1": "disconnected"} {
				h.put("sys/devices/"+igpu+"/drm/card0/card0-"+name+"/status", status+"\n")
				h.link("../../devices/"+igpu+"/drm/card0/card0-"+name, "sys/class/drm/card0-"+name)
			}
			h.link("../../devices/"+igpu+"/drm/card0", "sys/class/drm/card0")
			h.link("../../devices/"+igpu+"/graphics/fb0", "sys/class/graphics/fb0")
			h.put("proc/consoles", "tty0                 -WU (EC p  )    4:1\n")
			h.put("sys/class/vtconsole/vtcon0/name", "(S) dummy device\n")
			h.put("sys/class/vtconsole/vtcon0/bind", "0\n")
			h.put("sys/class/vtconsole/vtcon1/name", "(M) frame buffer device\n")
			h.put("sys/class/vtconsole/vtcon1/bind", "1\n")
			h.process(900, "gnome-shell", "/dev/dri/card0", "/dev/dri/card0")
		}, []string{"0000:00:02.0"},
			"block boot-display pci:0000:00:02.0: the firmware started on this display, and the host's screen would go dark [pci:0000:00:02.0]\n" +
				"warning screen pci:0000:00:02.0: the screen on HDMI-A-1 goes dark [HDMI-A-1 pci:0000:00:02.0]\n" +
				"warning console pci:0000:00:02.0: the text console is on its frame buffer fb0 [tty0 fb0 pci:0000:00:02.0]\n" +
				"warning node-open pci:0000:00:02.0: /dev/dri/card0 is open: gnome-shell (process 900) [dev/dri/card0 pci:0000:00:02.0]\n"},
		{"a console on a USB serial line", func(h *host) {
			h.usb(xhci, "1-4", "255/0/0 ftdi_sio")
			h.class("tty", xhci+"/usb1/1-4/1-4:1.0/ttyUSB0/tty/ttyUSB0")
			h.put("proc/consoles", "tty0                 -WU (E  p  )    4:1\nttyUSB0              -W- (EC p  )  188:0\nttyS0 -W- (   p a) 4:64\n")
		}, []string{"0000:00:14.0"},
			"warning console usb:1-4: the kernel writes its messages to ttyUSB0 [ttyUSB0 usb:1-4 pci:0000:00:14.0]\n" +
				"warning carries usb:1-4: usb-device 1-4 (ftdi_sio) [usb:1-4 pci:0000:00:14.0]\n"},
		{"consoles of a saved machine that has but the list", func(h *host) {
			h.function("pci0000:00/0000:00:16.3", "070002", "serial", 9)
			h.class("tty", "pci0000:00/0000:00:16.3/0000:00:16.3:0/0000:00:16.3:0.0/tty/ttyS4")
			h.put("sys/class/tty/console/active", "tty0 ttyS4\n")
		}, []string{"0000:00:16.3"},
			"warning console pci:0000:00:16.3: the kernel writes its messages to ttyS4 [ttyS4 pci:0000:00:16.3]\n"},
		{"sound that plays", func(h *host) {
			h.function("pci0000:00/0000:00:1f.3", "040300", "snd_hda_intel", 7)
			h.link("../../devices/pci0000:00/0000:00:1f.3/sound/card0", "sys/class/sound/card0")
			h.put("sys/devices/pci0000:00/0000:00:1f.3/sound/card0/id", "PCH\n")
			h.link("../../devices/pci0000:00/0000:00:1f.3/sound/card0/pcmC0D0p", "sys/class/sound/pcmC0D0p")
			h.put("proc/asound/card0/pcm0p/info", "id: ALC257 Analog\n")
			h.put("proc/asound/card0/pcm0p/sub0/status", "state: RUNNING\nowner_pid   : 812\n")
			h.put("proc/asound/card0/pcm0c/sub0/status", "closed\n")
			h.process(812, "pipewire", "/dev/snd/pcmC0D0p", "/dev/snd/controlC0")
		}, []string{"0000:00:1f.3"},
			"warning stream-open pci:0000:00:1f.3: plays, ALC257 Analog: running, opened by pipewire (process 812) [dev/snd/pcmC0D0p card0 pci:0000:00:1f.3]\n"},
		{"all that hangs on a USB controller", func(h *host) {
			h.ps2()
			h.input("platform/i8042/serio1/input/input4", "PS/2 mouse", mouseBits)
			h.usb(xhci, "1-4", "14/1/0 uvcvideo")
			h.class("video4linux", xhci+"/usb1/1-4/1-4:1.0/video4linux/video0")
			h.usb(xhci, "1-5", "224/1/1 btusb")
			h.class("bluetooth", xhci+"/usb1/1-5/1-5:1.0/bluetooth/hci0")
			h.usb(xhci, "1-6", "255/0/0")
			h.put("sys/devices/"+xhci+"/usb1/1-6/uevent", "PRODUCT=6cb/bd/0\nTYPE=0/0/0\nBUSNUM=001\nDEVNUM=009\n")
			h.usb(xhci, "1-2", "8/6/80 usb-storage")
			h.block(xhci+"/usb1/1-2/1-2:1.0/host1/target1:0:0/1:0:0:0/block", "sda", "8:0")
			h.mount("8:0", "/", "ext4", "/dev/sda")
			h.process(700, "bluetoothd", "socket:[9]")
			h.process(701, "cheese", "/dev/video0")
		}, []string{"0000:00:14.0"},
			"block host-disk usb:1-2: / on sda [/ sda usb:1-2 pci:0000:00:14.0]\n" +
				"warning node-open usb:1-4: /dev/video0 is open: cheese (process 701) [dev/video0 usb:1-4 pci:0000:00:14.0]\n" +
				"warning carries usb:1-2: storage 1-2 (usb-storage) [usb:1-2 pci:0000:00:14.0]\n" +
				"warning carries usb:1-4: webcam 1-4 (uvcvideo) [usb:1-4 pci:0000:00:14.0]\n" +
				"warning carries usb:1-5: bluetooth 1-5 (btusb) [usb:1-5 pci:0000:00:14.0]\n" +
				"warning carries usb:1-6: fingerprint 1-6 [usb:1-6 pci:0000:00:14.0]\n"},
		{"a guest has it already", func(h *host) {
			h.function("pci0000:00/0000:00:1c.4/0000:06:00.0", "020000", "vfio-pci", 12)
			h.put("sys/devices/pci0000:00/0000:00:1c.4/0000:06:00.0/vfio-dev/vfio0/dev", "511:0\n")
			h.process(812, "qemu", "/dev/vfio/12", "/dev/vfio/vfio", "/dev/vfio/devices/vfio0")
		}, []string{"0000:06:00.0"},
			"warning node-open pci:0000:06:00.0: /dev/vfio/12 is open: qemu (process 812) [dev/vfio/12 pci:0000:06:00.0]\n" +
				"warning node-open pci:0000:06:00.0: /dev/vfio/devices/vfio0 is open: qemu (process 812) [dev/vfio/devices/vfio0 pci:0000:06:00.0]\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := laptopHost(t)
			h.function(eth, "020000", "e1000e", 10)
			h.function(wlan, "028000", "iwlwifi", 11)
			h.running()
			tt.build(h)
			if diff := cmp.Diff(tt.want, losses(t, h, tt.where...)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// up adds a network interface that is up.
func (h *host) up(dir, name string) {
	h.t.Helper()
	h.net(dir, name)
	h.put("sys/devices/"+dir+"/net/"+name+"/flags", "0x1003\n")
	h.put("sys/devices/"+dir+"/net/"+name+"/operstate", "up\n")
}

const trie = `Id 51820:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
Id 7:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /8 universe UNICAST
        /0 universe UNREACHABLE
     |-- 10.0.0.0
        /0 link UNICAST
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.1
           /32 host LOCAL
Local:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
`

// A saved machine says nothing of processes, which is said once.
func TestLossesOfSavedMachine(t *testing.T) {
	h := laptopHost(t)
	h.block(nvmeDisk, "nvme0n1", "259:0")
	want := "unknown node-open pci:0000:04:00.0: who has device nodes open is not known: a saved machine does not say [pci:0000:04:00.0]\n"
	if diff := cmp.Diff(want, losses(t, h, "0000:04:00.0")); diff != "" {
		t.Error(diff)
	}
}

// One who is not root cannot look at the processes of others.
func TestLossesWithoutRoot(t *testing.T) {
	h := laptopHost(t)
	h.block(nvmeDisk, "nvme0n1", "259:0")
	h.running()
	h.process(2, "kthreadd")
	h.put("proc/2/stat", "2 (kthread) d) S 0 0 0 0 -1 2129984 0 0\n")
	h.process(50, "udisksd", "/dev/nvme0n1")
	h.process(60, "mine", "/dev/nvme0n1")
	l := h.read()
	denied := errnos[2]
	failing := hosttest.Failing{Tree: h.Tree, Fail: func(name string) error {
		if strings.HasPrefix(name, "proc/2/fd") || strings.HasPrefix(name, "proc/50/fd") || strings.HasPrefix(name, "proc/50/maps") || strings.HasSuffix(name, "/ns/mnt") {
			return denied
		}
		return nil
	}}
	found, err := laptop.Losses(failing, l, []*laptop.Device{find(t, l, "0000:04:00.0")})
	must(t, err)
	want := "unknown node-open pci:0000:04:00.0: 1 of 3 processes could not be looked at, and may have device nodes open [pci:0000:04:00.0]\n" +
		"warning node-open pci:0000:04:00.0: /dev/nvme0n1 is open: mine (process 60) [dev/nvme0n1 pci:0000:04:00.0]\n"
	if diff := cmp.Diff(want, text(t, h.Tree, found)); diff != "" {
		t.Error(diff)
	}
}

// TestLossesFaults fails each name that is asked for: the losses that are left are
// fewer at most by what the name says, nothing panics, and an error or a loss of severity
// Gap says that something is missing.
func TestLossesFaults(t *testing.T) {
	h := &host{Tree: everything(t), t: t}
	h.running()
	h.link("../../../null", "proc/1/fd/7")
	h.process(40, "vm", "/dev/nvme0n1", "/dev/sda")
	h.put("proc/net/fib_trie", trie)
	h.put("proc/net/if_inet6", "fe8000000000000000fc00fffe000001 04 40 20 80     eth0\n")
	h.put("proc/consoles", "tty0 -WU (EC p  ) 4:1\n")
	h.put("sys/class/vtconsole/vtcon1/name", "(M) frame buffer device\n")
	h.put("sys/class/vtconsole/vtcon1/bind", "1\n")
	h.link("../../devices/pci0000:00/0000:00:02.0/graphics/fb0", "sys/class/graphics/fb0")
	h.put("proc/asound/card0/pcm0p/sub0/status", "state: RUNNING\nowner_pid   : 40\n")
	for name, value := range map[string]string{"flags": "0x1003", "operstate": "up", "upper_br0": ""} {
		h.put("sys/devices/pci0000:00/0000:00:1f.6/net/eth0/"+name, value+"\n")
	}
	l := h.read()
	var all []*laptop.Device
	for i := range l.Devices {
		if l.Devices[i].PCI != nil {
			all = append(all, &l.Devices[i])
		}
	}
	names := map[string]bool{}
	before, err := laptop.Losses(hosttest.Failing{Tree: h.Tree, Fail: func(name string) error {
		if _, err := h.Lstat(name); err == nil {
			names[name] = true
		}
		return nil
	}}, l, all)
	must(t, err)
	whole := text(t, h.Tree, before)
	if len(before) < 15 || len(names) < 60 {
		t.Errorf("%d losses of %d names:\n%s", len(before), len(names), whole)
	}
	for name := range names {
		for _, errno := range errnos {
			found, err := laptop.Losses(hosttest.Failing{Tree: h.Tree, Fail: func(asked string) error {
				if asked == name {
					return errno
				}
				return nil
			}}, l, all)
			got := text(t, h.Tree, found)
			if err != nil && errno != errnos[3] && !errors.Is(err, errno) { // of which what is read instead may say more
				t.Errorf("%s, %v: %v", name, errno, err)
			}
			if err == nil && errno != errnos[3] && got != whole && strings.Count(got, "unknown ") <= strings.Count(whole, "unknown ") && !strings.HasPrefix(name, "proc/1") && !strings.HasPrefix(name, "proc/4") {
				t.Errorf("%s, %v: something is missing, and nothing says so:\n%s", name, errno, cmp.Diff(whole, got))
			}
		}
	}
}

// TestLossesOfHosts asks real machines for all that their functions carry: each answer
// is about one of them, complete, the gravest first, and the same when asked again.
func TestLossesOfHosts(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(hosttest.Shared(t, "hosts"), "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	labs, _ := filepath.Glob(filepath.Join(hosttest.Root(t), "testdata", "hosts", "*.txtar"))
	kinds := map[laptop.Code]int{}
	for _, file := range append(files, labs...) {
		fsys := open(t, file).(*hostfs.Tree)
		l, err := laptop.Read(fsys)
		must(t, err)
		for i := range l.Devices {
			d := &l.Devices[i]
			if d.PCI == nil {
				continue
			}
			found, err := laptop.Losses(fsys, l, []*laptop.Device{d})
			if err != nil {
				t.Errorf("%s, %s: %v", filepath.Base(file), d.ID(), err)
			}
			first := text(t, fsys, found)
			again, _ := laptop.Losses(fsys, l, []*laptop.Device{d})
			if second := text(t, fsys, again); second != first {
				t.Errorf("%s, %s: %s", filepath.Base(file), d.ID(), cmp.Diff(first, second))
			}
			worst := 0
			carried := len(l.Carried(d.PCI.Address))
			for _, loss := range found {
				kinds[loss.Kind]++
				at := slices.Index([]laptop.Severity{laptop.Block, laptop.Gap, laptop.Warning, laptop.Info}, loss.Severity)
				if at < worst {
					t.Errorf("%s: %s comes after what is less grave", d.ID(), loss.What)
				}
				worst = at
				if loss.Kind == laptop.Carries {
					carried--
				}
				if o := l.Device(loss.Device); o == nil || o != d && o.Controller() != d.PCI.Address {
					t.Errorf("%s, %s: a loss of %s", filepath.Base(file), d.ID(), loss.Device)
				}
			}
			if carried != 0 {
				t.Errorf("%s, %s: %d of what hangs on it is left out", filepath.Base(file), d.ID(), carried)
			}
			// What a listing refuses for is said here too.
			for _, f := range d.Findings {
				if f.Device == d.ID() && slices.Contains([]laptop.Code{laptop.HostDisk, laptop.Hibernation, laptop.DefaultRoute, laptop.BootDisplay, laptop.OnlyKeyboard}, f.Code) &&
					f.Severity == laptop.Block && !slices.ContainsFunc(found, func(l laptop.Loss) bool { return l.Kind == f.Code && l.Severity == f.Severity }) {
					t.Errorf("%s, %s: %s is not among the losses:\n%s", filepath.Base(file), d.ID(), f.Code, first)
				}
			}
		}
	}
	t.Log(kinds)
	for _, k := range []laptop.Code{laptop.Carries, laptop.HostDiskUnknown, laptop.RouteUnknown, laptop.OnlyKeyboard, laptop.NodeOpen} {
		if kinds[k] == 0 {
			t.Errorf("no %s on any machine", k)
		}
	}
}

// TestReadOpenLive looks at this process, which has a device open.
func TestReadOpenLive(t *testing.T) {
	f, err := os.Open("/dev/kmsg")
	if err != nil {
		f, err = os.Open("/dev/vsock")
	}
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("no device node that this test could open: %v", err)
	}
	defer f.Close()
	o, err := laptop.ReadOpen(hostfs.Live())
	must(t, err)
	mine := slices.IndexFunc(o.Nodes[f.Name()[1:]], func(h laptop.Holder) bool { return h.PID == os.Getpid() && h.Program != "" && !h.Mapped })
	if mine < 0 || o.Looked == 0 || !o.Known() {
		t.Errorf("%+v", o)
	}
}
