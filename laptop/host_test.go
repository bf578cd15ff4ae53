package laptop_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A host is a machine that a test builds piece by piece.
type host struct {
	*hostfs.Tree
	t      testing.TB
	number int // of the last USB device
}

// Two functions most tests need: an NVMe behind a root port, and a USB controller.
const (
	nvme = "pci0000:00/0000:00:1d.0/0000:04:00.0"
	xhci = "pci0000:00/0000:00:14.0"
)

func newHost(t testing.TB) *host {
	h := &host{Tree: new(hostfs.Tree), t: t}
	must(t, h.Symlink("../../devices/virtual/iommu/dmar0", "sys/class/iommu/dmar0"))
	h.put("proc/interrupts", " 1: 9 IR-IO-APIC 1-edge i8042\n")
	return h
}

// laptopHost is a host with an NVMe behind a root port, a USB controller, and
// tables that say that nothing is mounted from them and there is no route.
func laptopHost(t testing.TB) *host {
	h := newHost(t)
	h.function("pci0000:00/0000:00:1d.0", "060400", "pcieport", 1)
	h.function(nvme, "010802", "nvme", 2)
	h.function(xhci, "0c0330", "xhci_hcd", 3)
	h.put("proc/self/mountinfo", "30 1 0:27 / / rw - tmpfs none rw\n")
	h.put("proc/net/route", "Iface\tDestination\tGateway\n")
	return h
}

func (h *host) put(name, content string) {
	h.t.Helper()
	must(h.t, h.Put(name, []byte(content)))
}

func (h *host) link(target, name string) {
	h.t.Helper()
	must(h.t, h.Symlink(target, name))
}

// function adds a PCI function at a path below sys/devices, in no group if that is
// negative.
func (h *host) function(path, class, driver string, group int) {
	h.t.Helper()
	a := path[strings.LastIndexByte(path, '/')+1:]
	dir := "sys/devices/" + path
	h.link("../../../devices/"+path, "sys/bus/pci/devices/"+a)
	uevent := "PCI_CLASS=" + strings.TrimLeft(class, "0") + "\nPCI_ID=8086:1234\n"
	if driver != "" {
		uevent = "DRIVER=" + driver + "\n" + uevent
	}
	h.put(dir+"/uevent", uevent)
	if group >= 0 {
		g := fmt.Sprint("kernel/iommu_groups/", group)
		h.link(strings.Repeat("../", strings.Count(path, "/")+2)+g, dir+"/iommu_group")
		h.link("../../../../devices/"+path, "sys/"+g+"/devices/"+a)
	}
}

// usb adds a device below a controller, with interfaces as "8/6/80 usb-storage".
func (h *host) usb(controller, port string, interfaces ...string) {
	h.t.Helper()
	h.number++
	bus, _, _ := strings.Cut(port, "-")
	dir := controller + "/usb" + bus + "/" + port
	h.link("../../../devices/"+dir, "sys/bus/usb/devices/"+port)
	h.put("sys/devices/"+dir+"/uevent", fmt.Sprintf("DRIVER=usb\nPRODUCT=46d/c52b/1211\nTYPE=0/0/0\nBUSNUM=%03s\nDEVNUM=%03d\n", bus, h.number))
	for i, in := range interfaces {
		class, driver, ok := strings.Cut(in, " ")
		name := fmt.Sprintf("%s:1.%d", port, i)
		uevent := "INTERFACE=" + class + "\n"
		if ok {
			uevent = "DRIVER=" + driver + "\n" + uevent
		}
		h.link("../../../devices/"+dir+"/"+name, "sys/bus/usb/devices/"+name)
		h.put("sys/devices/"+dir+"/"+name+"/uevent", uevent)
	}
}

// block adds a block device in a directory below sys/devices: a disk, a partition,
// or one made of slaves.
func (h *host) block(dir, name, number string, slaves ...string) {
	h.t.Helper()
	h.link("../../devices/"+dir+"/"+name, "sys/class/block/"+name)
	h.put("sys/devices/"+dir+"/"+name+"/dev", number+"\n")
	h.link("../../devices/"+dir+"/"+name, "sys/dev/block/"+number)
	for _, s := range slaves {
		h.put("sys/devices/"+dir+"/"+name+"/slaves/"+s, "")
	}
}

// mapped adds a device of the device mapper, with its name and UUID.
func (h *host) mapped(name, number, label, uuid string, slaves ...string) {
	h.t.Helper()
	h.block("virtual/block", name, number, slaves...)
	h.put("sys/devices/virtual/block/"+name+"/dm/name", label+"\n")
	h.put("sys/devices/virtual/block/"+name+"/dm/uuid", uuid+"\n")
}

// net adds a network interface in a directory below sys/devices, over lower ones.
func (h *host) net(dir, name string, lower ...string) {
	h.t.Helper()
	h.link("../../devices/"+dir+"/net/"+name, "sys/class/net/"+name)
	h.put("sys/devices/"+dir+"/net/"+name+"/ifindex", "1\n")
	for _, l := range lower {
		h.put("sys/devices/"+dir+"/net/"+name+"/lower_"+l, "")
	}
}

// mount adds a line to the table of mounts.
func (h *host) mount(number, point, kind, source string) {
	h.t.Helper()
	old, _ := h.ReadFile("proc/self/mountinfo")
	h.put("proc/self/mountinfo", string(old)+fmt.Sprintf("36 30 %s / %s rw,noatime shared:1 - %s %s rw\n", number, point, kind, source))
}

func (h *host) swap(source string) {
	h.t.Helper()
	h.put("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n"+source+" partition 1048572 0 -2\n/swapfile file 1024 0 -3\n")
}

// route adds a route by an interface to the table of IPv4.
func (h *host) route(name, destination, mask string) {
	h.t.Helper()
	old, _ := h.ReadFile("proc/net/route")
	h.put("proc/net/route", string(old)+fmt.Sprintf("%s\t%s\t0101A8C0\t0003\t0\t0\t100\t%s\t0\t0\t0\n", name, destination, mask))
}

func (h *host) read() *laptop.Laptop {
	h.t.Helper()
	l, err := laptop.Read(h)
	must(h.t, err)
	check(h.t, l)
	return l
}

// find returns a device by its address or port path.
func find(t testing.TB, l *laptop.Laptop, where string) *laptop.Device {
	t.Helper()
	d, err := l.Find(where, nil)
	must(t, err)
	return d
}

// codes are a device's verdict and findings: "refused host-disk companions".
func codes(d *laptop.Device) string {
	s := string(d.Verdict)
	for _, f := range d.Findings {
		s += " " + string(f.Code)
	}
	return s
}

func expect(t testing.TB, l *laptop.Laptop, where, want string) {
	t.Helper()
	if got := codes(find(t, l, where)); got != want {
		t.Errorf("%s: %s, want %s", where, got, want)
	}
}

// uses are what the host needs: "host-disk: / on nvme0n1p1: 0000:04:00.0".
func uses(l *laptop.Laptop) string {
	var b strings.Builder
	for _, u := range l.Uses {
		fmt.Fprintf(&b, "%s: %s:", u.Code, u.What)
		for _, a := range u.Functions {
			fmt.Fprintf(&b, " %v", a)
		}
		if u.Port.IsValid() {
			fmt.Fprintf(&b, " %v", u.Port)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// check holds for every machine whatsoever.
func check(t testing.TB, l *laptop.Laptop) {
	t.Helper()
	known := map[laptop.Role]bool{}
	for _, r := range laptop.Roles() {
		known[r] = true
	}
	remedied := map[laptop.Code]bool{
		laptop.NoIOMMU: true, laptop.NoIOMMUMode: true, laptop.NoRemapping: true, laptop.BootDisplay: true,
		laptop.HostDisk: true, laptop.DefaultRoute: true, laptop.Hibernation: true, laptop.OnlyKeyboard: true,
		laptop.ACSOverride: true, laptop.UnsafeInterrupts: true,
		laptop.NoReset: true, laptop.NotViable: true, laptop.VFIODenied: true, laptop.ReservedDirect: true,
	}
	for i := range l.Devices {
		d := &l.Devices[i]
		if len(d.Roles) == 0 || !known[d.Role()] || d.Verdict == "" || kinds(d) != 1 {
			t.Errorf("%s: roles %v, verdict %q", d.ID(), d.Roles, d.Verdict)
			continue
		}
		if len(l.Devices) < 500 && !roundTrip(l, d) {
			t.Errorf("%s: not found by its id", d.ID())
		}
		for _, c := range d.Classes {
			if c.Class == "" || c.Name == "" || strings.HasPrefix(c.Node, "/") || strings.ContainsAny(c.Name+c.Node+c.Path, "\n\x1b") {
				t.Errorf("%s: class device %+v", d.ID(), c)
			}
		}
		if o := l.Device(d.PartOf); (o == nil) != (d.PartOf == "") || o != nil && (o == d || o.PartOf != "" || !slices.ContainsFunc(o.Parts, func(p laptop.Part) bool { return p.ID == d.ID() })) {
			t.Errorf("%s: part of %q", d.ID(), d.PartOf)
		}
		for _, p := range d.Parts {
			if o := l.Device(p.ID); p.Role == "" || p.Why == "" || p.Evidence == "" || (p.ID == "") == (p.Interfaces == nil) || p.ID != "" && (o == nil || o.PartOf != d.ID()) {
				t.Errorf("%s: part %+v", d.ID(), p)
			}
		}
		block, gap, along := false, false, false
		for _, f := range d.Findings {
			block = block || f.Severity == laptop.Block
			gap = gap || f.Severity == laptop.Gap
			along = along || f.Code == laptop.Companions
			if f.Code == "" || f.Severity == "" || f.Device == "" || f.Detail == "" || f.Evidence == "" || strings.ContainsAny(f.Detail+f.Evidence, "\n\x1b") {
				t.Errorf("%s: incomplete finding %+v", d.ID(), f)
			}
			if f.Severity == laptop.Block && remedied[f.Code] && f.Remedy == "" {
				t.Errorf("%s: no remedy for %s", d.ID(), f.Code)
			}
		}
		others := false
		if d.PCI != nil && !isBridge(d.PCI) {
			if g := l.Group(d.Group()); g != nil {
				others = len(l.Endpoints(g)) > 1
			}
		}
		var want laptop.Verdict
		switch {
		case block:
			want = laptop.Refused
		case gap:
			want = laptop.Undecided
		case others:
			want = laptop.WithCompanions
		case d.Other != nil:
			want = laptop.ShareOnly
		default:
			want = laptop.Assignable
		}
		if d.Verdict != want || along != others {
			t.Errorf("%s: %s, want %s; has companions: %v", d.ID(), codes(d), want, others)
		}
		if d.PCI != nil && isBridge(d.PCI) && (len(d.Findings) != 1 || d.Findings[0].Code != laptop.Bridge) {
			t.Errorf("bridge %s: %s", d.ID(), codes(d))
		}
	}
}

func isBridge(f *pci.Function) bool {
	return f.IsBridge() || f.Class.Sub() == 0x0600 || f.Class.Sub() == 0x0601
}

// kinds is how many of the three kinds of device d is.
func kinds(d *laptop.Device) int {
	n := 0
	for _, is := range []bool{d.PCI != nil, d.USB != nil, d.Other != nil} {
		if is {
			n++
		}
	}
	return n
}

// roundTrip reports whether the id of a device finds it.
func roundTrip(l *laptop.Laptop, d *laptop.Device) bool {
	found, err := l.Find(d.ID(), nil)
	return err == nil && found.ID() == d.ID() && l.Device(d.ID()) != nil && l.Device(d.ID()).ID() == d.ID()
}
