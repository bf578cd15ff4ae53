package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/cli"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/laptop"
)

// diff runs indy diff with names of our own.
func diff(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	env := cli.Env{
		Host:  new(hostfs.Tree),
		Names: os.DirFS(filepath.Join(hosttest.Root(t), "testdata", "ids")), Stdout: &out, Stderr: &errs, Getenv: os.Getenv,
	}
	code = cli.Main(append([]string{"diff"}, args...), &env)
	return out.String(), errs.String(), code
}

type diffDocument struct {
	Devices []struct {
		Outcome       laptop.Outcome
		Before, After *string
		Score         int
		Changes       []struct{ Field string }
	}
}

// Every pair of real machines gives what the schema promises; a machine and itself
// differ in nothing.
func TestDiffSchema(t *testing.T) {
	root := hosttest.Root(t)
	machines, _ := filepath.Glob(filepath.Join(hosttest.Shared(t, "hosts"), "*.txtar"))
	own, _ := filepath.Glob(filepath.Join(root, "testdata", "hosts", "*.txtar"))
	machines = append(machines, own...)
	if len(machines) < 10 {
		t.Fatalf("only %d saved machines", len(machines))
	}
	for i, m := range machines {
		stdout, stderr, code := diff(t, "--json", "--exit-code", m, m)
		if code != 0 {
			t.Errorf("%s: exit %d: %s", m, code, stderr)
		}
		validate(t, "diff", []byte(stdout))
		var doc diffDocument
		if err := json.Unmarshal([]byte(stdout), &doc); err != nil || len(doc.Devices) == 0 {
			t.Fatal(err)
		}
		for _, d := range doc.Devices {
			if d.Outcome != laptop.Same || *d.Before != *d.After || d.Score != 100 || len(d.Changes) > 0 {
				t.Errorf("%s: %+v", m, d)
			}
		}
		other := machines[(i+1)%len(machines)]
		stdout, stderr, code = diff(t, "--json", "--exit-code", m, other)
		if code != 1 || !strings.Contains(stderr, `"message":"the machines differ"`) {
			t.Errorf("%s, %s: exit %d: %s", m, other, code, stderr)
		}
		validate(t, "diff", []byte(stdout))
		if _, stderr, code := diff(t, m, other); code != 0 || stderr != "" {
			t.Errorf("%s, %s: exit %d: %s", m, other, code, stderr)
		}
	}
}

// notebook is a saved machine of two functions in the given groups, none for an empty
// one, with an I2C touchpad and a disk in a USB drawer at the node.
func notebook(t *testing.T, group1, group2, node, product string) string {
	t.Helper()
	var b strings.Builder
	file := func(name, content string) { fmt.Fprintf(&b, "-- %s --\n%s\n", name, content) }
	link := func(name, target string) { fmt.Fprintf(&b, "-- %s -> %s --\n", name, target) }
	if group1 != "" {
		file("sys/class/iommu/dmar0/intel-iommu/version", "1:0")
	}
	for a, group := range map[string]string{"0000:00:14.0": group1, "0000:00:15.0": group2} {
		link("sys/bus/pci/devices/"+a, "../../../devices/pci0000:00/"+a)
		file("sys/devices/pci0000:00/"+a+"/uevent", "PCI_CLASS=C0330\nPCI_ID=1B36:00"+a[8:10])
		if group != "" {
			link("sys/devices/pci0000:00/"+a+"/iommu_group", "../../../kernel/iommu_groups/"+group)
			link("sys/kernel/iommu_groups/"+group+"/devices/"+a, "../../../../devices/pci0000:00/"+a)
		}
	}
	const drawer = "pci0000:00/0000:00:14.0/usb1/1-1"
	link("sys/bus/usb/devices/1-1", "../../../devices/"+drawer)
	file("sys/devices/"+drawer+"/uevent", "DRIVER=usb\nPRODUCT=1209/1/100\nTYPE=0/0/0")
	if product != "" {
		file("sys/devices/"+drawer+"/product", product)
	}
	link("sys/bus/usb/devices/1-1:1.0", "../../../devices/"+drawer+"/1-1:1.0")
	file("sys/devices/"+drawer+"/1-1:1.0/uevent", "DRIVER=usb-storage\nINTERFACE=8/6/80")
	link("sys/class/block/"+node, "../../devices/"+drawer+"/1-1:1.0/host0/target0:0:0/0:0:0:0/block/"+node)
	file("sys/devices/"+drawer+"/1-1:1.0/host0/target0:0:0/0:0:0:0/block/"+node+"/size", "100")
	const touchpad = "pci0000:00/0000:00:15.0/i2c_designware.0/i2c-1/i2c-ELAN0001:00/0018:04F3:3140.0001/input/input5"
	link("sys/class/input/input5", "../../devices/"+touchpad)
	file("sys/devices/"+touchpad+"/name", "ELAN Touchpad")
	file("proc/self/mountinfo", "22 1 0:20 / /proc rw - proc proc rw")
	file("proc/net/route", "Iface\tDestination\tGateway")
	name := filepath.Join(t.TempDir(), "m.txtar")
	if err := os.WriteFile(name, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// What a person reads of two machines, and what counts as a difference.
func TestDiffText(t *testing.T) {
	const drawer = "Drawer"
	for _, tt := range []struct {
		name          string
		before, after string
		want          string // from the first row on
		differs       bool
	}{
		{"itself", notebook(t, "1", "2", "sda", drawer), notebook(t, "1", "2", "sda", drawer),
			"4 unchanged, of 4 devices before and 4 after\n", false},
		{"groups with other numbers", notebook(t, "1", "2", "sda", drawer), notebook(t, "5", "7", "sda", drawer),
			"2 unchanged, 2 with other numbers only, of 4 devices before and 4 after\n", false},
		{"groups exchanged", notebook(t, "1", "2", "sda", drawer), notebook(t, "2", "1", "sda", drawer),
			"2 unchanged, 2 with other numbers only, of 4 devices before and 4 after\n", false},
		{"groups joined", notebook(t, "1", "2", "sda", drawer), notebook(t, "1", "1", "sda", drawer),
			"changed\n  0000:00:14.0  usb-controller  Red Hat 1b36:0014\n      group members: + 0000:00:15.0\n" +
				"      verdict: assignable -> with-companions\n  0000:00:15.0  usb-controller  Red Hat 1b36:0015\n" +
				"      group members: + 0000:00:14.0\n      verdict: assignable -> with-companions\n\n2 unchanged, of 4 devices before and 4 after\n", true},
		{"the IOMMU was switched on", notebook(t, "", "", "sda", drawer), notebook(t, "1", "2", "sda", drawer),
			"2 unchanged, 2 with another group or verdict only, of 4 devices before and 4 after\n", true},
		{"another node", notebook(t, "1", "2", "sda", drawer), notebook(t, "1", "2", "sdb", drawer),
			"changed\n  1-1  storage  Drawer\n      nodes: /dev/sda -> /dev/sdb\n\n3 unchanged, of 4 devices before and 4 after\n", true},
		{"a name that one side does not state", notebook(t, "1", "2", "sda", ""), notebook(t, "1", "2", "sdb", drawer),
			"changed\n  1-1  storage  Drawer\n      nodes: /dev/sda -> /dev/sdb\n\n3 unchanged, of 4 devices before and 4 after\n", true},
		{"the other side does not", notebook(t, "1", "2", "sda", drawer), notebook(t, "1", "2", "sdb", ""),
			"changed\n  1-1  storage  Drawer\n      nodes: /dev/sda -> /dev/sdb\n\n3 unchanged, of 4 devices before and 4 after\n", true},
		{"another name", notebook(t, "1", "2", "sda", drawer), notebook(t, "1", "2", "sdb", "Shelf"),
			"changed\n  1-1  storage  Drawer -> Shelf\n      nodes: /dev/sda -> /dev/sdb\n\n3 unchanged, of 4 devices before and 4 after\n", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stdout, stderr, code := diff(t, "--exit-code", tt.before, tt.after)
			_, rows, _ := strings.Cut(stdout, "\n\n")
			if d := cmp.Diff(tt.want, rows); d != "" {
				t.Error(d)
			}
			if (code == 1) != tt.differs || (code == 0) == tt.differs {
				t.Errorf("exit %d: %s", code, stderr)
			}
			if on := strings.Contains(stdout, "\niommu:  no IOMMU at work"); on != (tt.name == "the IOMMU was switched on") {
				t.Error(stdout)
			}
			stdout, _, _ = diff(t, "--json", tt.before, tt.after)
			validate(t, "diff", []byte(stdout))
			if !strings.Contains(stdout, `"before": "i2c:i2c-ELAN0001:00"`) || !strings.Contains(stdout, `"name": "ELAN Touchpad"`) {
				t.Error("no touchpad")
			}
		})
	}
}

// Without a second machine the first is compared with this host.
func TestDiffHost(t *testing.T) {
	m := filepath.Join(hosttest.Root(t), "testdata", "hosts", "lab-intel.txtar")
	stdout, stderr, code := diff(t, m)
	if code != 0 || !strings.Contains(stdout, "after:  this host\n") || !strings.Contains(stdout, "of 25 devices before and 0 after") {
		t.Errorf("exit %d: %s%s", code, stdout, stderr)
	}
	for _, args := range [][]string{{}, {m, m, m}, {""}, {m, ""}, {"--bogus", m}} {
		if _, _, code := diff(t, args...); code != 2 {
			t.Errorf("%q: exit %d", args, code)
		}
	}
}

// What a device says of itself reaches no terminal as it is.
func TestDiffHostile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, serial string) string {
		const device = "pci0000:00/0000:00:14.0/usb1/1-1"
		text := "-- sys/bus/usb/devices/1-1 -> ../../../devices/" + device + " --\n" +
			"-- sys/devices/" + device + "/uevent --\nDRIVER=usb\nPRODUCT=1/2/3\nTYPE=0/0/0\n" +
			"-- sys/devices/" + device + "/serial --\n" + serial + "\n" +
			"-- sys/devices/" + device + "/firmware_node/path --\n\x1b]0;" + serial + "\x07" + strings.Repeat("x", 5000) + "\n"
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	a, b := write("a.txtar", "\x1b[31mA1"), write("b.txtar", "\x1b[2JB2\u202e")
	for _, args := range [][]string{{a, b}, {"--all", a, a}, {"--json", a, b}} {
		stdout, stderr, code := diff(t, args...)
		if code != 0 || strings.ContainsAny(stdout+stderr, "\x1b\x07\u202e") || len(stdout) > 20000 {
			t.Errorf("%v: exit %d, %.3000q", args, code, stdout+stderr)
		}
		if args[0] == "--json" {
			validate(t, "diff", []byte(stdout))
		}
	}
}
