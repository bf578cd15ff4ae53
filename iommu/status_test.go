package iommu_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/iommu"
)

const (
	remapped = `           CPU0       CPU1
  0:         31          0  IR-IO-APIC    2-edge      timer
 24:          0          0  DMAR-MSI    0-edge      dmar0
130:        120          9  IR-PCI-MSI-0000:00:14.0    0-edge      xhci_hcd
NMI:          5          6   Non-maskable interrupts
ERR:          0
`
	plain = `           CPU0
  0:         31  IO-APIC    2-edge      timer
 25:        120  PCI-MSIX-0000:01:00.0    0-edge      IR-receiver
`
	arm = `           CPU0
 11:        541  GICv3  30 Level     arch_timer
 48:        120  ITS-MSI 524288 Edge      nvme0q0
`
)

func TestStatus(t *testing.T) {
	for _, tt := range []struct {
		name       string
		units      string
		groups     []string
		noIOMMU    string // groups of that mode
		interrupts string
		want       iommu.Status
	}{
		{"intel", "dmar1 dmar0", []string{"0:"}, "", remapped, iommu.Status{Enabled: true, Kind: "intel", Units: []string{"dmar0", "dmar1"}, InterruptRemapping: iommu.Yes}},
		{"intel without remapping", "dmar0", []string{"0:"}, "", plain, iommu.Status{Enabled: true, Kind: "intel", Units: []string{"dmar0"}, InterruptRemapping: iommu.No}},
		{"old names of chips", "dmar0", []string{"0:"}, "", " 1: 7 IO-APIC-edge i8042\n", iommu.Status{Enabled: true, Kind: "intel", Units: []string{"dmar0"}, InterruptRemapping: iommu.No}},
		{"amd", "ivhd0", []string{"0:"}, "", remapped, iommu.Status{Enabled: true, Kind: "amd", Units: []string{"ivhd0"}, InterruptRemapping: iommu.Yes}},
		{"virtio", "virtio0", []string{"0:"}, "", "", iommu.Status{Enabled: true, Kind: "virtio", Units: []string{"virtio0"}}},
		{"arm", "smmu3.0x0000000009050000", []string{"0:"}, "", arm, iommu.Status{Enabled: true, Kind: "arm-smmu-v3", Units: []string{"smmu3.0x0000000009050000"}}},
		{"older arm", "smmu.0x5000000", []string{"0:"}, "", arm, iommu.Status{Enabled: true, Kind: "arm-smmu", Units: []string{"smmu.0x5000000"}}},
		{"another", "apple-dart.1", []string{"0:"}, "", "", iommu.Status{Enabled: true, Kind: "apple-dart.1", Units: []string{"apple-dart.1"}}},
		{"groups without a named unit", "", []string{"0:"}, "", "", iommu.Status{Enabled: true, Kind: "unknown", Units: []string{}}},
		{"none", "", nil, "", plain, iommu.Status{Kind: "none", Units: []string{}, InterruptRemapping: iommu.No}},
		{"a unit and no group", "dmar0", []string{}, "", "", iommu.Status{Kind: "intel", Units: []string{"dmar0"}}},
		{"a unit and nothing of groups", "dmar0", nil, "", "", iommu.Status{Kind: "intel", Units: []string{"dmar0"}, Unstated: true}},
		{"no-IOMMU mode", "", []string{"0:", "1:"}, "0 1", "", iommu.Status{Kind: "none", Units: []string{}}},
		{"no-IOMMU mode beside", "", []string{"0:", "1:"}, "0", "", iommu.Status{Enabled: true, Kind: "unknown", Units: []string{}}},
		{"labels and nonsense", "", nil, "", "IR-PCI-MSI\n: 1 IR-x\nNMI: 5 IR-PCI-MSI\n7:\n8: 1 2 3\n", iommu.Status{Kind: "none", Units: []string{}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := tree(t, tt.groups...)
			if tt.groups != nil {
				must(t, tr.Mkdir("sys/kernel/iommu_groups"))
			}
			for u := range strings.FieldsSeq(tt.units) {
				must(t, tr.Symlink("../../devices/virtual/iommu/"+u, "sys/class/iommu/"+u))
			}
			for id := range strings.FieldsSeq(tt.noIOMMU) {
				put(t, tr, "sys/kernel/iommu_groups/"+id+"/name", "vfio-noiommu\n")
			}
			if tt.interrupts != "" {
				put(t, tr, "proc/interrupts", tt.interrupts)
			}
			groups, err := iommu.Groups(tr, nil)
			must(t, err)
			s, err := iommu.ReadStatus(tr, groups)
			must(t, err)
			if diff := cmp.Diff(tt.want, s); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A machine that was copied without /sys/kernel says nothing of groups; an empty one is
// a machine that has none.
func TestStatusOfCopies(t *testing.T) {
	tr := new(hostfs.Tree)
	put(t, tr, "sys/bus/pci/devices/0000:00:02.0/class", "0x030000\n")
	if s, err := iommu.ReadStatus(tr, nil); err != nil || s.Unstated || s.Kind != "none" {
		t.Errorf("%+v, %v", s, err)
	}
	put(t, tr, "proc/cpuinfo", "processor\t: 0\n")
	if s, err := iommu.ReadStatus(tr, nil); err != nil || !s.Unstated || s.Kind != "unknown" {
		t.Errorf("copied: %+v, %v", s, err)
	}
	put(t, tr, "sys/kernel/uevent_seqnum", "1\n")
	if s, err := iommu.ReadStatus(tr, nil); err != nil || s.Unstated {
		t.Errorf("a kernel's own: %+v, %v", s, err)
	}
}

func TestStatusUnstated(t *testing.T) {
	tr := new(hostfs.Tree)
	must(t, tr.Mkdir("sys/class/iommu"))
	s, err := iommu.ReadStatus(tr, nil)
	must(t, err)
	if want := (iommu.Status{Kind: "unknown", Units: []string{}, Unstated: true}); cmp.Diff(want, s) != "" {
		t.Error(cmp.Diff(want, s))
	}
	// Groups that functions say they are in are there, listed or not.
	groups, err := iommu.Groups(tr, functions(t, "0000:00:02.0=0"))
	must(t, err)
	if s, err := iommu.ReadStatus(tr, groups); err != nil || !s.Enabled || s.Unstated {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestStatusUnreadable(t *testing.T) {
	tr := tree(t, "0:")
	must(t, tr.Mkdir("proc/interrupts"))
	groups, _ := iommu.Groups(tr, nil)
	s, err := iommu.ReadStatus(failing{tr, "sys/class/iommu"}, groups)
	if !errors.Is(err, syscall.EACCES) || !errors.Is(err, fs.ErrInvalid) || !s.Enabled || s.InterruptRemapping != iommu.Unknown {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestAnswerJSON(t *testing.T) {
	for a, want := range map[iommu.Answer]string{iommu.Yes: "true", iommu.No: "false", iommu.Unknown: "null"} {
		data, err := json.Marshal(a)
		if string(data) != want || err != nil {
			t.Errorf("%v is %s, %v", a, data, err)
		}
		back := iommu.Yes
		if err := json.Unmarshal(data, &back); back != a || err != nil {
			t.Errorf("%s is %v, %v", data, back, err)
		}
	}
	var a iommu.Answer
	if err := json.Unmarshal([]byte(`"yes"`), &a); err == nil || a != iommu.Unknown {
		t.Errorf("a string is %v, %v", a, err)
	}
	if s := iommu.Yes.String() + iommu.No.String() + iommu.Unknown.String() + iommu.Answer(9).String(); s != "yesnounknownunknown" {
		t.Error(s)
	}
	s, err := json.Marshal(iommu.Status{Kind: "none", Units: []string{}})
	if want := `{"enabled":false,"kind":"none","units":[],"interrupt_remapping":null}`; string(s) != want || err != nil {
		t.Errorf("%s, %v", s, err)
	}
}

// What is not stated is null in JSON and comes back as it was.
func TestStatusJSON(t *testing.T) {
	for _, tt := range []struct {
		s    iommu.Status
		json string
	}{
		{iommu.Status{Kind: "none", Units: []string{}, Unstated: true}, `{"enabled":null,"kind":"none","units":[],"interrupt_remapping":null}`},
		{iommu.Status{Enabled: true, Kind: "intel", Units: []string{"dmar0"}, InterruptRemapping: iommu.Yes}, `{"enabled":true,"kind":"intel","units":["dmar0"],"interrupt_remapping":true}`},
		{iommu.Status{Kind: "none", Units: []string{}}, `{"enabled":false,"kind":"none","units":[],"interrupt_remapping":null}`},
	} {
		data, err := json.Marshal(tt.s)
		if string(data) != tt.json || err != nil {
			t.Errorf("%s, %v; want %s", data, err, tt.json)
		}
		var back iommu.Status
		if err := json.Unmarshal(data, &back); err != nil || cmp.Diff(tt.s, back) != "" {
			t.Errorf("%s: %v %s", data, err, cmp.Diff(tt.s, back))
		}
	}
	var s iommu.Status
	if err := json.Unmarshal([]byte(`{"enabled":"yes"}`), &s); err == nil {
		t.Error("a string is accepted")
	}
}

// Nothing in /proc/interrupts panics or takes long.
func FuzzStatus(f *testing.F) {
	f.Add(remapped)
	f.Add(plain)
	lab, err := hostfs.Open(filepath.Join(hosttest.Root(f), "testdata", "hosts", "lab-intel.txtar")) // as a kernel wrote them
	must(f, err)
	data, err := lab.ReadFile("proc/interrupts")
	must(f, err)
	f.Add(string(data))
	f.Fuzz(func(t *testing.T, text string) {
		tr := new(hostfs.Tree)
		put(t, tr, "proc/interrupts", text)
		s, err := iommu.ReadStatus(tr, nil)
		if err != nil || s.Enabled || s.InterruptRemapping == iommu.Yes && !strings.Contains(text, "IR-") {
			t.Errorf("%+v, %v", s, err)
		}
	})
}
