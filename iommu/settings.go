package iommu

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/plain"
	"github.com/project-independence/indy/pci"
)

// Lockdown is how far the kernel keeps root from changing it, which distributions turn
// on with Secure Boot (/sys/kernel/security/lockdown). It is empty when not known, as
// of a kernel without it.
type Lockdown string

// The levels of lockdown. From integrity on, programs can neither write a function's
// config space nor map its BARs through sysfs; VFIO may.
const (
	LockdownNone            Lockdown = "none"
	LockdownIntegrity       Lockdown = "integrity"
	LockdownConfidentiality Lockdown = "confidentiality"
)

// String returns the level, or unknown.
func (l Lockdown) String() string {
	if l == "" {
		return "unknown"
	}
	return string(l)
}

// A GroupDomain is the kind of default domain that a group has, see [Type].
type GroupDomain struct {
	Group GroupID
	Type  string
}

// A Parameter is one of a kernel module, as it is in force.
type Parameter struct{ Module, Name, Value string }

// String returns such as "vfio_pci.ids=10de:2520".
func (p Parameter) String() string { return p.Module + "." + p.Name + "=" + p.Value }

// Settings is what the kernel was told that matters for handing devices to guests.
type Settings struct {
	// UnsafeInterrupts says whether VFIO hands out devices though interrupts are not
	// remapped, and UnsafeInterruptsAt by which file; see [ReadUnsafeInterrupts].
	UnsafeInterrupts   Answer
	UnsafeInterruptsAt string
	// NoIOMMUMode says whether VFIO makes up groups for devices that nothing isolates
	// (/sys/module/vfio/parameters/enable_unsafe_noiommu_mode).
	NoIOMMUMode Answer
	Lockdown    Lockdown
	Domains     []GroupDomain // in the order of the groups' numbers
	Parameters  []Parameter   // of the modules of VFIO and of the IOMMU, by name

	CommandLine
}

// ReadSettings reads what the kernel was told. What a machine does not state, or does
// not let be read, is unknown; the error joins what could not be read for other
// reasons, each an *[OpError].
func ReadSettings(fsys fs.FS) (Settings, error) {
	var s Settings
	var errs []error
	note := func(op string, err error) {
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			errs = append(errs, &OpError{op, GroupID{}, err})
		}
	}
	const modules = "sys/module/"
	var err error
	s.UnsafeInterrupts, s.UnsafeInterruptsAt, err = ReadUnsafeInterrupts(fsys)
	note("read whether interrupts may be unsafe", err)
	s.NoIOMMUMode, err = boolAt(fsys, modules+"vfio/parameters/enable_unsafe_noiommu_mode")
	if errors.Is(err, fs.ErrNotExist) {
		// A loaded vfio without the parameter was built without the mode.
		if _, loaded := fs.Lstat(fsys, modules+"vfio/initstate"); loaded == nil {
			s.NoIOMMUMode, err = No, nil
		}
	}
	note("read whether there is a no-IOMMU mode", err)

	s.Lockdown, err = ReadLockdown(fsys)
	note("read the kernel's lockdown", err)

	s.Domains, err = readDomains(fsys)
	note("read the types of IOMMU groups", err)
	s.Parameters, err = readParameters(fsys)
	note("read parameters of modules", err)

	s.CommandLine, err = ReadCommandLine(fsys)
	note("read the kernel's command line", err)
	return s, errors.Join(errs...)
}

// ReadUnsafeInterrupts reads whether VFIO hands out devices though interrupts are not
// remapped: allow_unsafe_interrupts of vfio_iommu_type1 or of iommufd in
// /sys/module/*/parameters, whichever is used. The file is that which says yes, or else one
// that says no; the answer is Unknown while neither module is loaded. The error is the
// kernel's, and joins all but [fs.ErrNotExist].
func ReadUnsafeInterrupts(fsys fs.FS) (answer Answer, file string, err error) {
	var errs []error
	for _, module := range []string{"vfio_iommu_type1", "iommufd"} {
		name := "sys/module/" + module + "/parameters/allow_unsafe_interrupts"
		a, err := boolAt(fsys, name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		if a > answer {
			answer, file = a, "/"+name
		}
	}
	return answer, file, errors.Join(errs...)
}

// ReadLockdown reads how far root is kept from changing the kernel, from
// /sys/kernel/security/lockdown. The error is the kernel's, [fs.ErrNotExist] on a kernel
// without lockdown.
func ReadLockdown(fsys fs.FS) (Lockdown, error) {
	text, err := hostfs.ReadString(fsys, "sys/kernel/security/lockdown")
	if err != nil {
		return "", err
	}
	return parseLockdown(text)
}

// boolAt reads a module's parameter that is Y or N.
func boolAt(fsys fs.FS, name string) (Answer, error) {
	s, err := hostfs.ReadString(fsys, name)
	if err != nil {
		return Unknown, err
	}
	switch s {
	case "Y", "y", "1":
		return Yes, nil
	case "N", "n", "0":
		return No, nil
	}
	return Unknown, fmt.Errorf("%s: %q is neither Y nor N", name, plain.Short(s))
}

// parseLockdown finds the level in brackets: none [integrity] confidentiality.
func parseLockdown(s string) (Lockdown, error) {
	for f := range strings.FieldsSeq(s) {
		switch l := Lockdown(strings.TrimSuffix(strings.TrimPrefix(f, "["), "]")); {
		case f != "["+string(l)+"]":
		case l == LockdownNone || l == LockdownIntegrity || l == LockdownConfidentiality:
			return l, nil
		}
	}
	return "", fmt.Errorf("sys/kernel/security/lockdown: %q names no level", plain.Short(s))
}

func readDomains(fsys fs.FS) ([]GroupDomain, error) {
	entries, err := fs.ReadDir(fsys, groupsDir)
	if err != nil {
		return nil, err
	}
	var domains []GroupDomain
	var errs []error
	for _, e := range entries {
		id, err := pci.ParseGroupID(e.Name())
		if err != nil {
			continue
		}
		switch text, err := Type(fsys, id); {
		case err == nil:
			domains = append(domains, GroupDomain{id, plain.Line(text, 32)})
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission):
			errs = append(errs, err)
		}
	}
	slices.SortFunc(domains, func(a, b GroupDomain) int { return a.Group.Compare(b.Group) })
	return domains, errors.Join(errs...)
}

func readParameters(fsys fs.FS) ([]Parameter, error) {
	var all []Parameter
	var errs []error
	for _, module := range []string{"amd_iommu", "intel_iommu", "iommu", "iommufd", "vfio", "vfio_iommu_type1", "vfio_pci", "vfio_pci_core"} {
		dir := "sys/module/" + module + "/parameters"
		entries, err := fs.ReadDir(fsys, dir)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
			continue
		}
		for _, e := range entries {
			value, err := hostfs.ReadString(fsys, dir+"/"+e.Name())
			if err == nil {
				all = append(all, Parameter{module, plain.Line(e.Name(), 64), plain.Line(value, 256)})
			} else if !errors.Is(err, fs.ErrPermission) && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	return all, errors.Join(errs...)
}
