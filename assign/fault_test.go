package assign_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/internal/sim"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
)

// A device that is unplugged while its group is handed over is lost, and its mates are as
// before.
func TestFault06Unplugged(t *testing.T) {
	for at := 1; at <= 6; at++ {
		k := emulated(t, sim.Options{})
		before := drivers(t, k)
		delete(before, "0000:04:02.0")
		p := mustPlan(t, k, "0000:04:01.0")
		n := 0
		k.Fail = func(name string, _ []byte) error {
			if strings.HasSuffix(name, "/remove") {
				return nil
			}
			if n++; n == at {
				return k.WriteFile("sys/bus/pci/devices/0000:04:02.0/remove", []byte("1"))
			}
			return nil
		}
		var told []string
		h := &assign.Host{FS: k, Told: func(s string) { told = append(told, s) }}
		store := &assign.Store{Dir: t.TempDir()}
		_, err := store.Assign(t.Context(), h, take(p))
		if !errors.Is(err, assign.ErrDeviceLost) || !strings.Contains(err.Error(), "device lost") {
			t.Errorf("at write %d: %v", at, err)
		}
		if d := cmp.Diff(before, drivers(t, k)); d != "" {
			t.Errorf("at write %d: its mate is not as before: %s", at, d)
		}
		if leases, err := store.List(); len(leases) != 0 || err != nil {
			t.Errorf("at write %d: left %v, %v", at, leases, err)
		}
	}
}

// replaced is a kernel under which another device is at an address after some writes.
type replaced struct {
	*sim.Kernel
	address string
	after   int
	writes  []string // to the address since
}

func (r *replaced) ReadFile(name string) ([]byte, error) {
	data, err := r.Kernel.ReadFile(name)
	if r.after <= 0 && strings.HasSuffix(name, r.address+"/uevent") {
		data = []byte(strings.Replace(string(data), "PCI_ID=", "PCI_ID=1AF4:1000\nWAS=", 1))
	}
	return data, err
}

func (r *replaced) WriteFile(name string, data []byte) error {
	// An override that hit it, because it came just then, is taken back.
	if r.after <= 0 && (strings.Contains(name, r.address) || string(data) == r.address) && string(data) != "\n" {
		r.writes = append(r.writes, name)
	}
	r.after--
	return r.Kernel.WriteFile(name, data)
}

// Another device under the address of one that is handed over gets no write, and what goes
// with it is as before.
func TestFault07OtherDevice(t *testing.T) {
	for after := range 7 {
		k := emulated(t, sim.Options{})
		mate := drivers(t, k)["0000:04:01.0"]
		p := mustPlan(t, k, "0000:04:01.0")
		r := &replaced{Kernel: k, address: "0000:04:02.0", after: after}
		err := (&assign.Host{FS: r}).Apply(t.Context(), p)
		if !errors.Is(err, assign.ErrOtherDevice) || !strings.Contains(err.Error(), "device changed under its address") {
			t.Errorf("after %d writes: %v", after, err)
		}
		if len(r.writes) != 0 {
			t.Errorf("after %d writes: the stranger got %v", after, r.writes)
		}
		if got := drivers(t, k)["0000:04:01.0"]; got != mate {
			t.Errorf("after %d writes: its mate is with %q", after, got)
		}
		// Nor when it is replaced while a guest has it.
		k = emulated(t, sim.Options{})
		store := &assign.Store{Dir: t.TempDir()}
		if _, err := store.Assign(t.Context(), &assign.Host{FS: k}, take(mustPlan(t, k, "0000:04:01.0"))); err != nil {
			t.Fatal(err)
		}
		r = &replaced{Kernel: k, address: "0000:04:02.0"}
		var told []string
		h := &assign.Host{FS: r, Told: func(s string) { told = append(told, s) }}
		if _, err := store.Release(t.Context(), h, p.Devices[0]); err != nil || len(r.writes) != 0 || len(told) != 1 {
			t.Errorf("release: %v, writes %v, told %q", err, r.writes, told)
		}
		if got := drivers(t, k)["0000:04:01.0"]; got != mate {
			t.Errorf("release: its mate is with %q", got)
		}
	}
}

// On a full disk nothing is begun, and all that was handed out can be given back.
func TestFault17DiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=128k"); err != nil {
		hosttest.Missing(t, "mount a small tmpfs: %v", err)
	}
	defer func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }()
	k := emulated(t, sim.Options{})
	before := drivers(t, k)
	store := &assign.Store{Dir: dir}
	h := &assign.Host{FS: k}
	if _, err := store.Assign(t.Context(), h, take(mustPlan(t, k, "0000:04:01.0"))); err != nil {
		t.Fatal(err)
	}
	p := mustPlan(t, k, "0000:02:00.0")
	_ = os.WriteFile(filepath.Join(dir, ".fill"), make([]byte, 1<<20), 0o600)
	writes := len(k.Writes())
	if _, err := store.Assign(t.Context(), h, take(p)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("begun without room for its end: %v", err)
	}
	if n := len(k.Writes()) - writes; n != 0 {
		t.Errorf("%d writes", n)
	}
	if _, err := store.Release(t.Context(), h, address(t, "0000:04:01.0")); err != nil {
		t.Errorf("release: %v", err)
	}
	if d := cmp.Diff(before, drivers(t, k)); d != "" {
		t.Error(d)
	}
}

// A lease that is an older copy of what it was takes nothing for given back that is not.
func TestFault19OlderCopy(t *testing.T) {
	k := emulated(t, sim.Options{})
	store := &assign.Store{Dir: t.TempDir()}
	var copied []byte
	var name string
	n := 0
	h := &assign.Host{FS: k, Did: func(string, assign.Write, error) {
		if n++; n == 1 { // the override is set, and that is all that the copy knows
			names, _ := filepath.Glob(filepath.Join(store.Dir, "*.lease"))
			name = names[0]
			copied, _ = os.ReadFile(name)
		}
	}}
	p := mustPlan(t, k, "0000:02:00.0")
	if _, err := store.Assign(t.Context(), h, take(p)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, copied, 0o600); err != nil {
		t.Fatal(err)
	}
	all, err := store.Recover(t.Context(), &assign.Host{FS: k})
	if err == nil || len(all) != 1 || !strings.Contains(all[0].Error, "0000:02:00.0") || !strings.Contains(all[0].Error, "older copy") {
		t.Errorf("%+v, %v", all, err)
	}
	// One of what has been given back since gives back nothing.
	if err := h.Undo(p); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, copied, 0o600); err != nil {
		t.Fatal(err)
	}
	before := drivers(t, k)
	if all, err := store.Recover(t.Context(), &assign.Host{FS: k}); err != nil || len(all) != 1 || all[0].Result != assign.GivenBack {
		t.Errorf("%+v, %v", all, err)
	}
	if d := cmp.Diff(before, drivers(t, k)); d != "" {
		t.Error(d)
	}
}

// What another program holds is recognised, named, and not fought over.
func TestFault21ForeignHolders(t *testing.T) {
	k := emulated(t, sim.Options{})
	h := &assign.Host{FS: k}
	nvme := address(t, "0000:02:00.0")
	if err := h.Apply(t.Context(), mustPlan(t, k, "0000:02:00.0")); err != nil {
		t.Fatal(err)
	}
	m := k.Tree()
	node := strings.TrimPrefix(group(m, "0000:02:00.0"), "sys/kernel/iommu_groups/")
	process := func(pid, program string, args ...string) {
		put(m, "proc/"+pid+"/comm", program+"\n")
		put(m, "proc/"+pid+"/cmdline", strings.Join(args, "\x00")+"\x00")
		if err := m.Symlink("/dev/vfio/"+node, "proc/"+pid+"/fd/24"); err != nil {
			t.Fatal(err)
		}
	}
	put(m, "etc/driverctl.d/pci-0000:02:00.0", "vfio-pci\n")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"/usr/bin/qemu-system-x86_64", "-name", "guest=win10,debug-threads=on", "-object", `{"file":"/var/lib/libvirt/qemu/domain-1-win10/master-key.aes"}`},
			`libvirt's guest "win10", qemu-system-x86 (process 4711) has it open`},
		{[]string{"qemu-system-x86_64", "-name", "games"}, `guest "games", qemu-system-x86 (process 4711) has it open`},
		{[]string{"qemu-system-x86_64", "-m", "1G"}, `qemu-system-x86 (process 4711) has it open`},
	} {
		_ = m.Remove("proc/4711")
		process("4711", "qemu-system-x86", c.args...)
		_, err := plan(t, m, assign.Request{Devices: []pci.Address{nvme}})
		var refused *assign.RefusedError
		if !errors.As(err, &refused) || refused.Findings[0].Code != laptop.HeldElsewhere || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v", c.args, err)
		}
		if refused.Findings[0].Code.Overridable() {
			t.Error("can be fought over")
		}
	}
	_ = m.Remove("proc/4711")
	p, err := plan(t, m, assign.Request{Devices: []pci.Address{nvme}})
	if err != nil || slices.ContainsFunc(p.Steps, func(s assign.Step) bool { return !s.Keeps() }) || len(p.Findings) != 1 || p.Findings[0].Code != laptop.BoundToVFIO ||
		!strings.Contains(p.Findings[0].Detail, "driverctl sets vfio-pci for it at each boot") {
		t.Errorf("driverctl: %+v, %v", p, err)
	}

	// An override that somebody has set while its own driver has the function.
	k = emulated(t, sim.Options{})
	if err := k.WriteFile("sys/bus/pci/devices/0000:02:00.0/driver_override", []byte("foo")); err != nil {
		t.Fatal(err)
	}
	p = mustPlan(t, k, "0000:02:00.0")
	if len(p.Findings) != 1 || p.Findings[0].Code != laptop.ForeignOverride || !strings.Contains(p.Findings[0].Detail, "driver override foo") {
		t.Errorf("%+v", p.Findings)
	}
}

// What somebody else has done to a device since it was handed over is left so, and told.
func TestFault21TakenMeanwhile(t *testing.T) {
	k := emulated(t, sim.Options{})
	if err := k.AddDriver("other"); err != nil {
		t.Fatal(err)
	}
	store := &assign.Store{Dir: t.TempDir()}
	var told []string
	h := &assign.Host{FS: k, Told: func(s string) { told = append(told, s) }}
	if _, err := store.Assign(t.Context(), h, take(mustPlan(t, k, "0000:02:00.0"))); err != nil {
		t.Fatal(err)
	}
	const dir = "sys/bus/pci/devices/0000:02:00.0/"
	for _, w := range []struct{ file, value string }{
		{"sys/bus/pci/drivers/vfio-pci/unbind", "0000:02:00.0"}, {dir + "driver_override", "other"}, {"sys/bus/pci/drivers_probe", "0000:02:00.0"},
	} {
		if err := k.WriteFile(w.file, []byte(w.value)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := store.Release(t.Context(), h, address(t, "0000:02:00.0")); err != nil {
		t.Fatal(err)
	}
	if got := drivers(t, k)["0000:02:00.0"]; got != "other override other" {
		t.Errorf("fought over: %q", got)
	}
	if len(told) != 2 || !strings.Contains(strings.Join(told, "\n"), "it is other; somebody else has changed that") {
		t.Errorf("told %q", told)
	}
}

// Each error of a write is explained, kept, and takes everything back.
func TestFault23Meanings(t *testing.T) {
	for _, c := range []struct {
		write int
		err   error
		want  string
	}{
		{1, syscall.EINVAL, "the kernel does not take this name for a driver"},
		{1, syscall.ENOENT, "this function, or this kernel, has no driver_override"},
		{1, syscall.EACCES, "it takes root"},
		{2, syscall.EBUSY, "something still uses the device"},
		{2, syscall.ENODEV, "the driver does not have the device any more"},
		{2, syscall.EINTR, "a signal interrupted it"},
		{2, syscall.EIO, "the hardware or its driver failed"},
		{3, syscall.EAGAIN, "nothing is tried twice"},
		{3, syscall.EPERM, "the kernel does not permit it"},
		{3, io.ErrShortWrite, "the kernel took a part of the value"},
		{3, syscall.EXDEV, "not an error that is expected here"},
	} {
		k := emulated(t, sim.Options{})
		before := drivers(t, k)
		p := mustPlan(t, k, "0000:02:00.0")
		n := 0
		k.Fail = func(string, []byte) error {
			if n++; n == c.write {
				return c.err
			}
			return nil
		}
		err := (&assign.Host{FS: k}).Apply(t.Context(), p)
		var path *fs.PathError
		if !errors.Is(err, c.err) || !errors.As(err, &path) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("write %d: %v, want %q", c.write, err, c.want)
		}
		if d := cmp.Diff(before, drivers(t, k)); d != "" {
			t.Errorf("write %d, %v: left %s", c.write, c.err, d)
		}
	}
}

// deaf is a kernel on which a write to some file succeeds and does nothing.
type deaf struct {
	*sim.Kernel
	file string
}

func (d deaf) WriteFile(name string, data []byte) error {
	if strings.HasSuffix(name, d.file) {
		return nil
	}
	return d.Kernel.WriteFile(name, data)
}

// A write that succeeded proves nothing: whichever of them had no effect, it is found out
// and taken back.
func TestFault24WriteWithoutEffect(t *testing.T) {
	for _, file := range []string{"/driver_override", "/nvme/unbind", "drivers_probe"} {
		k := emulated(t, sim.Options{})
		before := drivers(t, k)
		p := mustPlan(t, k, "0000:02:00.0")
		err := (&assign.Host{FS: deaf{k, file}}).Apply(t.Context(), p)
		if err == nil || !strings.Contains(err.Error(), "after writing") || !strings.Contains(err.Error(), "expected that") {
			t.Errorf("%s: %v", file, err)
		}
		if file == "drivers_probe" && !strings.Contains(err.Error(), "defers it") {
			t.Errorf("%s: does not say what may be: %v", file, err)
		}
		if d := cmp.Diff(before, drivers(t, k)); d != "" {
			t.Errorf("%s: left %s", file, d)
		}
	}
	// Another driver won.
	k := emulated(t, sim.Options{})
	before := drivers(t, k)
	p := mustPlan(t, k, "0000:02:00.0")
	if err := k.AddDriver("pci-stub"); err != nil {
		t.Fatal(err)
	}
	k.Fail = func(name string, _ []byte) error {
		if name == "sys/bus/pci/drivers_probe" {
			k.Fail = nil
			return errors.Join(k.WriteFile("sys/bus/pci/drivers/pci-stub/new_id", []byte("1b36 0010")),
				k.WriteFile("sys/bus/pci/devices/0000:02:00.0/driver_override", []byte("pci-stub")),
				k.WriteFile("sys/bus/pci/drivers/pci-stub/bind", []byte("0000:02:00.0")))
		}
		return nil
	}
	err := (&assign.Host{FS: k}).Apply(t.Context(), p)
	if err == nil || !strings.Contains(err.Error(), "it is pci-stub") {
		t.Errorf("another driver: %v", err)
	}
	if got := drivers(t, k); got["0000:02:00.0"] != "pci-stub override pci-stub" {
		t.Errorf("fought over: %s, was %s", got["0000:02:00.0"], before["0000:02:00.0"])
	}
}

// An override is cleared by a line without text, because sysfs drops an empty write, and is
// read back.
func TestClearOverride(t *testing.T) {
	k := emulated(t, sim.Options{})
	p := mustPlan(t, k, "0000:04:01.0", "0000:02:00.0")
	h := &assign.Host{FS: k}
	if err := errors.Join(h.Apply(t.Context(), p), h.Undo(p)); err != nil {
		t.Fatal(err)
	}
	for _, w := range k.Writes() {
		if len(w.Value) == 0 {
			t.Errorf("an empty write to %s", w.Name)
		}
	}
	for _, a := range p.Devices {
		if got, err := hostfs.ReadString(k, "sys/bus/pci/devices/"+a.String()+"/driver_override"); got != "(null)" || err != nil {
			t.Errorf("%s: %q, %v", a, got, err)
		}
	}
	// One that stays is found out.
	p = mustPlan(t, k, "0000:02:00.0")
	if err := h.Apply(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if err := (&assign.Host{FS: deaf{k, "/driver_override"}}).Undo(p); err == nil || !strings.Contains(err.Error(), "driver_override is none") {
		t.Errorf("left over: %v", err)
	}
}

// What a killed process has claimed, and had written nothing for, is free.
func TestStalePlanning(t *testing.T) {
	k := emulated(t, sim.Options{})
	store := &assign.Store{Dir: t.TempDir()}
	p := mustPlan(t, k, "0000:02:00.0")
	claims := []assign.Claim{assign.GroupClaim(p.Groups[0])}
	if !killed(func() {
		_, _ = store.Assign(t.Context(), &assign.Host{FS: since{k, "5"}}, assign.Taking{
			Devices: p.Devices, Claims: claims, Plan: func() (*assign.Plan, error) { runtime.Goexit(); return nil, nil },
		})
	}) {
		t.Fatal("it was not killed")
	}
	if leases, err := store.List(); len(leases) != 1 || err != nil || leases[0].State != assign.Planning {
		t.Fatalf("%+v, %v", leases, err)
	}
	l, err := store.Assign(t.Context(), &assign.Host{FS: since{k, "777"}}, take(p))
	if err != nil || l.State != assign.Assigned {
		t.Errorf("%+v, %v", l, err)
	}
	if leases, err := store.List(); len(leases) != 1 || err != nil {
		t.Errorf("%+v, %v", leases, err)
	}
}

func TestClaims(t *testing.T) {
	g5 := assign.GroupClaim(groupID(t, "5"))
	for _, c := range []struct {
		a, b assign.Claim
		want bool
	}{
		{g5, g5, true}, {g5, assign.GroupClaim(groupID(t, "50")), false}, {g5, assign.Under(g5), true},
		{assign.Under(g5), assign.Under(assign.Under(g5)), false}, {"usb 1-4", "usb 1-4.1", false},
	} {
		if got := c.a.Conflicts(c.b); got != c.want || c.b.Conflicts(c.a) != got {
			t.Errorf("%q and %q: %v", c.a, c.b, got)
		}
	}
}

func groupID(t *testing.T, s string) iommu.GroupID {
	t.Helper()
	g, err := pci.ParseGroupID(s)
	if err != nil {
		t.Fatal(err)
	}
	return g
}
