package laptop_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/laptop"
)

const (
	nvmeDisk = nvme + "/nvme/nvme0"
)

// TestDisks has what the host's mounts and swap space come down to. In the third
// column are the verdicts on the NVMe and on the USB controller.
func TestDisks(t *testing.T) {
	const virtual = "virtual/block"
	const below = ": 0000:00:1d.0 0000:04:00.0\n"
	disk := func(h *host) {
		h.block(nvmeDisk, "nvme0n1", "259:0")
		for i := range 3 {
			h.block(nvmeDisk+"/nvme0n1", fmt.Sprint("nvme0n1p", i+1), fmt.Sprint("259:", i+1))
		}
	}
	const free, used, unknown = "assignable", "refused host-disk", "unknown host-disk-unknown"
	for _, tt := range []struct {
		name         string
		build        func(*host)
		uses         string
		nvme, xhci   string
		withoutDisks bool
	}{
		{name: "nothing mounted", build: func(h *host) {}, nvme: free, xhci: free},
		{
			name: "root on a partition", build: func(h *host) { h.mount("259:2", "/", "ext4", "/dev/root") },
			uses: "host-disk: / on nvme0n1p2" + below, nvme: used, xhci: free,
		},
		{
			name: "by name when the number leads nowhere", build: func(h *host) { h.mount("9:9", "/", "ext4", "/dev/nvme0n1p2") },
			uses: "host-disk: / on nvme0n1p2" + below, nvme: used, xhci: free,
		},
		{
			name: "many places", build: func(h *host) {
				for _, p := range []string{"/", "/home", "/", `/a\040b`, "/nix/store", "/var"} {
					h.mount("259:2", p, "ext4", "/dev/nvme0n1p2")
				}
			},
			uses: "host-disk: /, /home, /a b and 2 more on nvme0n1p2" + below, nvme: used, xhci: free,
		},
		{
			name: "dm-crypt on LVM", build: func(h *host) {
				h.block(virtual, "dm-0", "254:0", "nvme0n1p3")
				h.block(virtual, "dm-1", "254:1", "dm-0")
				h.mount("254:1", "/", "ext4", "/dev/mapper/root")
			},
			uses: "host-disk: / on dm-1 on dm-0 on nvme0n1p3" + below, nvme: used, xhci: free,
		},
		{
			name: "MD RAID and its partition", build: func(h *host) {
				h.block(virtual, "md0", "9:0", "nvme0n1p1")
				h.block(virtual+"/md0", "md0p1", "259:9")
				h.mount("259:9", "/", "ext4", "/dev/md0p1")
			},
			uses: "host-disk: / on md0p1 on md0 on nvme0n1p1" + below, nvme: used, xhci: free,
		},
		{
			name: "swap", build: func(h *host) { h.swap("/dev/nvme0n1p3") },
			uses: "host-disk: swap on nvme0n1p3" + below, nvme: used, xhci: free,
		},
		{
			name: "btrfs of two devices", build: func(h *host) {
				h.usb(xhci, "1-2", "8/6/80 usb-storage")
				h.block(xhci+"/usb1/1-2/1-2:1.0/host1/target1:0:0/1:0:0:0/block", "sda", "8:0")
				h.mount("0:31", "/", "btrfs", "/dev/nvme0n1p2")
				h.put("sys/fs/btrfs/features/extended_iref", "")
				h.put("sys/fs/btrfs/b4d1/devices/nvme0n1p2", "")
				h.put("sys/fs/btrfs/b4d1/devices/sda", "")
			},
			uses: "host-disk: /, btrfs member on nvme0n1p2" + below + "host-disk: btrfs member on sda: 0000:00:14.0 1-2\n", nvme: used, xhci: used + " carries",
		},
		{
			name: "NVMe of several paths", build: func(h *host) {
				h.function("pci0000:00/0000:00:1c.0/0000:05:00.0", "010802", "nvme", 7)
				h.link("../../../pci0000:00/0000:00:1d.0/0000:04:00.0/nvme/nvme0", "sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme0")
				h.link("../../../pci0000:00/0000:00:1c.0/0000:05:00.0/nvme/nvme1", "sys/devices/virtual/nvme-subsystem/nvme-subsys0/nvme1")
				h.link("../../devices/virtual/nvme-subsystem/nvme-subsys0", "sys/class/nvme-subsystem/nvme-subsys0")
				h.block("virtual/nvme-subsystem/nvme-subsys0", "nvme0n1", "259:0")
				h.block("virtual/nvme-subsystem/nvme-subsys0/nvme0n1", "nvme0n1p1", "259:1")
				h.mount("259:1", "/", "xfs", "/dev/nvme0n1p1")
			},
			uses: "host-disk: / on nvme0n1p1: 0000:00:1d.0 0000:04:00.0 0000:00:1c.0 0000:05:00.0\n", nvme: used, xhci: free, withoutDisks: true,
		},
		{
			name: "NVMe of several paths that are not known", build: func(h *host) {
				h.block("virtual/nvme-subsystem/nvme-subsys0", "nvme0n1", "259:0")
				h.mount("259:0", "/", "xfs", "/dev/nvme0n1")
			}, nvme: unknown, xhci: free, withoutDisks: true,
		},
		{
			name: "device mapper by name alone", build: func(h *host) {
				h.block(virtual, "dm-0", "254:0", "nvme0n1p3")
				h.put("sys/devices/virtual/block/dm-0/dm/name", "luks-4\n")
				h.mount("0:27", "/", "btrfs", "/dev/mapper/luks-4")
			},
			uses: "host-disk: / on dm-0 (luks-4) on nvme0n1p3" + below, nvme: used, xhci: free,
		},
		{
			name: "device mapper whose name nobody knows", build: func(h *host) {
				h.block(virtual, "dm-0", "254:0", "nvme0n1p3")
				h.mount("0:27", "/", "btrfs", "/dev/mapper/luks-4")
			},
			uses: "host-disk: open as dm-0 on nvme0n1p3" + below, nvme: used + " host-disk-unknown", xhci: free,
		},
		{
			name: "open LUKS volume that is not mounted", build: func(h *host) {
				h.block(virtual, "dm-0", "254:0", "nvme0n1p3")
			},
			uses: "host-disk: open as dm-0 on nvme0n1p3" + below, nvme: used, xhci: free,
		},
		{
			name: "device mapper without slaves", build: func(h *host) {
				h.block(virtual, "dm-0", "254:0")
				h.mount("254:0", "/", "ext4", "/dev/dm-0")
			}, nvme: unknown, xhci: free,
		},
		{name: "no such device", build: func(h *host) { h.mount("8:1", "/", "ext4", "/dev/sda1") }, nvme: unknown, xhci: free},
		{name: "slave that is gone", build: func(h *host) {
			h.block(virtual, "dm-0", "254:0", "sdb1")
			h.mount("254:0", "/", "ext4", "/dev/dm-0")
		}, nvme: unknown, xhci: free},
		{
			name: "slaves in a circle", build: func(h *host) {
				h.block(virtual, "dm-0", "254:0", "dm-1", "nvme0n1p1")
				h.block(virtual, "dm-1", "254:1", "dm-0")
				h.mount("254:1", "/", "ext4", "/dev/dm-1")
			},
			uses: "host-disk: / on dm-1 on dm-0 on nvme0n1p1" + below, nvme: used, xhci: free,
		},
		{name: "ZFS", build: func(h *host) { h.mount("0:30", "/", "zfs", "rpool/ROOT") }, nvme: unknown, xhci: free},
		{
			name: "LVM on LUKS, with swap on it", build: func(h *host) {
				h.mapped("dm-0", "254:0", "cryptroot", "CRYPT-LUKS2-5b0d-cryptroot", "nvme0n1p3")
				h.mapped("dm-1", "254:1", "vg-home", "LVM-abcdef", "dm-0")
				h.mapped("dm-2", "254:2", "vg-swap", "LVM-abcdeg", "dm-0")
				h.mount("254:1", "/home", "ext4", "/dev/mapper/vg-home")
				h.swap("/dev/dm-2")
			},
			uses: "host-disk: /home on dm-1 (LVM vg-home) on dm-0 (LUKS cryptroot) on nvme0n1p3" + below +
				"host-disk: swap on dm-2 (LVM vg-swap) on dm-0 (LUKS cryptroot) on nvme0n1p3" + below,
			nvme: used + " host-disk", xhci: free,
		},
		{
			name: "MD over two disks", build: func(h *host) {
				h.usb(xhci, "1-2", "8/6/80 usb-storage")
				h.block(xhci+"/usb1/1-2/1-2:1.0/host1/target1:0:0/1:0:0:0/block", "sda", "8:0")
				h.block(virtual, "md127", "9:127", "nvme0n1p1", "sda")
				h.put("sys/devices/virtual/block/md127/md/level", "raid1\n")
				h.mount("9:127", "/", "xfs", "/dev/md127")
			},
			uses: "host-disk: / on md127 (raid1) on nvme0n1p1" + below + "host-disk: / on md127 (raid1) on sda: 0000:00:14.0 1-2\n",
			nvme: used, xhci: used + " carries",
		},
		{
			name: "swap files", build: func(h *host) {
				h.mount("259:1", "/", "ext4", "/dev/nvme0n1p1")
				h.mount("0:31", "/swap", "btrfs", "/dev/nvme0n1p2")
				h.put("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n/swap/a\\040b\tfile\t1\t0\t-2\n/swapfile file 1 0 -3\n")
			},
			uses: "host-disk: /, swap file /swapfile on nvme0n1p1" + below + "host-disk: /swap, swap file /swap/a b on nvme0n1p2" + below,
			nvme: used + " host-disk", xhci: free,
		},
		{name: "a swap file on no mount", build: func(h *host) {
			h.put("proc/self/mountinfo", "30 1 0:27 / /x rw - tmpfs none rw\n")
			h.swap("/dev/nvme0n1p3")
		}, uses: "host-disk: swap on nvme0n1p3" + below, nvme: used + " host-disk-unknown", xhci: free},
		{
			name: "bcache", build: func(h *host) {
				h.block(virtual, "bcache0", "251:0", "nvme0n1p1")
				h.mount("251:0", "/", "ext4", "/dev/bcache0")
			},
			uses: "host-disk: / on bcache0 on nvme0n1p1" + below, nvme: used, xhci: free,
		},
		{
			name: "bcache that is not mounted", build: func(h *host) { h.block(virtual, "bcache0", "251:0", "nvme0n1p1") },
			uses: "host-disk: open as bcache0 on nvme0n1p1" + below, nvme: used, xhci: free,
		},
		{name: "bcache of nobody knows what", build: func(h *host) { h.block(virtual, "bcache0", "251:0") }, nvme: unknown, xhci: free},
		{
			name: "zram that is written out to a disk", build: func(h *host) {
				h.block(virtual, "zram0", "252:0")
				h.put("sys/devices/virtual/block/zram0/backing_dev", "/dev/nvme0n1p3\n")
				h.swap("/dev/zram0")
			},
			uses: "host-disk: swap on zram0 on nvme0n1p3" + below, nvme: used, xhci: free,
		},
		{
			name: "zram that is not", build: func(h *host) {
				h.block(virtual, "zram0", "252:0")
				h.put("sys/devices/virtual/block/zram0/backing_dev", "none\n")
				h.swap("/dev/zram0")
			}, nvme: free, xhci: free,
		},
		{
			name: "a name of udev's", build: func(h *host) {
				h.link("../../nvme0n1p2", "dev/disk/by-uuid/4f")
				h.mount("0:31", "/", "btrfs", "/dev/disk/by-uuid/4f")
			},
			uses: "host-disk: / on nvme0n1p2" + below, nvme: used, xhci: free,
		},
		{
			name: "hibernation to the swap in use", build: func(h *host) {
				h.swap("/dev/nvme0n1p3")
				h.put("sys/power/resume", "259:3\n")
			},
			uses: "host-disk: swap on nvme0n1p3" + below + "hibernation: hibernation image on nvme0n1p3" + below,
			nvme: used + " hibernation", xhci: free,
		},
		{
			name: "hibernation through LUKS to a file", build: func(h *host) {
				h.mapped("dm-0", "254:0", "root", "CRYPT-LUKS1-5b0d-root", "nvme0n1p2")
				h.put("sys/power/resume", "254:0\n")
				h.put("sys/power/resume_offset", "34816\n")
			},
			uses: "host-disk: open as dm-0 (LUKS root) on nvme0n1p2" + below +
				"hibernation: hibernation image in a swap file on dm-0 (LUKS root) on nvme0n1p2" + below,
			nvme: used + " hibernation", xhci: free,
		},
		{
			name: "hibernation by resume=", build: func(h *host) {
				h.put("sys/power/resume", "0:0\n")
				h.put("proc/cmdline", "quiet resume=/dev/nvme0n1p1 resume=PARTUUID=7-3 -- resume=/dev/sda\n")
				h.link("../../nvme0n1p3", "dev/disk/by-partuuid/7-3")
			},
			uses: "hibernation: hibernation image on nvme0n1p3" + below, nvme: "refused hibernation", xhci: free,
		},
		{
			name: "resume= by number", build: func(h *host) { h.put("proc/cmdline", "resume=259:2 resume_offset=77\n") },
			uses: "hibernation: hibernation image in a swap file on nvme0n1p2" + below, nvme: "refused hibernation", xhci: free,
		},
		{name: "resume= of a name that leads nowhere", build: func(h *host) { h.put("proc/cmdline", "resume=UUID=4f-aa\n") }, nvme: free, xhci: free},
		{name: "resume= that does not hold", build: func(h *host) { h.put("proc/cmdline", "resume=/dev/nvme0n1p3 noresume\n") }, nvme: free, xhci: free},
		{
			name: "hibernation to a disk that is gone", build: func(h *host) { h.put("sys/power/resume", "8:2\n") },
			nvme: "unknown hibernation", xhci: free,
		},
		{
			name: "not on disks", build: func(h *host) {
				h.mount("0:30", "/run/user/1000/doc", "fuse", "/dev/fuse")
				h.mount("0:31", "/mnt", "nfs4", "server:/home")
				h.block(virtual, "zram0", "252:0")
				h.swap("/dev/zram0")
				h.block(virtual, "loop0", "7:0")
				h.put("sys/devices/virtual/block/loop0/loop/backing_file", "/var/lib/snapd/snaps/core_1.snap\n")
				h.mount("7:0", "/snap/core/1", "squashfs", "/dev/loop0")
			}, nvme: free, xhci: free,
		},
		{
			name: "loop over a device", build: func(h *host) {
				h.block(virtual, "loop0", "7:0")
				h.block(virtual+"/loop0", "loop0p1", "259:30")
				h.put("sys/devices/virtual/block/loop0/loop/backing_file", "/dev/nvme0n1p3\n")
				h.mount("259:30", "/mnt", "ext4", "/dev/loop0p1")
			},
			uses: "host-disk: /mnt on loop0p1 on loop0 on nvme0n1p3" + below, nvme: used, xhci: free,
		},
		{
			name: "old table", build: func(h *host) {
				must(h.t, h.Remove("proc/self/mountinfo"))
				h.put("proc/self/mounts", "/dev/nvme0n1p1 /boot\\040efi vfat rw 0 0\nproc /proc proc rw 0 0\n")
			},
			uses: "host-disk: /boot efi on nvme0n1p1" + below, nvme: used, xhci: free,
		},
		{name: "no table", build: func(h *host) { must(h.t, h.Remove("proc/self/mountinfo")) }, nvme: unknown, xhci: free},
		{name: "empty table", build: func(h *host) { h.put("proc/self/mountinfo", "\n") }, nvme: unknown, xhci: free},
		{name: "table of nonsense", build: func(h *host) { h.put("proc/self/mountinfo", "30 1 0:27 / / rw - tmpfs none rw\nnonsense - - -\n") }, nvme: unknown, xhci: free},
		{
			name: "swap without a mount table", build: func(h *host) {
				must(h.t, h.Remove("proc/self/mountinfo"))
				h.swap("/dev/nvme0n1p3")
			},
			uses: "host-disk: swap on nvme0n1p3" + below, nvme: used + " host-disk-unknown", xhci: free,
		},
		{
			name: "no table and a USB disk", build: func(h *host) {
				h.usb(xhci, "1-2", "8/6/80 usb-storage")
				must(h.t, h.Remove("proc/self/mountinfo"))
			}, nvme: unknown, xhci: unknown + " carries",
		},
		{
			name: "no directory of partitions", build: func(h *host) {
				must(h.t, h.Remove("sys/class/block"))
				h.link("../devices/"+nvmeDisk+"/nvme0n1", "sys/block/nvme0n1")
				h.link("../devices/virtual/block/dm-0", "sys/block/dm-0")
				h.put("sys/devices/virtual/block/dm-0/slaves/nvme0n1p3", "")
				h.put("sys/devices/virtual/block/dm-0/dm/name", "root\n")
				h.mount("0:30", "/", "btrfs", "/dev/mapper/root")
				h.mount("259:1", "/boot", "vfat", "/dev/nvme0n1p1")
			},
			uses: "host-disk: / on dm-0 (root) on nvme0n1p3" + below + "host-disk: /boot on nvme0n1p1" + below, nvme: used + " host-disk", xhci: free,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := laptopHost(t)
			if !tt.withoutDisks {
				disk(h)
			}
			tt.build(h)
			l := h.read()
			if diff := cmp.Diff(tt.uses, uses(l)); diff != "" {
				t.Error(diff)
			}
			expect(t, l, "0000:04:00.0", tt.nvme)
			expect(t, l, "0000:00:14.0", tt.xhci)
		})
	}
}

// A disk on USB is carried by the device and by its controller.
func TestUSBDisk(t *testing.T) {
	h := laptopHost(t)
	h.usb(xhci, "1-2", "8/6/80 usb-storage")
	h.usb(xhci, "1-3", "3/1/1 usbhid")
	const dir = xhci + "/usb1/1-2/1-2:1.0/host1/target1:0:0/1:0:0:0/block"
	h.block(dir, "sda", "8:0")
	h.block(dir+"/sda", "sda1", "8:1")
	h.mount("8:1", "/media/x", "ext4", "/dev/sda1")
	l := h.read()
	expect(t, l, "1-2", "refused host-disk usb-alone")
	expect(t, l, "1-3", "unknown only-keyboard usb-alone")
	expect(t, l, "0000:00:14.0", "refused host-disk only-keyboard carries")
	expect(t, l, "0000:04:00.0", "assignable")
	want := []string{"dev/bus/usb/001/001", "dev/sda", "dev/sda1"}
	if diff := cmp.Diff(want, find(t, l, "1-2").Nodes); diff != "" {
		t.Error(diff)
	}
	if nodes := find(t, l, "0000:00:14.0").Nodes; len(nodes) > 0 {
		t.Errorf("the controller has nodes %v", nodes)
	}
}

// Both the VMD controller and the function in its domain carry the disk.
func TestVMD(t *testing.T) {
	h := laptopHost(t)
	const vmd = "pci0000:00/0000:00:0e.0"
	const behind = vmd + "/pci10000:e0/10000:e0:06.0/10000:e1:00.0"
	h.function(vmd, "010400", "vmd", 9)
	h.function(vmd+"/pci10000:e0/10000:e0:06.0", "060400", "pcieport", 9)
	h.function(behind, "010802", "nvme", 9)
	h.block(behind+"/nvme/nvme1", "nvme1n1", "259:7")
	h.mount("259:7", "/", "ext4", "/dev/nvme1n1")
	l := h.read()
	expect(t, l, "0000:00:0e.0", "refused host-disk host-disk companions")
	expect(t, l, "10000:e1:00.0", "refused host-disk host-disk companions")
	expect(t, l, "10000:e0:06.0", "refused bridge")
	if want := []string{"dev/nvme1n1"}; !cmp.Equal(find(t, l, "10000:e1:00.0").Nodes, want) {
		t.Errorf("nodes %v", find(t, l, "10000:e1:00.0").Nodes)
	}
	// What is said of a device itself comes before what is said of the others.
	for _, where := range []string{"0000:00:0e.0", "10000:e1:00.0"} {
		if d := find(t, l, where); d.Findings[0].Device != d.ID() || d.Findings[1].Device == d.ID() {
			t.Errorf("%s: %+v", where, d.Findings)
		}
	}
}

func TestDiskNames(t *testing.T) {
	h := laptopHost(t)
	h.block(nvmeDisk, "cciss!c0d0", "104:0")
	h.mount("0:99", "/", "btrfs", "/dev/cciss/c0d0")
	l := h.read()
	if d := find(t, l, "0000:04:00.0"); codes(d) != "refused host-disk" || len(d.Nodes) != 1 || d.Nodes[0] != "dev/cciss/c0d0" {
		t.Errorf("%s, nodes %v", codes(d), d.Nodes)
	}
}

// The mount table comes from whoever can mount: its text is one printable line.
func TestMountPointText(t *testing.T) {
	h := laptopHost(t)
	h.block(nvmeDisk, "nvme0n1", "259:0")
	h.mount("259:0", `/media/\012`+"\x1b[31m\xff"+strings.Repeat("x", 9000), "ext4", "/dev/nvme0n1")
	l := h.read()
	d := find(t, l, "0000:04:00.0")
	for _, s := range []string{l.Uses[0].What, d.Findings[0].Detail} {
		if !utf8.ValidString(s) || strings.ContainsAny(s, "\n\x1b") || len(s) > 3000 {
			t.Errorf("%.80q of %d bytes", s, len(s))
		}
	}
	if d.Verdict != laptop.Refused {
		t.Error(codes(d))
	}
}
