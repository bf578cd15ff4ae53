package doctor

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/project-independence/indy/guest/qemu"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/ids"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
)

// A processor is what /proc/cpuinfo says of the first one.
type processor struct {
	known  bool
	vendor string // GenuineIntel, AuthenticAMD
	flags  map[string]bool
	bits   int // of physical addresses; 0 if not stated
	err    error
}

func readProcessor(fsys fs.FS) processor {
	p := processor{flags: map[string]bool{}}
	data, err := fs.ReadFile(fsys, "proc/cpuinfo")
	if err != nil {
		p.err = err
		return p
	}
	for line := range strings.Lines(string(data)) {
		key, value, ok := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch strings.TrimSpace(key) {
		case "":
			if !ok && p.known {
				return p // the end of the first
			}
		case "vendor_id":
			p.vendor = value
		case "flags":
			p.known = true
			for flag := range strings.FieldsSeq(value) {
				if len(p.flags) < 1000 {
					p.flags[flag] = true
				}
			}
		case "address sizes":
			_, _ = fmt.Sscanf(value, "%d bits physical", &p.bits)
		}
	}
	return p
}

// chipset tells the maker of the processor by that of the host bridge it brings along.
func chipset(l *laptop.Laptop) string {
	for i := range l.Devices {
		if f := l.Devices[i].PCI; f != nil && f.Class.Sub() == 0x0600 {
			switch f.Vendor {
			case pci.NewID(0x8086):
				return "GenuineIntel"
			case pci.NewID(0x1022):
				return "AuthenticAMD"
			}
		}
	}
	return ""
}

func (x *examination) virtualization() Check {
	const file = "/proc/cpuinfo"
	switch {
	case !x.cpu.known:
		return unstated(file, x.cpu.err)
	case x.cpu.flags["vmx"]:
		return ok(file, "the processor has VT-x (vmx)")
	case x.cpu.flags["svm"]:
		return ok(file, "the processor has AMD-V (svm)")
	}
	remedy := "turn on VT-x (Intel: Virtualization Technology) or SVM (AMD) in the firmware's setup"
	switch {
	case x.cpu.flags["hypervisor"]:
		remedy = "this is a virtual machine: let it run guests of its own (nested virtualisation) on its host"
	case x.cpu.vendor == "GenuineIntel":
		remedy = "turn on VT-x (also called Intel Virtualization Technology) in the firmware's setup"
	case x.cpu.vendor == "AuthenticAMD":
		remedy = "turn on SVM (also called AMD-V, or SVM Mode) in the firmware's setup"
	}
	return problem(file, remedy, "the processor shows neither VT-x (vmx) nor AMD-V (svm)")
}

func (x *examination) kvm() Check {
	const file = "/dev/kvm"
	remedy := "run: modprobe kvm_intel"
	switch {
	case x.cpu.known && !x.cpu.flags["vmx"] && !x.cpu.flags["svm"]:
		remedy = "get virtualization to work first"
	case x.cpu.flags["svm"]:
		remedy = "run: modprobe kvm_amd"
	case !x.cpu.known:
		remedy = "run: modprobe kvm_intel, or kvm_amd"
	}
	there := has(x.machine, "dev/kvm", "dev")
	switch {
	case there == iommu.No:
		return problem(file, remedy, "/dev/kvm is not there: guests would run ten times slower, or worse")
	case there == iommu.Unknown:
		return unstated(file, nil)
	case x.o.KVM == nil:
		return ok(file, "/dev/kvm is there; whether a guest runs on it, only the running host can tell")
	}
	works, why, err := x.o.KVM()
	switch {
	case err != nil:
		return unknown(file, "/dev/kvm is there, but could not be tried: %v", err)
	case !works:
		remedy = "look in the kernel's log: dmesg | grep -i kvm; and let who runs QEMU open /dev/kvm (group kvm)"
		switch {
		case !x.o.Root && strings.Contains(why, "may not be opened"):
			remedy = "run: usermod -a -G kvm USER, with the name of who runs guests, and log in anew; or run guests as root"
		case x.cpu.flags["hypervisor"]:
			remedy = "this is a virtual machine: let it run guests of its own (nested virtualisation) on its host; until then guests are emulated, and slow"
		}
		return problem(file, remedy, "%s", why)
	}
	return ok(file, "%s", why)
}

// vfio: without these two modules no device can be handed over.
func (x *examination) vfio() Check {
	const file = "/sys/module"
	modules := []string{"vfio_pci", "vfio_iommu_type1"}
	var missing []string
	for _, m := range modules {
		if has(x.machine, "sys/module/"+m, "sys/module") != iommu.Yes && (m != "vfio_pci" || has(x.machine, "sys/bus/pci/drivers/vfio-pci", "sys") != iommu.Yes) {
			missing = append(missing, m)
		}
	}
	if len(missing) == 0 {
		if has(x.machine, "sys/module/iommufd", "sys/module") == iommu.Yes {
			return ok(file, "vfio-pci and vfio_iommu_type1 are loaded, and so is iommufd")
		}
		return ok(file, "vfio-pci and vfio_iommu_type1 are loaded")
	}
	available, evidence := x.modules()
	var not []string
	builtin := 0
	for _, m := range missing {
		switch available[m] {
		case builtIn:
			builtin++
		case absent:
			not = append(not, m)
		}
	}
	switch {
	case available == nil && has(x.machine, "sys/module/vfio", "sys/module") == iommu.Unknown:
		return unstated(file, nil)
	case available == nil && x.release != "" && has(x.files, "lib/modules/"+x.release, "usr/bin") == iommu.No:
		// modprobe would not find them, whatever is loaded at each start.
		dir := "/lib/modules/" + x.release
		if others, _ := fs.ReadDir(x.files, "lib/modules"); len(others) > 0 {
			return problem(dir, "start the machine anew, with the kernel whose modules are installed", "not loaded: %s; the modules of the running kernel are not installed any more", list(missing))
		}
		return problem(dir, "start a kernel with its modules, or one with CONFIG_VFIO_PCI and CONFIG_VFIO_IOMMU_TYPE1 built in", "not loaded: %s; there are no modules of the running kernel", list(missing))
	case available != nil && builtin == len(missing):
		return ok(evidence, "built into the kernel: %s", list(missing))
	case available != nil && len(not) > 0:
		return problem(evidence, "install a kernel, or its package of further modules, with CONFIG_VFIO_PCI and CONFIG_VFIO_IOMMU_TYPE1", "this kernel has no module %s", list(not))
	}
	x.needs = append(x.needs, Need{Check: "vfio", Modules: []string{"vfio-pci"}})
	return warning(file, "run: modprobe vfio-pci; indy doctor --fix has it loaded at each start", "not loaded: %s", list(missing))
}

// How a module is there.
const (
	absent = iota
	loadable
	builtIn
)

// modules says how VFIO's modules are there, by the lists that depmod makes for the
// running kernel; nil if there is none.
func (x *examination) modules() (map[string]int, string) {
	if x.release == "" {
		return nil, ""
	}
	for _, dir := range []string{"lib/modules/", "usr/lib/modules/", "run/booted-system/kernel-modules/lib/modules/"} {
		dir += x.release
		dep, err := fs.ReadFile(x.files, dir+"/modules.dep")
		if err != nil {
			continue
		}
		found := map[string]int{}
		for line := range strings.Lines(string(dep)) {
			file, _, _ := strings.Cut(line, ":")
			found[moduleName(file)] = loadable
		}
		builtin, _ := fs.ReadFile(x.files, dir+"/modules.builtin")
		for line := range strings.Lines(string(builtin)) {
			found[moduleName(line)] = builtIn
		}
		return found, "/" + dir + "/modules.dep"
	}
	return nil, ""
}

// moduleName is vfio_pci for kernel/drivers/vfio/pci/vfio-pci.ko.xz.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(strings.TrimSpace(file)), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// find is the check of a file that is in one of several places.
func (x *examination) find(files fs.FS, above string, where []string, missing State, what string, s software) Check {
	for _, name := range where {
		if _, err := fs.Stat(files, name); err == nil {
			return ok("/"+name, "%s is installed", what)
		}
	}
	if has(files, where[0], above) == iommu.Unknown {
		return unstated("/"+where[0], nil)
	}
	return Check{State: missing, Evidence: "/" + where[0], Detail: what + " is not installed", Remedy: x.host.install(s)}
}

func (x *examination) qemu() Check {
	return x.find(x.files, "usr/bin", []string{"usr/bin/qemu-system-x86_64", "usr/local/bin/qemu-system-x86_64", "usr/libexec/qemu-kvm",
		"bin/qemu-system-x86_64", "run/current-system/sw/bin/qemu-system-x86_64"}, Problem, "QEMU", qemuPackage)
}

// uefi looks where guest/qemu looks for the firmware's code.
func (x *examination) uefi() Check {
	var where []string
	for _, pair := range qemu.Firmware() {
		where = append(where, strings.TrimPrefix(pair[0], "/"))
	}
	return x.find(x.files, "usr/share", where, Warning, "UEFI firmware for guests", uefiPackage)
}

func (x *examination) pciIDs() Check { return x.ids(ids.PCI(x.names), "pci.ids", pciPackage) }

func (x *examination) usbIDs() Check { return x.ids(ids.USB(x.names), "usb.ids", usbPackage) }

func (x *examination) ids(f *ids.File, name string, s software) Check {
	file := "/usr/share/misc/" + name
	switch err := f.Err(); {
	case err == nil:
		return ok(file, "the list of names %s is there", name)
	case has(x.names, "usr/share/misc", "usr/share") == iommu.Unknown:
		return unstated(file, nil)
	}
	return warning(file, x.host.install(s), "the list of names %s is missing: devices show as numbers", name)
}

// account: QEMU never runs as root. Without the account each run gets an identity that
// nobody has, which is as good.
func (x *examination) account() Check {
	const name, file = "indy-qemu", "/etc/passwd"
	passwd, err := hostfs.ReadString(x.files, "etc/passwd")
	if err != nil {
		return unstated(file, err)
	}
	gid := ""
	for line := range strings.Lines(passwd) {
		if f := strings.Split(strings.TrimSpace(line), ":"); f[0] == name && len(f) > 3 {
			gid = f[3]
		}
	}
	if gid == "" {
		return ok(file, "there is no account %s: each guest's QEMU gets a user number that nobody has", name)
	}
	group, err := hostfs.ReadString(x.files, "etc/group")
	if err != nil {
		return unstated("/etc/group", err)
	}
	for line := range strings.Lines(group) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if f[0] == "kvm" && len(f) > 3 && (f[2] == gid || slices.Contains(strings.Split(f[3], ","), name)) {
			return ok("/etc/group", "QEMU runs as %s, which is in the group kvm", name)
		}
	}
	return warning("/etc/group", "run: usermod -a -G kvm "+name, "QEMU runs as %s, which is not in the group kvm: QEMU before 9.0 cannot open /dev/kvm", name)
}
