package iommu_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
)

const (
	unsafeParameter  = "sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts"
	iommufdParameter = "sys/module/iommufd/parameters/allow_unsafe_interrupts"
	noiommu          = "sys/module/vfio/parameters/enable_unsafe_noiommu_mode"
	lockdownFile     = "sys/kernel/security/lockdown"
)

func settings(t testing.TB, files map[string]string) iommu.Settings {
	t.Helper()
	tr := new(hostfs.Tree)
	for name, text := range files {
		put(t, tr, name, text)
	}
	s, err := iommu.ReadSettings(tr)
	must(t, err)
	return s
}

func TestUnsafeInterrupts(t *testing.T) {
	for _, tt := range []struct {
		files           map[string]string
		unsafe, without iommu.Answer
	}{
		{nil, iommu.Unknown, iommu.Unknown}, // the modules are not loaded
		{map[string]string{unsafeParameter: "N\n"}, iommu.No, iommu.Unknown},
		{map[string]string{unsafeParameter: "Y\n", noiommu: "Y\n"}, iommu.Yes, iommu.Yes},
		{map[string]string{unsafeParameter: "1", noiommu: "0"}, iommu.Yes, iommu.No},
		{map[string]string{unsafeParameter: "N\n", iommufdParameter: "Y\n"}, iommu.Yes, iommu.Unknown},
		{map[string]string{unsafeParameter: "Y\n", iommufdParameter: "N\n"}, iommu.Yes, iommu.Unknown},
		{map[string]string{iommufdParameter: "N\n"}, iommu.No, iommu.Unknown},
		{map[string]string{"sys/module/vfio/initstate": "live\n"}, iommu.Unknown, iommu.No}, // built without it
		{map[string]string{"proc/cmdline": "vfio_iommu_type1.allow_unsafe_interrupts=1 vfio.enable_unsafe_noiommu_mode=1"}, iommu.Unknown, iommu.Unknown},
	} {
		s := settings(t, tt.files)
		if s.UnsafeInterrupts != tt.unsafe || s.NoIOMMUMode != tt.without {
			t.Errorf("%v: %v, %v", tt.files, s.UnsafeInterrupts, s.NoIOMMUMode)
		}
		if text := tt.files[strings.TrimPrefix(s.UnsafeInterruptsAt, "/")]; (text != "") != (tt.unsafe != iommu.Unknown) ||
			tt.unsafe == iommu.Yes && text == "N\n" {
			t.Errorf("%v: as %s says", tt.files, s.UnsafeInterruptsAt)
		}
	}
}

func TestLockdown(t *testing.T) {
	for text, want := range map[string]iommu.Lockdown{
		"[none] integrity confidentiality\n": iommu.LockdownNone,
		"none [integrity] confidentiality\n": iommu.LockdownIntegrity,
		"none integrity [confidentiality]\n": iommu.LockdownConfidentiality,
	} {
		if s := settings(t, map[string]string{lockdownFile: text}); s.Lockdown != want || s.Lockdown.String() != string(want) {
			t.Errorf("%q: %v", text, s.Lockdown)
		}
	}
	if s := settings(t, nil); s.Lockdown != "" || s.Lockdown.String() != "unknown" {
		t.Error(s.Lockdown)
	}
	for _, bad := range []string{"", "none integrity confidentiality", "[other]", "[integrity", "integrity]", "[[none]]"} {
		tr := new(hostfs.Tree)
		put(t, tr, lockdownFile, bad)
		if s, err := iommu.ReadSettings(tr); err == nil || s.Lockdown != "" {
			t.Errorf("%q: %v, %v", bad, s.Lockdown, err)
		}
	}
}

// An identity domain of the host's is no missing IOMMU: VFIO gives the group another.
func TestIdentityDomains(t *testing.T) {
	tr := tree(t, "10: 0000:03:00.0", "2: 0000:00:02.0", "0: 0000:00:00.0", "7:")
	put(t, tr, "sys/kernel/iommu_groups/0/type", "identity\n")
	put(t, tr, "sys/kernel/iommu_groups/2/type", "DMA\n")
	put(t, tr, "sys/kernel/iommu_groups/10/type", "DMA-FQ\n")
	must(t, tr.Mkdir("sys/class/iommu/dmar0"))
	s, err := iommu.ReadSettings(tr)
	must(t, err)
	want := []iommu.GroupDomain{{Group: pci.NewGroupID(0), Type: "identity"}, {Group: pci.NewGroupID(2), Type: "DMA"}, {Group: pci.NewGroupID(10), Type: "DMA-FQ"}}
	if diff := cmp.Diff(want, s.Domains, cmp.Comparer(func(a, b pci.GroupID) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	groups, err := iommu.Groups(tr, nil)
	must(t, err)
	must(t, tr.Mkdir("sys/kernel/iommu_groups/nonsense"))
	if again, err := iommu.ReadSettings(tr); err != nil || len(again.Domains) != 3 {
		t.Error(again, err)
	}
	if status, err := iommu.ReadStatus(tr, groups); err != nil || !status.Enabled {
		t.Errorf("%+v, %v", status, err)
	}
}

// What the command line asks for is not what is: with and without groups, with and
// without arguments.
func TestCommandLineIsNoEvidence(t *testing.T) {
	for _, groups := range [][]string{nil, {"0: 0000:00:02.0"}} {
		for _, line := range []string{"quiet", "quiet intel_iommu=on iommu=pt amd_iommu=on", "intel_iommu=off iommu=off"} {
			tr := tree(t, groups...)
			must(t, tr.Mkdir("sys/kernel/iommu_groups"))
			if groups != nil {
				must(t, tr.Mkdir("sys/class/iommu/dmar0"))
			}
			put(t, tr, "proc/cmdline", line)
			all, err := iommu.Groups(tr, nil)
			must(t, err)
			status, err := iommu.ReadStatus(tr, all)
			must(t, err)
			if status.Enabled != (groups != nil) {
				t.Errorf("%v, %q: %+v", groups, line, status)
			}
		}
	}
}

func TestArguments(t *testing.T) {
	for line, want := range map[string]string{
		"quiet ro root=/dev/sda1 vfio": "",
		"intel_iommu=on":               "intel_iommu=on: use Intel's units, if the firmware describes any",
		// Neither is an option of Linux'.
		"amd_iommu=on iommu=on intel_iommu=yes": "amd_iommu=on: \niommu=on: \nintel_iommu=yes: ",
		"intel_iommu=on,sm_on,junk iommu=pt":    "intel_iommu=on: use Intel's units, if the firmware describes any\nintel_iommu=sm_on: scalable mode where there is one\nintel_iommu=junk: \niommu=pt: the host's own devices are not translated; those of guests are",
		// Quotes are taken off around an argument or its value, and nowhere else.
		`"iommu=nopt" intremap="nosid" iom"mu"=pt iommu=p"t"`: "iommu=nopt: the host's own devices are translated\nintremap=nosid: do not check who sends an interrupt\niommu=p\"t\": ",
		"iommu.passthrough=1 iommu.strict=1":                  "iommu.passthrough=1: the host's own devices are not translated; those of guests are\niommu.strict=1: invalidate at every unmapping",
		"intremap=off,nosid":                                  "intremap=off: do not remap interrupts\nintremap=nosid: do not check who sends an interrupt",
		"nointremap nox2apic":                                 "nointremap: do not remap interrupts\nnox2apic: no x2APIC",
		"vfio-pci.ids=10de:2520,10de:228e":                    "vfio_pci.ids=10de:2520,10de:228e: vfio-pci takes every device of these ids",
		"pci=noaer,nommconf,realloc pci=off":                  "pci=nommconf: no config space above 256 bytes, so that isolation (ACS) is not seen",
		"efi=noruntime,disable_early_pci_dma":                 "efi=disable_early_pci_dma: no DMA while the firmware hands over",
		"lockdown=integrity":                                  "lockdown=integrity: root cannot change the kernel",
		"ivrs_ioapic[4]=00:14.0 ivrs_hpet=0@0000:00:14.0":     "ivrs_ioapic=4@00:14.0: correct the firmware's table: an IOAPIC\nivrs_hpet=0@0000:00:14.0: correct the firmware's table: a timer",
		`dyndbg="intel_iommu=off x" "iommu=soft" -- iommu=pt`: "iommu=soft: copy instead of translating",
		"iommu=\x1b[2Jpt":                                     "iommu=[2Jpt: ",
		"intel_iommu":                                         "intel_iommu: ",
	} {
		s := settings(t, map[string]string{"proc/cmdline": line + "\n"})
		var text []string
		for _, a := range s.Arguments {
			text = append(text, a.String()+": "+a.Meaning)
		}
		if diff := cmp.Diff(want, strings.Join(text, "\n")); diff != "" || !s.ArgumentsKnown {
			t.Errorf("%q: %s", line, diff)
		}
	}
	if s := settings(t, nil); s.ArgumentsKnown || s.Arguments != nil {
		t.Error(s)
	}
	if s := settings(t, map[string]string{"proc/cmdline": strings.Repeat("iommu=pt ", 4000)}); len(s.Arguments) > 200 {
		t.Error(len(s.Arguments))
	}
}

// Groups look split, and are not, on a kernel with the override patch.
func TestACSOverride(t *testing.T) {
	for line, want := range map[string][]string{
		"quiet":                        nil,
		"pcie_acs_override=":           nil,
		"pcie_acs_override=downstream": {"downstream"},
		"pcie-acs-override=downstream": {"downstream"},
		"pcie_acs_override=downstream,multifunction pcie_acs_override=id:8086:1c10,downstream": {"downstream", "multifunction", "id:8086:1c10"},
		`"pcie_acs_override=downstream,multifunction"`:                                         {"downstream", "multifunction"},
	} {
		s := settings(t, map[string]string{"proc/cmdline": line})
		if diff := cmp.Diff(want, s.ACSOverride); diff != "" {
			t.Errorf("%q: %s", line, diff)
		}
	}
	s := settings(t, map[string]string{"proc/cmdline": "pci=noaer,config_acs=0bxx1x0@0000:00:1c.0;0000:00:1d.0,disable_acs_redir=pci:8086:1c10"})
	if diff := cmp.Diff([]string{"config_acs=0bxx1x0@0000:00:1c.0;0000:00:1d.0", "disable_acs_redir=pci:8086:1c10"}, s.ConfigACS); diff != "" {
		t.Error(diff)
	}
}

func TestWithoutACSOverride(t *testing.T) {
	for line, want := range map[string]string{
		"":                                      "",
		"quiet  root=/dev/sda1\n":               "quiet root=/dev/sda1",
		"quiet pcie_acs_override=downstream ro": "quiet ro",
		`pcie-acs-override=a "pcie_acs_override=b c" d`:    "d",
		`dyndbg="file x +p" pcie_acs_override x "y z"`:     `dyndbg="file x +p" x "y z"`,
		"ro -- pcie_acs_override=downstream":               "ro -- pcie_acs_override=downstream",
		"xpcie_acs_override=1 pcie_acs_override2=1 \"open": `xpcie_acs_override=1 pcie_acs_override2=1 "open`,
	} {
		if got := iommu.WithoutACSOverride(line); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

func TestParameters(t *testing.T) {
	s := settings(t, map[string]string{
		unsafeParameter:                                  "N\n",
		"sys/module/vfio_pci/parameters/ids":             "10de:2520\x1b\n",
		"sys/module/intel_iommu/parameters/anything":     "1\n",
		"sys/module/snd_hda_intel/parameters/power_save": "1\n",
	})
	if got := fmt.Sprint(s.Parameters); got != "[intel_iommu.anything=1 vfio_iommu_type1.allow_unsafe_interrupts=N vfio_pci.ids=10de:2520]" {
		t.Error(got)
	}
}

// What only root may read is unknown; what fails otherwise costs itself alone.
func TestSettingsUnreadable(t *testing.T) {
	tr := tree(t, "0: 0000:00:02.0")
	for name, text := range map[string]string{
		unsafeParameter: "Y", noiommu: "Y", lockdownFile: "[none] integrity", "proc/cmdline": "iommu=pt", "sys/kernel/iommu_groups/0/type": "DMA",
	} {
		put(t, tr, name, text)
	}
	whole, err := iommu.ReadSettings(tr)
	must(t, err)
	for _, name := range []string{
		unsafeParameter, noiommu, lockdownFile, "proc/cmdline", "sys/kernel/iommu_groups/0/type", "sys/kernel/iommu_groups", "sys/module/vfio/parameters",
	} {
		for _, cause := range []error{syscall.EACCES, syscall.EIO} {
			s, err := iommu.ReadSettings(hosttest.Failing{Tree: tr, Fail: func(n string) error {
				if n == name {
					return cause
				}
				return nil
			}})
			var op *iommu.OpError
			if denied := cause == syscall.EACCES; denied && err != nil || !denied && (!errors.Is(err, cause) || !errors.As(err, &op)) {
				t.Errorf("%s, %v: %v", name, cause, err)
			}
			if cmp.Equal(whole, s, cmp.Comparer(func(a, b pci.GroupID) bool { return a == b })) {
				t.Errorf("%s, %v: nothing is missing", name, cause)
			}
		}
	}
	put(t, tr, unsafeParameter, "maybe")
	if s, err := iommu.ReadSettings(tr); err == nil || s.UnsafeInterrupts != iommu.Unknown || s.NoIOMMUMode != iommu.Yes {
		t.Error(s, err)
	}
}

func TestSettingsOfLab(t *testing.T) {
	h, err := hostfs.Open(filepath.Join(hosttest.Root(t), "testdata", "hosts", "lab-intel.txtar"))
	must(t, err)
	s, err := iommu.ReadSettings(h)
	must(t, err)
	if s.UnsafeInterrupts != iommu.No || fmt.Sprint(s.Arguments) != "[intel_iommu=on]" || len(s.Domains) == 0 || s.ACSOverride != nil {
		t.Errorf("%+v", s)
	}
}

func FuzzSettings(f *testing.F) {
	f.Add("quiet intel_iommu=on,sm_on pcie_acs_override=downstream,multifunction pci=config_acs=1@2 -- x", "none [integrity]", "Y")
	f.Add(`"a b" c="d e" iommu="`, "[", "")
	f.Add(`"b" c="d e" iom"mu"`, "", "")
	f.Fuzz(func(t *testing.T, line, lockdown, value string) {
		tr := new(hostfs.Tree)
		put(t, tr, "proc/cmdline", line)
		put(t, tr, lockdownFile, lockdown)
		put(t, tr, unsafeParameter, value)
		s, _ := iommu.ReadSettings(tr)
		if len(s.Arguments) > 200 || s.Lockdown != "" && !strings.Contains(lockdown, "["+string(s.Lockdown)+"]") {
			t.Errorf("%+v", s)
		}
		for _, a := range s.Arguments {
			if text := a.String(); len(text) > 2000 || strings.ContainsAny(text, "\n\x1b") {
				t.Errorf("%q", text)
			}
			if !strings.Contains(strings.ReplaceAll(line, "-", "_"), a.Name) {
				t.Errorf("%q is not in %q", a.Name, line)
			}
		}
	})
}
