package earlybind

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/doctor"
	"github.com/project-independence/indy/internal/hostedit"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/pci"
)

func address(t testing.TB, s string) pci.Address {
	t.Helper()
	a, err := pci.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func laptop(t testing.TB) *hostfs.Tree {
	t.Helper()
	m, err := hostfs.Open(filepath.Join(hosttest.Root(t), "testdata", "hosts", "lab-intel.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	return m.(*hostfs.Tree)
}

func put(t testing.TB, tree *hostfs.Tree, name, text string) {
	t.Helper()
	if err := tree.Put(name, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

const nvme = "0000:02:00.0"

// table is like modules.alias of a kernel, where one device has several candidates.
const table = `# Aliases extracted from modules themselves.
alias pci:v*d*sv*sd*bc01sc08i02* nvme
alias pci:v00001B36d00000010sv*sd*bc*sc*i* other_nvme
alias pci:v00008086d*sv*sd*bc*sc*i* not_this
alias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci
alias pci:v[ broken
alias pci:v00001B36d* bad;name
`

func TestRead(t *testing.T) {
	m := laptop(t)
	release, err := hostfs.ReadString(m, "proc/sys/kernel/osrelease")
	if err != nil {
		release = "6.12.0"
		put(t, m, "proc/sys/kernel/osrelease", release+"\n")
	}
	put(t, m, "lib/modules/"+release+"/modules.alias", table)
	got, err := Read(m, address(t, nvme))
	want := Function{address(t, nvme), [4]string{"0x1b36", "0x0010", "0x1af4", "0x1100"}, []string{"nvme", "other_nvme"}}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b pci.Address) bool { return a == b })); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestReadFails(t *testing.T) {
	builtin := func(m *hostfs.Tree) { _ = m.Remove("sys/bus/pci/drivers/nvme/module") }
	for name, test := range map[string]struct {
		address string
		change  func(*hostfs.Tree)
		want    error
		says    string
	}{
		"no such function":     {"0000:77:00.0", func(*hostfs.Tree) {}, fs.ErrNotExist, "77:00.0"},
		"driver of the kernel": {nvme, builtin, errors.ErrUnsupported, "built into the kernel"},
		"no id": {nvme, func(m *hostfs.Tree) { put(t, m, "sys/bus/pci/devices/"+nvme+"/vendor", "0x8086\"; reboot\n") }, nil,
			"is no id"},
	} {
		t.Run(name, func(t *testing.T) {
			m := laptop(t)
			test.change(m)
			_, err := Read(m, address(t, test.address))
			if err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestEdits makes the files and takes them back, one function after the other.
func TestEdits(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"etc/modprobe.d", "etc/udev/rules.d", "etc/modules-load.d", "etc/initramfs-tools"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const list = "etc/initramfs-tools/modules"
	if err := os.WriteFile(filepath.Join(root, list), []byte("# mine\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	before := files(t, root)
	m, e := laptop(t), &hostedit.Editor{Root: root}
	made := []pci.Address{address(t, nvme), address(t, "0000:01:00.0")}
	for _, a := range made {
		f, err := Read(m, a)
		if err != nil {
			t.Fatal(err)
		}
		edits, err := Edits(doctor.ReadHost(m, os.DirFS(root)), []Function{f})
		if err != nil {
			t.Fatal(err)
		}
		c, err := e.Prepare(edits...)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(c.Then, "update-initramfs -u -k all") || slices.ContainsFunc(c.Then, func(s string) bool { return strings.HasPrefix(s, "modprobe") }) {
			t.Errorf("to be run afterwards: %q", c.Then)
		}
		if err := e.Apply(c); err != nil {
			t.Fatal(err)
		}
	}
	set, err := List(os.DirFS(root))
	if err != nil || len(set) != 2 || set[0].Address != made[1] || set[1].Address != made[0] || !slices.Equal(set[1].Modules, []string{"nvme"}) {
		t.Errorf("listed %+v, %v", set, err)
	}
	undo := func(others bool, a ...pci.Address) {
		t.Helper()
		c, err := e.PrepareUndo(Undo(a, others))
		if err == nil {
			err = e.Undo(c)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	undo(true, made[0])
	if set, err = List(os.DirFS(root)); err != nil || len(set) != 1 || set[0].Address != made[1] {
		t.Errorf("after the first: %+v, %v", set, err)
	}
	if text, _ := os.ReadFile(filepath.Join(root, list)); !strings.Contains(string(text), "vfio_pci") {
		t.Errorf("the other one needs its module: %s", text)
	}
	undo(false, made[1])
	if diff := cmp.Diff(before, files(t, root)); diff != "" {
		t.Error(diff)
	}
}

// files has all below root but the records.
func files(t *testing.T, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.Contains(name, "/var/") {
			return err
		}
		data, err := os.ReadFile(name)
		all[name] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestEditsByHand(t *testing.T) {
	var manual *doctor.ManualError
	if _, err := Edits(doctor.Host{ModulesLoad: "etc/modules-load.d"}, []Function{{Address: address(t, nvme)}}); !errors.As(err, &manual) {
		t.Errorf("without a known initial file system: %v", err)
	}
}

func TestListDamaged(t *testing.T) {
	m := new(hostfs.Tree)
	good := "# early 0000:01:00.0 0x8086 0x10d3 0x8086 0x0000\nsoftdep e1000e pre: vfio-pci\n"
	put(t, m, modprobeFile(address(t, "0000:01:00.0")), good)
	put(t, m, modprobeFile(address(t, "0000:09:00.0")), good)
	put(t, m, modprobeFile(address(t, nvme)), "softdep nvme pre: vfio-pci\n")
	put(t, m, "etc/modprobe.d/other.conf", "nothing of ours\n")
	set, err := List(m)
	if len(set) != 1 || err == nil || !strings.Contains(err.Error(), "names no function") || !strings.Contains(err.Error(), "names 0000:01:00.0") {
		t.Errorf("%+v, %v", set, err)
	}
	if set, err := List(new(hostfs.Tree)); len(set) != 0 || err != nil {
		t.Errorf("of a machine without the directory: %v, %v", set, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("# early 0000:01:00.0 0x8086 0x10d3 0x8086 0x0000\nsoftdep e1000e pre: vfio-pci\n")
	f.Add("# early\n")
	f.Fuzz(func(t *testing.T, text string) {
		g, err := parse(text)
		if err == nil && (!g.Address.IsValid() || slices.ContainsFunc(g.IDs[:], func(s string) bool { return !isID(s) }) ||
			slices.ContainsFunc(g.Modules, func(s string) bool { return !isModule(s) })) {
			t.Errorf("%+v", g)
		}
	})
}
