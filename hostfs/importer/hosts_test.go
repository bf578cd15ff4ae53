package importer_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/hostfs/importer"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
)

// TestHosts writes the facts of real machines as a nixos-facter report, as text of
// lspci and as its records, and imports them: the same machine must come back.
func TestHosts(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(hosttest.Shared(t, "hosts"), "*.txtar"))
	if err != nil || len(files) < 16 {
		t.Fatalf("%d saved machines, %v", len(files), err)
	}
	nFunctions, nUSB := 0, 0
	for i, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			m, err := hostfs.Open(file)
			must(t, err)
			defer m.Close()
			wantFunctions, wantUSB := functions(t, m), usbDevices(t, m)
			nFunctions, nUSB = nFunctions+len(wantFunctions), nUSB+len(wantUSB)

			got := parse(t, facterReport(t, m, i%2 == 0), importer.Facter)
			compare(t, "facter", wantFunctions, functions(t, got))
			compare(t, "facter", wantUSB, usbDevices(t, got))
			compare(t, "facter", judged(t, m), judged(t, got))
			want, err := laptop.ReadMachine(m)
			must(t, err)
			if machine, err := laptop.ReadMachine(got); err != nil || machine != want {
				t.Errorf("machine %+v, %v; want %+v", machine, err, want)
			}

			compare(t, "lspci", wantFunctions, functions(t, parse(t, lspciText(t, m, i%2 == 0), importer.LSPCI)))
			compare(t, "lspci -n", wantFunctions, functions(t, parse(t, lspciNumbers(t, m), importer.LSPCI)))
			// Records state no bridges: everything sits at the root of its bus.
			flat := func(lines []string) []string {
				var cut []string
				for _, l := range lines {
					before, _, _ := strings.Cut(l, " behind")
					cut = append(cut, before)
				}
				return cut
			}
			compare(t, "lspci -vmm", flat(wantFunctions), functions(t, parse(t, lspciRecords(t, m), importer.LSPCIRecords)))
		})
	}
	if nFunctions < 500 || nUSB < 100 {
		t.Errorf("only %d functions and %d USB devices on all machines", nFunctions, nUSB)
	}
}

func compare(t *testing.T, what string, want, got []string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s:\n%s", what, diff)
	}
}

// judged gives roles, verdict and reasons of each device.
func judged(t *testing.T, fsys fs.FS) []string {
	t.Helper()
	l, err := laptop.Read(fsys)
	must(t, err)
	var lines []string
	for i := range l.Devices {
		d := &l.Devices[i]
		line := fmt.Sprint(d.ID(), d.Roles, d.Verdict)
		for _, f := range d.Findings {
			line += " " + string(f.Code)
		}
		lines = append(lines, line)
	}
	return lines
}

func text(fsys fs.FS, name string) string {
	s, _ := hostfs.ReadString(fsys, name)
	return s
}

func names(t *testing.T, fsys fs.FS, dir string) []string {
	t.Helper()
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// facterReport writes what nixos-facter would of a machine. Newer versions also write
// ids in hexadecimal and large numbers as text.
func facterReport(t *testing.T, fsys fs.FS, newer bool) string {
	t.Helper()
	type object = map[string]any
	id := func(n uint64) object {
		if newer {
			return object{"hex": fmt.Sprintf("%04x", n), "value": n}
		}
		return object{"value": n}
	}
	hex := func(name string) object {
		n, err := strconv.ParseUint(strings.TrimPrefix(text(fsys, name), "0x"), 16, 32)
		must(t, err)
		return id(n)
	}
	sysfs := func(link string) string {
		target, err := fs.ReadLink(fsys, link)
		must(t, err)
		return strings.TrimPrefix(path.Join("/"+path.Dir(link), target), "/sys")
	}
	hardware := map[string][]object{}
	add := func(class, link string, o object) {
		o["index"], o["attached_to"] = len(hardware)+1, 0
		if d, err := hostfs.ReadLinkBase(fsys, link+"/driver"); err == nil {
			o["driver"], o["drivers"] = d, []string{d}
		}
		hardware[class] = append(hardware[class], o)
	}
	for _, name := range names(t, fsys, "sys/bus/pci/devices") {
		link := "sys/bus/pci/devices/" + name
		class := text(fsys, link+"/class")
		o := object{
			"bus_type": object{"name": "PCI", "value": 4}, "sysfs_id": sysfs(link), "sysfs_bus_id": name,
			"vendor": hex(link + "/vendor"), "device": hex(link + "/device"),
			"sub_vendor": hex(link + "/subsystem_vendor"), "sub_device": hex(link + "/subsystem_device"),
			"module_alias": text(fsys, link+"/modalias"),
			"detail":       object{"function": 0, "header_type": 0, "secondary_bus": 0, "irq": 17, "prog_if": 0},
		}
		base, _ := strconv.ParseUint(class[2:4], 16, 8)
		sub, _ := strconv.ParseUint(class[4:6], 16, 8)
		if base == 2 && sub == 0x80 {
			sub = 0x82 // as libhd calls a WLAN adapter
		}
		o["base_class"], o["sub_class"] = id(base), id(sub)
		if progIf, _ := strconv.ParseUint(class[6:], 16, 8); progIf > 0 {
			o["pci_interface"] = id(progIf)
		}
		if newer { // and let the fields speak for themselves
			delete(o, "module_alias")
		}
		if group, err := hostfs.ReadLinkBase(fsys, link+"/iommu_group"); err == nil {
			o["sysfs_iommu_group_id"], err = strconv.Atoi(group)
			must(t, err)
		}
		add("class_"+class[2:4], link, o)
	}
	for _, name := range names(t, fsys, "sys/bus/usb/devices") {
		link := "sys/bus/usb/devices/" + name
		if !strings.Contains(name, ":") {
			continue // the report tells of interfaces only
		}
		device := path.Join("sys", path.Dir(sysfs(link)))
		o := object{
			"bus_type": object{"name": "USB", "value": 134}, "base_class": object{"name": "Camera", "value": 271},
			"sysfs_id": sysfs(link), "sysfs_bus_id": name, "module_alias": text(fsys, link+"/modalias"), "hotplug": "usb",
			"vendor": hex(device + "/idVendor"), "device": hex(device + "/idProduct"),
		}
		o["vendor"].(object)["name"] = text(fsys, device+"/manufacturer")
		o["device"].(object)["name"] = text(fsys, device+"/product")
		if s := text(fsys, device+"/serial"); s != "" {
			o["serial"] = s
		}
		add("usb", link, o)
	}
	for _, name := range names(t, fsys, "sys/class/net") {
		add("network_interface", "sys/class/net/"+name, object{
			"sysfs_id": "/class/net/" + name, "sysfs_device_link": path.Dir(path.Dir(sysfs("sys/class/net/" + name))), "unix_device_name": name,
		})
	}
	kind, _ := strconv.Atoi(text(fsys, "sys/class/dmi/id/chassis_type"))
	chassis := any(object{"handle": 3, "chassis_type": id(uint64(kind))})
	if newer {
		chassis = []any{chassis}
	}
	data, err := json.MarshalIndent(object{
		"version": 1, "system": "x86_64-linux", "virtualisation": "none", "hardware": hardware,
		"smbios": object{
			"system": object{
				"handle": 1, "manufacturer": text(fsys, "sys/class/dmi/id/sys_vendor"),
				"product": text(fsys, "sys/class/dmi/id/product_name"), "version": text(fsys, "sys/class/dmi/id/product_version"),
			},
			"chassis": chassis,
		},
	}, "", "  ")
	must(t, err)
	return string(data)
}

// secondary gives the number of the bus behind a bridge, by what sits there.
func secondary(t *testing.T, fsys fs.FS, bridge pci.Address, all []pci.Function) (uint8, bool) {
	t.Helper()
	for _, f := range all {
		above, err := pci.Bridges(fsys, f.Address)
		must(t, err)
		if len(above) > 0 && above[len(above)-1] == bridge {
			return f.Address.Bus(), true
		}
	}
	return 0, false
}

func slot(a pci.Address, withDomain bool) string {
	if s := a.String(); withDomain || a.Domain() != 0 {
		return s
	}
	return strings.TrimPrefix(a.String(), "0000:")
}

// lspciText writes what lspci -nnvk does, and with domains -D.
func lspciText(t *testing.T, fsys fs.FS, domains bool) string {
	t.Helper()
	all, err := pci.Functions(fsys)
	must(t, err)
	var b strings.Builder
	for _, f := range all {
		class := f.Class.String()
		fmt.Fprintf(&b, "%s Some class: of [sorts] [%s]: Vendor, Inc. [AMD/ATI] Device: One [%v:%v] (rev 01) (prog-if %s [XHCI])\n", slot(f.Address, domains), class[:4], f.Vendor, f.Device, class[4:])
		if f.SubsystemVendor.Known() {
			fmt.Fprintf(&b, "\tSubsystem: Lenovo Device [%v:%v]\n", f.SubsystemVendor, f.SubsystemDevice)
		}
		b.WriteString("\tFlags: bus master, fast devsel, latency 0, IRQ 16\n\tMemory at a0000000 (64-bit, non-prefetchable) [size=16M]\n")
		if n, ok := secondary(t, fsys, f.Address, all); ok {
			fmt.Fprintf(&b, "\tBus: primary=00, secondary=%02x, subordinate=ff, sec-latency=0\n", n)
		}
		if f.Group.IsValid() {
			fmt.Fprintf(&b, "\tIOMMU group: %v\n", f.Group)
		}
		b.WriteString("\tCapabilities: <access denied>\n")
		if f.Driver != "" {
			fmt.Fprintf(&b, "\tKernel driver in use: %s\n\tKernel modules: %s\n", f.Driver, f.Driver)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// lspciNumbers writes what lspci -nxvk does, whose dump holds what the text does not.
func lspciNumbers(t *testing.T, fsys fs.FS) string {
	t.Helper()
	all, err := pci.Functions(fsys)
	must(t, err)
	var b strings.Builder
	for _, f := range all {
		class := f.Class.Uint32()
		config := make([]byte, 64)
		word := func(at int, n uint16) { config[at], config[at+1] = byte(n), byte(n>>8) }
		word(0, f.Vendor.Uint16())
		word(2, f.Device.Uint16())
		config[9], config[10], config[11] = byte(class), byte(class>>8), byte(class>>16)
		if n, ok := secondary(t, fsys, f.Address, all); ok {
			config[14], config[0x19] = 0x81, n
		} else {
			word(0x2c, f.SubsystemVendor.Uint16())
			word(0x2e, f.SubsystemDevice.Uint16())
		}
		fmt.Fprintf(&b, "%s %04x: %v:%v (rev 01)\n", slot(f.Address, false), class>>8, f.Vendor, f.Device)
		fmt.Fprintf(&b, "\tSubsystem: %v:%v\n", f.SubsystemVendor, f.SubsystemDevice)
		if f.Group.IsValid() {
			fmt.Fprintf(&b, "\tIOMMU group: %v\n", f.Group)
		}
		if f.Driver != "" {
			fmt.Fprintf(&b, "\tKernel driver in use: %s\n", f.Driver)
		}
		for at := 0; at < len(config); at += 16 {
			fmt.Fprintf(&b, "%02x: % x\n", at, config[at:at+16])
		}
		b.WriteString("\n")
	}
	return b.String()
}

// lspciRecords writes what lspci -Dvmmnnk does.
func lspciRecords(t *testing.T, fsys fs.FS) string {
	t.Helper()
	all, err := pci.Functions(fsys)
	must(t, err)
	var b strings.Builder
	for _, f := range all {
		class := f.Class.String()
		fmt.Fprintf(&b, "Slot:\t%v\nClass:\tSome [thing] [%s]\nVendor:\tVendor [AMD] [%v]\nDevice:\tDevice 8275 [%v]\n", f.Address, class[:4], f.Vendor, f.Device)
		if f.SubsystemVendor.Known() {
			fmt.Fprintf(&b, "SVendor:\tLenovo [%v]\nSDevice:\tDevice [%v]\n", f.SubsystemVendor, f.SubsystemDevice)
		}
		fmt.Fprintf(&b, "Rev:\t0a\nProgIf:\t%s\n", class[4:])
		if f.Driver != "" {
			fmt.Fprintf(&b, "Driver:\t%s\nModule:\tm1\nModule:\tm2\n", f.Driver)
		}
		if f.Group.IsValid() {
			fmt.Fprintf(&b, "IOMMUGroup:\t%v\n", f.Group)
		}
		b.WriteString("\n")
	}
	return b.String()
}
