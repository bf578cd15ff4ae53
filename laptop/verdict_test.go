package laptop_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
)

func TestBootDisplay(t *testing.T) {
	const igpu, dgpu = "pci0000:00/0000:00:02.0", "pci0000:00/0000:00:01.0/0000:01:00.0"
	const free, boot, unknown = "assignable", "refused boot-display", "unknown boot-unknown"
	for _, tt := range []struct {
		name       string
		class      [2]string // igpu, dgpu
		boot       [2]string // boot_vga, empty when it is missing
		panel      [2]string // status of an eDP connector, empty when there is none
		igpu, dgpu string
	}{
		{name: "3D controller", class: [2]string{"030000", "030200"}, boot: [2]string{"1", ""}, igpu: boot, dgpu: free},
		{name: "two VGA", class: [2]string{"030000", "030000"}, boot: [2]string{"0", "1"}, igpu: free, dgpu: boot},
		{name: "VGA of which nothing is said", class: [2]string{"030000", "030000"}, boot: [2]string{"", "0"}, igpu: unknown, dgpu: free},
		{name: "3D controller alone", class: [2]string{"030200", "030200"}, igpu: free, dgpu: free},
		{name: "class 0380, and nobody knows", class: [2]string{"038000", "030200"}, igpu: unknown, dgpu: free},
		{name: "class 0380 beside the boot display", class: [2]string{"038000", "030000"}, boot: [2]string{"", "1"}, igpu: free, dgpu: boot},
		{name: "class 0380 with the panel", class: [2]string{"038000", "030000"}, boot: [2]string{"", "1"}, panel: [2]string{"connected", ""}, igpu: boot, dgpu: boot},
		{name: "panel on another than the boot display", class: [2]string{"030000", "030000"}, boot: [2]string{"1", "0"}, panel: [2]string{"disconnected", "connected"}, igpu: boot, dgpu: boot},
		{name: "panel that may be there", class: [2]string{"030200", "030200"}, panel: [2]string{"unknown", "disconnected"}, igpu: unknown, dgpu: free},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := laptopHost(t)
			for i, path := range []string{igpu, dgpu} {
				h.function(path, tt.class[i], "", 20+i)
				if tt.boot[i] != "" {
					h.put("sys/devices/"+path+"/boot_vga", tt.boot[i]+"\n")
				}
				if tt.panel[i] != "" {
					name := fmt.Sprintf("card%d-eDP-1", i)
					h.put("sys/devices/"+path+"/drm/card/"+name+"/status", tt.panel[i]+"\n")
					h.link("../../devices/"+path+"/drm/card/"+name, "sys/class/drm/"+name)
				}
			}
			l := h.read()
			expect(t, l, "0000:00:02.0", tt.igpu)
			expect(t, l, "0000:01:00.0", tt.dgpu)
			if find(t, l, "0000:00:02.0").Display == nil || find(t, l, "0000:04:00.0").Display != nil {
				t.Error("the displays are at the wrong functions")
			}
		})
	}
}

// On AMD a host bridge without a driver sits beside each root port, in one group
// with what is behind it. On Intel one may have a driver that must let go.
func TestHostBridges(t *testing.T) {
	h := laptopHost(t)
	h.function("pci0000:00/0000:00:01.0", "060000", "", 30)
	h.function("pci0000:00/0000:00:01.1", "060400", "pcieport", 30)
	h.function("pci0000:00/0000:00:01.1/0000:01:00.0", "030200", "nouveau", 30)
	h.function("pci0000:00/0000:00:1f.0", "060100", "lpc_ich", 33)
	h.function("pci0000:00/0000:00:1f.2", "010601", "ahci", 33)
	h.function("pci0000:00/0000:00:00.0", "060000", "igen6_edac", 31)
	h.function("pci0000:00/0000:00:0a.0", "118000", "intel_vsec", 31)
	h.function("pci0000:00/0000:00:0b.0", "068000", "nvidia-nvswitch", 32)
	l := h.read()
	expect(t, l, "0000:00:01.0", "refused bridge")
	expect(t, l, "0000:00:01.1", "refused bridge")
	expect(t, l, "0000:01:00.0", "assignable")
	expect(t, l, "0000:00:00.0", "refused bridge")
	expect(t, l, "0000:00:0a.0", "with-companions companions")
	expect(t, l, "0000:00:0b.0", "assignable")
	for id, want := range map[uint32]string{30: "[0000:01:00.0]", 31: "[0000:00:00.0 0000:00:0a.0]", 33: "[0000:00:1f.0 0000:00:1f.2]"} {
		if got := fmt.Sprint(l.Endpoints(l.Group(pci.NewGroupID(id)))); got != want {
			t.Errorf("group %d: %s, want %s", id, got, want)
		}
	}
}

func TestViable(t *testing.T) {
	for _, tt := range []struct {
		drivers string
		want    iommu.Answer
	}{
		{"pcieport - vfio-pci", iommu.Yes},
		{"pcieport pci-stub mlx5_vfio_pci", iommu.Yes},
		{"vfio_pci xe-vfio-pci nvgrace_gpu_vfio_pci", iommu.Yes},
		{"- - -", iommu.Yes},
		{"pcieport e1000e vfio-pci", iommu.No},
		{"pcieport snd_hda_intel -", iommu.No},
		{"shpchp - -", iommu.No},                             // it says nothing of DMA to the kernel
		{"igen6_edac - -", iommu.No},                         // nor does that of a host bridge
		{"qat_vfio_pci virtio-vfio-pci pci_stub", iommu.Yes}, // modules' names have _ for -
		{"vfio-platform - -", iommu.No},                      // not one of the PCI bus
	} {
		h := newHost(t)
		for i, d := range strings.Fields(tt.drivers) {
			h.function(fmt.Sprintf("pci0000:00/0000:00:05.%d", i), "020000", strings.Trim(d, "-"), 0)
		}
		l, _ := laptop.Read(h)
		if got := l.Viable(l.Group(pci.NewGroupID(0))); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.drivers, got, tt.want)
		}
		h.put("sys/kernel/iommu_groups/0/devices/AMDI0020:00", "")
		l, _ = laptop.Read(h)
		if got := l.Viable(l.Group(pci.NewGroupID(0))); got == iommu.Yes {
			t.Errorf("%s: viable in spite of a stranger", tt.drivers)
		}
	}
}

func TestIsolation(t *testing.T) {
	for _, tt := range []struct {
		name  string
		build func(*host)
		want  string // of the NVMe
	}{
		{"as usual", func(h *host) {}, "assignable"},
		{"remapping off", func(h *host) { h.put("proc/interrupts", " 16: 5 PCI-MSI-0000:04:00.0 0-edge nvme0q0\n") }, "refused no-remapping"},
		{"remapping unknown", func(h *host) { must(h.t, h.Remove("proc/interrupts")) }, "assignable"},
		{"reset of the bus, beside one with which it does not work", func(h *host) {
			h.put("sys/devices/"+nvme+"/reset_method", "bus\n")
			h.function("pci0000:00/0000:00:1d.0/0000:04:00.1", "028000", "", 2)
			h.put("sys/devices/pci0000:00/0000:00:1d.0/0000:04:00.1/uevent", "PCI_CLASS=28000\nPCI_ID=168C:003E\n")
		}, "refused no-reset no-reset companions"},
		{"in no group", func(h *host) {
			must(h.t, h.Remove("sys/devices/"+nvme+"/iommu_group"))
			must(h.t, h.Remove("sys/kernel/iommu_groups/2"))
		}, "refused no-group"},
		{"no groups", func(h *host) {
			for _, f := range []string{nvme, xhci, "pci0000:00/0000:00:1d.0"} {
				must(h.t, h.Remove("sys/devices/"+f+"/iommu_group"))
			}
			must(h.t, h.Remove("sys/kernel/iommu_groups"))
			must(h.t, h.Mkdir("sys/kernel/iommu_groups"))
		}, "refused no-iommu"},
		{"groups not stated", func(h *host) {
			for _, f := range []string{nvme, xhci, "pci0000:00/0000:00:1d.0"} {
				must(h.t, h.Remove("sys/devices/"+f+"/iommu_group"))
			}
			must(h.t, h.Remove("sys/kernel/iommu_groups"))
		}, "unknown group-unknown"},
		{"no-IOMMU mode", func(h *host) {
			must(h.t, h.Remove("sys/class/iommu"))
			for _, g := range []string{"1", "2", "3"} {
				h.put("sys/kernel/iommu_groups/"+g+"/name", "vfio-noiommu\n")
			}
		}, "refused no-iommu-mode"},
		{"no-IOMMU mode for what no unit covers", func(h *host) {
			h.put("sys/devices/"+nvme+"/uevent", "DRIVER=vfio-pci\nPCI_CLASS=10802\nPCI_ID=8086:1234\n")
			h.put("sys/kernel/iommu_groups/2/name", "vfio-noiommu\n")
		}, "refused no-iommu-mode"},
		{"stranger in the group", func(h *host) { h.put("sys/kernel/iommu_groups/2/devices/AMDI0020:00", "") }, "unknown group-others"},
		{"member nobody knows", func(h *host) { h.put("sys/kernel/iommu_groups/2/devices/0000:09:00.0", "") }, "unknown group-unknown companions"},
		{"remapping off, and VFIO was told not to mind", func(h *host) {
			h.put("proc/interrupts", " 16: 5 PCI-MSI-0000:04:00.0 0-edge nvme0q0\n")
			h.put("sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "Y\n")
		}, "refused unsafe-interrupts"},
		{"the same of iommufd", func(h *host) {
			h.put("proc/interrupts", " 16: 5 PCI-MSI-0000:04:00.0 0-edge nvme0q0\n")
			h.put("sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "N\n")
			h.put("sys/module/iommufd/parameters/allow_unsafe_interrupts", "Y\n")
		}, "refused unsafe-interrupts"},
		{"remapping off, and VFIO minds", func(h *host) {
			h.put("proc/interrupts", " 16: 5 PCI-MSI-0000:04:00.0 0-edge nvme0q0\n")
			h.put("sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "N\n")
		}, "refused no-remapping"},
		{"remapping unknown, and VFIO was told not to mind", func(h *host) {
			must(h.t, h.Remove("proc/interrupts"))
			h.put("sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "Y\n")
		}, "unknown unsafe-interrupts"},
		{"remapping on, and VFIO was told not to mind", func(h *host) {
			h.put("sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "Y\n")
		}, "assignable"},
		{"ACS override", func(h *host) { h.put("proc/cmdline", "quiet pcie_acs_override=downstream,multifunction\n") }, "refused acs-override"},
		{"ACS override, as the kernel reads names", func(h *host) { h.put("proc/cmdline", "quiet pcie-acs-override=downstream\n") }, "refused acs-override"},
		{"ACS override of init's", func(h *host) { h.put("proc/cmdline", "quiet -- pcie_acs_override=downstream\n") }, "assignable"},
		{"the firmware's memory", func(h *host) {
			h.put("sys/kernel/iommu_groups/2/reserved_regions", "0x00000000fee00000 0x00000000feefffff msi\n0x000000008b000000 0x000000008f7fffff direct\n")
		}, "refused reserved-direct"},
		{"the firmware's memory, to be given up", func(h *host) {
			h.put("sys/kernel/iommu_groups/2/reserved_regions", "0x000000008b000000 0x000000008f7fffff direct-relaxable\n0x00000000fee00000 0x00000000feefffff msi\n0x000000fd00000000 0x000000ffffffffff reserved\n")
		}, "assignable"},
		{"an identity domain", func(h *host) { h.put("sys/kernel/iommu_groups/2/type", "identity\n") }, "assignable"},
		{"refused by vfio-pci", func(h *host) {
			h.put("sys/devices/"+nvme+"/uevent", "DRIVER=c6xx\nPCI_CLASS=B4000\nPCI_ID=8086:37C8\n")
		}, "refused vfio-denied"},
		{"refused by vfio-pci, but it was told not to", func(h *host) {
			h.put("sys/devices/"+nvme+"/uevent", "DRIVER=c6xx\nPCI_CLASS=B4000\nPCI_ID=8086:37C8\n")
			h.put("sys/module/vfio_pci/parameters/disable_denylist", "Y\n")
		}, "assignable vfio-denied"},
		{"a bridge with a driver that does DMA", func(h *host) { h.function("pci0000:00/0000:00:1c.0", "060400", "shpchp", 2) }, "refused not-viable"},
		{"a bridge with the kernel's", func(h *host) { h.function("pci0000:00/0000:00:1c.0", "060400", "pcieport", 2) }, "assignable"},
		{"no reset", func(h *host) { h.put("sys/devices/"+xhci+"/reset_method", "flr\n") }, "refused no-reset"},
		{"resets taken away", func(h *host) { h.put("sys/devices/"+nvme+"/reset_method", "\n") }, "refused no-reset"},
		{"reset of the bus, alone there", func(h *host) { h.put("sys/devices/"+nvme+"/reset_method", "bus\n") }, "assignable"},
		{"reset of the bus, beside a function of another group", func(h *host) {
			h.put("sys/devices/"+nvme+"/reset_method", "bus\n")
			h.function("pci0000:00/0000:00:1d.0/0000:04:00.1", "040300", "", 5)
		}, "refused no-reset"},
		{"reset of the bus, beside a function of the group", func(h *host) {
			h.put("sys/devices/"+nvme+"/reset_method", "bus\n")
			h.function("pci0000:00/0000:00:1d.0/0000:04:00.1", "040300", "", 2)
		}, "with-companions companions"},
		{"by way of D3hot, beside a function of another group", func(h *host) {
			h.put("sys/devices/"+nvme+"/reset_method", "pm bus\n")
			h.function("pci0000:00/0000:00:1d.0/0000:04:00.1", "040300", "", 5)
		}, "assignable"},
		{"no list of members", func(h *host) { must(h.t, h.Remove("sys/kernel/iommu_groups")) }, "unknown group-unknown"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := laptopHost(t)
			tt.build(h)
			l := h.read()
			expect(t, l, "0000:04:00.0", tt.want)
			if enabled := !strings.Contains(tt.want, "no-iommu") && tt.name != "groups not stated" || tt.name == "no-IOMMU mode for what no unit covers"; l.IOMMU.Enabled != enabled {
				t.Errorf("IOMMU enabled: %v", l.IOMMU.Enabled)
			}
		})
	}
}

// A function whose class cannot be read may be anything.
func TestUnknownClass(t *testing.T) {
	h := laptopHost(t)
	h.put("sys/devices/"+nvme+"/uevent", "DRIVER=nvme\n")
	l, err := laptop.Read(h)
	check(t, l)
	if err == nil {
		t.Error("no error")
	}
	expect(t, l, "0000:04:00.0", "unknown partly-read")
	expect(t, l, "0000:00:14.0", "assignable")
}

// What one member of a group is needed for speaks against all of them.
func TestWholeGroup(t *testing.T) {
	h := laptopHost(t)
	h.function("pci0000:00/0000:00:1f.6", "020000", "e1000e", 7)
	h.function("pci0000:00/0000:00:1f.3", "040300", "snd_hda_intel", 7)
	h.function("pci0000:00/0000:00:1f.0", "060100", "", 7) // stays
	h.function("pci0000:00/0000:00:1f.4", "0c0500", "i801_smbus", 7)
	h.net("pci0000:00/0000:00:1f.6", "eth0")
	h.route("eth0", "00000000", "00000000")
	l := h.read()
	expect(t, l, "0000:00:1f.3", "refused default-route companions")
	d := find(t, l, "0000:00:1f.3")
	if d.Findings[0].Device != "pci:0000:00:1f.6" || d.Findings[1].Device != d.ID() {
		t.Errorf("%+v", d.Findings)
	}
	if want := "group 7 changes hands as one, with 0000:00:1f.4, 0000:00:1f.6"; d.Findings[1].Detail != want {
		t.Errorf("%q", d.Findings[1].Detail)
	}
}

// A group of thousands costs each of them a bounded list of reasons, in which
// every kind of reason is still there.
func TestLargeGroup(t *testing.T) {
	h := newHost(t)
	h.route("eth0", "00000000", "00000000")
	const count = 4000
	for i := range count {
		h.function("pci0000:00/"+pci.NewAddress(0, uint8(i>>8), uint8(i>>3&31), uint8(i&7)).String(), "010802", "nvme", 0)
	}
	last := "pci0000:00/" + pci.NewAddress(0, 0xff, 0, 0).String()
	h.function(last, "020000", "e1000e", 0)
	h.net(last, "eth0")
	l := h.read()
	total := 0
	for i := range l.Devices {
		d := &l.Devices[i]
		if d.Verdict != laptop.Refused {
			t.Fatal(codes(d))
		}
		for _, f := range d.Findings {
			total += len(f.Detail)
		}
	}
	if total > count*20000 {
		t.Errorf("%d bytes of findings", total)
	}
	d := &l.Devices[0]
	if f := d.Findings[len(d.Findings)-1]; !strings.HasSuffix(f.Detail, " and 3968 more") {
		t.Errorf("%q", f.Detail)
	}
}

func TestOverridable(t *testing.T) {
	for code, want := range map[laptop.Code]bool{
		laptop.NoReset: true, laptop.ACSOverride: true, laptop.UnsafeInterrupts: true, laptop.NoRemapping: false, laptop.ReservedDirect: false,
		laptop.VFIODenied: false, laptop.NotViable: false, laptop.VirtualInUse: false,
		laptop.HostDisk: true, laptop.BootDisplay: true, laptop.NoIOMMU: false, laptop.Bridge: false, laptop.NoIOMMUMode: false, laptop.Partial: false, laptop.GroupOthers: true} {
		if code.Overridable() != want {
			t.Errorf("%s: %v", code, !want)
		}
	}
}

func TestDevice(t *testing.T) {
	h := laptopHost(t)
	h.usb(xhci, "1-5", "3/1/1 usbhid", "255/0/0 cdc", "3/1/2 usbhid")
	h.put("sys/devices/"+xhci+"/usb1/1-5/sound/card2/id", "USB\n")
	h.link("../../devices/"+xhci+"/usb1/1-5/sound/card2", "sys/class/sound/card2")
	h.link("../../devices/"+xhci+"/usb1/1-5/sound/card2/controlC2", "sys/class/sound/controlC2")
	l := h.read()
	u, p := find(t, l, "1-5"), find(t, l, "0000:04:00.0")
	got := []string{u.Bus(), u.Where(), u.ID(), u.Driver(), u.Group().String(), p.Bus(), p.Where(), p.ID(), p.Driver(), p.Group().String()}
	want := []string{"usb", "1-5", "usb:1-5", "usbhid,cdc", "none", "pci", "0000:04:00.0", "pci:0000:04:00.0", "nvme", "2"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"dev/bus/usb/001/001", "dev/snd/controlC2"}, u.Nodes); diff != "" {
		t.Error(diff)
	}
	if l.Function(pci.NewAddress(0, 9, 0, 0)) != nil || l.Group(pci.NewGroupID(99)) != nil || l.Group(pci.GroupID{}) != nil {
		t.Error("found what is not there")
	}
}

// A machine without any of it is an empty one.
func TestNothing(t *testing.T) {
	h := newHost(t)
	must(t, h.Remove("sys"))
	if l := h.read(); len(l.Devices)+len(l.Groups)+len(l.Uses) > 0 || l.IOMMU.Enabled {
		t.Errorf("%+v", l)
	}
}
