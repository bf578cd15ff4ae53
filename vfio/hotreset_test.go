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
