package assign_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/internal/sim"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
)

// emulated returns the emulated laptop as a simulated kernel.
func emulated(t *testing.T, opts sim.Options) *sim.Kernel {
	t.Helper()
	return boot(t, filepath.Join(hosttest.Root(t), "testdata", "hosts", "lab-intel.txtar"), opts)
}

func boot(t *testing.T, name string, opts sim.Options) *sim.Kernel {
	t.Helper()
	saved, err := hostfs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	opts.VFIO = true
	k, err := sim.New(saved.(*hostfs.Tree), opts)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func address(t *testing.T, s string) pci.Address {
	t.Helper()
	a, err := pci.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func plan(t *testing.T, fsys fs.FS, r assign.Request) (*assign.Plan, error) {
	t.Helper()
	l, err := laptop.Read(fsys)
	if err != nil {
		t.Fatal(err)
	}
	f, err := assign.Read(fsys, l, r.Devices)
	if err != nil {
		t.Fatal(err)
	}
	return assign.NewPlan(f, r)
}

func mustPlan(t *testing.T, fsys fs.FS, devices ...string) *assign.Plan {
	t.Helper()
	r := assign.Request{Guest: "test", Companions: true, Allow: []laptop.Code{laptop.HostDiskUnknown, laptop.RouteUnknown, laptop.BootUnknown}}
	for _, d := range devices {
		r.Devices = append(r.Devices, address(t, d))
	}
	p, err := plan(t, fsys, r)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func take(p *assign.Plan) assign.Taking {
	return assign.Taking{Plan: func() (*assign.Plan, error) { return p, nil }}
}

func drivers(t *testing.T, fsys fs.FS) map[string]string {
	t.Helper()
	functions, err := pci.Functions(fsys)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, f := range functions {
		name := f.Address.String()
		all[name], _ = pci.Driver(fsys, f.Address)
		if o, err := pci.DriverOverride(fsys, f.Address); err == nil && o != "" {
			all[name] += " override " + o
		}
	}
	return all
}

// dump writes a machine as text, without the count of events and what the idle time
// of a function decides.
func dump(t *testing.T, k *sim.Kernel) []byte {
	t.Helper()
	tree := k.Tree()
	_ = tree.Remove("sys/kernel/uevent_seqnum")
	for a := range drivers(t, k) {
		_ = tree.Remove("sys/bus/pci/devices/" + a + "/power/runtime_status")
	}
	b, err := hostfs.FormatTxtar(tree, "")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPlan(t *testing.T) {
	k := emulated(t, sim.Options{})
	p := mustPlan(t, k, "0000:02:00.0")
	var got []string
	for _, s := range p.Steps {
		got = append(got, fmt.Sprintf("%s: %q to %s", s.Prior, s.Do.Value, s.Do.File))
		for _, u := range s.Undo {
			got = append(got, fmt.Sprintf("  undo %q to %s", u.Value, u.File))
		}
	}
	want := []string{
		`driver_override is none: "vfio-pci" to sys/bus/pci/devices/0000:02:00.0/driver_override`,
		`  undo "\n" to sys/bus/pci/devices/0000:02:00.0/driver_override`,
		`  undo "0000:02:00.0" to sys/bus/pci/drivers/nvme/bind`,
		`  undo "on" to sys/bus/pci/devices/0000:02:00.0/power/control`,
		`  undo "flr bus" to sys/bus/pci/devices/0000:02:00.0/reset_method`,
		`driver is nvme: "0000:02:00.0" to sys/bus/pci/drivers/nvme/unbind`,
		`driver is none: "0000:02:00.0" to sys/bus/pci/drivers_probe`,
		`  undo "0000:02:00.0" to sys/bus/pci/drivers/vfio-pci/unbind`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if n := len(k.Writes()); n != 0 {
		t.Errorf("planning wrote %d times", n)
	}
}

func TestRefusals(t *testing.T) {
	saved := func() *hostfs.Tree { return emulated(t, sim.Options{}).Tree() }
	for _, c := range []struct {
		name    string
		change  func(*hostfs.Tree)
		devices []string
		allow   []laptop.Code
		code    laptop.Code // empty: not refused
		names   string
	}{
		{"alone", nil, []string{"0000:02:00.0"}, nil, "", ""},
		{"half a group", nil, []string{"0000:04:01.0"}, nil, laptop.Companions, "0000:04:02.0"},
		{"a whole group", nil, []string{"0000:04:01.0", "0000:04:02.0"}, nil, "", ""},
		{"a bridge", nil, []string{"0000:03:00.0"}, nil, laptop.Bridge, ""},
		{"a bridge cannot be allowed", nil, []string{"0000:03:00.0"}, []laptop.Code{laptop.Bridge}, laptop.Bridge, ""},
		{"no such function", nil, []string{"0000:09:00.0"}, nil, laptop.NoGroup, "no such function"},
		{"mounted", func(m *hostfs.Tree) {
			put(m, "proc/self/mountinfo", "30 1 259:0 / /home rw - ext4 /dev/nvme0n1 rw\n")
		}, []string{"0000:02:00.0"}, nil, laptop.HostDisk, "/home on nvme0n1"},
		{"mounted and allowed", func(m *hostfs.Tree) {
			put(m, "proc/self/mountinfo", "30 1 259:0 / /home rw - ext4 /dev/nvme0n1 rw\n")
		}, []string{"0000:02:00.0"}, []laptop.Code{laptop.HostDisk}, "", ""},
		{"direct region", func(m *hostfs.Tree) {
			put(m, group(m, "0000:02:00.0")+"/reserved_regions", "0x1000 0x1fff direct\n")
		}, []string{"0000:02:00.0"}, nil, laptop.ReservedDirect, "0x1000"},
		{"relaxable region", func(m *hostfs.Tree) {
			put(m, group(m, "0000:02:00.0")+"/reserved_regions", "0x1000 0x1fff direct-relaxable\n")
		}, []string{"0000:02:00.0"}, nil, "", ""},
		{"virtual functions in use", func(m *hostfs.Tree) {
			put(m, "sys/bus/pci/devices/0000:05:00.0/sriov_numvfs", "1\n")
			_ = m.Symlink("../0000:05:10.0", "sys/bus/pci/devices/0000:05:00.0/virtfn0")
		}, []string{"0000:05:00.0"}, nil, laptop.VirtualInUse, ""},
		{"a bridge's header with another class", func(m *hostfs.Tree) {
			put(m, "sys/bus/pci/devices/0000:04:02.0/secondary_bus_number", "9\n")
		}, []string{"0000:04:01.0"}, nil, "", ""},
		{"no remapping", func(m *hostfs.Tree) {
			put(m, "proc/interrupts", " 0: 1 IO-APIC 2-edge timer\n")
		}, []string{"0000:02:00.0"}, nil, laptop.NoRemapping, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := saved()
			if c.change != nil {
				c.change(m)
			}
			r := assign.Request{Allow: c.allow}
			for _, d := range c.devices {
				r.Devices = append(r.Devices, address(t, d))
			}
			p, err := plan(t, m, r)
			if c.code == "" {
				if err != nil {
					t.Fatal(err)
				}
				if len(c.allow) > 0 && (len(p.Findings) == 0 || p.Findings[0].Code != c.allow[0]) {
					t.Errorf("the override is not recorded: %+v", p.Findings)
				}
				return
			}
			var refused *assign.RefusedError
			if !errors.As(err, &refused) || !errors.Is(err, assign.ErrRefused) {
				t.Fatalf("%v, want a refusal", err)
			}
			if refused.Findings[0].Code != c.code || !strings.Contains(refused.Error(), c.names) {
				t.Errorf("refused with %s: %v; want %s naming %q", refused.Findings[0].Code, refused, c.code, c.names)
			}
		})
	}
}

func put(m *hostfs.Tree, name, text string) {
	if err := m.Put(resolve(m, name), []byte(text)); err != nil {
		panic(err)
	}
}

// resolve follows the link of a function in a name, as Put makes what it is told.
func resolve(m *hostfs.Tree, name string) string {
	if rest, ok := strings.CutPrefix(name, "sys/bus/pci/devices/"); ok {
		dir, file, _ := strings.Cut(rest, "/")
		if target, err := m.ReadLink("sys/bus/pci/devices/" + dir); err == nil {
			return "sys/" + strings.TrimPrefix(target, "../../../") + "/" + file
		}
	}
	return name
}

func group(m *hostfs.Tree, a string) string {
	id, _ := hostfs.ReadLinkBase(m, "sys/bus/pci/devices/"+a+"/iommu_group")
	return "sys/kernel/iommu_groups/" + id
}

// A kernel that states reset methods gives no file to a function without one.
func TestNoReset(t *testing.T) {
	m := emulated(t, sim.Options{}).Tree()
	p := mustPlan(t, m, "0000:02:00.0")
	if len(p.Findings) != 0 {
		t.Errorf("an NVMe disk with resets: %v", p.Findings)
	}
	if err := m.Remove("sys/bus/pci/devices/0000:02:00.0/reset_method"); err != nil {
		t.Fatal(err)
	}
	request := assign.Request{Devices: []pci.Address{address(t, "0000:02:00.0")}}
	_, err := plan(t, m, request)
	var refused *assign.RefusedError
	if !errors.As(err, &refused) || len(refused.Findings) != 1 || refused.Findings[0].Code != laptop.NoReset {
		t.Fatalf("without: %v", err)
	}
	request.Allow = []laptop.Code{laptop.NoReset}
	p, err = plan(t, m, request)
	if err != nil || len(p.Findings) != 1 || p.Findings[0].Severity != laptop.Warning || !strings.HasPrefix(p.Findings[0].Detail, "overridden by --allow no-reset: ") {
		t.Errorf("overridden: %v, %v", p, err)
	}
	// On a kernel that states none of any function, nothing is known.
	functions, _ := pci.Functions(m)
	for _, f := range functions {
		_ = m.Remove(resolve(m, "sys/bus/pci/devices/"+f.Address.String()+"/reset_method"))
	}
	p = mustPlan(t, m, "0000:02:00.0")
	if len(p.Findings) != 1 || p.Findings[0].Code != laptop.NoReset || p.Findings[0].Severity != laptop.Warning {
		t.Errorf("on an old kernel: %v", p.Findings)
	}
}

// Two functions on a bus that neither can be reset on by itself go through a reset of
// the bus if both are handed over. The kernel says bus of the first of them all the same.
func TestResetTogether(t *testing.T) {
	m := emulated(t, sim.Options{}).Tree()
	request := assign.Request{Devices: []pci.Address{address(t, "0000:04:02.0")}, Companions: true}
	p, err := plan(t, m, request)
	if err != nil || len(p.Devices) != 2 || len(p.Findings) != 0 {
		t.Fatalf("%+v, %v", p, err)
	}
	// With one in a group of its own, both groups must go.
	const dir = "sys/devices/pci0000:00/0000:00:04.0/0000:03:00.0/0000:04:02.0"
	old := group(m, "0000:04:02.0")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(m.Remove(old + "/devices/0000:04:02.0"))
	must(m.Remove(dir + "/iommu_group"))
	must(m.Symlink("/sys/kernel/iommu_groups/99", dir+"/iommu_group"))
	must(m.Symlink("/"+dir, "sys/kernel/iommu_groups/99/devices/0000:04:02.0"))
	_, err = plan(t, m, request)
	if err == nil || !strings.Contains(err.Error(), "0000:04:02.0 can be reset only with its whole bus, and 0000:04:01.0 on it would not be handed over") {
		t.Errorf("alone: %v", err)
	}
	request.Devices = append(request.Devices, address(t, "0000:04:01.0"))
	if p, err = plan(t, m, request); err != nil || len(p.Devices) != 2 || len(p.Groups) != 2 || len(p.Findings) != 0 {
		t.Errorf("both: %+v, %v", p, err)
	}
}

// A bridge is one by its header, and no class makes it a device that can be bound.
func TestBridgeOfAnotherClass(t *testing.T) {
	m := emulated(t, sim.Options{}).Tree()
	dir := resolve(m, "sys/bus/pci/devices/0000:02:00.0/x")
	if err := m.Put(strings.TrimSuffix(dir, "x")+"secondary_bus_number", []byte("9\n")); err != nil {
		t.Fatal(err)
	}
	_, err := plan(t, m, assign.Request{Devices: []pci.Address{address(t, "0000:02:00.0")}})
	if !errors.Is(err, assign.ErrRefused) || !strings.Contains(err.Error(), "is a bridge, whatever its class says") {
		t.Errorf("%v", err)
	}
}

func TestNoIOMMUIsUnsupported(t *testing.T) {
	m := emulated(t, sim.Options{}).Tree()
	if err := m.Remove("sys/kernel/iommu_groups"); err != nil {
		t.Fatal(err)
	}
	if err := m.Mkdir("sys/kernel/iommu_groups"); err != nil { // the kernel has it all the same
		t.Fatal(err)
	}
	functions, _ := pci.Functions(m)
	for _, f := range functions {
		_ = m.Remove(resolve(m, "sys/bus/pci/devices/"+f.Address.String()+"/iommu_group"))
	}
	_, err := plan(t, m, assign.Request{Devices: []pci.Address{address(t, "0000:02:00.0")}})
	if !errors.Is(err, errors.ErrUnsupported) || !errors.Is(err, assign.ErrRefused) {
		t.Errorf("%v: want a refusal that this host cannot help", err)
	}
}

// Whatever is assigned and released, the machine is as it was to the byte.
func TestApplyAndUndoLeaveNothing(t *testing.T) {
	names, _ := filepath.Glob(filepath.Join(hosttest.Shared(t, "hosts"), "*.txtar"))
	names = append(names, filepath.Join(hosttest.Root(t), "testdata", "hosts", "lab-intel.txtar"))
	assigned := 0
	for _, name := range names {
		k := boot(t, name, sim.Options{})
		before := dump(t, k)
		l, err := laptop.Read(k)
		if err != nil {
			t.Fatal(err)
		}
		h := &assign.Host{FS: k}
		for i := range l.Devices {
			d := &l.Devices[i]
			if d.PCI == nil {
				continue
			}
			p, err := plan(t, k, assign.Request{
				Devices: []pci.Address{d.PCI.Address}, Companions: true,
				Allow: []laptop.Code{laptop.HostDiskUnknown, laptop.RouteUnknown, laptop.BootUnknown, laptop.BootDisplay, laptop.HostDisk, laptop.DefaultRoute},
			})
			if errors.Is(err, assign.ErrRefused) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := h.Apply(t.Context(), p); err != nil {
				t.Fatalf("%s: assign %s: %v", name, d.Where(), err)
			}
			assigned++
			for _, a := range p.Devices {
				if got, _ := pci.Driver(k, a); got != assign.VFIODriver {
					t.Errorf("%s: %s is with %q", name, a, got)
				}
			}
			if err := h.Undo(p); err != nil {
				t.Fatalf("%s: release %s: %v", name, d.Where(), err)
			}
			if after := dump(t, k); !bytes.Equal(before, after) {
				t.Fatalf("%s: %s left the machine changed:\n%s", name, d.Where(), cmp.Diff(string(before), string(after)))
			}
			if err := h.Undo(p); err != nil {
				t.Errorf("%s: a second release of %s: %v", name, d.Where(), err)
			}
		}
	}
	if assigned < 100 {
		t.Errorf("only %d devices could be assigned", assigned)
	}
}

// An error at any write takes everything back.
func TestEveryWriteFails(t *testing.T) {
	for fail := range 7 {
		for _, errno := range []syscall.Errno{syscall.EIO, syscall.EBUSY, syscall.ENODEV, syscall.EPERM, syscall.EINVAL} {
			k := emulated(t, sim.Options{})
			before := drivers(t, k)
			p := mustPlan(t, k, "0000:04:01.0")
			n := 0
			k.Fail = func(string, []byte) error {
				if n++; n == fail+1 {
					return errno
				}
				return nil
			}
			err := (&assign.Host{FS: k}).Apply(t.Context(), p)
			if fail >= len(p.Steps) {
				if err != nil {
					t.Errorf("write %d: %v", fail, err)
				}
				continue
			}
			var op *assign.OpError
			if !errors.Is(err, errno) || !errors.As(err, &op) {
				t.Errorf("write %d, %v: got %v", fail, errno, err)
			}
			if d := cmp.Diff(before, drivers(t, k)); d != "" {
				t.Errorf("write %d, %v left: %s", fail, errno, d)
			}
		}
	}
}

// When giving back fails as well, the error says so and what is left is named.
func TestUndoFails(t *testing.T) {
	k := emulated(t, sim.Options{})
	p := mustPlan(t, k, "0000:02:00.0")
	n := 0
	k.Fail = func(string, []byte) error {
		if n++; n >= 3 {
			return syscall.EIO
		}
		return nil
	}
	store := &assign.Store{Dir: t.TempDir()}
	_, err := store.Assign(t.Context(), &assign.Host{FS: k}, take(p))
	var partial *assign.PartialError
	if !errors.As(err, &partial) || !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), "0000:02:00.0") {
		t.Fatalf("%v, want a *PartialError", err)
	}
	leases, err := store.List()
	if err != nil || len(leases) != 1 || leases[0].State != assign.Assigning {
		t.Fatalf("the lease of what is left: %+v, %v", leases, err)
	}
	k.Fail = nil
	if _, err := store.Release(t.Context(), &assign.Host{FS: k}, address(t, "0000:02:00.0")); err != nil {
		t.Fatal(err)
	}
	if got := drivers(t, k)["0000:02:00.0"]; got != "nvme" {
		t.Errorf("after the release: %q", got)
	}
}

// A function that changed hands after it was planned is left to whoever has it.
func TestChangedSincePlanned(t *testing.T) {
	k := emulated(t, sim.Options{})
	p := mustPlan(t, k, "0000:04:01.0")
	other := mustPlan(t, k, "0000:04:01.0")
	h := &assign.Host{FS: k}
	if err := h.Apply(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	before := drivers(t, k)
	if err := h.Apply(t.Context(), p); err == nil || !strings.Contains(err.Error(), "changed since it was planned") {
		t.Errorf("got %v", err)
	}
	if d := cmp.Diff(before, drivers(t, k)); d != "" {
		t.Errorf("fought over: %s", d)
	}
}

func TestInterrupted(t *testing.T) {
	k := emulated(t, sim.Options{})
	before := drivers(t, k)
	p := mustPlan(t, k, "0000:04:01.0")
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	h := &assign.Host{FS: k, Did: func(string, assign.Write, error) {
		if n++; n == 4 {
			cancel()
		}
	}}
	if err := h.Apply(ctx, p); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if d := cmp.Diff(before, drivers(t, k)); d != "" {
		t.Error(d)
	}
}

func TestPriorOverrideComesBack(t *testing.T) {
	k := emulated(t, sim.Options{})
	const file = "sys/bus/pci/devices/0000:02:00.0/driver_override"
	// An override is as good as the next bind: one of another driver may be set
	// while the function is bound, and would keep its own from taking it back.
	for _, prior := range []string{"nvme", "vfio-pci", "foo"} {
		if err := k.WriteFile(file, []byte(prior)); err != nil {
			t.Fatal(err)
		}
		p := mustPlan(t, k, "0000:02:00.0")
		h := &assign.Host{FS: k}
		if err := errors.Join(h.Apply(t.Context(), p), h.Undo(p), h.Undo(p)); err != nil {
			t.Fatal(err)
		}
		if got := drivers(t, k)["0000:02:00.0"]; got != "nvme override "+prior {
			t.Errorf("got %q, want the override %s", got, prior)
		}
	}
}

func TestPowerSavingComesBack(t *testing.T) {
	k := emulated(t, sim.Options{})
	const file = "sys/bus/pci/devices/0000:02:00.0/power/control"
	if err := k.WriteFile(file, []byte("auto")); err != nil {
		t.Fatal(err)
	}
	p := mustPlan(t, k, "0000:02:00.0")
	h := &assign.Host{FS: k}
	if err := errors.Join(h.Apply(t.Context(), p), h.Undo(p)); err != nil {
		t.Fatal(err)
	}
	if got, _ := hostfs.ReadString(k, file); got != "auto" {
		t.Errorf("left %q", got)
	}
}

func TestHeldByVFIOBefore(t *testing.T) {
	k := emulated(t, sim.Options{})
	first := mustPlan(t, k, "0000:02:00.0")
	h := &assign.Host{FS: k}
	if err := h.Apply(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	p := mustPlan(t, k, "0000:02:00.0")
	if slices.ContainsFunc(p.Steps, func(s assign.Step) bool { return !s.Keeps() }) || len(p.Findings) == 0 || p.Findings[0].Code != laptop.BoundToVFIO {
		t.Fatalf("steps %v, findings %v", p.Steps, p.Findings)
	}
	if err := errors.Join(h.Apply(t.Context(), p), h.Undo(p)); err != nil {
		t.Fatal(err)
	}
	if got, _ := pci.Driver(k, address(t, "0000:02:00.0")); got != assign.VFIODriver {
		t.Errorf("taken from whoever had it: %q", got)
	}
}

func TestNoVFIO(t *testing.T) {
	k := emulated(t, sim.Options{})
	p := mustPlan(t, k, "0000:02:00.0")
	m := k.Tree()
	if err := m.Remove("sys/bus/pci/drivers/vfio-pci"); err != nil {
		t.Fatal(err)
	}
	err := (&assign.Host{FS: m}).Apply(t.Context(), p)
	if !errors.Is(err, errors.ErrUnsupported) || !errors.Is(err, fs.ErrNotExist) ||
		!strings.HasPrefix(err.Error(), "the driver vfio-pci is not loaded; run: modprobe vfio-pci (") || strings.Contains(err.Error(), "unsupported operation") {
		t.Errorf("got %v", err)
	}
}

func TestNodeAppearsLate(t *testing.T) {
	k := emulated(t, sim.Options{NodeDelay: 50 * time.Millisecond})
	if err := (&assign.Host{FS: k}).Apply(t.Context(), mustPlan(t, k, "0000:02:00.0")); err != nil {
		t.Fatal(err)
	}
	k = emulated(t, sim.Options{NodeDelay: time.Hour})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	before := drivers(t, k)
	if err := (&assign.Host{FS: k}).Apply(ctx, mustPlan(t, k, "0000:02:00.0")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if d := cmp.Diff(before, drivers(t, k)); d != "" {
		t.Error(d)
	}
}

func TestNotViable(t *testing.T) {
	k := emulated(t, sim.Options{})
	before := drivers(t, k)
	no := errors.New("not viable")
	h := &assign.Host{FS: k, Viable: func(iommu.GroupID) error { return no }}
	if err := h.Apply(t.Context(), mustPlan(t, k, "0000:02:00.0")); !errors.Is(err, no) {
		t.Errorf("got %v", err)
	}
	if d := cmp.Diff(before, drivers(t, k)); d != "" {
		t.Error(d)
	}
}

func TestUnpluggedWhileHeld(t *testing.T) {
	k := emulated(t, sim.Options{})
	store := &assign.Store{Dir: t.TempDir()}
	h := &assign.Host{FS: k}
	if _, err := store.Assign(t.Context(), h, take(mustPlan(t, k, "0000:02:00.0"))); err != nil {
		t.Fatal(err)
	}
	if err := k.WriteFile("sys/bus/pci/devices/0000:02:00.0/remove", []byte("1")); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Release(t.Context(), h, address(t, "0000:02:00.0")); err != nil {
		t.Errorf("release of what is gone: %v", err)
	}
}
