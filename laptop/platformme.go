package laptop

import (
	"path"
	"strings"

	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
)

// managementEngine looks for Intel's: for what its driver made of it, or else for the
// function through which the host talks to it. Firmware can hide that function, so
// that it is missing says nothing on a machine that may have one.
func (r *platform) managementEngine(cpu string) Trait {
	const dir = "sys/class/mei"
	t := Trait{Evidence: "/" + dir}
	names, _ := r.list(dir)
	for _, name := range names {
		// Graphics cards have such controllers of their own; before 5.8 nobody said which.
		if kind := r.read(path.Join(dir, name, "kind")); kind != "" && kind != "mei" {
			continue
		}
		t.Answer, t.Evidence = iommu.Yes, path.Join("/", dir, name, "fw_ver")
		// A line for each part of the firmware, as 0:16.1.25.2049; the first is its own.
		version, _, _ := strings.Cut(r.read(t.Evidence[1:]), " ")
		_, t.Detail, _ = strings.Cut(version, ":")
		return t
	}
	if at := pci.NewAddress(0, 0, 0x16, 0); r.intel(at, 0x0780) {
		return Trait{iommu.Yes, "its driver is not there", "/sys/bus/pci/devices/" + at.String()}
	}
	if cpu == "AuthenticAMD" || cpu == "HygonGenuine" {
		return Trait{iommu.No, "not on this processor", "/proc/cpuinfo"}
	}
	return t
}

// amt looks for what only firmware with AMT has: its serial port over the network, or
// on the engine's bus the clients for its host and its watchdog. That they are missing
// says nothing, since that bus leaves out clients that several programs may use.
func (r *platform) amt(engine Trait) Trait {
	if engine.Answer == iommu.No {
		return engine
	}
	if at := pci.NewAddress(0, 0, 0x16, 3); r.intel(at, 0x0700) {
		return Trait{iommu.Yes, "serial port over the network", "/sys/bus/pci/devices/" + at.String()}
	}
	const dir = "sys/bus/mei/devices"
	names, _ := r.list(dir)
	for _, name := range names {
		for _, client := range []struct{ uuid, what string }{
			{"12f80028-b4b7-4b2d-aca8-46e0ff65814c", "host interface"},
			{"05b79a6f-4628-4d7f-899d-a91514cb32ab", "watchdog"},
		} {
			if strings.HasSuffix(strings.ToLower(name), client.uuid) {
				return Trait{iommu.Yes, client.what, path.Join("/", dir, name)}
			}
		}
	}
	return Trait{Evidence: "/" + dir}
}

// intel reports whether there is a function of Intel's of that class at the address.
func (r *platform) intel(a pci.Address, sub uint16) bool {
	f, err := pci.ReadFunction(r.fsys, a)
	r.note(err)
	return err == nil && f.Vendor == pci.NewID(0x8086) && f.Class.Sub() == sub
}
