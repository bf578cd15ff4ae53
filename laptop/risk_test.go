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

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
)

// unit says how wide the addresses are that the IOMMU translates, and for which devices:
// in the capability register of an Intel unit, MGAW and tables of every depth.
func (h *host) unit(bits int, devices ...string) {
	h.t.Helper()
	const dir = "sys/devices/virtual/iommu/dmar0/"
	h.put(dir+"intel-iommu/cap", fmt.Sprintf("%x\n", (bits-1)<<16|0xe<<8))
	for _, d := range devices {
		h.put(dir+"devices/"+d, "")
	}
}

// twoKeyboards plugs one into each of two USB controllers.
func twoKeyboards(h *host) {
	const other = "pci0000:00/0000:00:15.0"
	h.function(other, "0c0330", "xhci_hcd", 9)
	h.put("sys/devices/"+other+"/reset_method", "flr\n")
	h.keyboardOn(xhci, "1-3", "input7")
	h.keyboardOn(other, "3-1", "input8")
}

// risks are the findings of the named functions together, one a line:
// "warning external 0000:04:00.0".
func risks(t testing.TB, fsys fs.FS, l *laptop.Laptop, where ...string) (string, []laptop.Finding) {
	t.Helper()
	var devices []*laptop.Device
	for _, w := range where {
		devices = append(devices, find(t, l, w))
	}
	findings, err := laptop.Risks(fsys, l, devices)
	must(t, err)
	var lines []string
	for _, f := range findings {
		if f.Detail == "" || f.Evidence == "" || strings.ContainsAny(f.Detail+f.Evidence+f.Remedy, "\n\x1b") || !strings.HasPrefix(f.Evidence, "/") {
			t.Errorf("incomplete: %+v", f)
		}
		lines = append(lines, fmt.Sprint(f.Severity, " ", f.Code, " ", strings.TrimPrefix(f.Device, "pci:")))
	}
	return strings.Join(lines, "\n"), findings
}

func TestRisks(t *testing.T) {
	const port = "pci0000:00/0000:00:1d.0/"
	const dir = "sys/devices/" + nvme + "/"
	for _, tt := range []struct {
		name  string
		build func(*host)
		where string
		want  string
		says  string // in the detail of the first
	}{
		{name: "as usual", build: func(*host) {}},
		{name: "no word of resets", build: func(h *host) {
			must(h.t, errors.Join(h.Remove(dir+"reset_method"), h.Remove("sys/devices/"+xhci+"/reset_method")))
		},
			want: "warning no-reset 0000:04:00.0", says: "is not stated"},
		{name: "no reset", build: func(h *host) {
			must(h.t, h.Remove(dir+"reset_method"))
			h.put("sys/devices/"+xhci+"/reset_method", "flr\n")
		}, want: "block no-reset 0000:04:00.0", says: "the kernel knows no way to reset 0000:04:00.0"},
		{name: "two on a bus", build: func(h *host) {
			h.put(dir+"reset_method", "bus\n")
			h.function(port+"0000:04:00.1", "040300", "", 5)
		}, want: "block no-reset 0000:04:00.0", says: "0000:04:00.1 on it would not be handed over"},
		{name: "both of two on a bus", where: "0000:04:00.0 0000:04:00.1", build: func(h *host) {
			h.put(dir+"reset_method", "bus\n")
			h.function(port+"0000:04:00.1", "040300", "", 5)
		}, want: "info reset-set 0000:04:00.0\ninfo reset-set 0000:04:00.1", says: "which is reset if one guest has all of it: 0000:04:00.0, 0000:04:00.1"},
		{name: "beside a bridge", build: func(h *host) {
			h.put(dir+"reset_method", "bus\n")
			h.function(port+"0000:04:00.1", "060400", "pcieport", 5)
			h.function(port+"0000:04:00.1/0000:05:00.0", "020000", "", 6)
		}, want: "block no-reset 0000:04:00.0", says: "0000:04:00.1, 0000:05:00.0 on it would not be handed over"},
		{name: "pm alone", build: func(h *host) {
			h.put(dir+"reset_method", "pm bus\n")
			h.function(port+"0000:04:00.1", "040300", "", 5)
		}, want: "info reset-set 0000:04:00.0", says: "a reset of its bus would also affect 0000:04:00.1"},
		{name: "bus reset does not work", build: func(h *host) {
			h.put(dir+"reset_method", "\n")
			h.put(dir+"uevent", "PCI_CLASS=28000\nPCI_ID=168C:003E\n")
		}, want: "block no-reset 0000:04:00.0", says: "a reset of its bus does not work with 0000:04:00.0"},
		{name: "virtual functions", build: func(h *host) {
			h.put(dir+"sriov_numvfs", "2\n")
			for i, driver := range []string{"vfio-pci", "igbvf"} {
				vf := fmt.Sprintf("0000:04:10.%d", i)
				h.function(port+vf, "020000", driver, 8+i)
				h.link("../"+vf, fmt.Sprintf(dir+"virtfn%d", i))
				h.link("../0000:04:00.0", "sys/devices/"+port+vf+"/physfn")
			}
		}, want: "block virtual-in-use 0000:04:00.0", says: "2 virtual functions enabled, which would vanish; 0000:04:10.0 of them"},
		{name: "a virtual function", where: "0000:04:10.0", build: func(h *host) {
			h.function(port+"0000:04:10.0", "020000", "igbvf", 8)
			h.put("sys/devices/"+port+"0000:04:10.0/reset_method", "flr\n")
			h.link("../0000:04:00.0", "sys/devices/"+port+"0000:04:10.0/physfn")
		}, want: "info virtual-function 0000:04:10.0", says: "virtual function of 0000:04:00.0"},
		{name: "no power", build: func(h *host) { h.put(dir+"power_state", "D3cold\n") },
			want: "info d3cold 0000:04:00.0"},
		{name: "in D3hot", build: func(h *host) { h.put(dir+"power_state", "D3hot\n") }},
		{name: "behind Thunderbolt", build: func(h *host) { h.put(dir+"removable", "removable\n") },
			want: "warning external 0000:04:00.0"},
		{name: "soldered", build: func(h *host) { h.put(dir+"removable", "fixed\n") }},
		{name: "locked down", build: func(h *host) { h.put("sys/kernel/security/lockdown", "none [integrity] confidentiality\n") },
			want: "info lockdown 0000:04:00.0", says: "(integrity)"},
		{name: "not locked down", build: func(h *host) { h.put("sys/kernel/security/lockdown", "[none] integrity confidentiality\n") }},
		{name: "ACS set by argument", build: func(h *host) {
			h.put("proc/cmdline", "quiet pci=noaer,config_acs=10x@pci:0:0 \"pci=disable_acs_redir=0000:00:1d.0\"\n")
		}, want: "warning acs-configured 0000:04:00.0\nwarning acs-configured 0000:04:00.0", says: "pci=config_acs=10x@pci:0:0"},
		{name: "unsafe interrupts for nothing", build: func(h *host) {
			h.put("sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "Y\n")
		}, want: "info unsafe-interrupts 0000:04:00.0", says: "they are"},
		{name: "header of a bridge", build: func(h *host) { h.put(dir+"secondary_bus_number", "5\n") },
			want: "block bridge 0000:04:00.0"},
		{name: "switch of GPUs", build: func(h *host) { h.put(dir+"uevent", "PCI_CLASS=68000\nPCI_ID=10DE:1AF1\n") }},
		{name: "large BARs", build: func(h *host) {
			h.put(dir+"resource", "0x0000002000000000 0x0000002fffffffff 0x000000000014220c\n")
			h.put("proc/cpuinfo", "processor\t: 0\naddress sizes\t: 36 bits physical, 48 bits virtual\n")
		}, want: "warning bar-width 0000:04:00.0", says: "leave no room"},
		{name: "BARs larger than what OVMF offers", build: func(h *host) {
			h.put(dir+"resource", "0x0000002000000000 0x00000023ffffffff 0x000000000014220c\n")
			h.put("proc/cpuinfo", "address sizes\t: 36 bits physical, 48 bits virtual\n")
		}, want: "warning bar-width 0000:04:00.0", says: "need 16 GiB above 4 GiB in the guest, and its firmware offers 8 GiB"},
		{name: "BARs that fit", build: func(h *host) {
			h.put(dir+"resource", "0x0000002000000000 0x00000023ffffffff 0x000000000014220c\n")
			h.put("proc/cpuinfo", "address sizes\t: 39 bits physical, 48 bits virtual\n")
		}},
		{name: "the only keyboards, two", where: "0000:00:14.0 0000:00:15.0", build: twoKeyboards,
			want: "block only-keyboard 0000:00:14.0", says: "together they take the host's only keyboards along: Keys (usb:1-3), Keys (usb:3-1)"},
		{name: "one of two keyboards", where: "0000:00:14.0 0000:04:00.0", build: twoKeyboards},
		{name: "two keyboards and one that stays", where: "0000:00:14.0 0000:00:15.0", build: func(h *host) {
			twoKeyboards(h)
			h.ps2()
		}},
		{name: "two keyboards and what may be one", where: "0000:00:14.0 0000:00:15.0", build: func(h *host) {
			twoKeyboards(h)
			h.input(i8042+"/input/input3", "AT keyboard", "")
		}, want: "unknown only-keyboard 0000:00:14.0"},
		{name: "mounted in another namespace", build: func(h *host) {
			h.block(nvme+"/nvme/nvme0", "nvme0n1", "259:0")
			h.put("proc/77/mountinfo", "30 1 259:0 / /data rw - ext4 /dev/nvme0n1 rw\n")
		}, want: "block host-disk 0000:04:00.0", says: "0000:04:00.0 carries a disk the host is using: /data in the mount namespace of process 77 on nvme0n1"},
		{name: "mounted in another namespace, of what is not known", build: func(h *host) {
			h.put("proc/77/mountinfo", "30 1 8:1 / /data rw - ext4 /dev/sda1 rw\n")
		}, want: "unknown host-disk-unknown 0000:04:00.0", says: "/data in the mount namespace of process 77"},
		{name: "of no matter to what carries no disk", where: "0000:00:14.0", build: func(h *host) {
			h.put("proc/77/mountinfo", "30 1 8:1 / /data rw - ext4 /dev/sda1 rw\n")
		}},
		{name: "an IOMMU of fewer bits than the processor", build: func(h *host) {
			h.unit(39, "0000:04:00.0")
			h.put("proc/cpuinfo", "address sizes\t: 46 bits physical, 48 bits virtual\n")
		}, want: "info address-width 0000:04:00.0", says: "translates addresses of 39 bits, the processor has 46"},
		{name: "BARs larger than what the IOMMU leaves", build: func(h *host) {
			h.put(dir+"resource", "0x0000002000000000 0x0000002fffffffff 0x000000000014220c\n")
			h.unit(36, "0000:04:00.0")
			h.put("proc/cpuinfo", "address sizes\t: 46 bits physical, 48 bits virtual\n")
		}, want: "info address-width 0000:04:00.0\nwarning bar-width 0000:04:00.0"},
		{name: "BARs larger than what the IOMMU leaves, and no word of the processor", build: func(h *host) {
			h.put(dir+"resource", "0x0000002000000000 0x0000002fffffffff 0x000000000014220c\n")
			h.unit(36, "0000:04:00.0")
		}, want: "warning bar-width 0000:04:00.0", says: "36 bits of address leave no room"},
		{name: "an IOMMU of fewer bits for another device", build: func(h *host) {
			h.unit(39, "0000:00:14.0")
			h.put("proc/cpuinfo", "address sizes\t: 46 bits physical, 48 bits virtual\n")
		}},
		{name: "an IOMMU of more bits than the processor", build: func(h *host) {
			h.unit(48, "0000:04:00.0")
			h.put("proc/cpuinfo", "address sizes\t: 39 bits physical, 48 bits virtual\n")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := laptopHost(t)
			h.put(dir+"reset_method", "flr bus\n")
			h.put("sys/devices/"+xhci+"/reset_method", "flr\n")
			tt.build(h)
			l, err := laptop.Read(h)
			must(t, err)
			if tt.where == "" {
				tt.where = "0000:04:00.0"
			}
			got, findings := risks(t, h, l, strings.Fields(tt.where)...)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Fatalf("%s", diff)
			}
			if tt.says != "" && !strings.Contains(findings[0].Detail, tt.says) {
				t.Errorf("%q does not say %q", findings[0].Detail, tt.says)
			}
		})
	}
}

// The verdict on one device with all that is known of it is that of a plan.
func TestJudge(t *testing.T) {
	h := laptopHost(t)
	h.function("pci0000:00/0000:00:1f.3", "040300", "snd_hda_intel", 7)
	h.function("pci0000:00/0000:00:1f.4", "0c0500", "i801_smbus", 7)
	h.put("sys/devices/"+nvme+"/reset_method", "flr\n")
	l := h.read()
	for _, tt := range []struct{ where, want string }{
		{"0000:04:00.0", "assignable"},
		{"0000:00:1f.3", "refused companions no-reset no-reset"},
		{"0000:00:1d.0", "refused bridge"},
	} {
		d := find(t, l, tt.where)
		v, findings, err := laptop.Judge(h, l, d)
		if got := codes(&laptop.Device{Verdict: v, Findings: findings}); err != nil || got != tt.want {
			t.Errorf("%s: %s, %v, want %s", tt.where, got, err, tt.want)
		}
	}
	h.link("../0000:04:10.0", "sys/devices/"+nvme+"/virtfn0")
	d := find(t, l, "0000:04:00.0")
	if v, findings, _ := laptop.Judge(h, l, d); v != laptop.Refused || d.Verdict != laptop.Assignable || findings[0].Code != laptop.VirtualInUse {
		t.Errorf("with virtual functions: %s, %v", v, findings)
	}
	// A listing says the same, and what both say is said once.
	for name, want := range map[string]string{"virtfn0": "refused virtual-in-use", "secondary_bus_number": "refused bridge"} {
		h := laptopHost(t)
		h.put("sys/devices/"+nvme+"/reset_method", "flr\n")
		if name == "virtfn0" {
			h.link("../0000:04:10.0", "sys/devices/"+nvme+"/virtfn0")
		} else {
			h.put("sys/devices/"+nvme+"/"+name, "5\n")
		}
		l := h.read()
		d := find(t, l, "0000:04:00.0")
		v, findings, err := laptop.Judge(h, l, d)
		if got := codes(&laptop.Device{Verdict: v, Findings: findings}); err != nil || got != want || codes(d) != want {
			t.Errorf("%s: %s in a listing, %s by itself, %v, want %s", name, codes(d), got, err, want)
		}
	}
}

func TestGraphicsRisks(t *testing.T) {
	const igpu, card = "pci0000:00/0000:00:02.0", "pci0000:00/0000:00:01.0/0000:01:00.0"
	h := laptopHost(t)
	h.function("pci0000:00/0000:00:01.0", "060400", "pcieport", 1)
	h.function(igpu, "030000", "i915", 20)
	h.function(card, "030000", "", 21)
	h.put("sys/devices/"+igpu+"/uevent", "DRIVER=i915\nPCI_CLASS=30000\nPCI_ID=8086:9A49\n")
	h.put("sys/devices/"+card+"/uevent", "PCI_CLASS=30000\nPCI_ID=1002:731F\n")
	for _, d := range []string{igpu, card} {
		h.put("sys/devices/"+d+"/reset_method", "flr bus\n")
		h.put("sys/devices/"+d+"/boot_vga", "0\n")
	}
	h.put("proc/iomem", "60000000-6fffffff : PCI Bus 0000:01\n  60000000-6fffffff : 0000:01:00.0\n    60000000-607fffff : simple-framebuffer\n")
	l := h.read()
	got, findings := risks(t, h, l, "0000:00:02.0", "0000:01:00.0")
	if want := "warning igd 0000:00:02.0\nwarning boot-framebuffer 0000:01:00.0\nwarning vendor-reset 0000:01:00.0"; got != want {
		t.Fatal(got)
	}
	for i, want := range []string{"(Tiger Lake), which is more than a PCI device: the guest needs a copy of the firmware's OpRegion, memory of its own in place of the stolen memory (register 0xc0, 64 bits)",
		"simple-framebuffer holds the firmware's framebuffer in the memory of 0000:01:00.0", "(Navi 10) comes back from no reset"} {
		if !strings.Contains(findings[i].Detail, want) {
			t.Errorf("%q does not say %q", findings[i].Detail, want)
		}
	}
	// With vendor-reset loaded, and a driver of its own in place of the firmware's.
	h.put("sys/devices/"+card+"/reset_method", "device_specific flr bus\n")
	h.put("proc/iomem", "60000000-6fffffff : PCI Bus 0000:01\n  60000000-6fffffff : 0000:01:00.0\n")
	if got, _ := risks(t, h, l, "0000:01:00.0"); got != "" {
		t.Error(got)
	}
}

// What cannot be read is an error, and what is there is said all the same. Of what only
// warns, that it could not be read is a warning, too.
func TestRisksUnread(t *testing.T) {
	h := laptopHost(t)
	h.put("sys/devices/"+nvme+"/removable", "removable\n")
	for _, name := range []string{"reset_method", "virtfn0", "power_state", "physfn"} {
		l := h.read()
		broken := hosttest.Failing{Tree: h.Tree, Fail: func(n string) error {
			if strings.HasSuffix(n, "0000:04:00.0/"+name) {
				return syscall.EIO
			}
			return nil
		}}
		findings, err := laptop.Risks(broken, l, []*laptop.Device{find(t, l, "0000:04:00.0")})
		if name == "power_state" || name == "physfn" {
			if err != nil || !slices.ContainsFunc(findings, func(f laptop.Finding) bool {
				return f.Code == laptop.Partial && f.Severity == laptop.Warning && strings.HasSuffix(f.Evidence, "/"+name)
			}) {
				t.Errorf("%s: %v, %v", name, findings, err)
			}
			err = syscall.EIO
		}
		if !errors.Is(err, syscall.EIO) || len(findings) == 0 || findings[len(findings)-1].Code != laptop.External {
			t.Errorf("%s: %v, %v", name, findings, err)
		}
	}
	l := h.read()
	if findings, err := laptop.Risks(h, l, []*laptop.Device{{PCI: nil}}); len(findings) != 0 || err != nil {
		t.Errorf("of no function: %v, %v", findings, err)
	}
}

func TestObstacles(t *testing.T) {
	h := newHost(t)
	for i, f := range []struct{ class, driver string }{
		{"060400", "pcieport"}, {"060400", "shpchp"}, {"060000", "skl_uncore"}, {"010802", "nvme"}, {"020000", "vfio-pci"}, {"030000", ""}, {"068000", "nvidia-nvswitch"},
	} {
		h.function(fmt.Sprintf("pci0000:00/0000:00:05.%d", i), f.class, f.driver, 0)
	}
	l, err := laptop.Read(h)
	must(t, err)
	var got []string
	for _, f := range l.Obstacles(l.Group(pci.NewGroupID(0))) {
		if f.Code != laptop.NotViable || f.Detail == "" || f.Remedy == "" || !strings.HasSuffix(f.Evidence, "/driver") {
			t.Errorf("%+v", f)
		}
		got = append(got, string(f.Severity)+" "+f.Device)
	}
	want := []string{"block pci:0000:00:05.1", "info pci:0000:00:05.2", "info pci:0000:00:05.3", "info pci:0000:00:05.6"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestAddressWidth(t *testing.T) {
	for _, tt := range []struct {
		cpuinfo string
		want    int
	}{
		{"processor : 0\naddress sizes\t: 39 bits physical, 48 bits virtual\n", 39},
		{"address sizes\t: 52 bits physical, 57 bits virtual\n", 52},
		{"processor : 0\n", 0},
		{"address sizes : many\n", 0},
		{"address sizes : 3 bits physical\n", 0},
	} {
		h := newHost(t)
		h.put("proc/cpuinfo", tt.cpuinfo)
		got, err := laptop.ReadAddressWidth(h)
		if got != tt.want || (err == nil) != (tt.want != 0) {
			t.Errorf("%q: %d, %v", tt.cpuinfo, got, err)
		}
	}
	if _, err := laptop.ReadAddressWidth(newHost(t)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	need, offered := laptop.BARWindow([]pci.BAR{{Kind: pci.KindBAR, Is64: true, Size: 24 << 30}}, 39)
	if need != 32<<30 || offered != 64<<30 {
		t.Errorf("%d, %d", need, offered)
	}
	if _, offered := laptop.BARWindow(nil, 0); offered != 1 {
		t.Errorf("%d", offered)
	}
}

// TestRisksOfHosts reads what there is to say of every function of every machine.
func TestRisksOfHosts(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(hosttest.Shared(t, "hosts"), "*.txtar"))
	must(t, err)
	more, _ := filepath.Glob(filepath.Join(hosttest.Root(t), "testdata", "hosts", "*.txtar"))
	files = append(files, more...)
	count := map[laptop.Code]int{}
	for _, file := range files {
		fsys := open(t, file)
		l, err := laptop.Read(fsys)
		must(t, err)
		for i := range l.Groups {
			var where []string
			for _, a := range l.Endpoints(&l.Groups[i]) {
				where = append(where, a.String())
			}
			_, findings := risks(t, fsys, l, where...)
			for _, f := range findings {
				count[f.Code]++
				// A listing that refuses for want of a reset gives the reason that a plan would.
				if f.Code == laptop.NoReset && f.Severity == laptop.Block {
					d := l.Device(f.Device)
					if d.Verdict != laptop.Refused {
						t.Errorf("%s: %s is refused, and in the listing %s", file, f.Device, codes(d))
					}
				}
			}
		}
	}
	t.Log(count)
	for _, code := range []laptop.Code{laptop.NoReset, laptop.ResetSet, laptop.IGDNeeds, laptop.VendorReset} {
		if count[code] == 0 {
			t.Errorf("no machine has %s", code)
		}
	}
}

// What is neither for nor against: VFIO replaces the domain, and a guest's memory has
// to leave addresses free.
func TestGroupFacts(t *testing.T) {
	h := laptopHost(t)
	h.put("sys/kernel/iommu_groups/2/type", "identity\n")
	h.put("sys/kernel/iommu_groups/2/reserved_regions", "0x00000000fee00000 0x00000000feefffff msi\n0x000000fd00000000 0x000000ffffffffff reserved\n")
	l := h.read()
	facts, err := laptop.Facts(h, l, find(t, l, "0000:04:00.0"), laptop.FactOptions{})
	must(t, err)
	expectFacts(t, "NVMe", facts, `IOMMU domain = identity, which gives way to VFIO's
		reserved addresses = fee00000 to feefffff (msi), fd00000000 to ffffffffff (reserved)`)
	expect(t, l, "0000:04:00.0", "assignable")
}
