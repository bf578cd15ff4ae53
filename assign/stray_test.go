package assign_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/internal/sim"
	"github.com/project-independence/indy/pci"
)

// What is with vfio-pci and nobody's is named, and gets no write.
func TestStrays(t *testing.T) {
	k := emulated(t, sim.Options{})
	store := &assign.Store{Dir: t.TempDir()}
	h := &assign.Host{FS: k}
	early := address(t, "0000:01:00.0")
	kept := func(a pci.Address) bool { return a == early }
	strays := func() []string {
		t.Helper()
		all, err := store.Strays(k, kept)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range all {
			got = append(got, s.Device.String()+" "+s.Override)
		}
		return got
	}
	expect := func(when string, want ...string) {
		t.Helper()
		if d := cmp.Diff(want, strays()); d != "" {
			t.Errorf("%s: %s", when, d)
		}
	}
	expect("at first")
	l, err := store.Assign(t.Context(), h, take(mustPlan(t, k, "0000:02:00.0")))
	if err != nil {
		t.Fatal(err)
	}
	expect("leased")

	// The lease is lost, and says nothing any more.
	if err := os.Rename(filepath.Join(store.Dir, l.ID+".lease"), filepath.Join(t.TempDir(), "lease")); err != nil {
		t.Fatal(err)
	}
	begin := len(k.Writes())
	expect("lost", "0000:02:00.0 vfio-pci")
	all, err := store.Strays(k, kept)
	if err != nil || len(all) != 1 || !strings.Contains(all[0].String(), "echo > /sys/bus/pci/devices/0000:02:00.0/driver_override; echo 0000:02:00.0 > /sys/bus/pci/devices/0000:02:00.0/driver/unbind;") {
		t.Errorf("%v, %v", all, err)
	}
	if all, err := store.Recover(t.Context(), h); err != nil || len(all) != 0 || len(k.Writes()) != begin {
		t.Errorf("it is touched: %v, %v, %q", all, err, written(k, begin))
	}

	// Bound by hand, and its override taken away since; bound early; an override alone.
	for _, a := range unbound(t, k, "0000:05:00.0", early.String()) {
		for _, w := range [][2]string{
			{"sys/bus/pci/devices/" + a.String() + "/driver_override", "vfio-pci"},
			{"sys/bus/pci/drivers_probe", a.String()},
			{"sys/bus/pci/devices/" + a.String() + "/driver_override", "\n"},
		} {
			if err := k.WriteFile(w[0], []byte(w[1])); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := k.WriteFile("sys/bus/pci/devices/0000:00:10.0/driver_override", []byte("none")); err != nil {
		t.Fatal(err)
	}
	expect("by hand", "0000:02:00.0 vfio-pci", "0000:05:00.0 ")

	// Those who keep one are known by what they have open and by their files.
	group, err := fs.ReadLink(k, "sys/bus/pci/devices/0000:05:00.0/iommu_group")
	if err != nil {
		t.Fatal(err)
	}
	tree := k.Tree()
	put(tree, "proc/900/comm", "qemu-system-x86\n")
	_ = tree.Symlink("/dev/vfio/"+filepath.Base(group), "proc/900/fd/9")
	put(tree, "etc/driverctl.d/pci-0000:02:00.0", "vfio-pci\n")
	if k, err = sim.New(tree, sim.Options{VFIO: true}); err != nil {
		t.Fatal(err)
	}
	expect("kept")

	// A lease that cannot be read may hold any of them.
	if err := os.WriteFile(filepath.Join(store.Dir, "0000:05:00.0.lease"), []byte("no lease\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if all, err := store.Strays(k, kept); err == nil || len(all) != 0 {
		t.Errorf("with a damaged lease: %v, %v", all, err)
	}
}
