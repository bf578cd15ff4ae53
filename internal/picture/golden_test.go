package picture

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// small is a machine with each thing that a picture knows.
func small() Picture {
	return Picture{
		Title:   "ACME Roadrunner <14>",
		Facts:   []string{"5 IOMMU groups (intel), interrupts remapped", "Linux 6.12.9"},
		Remarks: []string{"why some functions share a group is in what only root may read"},
		Buses: []Bus{
			{Name: "PCI bus 0000:00", Below: []Node{
				{ID: "0000:00:02.0", Role: "gpu", Name: "ACME Graphics & More", Driver: "i915", Group: "0", Verdict: Refused, Reason: "refused: boot-display",
					Details: []string{"boot-display: the firmware started on it"}},
				{ID: "0000:00:14.0", Role: "usb-controller", Name: "ACME xHCI", Driver: "xhci_hcd", Group: "1", Verdict: Assignable,
					Carries: []string{"1-7 webcam Integrated Camera"}},
				{ID: "0000:00:1c.0", Bridge: true, Role: "bridge", Name: "ACME Root Port", Driver: "pcieport", Group: "2", Verdict: Stays, Below: []Node{
					{ID: "0000:01:00.0", Role: "ethernet", Name: "ACME NIC", Driver: "e1000e", Group: "2", Verdict: WithCompanions},
				}},
				{ID: "0000:00:1c.4", Bridge: true, Role: "bridge", Name: "ACME Root Port", Driver: "pcieport", Group: "2", Verdict: Stays, Below: []Node{
					{ID: "0000:02:00.0", Role: "storage", Name: "ACME NVMe", Driver: "nvme", Group: "2", Verdict: WithCompanions},
				}},
				{ID: "0000:00:1f.0", Role: "system", Name: "ACME LPC", Group: "3", Verdict: Stays},
				{ID: "0000:00:1f.3", Role: "audio", Name: "ACME HD Audio", Driver: "snd_hda_intel", Group: "3", Verdict: Unknown, Reason: "unknown: route-unknown"},
			}},
			{Name: "in groups, and on no PCI bus", Below: []Node{{ID: "platform0", Group: "4"}}},
		},
		Marks: []Mark{
			{At: "0000:00:1c.0", With: "0000:01:00.0", Label: "no ACS", Detail: "0000:01:00.0 shares the group of 0000:00:1c.0"},
			{At: "0000:00:1c.4", With: "0000:02:00.0", Label: "ACS lacks RR CR", Detail: "0000:02:00.0 shares the group of 0000:00:1c.4"},
			{At: "0000:00:1c.0", With: "0000:00:1c.4", Label: "functions: no ACS", Detail: "0000:00:1c.4 shares the group of 0000:00:1c.0"},
			{At: "0000:01:00.0", With: "0000:02:00.0", Label: "sends as another", Detail: "0000:02:00.0 sends under the number of 0000:01:00.0"},
			{At: "0000:00:1f.3", With: "0000:00:1f.0", Label: "sends as another", Detail: "0000:00:1f.3 sends under the number of 0000:00:1f.0"},
			{At: "0000:7f:00.0", With: "0000:02:00.0", Label: "never drawn", Detail: "there is no such function"},
		},
	}
}

func TestGolden(t *testing.T) {
	for name, data := range map[string][]byte{"small.svg": SVG(small()), "small.dot": DOT(small())} {
		file := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(file, data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), string(data)); d != "" {
			t.Errorf("%s is another now (-update takes it, look at it first):\n%s", name, d)
		}
		if !Ours(data) || !Ours(data[:100]) || Ours(data[:20]) || Ours(bytes.TrimPrefix(data, []byte("<"))) && name == "small.svg" {
			t.Errorf("%s is not known by how it begins", name)
		}
	}
	for _, other := range []string{"", "<svg>", "digraph {", "My notes.\n", `<?xml version="1.0" encoding="UTF-8"?>` + "\n<svg>"} {
		if Ours([]byte(other)) {
			t.Errorf("a file that begins %q is taken for one of ours", other)
		}
	}
}

// Each thing that the machine has is in its picture, and where it belongs.
func TestSmall(t *testing.T) {
	s := string(SVG(small()))
	for want, n := range map[string]int{
		`class="function"`: 9, `class="area"`: 5, `class="mark"`: 4, `class="badge"`: 8 + 5, // and in the legend
		"ACME Graphics &amp; More": 2, "ACME Roadrunner &lt;14&gt;": 2, ">no ACS<": 1, ">functions: no ACS<": 1, ">sends as another<": 2,
		"never drawn": 0, "1-7 webcam Integrated Camera": 2, ">pcieport<": 0, "driver pcieport": 2,
		">IOMMU group of one, with its number<": 1, ">group of several, which are not kept apart<": 1, ">isolation is missing here<": 1,
		">unknown: route-unknown<": 1, "boot-display: the firmware started on it": 1,
	} {
		if got := bytes.Count([]byte(s), []byte(want)); got != n {
			t.Errorf("%q is there %d times, not %d", want, got, n)
		}
	}
	check(t, small())
	empty := Picture{Title: "nothing", Warning: []string{"No IOMMU is at work."}, Badge: Refused}
	check(t, empty)
	for _, words := range []string{">IOMMU group", ">isolation", ">assignable"} {
		if bytes.Contains(SVG(empty), []byte(words)) {
			t.Errorf("the legend of an empty picture explains %s", words)
		}
	}
}
