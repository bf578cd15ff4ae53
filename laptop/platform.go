package laptop

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/iommu"
)

// A Trait is one thing that a platform has or has not. The zero Trait is unknown.
type Trait struct {
	Answer iommu.Answer `json:"answer"`
	// Detail says which it is, or why the answer is what it is, in few words.
	Detail string `json:"detail"`
	// Evidence is the file that says so, and what to look at when it is unknown.
	Evidence string `json:"evidence"`
}

// String returns such as "yes (VT-x)".
func (t Trait) String() string {
	if t.Detail == "" {
		return t.Answer.String()
	}
	return t.Answer.String() + " (" + t.Detail + ")"
}

// A HugePages is the huge pages of one size that are set aside.
type HugePages struct {
	Size  int64 `json:"size"` // of one, in bytes
	Total int64 `json:"total"`
	Free  int64 `json:"free"`
}

// A Platform is what processor, firmware and kernel bring for running guests.
type Platform struct {
	Virtualization   Trait `json:"virtualization"`    // VT-x or AMD-V, by the flags in /proc/cpuinfo
	KVM              Trait `json:"kvm"`               // the kernel's, ready to be used
	IOMMUTable       Trait `json:"iommu_table"`       // the firmware describes VT-d or AMD-Vi
	IOMMUUnits       Trait `json:"iommu_units"`       // the kernel runs them
	TXT              Trait `json:"txt"`               // the processor can launch measured code
	ManagementEngine Trait `json:"management_engine"` // Intel's, and its version
	AMT              Trait `json:"amt"`               // its firmware lets the machine be managed over the network
	TPM              Trait `json:"tpm"`               // with its version
	UEFI             Trait `json:"uefi"`              // the kernel was started by it, not by a BIOS
	SecureBoot       Trait `json:"secure_boot"`       // and it checked what it started

	Memory    int64       `json:"memory"`     // what the kernel has to give, in bytes; 0 when not known
	HugePages []HugePages `json:"huge_pages"` // by size, smallest first; none when not known
	// TransparentHugePages is always, madvise or never; empty when not known.
	TransparentHugePages string `json:"transparent_huge_pages"`
}

// ReadPlatform reads what the platform has. It needs no root. What a machine does not
// state is unknown; the error joins what could not be read for other reasons than that
// it is not there or only root may read it. It wakes nothing.
func ReadPlatform(fsys fs.FS) (Platform, error) {
	r := platform{fsys: fsys}
	p := Platform{HugePages: []HugePages{}}
	cpu, flags := r.cpu()
	p.Virtualization, p.TXT = virtualization(flags), txt(flags)
	p.KVM = r.kvm()
	p.IOMMUTable, p.IOMMUUnits = r.iommuTable(), r.iommuUnits()
	p.ManagementEngine = r.managementEngine(cpu)
	p.AMT = r.amt(p.ManagementEngine)
	p.TPM = r.tpm()
	p.UEFI = r.uefi()
	p.SecureBoot = r.secureBoot(p.UEFI)
	r.memory(&p)
	if len(r.errs) > 0 {
		return p, fmt.Errorf("read platform: %w", errors.Join(r.errs...))
	}
	return p, nil
}

// A platform is one that is being read.
type platform struct {
	fsys fs.FS
	errs []error
}

func (r *platform) note(err error) {
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		r.errs = append(r.errs, err)
	}
}

// read returns what a file says in a line, empty when it cannot be read.
func (r *platform) read(name string) string {
	s, err := hostfs.ReadString(r.fsys, name)
	r.note(err)
	return line(s)
}

// list returns the names in a directory, and whether it is there.
func (r *platform) list(name string) (names []string, ok bool) {
	entries, err := fs.ReadDir(r.fsys, name)
	r.note(err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err == nil
}

func (r *platform) there(name string) bool {
	_, err := fs.Lstat(r.fsys, name)
	r.note(err)
	return err == nil
}

// cpu returns the maker and the flags of the first processor; the flags are nil when
// they are not stated, as on ARM.
func (r *platform) cpu() (vendor string, flags []string) {
	text, err := fs.ReadFile(r.fsys, "proc/cpuinfo")
	r.note(err)
	for l := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(l, ":")
		switch strings.TrimSpace(key) {
		case "vendor_id":
			vendor = strings.TrimSpace(value)
		case "flags":
			return vendor, strings.Fields(value)
		}
	}
	return vendor, nil
}

func virtualization(flags []string) Trait {
	t := Trait{Evidence: "/proc/cpuinfo"}
	switch {
	case flags == nil:
	case slices.Contains(flags, "vmx"):
		t.Answer, t.Detail = iommu.Yes, "VT-x"
	case slices.Contains(flags, "svm"):
		t.Answer, t.Detail = iommu.Yes, "AMD-V"
	case slices.Contains(flags, "hypervisor"):
		t.Answer, t.Detail = iommu.No, "this is a virtual machine, and its hypervisor does not pass it on"
	default:
		t.Answer, t.Detail = iommu.No, "the processor does not have it, or the firmware turned it off"
	}
	return t
}

func txt(flags []string) Trait {
	t := Trait{Evidence: "/proc/cpuinfo"}
	switch {
	case flags == nil:
	case slices.Contains(flags, "smx"):
		t.Answer, t.Detail = iommu.Yes, "the processor has SMX; the firmware may still leave TXT off"
	default:
		t.Answer = iommu.No
	}
	return t
}

// kvm asks for a module as well, because /dev/kvm is made at boot on many systems, be
// there a module or not.
func (r *platform) kvm() Trait {
	t := Trait{Evidence: "/sys/module"}
	modules, ok := r.list("sys/module")
	if !ok {
		return t
	}
	i := slices.IndexFunc(modules, func(m string) bool { return strings.HasPrefix(m, "kvm_") })
	if i < 0 {
		t.Answer, t.Detail = iommu.No, "neither kvm_intel nor kvm_amd is loaded"
		return t
	}
	t.Detail = line(modules[i])
	nodes, ok := r.list("dev")
	switch t.Evidence = "/dev/kvm"; {
	case slices.Contains(nodes, "kvm"):
		t.Answer = iommu.Yes
	case ok:
		t.Answer, t.Detail = iommu.No, t.Detail+" is loaded, but there is no node"
	}
	return t
}

// iommuTable looks for the table by its name, which everybody may. A firmware has
// others; a listing without any says nothing.
func (r *platform) iommuTable() Trait {
	const dir = "sys/firmware/acpi/tables"
	t := Trait{Evidence: "/" + dir}
	names, _ := r.list(dir)
	for _, of := range []struct{ table, what string }{{"DMAR", "Intel VT-d"}, {"IVRS", "AMD-Vi"}, {"VIOT", "virtio"}} {
		if slices.Contains(names, of.table) {
			return Trait{iommu.Yes, of.what, t.Evidence + "/" + of.table}
		}
	}
	if slices.ContainsFunc(names, func(n string) bool { return n == "FACP" || n == "DSDT" || n == "APIC" }) {
		t.Answer, t.Detail = iommu.No, "the firmware does not have it, or it is turned off there"
	}
	return t
}

func (r *platform) iommuUnits() Trait {
	const dir = "sys/class/iommu"
	t := Trait{Evidence: "/" + dir}
	switch names, ok := r.list(dir); {
	case len(names) > 0:
		t.Answer, t.Detail = iommu.Yes, line(strings.Join(names, " "))
	case ok:
		t.Answer = iommu.No
	}
	return t
}

func (r *platform) tpm() Trait {
	const dir = "sys/class/tpm"
	t := Trait{Evidence: "/" + dir}
	names, ok := r.list(dir)
	switch {
	case len(names) > 0:
		t.Answer, t.Evidence = iommu.Yes, path.Join("/", dir, names[0], "tpm_version_major")
		switch v := r.read(t.Evidence[1:]); v {
		case "1":
			t.Detail = "1.2"
		case "2":
			t.Detail = "2.0"
		default:
			t.Detail = v
		}
	case ok:
		t.Answer = iommu.No
	}
	return t
}

// uefi goes by the directory that the kernel makes only when UEFI started it. That it
// is missing means something where the firmware's others are.
func (r *platform) uefi() Trait {
	const dir = "sys/firmware/efi"
	t := Trait{Evidence: "/" + dir}
	switch {
	case r.there(dir):
		t.Answer = iommu.Yes
		if bits := r.read(dir + "/fw_platform_size"); bits != "" {
			t.Detail = bits + " bits"
		}
	case r.there("sys/firmware/acpi"):
		t.Answer, t.Detail = iommu.No, "started by a BIOS, or by UEFI in its place"
	}
	return t
}

// secureBoot reads UEFI's variable: four bytes of attributes, and one that is 1 or 0
// (UEFI 2.10, section 3.3).
func (r *platform) secureBoot(uefi Trait) Trait {
	const name = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
	if uefi.Answer == iommu.No {
		return Trait{iommu.No, "there is none without UEFI", uefi.Evidence}
	}
	t := Trait{Evidence: "/" + name}
	data, err := fs.ReadFile(r.fsys, name)
	r.note(err)
	switch {
	case err != nil:
	case len(data) != 5 || data[4] > 1:
		r.errs = append(r.errs, fmt.Errorf("%s: %d bytes that are no variable of that name", name, len(data)))
	case data[4] == 1:
		t.Answer = iommu.Yes
	default:
		t.Answer = iommu.No
	}
	return t
}

// memory reads how much there is, and how much of it in huge pages.
func (r *platform) memory(p *Platform) {
	text, err := fs.ReadFile(r.fsys, "proc/meminfo")
	r.note(err)
	for l := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(l, "MemTotal:"); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 53)
			if err != nil {
				r.errs = append(r.errs, fmt.Errorf("proc/meminfo: %w", err))
			}
			p.Memory = max(n, 0) << 10
		}
	}
	const dir = "sys/kernel/mm/hugepages"
	sizes, _ := r.list(dir)
	for _, s := range sizes {
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimPrefix(s, "hugepages-"), "kB"), 10, 40)
		if err != nil || kib <= 0 {
			continue
		}
		total, err1 := r.count(dir + "/" + s + "/nr_hugepages")
		free, err2 := r.count(dir + "/" + s + "/free_hugepages")
		if err1 == nil && err2 == nil {
			p.HugePages = append(p.HugePages, HugePages{kib << 10, total, free})
		}
	}
	slices.SortFunc(p.HugePages, func(a, b HugePages) int { return cmp.Compare(a.Size, b.Size) })
	if _, in, ok := strings.Cut(r.read("sys/kernel/mm/transparent_hugepage/enabled"), "["); ok {
		p.TransparentHugePages, _, _ = strings.Cut(in, "]")
	}
}

func (r *platform) count(name string) (int64, error) {
	s, err := hostfs.ReadString(r.fsys, name)
	if err != nil {
		r.note(err)
		return 0, err
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err == nil && n < 0 {
		err = strconv.ErrRange
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
		r.errs = append(r.errs, err)
	}
	return n, err
}
