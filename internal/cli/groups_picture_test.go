package cli_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/cli"
	"github.com/project-independence/indy/internal/hosttest"
)

// A drawn picture is what its SVG says of it.
type drawn struct {
	paper box
	boxes map[string]box // by address
	group map[string]string
	areas map[string]bool
	marks int
}

type box struct{ x, y, w, h int }

// readPicture reads an SVG, which has to be well-formed.
func readPicture(t *testing.T, svg []byte) drawn {
	t.Helper()
	d := drawn{boxes: map[string]box{}, group: map[string]string{}, areas: map[string]bool{}}
	dec := xml.NewDecoder(bytes.NewReader(svg))
	id := ""
	for {
		token, err := dec.Token()
		if errors.Is(err, io.EOF) {
			return d
		}
		if err != nil {
			t.Fatal(err)
		}
		e, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		at := map[string]string{}
		for _, a := range e.Attr {
			at[a.Name.Local] = a.Value
		}
		number := func(name string) int {
			n, err := strconv.Atoi(at[name])
			if err != nil {
				t.Fatalf("%s of %s: %v", name, e.Name.Local, err)
			}
			return n
		}
		switch {
		case e.Name.Local == "svg":
			d.paper = box{0, 0, number("width"), number("height")}
		case at["class"] == "area":
			d.areas[at["data-group"]] = true
		case at["class"] == "mark":
			d.marks++
		case at["class"] == "function":
			if id = at["data-id"]; d.group[id] != "" || d.boxes[id] != (box{}) {
				t.Errorf("%s is drawn twice", id)
			}
			d.group[id] = at["data-group"]
		case e.Name.Local == "rect" && id != "":
			d.boxes[id] = box{number("x"), number("y"), number("width"), number("height")}
			id = ""
		}
	}
}

func savedMachines(t *testing.T) []string {
	t.Helper()
	machines, _ := filepath.Glob(filepath.Join(hosttest.Shared(t, "hosts"), "*.txtar"))
	own, _ := filepath.Glob(filepath.Join(hosttest.Root(t), "testdata", "hosts", "*.txtar"))
	snapshots, _ := filepath.Glob(filepath.Join(hosttest.Shared(t, "hwdata", "sysfs", "ghw"), "*.tar.gz"))
	if machines = append(append(machines, own...), snapshots...); len(machines) < 20 {
		t.Fatalf("only %d saved machines", len(machines))
	}
	return machines
}

// Of every saved machine each function and each group is in its picture, once, as the
// list has them.
func TestPictures(t *testing.T) {
	functions, marks := 0, 0
	for _, m := range savedMachines(t) {
		run := func(args ...string) []byte {
			t.Helper()
			var stdout, stderr bytes.Buffer
			env := cli.Env{Names: os.DirFS(filepath.Join(hosttest.Root(t), "testdata", "ids")), Stdout: &stdout, Stderr: &stderr, Getenv: os.Getenv}
			if code := cli.Main(append(args, "--from", m), &env); code != 0 {
				t.Fatalf("indy %v --from %s: exit %d: %s", args, m, code, &stderr)
			}
			return stdout.Bytes()
		}
		svg := run("groups", "--svg", "-")
		d := readPicture(t, svg)
		var devices struct {
			Devices []struct {
				Bus, Address, Name string
				Group              *int `json:"iommu_group"`
			}
		}
		var groups struct {
			Groups []struct{ ID int }
		}
		for doc, v := range map[string]any{string(run("devices", "--json")): &devices, string(run("groups", "--json")): &groups} {
			if err := json.Unmarshal([]byte(doc), v); err != nil {
				t.Fatal(err)
			}
		}
		n := 0
		for _, f := range devices.Devices {
			if f.Bus != "pci" {
				continue
			}
			n++
			want := ""
			if f.Group != nil {
				want = strconv.Itoa(*f.Group)
			}
			if got, ok := d.group[f.Address]; !ok || got != want {
				t.Errorf("%s: %s is drawn: %v, in group %q, not %q", m, f.Address, ok, got, want)
			}
		}
		functions += n
		marks += d.marks
		if len(d.group) < n || len(d.areas) != len(groups.Groups) {
			t.Errorf("%s: %d boxes of %d functions, %d areas of %d groups", m, len(d.group), n, len(d.areas), len(groups.Groups))
		}
		for _, g := range groups.Groups {
			if !d.areas[strconv.Itoa(g.ID)] {
				t.Errorf("%s: group %d is not drawn", m, g.ID)
			}
		}
		d.checkBoxes(t, m)
		if d.paper.w > 1920 {
			t.Errorf("%s: %d pixels are wider than a screen", m, d.paper.w)
		}
		if dot := run("groups", "--dot", "-"); n > 0 && bytes.Count(dot, []byte(" -- ")) < n {
			t.Errorf("%s: DOT has %d edges for %d functions", m, bytes.Count(dot, []byte(" -- ")), n)
		}
	}
	if functions < 600 || marks < 12 {
		t.Errorf("only %d functions and %d marks were looked at", functions, marks)
	}
}

func (d drawn) checkBoxes(t *testing.T, m string) {
	t.Helper()
	var all []box
	for id, b := range d.boxes {
		if b.x < 0 || b.y < 0 || b.x+b.w > d.paper.w || b.y+b.h > d.paper.h {
			t.Errorf("%s: %s at %v is not on the paper %v", m, id, b, d.paper)
		}
		for _, o := range all {
			if b.x < o.x+o.w && o.x < b.x+b.w && b.y < o.y+o.h && o.y < b.y+b.h {
				t.Errorf("%s: boxes %v and %v overlap", m, b, o)
			}
		}
		all = append(all, b)
	}
}

// The picture in docs is what indy draws now.
func TestPictureInDocs(t *testing.T) {
	root := hosttest.Root(t)
	file := filepath.Join(root, "docs", "groups.svg")
	var stdout, stderr bytes.Buffer
	env := cli.Env{Names: os.DirFS(filepath.Join(root, "testdata", "ids")), Stdout: &stdout, Stderr: &stderr, Getenv: os.Getenv}
	if code := cli.Main([]string{"groups", "--svg", "-", "--from", filepath.Join(root, "testdata", "hosts", "lab-switched.txtar")}, &env); code != 0 {
		t.Fatalf("exit %d: %s", code, &stderr)
	}
	if *update {
		if err := os.WriteFile(file, stdout.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, stdout.Bytes()) {
		t.Errorf("docs/groups.svg is not what indy draws now (-update takes it, look at it first)")
	}
	// What docs/groups.md says is in it.
	d := readPicture(t, want)
	for address, group := range map[string]string{"0000:0b:00.0": "7", "0000:00:07.0": "7", "0000:04:02.0": "16", "0000:0e:00.0": "12", "0000:0a:00.0": "20"} {
		if d.group[address] != group {
			t.Errorf("%s is in group %q", address, d.group[address])
		}
	}
	for _, says := range []string{">no ACS<", ">functions: no ACS<", ">conventional PCI bus<", "root port 0000:00:07.0 lacks ACS (Source Validation, Request Redirect, Completion Redirect, Upstream Forwarding)"} {
		if !strings.Contains(string(want), says) {
			t.Errorf("%q is not in docs/groups.svg", says)
		}
	}
}

// A group may have members that no listing of functions has, and be no true one.
func TestPictureOfOthers(t *testing.T) {
	const machine = `-- proc/cmdline --
quiet pcie_acs_override=downstream,multifunction
-- sys/bus/pci/devices/0000:00:02.0 -> ../../../devices/pci0000:00/0000:00:02.0 --
-- sys/devices/pci0000:00/0000:00:02.0/uevent --
PCI_CLASS=30000
PCI_ID=8086:9A49
PCI_SLOT_NAME=0000:00:02.0
-- sys/devices/pci0000:00/0000:00:02.0/iommu_group -> ../../../kernel/iommu_groups/3 --
-- sys/kernel/iommu_groups/3/devices/0000:00:02.0 -> ../../../../devices/pci0000:00/0000:00:02.0 --
-- sys/kernel/iommu_groups/3/devices/platform<b>&0 -> ../../../../devices/platform0 --
-- sys/kernel/iommu_groups/4/devices/0000:00:1f.0 -> ../../../../devices/pci0000:00/0000:00:1f.0 --
-- sys/kernel/iommu_groups/9/reserved_regions --
0x00000000fee00000 0x00000000feefffff msi
-- sys/class/iommu/dmar0 -> ../../devices/virtual/iommu/dmar0 --
`
	tree, _, err := hostfs.ParseTxtar([]byte(machine))
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	env := cli.Env{Host: readOnly{tree}, Names: os.DirFS(filepath.Join(hosttest.Root(t), "testdata", "ids")), Stdout: &stdout, Stderr: &stderr, Getenv: os.Getenv}
	cli.Main([]string{"groups", "--svg", "-"}, &env)
	d := readPicture(t, stdout.Bytes())
	for id, group := range map[string]string{"0000:00:02.0": "3", "platform<b>&0": "3", "0000:00:1f.0": "4", "group 9": "9"} {
		if got, ok := d.group[id]; !ok || got != group {
			t.Errorf("%s is drawn: %v, in group %q", id, ok, got)
		}
	}
	d.checkBoxes(t, "others")
	if !strings.Contains(stdout.String(), "The command line of the kernel has pcie_acs_override=downstream,multifunction,") {
		t.Error("an argument of the kernel that parts groups is not told")
	}
}

// readOnly is a host that nothing is written to.
type readOnly struct{ *hostfs.Tree }

func (readOnly) WriteFile(name string, _ []byte) error { return errors.New("written: " + name) }
