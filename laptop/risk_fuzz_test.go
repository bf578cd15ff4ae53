package laptop_test

import (
	"strings"
	"testing"
	"unicode"

	"github.com/project-independence/indy/laptop"
)

// FuzzRisks feeds what a kernel, or a saved machine, says of itself and of a function.
func FuzzRisks(f *testing.F) {
	f.Add("quiet pcie_acs_override=downstream,multifunction \"pci=config_acs=10x@pci:0:0\" -- x", "address sizes\t: 39 bits physical, 48 bits virtual\n",
		"none [integrity] confidentiality\n", "0x2000000000 0x2fffffffff 0x14220c\n", "pm bus\n", "0x8b000000 0x8f7fffff direct\n")
	f.Add("pci=disable_acs_redir=a;b,noaer pcie-acs-override", "address sizes : 99999999999999999999 bits physical", "[\x1b]", "0x0 0x0", "\n", "0 0 msi")
	f.Fuzz(func(t *testing.T, cmdline, cpuinfo, lockdown, resource, methods, reserved string) {
		h := laptopHost(t)
		h.function("pci0000:00/0000:00:1d.0/0000:04:00.1", "030000", "", 2)
		for name, text := range map[string]string{
			"proc/cmdline": cmdline, "proc/cpuinfo": cpuinfo, "sys/kernel/security/lockdown": lockdown, "sys/kernel/iommu_groups/2/reserved_regions": reserved,
			"sys/devices/" + nvme + "/resource": resource, "sys/devices/" + nvme + "/reset_method": methods,
		} {
			h.put(name, text)
		}
		l, _ := laptop.Read(h)
		check(t, l)
		findings, _ := laptop.Risks(h, l, []*laptop.Device{find(t, l, "0000:04:00.0"), find(t, l, "0000:04:00.1")})
		if len(findings) > 64 {
			t.Errorf("%d findings", len(findings))
		}
		for _, f := range findings {
			if f.Detail == "" || len(f.Detail) > 4096 || strings.ContainsFunc(f.Detail+f.Evidence+f.Remedy, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("%+v", f)
			}
		}
	})
}
