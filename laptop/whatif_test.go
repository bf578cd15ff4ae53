package laptop_test

import (
	"encoding/binary"
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
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
)

// assume reads assumptions, of which there is one a word.
func assume(t testing.TB, words string) []laptop.Assumption {
	t.Helper()
	var all []laptop.Assumption
	for word := range strings.FieldsSeq(words) {
		a, err := laptop.ParseAssumption(word)
		must(t, err)
		all = append(all, a)
	}
	return all
}

func whatIf(t testing.TB, fsys fs.FS, l *laptop.Laptop, words string) *laptop.Outlook {
	t.Helper()
	o, err := laptop.WhatIf(fsys, l, assume(t, words), laptop.WhatIfOptions{Wake: true})
	must(t, err)
	checkOutlook(t, l, o)
	return o
}

// changes are what is different, but for what is said of the kernel's command line:
// "04:00.0 refused -> assignable, [04:00.0 05:00.0] -> [04:00.0]".
func changes(o *laptop.Outlook) []string {
	var all []string
	for _, c := range o.Changes {
		before, after := judged(c.FindingsBefore), judged(c.FindingsAfter)
		s := c.Device + " " + before
		if before != after {
			s += " -> " + after
		}
		same := slices.Equal(c.GroupBefore, c.GroupAfter)
		if !same {
			s += fmt.Sprintf(", %v -> %v", c.GroupBefore, c.GroupAfter)
		}
		if same && slices.Equal(c.FindingsBefore, c.FindingsAfter) {
			s += ", which is no change"
		}
		if same && before == after && len(withOverride(c.FindingsBefore)) != len(withOverride(c.FindingsAfter)) {
			continue
		}
		all = append(all, strings.ReplaceAll(strings.TrimPrefix(s, "pci:"), "0000:", ""))
	}
	return all
}

// withOverride are the findings about an ACS override.
func withOverride(findings []laptop.Finding) []laptop.Finding {
	return slices.DeleteFunc(slices.Clone(findings), func(f laptop.Finding) bool { return f.Code != "acs-override" })
}

// judged is the verdict without those.
func judged(findings []laptop.Finding) string {
	v := laptop.Assignable
	for _, f := range findings {
		switch {
		case f.Code == "acs-override":
		case f.Severity == laptop.Block:
			return string(laptop.Refused)
		case f.Severity == laptop.Gap:
			v = laptop.Undecided
		case f.Code == laptop.Companions && v == laptop.Assignable:
			v = laptop.WithCompanions
		}
	}
	return string(v)
}

// checkOutlook holds for every outlook on every machine.
func checkOutlook(t testing.TB, l *laptop.Laptop, o *laptop.Outlook) {
	t.Helper()
	for _, line := range slices.Concat(o.Cost, o.Unknown, o.Notes) {
		if line == "" || strings.ContainsAny(line, "\n\x1b") {
			t.Errorf("%q", line)
		}
	}
	if len(o.Then.Devices) != len(l.Devices) {
		t.Fatalf("%d devices, then %d", len(l.Devices), len(o.Then.Devices))
	}
	in := map[pci.Address]int{}
	for i := range o.Then.Groups {
		g := &o.Then.Groups[i]
		if i > 0 && g.ID.Compare(o.Then.Groups[i-1].ID) <= 0 {
			t.Errorf("group %v after %v", g.ID, o.Then.Groups[i-1].ID)
		}
		for _, a := range g.Devices {
			in[a]++
			if d := o.Then.Function(a); d != nil && d.Group() != g.ID {
				t.Errorf("%v says it is in group %v, which is %+v", a, d.Group(), g)
			}
		}
	}
	changed := map[string]laptop.Change{}
	for _, c := range o.Changes {
		changed[c.Device] = c
	}
	for i := range l.Devices {
		before, after := &l.Devices[i], &o.Then.Devices[i]
		c, ok := changed[before.ID()]
		if ok != (before.Group() != after.Group() || !slices.Equal(before.Findings, after.Findings)) {
			t.Errorf("%s: changed: %v", before.ID(), ok)
		}
		if ok && (c.VerdictBefore != before.Verdict || c.VerdictAfter != after.Verdict || (c.GroupAfter == nil) != !after.Group().IsValid()) {
			t.Errorf("%s: %+v", before.ID(), c)
		}
		if after.PCI != nil && in[after.PCI.Address] > 1 {
			t.Errorf("%s is in %d groups", after.ID(), in[after.PCI.Address])
		}
	}
}

func lab(t testing.TB, name string) (fs.FS, *laptop.Laptop) {
	t.Helper()
	fsys := open(t, filepath.Join(hosttest.Root(t), "testdata", "hosts", "lab-"+name+".txtar"))
	l, err := laptop.Read(fsys)
	must(t, err)
	return fsys, l
}

// The switch, the root ports and the device without ACS are split; what has ACS or sits on
// a conventional bus stays as the kernel has it.
func TestWhatIfACSOverride(t *testing.T) {
	fsys, l := lab(t, "switched")
	o := whatIf(t, fsys, l, "acs-override")
	want := []string{
		"00:07.0 refused, [00:07.0 0b:00.0] -> [00:07.0]",
		"00:1c.0 refused, [00:1c.0 00:1c.4 0d:00.0 0e:00.0] -> [00:1c.0]",
		"00:1c.4 refused, [00:1c.0 00:1c.4 0d:00.0 0e:00.0] -> [00:1c.4]",
		"07:00.0 refused, [07:00.0 07:00.1 08:00.0 09:00.0] -> [07:00.0]",
		"07:00.1 refused, [07:00.0 07:00.1 08:00.0 09:00.0] -> [07:00.1]",
		"07:01.0 refused, [07:01.0 0a:00.0] -> [07:01.0]",
		"08:00.0 with-companions -> assignable, [07:00.0 07:00.1 08:00.0 09:00.0] -> [08:00.0]",
		"09:00.0 with-companions -> assignable, [07:00.0 07:00.1 08:00.0 09:00.0] -> [09:00.0]",
		"0a:00.0 assignable, [07:01.0 0a:00.0] -> [0a:00.0]",
		"0b:00.0 assignable, [00:07.0 0b:00.0] -> [0b:00.0]",
		"0c:00.0 unknown -> assignable, [0c:00.0 0c:00.1] -> [0c:00.0]",
		"0c:00.1 unknown, [0c:00.0 0c:00.1] -> [0c:00.1]",
		"0d:00.0 with-companions -> assignable, [00:1c.0 00:1c.4 0d:00.0 0e:00.0] -> [0d:00.0]",
		"0e:00.0 with-companions -> assignable, [00:1c.0 00:1c.4 0d:00.0 0e:00.0] -> [0e:00.0]",
	}
	if diff := cmp.Diff(want, changes(o)); diff != "" {
		t.Error(diff)
	}
	for _, c := range o.Changes {
		d := o.Then.Device(c.Device)
		if (len(withOverride(d.Findings)) > 0) != (d.PCI != nil && !isBridge(d.PCI)) || len(withOverride(d.Findings)) > 0 && c.VerdictAfter != laptop.Refused {
			t.Errorf("%s under an override: %s", c.Device, codes(d))
		}
		if c.LooksSplit != !slices.Equal(c.GroupBefore, c.GroupAfter) {
			t.Errorf("%s looks split: %v", c.Device, c.LooksSplit)
		}
	}
	cost := strings.Join(o.Cost, "\n")
	if n := strings.Count(cost, "looks split, is not isolated"); n != 5 || !strings.Contains(cost, "0000:08:00.0") || !strings.Contains(cost, "past the IOMMU") {
		t.Errorf("%d groups cost:\n%s", n, cost)
	}
	if len(o.Unknown) > 0 {
		t.Errorf("unknown: %q", o.Unknown)
	}
	several := []string{want[10], want[11]} // functions in one device
	if diff := cmp.Diff(slices.Delete(slices.Clone(want), 10, 12), changes(whatIf(t, fsys, l, "acs-override=downstream"))); diff != "" {
		t.Errorf("ports alone: %s", diff)
	}
	if diff := cmp.Diff(several, changes(whatIf(t, fsys, l, "acs-override=multifunction"))); diff != "" {
		t.Errorf("functions alone: %s", diff)
	}
}

// A machine whose IOMMU is off would have the groups of the same one where it is on.
func TestWhatIfIOMMU(t *testing.T) {
	fsys, off := lab(t, "noiommu")
	_, on := lab(t, "intel")
	o := whatIf(t, fsys, off, "enable-iommu")
	partition := func(l *laptop.Laptop) []string {
		var all []string
		for _, g := range l.Groups {
			all = append(all, fmt.Sprint(g.Devices, g.Known))
		}
		slices.Sort(all)
		return all
	}
	if diff := cmp.Diff(partition(on), partition(o.Then)); diff != "" {
		t.Errorf("with an IOMMU, and as if with one: %s", diff)
	}
	for i := range on.Devices {
		d := &on.Devices[i]
		if then := o.Then.Device(d.ID()); then != nil && d.PCI != nil && then.Verdict != d.Verdict {
			t.Errorf("%s: %s, as if: %s", d.ID(), codes(d), codes(then))
		}
	}
	if len(o.Unknown) < 2 || !strings.Contains(strings.Join(o.Unknown, "\n"), "interrupts") || len(o.Cost) != 1 {
		t.Errorf("unknown %q, cost %q", o.Unknown, o.Cost)
	}
	if o := whatIf(t, fsys, off, "acs-override"); len(changes(o)) > 0 || len(o.Notes) != 1 {
		t.Errorf("an override without groups: %+v", o)
	}
}

// configSpace is that of a PCI Express function of a type, with ACS if that is given:
// supported in the lower, enabled in the upper half.
func configSpace(header byte, kind uint16, acs uint32) []byte {
	c := make([]byte, 4096)
	binary.LittleEndian.PutUint32(c, 0x12348086)
	c[0x06], c[0x0e], c[0x34] = 0x10, header, 0x40
	c[0x40] = 0x10
	binary.LittleEndian.PutUint16(c[0x42:], 2|kind<<4)
	if acs != 0 {
		binary.LittleEndian.PutUint32(c[0x100:], 0x0001000d)
		binary.LittleEndian.PutUint32(c[0x104:], acs)
	}
	return c
}

const (
	rootPort = 4
	endpoint = 0
	allACS   = 0x1d
)

// ports is a machine with an Ethernet and a sound card behind two root ports that are
// functions of one device.
func ports(t testing.TB, acs uint32, groups ...int) *host {
	h := newHost(t)
	for i, f := range []struct{ path, class, driver string }{
		{"pci0000:00/0000:00:1c.0", "060400", "pcieport"},
		{"pci0000:00/0000:00:1c.1", "060400", "pcieport"},
		{"pci0000:00/0000:00:1c.0/0000:01:00.0", "020000", "e1000e"},
		{"pci0000:00/0000:00:1c.1/0000:02:00.0", "040300", "snd_hda_intel"},
	} {
		h.function(f.path, f.class, f.driver, groups[i])
		config := configSpace(0x81, rootPort, acs)
		if i > 1 {
			config = configSpace(0, endpoint, 0)
		}
		must(t, h.Put("sys/devices/"+f.path+"/config", config))
	}
	h.put("proc/self/mountinfo", "30 1 0:27 / / rw - tmpfs none rw\n")
	h.put("proc/net/route", "Iface\tDestination\tGateway\n")
	return h
}

func TestWhatIfGroups(t *testing.T) {
	split := []string{
		"00:1c.0 refused, [00:1c.0 00:1c.1 01:00.0 02:00.0] -> [00:1c.0]",
		"00:1c.1 refused, [00:1c.0 00:1c.1 01:00.0 02:00.0] -> [00:1c.1]",
		"01:00.0 with-companions -> assignable, [00:1c.0 00:1c.1 01:00.0 02:00.0] -> [01:00.0]",
		"02:00.0 with-companions -> assignable, [00:1c.0 00:1c.1 01:00.0 02:00.0] -> [02:00.0]",
	}
	merged := []string{
		"00:1c.0 refused, [00:1c.0] -> [00:1c.0 00:1c.1 01:00.0 02:00.0]",
		"00:1c.1 refused, [00:1c.1] -> [00:1c.0 00:1c.1 01:00.0 02:00.0]",
		"01:00.0 assignable -> with-companions, [01:00.0] -> [00:1c.0 00:1c.1 01:00.0 02:00.0]",
		"02:00.0 assignable -> with-companions, [02:00.0] -> [00:1c.0 00:1c.1 01:00.0 02:00.0]",
	}
	made := func(with ...string) []string {
		verdicts := []string{"00:1c.0 refused", "00:1c.1 refused", "01:00.0 refused -> assignable", "02:00.0 refused -> assignable"}
		for i := range verdicts {
			if len(with) == 1 && i > 1 {
				verdicts[i] = strings.Replace(verdicts[i], "assignable", "with-companions", 1)
			}
			verdicts[i] += ", [] -> [" + with[i%len(with)] + "]"
		}
		return verdicts
	}
	together := []int{5, 5, 5, 5}
	for _, tt := range []struct {
		name    string
		acs     uint32
		groups  []int
		build   func(*host)
		what    string
		want    []string
		cost    string // what is in it
		unknown string // the same
	}{
		{name: "override", groups: together, what: "acs-override", want: split, cost: "looks split, is not isolated"},
		{name: "override that is there already", groups: []int{1, 2, 3, 4}, what: "acs-override", build: func(h *host) {
			h.put("proc/cmdline", "quiet pcie_acs_override=downstream,multifunction\n")
		}},
		{name: "what has ACS is not overridden", acs: allACS, groups: together, what: "acs-override", cost: "hands over nothing"},
		{name: "together in spite of ACS", acs: allACS | allACS<<16, groups: together, what: "acs-override", cost: "hands over nothing", unknown: "for a reason that is not among the facts"},
		{name: "what was not read stays", groups: together, what: "acs-override", build: func(h *host) {
			must(h.t, h.Remove("sys/devices/pci0000:00/0000:00:1c.0/config"))
			must(h.t, h.Remove("sys/devices/pci0000:00/0000:00:1c.1/config"))
		}, cost: "hands over nothing", unknown: "0000:00:1c.1 decides"},
		{name: "members on no bus", groups: together, what: "acs-override", build: func(h *host) {
			h.put("sys/kernel/iommu_groups/5/devices/AMDI0020:00", "")
		}, want: []string{
			"00:1c.0 refused, [00:1c.0 00:1c.1 01:00.0 02:00.0 AMDI0020:00] -> [00:1c.0 AMDI0020:00]",
			"00:1c.1 refused, [00:1c.0 00:1c.1 01:00.0 02:00.0 AMDI0020:00] -> [00:1c.1 AMDI0020:00]",
			"01:00.0 unknown, [00:1c.0 00:1c.1 01:00.0 02:00.0 AMDI0020:00] -> [01:00.0 AMDI0020:00]",
			"02:00.0 unknown, [00:1c.0 00:1c.1 01:00.0 02:00.0 AMDI0020:00] -> [02:00.0 AMDI0020:00]",
		}, cost: "not isolated", unknown: "AMDI0020:00"},
		{name: "what is kept of a group is kept of its parts", groups: together, what: "acs-override", build: func(h *host) {
			h.put("sys/devices/pci0000:00/0000:00:1c.0/0000:01:00.0/uevent", "DRIVER=vfio-pci\nPCI_CLASS=20000\nPCI_ID=8086:1234\n")
			h.put("sys/kernel/iommu_groups/5/name", "vfio-noiommu\n")
		}, want: []string{
			split[0], split[1], strings.Replace(split[2], "with-companions -> assignable", "refused", 1),
			strings.Replace(split[3], "with-companions", "refused", 1),
		}, cost: "not isolated"},
		{name: "without the override", groups: []int{1, 2, 3, 4}, what: "disable-override", build: func(h *host) {
			h.put("proc/cmdline", "quiet pcie_acs_override=downstream,multifunction\n")
		}, want: merged},
		{name: "without the override, as the kernel reads names", groups: []int{1, 2, 3, 4}, what: "disable-override", build: func(h *host) {
			h.put("proc/cmdline", "quiet \"pcie-acs-override=downstream,multifunction\"\n")
		}, want: merged},
		{name: "an override that did nothing", acs: allACS | allACS<<16, groups: []int{1, 2, 3, 4}, what: "disable-override", build: func(h *host) {
			h.put("proc/cmdline", "pcie_acs_override=downstream\n")
		}},
		{name: "no override to take away", groups: []int{1, 2, 3, 4}, what: "disable-override"},
		{name: "an IOMMU, with ACS to switch on", acs: allACS, groups: []int{-1, -1, -1, -1}, what: "enable-iommu",
			want: made("00:1c.0", "00:1c.1", "01:00.0", "02:00.0"), cost: "started anew", unknown: "interrupts"},
		{name: "an IOMMU, without ACS", groups: []int{-1, -1, -1, -1}, what: "enable-iommu",
			want: made("00:1c.0 00:1c.1 01:00.0 02:00.0"), cost: "started anew", unknown: "interrupts"},
		{name: "an IOMMU and the override", groups: []int{-1, -1, -1, -1}, what: "acs-override enable-iommu",
			want: made("00:1c.0", "00:1c.1", "01:00.0", "02:00.0"), cost: "looks split, is not isolated", unknown: "interrupts"},
		{name: "no-IOMMU mode is none", groups: []int{-1, -1, 0, -1}, what: "enable-iommu", build: func(h *host) {
			h.put("sys/kernel/iommu_groups/0/name", "vfio-noiommu\n")
			must(h.t, h.Remove("sys/class/iommu"))
		}, acs: allACS, want: []string{
			"00:1c.0 refused, [] -> [00:1c.0]", "00:1c.1 refused, [] -> [00:1c.1]",
			"01:00.0 refused -> assignable", "02:00.0 refused -> assignable, [] -> [02:00.0]",
		}, cost: "started anew", unknown: "no table DMAR"},
		{name: "an IOMMU of which little was read", acs: allACS, groups: []int{-1, -1, -1, -1}, what: "enable-iommu", build: func(h *host) {
			must(h.t, h.Remove("sys/devices/pci0000:00/0000:00:1c.1/config"))
		}, want: []string{
			"00:1c.0 refused, [] -> [00:1c.0]", "00:1c.1 refused, [] -> [00:1c.1]",
			"01:00.0 refused -> assignable, [] -> [01:00.0]", "02:00.0 refused -> unknown, [] -> [02:00.0]",
		}, cost: "started anew", unknown: "0000:00:1c.1 decides"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := ports(t, tt.acs, tt.groups...)
			if tt.groups[0] < 0 {
				must(t, h.Mkdir("sys/kernel/iommu_groups"))
			}
			if tt.build != nil {
				tt.build(h)
			}
			o := whatIf(t, h, h.read(), tt.what)
			if diff := cmp.Diff(tt.want, changes(o)); diff != "" {
				t.Error(diff)
			}
			if cost := strings.Join(o.Cost, "\n"); !strings.Contains(cost, tt.cost) || (cost == "") != (tt.cost == "") {
				t.Errorf("cost: %q", cost)
			}
			if unknown := strings.Join(o.Unknown, "\n"); !strings.Contains(unknown, tt.unknown) || (unknown == "") != (tt.unknown == "") {
				t.Errorf("unknown: %q", unknown)
			}
			if len(tt.want) == 0 && len(o.Notes)+len(o.Unknown) == 0 {
				t.Error("nothing changes, and nothing says why")
			}
		})
	}
}

// A stick from which the host runs is moved to another controller, and with it what
// speaks against handing over the controller.
func TestWhatIfMove(t *testing.T) {
	const second, third = "pci0000:00/0000:00:0d.0", "pci0000:00/0000:00:1d.0/0000:05:00.0"
	build := func() *host {
		h := laptopHost(t)
		h.function(second, "0c0330", "xhci_hcd", 9)
		h.function(third, "0c0330", "xhci_hcd", 10)
		h.usb(xhci, "1-4", "8/6/80 usb-storage")
		h.usb(xhci, "1-5", "14/1/0 uvcvideo")
		h.block(xhci+"/usb1/1-4/1-4:1.0/host0/target0:0:0/0:0:0:0/block", "sda", "8:0")
		h.mount("8:0", "/", "ext4", "/dev/sda")
		h.socket(second, "3", "1", "hotplug")
		h.socket(second, "3", "2", "hardwired")
		h.socket(third, "4", "1", "hotplug")
		return h
	}
	h := build()
	l := h.read()
	for _, tt := range []struct{ what, to string }{
		{"move-port=1-4:3-1", "00:0d.0"},
		{"move-port=usb:1-4:0000:00:0d.0/1", "00:0d.0"},
		{"move-port=1-4:00:0d.0", "00:0d.0"},
		{"move-port=1-4:4-1", "05:00.0"},
	} {
		o := whatIf(t, h, l, tt.what)
		want := []string{"00:14.0 refused -> assignable", tt.to + " assignable -> refused", "usb:1-4 refused"}
		got := changes(o)
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", tt.what, diff)
		}
		if len(o.Cost) != 1 || !strings.Contains(o.Cost[0], "/ on sda") {
			t.Errorf("cost: %q", o.Cost)
		}
	}
	if o := whatIf(t, h, l, "move-port=1-4:3-1 move-port=1-5:3-1"); len(o.Changes) != 4 {
		t.Errorf("both: %v", changes(o))
	}
	if o := whatIf(t, h, l, "move-port=1-4:0000:00:14.0"); len(o.Changes) != 0 || len(o.Notes) != 1 {
		t.Errorf("to where it is: %+v", o)
	}
	for what, want := range map[string]string{
		"move-port=1-4:3-2":            "no socket",
		"move-port=1-4:3-7":            "no such port",
		"move-port=1-4:0000:00:0d.0/7": "no such port",
		"move-port=1-4:04:00.0":        "no USB controller",
		"move-port=1-4:left":           "the port is none",
		"move-port=04.1:3-1":           "no device",
		"move-port=storage:3-1":        "name one by its address",
		"move-port=i2c-X:3-1":          "no device",
	} {
		o, err := laptop.WhatIf(h, l, assume(t, what), laptop.WhatIfOptions{})
		var find *laptop.FindError
		var bad *laptop.AssumptionError
		if o != nil || err == nil || !strings.Contains(err.Error(), want) || !errors.As(err, &find) && !errors.As(err, &bad) {
			t.Errorf("%s: %v, want %s", what, err, want)
		}
	}
	if _, err := laptop.WhatIf(h, l, assume(t, "acs-override disable-override"), laptop.WhatIfOptions{}); err == nil {
		t.Error("an override that is there and is not")
	}
	h = build()
	must(t, h.Remove("sys/devices/"+second+"/usb3/3-0:1.0/usb3-port1/connect_type"))
	h.put("sys/devices/"+second+"/usb3/3-0:1.0/usb3-port1/connect_type", "hotplug\n")
	h.usb(second, "3-1", "224/1/1 btusb")
	h.link("../../3-1", "sys/devices/"+second+"/usb3/3-0:1.0/usb3-port1/device")
	if _, err := laptop.WhatIf(h, h.read(), assume(t, "move-port=1-4:3-1"), laptop.WhatIfOptions{}); err == nil || !strings.Contains(err.Error(), "plugged in there") {
		t.Errorf("an occupied port: %v", err)
	}
}

// Without an effect nothing changes; with one, an override only parts groups, and costs.
func TestWhatIfOfHosts(t *testing.T) {
	parted := 0
	for _, file := range machines(t) {
		fsys := open(t, file)
		l, err := laptop.Read(fsys)
		must(t, err)
		overridden := slices.ContainsFunc(l.Devices, func(d laptop.Device) bool { return len(withOverride(d.Findings)) > 0 })
		idle := []string{""}
		switch {
		case l.IOMMU.Enabled && overridden:
			idle = append(idle, "enable-iommu")
		case l.IOMMU.Enabled:
			idle = append(idle, "disable-override", "enable-iommu", "enable-iommu disable-override")
		default:
			idle = append(idle, "disable-override")

			idle = append(idle, "acs-override")
		}
		for i := range l.Devices {
			if d := &l.Devices[i]; d.USB != nil && l.Function(d.USB.Controller) != nil {
				idle = append(idle, "move-port="+d.Where()+":"+d.USB.Controller.String())
			}
		}
		for _, what := range idle {
			if o := whatIf(t, fsys, l, what); len(o.Changes) > 0 {
				t.Errorf("%s: %q changes %v", file, what, changes(o))
			}
		}
		o := whatIf(t, fsys, l, "acs-override")
		if (len(changes(o)) > 0) != strings.Contains(strings.Join(o.Cost, "\n"), "looks split") || !overridden && l.IOMMU.Enabled != (len(o.Cost) > 0) {
			t.Errorf("%s: %v costs %q", file, changes(o), o.Cost)
		}
		for i := range o.Then.Groups {
			first := l.Function(o.Then.Groups[i].Devices[0]).Group()
			for _, a := range o.Then.Groups[i].Devices {
				if l.Function(a).Group() != first {
					t.Errorf("%s: the override joins %v", file, o.Then.Groups[i].Devices)
				}
			}
		}
		parted += len(o.Then.Groups) - len(l.Groups)
		if o = whatIf(t, fsys, l, "enable-iommu"); !l.IOMMU.Enabled && len(o.Changes) == 0 {
			t.Errorf("%s: an IOMMU makes no difference", file)
		}
	}
	t.Logf("%d groups more with the override", parted)
}

// What cannot be read is said, and what follows from the rest is told.
func TestWhatIfPartlyRead(t *testing.T) {
	h := ports(t, 0, 5, 5, 5, 5)
	l := h.read()
	h.put("proc/cmdline", "quiet\n")
	failing := hosttest.Failing{Tree: h.Tree, Fail: func(name string) error {
		if name == "proc/cmdline" {
			return syscall.EIO
		}
		return nil
	}}
	o, err := laptop.WhatIf(failing, l, assume(t, "acs-override"), laptop.WhatIfOptions{Wake: true})
	if !errors.Is(err, syscall.EIO) || o == nil || len(changes(o)) != 4 || !strings.Contains(strings.Join(o.Unknown, "\n"), "whether an ACS override is active") {
		t.Errorf("%v, %+v", err, o)
	}
}

// Nothing of what is asked about changes the machine that was asked.
func TestWhatIfChangesNothing(t *testing.T) {
	fsys, l := lab(t, "switched")
	_, again := lab(t, "switched")
	whatIf(t, fsys, l, "acs-override move-port=6-1:3-1")
	for i := range l.Devices {
		a, b := &l.Devices[i], &again.Devices[i]
		if codes(a) != codes(b) || a.Group() != b.Group() || a.Controller() != b.Controller() || !slices.Equal(a.Findings, b.Findings) {
			t.Errorf("%s was changed", a.ID())
		}
	}
	if diff := cmp.Diff(again.Groups, l.Groups, cmp.Comparer(func(a, b iommu.GroupID) bool { return a == b }), cmp.Comparer(func(a, b pci.Address) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	if uses(l) != uses(again) {
		t.Error(uses(l))
	}
}

func TestParseAssumption(t *testing.T) {
	for text, want := range map[string]string{
		"acs-override":                   "acs-override=downstream,multifunction",
		"acs-override=downstream":        "acs-override=downstream",
		"enable-iommu":                   "enable-iommu",
		"disable-override":               "disable-override",
		"move-port=1-4:3-1":              "move-port=1-4:3-1",
		"move-port=usb:1-4:0000:00:0d.0": "move-port=1-4:0000:00:0d.0",
	} {
		a, err := laptop.ParseAssumption(text)
		if err != nil || a.String() != want {
			t.Errorf("%s: %v, %v", text, a, err)
		}
	}
	for text, want := range map[string]string{
		"": "the kinds are enable-iommu, disable-override, acs-override, move-port", "unplug": "no such kind",
		"acs-override=all": "expected downstream", "acs-override=": "expected downstream", "enable-iommu=yes": "no argument",
		"move-port": "expected DEVICE:PORT", "move-port=1-4": "expected DEVICE:PORT", "move-port=:3-1": "expected DEVICE:PORT", "move-port=1-4:": "expected DEVICE:PORT",
	} {
		var bad *laptop.AssumptionError
		if _, err := laptop.ParseAssumption(text); !errors.As(err, &bad) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func FuzzParseAssumption(f *testing.F) {
	for _, s := range []string{"acs-override=downstream,multifunction", "enable-iommu", "move-port=usb:1-4:0000:00:14.0/4", "move-port=\x1b:\n", "=", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := laptop.ParseAssumption(text)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x1b") || len(err.Error()) > 4096 {
				t.Fatalf("%q", err)
			}
			return
		}
		b, err := laptop.ParseAssumption(a.String())
		if err != nil || b.String() != a.String() {
			t.Fatalf("%q: %q, %q, %v", text, a, b, err)
		}
	})
}
