package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/iommu"
)

const (
	groupsDir = "/sys/kernel/iommu_groups"
	tablesDir = "sys/firmware/acpi/tables"
	cmdline   = "/proc/cmdline"
)

// intelParameter turns Intel's IOMMU on where the kernel was built to leave it off. AMD's
// needs none: amd_iommu=on is not even known to the kernel.
const intelParameter = "intel_iommu=on"

// What the kernel's drivers of IOMMUs are called in its configuration.
const (
	intelConfig = "CONFIG_INTEL_IOMMU"
	amdConfig   = "CONFIG_AMD_IOMMU"
)

// readTables lists the ACPI tables that describe an IOMMU; nil if the machine does not
// say which tables there are.
func readTables(fsys fs.FS) map[string]bool {
	entries, err := fs.ReadDir(fsys, tablesDir)
	if err != nil {
		return nil
	}
	tables := map[string]bool{}
	for _, e := range entries {
		switch e.Name() {
		case "DMAR", "IVRS", "VIOT":
			tables[e.Name()] = true
		}
	}
	return tables
}

func readRelease(fsys fs.FS) string {
	s, err := hostfs.ReadString(fsys, "proc/sys/kernel/osrelease")
	if err != nil || len(s) > 100 || strings.ContainsAny(s, "/\n") {
		return ""
	}
	return s
}

// argument reports whether the command line has one of those, as intel_iommu=off.
func (x *examination) argument(words ...string) string {
	for _, a := range x.settings.Arguments {
		if slices.Contains(words, a.String()) {
			return a.String()
		}
	}
	return ""
}

// mostUnits is of how many IOMMU units it is told what they can do. A notebook has two.
const mostUnits = 8

// iommu: groups are the evidence, and units; the command line is none.
func (x *examination) iommu() Check {
	s := x.l.IOMMU
	switch {
	case s.Enabled && len(s.Units) > 0:
		abilities := make([]string, 0, len(x.units)) // of which what is not stated is left out
		for _, u := range x.units[:min(len(x.units), mostUnits)] {
			abilities = append(abilities, "; "+u.String())
		}
		return ok(groupsDir, "%s, %s (%s)%s", plural(len(x.l.Groups), "group"), plural(len(s.Units), "unit"), s.Kind, strings.Join(abilities, ""))
	case s.Enabled:
		return ok(groupsDir, "%s", plural(len(x.l.Groups), "group"))
	case s.Unstated, len(x.l.Devices) == 0:
		return unstated(groupsDir, nil)
	}
	const none = "the kernel made no IOMMU groups"
	off := x.argument("iommu=off")
	switch {
	case x.tables["DMAR"]:
		if off == "" {
			off = x.argument("intel_iommu=off")
		}
		switch {
		case off != "":
			return problem(groupsDir, "take "+off+" from the kernel's parameters, and start anew", none+": it was told so by %s", off)
		case x.argument(intelParameter) != "":
			return problem(groupsDir, "look why in the kernel's log: dmesg | grep -e DMAR -e IOMMU", none+", though it was asked to and the firmware describes an IOMMU")
		case x.config(intelConfig) == iommu.No:
			return problem(groupsDir, "install a kernel with "+intelConfig, none+", which it is built without")
		case x.config(intelConfig+"_DEFAULT_ON") == iommu.Yes:
			return problem(groupsDir, "look why in the kernel's log: dmesg | grep -e DMAR -e IOMMU", none+", though it is built to and the firmware describes an IOMMU")
		}
		x.needs = append(x.needs, Need{Check: "iommu", Parameter: intelParameter})
		return problem(groupsDir, x.host.boot(intelParameter), none+"; the firmware describes an IOMMU, which the kernel leaves off unless told otherwise")
	case x.tables["IVRS"]:
		if off == "" {
			off = x.argument("amd_iommu=off")
		}
		if off != "" {
			return problem(groupsDir, "take "+off+" from the kernel's parameters, and start anew", none+": it was told so by %s", off)
		}
		if x.config(amdConfig) == iommu.No {
			return problem(groupsDir, "install a kernel with "+amdConfig, none+", which it is built without")
		}
		return problem(groupsDir, "look why in the kernel's log: dmesg | grep -e AMD-Vi; no kernel parameter is needed", none+", though the firmware describes an IOMMU")
	case x.tables != nil:
		return problem(groupsDir, x.firmwareSwitch(), none+": the firmware describes no IOMMU")
	}
	remedy := x.firmwareSwitch()
	switch x.cpu.vendor {
	case "GenuineIntel":
		remedy += "; if it is on, start the kernel with " + intelParameter
	case "":
		remedy += "; on Intel, if it is on, start the kernel with " + intelParameter
	}
	return problem(groupsDir, remedy, none)
}

// config says whether the running kernel was built with an option; it is unknown where
// no configuration of that kernel is found.
func (x *examination) config(option string) iommu.Answer {
	if x.release == "" {
		return iommu.Unknown
	}
	for _, name := range []string{"boot/config-" + x.release, "lib/modules/" + x.release + "/config", "usr/lib/modules/" + x.release + "/config"} {
		text, err := fs.ReadFile(x.files, name)
		switch {
		case err != nil || !strings.Contains(string(text), "CONFIG_"):
		case strings.Contains("\n"+string(text), "\n"+option+"=y\n"):
			return iommu.Yes
		// A configuration in part, as of a saved machine, says nothing by leaving it out.
		case strings.Contains("\n"+string(text), "\n# "+option+" is not set\n"):
			return iommu.No
		default:
			return iommu.Unknown
		}
	}
	return iommu.Unknown
}

// firmwareSwitch says what to look for in the firmware's setup.
func (x *examination) firmwareSwitch() string {
	switch {
	case x.cpu.flags["hypervisor"]:
		return "this is a virtual machine: give it an IOMMU of its own (QEMU: -device intel-iommu,intremap=on)"
	case x.cpu.vendor == "GenuineIntel":
		return "turn on VT-d in the firmware's setup (also called Intel Virtualization Technology for Directed I/O, or Kernel DMA Protection)"
	case x.cpu.vendor == "AuthenticAMD":
		return "turn on AMD-Vi in the firmware's setup (also called IOMMU, often among the chipset's or the advanced CPU settings)"
	}
	return "turn on VT-d (Intel) or AMD-Vi, also called IOMMU (AMD), in the firmware's setup"
}

func (x *examination) firmware() Check {
	const file = "/" + tablesDir
	switch {
	case x.tables["DMAR"]:
		if x.dmarErr != nil && len(x.dmar.Units) == 0 && x.dmar.Header.Length > 0 {
			return warning(file+"/DMAR", "look for an update of the firmware", "the firmware's table of the IOMMU is damaged: %v", x.dmarErr)
		}
		asks := ""
		if x.dmar.Flags&iommu.DMARPlatformOptIn != 0 {
			asks += "; it guards against DMA before the system starts, and asks the kernel to go on"
		}
		return ok(file+"/DMAR", "the firmware describes an IOMMU (DMAR, Intel)%s", asks)
	case x.tables["IVRS"]:
		if t, err := iommu.ReadIVRS(x.machine); err == nil && t.Info.DMARemapSupport() {
			return ok(file+"/IVRS", "the firmware describes an IOMMU (IVRS, AMD); it guards against DMA before the system starts")
		}
		return ok(file+"/IVRS", "the firmware describes an IOMMU (IVRS, AMD)")
	case x.tables["VIOT"]:
		return ok(file+"/VIOT", "the firmware describes an IOMMU (VIOT, virtio)")
	case x.tables == nil:
		return unstated(file, nil)
	case x.l.IOMMU.Enabled:
		return ok(file, "none of the firmware's tables describes the IOMMU, which works")
	}
	return problem(file, x.firmwareSwitch(), "the firmware describes no IOMMU: it has none, or it is switched off")
}

func (x *examination) remapping() Check {
	const file = "/proc/interrupts"
	switch x.l.IOMMU.InterruptRemapping {
	case iommu.Yes:
		return ok(file, "interrupts are remapped")
	case iommu.Unknown:
		return unstated(file, nil)
	}
	if !x.l.IOMMU.Enabled {
		return warning(file, "get the IOMMU to work first", "interrupts are not remapped, as there is no IOMMU at work")
	}
	remedy := "turn on x2APIC, or interrupt remapping, in the firmware's setup"
	switch {
	case x.cpu.flags["hypervisor"]:
		remedy = "this is a virtual machine: have its IOMMU remap interrupts (QEMU: -device intel-iommu,intremap=on and -machine kernel-irqchip=split)"
	case x.dmar.Flags&iommu.DMARX2APICOptOut != 0:
		remedy = "turn on x2APIC in the firmware's setup: the firmware asks the kernel not to use it (DMAR), and remapping may be left off with it"
	case x.dmarErr == nil && x.dmar.Flags&iommu.DMARInterruptRemapping == 0:
		remedy = "turn on interrupt remapping in the firmware's setup, or look for an update of it: its DMAR table says that the platform has none"
	}
	if off := x.argument("intremap=off", "nointremap"); off != "" {
		remedy = "take " + off + " from the kernel's parameters, and start anew"
	}
	return problem(file, remedy, "interrupts are not remapped: a device could send the host any interrupt it likes")
}

// parameter is the check of a module's switch that should be off.
func (x *examination) parameter(module, name string, is iommu.Answer) (Check, bool) {
	file := "/sys/module/" + module + "/parameters/" + name
	switch {
	case is == iommu.No:
		return ok(file, "%s is off", name), true
	case is == iommu.Yes:
		return Check{Evidence: file}, false
	case has(x.machine, "sys/module/"+module, "sys/module") == iommu.No:
		return ok("/sys/module", "%s is not loaded", module), true
	}
	return unstated(file, nil), true
}

func (x *examination) unsafeInterrupts() Check {
	c, done := x.parameter("vfio_iommu_type1", "allow_unsafe_interrupts", x.settings.UnsafeInterrupts)
	const remedy = "take allow_unsafe_interrupts from /etc/modprobe.d and from the kernel's parameters, and load the module anew"
	switch {
	case done:
		return c
	case x.l.IOMMU.InterruptRemapping == iommu.Yes:
		return warning(x.settings.UnsafeInterruptsAt, remedy, "allow_unsafe_interrupts is on; it has no effect while interrupts are remapped, and would go unseen when they are not")
	}
	return problem(x.settings.UnsafeInterruptsAt, remedy, "allow_unsafe_interrupts is on: devices are handed out whose interrupts nothing checks")
}

func (x *examination) noIOMMUMode() Check {
	c, done := x.parameter("vfio", "enable_unsafe_noiommu_mode", x.settings.NoIOMMUMode)
	const remedy = "take enable_unsafe_noiommu_mode from /etc/modprobe.d and from the kernel's parameters, and start anew"
	if len(x.l.IOMMU.Units) == 0 {
		for _, g := range x.l.Groups {
			if iommu.IsNoIOMMU(x.machine, g.ID) {
				return problem(groupsDir+"/"+g.ID.String()+"/name", remedy, "group %s is made up by VFIO's no-IOMMU mode: nothing keeps its device out of the host's memory", g.ID)
			}
		}
	}
	if done {
		return c
	}
	return problem(c.Evidence, remedy, "VFIO's no-IOMMU mode is on: it hands out devices that nothing keeps out of the host's memory")
}

func (x *examination) acsOverride() Check {
	switch {
	case !x.settings.ArgumentsKnown:
		return unstated(cmdline, missingOr(x.settingsErr))
	case len(x.settings.ACSOverride) > 0:
		return problem(cmdline, "take pcie_acs_override from the kernel's parameters; see indy groups for what belongs together then",
			"pcie_acs_override=%s: groups may look parted that can reach each other", strings.Join(x.settings.ACSOverride, ","))
	case len(x.settings.ConfigACS) > 0:
		return warning(cmdline, "take it from the kernel's parameters unless you know why it is there",
			"pci=%s changes what ports let pass between devices", strings.Join(x.settings.ConfigACS, ";"))
	}
	return ok(cmdline, "nothing on the command line changes what belongs to a group")
}

// missingOr is the first cause of an error that says why something was not stated.
func missingOr(err error) error {
	if err == nil {
		return fs.ErrNotExist
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		return path
	}
	return fmt.Errorf("%w", err)
}
