package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/internal/plain"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/laptop"
)

// A State is what a check found.
type State string

// The states.
const (
	OK      State = "ok"      // as it should be, or good to know
	Warning State = "warning" // works, but not as well or as safely as it could
	Problem State = "problem" // devices cannot be handed over, or guests not be run, as it is
	Unknown State = "unknown" // the machine does not state it, or it could not be read
)

// A Check is one thing that was looked at.
type Check struct {
	ID       string `json:"id"`
	State    State  `json:"state"`
	Detail   string `json:"detail"`   // what is so, in one line
	Evidence string `json:"evidence"` // the file that says so, as /proc/cpuinfo
	Remedy   string `json:"remedy"`   // what to do; never empty for a problem
}

// Options are what Examine cannot read from the machine itself. The zero value is
// that of a saved machine.
type Options struct {
	// Files is where the programs and the configuration of the host are: the machine
	// itself if nil.
	Files fs.FS
	// Names is where the lists of names are; Files if nil.
	Names fs.FS
	// KVM tries whether a guest runs on /dev/kvm, and says how it came to that. It is
	// nil where nothing can be run.
	KVM func() (works bool, why string, err error)
	// Leases are the devices in guests' hands, and LeasesKnown that they were read.
	Leases      []assign.Lease
	LeasesKnown bool
	// Root is set when guests are run as root, who raises limits as needed.
	Root bool
}

// A Report is what Examine found.
type Report struct {
	Checks []Check
	Host   Host
	// Needs are what edits of configuration files can mend.
	Needs []Need
}

// A Need is something that a configuration file has to say.
type Need struct {
	Check     string   // the check that it mends
	Parameter string   // of the kernel, as intel_iommu=on; or
	Modules   []string // to be loaded at each start
}

// Count returns how many checks are in a state.
func (r Report) Count(s State) (n int) {
	for _, c := range r.Checks {
		if c.State == s {
			n++
		}
	}
	return n
}

// examination is what the checks look at, each file read once.
type examination struct {
	machine      fs.FS
	files, names fs.FS
	o            Options
	l            *laptop.Laptop
	host         Host
	cpu          processor
	platform     laptop.Platform
	dmar         iommu.DMAR // as far as it could be read
	dmarErr      error
	units        []iommu.Unit
	unitsErr     error
	settings     iommu.Settings
	settingsErr  error
	tables       map[string]bool // ACPI tables of an IOMMU that are there; nil if not known
	release      string          // of the kernel; empty if not known
	needs        []Need
}

// Examine looks at the machine that l was read from. It may block as long as reading
// sysfs, procfs and files of the host does, and as o.KVM takes.
func Examine(fsys fs.FS, l *laptop.Laptop, o Options) Report {
	x := &examination{machine: fsys, files: o.Files, names: o.Names, o: o, l: l}
	if x.files == nil {
		x.files = fsys
	}
	if x.names == nil {
		x.names = x.files
	}
	x.host = ReadHost(fsys, x.files)
	x.cpu = readProcessor(fsys)
	if x.cpu.vendor == "" {
		x.cpu.vendor = chipset(l)
	}
	x.platform, _ = laptop.ReadPlatform(fsys) // what could not be read is unknown
	x.dmar, x.dmarErr = iommu.ReadDMAR(fsys)
	x.units, x.unitsErr = iommu.ReadUnits(fsys)
	x.settings, x.settingsErr = iommu.ReadSettings(fsys)
	x.tables = readTables(fsys)
	x.release = readRelease(fsys)
	var checks []Check
	for _, c := range []struct {
		id    string
		check func() Check
	}{
		{"virtualization", x.virtualization}, {"kvm", x.kvm}, {"platform", x.trust},
		{"iommu", x.iommu}, {"iommu-firmware", x.firmware}, {"interrupt-remapping", x.remapping},
		{"unsafe-interrupts", x.unsafeInterrupts}, {"no-iommu-mode", x.noIOMMUMode}, {"acs-override", x.acsOverride},
		{"vfio", x.vfio}, {"lockdown", x.lockdown}, {"address-width", x.addressWidth}, {"dma-entries", x.dmaEntries},
		{"memlock", x.memlock}, {"hugepages", x.hugepages},
		{"qemu", x.qemu}, {"uefi-firmware", x.uefi}, {"account", x.account}, {"pci-ids", x.pciIDs}, {"usb-ids", x.usbIDs},
		{"tpm-keys", x.tpmKeys},
		{"devices", x.devices}, {"boot-display", x.bootDisplay}, {"leftovers", x.leftovers},
	} {
		found := c.check()
		found.ID = c.id
		found.Detail, found.Evidence = plain.Line(found.Detail, 1000), plain.Line(found.Evidence, 300)
		found.Remedy = plain.Line(found.Remedy, 1000)
		checks = append(checks, found)
	}
	return Report{checks, x.host, x.needs}
}

func ok(evidence, format string, args ...any) Check {
	return Check{State: OK, Evidence: evidence, Detail: fmt.Sprintf(format, args...)}
}

func warning(evidence, remedy, format string, args ...any) Check {
	return Check{State: Warning, Evidence: evidence, Detail: fmt.Sprintf(format, args...), Remedy: remedy}
}

func problem(evidence, remedy, format string, args ...any) Check {
	return Check{State: Problem, Evidence: evidence, Detail: fmt.Sprintf(format, args...), Remedy: remedy}
}

func unknown(evidence, format string, args ...any) Check {
	return Check{State: Unknown, Evidence: evidence, Detail: fmt.Sprintf(format, args...)}
}

// unstated is the check of what the file would say that is not there, or not readable.
func unstated(evidence string, err error) Check {
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		if errors.Is(err, fs.ErrPermission) {
			return Check{State: Unknown, Evidence: evidence, Detail: short(evidence) + " may not be read", Remedy: "run it as root"}
		}
		return unknown(evidence, "%s could not be read: %v", short(evidence), err)
	}
	return unknown(evidence, "%s is not stated", short(evidence))
}

// short is a file's name as far as it fits into a line with the rest of the sentence.
func short(file string) string {
	const most = 36
	if len(file) > most {
		return path.Base(file)
	}
	return file
}

// has says whether a file is there. It is unknown when nothing is in a directory above
// it that all hosts have: then the machine does not state what is below it.
func has(fsys fs.FS, name, above string) iommu.Answer {
	_, err := fs.Stat(fsys, name)
	switch {
	case err == nil:
		return iommu.Yes
	case !errors.Is(err, fs.ErrNotExist):
		return iommu.Unknown
	}
	if entries, err := fs.ReadDir(fsys, above); err != nil || len(entries) == 0 {
		return iommu.Unknown
	}
	return iommu.No
}

// list joins words as a sentence does.
func list(words []string) string {
	switch n := len(words); n {
	case 0:
		return "none"
	case 1:
		return words[0]
	default:
		return strings.Join(words[:n-1], ", ") + " and " + words[n-1]
	}
}

// plural is a number and its noun.
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprint(n, " ", noun, "s")
}
