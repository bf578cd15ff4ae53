package cli

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/laptop"
)

func TestAlike(t *testing.T) {
	reset := func(a string) laptop.Finding {
		return laptop.Finding{Code: laptop.NoReset, Severity: laptop.Block, Device: "pci:" + a, Detail: a + " cannot be reset", Evidence: a, Remedy: "see " + a}
	}
	lock := func(a string) laptop.Finding {
		return laptop.Finding{Code: laptop.Lockdown, Severity: laptop.Info, Device: "pci:" + a, Detail: "locked down"}
	}
	other := laptop.Finding{Code: laptop.NoReset, Severity: laptop.Warning, Device: "pci:05:00.0", Detail: "05:00.0 cannot be reset"}
	got := alike([]laptop.Finding{reset("04:00.0"), lock("04:00.0"), reset("04:00.1"), lock("04:00.1"), other, {}})
	want := []laptop.Finding{reset("04:00.0"), lock("04:00.0"), other, {}}
	want[0].Detail += "; the same of 04:00.1"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var many []laptop.Finding
	for i := range maxAlike + 3 {
		many = append(many, reset(fmt.Sprint("d", i)))
	}
	if got := alike(many); len(got) != 1 || got[0].Detail != "d0 cannot be reset; the same of d1, d2, d3, d4, d5, d6, d7, d8 and 2 more" {
		t.Errorf("%+v", got)
	}
}

// What the findings say of a loss is not said again, but every other loss is.
func TestUnsaid(t *testing.T) {
	m := &machine{}
	said := []laptop.Finding{
		{Code: laptop.HostDisk, Detail: "overridden by --allow host-disk: a carries a disk the host is using: / on sda1"},
		{Code: laptop.OnlyKeyboard, Detail: "a takes the host's only keyboard along: Keys"},
		{Code: laptop.Carries, Detail: "a carries 1-2 (input)"},
	}
	got := m.unsaid([]laptop.Loss{
		{Kind: laptop.HostDisk, What: "/ on sda1"}, {Kind: laptop.HostDisk, What: "/data in the mount namespace of process 7 on sda2"},
		{Kind: laptop.OnlyKeyboard, What: "the host is left without a keyboard: Keys"}, {Kind: laptop.Carries, What: "input 1-2"},
		{Kind: laptop.NodeOpen, Severity: laptop.Gap, What: "?"},
	}, said)
	if len(got) != 2 || got[0].What != "/data in the mount namespace of process 7 on sda2" || got[1].Kind != laptop.NodeOpen {
		t.Errorf("%+v", got)
	}
	m.saved = true
	if got := m.unsaid([]laptop.Loss{{Kind: laptop.NodeOpen, Severity: laptop.Gap}}, nil); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}
