package iommu_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
)

// anyMachine draws the lines of a machine: buses below buses, with bridges that may be of
// any type and sit anywhere.
func anyMachine(t *rapid.T) string {
	kind := rapid.SampledFrom([]string{"ep", "ep", "legacy", "rciep", "root", "up", "down", "to-pci", "from-pci", "collector", "pci", "pci class=0604"})
	more := rapid.SampledFrom([]string{
		"", "", "mf", "acs=SRCU/SRCU", "acs=SRCU/SR mf", "acs=/", "len=64", "len=256", "len=0", "mf len=64", "asleep",
		"id=1180:e832", "id=1b4b:9230 mf", "id=8086:1e10", "id=8086:a110 acs=SRCU/SRCU 32bit", "id=8086:1521 mf", "id=1022:780f mf",
	})
	var b strings.Builder
	buses := []string{""} // paths to their bridges
	for bus := 0; bus < len(buses) && bus < 8; bus++ {
		for _, slot := range rapid.SliceOfNDistinct(rapid.IntRange(0, 31), 0, 3, rapid.ID[int]).Draw(t, "slots") {
			for _, function := range rapid.SliceOfNDistinct(rapid.IntRange(0, 7), 1, 3, rapid.ID[int]).Draw(t, "functions") {
				path := fmt.Sprintf("%s%02x:%02x.%d", buses[bus], bus, slot, function)
				what := kind.Draw(t, "kind")
				fmt.Fprintf(&b, "%s %s %s\n", path, what, more.Draw(t, "more"))
				if len(buses) < 8 && (!strings.HasPrefix(what, "ep") || rapid.Bool().Draw(t, "below")) {
					buses = append(buses, path+"/")
				}
			}
		}
	}
	return b.String()
}

// checkPartition says what is wrong with derived groups: each function is in one of them,
// links lead from a member to another that is in the group, as a tree, and doubts are about
// members.
func checkPartition(functions []pci.Function, groups []iommu.DerivedGroup) error {
	in := map[pci.Address]int{}
	for i, g := range groups {
		if !slices.IsSortedFunc(g.Devices, pci.Address.Compare) || len(g.Devices) == 0 {
			return fmt.Errorf("devices %v", g.Devices)
		}
		if i > 0 && groups[i-1].Devices[0].Compare(g.Devices[0]) >= 0 {
			return fmt.Errorf("%v follows %v", g.Devices, groups[i-1].Devices)
		}
		for _, a := range g.Devices {
			if _, twice := in[a]; twice {
				return fmt.Errorf("%v is in two groups", a)
			}
			in[a] = i
		}
		if len(g.Joins) != len(g.Devices)-1 {
			return fmt.Errorf("%d links for %v", len(g.Joins), g.Devices)
		}
		linked := map[pci.Address]pci.Address{}
		for _, j := range g.Joins {
			if _, twice := linked[j.Device]; twice || !slices.Contains(g.Devices, j.Device) || !slices.Contains(g.Devices, j.With) || j.Device == j.With {
				return fmt.Errorf("link %v of %v", j, g.Devices)
			}
			linked[j.Device] = j.With
			if s := j.String(); !strings.Contains(s, j.At.String()) || strings.Contains(s, "no name") {
				return fmt.Errorf("%s: %v", s, j.At)
			}
			if (j.Reason == iommu.MissingACS || j.Reason == iommu.Multifunction) == (j.Missing == 0) {
				return fmt.Errorf("nothing is missing in %+v", j)
			}
		}
		for a := range linked {
			for n := 0; ; n++ {
				next, ok := linked[a]
				if !ok {
					break
				}
				if a = next; n > len(linked) {
					return fmt.Errorf("links of %v lead in a circle", g.Devices)
				}
			}
		}
		for _, u := range g.Unknown {
			if u.Err == nil || !slices.Contains(g.Devices, u.Device) && !slices.Contains(g.Devices, u.With) ||
				slices.Contains(g.Devices, u.Device) && slices.Contains(g.Devices, u.With) {
				return fmt.Errorf("%+v in %v", u, g.Devices)
			}
		}
	}
	for _, f := range functions {
		if _, ok := in[f.Address]; !ok {
			return fmt.Errorf("%v is in no group", f.Address)
		}
	}
	if len(in) != len(functions) {
		return fmt.Errorf("%d functions in groups of %d", len(in), len(functions))
	}
	return nil
}

func TestDeriveProperties(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		tr := made(t, anyMachine(r))
		must(t, tr.Mkdir("sys/bus/pci/devices"))
		functions, _, topology := readAll(t, tr)
		groups := topology.Derive()
		if err := checkPartition(functions, groups); err != nil {
			r.Fatal(err)
		}
		want := fmt.Sprint(groups)
		// The order in which functions come does not matter.
		other := rapid.Permutation(functions).Draw(r, "order")
		shuffled, err := iommu.ReadTopology(tr, other, iommu.TopologyOptions{Wake: true})
		must(t, err)
		if got := fmt.Sprint(shuffled.Derive()); got != want {
			r.Fatalf("in another order: %s\nwant %s", got, want)
		}
		if got := fmt.Sprint(topology.Derive()); got != want {
			r.Fatal("deriving again gives something else")
		}
		// A kernel with these groups agrees; one with all in one group, or each alone,
		// differs unless that may be.
		if d := iommu.Compare(groups, asKernel(groups)); d != nil {
			r.Fatal(d)
		}
		// What is known by 64 bytes stays so with all of them, and what is not is said.
		known := readShort(t, tr, functions).Derive()
		if err := checkPartition(functions, known); err != nil {
			r.Fatal(err)
		}
		if err := finer(known, groups); err != nil {
			r.Fatal(err)
		}
		if d := iommu.Compare(known, asKernel(groups)); d != nil {
			r.Fatalf("%v\nof %v", d, known)
		}
		// An override only ever parts.
		if err := finer(topology.WithACSOverride("downstream,multifunction").Derive(), groups); err != nil {
			r.Fatal(err)
		}
		if err := finer(topology.WithACSEnabled().Derive(), groups); err != nil {
			r.Fatal(err)
		}
	})
}

// asKernel makes the kernel's groups of derived ones.
func asKernel(groups []iommu.DerivedGroup) []iommu.Group {
	var all []iommu.Group
	for i, g := range groups {
		all = append(all, iommu.Group{ID: pci.NewGroupID(uint32(i)), Devices: g.Devices, Known: true})
	}
	return all
}

// finer says which group of some is not within one of others.
func finer(some, others []iommu.DerivedGroup) error {
	for _, g := range some {
		i := slices.IndexFunc(others, func(o iommu.DerivedGroup) bool { return slices.Contains(o.Devices, g.Devices[0]) })
		for _, a := range g.Devices {
			if !slices.Contains(others[i].Devices, a) {
				return fmt.Errorf("%v is not within %v", g.Devices, others[i].Devices)
			}
		}
	}
	return nil
}

// readShort reads the topology of a machine as without root.
func readShort(t testing.TB, tr *hostfs.Tree, functions []pci.Function) *iommu.Topology {
	t.Helper()
	topology, err := iommu.ReadTopology(short64{tr}, functions, iommu.TopologyOptions{Wake: true})
	must(t, err)
	return topology
}

type short64 struct{ *hostfs.Tree }

func (s short64) ReadFile(name string) ([]byte, error) {
	data, err := s.Tree.ReadFile(name)
	if strings.HasSuffix(name, "/config") && len(data) > 64 {
		data = data[:64]
	}
	return data, err
}

// Without root the groups that are claimed are those of root or parts of them.
func TestDeriveShortIsTrue(t *testing.T) {
	for _, name := range []string{"amd", "vmd", "switched", "noiommu"} {
		saved, ok := openLab(t, name).(interface{ ReadFile(string) ([]byte, error) })
		tree, isTree := saved.(*hostfs.Tree)
		if !ok || !isTree {
			t.Fatalf("%T is no tree", saved)
		}
		functions, kernel, full := readAll(t, tree)
		known := readShort(t, tree, functions)
		if err := finer(known.Derive(), full.Derive()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := iommu.Compare(known.Derive(), kernel); d != nil {
			t.Errorf("%s: %v", name, d)
		}
	}
}

// Links that contradict each other end, and nothing is lost.
func TestDeriveBroken(t *testing.T) {
	link := func(tr *hostfs.Tree, a, path string) {
		_ = tr.Remove("sys/bus/pci/devices/" + a)
		must(t, tr.Symlink("../../../devices/"+path, "sys/bus/pci/devices/"+a))
	}
	base := func() *hostfs.Tree {
		return made(t, `00:01.0 root
			00:02.0 root
			00:01.0/01:00.0 ep
			00:02.0/02:00.0 to-pci
			00:02.0/02:00.0/03:00.0 pci`)
	}
	for name, breaks := range map[string]func(*hostfs.Tree){
		"a circle": func(tr *hostfs.Tree) {
			link(tr, "0000:00:01.0", "pci0000:00/0000:01:00.0/0000:00:01.0")
			link(tr, "0000:01:00.0", "pci0000:00/0000:00:01.0/0000:01:00.0")
		},
		"above itself": func(tr *hostfs.Tree) {
			link(tr, "0000:02:00.0", "pci0000:00/0000:02:00.0/0000:02:00.0/0000:02:00.0")
		},
		"above itself in another domain": func(tr *hostfs.Tree) {
			link(tr, "0000:02:00.0", "pci0000:00/0000:03:00.0/pci10000:00/10000:00:01.0/0000:02:00.0")
			link(tr, "0000:03:00.0", "pci0000:00/0000:02:00.0/pci10000:00/10000:00:01.0/0000:03:00.0")
		},
		"a thousand bridges": func(tr *hostfs.Tree) {
			link(tr, "0000:02:00.0", "pci0000:00/"+strings.Repeat("0000:00:02.0/", 1000)+"0000:02:00.0")
		},
		"not to itself": func(tr *hostfs.Tree) { link(tr, "0000:02:00.0", "pci0000:00/0000:00:02.0") },
		"nowhere":       func(tr *hostfs.Tree) { link(tr, "0000:02:00.0", "..") },
	} {
		tr := base()
		breaks(tr)
		functions, err := pci.Functions(tr)
		if len(functions) != 5 {
			t.Fatalf("%s: %d functions, %v", name, len(functions), err)
		}
		topology, _ := iommu.ReadTopology(tr, functions, iommu.TopologyOptions{})
		if err := checkPartition(functions, topology.Derive()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Thousands of functions on one bus, or one behind the other, are no matter.
func TestDeriveLarge(t *testing.T) {
	tr := new(hostfs.Tree)
	var functions []pci.Function
	path := "devices/pci0000:00"
	for i := range 1 << 13 {
		a := pci.NewAddress(uint32(i>>8), 0, uint8(i>>3&31), uint8(i&7))
		must(t, tr.Symlink("../../../devices/pci0000:00/"+a.String(), "sys/bus/pci/devices/"+a.String()))
		functions = append(functions, pci.Function{Address: a, Vendor: pci.NewID(0x1b4b), Device: pci.NewID(0x9230)})
	}
	for i := range 400 {
		a := pci.NewAddress(0xff00+uint32(i>>8), uint8(i), 0, 0)
		if i == 256 {
			path = "devices/pci0000:00"
		}
		path += "/" + a.String()
		must(t, tr.Symlink("../../../"+path, "sys/bus/pci/devices/"+a.String()))
		functions = append(functions, pci.Function{Address: a})
	}
	rand.Shuffle(len(functions), func(i, j int) { functions[i], functions[j] = functions[j], functions[i] })
	topology, err := iommu.ReadTopology(tr, functions, iommu.TopologyOptions{})
	must(t, err)
	if err := checkPartition(functions, topology.Derive()); err != nil {
		t.Error(err)
	}
}

// Compare says both ways in which a kernel may differ, and believes it.
func TestCompare(t *testing.T) {
	_, kernel, topology := readAll(t, openLab(t, "vmd"))
	derived := topology.Derive()
	id := func(a string) iommu.GroupID {
		i := slices.IndexFunc(kernel, func(g iommu.Group) bool { return slices.Contains(g.Devices, addr(t, a)) })
		return kernel[i].ID
	}
	if d := iommu.Compare(derived, kernel); d != nil {
		t.Error(d)
	}
	// An override, or a kernel with other rules.
	split := slices.Clone(kernel)
	for i, g := range split {
		if g.ID == id("00:1f.0") {
			split[i].Devices = g.Devices[:1]
			split = append(split, iommu.Group{ID: pci.NewGroupID(90), Devices: g.Devices[1:]})
			break
		}
	}
	d := iommu.Compare(derived, split)
	if len(d) != 1 || d[0].Kind != iommu.KernelParts || len(d[0].Devices) != 3 || len(d[0].Joins) != 2 ||
		d[0].Joins[0].Device != addr(t, "00:1f.2") || !slices.Equal(d[0].Groups, []iommu.GroupID{id("00:1f.0"), pci.NewGroupID(90)}) {
		t.Errorf("%+v", d)
	}
	if want := "the kernel has 0000:00:1f.0, 0000:00:1f.2, 0000:00:1f.3 in groups of their own (10, 90), though by what the functions say they are not kept apart"; len(d) == 1 && d[0].String() != want {
		t.Errorf("%s", d[0])
	}
	// An alias of the firmware's, or what is not known here.
	joined := []iommu.Group{{ID: pci.NewGroupID(5), Devices: []pci.Address{addr(t, "00:14.0"), addr(t, "00:10.0"), addr(t, "0f:00.0")}}}
	d = iommu.Compare(derived, joined)
	if len(d) != 1 || d[0].Kind != iommu.KernelJoins || len(d[0].Devices) != 2 || !slices.Equal(d[0].Groups, []iommu.GroupID{pci.NewGroupID(5)}) {
		t.Errorf("%+v", d)
	}
	if want := "the kernel has 0000:00:10.0, 0000:00:14.0 in one group, 5, for a reason that is not among the facts read"; len(d) == 1 && d[0].String() != want {
		t.Errorf("%s", d[0])
	}
	// What may be is no difference; what is certain in spite of it is.
	tr := made(t, `00:01.0 root len=64 group=1
		00:01.0/01:00.0 ep group=1
		00:02.0 root len=64 group=2
		00:02.0/02:00.0 ep group=1`)
	_, kernel, topology = readAll(t, tr)
	d = iommu.Compare(topology.Derive(), kernel)
	if len(d) != 1 || d[0].Kind != iommu.KernelJoins || len(d[0].Devices) != 3 {
		t.Errorf("%+v", d)
	}
	// Where it is not known where one is plugged in, it may be with any.
	failing := hosttest.Failing{Tree: tr, Fail: func(name string) error {
		if name == "sys/bus/pci/devices/0000:02:00.0" {
			return fmt.Errorf("no")
		}
		return nil
	}}
	functions, err := pci.Functions(tr)
	must(t, err)
	topology, _ = iommu.ReadTopology(failing, functions, iommu.TopologyOptions{})
	if d := iommu.Compare(topology.Derive(), kernel); d != nil {
		t.Errorf("%+v", d)
	}
	if got := fmt.Sprint(iommu.DifferenceKind(0), iommu.KernelParts, iommu.KernelJoins); got != "unknown kernel-parts kernel-joins" {
		t.Error(got)
	}
	if d := iommu.Compare(nil, nil); d != nil {
		t.Error(d)
	}
	if diff := cmp.Diff([]iommu.Difference(nil), iommu.Compare(nil, kernel)); diff != "" {
		t.Error(diff)
	}
}

// Whatever a device says in its configuration space, and wherever a link leads.
func FuzzDerive(f *testing.F) {
	for _, name := range []string{"amd", "vmd", "switched"} {
		fsys := openLab(f, name)
		functions, err := pci.Functions(fsys)
		must(f, err)
		for _, fn := range functions {
			if config, err := pci.ReadConfig(fsys, fn.Address); err == nil {
				f.Add(config.Bytes(), config.Bytes()[:64], "pci0000:00/0000:00:01.0/0000:01:00.0")
			}
		}
	}
	f.Add([]byte{}, []byte{0xff}, "pci0000:00/0000:00:0e.0/pci10000:00/10000:00:01.0/0000:01:00.0")
	f.Add([]byte(strings.Repeat("\xff", 256)), []byte(strings.Repeat("\x00", 4096)), "0000:01:00.0/0000:01:00.0/0000:01:00.0")
	f.Fuzz(func(t *testing.T, bridge, own []byte, link string) {
		tr := made(t, `00:01.0 root
			00:01.0/01:00.0 ep
			00:01.0/01:00.1 ep`)
		put(t, tr, "sys/devices/pci0000:00/0000:00:01.0/config", string(bridge))
		for _, a := range []string{"0000:01:00.0", "0000:01:00.1"} {
			put(t, tr, "sys/devices/pci0000:00/0000:00:01.0/"+a+"/config", string(own))
		}
		functions, err := pci.Functions(tr)
		must(t, err)
		topology, _ := iommu.ReadTopology(linked{tr, link}, functions, iommu.TopologyOptions{})
		if err := checkPartition(functions, topology.Derive()); err != nil {
			t.Error(err)
		}
	})
}

// linked is a tree in which the link of 0000:01:00.0 leads elsewhere.
type linked struct {
	*hostfs.Tree
	to string
}

func (l linked) ReadLink(name string) (string, error) {
	if name == "sys/bus/pci/devices/0000:01:00.0" {
		return "../../../devices/" + l.to, nil
	}
	return l.Tree.ReadLink(name)
}
