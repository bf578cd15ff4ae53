package doctor

import (
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
