package doctor

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
)

const nvme = "sys/bus/pci/devices/0000:02:00.0"

// tree makes a machine of files; a name that ends in / is an empty directory.
func tree(t testing.TB, files ...map[string]string) *hostfs.Tree {
	t.Helper()
	m := new(hostfs.Tree)
	for _, some := range files {
		for name, text := range some {
			var err error
			if dir, ok := strings.CutSuffix(name, "/"); ok {
				err = m.Put(dir+"/.keep", nil)
			} else {
				err = m.Put(name, []byte(text))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return m
}

// notebook is an Intel notebook on Debian that is ready but for what a test changes.
func notebook() map[string]string {
	return map[string]string{
		"proc/cpuinfo":               "processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu vmx\naddress sizes\t: 39 bits physical, 48 bits virtual\n\n",
		"proc/cmdline":               "root=UUID=1 quiet\n",
		"proc/interrupts":            "  0: 1 IR-IO-APIC 2-edge timer\n",
		"proc/meminfo":               "MemTotal: 16777216 kB\nHugePages_Total: 0\n",
		"proc/self/limits":           "Limit  Soft Limit  Hard Limit  Units\nMax locked memory  8388608  8388608  bytes\n",
		"proc/sys/kernel/osrelease":  "6.12.0-test\n",
		nvme + "/uevent":             "DRIVER=nvme\nPCI_CLASS=10802\nPCI_ID=1B36:0010\nPCI_SUBSYS_ID=1AF4:1100\n",
		nvme + "/driver_override":    "(null)\n",
		"sys/kernel/iommu_groups/":   "",
		"sys/class/dmi/id/.keep":     "",
		"sys/firmware/acpi/tables/":  "",
		"sys/module/kvm/initstate":   "live\n",
		"dev/null":                   "",
		"dev/kvm":                    "",
		"etc/os-release":             "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n",
		"etc/default/grub":           "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n",
		"etc/modules-load.d/x.conf":  "",
		"boot/grub/grub.cfg":         "",
		"usr/bin/qemu-system-x86_64": "",
		"usr/share/misc/pci.ids":     "# list\n8086  Intel Corporation\n",
	}
}

// groups are what a kernel makes whose IOMMU works.
func groups() map[string]string {
	return map[string]string{
		"sys/kernel/iommu_groups/1/devices/0000:02:00.0": "", "sys/kernel/iommu_groups/1/type": "DMA-FQ\n",
		"sys/class/iommu/dmar0/intel-iommu/cap": "19ed008c40780c66\n", // 57 bits
	}
}

func examine(t testing.TB, o Options, files ...map[string]string) Report {
	t.Helper()
	m := tree(t, files...)
	l, err := laptop.Read(m)
	if l == nil {
		t.Fatal(err)
	}
	r := Examine(m, l, o)
	sane(t, r)
	return r
}

// sane holds for every report.
func sane(t testing.TB, r Report) {
	t.Helper()
	seen := map[string]bool{}
	for _, c := range r.Checks {
		switch {
		case seen[c.ID] || c.ID == "":
			t.Errorf("%q is there twice", c.ID)
		case c.Detail == "" || c.Evidence == "" || !strings.HasPrefix(c.Evidence, "/"):
			t.Errorf("%s: detail %q, evidence %q", c.ID, c.Detail, c.Evidence)
		case (c.State == Problem || c.State == Warning) && c.Remedy == "":
			t.Errorf("%s: no remedy for: %s", c.ID, c.Detail)
		case !slices.Contains([]State{OK, Warning, Problem, Unknown}, c.State):
			t.Errorf("%s: state %q", c.ID, c.State)
		}
		seen[c.ID] = true
		for _, never := range []string{"amd_iommu=on", "iommu=pt"} {
			if strings.Contains(strings.ReplaceAll(c.Remedy, "intel_iommu=pt", ""), never) {
				t.Errorf("%s: the remedy has %s: %s", c.ID, never, c.Remedy)
			}
		}
	}
	for _, n := range r.Needs {
		if n.Parameter != "" && n.Parameter != "intel_iommu=on" {
			t.Errorf("%s needs %s", n.Check, n.Parameter)
		}
	}
}

func check(t testing.TB, r Report, id string, s State, says string) {
	t.Helper()
	i := slices.IndexFunc(r.Checks, func(c Check) bool { return c.ID == id })
	if i < 0 {
		t.Fatalf("no check %s", id)
	}
	c := r.Checks[i]
	if c.State != s || !strings.Contains(c.Detail+"; "+c.Remedy, says) {
		t.Errorf("%s: %s, %q, %q; want %s, %q", id, c.State, c.Detail, c.Remedy, s, says)
	}
}

// with returns a copy with other files; nil takes one away.
func with(files map[string]string, changes ...string) map[string]string {
	m := map[string]string{}
	for k, v := range files {
		m[k] = v
	}
	for i := 0; i < len(changes); i += 2 {
		if changes[i+1] == "-" {
			delete(m, changes[i])
		} else {
			m[changes[i]] = changes[i+1]
		}
	}
	return m
}

// The command line is no evidence of an IOMMU: groups are.
func TestIOMMU(t *testing.T) {
	dmar, ivrs := map[string]string{"sys/firmware/acpi/tables/DMAR": ""}, map[string]string{"sys/firmware/acpi/tables/IVRS": ""}
	asked := map[string]string{"proc/cmdline": "quiet intel_iommu=on iommu=pt amd_iommu=on\n"}
	amd := map[string]string{"proc/cpuinfo": "vendor_id\t: AuthenticAMD\nflags\t: svm\n"}
	config := map[string]string{"boot/config-6.12.0-test": "CONFIG_X=y\nCONFIG_INTEL_IOMMU_DEFAULT_ON=y\n"}
	for _, test := range []struct {
		name  string
		files []map[string]string
		state State
		says  string
		need  bool
	}{
		{"groups, nothing asked", []map[string]string{groups(), dmar}, OK, "1 group, 1 unit (intel)", false},
		{"groups, asked", []map[string]string{groups(), dmar, asked}, OK, "1 group", false},
		{"no groups, not asked", []map[string]string{dmar}, Problem, "indy doctor --fix adds intel_iommu=on", true},
		{"no groups, asked", []map[string]string{dmar, asked}, Problem, "dmesg | grep -e DMAR", false},
		{"built to be on", []map[string]string{dmar, config}, Problem, "though it is built to", false},
		{"built without", []map[string]string{dmar, {"boot/config-6.12.0-test": "CONFIG_X=y\n# CONFIG_INTEL_IOMMU is not set\n"}}, Problem, "install a kernel with CONFIG_INTEL_IOMMU", false},
		{"built to be off", []map[string]string{dmar, {"boot/config-6.12.0-test": "CONFIG_INTEL_IOMMU=y\n# CONFIG_INTEL_IOMMU_DEFAULT_ON is not set\n"}}, Problem, "indy doctor --fix adds intel_iommu=on", true},
		{"AMD, built without", []map[string]string{amd, ivrs, {"boot/config-6.12.0-test": "# CONFIG_AMD_IOMMU is not set\n"}}, Problem, "install a kernel with CONFIG_AMD_IOMMU", false},
		{"an image", []map[string]string{dmar, {"run/ostree-booted": ""}}, Problem, "rpm-ostree kargs --append-if-missing=intel_iommu=on", true},
		{"turned off", []map[string]string{dmar, {"proc/cmdline": "intel_iommu=off\n"}}, Problem, "take intel_iommu=off from", false},
		{"all turned off", []map[string]string{dmar, {"proc/cmdline": "iommu=off\n"}}, Problem, "take iommu=off from", false},
		{"no table, Intel", nil, Problem, "turn on VT-d in the firmware", false},
		{"no table, asked", []map[string]string{asked}, Problem, "turn on VT-d in the firmware", false},
		{"AMD", []map[string]string{amd, ivrs}, Problem, "no kernel parameter is needed", false},
		{"AMD, turned off", []map[string]string{amd, ivrs, {"proc/cmdline": "amd_iommu=off\n"}}, Problem, "take amd_iommu=off from", false},
		{"AMD, no table", []map[string]string{amd}, Problem, "AMD-Vi in the firmware", false},
		{"virtual machine", []map[string]string{{"proc/cpuinfo": "flags : vmx hypervisor\n"}}, Problem, "give it an IOMMU of its own", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := examine(t, Options{}, append([]map[string]string{notebook()}, test.files...)...)
			check(t, r, "iommu", test.state, test.says)
			need := slices.ContainsFunc(r.Needs, func(n Need) bool { return n.Parameter == "intel_iommu=on" })
			if need != test.need {
				t.Errorf("needs %+v", r.Needs)
			}
		})
	}
	r := examine(t, Options{}, with(notebook(), "sys/kernel/iommu_groups/", "-", "sys/firmware/acpi/tables/", "-"))
	check(t, r, "iommu", Unknown, "not stated")
	check(t, r, "iommu-firmware", Unknown, "not stated")
	r = examine(t, Options{}, notebook())
	check(t, r, "iommu-firmware", Problem, "VT-d")
}

// What the firmware's table asks for, and what it says of remapping, is in the remedy.
func TestDMARFlags(t *testing.T) {
	table := func(flags byte) string {
		b := make([]byte, 48+16)
		copy(b, "DMAR")
		b[4], b[8], b[36], b[37] = byte(len(b)), 1, 38, flags
		copy(b[48:], []byte{0, 0, 16, 0, 1, 0, 0, 0, 0, 0, 0xd9, 0xfe})
		return string(b)
	}
	not := map[string]string{"proc/interrupts": "  0: 1 IO-APIC 2-edge timer\n"}
	for flags, want := range map[byte]string{0: "says that the platform has none", 1: "turn on x2APIC, or interrupt remapping", 3: "asks the kernel not to use it"} {
		r := examine(t, Options{}, notebook(), groups(), not, map[string]string{"sys/firmware/acpi/tables/DMAR": table(flags)})
		check(t, r, "interrupt-remapping", Problem, want)
		check(t, r, "iommu-firmware", OK, "DMAR, Intel")
	}
	r := examine(t, Options{}, notebook(), groups(), map[string]string{"sys/firmware/acpi/tables/DMAR": table(5)})
	check(t, r, "iommu-firmware", OK, "guards against DMA before")
	r = examine(t, Options{}, notebook(), groups(), map[string]string{"sys/firmware/acpi/tables/DMAR": table(1)[:50]})
	check(t, r, "iommu-firmware", Warning, "is damaged")
}

// What guests and who manages the machine may rest on is said, and what is unknown is not.
func TestPlatform(t *testing.T) {
	r := examine(t, Options{}, notebook(), map[string]string{"sys/firmware/efi/fw_platform_size": "64\n", secureBoot: "\x06\x00\x00\x00\x01", "sys/class/tpm/tpm0/tpm_version_major": "2\n"})
	check(t, r, "platform", OK, "has UEFI (64 bits), Secure Boot and TPM")
	check(t, examine(t, Options{}, notebook()), "platform", OK, "has no UEFI, no Secure Boot")
	check(t, examine(t, Options{}, with(notebook(), "sys/firmware/acpi/tables/", "-", "proc/cpuinfo", "-")), "platform", Unknown, "not stated")
}

// Interrupts that are not remapped are said, and never made up for.
func TestRemapping(t *testing.T) {
	not := map[string]string{"proc/interrupts": "  0: 1 IO-APIC 2-edge timer\n"}
	const parameter = "sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"
	r := examine(t, Options{}, notebook(), groups(), not, map[string]string{parameter: "N\n"})
	check(t, r, "interrupt-remapping", Problem, "x2APIC")
	check(t, r, "unsafe-interrupts", OK, "allow_unsafe_interrupts is off")
	r = examine(t, Options{}, notebook(), groups(), not, map[string]string{parameter: "Y\n", "proc/cmdline": "intremap=off"})
	check(t, r, "interrupt-remapping", Problem, "take intremap=off")
	check(t, r, "unsafe-interrupts", Problem, "nothing checks")
	r = examine(t, Options{}, notebook(), groups(), not, map[string]string{"proc/cpuinfo": "flags : vmx hypervisor\n"})
	check(t, r, "interrupt-remapping", Problem, "this is a virtual machine: have its IOMMU remap")
	r = examine(t, Options{}, notebook(), groups(), map[string]string{parameter: "Y\n"})
	check(t, r, "interrupt-remapping", OK, "are remapped")
	check(t, r, "unsafe-interrupts", Warning, "no effect")
	// What the firmware says of it is in a table that only root may read.
	table := func(flags string) map[string]string {
		return map[string]string{"sys/firmware/acpi/tables/DMAR": "DMAR\x30\x00\x00\x00" + strings.Repeat("\x00", 28) + "\x26" + flags + strings.Repeat("\x00", 10)}
	}
	r = examine(t, Options{}, notebook(), groups(), not, table("\x04"))
	check(t, r, "interrupt-remapping", Problem, "its DMAR table says that the platform has none")
	check(t, r, "iommu-firmware", OK, "guards against DMA before the system starts")
	r = examine(t, Options{}, notebook(), groups(), not, table("\x01"))
	check(t, r, "interrupt-remapping", Problem, "are not remapped: a device could")
	check(t, r, "iommu-firmware", OK, "(DMAR, Intel)")
	r = examine(t, Options{}, notebook(), not)
	check(t, r, "interrupt-remapping", Warning, "get the IOMMU to work first")
	r = examine(t, Options{}, with(notebook(), "proc/interrupts", "-", "sys/module/kvm/initstate", "-"))
	check(t, r, "interrupt-remapping", Unknown, "not stated")
	check(t, r, "unsafe-interrupts", Unknown, "not stated")
}

func TestIsolationSettings(t *testing.T) {
	r := examine(t, Options{}, notebook(), groups(), map[string]string{"proc/cmdline": "pcie_acs_override=downstream,multifunction\n",
		"sys/module/vfio/parameters/enable_unsafe_noiommu_mode": "Y\n"})
	check(t, r, "acs-override", Problem, "downstream,multifunction")
	check(t, r, "no-iommu-mode", Problem, "no-IOMMU mode is on")
	r = examine(t, Options{}, notebook(), groups(), map[string]string{"proc/cmdline": "pci=disable_acs_redir=0000:00:01.0\n"})
	check(t, r, "acs-override", Warning, "disable_acs_redir")
	check(t, r, "no-iommu-mode", OK, "vfio is not loaded")
	r = examine(t, Options{}, notebook(), map[string]string{"sys/kernel/iommu_groups/0/name": "vfio-noiommu\n", "sys/kernel/iommu_groups/0/devices/0000:02:00.0": ""})
	check(t, r, "no-iommu-mode", Problem, "group 0 is made up")
	check(t, r, "iommu", Problem, "no IOMMU groups")
	r = examine(t, Options{}, with(notebook(), "proc/cmdline", "-"))
	check(t, r, "acs-override", Unknown, "not stated")
}

// Addresses of 39 bits are fewer than some processors have.
func TestAddressWidth(t *testing.T) {
	for _, test := range []struct {
		cap   string
		cpu   int
		state State
		says  string
	}{
		{"1c0000c40660462", 39, OK, "39 bits"}, // MGAW 38
		{"1c0000c40660462", 46, Warning, "39 bits, fewer than the processor's 46: a guest that puts memory or a BAR above 512 GiB"},
		{"19ed008c40780c66", 46, OK, "57 bits"},
		{"0", 46, Unknown, "not stated"},
		{"rubbish", 46, Unknown, ""},
	} {
		cpu := strings.Replace("flags\t: vmx\naddress sizes\t: NN bits physical, 48 bits virtual\n", "NN", map[int]string{39: "39", 46: "46"}[test.cpu], 1)
		r := examine(t, Options{}, notebook(), groups(), map[string]string{"proc/cpuinfo": cpu, "sys/class/iommu/dmar0/intel-iommu/cap": test.cap + "\n"})
		check(t, r, "address-width", test.state, test.says)
	}
	r := examine(t, Options{}, notebook())
	check(t, r, "address-width", OK, "no IOMMU is at work")
	r = examine(t, Options{}, with(notebook(), "sys/kernel/iommu_groups/", "-", "sys/firmware/acpi/tables/", "-"))
	check(t, r, "address-width", Unknown, "not stated")
	r = examine(t, Options{}, notebook(), map[string]string{"sys/class/iommu/ivhd0/amd-iommu/cap": "1\n"})
	check(t, r, "address-width", OK, "only Intel's")
}

// A guest's memory is locked, and the BARs with it.
func TestMemlock(t *testing.T) {
	for _, test := range []struct{ memory, bars, want uint64 }{{8 << 30, 256 << 20, 8<<30 + 256<<20}, {0, 0, 0}, {Unlimited, 1, Unlimited}} {
		if got := Locked(test.memory, test.bars); got != test.want {
			t.Errorf("Locked(%d, %d) = %d", test.memory, test.bars, got)
		}
	}
	limits := func(hard string) map[string]string {
		return map[string]string{"proc/self/limits": "Max locked memory         65536                " + hard + "              bytes     \n"}
	}
	bar := map[string]string{nvme + "/resource": "0x00000000f0000000 0x00000000ffffffff 0x0000000000040200\n"}
	r := examine(t, Options{}, notebook(), bar, limits("8388608"))
	check(t, r, "memlock", Warning, "8 MiB may be locked; a guest with half of the memory and the largest device needs 8.2 GiB")
	check(t, examine(t, Options{Root: true}, notebook(), limits("8388608")), "memlock", OK, "indy raises that")
	check(t, examine(t, Options{}, notebook(), limits("unlimited")), "memlock", OK, "any amount")
	check(t, examine(t, Options{}, notebook(), limits("10000000000")), "memlock", OK, "9.3 GiB may be locked")
	check(t, examine(t, Options{}, notebook(), limits("many")), "memlock", Unknown, "no limit")
	check(t, examine(t, Options{}, with(notebook(), "proc/self/limits", "-")), "memlock", Unknown, "not stated")
	check(t, examine(t, Options{}, notebook(), map[string]string{"proc/meminfo": "HugePages_Total: 4\nHugePages_Free: 1\nHugepagesize: 1048576 kB\n"}), "hugepages", OK, "4 huge pages of 1 GiB set aside, 1 free")
}

const secureBoot = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"

// Lockdown is reported; it does not stop VFIO.
func TestLockdown(t *testing.T) {
	const file = "sys/kernel/security/lockdown"
	r := examine(t, Options{}, notebook(), map[string]string{file: "none [integrity] confidentiality\n", secureBoot: "\x06\x00\x00\x00\x01"})
	check(t, r, "lockdown", Warning, "locked down (integrity) (Secure Boot is on)")
	r = examine(t, Options{}, notebook(), map[string]string{file: "[none] integrity confidentiality\n", secureBoot: "\x06\x00\x00\x00\x00"})
	check(t, r, "lockdown", OK, "Secure Boot is off")
	check(t, examine(t, Options{}, notebook()), "lockdown", Unknown, "not stated")
}

func TestSoftware(t *testing.T) {
	lists := map[string]string{"lib/modules/6.12.0-test/modules.dep": "kernel/drivers/vfio/pci/vfio-pci.ko.xz: kernel/x.ko\nkernel/drivers/vfio/vfio_iommu_type1.ko.xz:\n"}
	r := examine(t, Options{}, notebook(), lists)
	check(t, r, "virtualization", OK, "VT-x")
	check(t, r, "kvm", OK, "is there")
	check(t, r, "vfio", Warning, "modprobe vfio-pci")
	check(t, r, "qemu", OK, "installed")
	check(t, r, "uefi-firmware", Warning, "run: apt install ovmf")
	check(t, r, "pci-ids", OK, "is there")
	check(t, r, "usb-ids", Warning, "run: apt install usb.ids")
	check(t, r, "account", Unknown, "not stated")
	if d := cmp.Diff([]Need{{Check: "vfio", Modules: []string{"vfio-pci"}}}, r.Needs); d != "" {
		t.Error(d)
	}
	r = examine(t, Options{}, notebook(), map[string]string{"lib/modules/6.12.0-test/modules.dep": "kernel/x.ko:\n", "lib/modules/6.12.0-test/modules.builtin": "kernel/drivers/vfio/vfio_iommu_type1.ko\n"})
	check(t, r, "vfio", Problem, "no module vfio_pci")
	r = examine(t, Options{}, notebook(), map[string]string{"lib/modules/6.12.0-test/modules.dep": "", "lib/modules/6.12.0-test/modules.builtin": "kernel/drivers/vfio/vfio_iommu_type1.ko\nkernel/drivers/vfio/pci/vfio-pci.ko\n"})
	check(t, r, "vfio", OK, "built into the kernel")
	r = examine(t, Options{}, notebook(), map[string]string{"sys/module/vfio_pci/initstate": "", "sys/module/vfio_iommu_type1/initstate": ""})
	check(t, r, "vfio", OK, "are loaded")
	successor := examine(t, Options{}, notebook(), map[string]string{"sys/module/vfio_pci/initstate": "", "sys/module/vfio_iommu_type1/initstate": "", "sys/module/iommufd/initstate": ""})
	check(t, successor, "vfio", OK, "and so is iommufd")
	if len(r.Needs) != 0 {
		t.Error(r.Needs)
	}

	// Without modules of the running kernel, modprobe helps nobody.
	for others, want := range map[string]string{"usr/bin/true": "no modules of the running kernel", "lib/modules/6.13.0/modules.dep": "start the machine anew, with the kernel whose modules"} {
		r = examine(t, Options{}, notebook(), map[string]string{others: ""})
		check(t, r, "vfio", Problem, want)
		if len(r.Needs) != 0 {
			t.Error(r.Needs)
		}
	}

	tried := func(works bool, err error) Options {
		return Options{KVM: func() (bool, string, error) { return works, "it said so", err }}
	}
	check(t, examine(t, tried(true, nil), notebook()), "kvm", OK, "it said so")
	check(t, examine(t, tried(false, nil), notebook()), "kvm", Problem, "it said so")
	denied := Options{KVM: func() (bool, string, error) { return false, "/dev/kvm is there, but may not be opened", nil }}
	check(t, examine(t, denied, notebook(), map[string]string{"proc/cpuinfo": "vendor_id : GenuineIntel\nflags : vmx hypervisor\n"}), "kvm", Problem, "usermod -a -G kvm USER")
	check(t, examine(t, tried(false, errors.New("no QEMU")), notebook()), "kvm", Unknown, "no QEMU")
	check(t, examine(t, Options{}, with(notebook(), "dev/kvm", "-")), "kvm", Problem, "modprobe kvm_intel")
	check(t, examine(t, Options{}, with(notebook(), "dev/kvm", "-", "dev/null", "-")), "kvm", Unknown, "not stated")
	check(t, examine(t, Options{}, notebook(), map[string]string{"proc/cpuinfo": "vendor_id : AuthenticAMD\nflags : fpu\n"}), "virtualization", Problem, "SVM")
	check(t, examine(t, Options{}, with(notebook(), "proc/cpuinfo", "-")), "virtualization", Unknown, "not stated")

	account := map[string]string{"etc/passwd": "root:x:0:0::/:/bin/sh\nindy-qemu:x:990:990::/:/bin/false\n", "etc/group": "kvm:x:36:a,b\n"}
	check(t, examine(t, Options{}, notebook(), account), "account", Warning, "usermod -a -G kvm indy-qemu")
	account["etc/group"] = "kvm:x:36:a,indy-qemu\n"
	check(t, examine(t, Options{}, notebook(), account), "account", OK, "in the group kvm")
	account["etc/passwd"] = "root:x:0:0::/:/bin/sh\n"
	check(t, examine(t, Options{}, notebook(), account), "account", OK, "no account")
}

func TestLeftovers(t *testing.T) {
	address, err := pci.ParseAddress("0000:02:00.0")
	if err != nil {
		t.Fatal(err)
	}
	lease := assign.Lease{Guest: "work", Devices: []pci.Address{address}, State: assign.Assigned, Since: time.Now(), BootID: "b"}
	override := map[string]string{nvme + "/driver_override": "vfio-pci\n", "proc/sys/kernel/random/boot_id": "b\n"}
	check(t, examine(t, Options{LeasesKnown: true, Leases: []assign.Lease{lease}}, notebook(), override), "leftovers", OK, "no override")
	check(t, examine(t, Options{LeasesKnown: true}, notebook(), override), "leftovers", Warning, "echo > /sys/bus/pci/devices/0000:02:00.0/driver_override")
	check(t, examine(t, Options{}, notebook(), override), "leftovers", OK, "0000:02:00.0 (vfio-pci) is bound by an override")
	lease.State = assign.Assigning
	check(t, examine(t, Options{LeasesKnown: true, Leases: []assign.Lease{lease}}, notebook(), override), "leftovers", Warning, "indy release 0000:02:00.0")
	lease.BootID = "another"
	override[nvme+"/driver_override"] = "(null)\n"
	check(t, examine(t, Options{LeasesKnown: true, Leases: []assign.Lease{lease}}, notebook(), override), "leftovers", OK, "no override")
	check(t, examine(t, Options{}, with(notebook(), nvme+"/driver_override", "-")), "leftovers", Unknown, "not stated")
}

func TestDevices(t *testing.T) {
	r := examine(t, Options{}, notebook())
	check(t, r, "devices", Warning, "of 1 function 1 cannot go")
	check(t, r, "boot-display", OK, "no GPU")
	gpu := func(at, boot string) map[string]string {
		dir := "sys/bus/pci/devices/" + at
		return map[string]string{dir + "/uevent": "PCI_CLASS=30000\nPCI_ID=8086:1234\n", dir + "/boot_vga": boot + "\n"}
	}
	check(t, examine(t, Options{}, notebook(), gpu("0000:00:02.0", "1")), "boot-display", Warning, "the only GPU")
	check(t, examine(t, Options{}, notebook(), gpu("0000:00:02.0", "1"), gpu("0000:01:00.0", "0")), "boot-display", OK, "2 GPUs; the firmware started on 0000:00:02.0")
	check(t, examine(t, Options{}), "devices", Unknown, "no PCI function")
}

// A machine of which nothing can be read has no problem: all is unknown.
func TestNothing(t *testing.T) {
	r := examine(t, Options{})
	for _, c := range r.Checks {
		if c.State == Problem || c.State == Warning {
			t.Errorf("%s: %s, %s", c.ID, c.State, c.Detail)
		}
	}
	if len(r.Needs) != 0 {
		t.Error(r.Needs)
	}
}

// What may not be read is unknown, and running it as root may help.
func TestPermission(t *testing.T) {
	m := hosttest.Failing{Tree: tree(t, notebook(), groups()), Fail: func(name string) error {
		if strings.HasPrefix(name, "proc/") || strings.HasPrefix(name, "etc/") {
			return fs.ErrPermission
		}
		return nil
	}}
	l, _ := laptop.Read(m)
	r := Examine(m, l, Options{})
	sane(t, r)
	check(t, r, "memlock", Unknown, "run it as root")
	check(t, r, "account", Unknown, "run it as root")
}

// Every saved machine has a report in which each problem has a remedy.
func TestHosts(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(hosttest.Shared(t, "hosts"), "*.txtar"))
	own, _ := filepath.Glob(filepath.Join(hosttest.Root(t), "testdata", "hosts", "*.txtar"))
	snapshots, _ := filepath.Glob(filepath.Join(hosttest.Shared(t, "hwdata", "sysfs", "ghw"), "*.tar.gz"))
	files = append(append(files, own...), snapshots...)
	if len(files) < 20 {
		t.Fatalf("%d machines", len(files))
	}
	for _, file := range files {
		m, err := hostfs.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		l, _ := laptop.Read(m)
		r := Examine(m, l, Options{})
		sane(t, r)
		i := slices.IndexFunc(r.Checks, func(c Check) bool { return c.ID == "iommu" })
		if works := r.Checks[i].State == OK; works != l.IOMMU.Enabled {
			t.Errorf("%s: %+v", filepath.Base(file), r.Checks[i])
		}
		if l.IOMMU.Enabled && slices.ContainsFunc(r.Needs, func(n Need) bool { return n.Parameter != "" }) {
			t.Errorf("%s: an IOMMU that works needs %+v", filepath.Base(file), r.Needs)
		}
		_ = m.Close()
	}
}

// FuzzHost: whatever the files of a host hold, it is read, and what it needs is either
// an edit or done by hand.
func FuzzHost(f *testing.F) {
	f.Add("ID=debian\nID_LIKE=\"x y\"\n", "GRUB_ENABLE_BLSCFG=true\n", "\x06\x00\x00\x00s\x00y\x00", "Max locked memory 1 unlimited bytes\n", "flags : vmx\naddress sizes : 39 bits\n")
	f.Fuzz(func(t *testing.T, release, grub, variable, limits, cpu string) {
		m := tree(t, notebook(), map[string]string{
			"etc/os-release": release, "etc/default/grub": grub, loaderInfo: variable, "proc/self/limits": limits, "proc/cpuinfo": cpu,
			"boot/loader/entries/a.conf": "linux x\n", "sys/firmware/acpi/tables/DMAR": "",
		})
		l, _ := laptop.Read(m)
		r := Examine(m, l, Options{})
		sane(t, r)
		for _, n := range r.Needs {
			if edits, err := r.Host.Edits(n, true); err == nil && len(edits) == 0 {
				t.Errorf("%+v is met by nothing", n)
			}
		}
	})
}

// TestTPMKeys has systemd-creds with and without what it needs for a TPM.
func TestTPMKeys(t *testing.T) {
	const version, creds, library = "sys/class/tpm/tpm0/tpm_version_major", "usr/bin/systemd-creds", "usr/lib/x86_64-linux-gnu/libtss2-esys.so.0"
	for _, tt := range []struct {
		files map[string]string
		want  State
		says  string
	}{
		{map[string]string{version: "2\n", creds: "", library: ""}, OK, "can seal the keys"},
		{map[string]string{version: "2\n", creds: "", "usr/lib64/libtss2-esys.so.0": ""}, OK, "can seal the keys"},
		{map[string]string{version: "2\n", creds: "", "usr/lib/os-release": "ID=debian\n"}, Warning, "libtss2-tcti-device0"},
		{map[string]string{version: "2\n"}, OK, "only the running host can tell"},
		{map[string]string{version: "1\n", creds: "", library: ""}, OK, "not known to be a 2.0"},
		{nil, Unknown, "not stated"},
	} {
		check(t, examine(t, Options{}, notebook(), tt.files), "tpm-keys", tt.want, tt.says)
	}
}
