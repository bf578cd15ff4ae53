package laptop

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/project-independence/indy/internal/plain"
	"github.com/project-independence/indy/iommu"
)

// A kernel is what the kernel was told that bears on every hand-over.
type kernel struct {
	iommu.CommandLine
	unsafe   string // the file in which VFIO is told to do without interrupt remapping, empty if in none
	lockdown iommu.Lockdown
}

// readKernel reads /proc/cmdline, and unless interrupts are remapped what VFIO was told
// of that. All reads whatever there is, for who asks of one device.
func readKernel(fsys fs.FS, remapped iommu.Answer, all bool) (kernel, error) {
	var k kernel
	var errs []error
	note := func(err error) {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	var err error
	k.CommandLine, err = iommu.ReadCommandLine(fsys)
	note(err)
	if all {
		k.lockdown, err = iommu.ReadLockdown(fsys)
		note(err)
	}
	if remapped != iommu.Yes || all {
		unsafe, file, err := iommu.ReadUnsafeInterrupts(fsys)
		note(err)
		if unsafe == iommu.Yes {
			k.unsafe = file
		}
	}
	return k, errors.Join(errs...)
}

// ofGroup is what the kernel was told that makes groups doubtful or interrupts unsafe,
// for a listing.
func (k kernel) ofGroup(remapped iommu.Answer) []Finding {
	var findings []Finding
	if len(k.ACSOverride) > 0 {
		findings = append(findings, Finding{
			Code: ACSOverride, Severity: Block, Evidence: "/proc/cmdline",
			Detail: fmt.Sprintf("the kernel was told to take functions for isolated that are not (pcie_acs_override=%s): "+
				"if it has the patch for that, what is in other groups may be reached, too", plain.Short(strings.Join(k.ACSOverride, ","))),
			Remedy: "take pcie_acs_override off the kernel command line, and look at the groups that are left",
		})
	}
	switch {
	case remapped == iommu.Yes:
	case k.unsafe == "" && remapped == iommu.No:
		findings = append(findings, Finding{
			Code: NoRemapping, Severity: Block, Evidence: "/proc/interrupts",
			Detail: "interrupts are not remapped: a device could send the host any interrupt it likes, and VFIO refuses it",
			Remedy: "enable x2APIC or interrupt remapping in the firmware, and take intremap=off from the kernel command line",
		})
	case k.unsafe != "":
		f := Finding{
			Code: UnsafeInterrupts, Severity: Block, Evidence: k.unsafe + ", /proc/interrupts",
			Detail: "interrupts are not remapped, and VFIO was told not to mind (allow_unsafe_interrupts): a guest with a device could send the host any interrupt it likes",
			Remedy: "enable x2APIC or interrupt remapping in the firmware, and take allow_unsafe_interrupts away",
		}
		if remapped == iommu.Unknown {
			f.Severity = Gap
			f.Detail = "VFIO was told not to mind if interrupts are not remapped (allow_unsafe_interrupts), and whether they are is not known"
		}
		findings = append(findings, f)
	}
	return findings
}

// ofFunction is what the kernel was told that a listing does not say.
func (k kernel) ofFunction(remapped iommu.Answer) []Finding {
	var findings []Finding
	for _, c := range k.ConfigACS {
		findings = append(findings, Finding{
			Code: ACSConfigured, Severity: Warning, Evidence: "/proc/cmdline",
			Detail: "the kernel was told how to set the isolation of functions (" + plain.Short("pci="+c) + "): the groups follow it, and are others without",
		})
	}
	if k.unsafe == "" && remapped == iommu.Unknown {
		findings = append(findings, Finding{
			Code: RemappingUnknown, Severity: Info, Evidence: "/proc/interrupts",
			Detail: "whether interrupts are remapped is not known; if they are not, VFIO refuses",
			Remedy: lookAgain,
		})
	}
	if k.unsafe != "" && remapped == iommu.Yes {
		findings = append(findings, Finding{
			Code: UnsafeInterrupts, Severity: Info, Evidence: k.unsafe,
			Detail: "VFIO was told not to mind if interrupts are not remapped (allow_unsafe_interrupts); they are, and it is of no use",
			Remedy: "take allow_unsafe_interrupts away, so that VFIO refuses when they are not",
		})
	}
	if k.lockdown == iommu.LockdownIntegrity || k.lockdown == iommu.LockdownConfidentiality {
		findings = append(findings, Finding{
			Code: Lockdown, Severity: Info, Evidence: "/sys/kernel/security/lockdown",
			Detail: "the kernel is locked down (" + k.lockdown.String() + "): VFIO works, but root can write no configuration space, map no BAR by sysfs, " +
				"and load no module without a signature",
		})
	}
	return findings
}
