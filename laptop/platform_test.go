package laptop_test

import (
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/laptop"
)

const (
	secureBoot = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
	amtClient  = "sys/bus/mei/devices/0000:00:16.0-12f80028-b4b7-4b2d-aca8-46e0ff65814c"
)

func platform(t testing.TB, files map[string]string) laptop.Platform {
	t.Helper()
	h := &host{Tree: new(hostfs.Tree), t: t}
	for name, text := range files {
		if strings.HasSuffix(name, "/") {
			must(t, h.Mkdir(strings.TrimSuffix(name, "/")))
		} else {
			h.put(name, text)
		}
	}
	p, err := laptop.ReadPlatform(h)
	must(t, err)
	return p
}

// business is a laptop with all of it.
func business() map[string]string {
	return map[string]string{
		"proc/cpuinfo":                           "processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu vmx smx est\nvmx flags\t: vnmi\n",
		"proc/meminfo":                           "MemTotal:       16262312 kB\nMemFree: 1 kB\n",
		"dev/kvm":                                "",
		"sys/module/kvm/":                        "",
		"sys/module/kvm_intel/parameters/nested": "Y\n",
		"sys/firmware/acpi/tables/DMAR":          "", "sys/firmware/acpi/tables/FACP": "",
		"sys/class/iommu/dmar0/": "", "sys/class/iommu/dmar1/": "",
		"sys/class/mei/mei0/kind": "mei\n", "sys/class/mei/mei0/fw_ver": "0:16.1.25.2049\n0:16.1.25.2049\n0:16.1.25.2049\n",
		amtClient + "/":                        "",
		"sys/class/tpm/tpm0/tpm_version_major": "2\n",
		"sys/firmware/efi/fw_platform_size":    "64\n",
		secureBoot:                             "\x06\x00\x00\x00\x01",
		"sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages":      "512\n",
		"sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages":    "128\n",
		"sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages":   "0\n",
		"sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages": "0\n",
		"sys/kernel/mm/hugepages/other/nr_hugepages":                 "1\n",
		"sys/kernel/mm/transparent_hugepage/enabled":                 "always [madvise] never\n",
	}
}

func TestPlatform(t *testing.T) {
	want := laptop.Platform{
		Virtualization:   laptop.Trait{iommu.Yes, "VT-x", "/proc/cpuinfo"},
		KVM:              laptop.Trait{iommu.Yes, "kvm_intel", "/dev/kvm"},
		IOMMUTable:       laptop.Trait{iommu.Yes, "Intel VT-d", "/sys/firmware/acpi/tables/DMAR"},
		IOMMUUnits:       laptop.Trait{iommu.Yes, "dmar0 dmar1", "/sys/class/iommu"},
		TXT:              laptop.Trait{iommu.Yes, "the processor has SMX; the firmware may still leave TXT off", "/proc/cpuinfo"},
		ManagementEngine: laptop.Trait{iommu.Yes, "16.1.25.2049", "/sys/class/mei/mei0/fw_ver"},
		AMT:              laptop.Trait{iommu.Yes, "host interface", "/" + amtClient},
		TPM:              laptop.Trait{iommu.Yes, "2.0", "/sys/class/tpm/tpm0/tpm_version_major"},
		UEFI:             laptop.Trait{iommu.Yes, "64 bits", "/sys/firmware/efi"},
		SecureBoot:       laptop.Trait{iommu.Yes, "", "/" + secureBoot},
		Memory:           16262312 << 10,
		HugePages:        []laptop.HugePages{{2 << 20, 512, 128}, {1 << 30, 0, 0}},

		TransparentHugePages: "madvise",
	}
	if diff := cmp.Diff(want, platform(t, business())); diff != "" {
		t.Error(diff)
	}
}

// Each thing by itself: what says yes, what says no, and what says nothing.
func TestPlatformTraits(t *testing.T) {
	cpu := func(vendor, flags string) map[string]string {
		return map[string]string{"proc/cpuinfo": "vendor_id\t: " + vendor + "\nflags\t: " + flags + "\n"}
	}
	for _, tt := range []struct {
		trait string
		files map[string]string
		want  string
	}{
		{"Virtualization", cpu("AuthenticAMD", "fpu svm"), "yes (AMD-V)"},
		{"Virtualization", cpu("GenuineIntel", "fpu hypervisor"), "no (this is a virtual machine, and its hypervisor does not pass it on)"},
		{"Virtualization", cpu("GenuineIntel", "fpu"), "no (the processor does not have it, or the firmware turned it off)"},
		{"Virtualization", map[string]string{"proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd\n"}, "unknown"},
		{"Virtualization", nil, "unknown"},
		{"TXT", cpu("GenuineIntel", "fpu vmx"), "no"},
		{"TXT", nil, "unknown"},
		{"KVM", nil, "unknown"},
		{"KVM", map[string]string{"dev/kvm": ""}, "unknown"},
		{"KVM", map[string]string{"sys/module/kvm/": "", "dev/kvm": ""}, "no (neither kvm_intel nor kvm_amd is loaded)"}, // the node is made at boot
		{"KVM", map[string]string{"sys/module/kvm_amd/": "", "dev/null": ""}, "no (kvm_amd is loaded, but there is no node)"},
		{"KVM", map[string]string{"sys/module/kvm_amd/": ""}, "unknown (kvm_amd)"},
		{"IOMMUTable", map[string]string{"sys/firmware/acpi/tables/IVRS": ""}, "yes (AMD-Vi)"},
		{"IOMMUTable", map[string]string{"sys/firmware/acpi/tables/VIOT": ""}, "yes (virtio)"},
		{"IOMMUTable", map[string]string{"sys/firmware/acpi/tables/DSDT": ""}, "no (the firmware does not have it, or it is turned off there)"},
		{"IOMMUTable", map[string]string{"sys/firmware/acpi/tables/": ""}, "unknown"},
		{"IOMMUTable", nil, "unknown"},
		{"IOMMUUnits", map[string]string{"sys/class/iommu/": ""}, "no"},
		{"IOMMUUnits", nil, "unknown"},
		{"TPM", map[string]string{"sys/class/tpm/": ""}, "no"},
		{"TPM", map[string]string{"sys/class/tpm/tpm0/tpm_version_major": "1\n"}, "yes (1.2)"},
		{"TPM", map[string]string{"sys/class/tpm/tpm0/tpm_version_major": "3\n"}, "yes (3)"},
		{"TPM", map[string]string{"sys/class/tpm/tpm0/uevent": ""}, "yes"},
		{"TPM", nil, "unknown"},
		{"UEFI", map[string]string{"sys/firmware/efi/": ""}, "yes"},
		{"UEFI", map[string]string{"sys/firmware/acpi/": ""}, "no (started by a BIOS, or by UEFI in its place)"},
		{"UEFI", nil, "unknown"},
		{"SecureBoot", map[string]string{secureBoot: "\x06\x00\x00\x00\x00"}, "no"},
		{"SecureBoot", map[string]string{"sys/firmware/efi/": ""}, "unknown"},
		{"SecureBoot", map[string]string{"sys/firmware/acpi/": ""}, "no (there is none without UEFI)"},
		{"SecureBoot", nil, "unknown"},
		{"ManagementEngine", map[string]string{"sys/class/mei/mei0/uevent": ""}, "yes"}, // before 4.18
		{"ManagementEngine", map[string]string{"sys/class/mei/mei0/kind": "gsc\n", "sys/class/mei/mei1/kind": "mei\n", "sys/class/mei/mei1/fw_ver": "0:12.0.1.2\n"}, "yes (12.0.1.2)"},
		{"ManagementEngine", map[string]string{"sys/class/mei/mei0/kind": "gsc\n"}, "unknown"},
		{"ManagementEngine", map[string]string{"sys/bus/pci/devices/0000:00:16.0/uevent": "PCI_CLASS=78000\nPCI_ID=8086:51E0\n"}, "yes (its driver is not there)"},
		{"ManagementEngine", map[string]string{"sys/bus/pci/devices/0000:00:16.0/uevent": "PCI_CLASS=20000\nPCI_ID=8086:51E0\n"}, "unknown"},
		{"ManagementEngine", map[string]string{"sys/bus/pci/devices/0000:00:16.0/uevent": "PCI_CLASS=78000\nPCI_ID=1022:51E0\n"}, "unknown"},
		{"ManagementEngine", cpu("AuthenticAMD", "svm"), "no (not on this processor)"},
		{"ManagementEngine", cpu("GenuineIntel", "vmx"), "unknown"}, // hidden, perhaps
		{"AMT", cpu("AuthenticAMD", "svm"), "no (not on this processor)"},
		{"AMT", map[string]string{"sys/bus/mei/devices/mei::12F80028-b4b7-4b2d-aca8-46e0ff65814c/": ""}, "yes (host interface)"},
		{"AMT", map[string]string{"sys/bus/mei/devices/0000:00:16.0-05b79a6f-4628-4d7f-899d-a91514cb32ab/": ""}, "yes (watchdog)"},
		{"AMT", map[string]string{"sys/bus/pci/devices/0000:00:16.3/uevent": "PCI_CLASS=70002\nPCI_ID=8086:51E3\n"}, "yes (serial port over the network)"},
		{"AMT", map[string]string{"sys/bus/mei/devices/0000:00:16.0-00000000-4628-4d7f-899d-a91514cb32ab/": ""}, "unknown"},
		{"AMT", nil, "unknown"},
	} {
		p := platform(t, tt.files)
		got := reflect.ValueOf(p).FieldByName(tt.trait).Interface().(laptop.Trait)
		if got.String() != tt.want || got.Evidence == "" {
			t.Errorf("%s of %v is %s by %q, want %s", tt.trait, tt.files, got, got.Evidence, tt.want)
		}
	}
	if p := platform(t, nil); p.Memory != 0 || len(p.HugePages) != 0 || p.TransparentHugePages != "" {
		t.Errorf("%+v", p)
	}
}

// What cannot be read costs itself alone, and is an error unless only root may read it.
func TestPlatformUnreadable(t *testing.T) {
	tr := new(hostfs.Tree)
	for name, text := range business() {
		if strings.HasSuffix(name, "/") {
			must(t, tr.Mkdir(strings.TrimSuffix(name, "/")))
		} else {
			must(t, tr.Put(name, []byte(text)))
		}
	}
	whole, err := laptop.ReadPlatform(tr)
	must(t, err)
	for _, name := range []string{
		"proc/cpuinfo", "proc/meminfo", "dev", "sys/module", "sys/firmware/acpi/tables", "sys/class/iommu", "sys/class/mei", "sys/class/mei/mei0/fw_ver", "sys/bus/mei/devices",
		"sys/class/tpm", "sys/class/tpm/tpm0/tpm_version_major", "sys/firmware/efi/fw_platform_size", secureBoot, "sys/kernel/mm/hugepages",
		"sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "sys/kernel/mm/transparent_hugepage/enabled",
	} {
		for _, cause := range []error{syscall.EACCES, syscall.EIO} {
			p, err := laptop.ReadPlatform(hosttest.Failing{Tree: tr, Fail: func(n string) error {
				if n == name {
					return cause
				}
				return nil
			}})
			if denied := cause == syscall.EACCES; denied && err != nil || !denied && !errors.Is(err, cause) {
				t.Errorf("%s, %v: %v", name, cause, err)
			}
			if cmp.Equal(whole, p) {
				t.Errorf("%s, %v: nothing is missing", name, cause)
			}
		}
	}
	for name, text := range map[string]string{
		secureBoot: "\x06\x00\x00\x00", "proc/meminfo": "MemTotal: many kB\n", "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages": "-1",
	} {
		c := tr.Clone()
		must(t, c.Put(name, []byte(text)))
		if _, err := laptop.ReadPlatform(c); err == nil || !strings.Contains(err.Error(), "read platform: "+name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A capture keeps what is read: the platform of a saved machine is that of the machine.
func TestPlatformCaptured(t *testing.T) {
	tr := new(hostfs.Tree)
	for name, text := range business() {
		if strings.HasSuffix(name, "/") {
			must(t, tr.Mkdir(strings.TrimSuffix(name, "/")))
		} else {
			must(t, tr.Put(name, []byte(text)))
		}
	}
	whole, err := laptop.ReadPlatform(tr)
	must(t, err)
	saved, err := hostfs.Capture(tr, hostfs.CaptureOptions{Salt: []byte("s")})
	must(t, err)
	p, err := laptop.ReadPlatform(saved)
	must(t, err)
	if diff := cmp.Diff(whole, p); diff != "" {
		t.Error(diff)
	}
}

// No saved machine is in error, and each says something.
func TestPlatformHosts(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(hosttest.Shared(t, "hosts"), "*.txtar"))
	must(t, err)
	lab, err := filepath.Glob(filepath.Join(hosttest.Root(t), "testdata", "hosts", "*.txtar"))
	must(t, err)
	answers := map[iommu.Answer]int{}
	for _, file := range append(files, lab...) {
		h, err := hostfs.Open(file)
		must(t, err)
		p, err := laptop.ReadPlatform(h)
		if err != nil {
			t.Errorf("%s: %v", file, err)
		}
		v := reflect.ValueOf(p)
		for i := range v.NumField() {
			if trait, ok := v.Field(i).Interface().(laptop.Trait); ok {
				answers[trait.Answer]++
			}
		}
		if strings.HasSuffix(file, "lab-intel.txtar") {
			if p.IOMMUTable.Detail != "Intel VT-d" || p.IOMMUUnits.Detail != "dmar0" || p.TPM.Answer != iommu.No || p.Memory == 0 || p.ManagementEngine.Answer != iommu.No {
				t.Errorf("%+v", p)
			}
		}
	}
	t.Logf("%d machines: %v", len(files)+len(lab), answers)
	if len(files) < 10 || answers[iommu.Yes] < 20 {
		t.Error("too few")
	}
}

func FuzzPlatform(f *testing.F) {
	b := business()
	f.Add(b["proc/cpuinfo"], b["proc/meminfo"], b[secureBoot], b["sys/class/mei/mei0/fw_ver"], "hugepages-2048kB", "512\n")
	f.Add("flags:", "MemTotal:", "", ":", "hugepages-kB", "-9223372036854775808")
	f.Fuzz(func(t *testing.T, cpu, memory, variable, version, size, count string) {
		tr := new(hostfs.Tree)
		for name, text := range map[string]string{
			"proc/cpuinfo": cpu, "proc/meminfo": memory, secureBoot: variable, "sys/class/mei/mei0/fw_ver": version,
			"sys/kernel/mm/hugepages/" + size + "/nr_hugepages": count, "sys/kernel/mm/hugepages/" + size + "/free_hugepages": count,
		} {
			_ = tr.Put(name, []byte(text)) // a size need not be a name
		}
		p, _ := laptop.ReadPlatform(tr)
		if p.Memory < 0 || p.SecureBoot.Answer == iommu.Yes && len(variable) != 5 || strings.ContainsAny(p.ManagementEngine.Detail, "\n\x1b") {
			t.Errorf("%+v", p)
		}
		for _, h := range p.HugePages {
			if h.Size <= 0 || h.Total < 0 || h.Free < 0 {
				t.Errorf("%+v", h)
			}
		}
	})
}
