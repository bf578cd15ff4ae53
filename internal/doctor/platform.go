package doctor

import (
	"io/fs"
	"strings"

	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/laptop"
)

// trust says what the platform brings besides that guests may rest on, and that who
// manages the machine may: how it was started, TPM, TXT, and Intel's management.
func (x *examination) trust() Check {
	p := x.platform
	var has, lacks []string
	evidence := ""
	for _, t := range []struct {
		name string
		laptop.Trait
	}{
		{"UEFI", p.UEFI}, {"Secure Boot", p.SecureBoot}, {"TPM", p.TPM}, {"TXT", p.TXT},
		{"Intel ME", p.ManagementEngine}, {"AMT", p.AMT},
	} {
		switch t.Answer {
		case iommu.Yes:
			name := t.name
			if t.Detail != "" {
				name += " (" + t.Detail + ")"
			}
			has = append(has, name)
		case iommu.No:
			lacks = append(lacks, t.name)
		}
		if evidence == "" && t.Answer != iommu.Unknown {
			evidence = t.Evidence
		}
	}
	if evidence == "" {
		return unstated("/sys/firmware", nil)
	}
	var parts []string
	if len(has) > 0 {
		parts = append(parts, "has "+list(has))
	}
	if len(lacks) > 0 {
		parts = append(parts, "has no "+strings.Join(lacks, ", no "))
	}
	return ok(evidence, "%s", strings.Join(parts, "; "))
}

// tpmKeys says whether systemd-creds can seal keys to the TPM. It loads the libraries for that
// when it is asked to, and a saved machine does not hold programs.
func (x *examination) tpmKeys() Check {
	tpm := x.platform.TPM
	switch {
	case tpm.Answer == iommu.Unknown:
		return unstated("/sys/class/tpm", nil)
	case tpm.Answer == iommu.No:
		return ok(tpm.Evidence, "there is no TPM; the keys of guests' disks can be sealed by a key of the host")
	case tpm.Detail != "2.0":
		return ok(tpm.Evidence, "the TPM is not known to be a 2.0, which the keys of guests' disks can be sealed to")
	case has(x.files, "usr/bin/systemd-creds", "usr/bin") != iommu.Yes:
		return ok(tpm.Evidence, "there is a TPM 2.0; whether systemd-creds can seal keys to it, only the running host can tell")
	}
	for _, pattern := range []string{"usr/lib/*/libtss2-esys.so.0", "usr/lib64/libtss2-esys.so.0", "usr/lib/libtss2-esys.so.0"} {
		if found, err := fs.Glob(x.files, pattern); err == nil && len(found) > 0 {
			return ok("/"+found[0], "systemd-creds can seal the keys of guests' disks to the TPM 2.0")
		}
	}
	return warning("/usr/lib", "install the libraries libtss2-esys-3.0.2-0, libtss2-rc0 and libtss2-tcti-device0 (Debian 12), or tpm2-tss", "there is a TPM 2.0, but systemd-creds lacks the libraries to seal keys of guests' disks to it")
}
