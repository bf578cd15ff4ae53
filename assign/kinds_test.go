package assign_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/internal/sim"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

// anything overrides what a saved machine cannot say.
func anything() []laptop.Code {
	return []laptop.Code{
		laptop.HostDiskUnknown, laptop.RouteUnknown, laptop.BootUnknown, laptop.OnlyKeyboard, laptop.Hibernation,
		laptop.HostDisk, laptop.DefaultRoute, laptop.NoReset, laptop.GroupUnknown,
	}
}

func bootHost(t *testing.T, name string) *sim.Kernel {
	t.Helper()
	return boot(t, filepath.Join(hosttest.Root(t), "testdata", "hosts", name), sim.Options{})
}

func planRequest(t *testing.T, fsys fs.FS, r assign.Request) (*assign.Plan, error) {
	t.Helper()
	l, err := laptop.Read(fsys)
	if err != nil {
		t.Fatal(err)
	}
	f, err := assign.ReadRequest(fsys, l, r)
	if err != nil {
		t.Fatal(err)
	}
	return assign.NewPlan(f, r)
}

func mustPlanRequest(t *testing.T, fsys fs.FS, r assign.Request) *assign.Plan {
	t.Helper()
	r.Guest, r.Allow = "test", anything()
	p, err := planRequest(t, fsys, r)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func port(t *testing.T, s string) usb.PortPath {
	t.Helper()
	p, err := usb.ParsePortPath(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mac(t *testing.T, s string) net.HardwareAddr {
	t.Helper()
	m, err := net.ParseMAC(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

const mdevUUID = "83b8f4f2-509f-482f-8e12-3c9d3d9f1c11"

// withMediated is the emulated laptop with a display function of which mediated devices
// can be made.
func withMediated(t *testing.T) *sim.Kernel {
	t.Helper()
	m := bootHost(t, "lab-intel.txtar").Tree()
	const kind = "sys/devices/pci0000:00/0000:00:10.0/mdev_supported_types/i915-GVTg_V5_4"
	put(m, kind+"/available_instances", "1\n")
	put(m, kind+"/device_api", "vfio-pci\n")
	put(m, kind+"/name", "GVTg_V5_4\n")
	if err := m.Symlink("../../devices/pci0000:00/0000:00:10.0", "sys/class/mdev_bus/0000:00:10.0"); err != nil {
		t.Fatal(err)
	}
	k, err := sim.New(m, sim.Options{VFIO: true})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// A kindCase is a machine and a request for each kind of device.
type kindCase struct {
	name    string
	boot    func(*testing.T) *sim.Kernel
	request func(*testing.T) assign.Request
	writes  int // of the hand-over
}

func kindCases() []kindCase {
	gadgets := func(t *testing.T) *sim.Kernel { return bootHost(t, "lab-gadgets.txtar") }
	lab := func(t *testing.T) *sim.Kernel { return bootHost(t, "lab-intel.txtar") }
	device := func(paths ...string) func(*testing.T) assign.Request {
		return func(t *testing.T) assign.Request {
			var r assign.Request
			for _, p := range paths {
				r.USB = append(r.USB, port(t, p))
			}
			return r
		}
	}
	return []kindCase{
		{"keyboard", gadgets, device("1-1"), 1},
		{"smart card without a driver", gadgets, device("1-3"), 0},
		{"sound", gadgets, device("1-4"), 2},
		{"modem", gadgets, device("5-1"), 1},
		{"ethernet", gadgets, device("6-1"), 1},
		{"storage", gadgets, device("8-1"), 1},
		{"bluetooth", gadgets, device("9-1"), 1},
		{"webcam", gadgets, device("12-1"), 1},
		{"sound of three interfaces", gadgets, device("12-2"), 3},
		{"several", gadgets, device("1-1", "1-2", "12-1"), 3},
		{"virtual functions", lab, func(t *testing.T) assign.Request {
			return assign.Request{VFs: []assign.VFRequest{{
				Physical: address(t, "0000:05:00.0"), Count: 2,
				MACs:  []net.HardwareAddr{mac(t, "02:00:00:00:00:01"), mac(t, "02:00:00:00:00:02")},
				VLANs: []int{0, 100}, SpoofCheck: "off",
			}}}
		}, 1 + 1 + 2 + 1 + 2 + 2*2}, // the VLAN 0 and no other is there already
		{"mediated", withMediated, func(t *testing.T) assign.Request {
			return assign.Request{Mediated: []assign.MediatedRequest{{Parent: "0000:00:10.0", Type: "GVTg_V5_4", UUID: mdevUUID}}}
		}, 1},
		{"all at once", withMediated, func(t *testing.T) assign.Request {
			return assign.Request{
				Devices: []pci.Address{address(t, "0000:01:00.0")}, USB: []usb.PortPath{port(t, "1-1")},
				VFs:      []assign.VFRequest{{Physical: address(t, "0000:05:00.0"), Count: 1}},
				Mediated: []assign.MediatedRequest{{Parent: "0000:00:10.0", Type: "i915-GVTg_V5_4", UUID: mdevUUID}},
			}
		}, 3 + 1 + 4 + 1},
	}
}

// Whatever is handed over and given back leaves the machine as it was, to the byte; and
// planning writes nothing.
func TestKindsThereAndBack(t *testing.T) {
	for _, c := range kindCases() {
		t.Run(c.name, func(t *testing.T) {
			k := c.boot(t)
			before := string(dump(t, k))
			p := mustPlanRequest(t, k, c.request(t))
			if n := len(k.Writes()); n != 0 {
				t.Fatalf("planning wrote %d times", n)
			}
			h := &assign.Host{FS: k}
			if err := h.Apply(context.Background(), p); err != nil {
				t.Fatal(err)
			}
			if n := len(k.Writes()); n != c.writes {
				t.Errorf("%d writes, want %d: %v", n, c.writes, k.Writes())
			}
			if nodes, err := p.Nodes(k); err != nil || len(nodes) == 0 || slices.ContainsFunc(nodes, func(n string) bool {
				_, err := k.Lstat(n)
				return err != nil && !strings.HasPrefix(n, "dev/bus/usb/") // which a saved machine does not have
			}) {
				t.Errorf("nodes %q, %v", nodes, err)
			}
			if err := h.Undo(p); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(before, string(dump(t, k))); d != "" {
				t.Errorf("not as before:\n%s", d)
			}
			writes := len(k.Writes())
			if err := h.Undo(p); err != nil || len(k.Writes()) != writes {
				t.Errorf("a second time: %v, %d writes", err, len(k.Writes())-writes)
			}
		})
	}
}

// An error of any write of any kind is undone, to the byte.
func TestKindsErrorAtEachWrite(t *testing.T) {
	for _, c := range kindCases() {
		for n := range c.writes {
			errno := []syscall.Errno{syscall.EIO, syscall.EBUSY, syscall.ENODEV, syscall.EINVAL, syscall.EPERM, syscall.EAGAIN, syscall.ENOMEM}[n%7]
			t.Run(fmt.Sprintf("%s/%d", c.name, n+1), func(t *testing.T) {
				k := c.boot(t)
				before := string(dump(t, k))
				p := mustPlanRequest(t, k, c.request(t))
				count := 0
				h := &assign.Host{FS: failing{k, func(string) error {
					if count++; count == n+1 {
						return errno
					}
					return nil
				}}}
				if err := h.Apply(context.Background(), p); !errors.Is(err, errno) {
					t.Errorf("%v, want %v", err, errno)
				}
				if d := cmp.Diff(before, string(dump(t, k))); d != "" {
					t.Errorf("not as before:\n%s", d)
				}
			})
		}
	}
}

// failing is a kernel of which some writes fail.
type failing struct {
	*sim.Kernel
	fail func(name string) error
}

func (f failing) WriteFile(name string, data []byte) error {
	if err := f.fail(name); err != nil {
		return &fs.PathError{Op: "write", Path: "/" + name, Err: err}
	}
	return f.Kernel.WriteFile(name, data)
}

func TestUSBPlan(t *testing.T) {
	k := bootHost(t, "lab-gadgets.txtar")
	p := mustPlanRequest(t, k, assign.Request{USB: []usb.PortPath{port(t, "5-1")}})
	var got []string
	for _, s := range p.Steps {
		got = append(got, fmt.Sprintf("%s %s: %q to %s", s.Bus, s.Device, s.Do.Value, s.Do.File))
		for _, u := range s.Undo {
			got = append(got, fmt.Sprintf("  undo %q to %s until %s", u.Value, u.File, u.After))
		}
	}
	want := []string{
		`usb 5-1: "5-1:1.0" to sys/bus/usb/drivers/cdc_acm/unbind`,
		`  undo "1" to sys/bus/usb/devices/5-1/bConfigurationValue until 5-1:1.0/bInterfaceNumber is 00`,
		`  undo "5-1:1.1" to sys/bus/usb/drivers/cdc_acm/unbind until 5-1:1.1/driver is none`,
		`  undo "5-1:1.0" to sys/bus/usb/drivers/cdc_acm/bind until 5-1:1.0/driver is cdc_acm`,
		`  undo "5-1:1.1" to sys/bus/usb/drivers/cdc_acm/bind until 5-1:1.1/driver is cdc_acm`,
		`usb 5-1: "5-1:1.1" to sys/bus/usb/drivers/cdc_acm/unbind`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if len(p.Identities) != 1 || p.Identities[0].Bus != "usb" || !strings.Contains(p.Identities[0].ID, " number ") || !strings.Contains(p.Identities[0].ID, " descriptors ") {
		t.Errorf("identities %+v", p.Identities)
	}
	if p.USB[0].Node != "dev/bus/usb/005/002" || len(p.USB[0].Interfaces) != 2 {
		t.Errorf("%+v", p.USB)
	}
}

func TestKindsRefusals(t *testing.T) {
	gadgets := func(t *testing.T) *hostfs.Tree { return bootHost(t, "lab-gadgets.txtar").Tree() }
	lab := func(t *testing.T) *hostfs.Tree { return bootHost(t, "lab-intel.txtar").Tree() }
	vfs := func(pf string, n int) assign.Request {
		return assign.Request{VFs: []assign.VFRequest{{Physical: address(t, pf), Count: n}}}
	}
	device := func(path string) assign.Request { return assign.Request{USB: []usb.PortPath{port(t, path)}} }
	mdev := func(parent, kind string) assign.Request {
		return assign.Request{Mediated: []assign.MediatedRequest{{Parent: parent, Type: kind, UUID: mdevUUID}}}
	}
	for _, c := range []struct {
		name    string
		machine func(*testing.T) *hostfs.Tree
		change  func(*hostfs.Tree)
		request assign.Request
		code    laptop.Code
		says    string
	}{
		{"no such USB device", gadgets, nil, device("1-9"), laptop.NotThere, "no such"},
		{"a hub", gadgets, func(m *hostfs.Tree) {
			put(m, "sys/devices/pci0000:00/0000:00:14.0/usb1/1-5/uevent", "DRIVER=usb\nPRODUCT=5e3/608/6060\nTYPE=9/0/1\nBUSNUM=001\nDEVNUM=009\n")
			_ = m.Symlink("../../../devices/pci0000:00/0000:00:14.0/usb1/1-5", "sys/bus/usb/devices/1-5")
		}, device("1-5"), laptop.Bridge, "hub"},
		{"not authorised", gadgets, func(m *hostfs.Tree) {
			_ = m.Remove("sys/bus/usb/devices/1-3:1.0")
			_ = m.Remove("sys/devices/pci0000:00/0000:00:14.0/usb1/1-3/1-3:1.0")
		}, device("1-3"), laptop.NotConfigured, "interfaces"},
		{"claimed by a program", gadgets, func(m *hostfs.Tree) {
			_ = m.Symlink("../../../../../../bus/usb/drivers/usbfs", "sys/devices/pci0000:00/0000:00:14.0/usb1/1-3/1-3:1.0/driver")
			text, _ := m.ReadFile("sys/bus/usb/devices/1-3:1.0/uevent")
			put(m, "sys/devices/pci0000:00/0000:00:14.0/usb1/1-3/1-3:1.0/uevent", "DRIVER=usbfs\n"+string(text))
			put(m, "proc/77/comm", "qemu-system-x86\n")
			_ = m.Symlink("/dev/bus/usb/001/004", "proc/77/fd/9")
			put(m, "proc/1/comm", "init\n")
			_ = m.Mkdir("proc/1/fd")
		}, device("1-3"), laptop.USBClaimed, "qemu-system-x86"},
		{"a mounted stick", gadgets, func(m *hostfs.Tree) {
			const block = "sys/devices/platform/dummy_hcd.5/usb8/8-1/8-1:1.0/host9/target9:0:0/9:0:0:0/block/sdz"
			put(m, block+"/dev", "8:400\n")
			put(m, block+"/uevent", "MAJOR=8\nMINOR=400\nDEVNAME=sdz\nDEVTYPE=disk\n")
			_ = m.Symlink("../../"+strings.TrimPrefix(block, "sys/"), "sys/class/block/sdz")
			put(m, "proc/self/mountinfo", "30 1 8:400 / /media/stick rw - vfat /dev/sdz rw\n")
		}, device("8-1"), laptop.HostDisk, "/media/stick"},
		{"the route", gadgets, func(m *hostfs.Tree) {
			put(m, "proc/net/route", "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\nusb1\t00000000\t0102000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n")
		}, device("6-1"), laptop.DefaultRoute, "route"},
		{"no virtual functions", lab, nil, vfs("0000:01:00.0", 1), laptop.NoVirtual, "has no virtual functions"},
		{"no physical function", lab, nil, vfs("0000:09:00.0", 1), laptop.NoVirtual, "no such"},
		{"too many virtual functions", lab, nil, vfs("0000:05:00.0", 8), laptop.NoVirtual, "at most 7"},
		{"none asked for", lab, nil, vfs("0000:05:00.0", 0), laptop.NoVirtual, "0 were asked for"},
		{"a physical function without a driver", lab, func(m *hostfs.Tree) {
			_ = m.Remove("sys/devices/pci0000:00/0000:00:05.0/0000:05:00.0/driver")
		}, vfs("0000:05:00.0", 1), laptop.NoVirtual, "made by the driver"},
		{"no network", lab, func(m *hostfs.Tree) {
			_ = m.Remove("sys/devices/pci0000:00/0000:00:05.0/0000:05:00.0/net")
		}, assign.Request{VFs: []assign.VFRequest{{Physical: address(t, "0000:05:00.0"), Count: 1, SpoofCheck: "on"}}}, laptop.NoVirtual, "no network interface"},
		{"no remapping", lab, func(m *hostfs.Tree) {
			put(m, "proc/interrupts", " 0: 1 IO-APIC 2-edge timer\n")
		}, vfs("0000:05:00.0", 1), laptop.NoRemapping, ""},
		{"no mediated devices", lab, nil, mdev("0000:00:10.0", "x"), laptop.NoMediated, "no mediated devices"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := c.machine(t)
			if c.change != nil {
				c.change(m)
			}
			_, err := planRequest(t, m, c.request)
			var refused *assign.RefusedError
			if !errors.As(err, &refused) || !errors.Is(err, assign.ErrRefused) {
				t.Fatalf("not refused: %v", err)
			}
			i := slices.IndexFunc(refused.Findings, func(f laptop.Finding) bool { return f.Code == c.code })
			if i < 0 || !strings.Contains(refused.Findings[i].Detail, c.says) {
				t.Errorf("%+v, want %s saying %q", refused.Findings, c.code, c.says)
			}
			// What a device does not make is no question of what is safe.
			cannot := c.code == laptop.NoVirtual || c.code == laptop.NoMediated
			if errors.Is(err, errors.ErrUnsupported) != cannot {
				t.Errorf("errors.ErrUnsupported: %t, want %t", !cannot, cannot)
			}
		})
	}
}

func TestMediatedRefusals(t *testing.T) {
	k := withMediated(t)
	ask := func(kind, uuid string) error {
		_, err := planRequest(t, k, assign.Request{Mediated: []assign.MediatedRequest{{Parent: "0000:00:10.0", Type: kind, UUID: uuid}}})
		return err
	}
	for _, c := range []struct{ kind, uuid, says string }{
		{"nvidia-63", mdevUUID, "no mediated device of the type"},
		{"GVTg_V5_4", "x", "is no UUID"},
	} {
		if err := ask(c.kind, c.uuid); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.kind, err)
		}
	}
	if err := (&assign.Host{FS: k}).Apply(context.Background(), mustPlanRequest(t, k, assign.Request{
		Mediated: []assign.MediatedRequest{{Parent: "0000:00:10.0", Type: "GVTg_V5_4", UUID: mdevUUID}},
	})); err != nil {
		t.Fatal(err)
	}
	if err := ask("GVTg_V5_4", assign.NewUUID()); err == nil || !strings.Contains(err.Error(), "no more of the type") {
		t.Error(err)
	}
}

func TestUUID(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		u := assign.NewUUID()
		if p, err := assign.ParseUUID(strings.ToUpper(u)); err != nil || p != u || u[14] != '4' || seen[u] {
			t.Fatalf("%q: %q, %v", u, p, err)
		}
		seen[u] = true
	}
	for _, bad := range []string{"", "83b8f4f2", mdevUUID + "0", strings.ReplaceAll(mdevUUID, "-", "_")} {
		if u, err := assign.ParseUUID(bad); err == nil {
			t.Errorf("%q is %q", bad, u)
		}
	}
}

// Virtual functions that come into a group with something of the host are destroyed
// again.
func TestVirtualFunctionsWithStrangers(t *testing.T) {
	k := bootHost(t, "lab-nested.txtar")
	before := string(dump(t, k))
	p := mustPlanRequest(t, k, assign.Request{VFs: []assign.VFRequest{{Physical: address(t, "0000:11:00.0"), Count: 2}}})
	err := (&assign.Host{FS: k}).Apply(context.Background(), p)
	var refused *assign.RefusedError
	if !errors.As(err, &refused) || refused.Findings[0].Code != laptop.Companions || !strings.Contains(err.Error(), "0000:11:00.0") {
		t.Errorf("%v", err)
	}
	if d := cmp.Diff(before, string(dump(t, k))); d != "" {
		t.Errorf("not as before:\n%s", d)
	}
}

// What there is already is taken and stays when it is given back, with the settings it
// had.
func TestExistingVirtualFunctions(t *testing.T) {
	k := bootHost(t, "lab-intel.txtar")
	for name, value := range map[string]string{"sys/bus/pci/devices/0000:05:00.0/sriov_numvfs": "3"} {
		if err := k.WriteFile(name, []byte(value)); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.WriteFile("rtnetlink/0000:05:00.0/vf/0/mac", []byte("02:00:00:00:00:09")); err != nil {
		t.Fatal(err)
	}
	before := string(dump(t, k))
	p := mustPlanRequest(t, k, assign.Request{VFs: []assign.VFRequest{{
		Physical: address(t, "0000:05:00.0"), Count: 2, MACs: []net.HardwareAddr{mac(t, "02:00:00:00:00:01")},
	}}})
	if p.VFs[0].Made || len(p.Groups) != 2 || len(p.Devices) != 2 {
		t.Fatalf("%+v", p)
	}
	h := &assign.Host{FS: k}
	if err := h.Apply(context.Background(), p); err != nil {
		t.Fatal(err)
	}
	if got, _ := hostfs.ReadString(k, "rtnetlink/0000:05:00.0/vf/0/mac"); got != "02:00:00:00:00:01" {
		t.Errorf("the address is %q", got)
	}
	// One more is free, and no other can be made.
	_, err := planRequest(t, k, assign.Request{VFs: []assign.VFRequest{{Physical: address(t, "0000:05:00.0"), Count: 2}}})
	if err == nil || !strings.Contains(err.Error(), "of which 1 are free") {
		t.Error(err)
	}
	if err := h.Undo(p); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(before, string(dump(t, k))); d != "" {
		t.Errorf("not as before:\n%s", d)
	}
}
