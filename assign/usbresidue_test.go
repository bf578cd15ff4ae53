package assign_test

import (
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/sim"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

const (
	stick  = "8-1" // with a serial number, and usb-storage
	typing = "1-1" // a keyboard at the controller 0000:00:14.0
)

// A benchUSB hands USB devices of one machine to one guest after the other.
type benchUSB struct{ *bench }

func newBenchUSB(t *testing.T) benchUSB {
	return benchUSB{newBench(t, bootHost(t, "lab-gadgets.txtar"))}
}

func (b benchUSB) request(r assign.Request, allow ...laptop.Code) error {
	b.Helper()
	r.Allow, r.Companions = append(allow, anything()...), true
	_, err := b.store.Assign(b.Context(), b.host, assign.Taking{Plan: func() (*assign.Plan, error) {
		l, err := laptop.Read(b.host.FS)
		if err != nil {
			return nil, err
		}
		f, err := assign.ReadRequest(b.host.FS, l, r)
		if err != nil {
			return nil, err
		}
		noted, err := b.store.Residues(b.host.FS)
		if err != nil {
			return nil, err
		}
		if err := f.AddResidue(b.host.FS, noted); err != nil {
			return nil, err
		}
		return assign.NewPlan(f, r)
	}})
	return err
}

func (b benchUSB) assign(guest string, locked bool, path string, allow ...laptop.Code) error {
	b.Helper()
	return b.request(assign.Request{Guest: guest, Locked: locked, USB: []usb.PortPath{port(b.T, path)}}, allow...)
}

func (b benchUSB) release(path string) {
	b.Helper()
	if _, err := b.store.ReleaseNamed(b.Context(), b.host, "usb:"+path); err != nil {
		b.Fatal(err)
	}
}

func (b benchUSB) must(guest string, locked bool, path string, allow ...laptop.Code) {
	b.Helper()
	if err := b.assign(guest, locked, path, allow...); err != nil {
		b.Fatal(err)
	}
	b.release(path)
}

func (b benchUSB) expect(code laptop.Code, err error) {
	b.Helper()
	var r *assign.RefusedError
	if !errors.As(err, &r) || !slices.ContainsFunc(r.Findings, func(f laptop.Finding) bool { return f.Code == code }) {
		b.Errorf("%v, want it refused as %s", err, code)
	}
}

func (b benchUSB) state(path string, want assign.Condition) assign.Residue {
	b.Helper()
	noted, err := b.store.Residues(b.host.FS)
	if err != nil {
		b.Fatal(err)
	}
	now, err := assign.ReadUSBFingerprint(b.host.FS, port(b.T, path))
	if err != nil {
		b.Fatal(err)
	}
	r := noted.Of("usb:"+path, now)
	if r.State != want {
		b.Errorf("%s: %s (%+v), want %s", path, r, r, want)
	}
	return r
}

func (b benchUSB) clean(path string, c assign.Cleaning) error {
	b.Helper()
	c.USB = []usb.PortPath{port(b.T, path)}
	c.Group = func(a pci.Address) iommu.GroupID {
		f, err := pci.ReadFunction(b.host.FS, a)
		if err != nil {
			b.Fatal(err)
		}
		return f.Group
	}
	_, err := b.store.Clean(b.Context(), b.host, c)
	return err
}

func (b benchUSB) resets() (values []string) {
	for _, w := range b.kernel.Writes() {
		if strings.HasPrefix(w.Name, "usbfs/") {
			values = append(values, w.Name+"="+string(w.Value))
		}
	}
	return values
}

func (b benchUSB) unbind(interfaceName, driver string) {
	b.Helper()
	if err := b.kernel.WriteFile("sys/bus/usb/drivers/"+driver+"/unbind", []byte(interfaceName)); err != nil {
		b.Fatal(err)
	}
}

// What a guest had of USB is on record before the first write, and reset when it comes back.
func TestUSBResidue(t *testing.T) {
	b := newBenchUSB(t)
	first := true
	b.kernel.Fail = func(string, []byte) error {
		if first {
			first = false
			if r := b.state(stick, assign.Used); len(r.Users) != 1 || r.Users[0].Guest != "play" || r.Device != "usb:"+stick {
				t.Errorf("before the first write it is %+v", r)
			}
		}
		return nil
	}
	before := b.kernel.Tree()
	if err := b.assign("play", false, stick); err != nil || first {
		t.Fatal(err)
	}
	b.state(stick, assign.Used)
	b.release(stick)
	r := b.state(stick, assign.Clean)
	if r.Reset == nil || r.Reset.Method != "usbfs" || len(r.Users) != 0 || r.Fingerprint.Release == "" || len(r.Fingerprint.Descriptors) != 64 || r.Fingerprint.Serial == "" {
		t.Errorf("%+v", r)
	}
	if got := b.resets(); !slices.Equal(got, []string{"usbfs/8-1/reset=008/002"}) {
		t.Errorf("resets: %q", got)
	}
	if d := slices.DeleteFunc(before.Diff(b.kernel.Tree()), func(n string) bool { return n == "sys/kernel/uevent_seqnum" }); len(d) != 0 {
		t.Errorf("not as before: %q", d)
	}
	b.must("work", true, stick)
	b.must("other", false, stick)
}

// A guest that was never handed the device has left nothing in it.
func TestUSBResidueOfUndone(t *testing.T) {
	b := newBenchUSB(t)
	b.kernel.Fail = func(string, []byte) error { return syscall.EIO }
	if err := b.assign("play", false, stick); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	b.kernel.Fail = nil
	b.state(stick, assign.Clean)
	if got := b.resets(); len(got) != 0 {
		t.Errorf("resets: %q", got)
	}
}

// A reset that fails, cannot be made, hangs, or after which the device is another one.
func TestUSBResetFails(t *testing.T) {
	t.Run("error", func(t *testing.T) {
		b := newBenchUSB(t)
		b.kernel.USBReset = func(string) error { return syscall.EIO }
		b.must("play", false, stick)
		b.state(stick, assign.Tainted)
		b.expect(laptop.Tainted, b.assign("play", false, stick))
		b.expect(laptop.LockedResidue, b.assign("work", true, stick, laptop.Tainted))
		b.kernel.USBReset = nil
		if err := b.clean(stick, assign.Cleaning{}); !errors.Is(err, assign.ErrRefused) || !strings.Contains(err.Error(), "usb-storage") {
			t.Errorf("while the host uses it: %v", err)
		}
		b.unbind("8-1:1.0", "usb-storage")
		if err := b.clean(stick, assign.Cleaning{PowerCycled: true}); !errors.Is(err, assign.ErrRefused) {
			t.Errorf("without power while this kernel runs: %v", err)
		}
		if err := b.clean(stick, assign.Cleaning{}); err != nil {
			t.Error(err)
		}
		b.state(stick, assign.Clean)
		b.must("work", true, stick)
	})
	t.Run("quirk", func(t *testing.T) {
		m := bootHost(t, "lab-gadgets.txtar").Tree()
		put(m, "sys/devices/platform/dummy_hcd.5/usb8/8-1/avoid_reset_quirk", "1\n")
		k, err := sim.New(m, sim.Options{VFIO: true})
		if err != nil {
			t.Fatal(err)
		}
		b := benchUSB{newBench(t, k)}
		b.must("play", false, stick)
		if r := b.state(stick, assign.Used); !strings.Contains(r.Reset.String(), "avoid_reset_quirk") || len(b.resets()) != 0 {
			t.Errorf("%+v, resets %q", r, b.resets())
		}
		b.must("play", false, stick)
		b.expect(laptop.UsedBy, b.assign("other", false, stick))
		b.expect(laptop.LockedResidue, b.assign("work", true, stick, laptop.UsedBy))
		b.must("other", false, stick, laptop.UsedBy)
	})
	t.Run("no way", func(t *testing.T) {
		b := newBenchUSB(t)
		b.kernel.Fail = func(name string, _ []byte) error {
			if strings.HasPrefix(name, "usbfs/") {
				return syscall.ENOENT // a host without a broker, or without nodes
			}
			return nil
		}
		b.must("play", false, stick)
		b.state(stick, assign.Used)
	})
	t.Run("hangs", func(t *testing.T) {
		b := newBenchUSB(t)
		if err := b.assign("play", false, stick); err != nil {
			t.Fatal(err)
		}
		b.kernel.Fail = func(name string, _ []byte) error {
			if strings.HasPrefix(name, "usbfs/") {
				return &assign.StuckError{File: name, PID: 7}
			}
			return nil
		}
		begin := len(b.kernel.Writes())
		var partial *assign.PartialError
		if _, err := b.store.ReleaseNamed(t.Context(), b.host, "usb:"+stick); !errors.As(err, &partial) {
			t.Errorf("%v", err)
		}
		if l, err := b.store.HoldingNamed(stick); err != nil || l.State != assign.Stuck || len(b.kernel.Writes()) != begin+1 {
			t.Errorf("%+v, %v, then %v", l, err, b.kernel.Writes()[begin:])
		}
		if r := b.state(stick, assign.Tainted); r.Reset == nil || r.Reset.Verified {
			t.Errorf("%+v", r)
		}
	})
	t.Run("found anew", func(t *testing.T) {
		b := newBenchUSB(t)
		b.kernel.USBReset = func(string) error { return syscall.ENODEV }
		b.must("play", false, stick)
		b.state(stick, assign.Clean)
		if number, err := hostfs.ReadString(b.kernel, "sys/bus/usb/devices/8-1/devnum"); err != nil || number != "3" {
			t.Errorf("number %q, %v", number, err)
		}
	})
	t.Run("found another", func(t *testing.T) {
		b := newBenchUSB(t)
		morphed := false
		b.host.FS = shifter{b.kernel, &morphed}
		b.kernel.USBReset = func(string) error { morphed = true; return syscall.ENODEV }
		b.must("play", false, stick)
		if r := b.state(stick, assign.Tainted); !strings.Contains(r.Detail, "release 0999 instead of") {
			t.Errorf("%+v", r)
		}
		b.expect(laptop.LockedResidue, b.assign("work", true, stick, laptop.Tainted))
	})
}

// A shifter is a host whose stick says of itself that it is of another release.
type shifter struct {
	*sim.Kernel
	now *bool
}

func (s shifter) ReadFile(name string) ([]byte, error) {
	if *s.now && strings.HasSuffix(name, "8-1/bcdDevice") {
		return []byte("0999\n"), nil
	}
	return s.Kernel.ReadFile(name)
}

// Another device in the port of one that a guest had is not given away for new while this
// kernel runs, unless the owner says that it is another one. The first stays known.
func TestUSBAnotherInPort(t *testing.T) {
	b := newBenchUSB(t)
	other := false
	b.host.FS = shifter{b.kernel, &other}
	if err := b.assign("play", false, stick); err != nil {
		t.Fatal(err)
	}
	if err := b.kernel.UnplugUSB(stick); err != nil {
		t.Fatal(err)
	}
	b.release(stick)
	if err := b.kernel.PlugUSB(stick); err != nil {
		t.Fatal(err)
	}
	b.state(stick, assign.Used)
	b.expect(laptop.LockedResidue, b.assign("work", true, stick, laptop.UsedBy))
	other = true
	b.state(stick, assign.Tainted)
	b.expect(laptop.LockedResidue, b.assign("work", true, stick))
	b.unbind("8-1:1.0", "usb-storage")
	if err := b.clean(stick, assign.Cleaning{}); err != nil {
		t.Fatal(err)
	}
	b.state(stick, assign.Tainted)
	if err := b.clean(stick, assign.Cleaning{AsNew: true}); err != nil {
		t.Fatal(err)
	}
	b.state(stick, assign.Clean)
	b.must("work", true, stick)
	other = false
	if r := b.state(stick, assign.Tainted); len(r.Users) == 0 || r.Users[0].Guest != "play" {
		t.Errorf("the first is forgotten: %+v", r)
	}
}

// Who gets a USB controller gets what hangs on it.
func TestUSBResidueBehindController(t *testing.T) {
	b := newBenchUSB(t)
	b.kernel.USBReset = func(string) error { return syscall.EIO }
	b.must("play", false, typing)
	controller := assign.Request{Guest: "work", Locked: true, Devices: []pci.Address{address(t, "0000:00:14.0")}}
	b.expect(laptop.LockedResidue, b.request(controller, laptop.Tainted))
}

// Guests without a name of their own are never the same guest.
func TestUnnamedGuests(t *testing.T) {
	for _, name := range []string{"", assign.Unnamed} {
		b := newBenchUSB(t)
		quirk := "sys/devices/platform/dummy_hcd.5/usb8/8-1/avoid_reset_quirk"
		m := b.kernel.Tree()
		put(m, quirk, "1\n")
		k, err := sim.New(m, sim.Options{VFIO: true})
		if err != nil {
			t.Fatal(err)
		}
		b.boots(k)
		b.must(name, false, stick)
		b.expect(laptop.UsedBy, b.assign(name, false, stick))
		put(m, quirk, "0\n")
		if k, err = sim.New(m, sim.Options{VFIO: true}); err != nil {
			t.Fatal(err)
		}
		b.boots(k)
		b.expect(laptop.UsedBy, b.assign(name, false, stick))
		b.unbind("8-1:1.0", "usb-storage")
		if err := b.clean(stick, assign.Cleaning{}); err != nil {
			t.Fatal(err)
		}
		b.must(name, false, stick)
		b.must(name, false, stick)
	}
}
