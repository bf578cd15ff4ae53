package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strconv"
	"strings"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/vfio"
)

// Unlimited stands for a limit that is none.
const Unlimited = math.MaxUint64

// Locked returns how many bytes a guest's QEMU locks for its devices: all memory of the
// guest, as a device may write to any of it, and the BARs that are mapped for other
// devices to reach. The kernel counts them against RLIMIT_MEMLOCK of the process
// (VFIO's type 1), or of all processes of the user together (iommufd).
func Locked(memory, bars uint64) uint64 {
	if bars > Unlimited-memory {
		return Unlimited
	}
	return memory + bars
}

// ParseLimits finds the soft and the hard limit of locked memory in /proc/PID/limits.
func ParseLimits(text string) (soft, hard uint64, err error) {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, "Max locked memory")
		if !ok {
			continue
		}
		f := strings.Fields(rest)
		if len(f) < 2 {
			break
		}
		var limits [2]uint64
		for i := range limits {
			if limits[i] = Unlimited; f[i] != "unlimited" {
				if limits[i], err = strconv.ParseUint(f[i], 10, 64); err != nil {
					return 0, 0, fmt.Errorf("%.64q is no limit", f[i])
				}
			}
		}
		return limits[0], limits[1], nil
	}
	return 0, 0, errors.New("no line Max locked memory")
}

// memlock compares the limit with what a guest takes that has half of the memory and
// the device with the largest BARs.
func (x *examination) memlock() Check {
	const file = "/proc/self/limits"
	text, err := hostfs.ReadString(x.machine, "proc/self/limits")
	if err != nil {
		return unstated(file, err)
	}
	_, hard, err := ParseLimits(text)
	switch {
	case err != nil:
		return unstated(file, err)
	case hard == Unlimited:
		return ok(file, "any amount of memory may be locked")
	}
	memory, _ := meminfo(x.machine, "MemTotal")
	need := Locked(memory/2*1024, x.largestBARs())
	if memory > 0 && hard >= need {
		return ok(file, "%s may be locked; a guest with half of the memory needs %s", size(hard), size(need))
	}
	if x.o.Root {
		return ok(file, "%s may be locked; indy raises that for guests that are run as root", size(hard))
	}
	const remedy = "run guests as root: indy then raises the limit itself, and QEMU is not root; or add the line \"@kvm - memlock unlimited\" to /etc/security/limits.d/indy.conf, and log in anew"
	if memory == 0 {
		return warning(file, remedy, "%s may be locked; a guest's QEMU locks all memory of the guest", size(hard))
	}
	return warning(file, remedy, "%s may be locked; a guest with half of the memory and the largest device needs %s", size(hard), size(need))
}

// largestBARs is what the BARs of one function take at most, in bytes, among those that
// may be handed over.
func (x *examination) largestBARs() uint64 {
	var most uint64
	for i := range x.l.Devices {
		d := &x.l.Devices[i]
		if d.PCI == nil || laptop.StaysWithHost(*d.PCI) {
			continue
		}
		resources, _ := pci.Resources(x.machine, d.PCI.Address)
		var sum uint64
		for _, r := range resources {
			if r.Kind == pci.KindBAR && r.Space == pci.SpaceMemory && sum+r.Size >= sum {
				sum += r.Size
			}
		}
		most = max(most, sum)
	}
	return most
}

// meminfo returns a number of /proc/meminfo, most in KiB.
func meminfo(fsys fs.FS, key string) (uint64, error) {
	text, err := fs.ReadFile(fsys, "proc/meminfo")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if k, v, _ := strings.Cut(line, ":"); k == key {
			n, _, _ := strings.Cut(strings.TrimSpace(v), " ")
			return strconv.ParseUint(n, 10, 54)
		}
	}
	return 0, fs.ErrNotExist
}

// size writes bytes in the unit that a person would.
func size(n uint64) string {
	for _, u := range []struct {
		shift int
		unit  string
	}{{30, "GiB"}, {20, "MiB"}, {10, "KiB"}} {
		if n >= 1<<u.shift {
			tenths := n >> u.shift * 10
			tenths += (n & (1<<u.shift - 1)) * 10 >> u.shift
			if tenths%10 == 0 {
				return fmt.Sprintf("%d %s", tenths/10, u.unit)
			}
			return fmt.Sprintf("%d.%d %s", tenths/10, tenths%10, u.unit)
		}
	}
	return plural(int(n), "byte")
}

func (x *examination) hugepages() Check {
	const file = "/proc/meminfo"
	total, err := meminfo(x.machine, "HugePages_Total")
	if err != nil {
		return unstated(file, err)
	}
	free, err1 := meminfo(x.machine, "HugePages_Free")
	each, err2 := meminfo(x.machine, "Hugepagesize")
	switch {
	case total == 0:
		// QEMU asks for transparent ones, and gets them unless it is never.
		switch x.platform.TransparentHugePages {
		case "always", "madvise":
			return ok(file, "no huge pages are set aside; guests use transparent ones")
		case "never":
			return ok(file, "no huge pages are set aside, and transparent ones are switched off: guests work, with a little less speed")
		}
		return ok(file, "no huge pages are set aside; none are needed")
	case err1 != nil || err2 != nil:
		return ok(file, "%s set aside", plural(int(total), "huge page"))
	}
	return ok(file, "%s of %s set aside, %d free", plural(int(total), "huge page"), size(each*1024), free)
}

func (x *examination) lockdown() Check {
	const file = "/sys/kernel/security/lockdown"
	boot := ""
	switch x.platform.SecureBoot.Answer {
	case iommu.Yes:
		boot = " (Secure Boot is on)"
	case iommu.No:
		boot = " (Secure Boot is off)"
	}
	switch l := x.settings.Lockdown; l {
	case iommu.LockdownNone:
		return ok(file, "the kernel is not locked down%s", boot)
	case "":
		return unknown(file, "lockdown is not stated%s", boot)
	default:
		return warning(file, "nothing for VFIO; to load modules that are not signed, or to change a device's config space, turn Secure Boot off in the firmware's setup",
			"the kernel is locked down (%s)%s: devices go to guests, but their BARs and config space cannot be changed through sysfs, and modules have to be signed", l, boot)
	}
}

// addressWidth: where Intel's unit translates fewer bits than the processor has, a guest
// that believes the processor puts BARs where no device reaches them.
func (x *examination) addressWidth() Check {
	if len(x.units) == 0 {
		if x.unitsErr == nil && !x.l.IOMMU.Enabled && !x.l.IOMMU.Unstated && len(x.l.Devices) > 0 {
			return ok("/sys/class/iommu", "no IOMMU is at work that would limit addresses")
		}
		return unstated("/sys/class/iommu", x.unitsErr)
	}
	least, file := 0, ""
	for _, u := range x.units {
		if u.Kind != "intel" {
			continue
		}
		bits := u.AddressBits()
		if bits == 0 {
			return unstated("/sys/class/iommu/"+u.Name+"/intel-iommu/cap", nil)
		}
		if least == 0 || bits < least {
			least, file = bits, "/sys/class/iommu/"+u.Name+"/intel-iommu/cap"
		}
	}
	switch {
	case least == 0:
		return ok("/sys/class/iommu", "only Intel's units have such a limit")
	case x.cpu.bits > least || x.cpu.bits == 0 && least < 46:
		of := "the processor's"
		if x.cpu.bits > 0 {
			of = fmt.Sprintf("the processor's %d", x.cpu.bits)
		}
		return warning(file, fmt.Sprintf("give guests no more than these (QEMU: -cpu host,host-phys-bits-limit=%d)", least),
			"the IOMMU translates addresses of %d bits, fewer than %s: a guest that puts memory or a BAR above %s fails", least, of, size(1<<least))
	}
	return ok(file, "the IOMMU translates addresses of %d bits", least)
}

func (x *examination) dmaEntries() Check {
	const file = "/sys/module/vfio_iommu_type1/parameters/dma_entry_limit"
	limit, err := vfio.DMAEntryLimit(x.machine)
	const usual = 65535
	switch {
	case errors.Is(err, fs.ErrNotExist) && has(x.machine, "sys/module/vfio_iommu_type1", "sys/module") == iommu.No:
		return ok("/sys/module", "vfio_iommu_type1 is not loaded; unless told otherwise it allows %d mappings", usual)
	case err != nil:
		return unstated(file, err)
	case limit < usual:
		return warning(file, fmt.Sprintf("take dma_entry_limit from /etc/modprobe.d, which leaves it at %d", usual), "a guest may have %d DMA mappings, fewer than usual", limit)
	}
	return ok(file, "a guest may have %d DMA mappings", limit)
}
