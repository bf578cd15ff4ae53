package sim_test

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/internal/sim"
)

const (
	bus     = "sys/bus/pci/"
	devices = bus + "devices/"
	drivers = bus + "drivers/"
)

var (
	_ hostfs.FS     = (*sim.Kernel)(nil)
	_ hostfs.Saved  = (*sim.Kernel)(nil)
	_ fs.ReadFileFS = (*sim.Kernel)(nil)
)

// host is a kernel over a machine of the collection, with vfio-pci.
func host(t testing.TB, name string) *sim.Kernel {
	t.Helper()
	return kernel(t, hosttest.Shared(t, "hosts", name+".txtar"), sim.Options{VFIO: true})
}

func expect(t *testing.T, k *sim.Kernel, name, value string, want error) {
	t.Helper()
	err := k.WriteFile(name, []byte(value))
	if !errors.Is(err, want) {
		t.Errorf("write %q to %s: %v, want %v", value, name, err, want)
	}
	var pe *fs.PathError
	if err != nil && (!errors.As(err, &pe) || pe.Path != "/"+name || pe.Op != "write") {
		t.Errorf("write to %s: %#v is no error of that write", name, err)
	}
}

func driverOf(k *sim.Kernel, addr string) string {
	d, err := hostfs.ReadLinkBase(k, devices+addr+"/driver")
	if errors.Is(err, syscall.ENOENT) {
		return ""
	}
	return d
}

func wantDriver(t *testing.T, k *sim.Kernel, addr, want string) {
	t.Helper()
	if got := driverOf(k, addr); got != want {
		t.Errorf("driver of %s: %q, want %q", addr, got, want)
	}
	for _, e := range must(k.ReadDir(drivers[:len(drivers)-1])) {
		_, err := k.Lstat(drivers + e.Name() + "/" + addr)
		if has := err == nil; has != (e.Name() == want) {
			t.Errorf("%s%s/%s is there: %v", drivers, e.Name(), addr, has)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func there(k *sim.Kernel, name string) bool {
	_, err := k.Lstat(name)
	return err == nil
}

// state is the whole machine as text, without the count of events and what the idle
// time of a function decides.
func state(t testing.TB, k *sim.Kernel) string {
	t.Helper()
	m := k.Tree()
	_ = m.Remove("sys/kernel/uevent_seqnum")
	for _, e := range must(m.ReadDir(devices[:len(devices)-1])) {
		_ = m.Remove(devices + e.Name() + "/power/runtime_status")
	}
	text, err := hostfs.FormatTxtar(m, "")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestAssignAndBack takes every function of every machine from its driver, gives
// it to vfio-pci, and back: the machine is as before.
func TestAssignAndBack(t *testing.T) {
	files := must(filepath.Glob(filepath.Join(hosttest.Shared(t, "hosts"), "*.txtar")))
	files = append(files, filepath.Join(hosttest.Root(t), "testdata/hosts/lab-intel.txtar"))
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			k := kernel(t, file, sim.Options{VFIO: true})
			for _, e := range must(k.ReadDir(devices[:len(devices)-1])) {
				addr := e.Name()
				before, home := state(t, k), driverOf(k, addr)
				power, _ := hostfs.ReadString(k, devices+addr+"/power/control")
				expect(t, k, devices+addr+"/driver_override", "vfio-pci\n", nil)
				if home != "" {
					expect(t, k, devices+addr+"/driver/unbind", addr, nil)
				}
				expect(t, k, bus+"drivers_probe", addr, nil)
				_, nogroup := k.ReadLink(devices + addr + "/iommu_group")
				class := must(hostfs.ReadString(k, devices+addr+"/class"))
				switch {
				case nogroup != nil || strings.HasPrefix(class, "0x0604"):
					wantDriver(t, k, addr, "")
					expect(t, k, drivers+"vfio-pci/bind", addr, syscall.EINVAL)
				default:
					wantDriver(t, k, addr, "vfio-pci")
					group := must(hostfs.ReadLinkBase(k, devices+addr+"/iommu_group"))
					if !there(k, "dev/vfio/"+group) {
						t.Errorf("%s: no node for group %s", addr, group)
					}
					expect(t, k, drivers+"vfio-pci/bind", addr, syscall.EBUSY)
					expect(t, k, drivers+"vfio-pci/unbind", addr, nil)
					if there(k, "dev/vfio/"+group) {
						t.Errorf("%s: the node of group %s stayed", addr, group)
					}
				}
				expect(t, k, devices+addr+"/driver_override", "\n", nil)
				expect(t, k, bus+"drivers_probe", addr, nil)
				wantDriver(t, k, addr, home)
				if power == "auto" { // which vfio-pci does not restore
					expect(t, k, devices+addr+"/power/control", power, nil)
				}
				if state(t, k) != before {
					t.Errorf("%s: the machine is not as it was", addr)
				}
			}
		})
	}
}

// TestRemoveAndRescan takes every function away and finds all of them again.
func TestRemoveAndRescan(t *testing.T) {
	for _, name := range []string{"thinkpad-t14sg1-amd-coaxmetal", "framework13-intel13-A6-turingmachine", "gpd-win2-linse-noiommu"} {
		k := host(t, name)
		before := state(t, k)
		for _, e := range must(k.ReadDir(devices[:len(devices)-1])) {
			if addr := e.Name(); there(k, devices+addr) { // else it went with its bridge
				expect(t, k, devices+addr+"/driver_override", "pci-stub", nil)
				expect(t, k, devices+addr+"/remove", "1\n", nil)
				expect(t, k, devices+addr+"/remove", "1\n", syscall.ENOENT)
			}
		}
		if left := must(k.ReadDir(devices[:len(devices)-1])); len(left) > 0 {
			t.Errorf("%s: %d functions left", name, len(left))
		}
		if left, err := k.ReadDir("sys/kernel/iommu_groups"); err == nil && len(left) > 0 {
			t.Errorf("%s: %d groups left", name, len(left))
		}
		expect(t, k, bus+"rescan", "1\n", nil)
		if state(t, k) != before {
			t.Errorf("%s: not as it was", name)
		}
	}
}

func TestFail(t *testing.T) {
	k := labLaptop(t, sim.Options{})
	boom := errors.New("boom")
	var seen []string
	k.Fail = func(name string, value []byte) error {
		seen = append(seen, name+"="+string(value))
		if strings.HasSuffix(name, "/unbind") {
			return boom
		}
		return nil
	}
	const addr = "0000:02:00.0"
	before := state(t, k)
	expect(t, k, devices+addr+"/driver/unbind", addr, boom)
	if state(t, k) != before {
		t.Error("a write that failed changed the machine")
	}
	expect(t, k, devices+addr+"/driver_override", "x", nil)
	expect(t, k, devices+addr+"/nothing", "y", syscall.ENOENT)
	if len(seen) != 3 || seen[1] != devices+addr+"/driver_override=x" {
		t.Errorf("Fail saw %q", seen)
	}
	w := k.Writes()
	if len(w) != 3 || !errors.Is(w[0].Err, boom) || w[1].Err != nil || string(w[1].Value) != "x" || !errors.Is(w[2].Err, syscall.ENOENT) {
		t.Errorf("writes: %v", w)
	}
}

func TestNodeDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := labLaptop(t, sim.Options{NodeDelay: time.Second})
		const addr = "0000:02:00.0"
		node := "dev/vfio/" + must(hostfs.ReadLinkBase(k, devices+addr+"/iommu_group"))
		assign := func() {
			expect(t, k, devices+addr+"/driver_override", "vfio-pci", nil)
			expect(t, k, devices+addr+"/driver/unbind", addr, nil)
			expect(t, k, bus+"drivers_probe", addr, nil)
		}
		assign()
		if there(k, node) {
			t.Error("the node is there at once")
		}
		time.Sleep(1100 * time.Millisecond)
		if !there(k, node) {
			t.Error("the node did not come")
		}
		expect(t, k, drivers+"vfio-pci/unbind", addr, nil)
		expect(t, k, bus+"drivers_probe", addr, nil)
		expect(t, k, drivers+"vfio-pci/unbind", addr, nil)
		time.Sleep(2 * time.Second)
		if there(k, node) {
			t.Error("a late node came after the function had left")
		}
	})
}

func TestRenameNet(t *testing.T) {
	k := labLaptop(t, sim.Options{RenameNet: true})
	const addr = "0000:01:00.0"
	mac := must(hostfs.ReadString(k, "sys/class/net/eth0/address"))
	expect(t, k, drivers+"e1000e/unbind", addr, nil)
	expect(t, k, drivers+"e1000e/bind", addr, nil)
	if there(k, "sys/class/net/eth0") || there(k, devices+addr+"/net/eth0") {
		t.Error("the old name stayed")
	}
	if got := must(hostfs.ReadString(k, "sys/class/net/eth3/address")); got != mac {
		t.Errorf("eth3 has the address %s, want %s", got, mac)
	}
	if ue := must(hostfs.ReadString(k, devices+addr+"/net/eth3/uevent")); !strings.Contains(ue, "INTERFACE=eth3") {
		t.Errorf("uevent: %q", ue)
	}
}

func TestWithoutVFIO(t *testing.T) {
	k := kernel(t, hosttest.Shared(t, "hosts", "thinkpad-t14sg1-amd-coaxmetal.txtar"), sim.Options{})
	const addr = "0000:01:00.0"
	expect(t, k, drivers+"vfio-pci/bind", addr, syscall.ENOENT)
	expect(t, k, devices+addr+"/driver_override", "vfio-pci", nil)
	if driverOf(k, addr) != "" {
		expect(t, k, devices+addr+"/driver/unbind", addr, nil)
	}
	expect(t, k, bus+"drivers_probe", addr, nil)
	wantDriver(t, k, addr, "")
	if err := k.AddDriver("vfio-pci"); err != nil {
		t.Fatal(err)
	}
	wantDriver(t, k, addr, "vfio-pci") // a module that is loaded takes what waits for it
}

func TestAddDriver(t *testing.T) {
	k := labLaptop(t, sim.Options{})
	const free, disk = "0000:04:01.0", "0000:02:00.0"
	if err := k.AddDriver("e1000", free); err != nil {
		t.Fatal(err)
	}
	wantDriver(t, k, free, "e1000")
	expect(t, k, drivers+"e1000/bind", disk, syscall.ENODEV)
	expect(t, k, drivers+"nvme/unbind", disk, nil)
	expect(t, k, devices+disk+"/driver_override", "e1000", nil)
	expect(t, k, drivers+"e1000/bind", disk, syscall.ENODEV) // matches by name, does not take it
	expect(t, k, bus+"drivers_probe", disk, nil)
	wantDriver(t, k, disk, "")
	for _, bad := range []string{"", "a/b", "a\n"} {
		if k.AddDriver(bad) == nil {
			t.Errorf("a driver of the name %q was loaded", bad)
		}
	}
}

// TestIdenticalFunctions: new_id takes the one that was not meant, too.
func TestIdenticalFunctions(t *testing.T) {
	m := new(hostfs.Tree)
	for _, addr := range []string{"0000:01:00.0", "0000:02:00.0"} {
		dir := "sys/devices/pci0000:00/" + addr
		for name, v := range map[string]string{"vendor": "0x144d\n", "device": "0xa808\n", "class": "0x010802\n"} {
			if err := m.Put(dir+"/"+name, []byte(v)); err != nil {
				t.Fatal(err)
			}
		}
		_ = m.Symlink("../../../devices/pci0000:00/"+addr, devices+addr)
		_ = m.Symlink("../../../kernel/iommu_groups/1", dir+"/iommu_group")
	}
	k := must(sim.New(m, sim.Options{VFIO: true}))
	expect(t, k, drivers+"vfio-pci/new_id", "144d a808", nil)
	wantDriver(t, k, "0000:01:00.0", "vfio-pci")
	wantDriver(t, k, "0000:02:00.0", "vfio-pci")
	if there(k, devices+"0000:01:00.0/reset") {
		t.Error("a function without known reset methods has a reset")
	}
	if got := len(must(m.ReadDir("sys/bus/pci"))); got != 1 {
		t.Errorf("the caller's tree was changed: %d entries", got)
	}
}

func TestReads(t *testing.T) {
	k := labLaptop(t, sim.Options{})
	for name, want := range map[string]syscall.Errno{
		"sys/nothing":                           syscall.ENOENT,
		"sys":                                   syscall.EISDIR,
		bus + "drivers_probe":                   syscall.EACCES,
		devices + "0000:02:00.0/vendor/x":       syscall.ENOTDIR,
		devices + "0000:02:00.0/driver/unbind":  syscall.EACCES,
		devices + "0000:02:00.0/no/such/device": syscall.ENOENT,
	} {
		_, err := k.ReadFile(name)
		var pe *fs.PathError
		if !errors.Is(err, want) || !errors.As(err, &pe) {
			t.Errorf("read %s: %v, want %v", name, err, want)
		}
	}
	if _, err := k.ReadFile("../etc"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a name with ..: %v", err)
	}
	if err := k.WriteFile("../etc", nil); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a name with ..: %v", err)
	}
	if _, err := k.ReadDir(bus + "drivers_probe"); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("listing a file: %v", err)
	}
	for name, want := range map[string]fs.FileMode{
		bus + "drivers_probe":                    0o200,
		devices + "0000:02:00.0/vendor":          0o444,
		devices + "0000:02:00.0/driver_override": 0o644,
		devices + "0000:02:00.0/driver":          fs.ModeSymlink | 0o777,
	} {
		if st, err := k.Lstat(name); err != nil || st.Mode() != want {
			t.Errorf("%s: %v, %v; want %v", name, st, err, want)
		}
	}
	f, err := k.Open(devices + "0000:02:00.0/vendor")
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}

func TestSeqnumCounts(t *testing.T) {
	k := labLaptop(t, sim.Options{})
	before := must(hostfs.ReadString(k, "sys/kernel/uevent_seqnum"))
	expect(t, k, drivers+"nvme/unbind", "0000:02:00.0", nil)
	if after := must(hostfs.ReadString(k, "sys/kernel/uevent_seqnum")); after == before {
		t.Error("an unbind was no event")
	}
}

func TestNewErrors(t *testing.T) {
	m := new(hostfs.Tree)
	if _, err := sim.New(m, sim.Options{}); err != nil {
		t.Errorf("a machine without PCI: %v", err)
	}
	_ = m.Symlink("../nowhere", devices+"0000:01:00.0")
	if _, err := sim.New(m, sim.Options{}); err == nil || !strings.Contains(err.Error(), devices+"0000:01:00.0") {
		t.Errorf("a function that is nowhere: %v", err)
	}
}
