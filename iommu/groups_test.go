package iommu_test

import (
	"errors"
	"fmt"
	"io/fs"
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

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func put(t testing.TB, tr *hostfs.Tree, name, content string) {
	t.Helper()
	must(t, tr.Put(name, []byte(content)))
}

func addr(t testing.TB, s string) pci.Address {
	t.Helper()
	a, err := pci.ParseAddress(s)
	must(t, err)
	return a
}

// group is "7: 0000:01:00.0 AMDI0020:00", members as the kernel lists them.
func tree(t testing.TB, groups ...string) *hostfs.Tree {
	t.Helper()
	tr := new(hostfs.Tree)
	for _, g := range groups {
		id, members, _ := strings.Cut(g, ":")
		dir := "sys/kernel/iommu_groups/" + id + "/devices"
		must(t, tr.Mkdir(dir))
		for m := range strings.FieldsSeq(members) {
			must(t, tr.Symlink("../../../../devices/"+m, dir+"/"+m))
		}
	}
	return tr
}

// functions is "0000:01:00.0=7 0000:02:00.0": functions with what each says of its group.
func functions(t testing.TB, s string) []pci.Function {
	t.Helper()
	var all []pci.Function
	for f := range strings.FieldsSeq(s) {
		a, group, ok := strings.Cut(f, "=")
		fn := pci.Function{Address: addr(t, a)}
		if ok {
			var err error
			fn.Group, err = pci.ParseGroupID(group)
			must(t, err)
		}
		all = append(all, fn)
	}
	return all
}

func lines(groups []iommu.Group) string {
	var b strings.Builder
	for _, g := range groups {
		fmt.Fprintf(&b, "%v:", g.ID)
		for _, d := range g.Devices {
			fmt.Fprintf(&b, " %v", d)
		}
		for _, o := range g.Others {
			fmt.Fprintf(&b, " +%s", o)
		}
		if !g.Known {
			b.WriteString(" ?")
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestGroups(t *testing.T) {
	for _, tt := range []struct {
		name      string
		groups    []string
		functions string
		want      string
		err       string
	}{
		{name: "none"},
		{
			name: "sparse, group 0, in the order of numbers", groups: []string{"31: 0000:03:00.0", "0: 0000:00:02.0", "7: 0000:01:00.1 0000:01:00.0", "100: 10000:e1:00.0"},
			functions: "0000:00:02.0=0 0000:01:00.0=7 0000:01:00.1=7 0000:03:00.0=31 10000:e1:00.0=100",
			want:      "0: 0000:00:02.0\n7: 0000:01:00.0 0000:01:00.1\n31: 0000:03:00.0\n100: 10000:e1:00.0\n",
		},
		{
			name: "derived without the directory", functions: "0000:01:00.1=12 0000:01:00.0=12 0000:02:00.0=0 0000:03:00.0",
			want: "0: 0000:02:00.0 ?\n12: 0000:01:00.0 0000:01:00.1 ?\n",
		},
		{
			name: "derived beside the directory", groups: []string{"1: 0000:01:00.0"}, functions: "0000:01:00.0=1 0000:02:00.0=2",
			want: "1: 0000:01:00.0\n2: 0000:02:00.0 ?\n",
		},
		{
			name: "claims what the kernel does not list", groups: []string{"1: 0000:02:00.0"}, functions: "0000:01:00.0=1 0000:02:00.0=1",
			want: "1: 0000:01:00.0 0000:02:00.0 ?\n",
		},
		{
			name: "claims another group than the kernel lists", groups: []string{"1: 0000:01:00.0", "2:"}, functions: "0000:01:00.0=2",
			want: "1: 0000:01:00.0 ?\n2: 0000:01:00.0 ?\n",
		},
		{
			name: "says nothing of its group", groups: []string{"1: 0000:01:00.0"}, functions: "0000:01:00.0",
			want: "1: 0000:01:00.0\n",
		},
		{
			name: "member that is no function", groups: []string{"1: 0000:01:00.0 0000:01:00.1"}, functions: "0000:01:00.0=1",
			want: "1: 0000:01:00.0 0000:01:00.1 ?\n",
		},
		{
			name: "members on no PCI bus", groups: []string{"4: 0000:01:00.0 AMDI0020:00 dwc3.1", "5: INT33C2:00"}, functions: "0000:01:00.0=4",
			want: "4: 0000:01:00.0 +AMDI0020:00 +dwc3.1\n5: +INT33C2:00\n",
		},
		{
			name: "not as the kernel writes them", groups: []string{"1: 01:00.0 0000:01:00.0", "01: 0000:01:00.0"}, functions: "0000:01:00.0=1",
			want: "1: 0000:01:00.0 +01:00.0\n", err: `list IOMMU groups: "01" is not how the kernel writes group 1`,
		},
		{
			name: "names that are no numbers", groups: []string{"x: 0000:02:00.0", "4294967295:", "3: 0000:03:00.0"}, functions: "0000:03:00.0=3",
			want: "3: 0000:03:00.0\n", err: "list IOMMU groups: IOMMU group \"4294967295\"",
		},
		{name: "empty", groups: []string{"9:"}, want: "9:\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			groups, err := iommu.Groups(tree(t, tt.groups...), functions(t, tt.functions))
			if diff := cmp.Diff(tt.want, lines(groups)); diff != "" {
				t.Error(diff)
			}
			if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
		})
	}
}

// failing is a tree on which listing one directory fails.
type failing struct {
	*hostfs.Tree
	dir string
}

func (f failing) ReadDir(name string) ([]fs.DirEntry, error) {
	if name == f.dir {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: syscall.EACCES}
	}
	return f.Tree.ReadDir(name)
}

func TestUnreadable(t *testing.T) {
	tr := tree(t, "1: 0000:01:00.0", "2: 0000:02:00.0 0000:02:00.1", "3: 0000:03:00.0")
	fns := functions(t, "0000:01:00.0=1 0000:02:00.0=2 0000:03:00.0=3")
	for dir, want := range map[string]string{
		"sys/kernel/iommu_groups/2/devices": "1: 0000:01:00.0\n2: 0000:02:00.0 ?\n3: 0000:03:00.0\n",
		"sys/kernel/iommu_groups":           "1: 0000:01:00.0 ?\n2: 0000:02:00.0 ?\n3: 0000:03:00.0 ?\n",
	} {
		groups, err := iommu.Groups(failing{tr, dir}, fns)
		if got := lines(groups); got != want {
			t.Errorf("%s: got\n%swant\n%s", dir, got, want)
		}
		var op *iommu.OpError
		if !errors.Is(err, fs.ErrPermission) || !errors.As(err, &op) || op.Group.IsValid() != strings.HasSuffix(dir, "devices") {
			t.Errorf("%s: %v", dir, err)
		}
	}
	// A group that is a file, or gone since it was listed.
	must(t, tr.Remove("sys/kernel/iommu_groups/2"))
	put(t, tr, "sys/kernel/iommu_groups/2", "")
	groups, err := iommu.Groups(tr, fns)
	if got, want := lines(groups), "1: 0000:01:00.0\n2: 0000:02:00.0 ?\n3: 0000:03:00.0\n"; got != want || err == nil {
		t.Errorf("got\n%serror %v", got, err)
	}
}

// One group of thousands takes no more than linear time.
func TestLargeGroup(t *testing.T) {
	var fns []pci.Function
	for i := range 20000 {
		a := pci.NewAddress(uint32(i>>16), uint8(i>>8), uint8(i>>3&31), uint8(i&7))
		fns = append(fns, pci.Function{Address: a, Group: pci.NewGroupID(0)})
	}
	groups, err := iommu.Groups(tree(t, "0:"), fns)
	if err != nil || len(groups) != 1 || len(groups[0].Devices) != 20000 || groups[0].Known {
		t.Errorf("%d groups, %v", len(groups), err)
	}
}

func TestTypeAndName(t *testing.T) {
	tr := tree(t, "0:", "1:")
	put(t, tr, "sys/kernel/iommu_groups/0/type", "DMA-FQ\n")
	put(t, tr, "sys/kernel/iommu_groups/1/name", "vfio-noiommu\n")
	zero, one := pci.NewGroupID(0), pci.NewGroupID(1)
	if s, err := iommu.Type(tr, zero); s != "DMA-FQ" || err != nil {
		t.Errorf("type %q, %v", s, err)
	}
	if _, err := iommu.Type(tr, one); !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), "read the type of IOMMU group 1: ") {
		t.Errorf("type not stated: %v", err)
	}
	for id, want := range map[iommu.GroupID]iommu.Answer{zero: iommu.No, one: iommu.Yes} {
		if got, err := iommu.NoIOMMU(tr, id); got != want || err != nil || iommu.IsNoIOMMU(tr, id) != (want == iommu.Yes) {
			t.Errorf("group %v is of no-IOMMU mode: %v, %v", id, got, err)
		}
	}
	failing := hosttest.Failing{Tree: tr, Fail: func(string) error { return syscall.EIO }}
	if got, err := iommu.NoIOMMU(failing, one); got != iommu.Unknown || !errors.Is(err, syscall.EIO) {
		t.Errorf("unreadable: %v, %v", got, err)
	}
}

func TestReservedRegions(t *testing.T) {
	id := pci.NewGroupID(5)
	for _, tt := range []struct {
		text string
		want []iommu.Region
		err  string
	}{
		{"", nil, ""},
		{
			"0x00000000fee00000 0x00000000feefffff msi\n0x000000fd00000000 0x000000ffffffffff reserved\n",
			[]iommu.Region{{0xfee00000, 0xfeefffff, "msi"}, {0xfd00000000, 0xffffffffff, "reserved"}}, "",
		},
		{"0x0000000000000000 0x0000000000ffffff direct-relaxable\n", []iommu.Region{{0, 0xffffff, "direct-relaxable"}}, ""},
		{"0x00000000a9f42000 0x00000000a9f61fff direct\n\n", []iommu.Region{{0xa9f42000, 0xa9f61fff, "direct"}}, ""},
		{"0x0 0xffffffffffffffff msi", []iommu.Region{{0, 1<<64 - 1, "msi"}}, ""},
		{"0x0 0x1 msi\nnonsense\n", nil, `line 2: "nonsense" is not`},
		{"0x0 0x1 msi\n\n0x0 0xg msi\n", nil, `line 3: "0x0 0xg"`},
		{"-1 5 msi\n", nil, "line 1"},
		{"0x2 0x1 msi\n", nil, "line 1"},
		{"0x0 0x10000000000000000 msi\n", nil, "line 1"},
		{strings.Repeat("a", 1e6), nil, "line 1"},
	} {
		tr := new(hostfs.Tree)
		put(t, tr, "sys/kernel/iommu_groups/5/reserved_regions", tt.text)
		got, err := iommu.ReservedRegions(tr, id)
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%.40q: %s", tt.text, diff)
		}
		if (err != nil) != (tt.err != "") || err != nil && (!strings.Contains(err.Error(), "IOMMU group 5: "+tt.err) || len(err.Error()) > 300) {
			t.Errorf("%.40q: error %v", tt.text, err)
		}
	}
	if _, err := iommu.ReservedRegions(new(hostfs.Tree), id); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}

func FuzzReservedRegions(f *testing.F) {
	f.Add("0x00000000fee00000 0x00000000feefffff msi\n0x0 0x1 direct\n")
	f.Add("x y z\n")
	lab, err := hostfs.Open(filepath.Join(hosttest.Root(f), "testdata", "hosts", "lab-intel.txtar")) // as a kernel wrote them
	must(f, err)
	names, err := fs.Glob(lab, "sys/kernel/iommu_groups/*/reserved_regions")
	if err != nil || len(names) == 0 {
		f.Fatal(names, err)
	}
	for _, name := range names {
		data, err := fs.ReadFile(lab, name)
		must(f, err)
		f.Add(string(data))
	}
	f.Fuzz(func(t *testing.T, text string) {
		tr := new(hostfs.Tree)
		put(t, tr, "sys/kernel/iommu_groups/0/reserved_regions", text)
		regions, err := iommu.ReservedRegions(tr, pci.NewGroupID(0))
		if err != nil {
			return
		}
		var b strings.Builder
		for _, r := range regions {
			if r.End < r.Start || r.Type == "" {
				t.Fatalf("%+v", r)
			}
			fmt.Fprintf(&b, "%#x %#x %s\n", r.Start, r.End, r.Type)
		}
		put(t, tr, "sys/kernel/iommu_groups/0/reserved_regions", b.String())
		again, err := iommu.ReservedRegions(tr, pci.NewGroupID(0))
		if diff := cmp.Diff(regions, again); err != nil || diff != "" {
			t.Error(err, diff)
		}
	})
}
