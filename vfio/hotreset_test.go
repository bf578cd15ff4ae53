package vfio

import (
	"errors"
	"io/fs"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/pci"
)

func TestHotReset(t *testing.T) {
	k := newKernel()
	g := k.groups[pci.NewGroupID(7)]
	_, d := open(t, k)
	_, err := d.HotReset()
	if !errors.Is(err, errors.ErrUnsupported) || !errors.Is(err, syscall.ENODEV) {
		t.Errorf("on a root bus: %v", err)
	}
	for _, n := range []int{1, 16, 17, 300} { // more than fit at first
		g.device.affected = nil
		for i := range n {
			g.device.affected = append(g.device.affected, Affected{pci.NewAddress(0x10, uint8(i>>3), 31, uint8(i&7)), pci.NewGroupID(uint32(i))})
		}
		got, err := d.HotReset()
		if diff := cmp.Diff(g.device.affected, got, cmp.Comparer(func(a, b pci.Address) bool { return a == b }), cmp.Comparer(func(a, b pci.GroupID) bool { return a == b })); err != nil || diff != "" {
			t.Errorf("%d: %v, %s", n, err, diff)
		}
	}
	// A number that grows with each question, and one that cannot be.
	k.fail = func(call string) error {
		if call == deviceHotResetInfo.String() {
			g.device.affected = append(g.device.affected, make([]Affected, len(g.device.affected))...)
		}
		return nil
	}
	if _, err := d.HotReset(); err == nil {
		t.Error("no end")
	}
	g.device.affected = make([]Affected, maxHotReset)
	if _, err := d.HotReset(); err == nil {
		t.Error("more than there can be")
	}
	k.fail = func(string) error { return syscall.EIO }
	var op *OpError
	var path *fs.PathError
	if _, err := d.HotReset(); !errors.Is(err, syscall.EIO) || !errors.As(err, &op) || !errors.As(err, &path) {
		t.Errorf("%v", err)
	}
}

func TestResetBus(t *testing.T) {
	groupSeven := Affected{nvme, seven}
	other := Affected{pci.NewAddress(0, 2, 0, 1), pci.NewGroupID(9)}
	third := Affected{pci.NewAddress(0, 2, 0, 2), pci.NewGroupID(10)}
	t.Run("groups", func(t *testing.T) {
		k := newKernel()
		sound := twoGroups(k)
		s, d := opened(t, k, Groups)
		dev := &k.groups[seven].device
		wantError(t, d.ResetBus(), errors.ErrUnsupported, "reset the bus of 0000:02:00.0")
		dev.affected = []Affected{groupSeven, {pci.NewAddress(0, 2, 0, 3), seven}, other, third}
		wantError(t, d.ResetBus(), ErrNotOwned, "0000:02:00.1 of group 9, 0000:02:00.2 of group 10")
		if _, err := s.Open(sound); err != nil {
			t.Fatal(err)
		}
		wantError(t, d.ResetBus(), ErrNotOwned, ": 0000:02:00.2 of group 10")
		if len(dev.hotResets) != 0 {
			t.Error("it was reset")
		}
		dev.affected = dev.affected[:3]
		if err := d.ResetBus(); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([][]string{{"/dev/vfio/7", "/dev/vfio/9"}}, dev.hotResets); diff != "" {
			t.Errorf("proof: %s", diff)
		}
		k.fail = failOn("VFIO_DEVICE_PCI_HOT_RESET", syscall.EAGAIN)
		wantError(t, d.ResetBus(), syscall.EAGAIN, "VFIO_DEVICE_PCI_HOT_RESET")
		k.fail = nil
	})
	t.Run("iommufd", func(t *testing.T) {
		k := newKernelWith(IOMMUFD)
		k.groups[pci.NewGroupID(9)] = &fakeGroup{drivers: map[string]string{other.Address.String(): "vfio-pci"}}
		_, d := opened(t, k, IOMMUFD)
		dev := &k.groups[seven].device
		dev.affected = []Affected{groupSeven, other, third}
		dev.notOwned = map[Affected]bool{other: true, third: true}
		wantError(t, d.ResetBus(), ErrNotOwned, "0000:02:00.1 of group 9, 0000:02:00.2")
		if all, err := d.HotReset(); err != nil || len(all) != 3 || all[1] != other || all[2].Group.IsValid() {
			t.Errorf("%v, %v", all, err)
		}
		dev.notOwned = nil
		if err := d.ResetBus(); err != nil || len(dev.hotResets) != 1 || len(dev.hotResets[0]) != 0 {
			t.Errorf("%v, %v", dev.hotResets, err)
		}
	})
}

// A kernel that says neither is taken at neither word.
func TestResetBusOddAnswers(t *testing.T) {
	wantNames := func(set hotResetSet, d *Device) error { return d.resetByDevice(set) }
	k := newKernelWith(IOMMUFD)
	_, d := opened(t, k, IOMMUFD)
	if err := wantNames(hotResetSet{byDevice: true}, d); !errors.Is(err, ErrNotOwned) {
		t.Errorf("not owned, and nobody named: %v", err)
	}
	many := make([]Affected, 20)
	for i := range many {
		many[i].Address = pci.NewAddress(0, 3, uint8(i), 0)
	}
	if err := wantNames(hotResetSet{byDevice: true, owned: true, others: many}, d); !errors.Is(err, ErrNotOwned) || len(err.Error()) > 300 {
		t.Errorf("%v", err)
	}
}

func FuzzParseHotReset(f *testing.F) {
	entry := []byte{7, 0, 0, 0, 0, 0, 2, 8, 255, 255, 255, 255, 0, 0, 2, 9}
	for _, flags := range []byte{0, 1, 3, 2} {
		f.Add(append([]byte{28, 0, 0, 0, flags, 0, 0, 0, 2, 0, 0, 0}, entry...))
	}
	f.Add([]byte{255, 255, 255, 255, 1, 0, 0, 0, 255, 255, 255, 255, 1, 2, 3, 4, 5, 6, 7})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < hotResetHeader {
			return
		}
		set := parseHotReset(b, func(pci.Address) pci.GroupID { return seven })
		if len(set.all) > len(b)/hotResetEntry || len(set.others) > len(set.all) || !set.byDevice && len(set.others) > 0 {
			t.Errorf("%+v", set)
		}
		if err := notAll(set.others); !errors.Is(err, ErrNotOwned) || len(err.Error()) > 500 {
			t.Errorf("%v", err)
		}
	})
}
