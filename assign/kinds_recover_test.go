package assign_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/sim"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

// mortal is a host under which the process is killed at its nth write: before the write
// was made, or after. With n 0 it counts the writes.
type mortal struct {
	hostfs.FS
	n, count int
	after    bool
}

func (m *mortal) WriteFile(name string, data []byte) error {
	m.count++
	if m.count == m.n && !m.after {
		runtime.Goexit()
	}
	err := m.FS.WriteFile(name, data)
	if m.count == m.n {
		runtime.Goexit() // as the kernel does, this lets go of locks
	}
	return err
}

func (m *mortal) ReadFile(name string) ([]byte, error)       { return fs.ReadFile(m.FS, name) }
func (m *mortal) ReadDir(name string) ([]fs.DirEntry, error) { return fs.ReadDir(m.FS, name) }
func (m *mortal) ReadLink(name string) (string, error)       { return fs.ReadLink(m.FS, name) }
func (m *mortal) Lstat(name string) (fs.FileInfo, error)     { return fs.Lstat(m.FS, name) }
func (m *mortal) Stat(name string) (fs.FileInfo, error)      { return fs.Stat(m.FS, name) }

// killAtEachWrite hands over and gives back, killed at each write of the one and then of
// the other, and recovers; then check looks at the machine. Of when there is false for
// before the write, and true for after it. It returns how often it was killed.
func killAtEachWrite(t *testing.T, when []bool, boot func() hostfs.FS, plan func(hostfs.FS) *assign.Plan, check func(where string, host hostfs.FS)) int {
	t.Helper()
	points := 0
	for _, what := range []string{"assign", "release"} {
		for _, after := range when {
			for n := 1; ; n++ {
				where := fmt.Sprintf("killed at write %d of %s, after it: %v", n, what, after)
				host := boot()
				store := &assign.Store{Dir: t.TempDir()}
				whole := &assign.Host{FS: host}
				p := plan(host)
				if what == "release" {
					if _, err := store.Assign(t.Context(), whole, take(p)); err != nil {
						t.Fatalf("%s: %v", where, err)
					}
				}
				died := killed(func() {
					h := &assign.Host{FS: &mortal{FS: host, n: n, after: after}}
					var err error
					if what == "assign" {
						_, err = store.Assign(t.Context(), h, take(p))
					} else {
						_, err = store.ReleaseNamed(t.Context(), h, p.Names()[0])
					}
					if err != nil {
						t.Errorf("%s: %v", where, err)
					}
				})
				if !died {
					if what == "assign" {
						if _, err := store.ReleaseNamed(t.Context(), whole, p.Names()[0]); err != nil {
							t.Errorf("%s: %v", where, err)
						}
						check("never killed", host)
					}
					break
				}
				points++
				recovered, err := store.Recover(t.Context(), whole)
				if err != nil || len(recovered) != 1 || recovered[0].Result != assign.GivenBack {
					t.Errorf("%s: %+v, %v", where, recovered, err)
				}
				check(where, host)
				if left, err := store.List(); len(left) > 0 || err != nil {
					t.Errorf("%s: left %+v, %v", where, left, err)
				}
				if t.Failed() {
					return points
				}
			}
		}
	}
	return points
}

func TestKindsRecover(t *testing.T) {
	for _, c := range kindCases() {
		if c.writes == 0 {
			continue // nothing to be killed at
		}
		t.Run(c.name, func(t *testing.T) {
			before := string(dump(t, c.boot(t)))
			points := killAtEachWrite(t, []bool{false, true},
				func() hostfs.FS { return c.boot(t) },
				func(host hostfs.FS) *assign.Plan { return mustPlanRequest(t, host, c.request(t)) },
				func(where string, host hostfs.FS) {
					if d := cmp.Diff(before, string(dump(t, host.(*sim.Kernel)))); d != "" {
						t.Errorf("%s: not as before:\n%s", where, d)
					}
				})
			if points < 2*c.writes+2 {
				t.Errorf("killed at %d points only", points)
			}
			t.Logf("killed at %d points", points)
		})
	}
}

// A device that is plugged in anew is another one: nothing is written to it, neither of a
// plan nor to give it back.
func TestUSBReplugged(t *testing.T) {
	replug := func(k *sim.Kernel) {
		t.Helper()
		if err := errors.Join(k.UnplugUSB("5-1"), k.PlugUSB("5-1")); err != nil {
			t.Fatal(err)
		}
	}
	request := assign.Request{USB: []usb.PortPath{port(t, "5-1")}}

	k := bootHost(t, "lab-gadgets.txtar")
	p := mustPlanRequest(t, k, request)
	replug(k)
	store := &assign.Store{Dir: t.TempDir()}
	if _, err := store.Assign(t.Context(), &assign.Host{FS: k}, take(p)); !errors.Is(err, assign.ErrOtherDevice) || len(k.Writes()) != 0 {
		t.Errorf("assign: %v, %v", err, k.Writes())
	}

	k = bootHost(t, "lab-gadgets.txtar")
	if _, err := store.Assign(t.Context(), &assign.Host{FS: k}, take(mustPlanRequest(t, k, request))); err != nil {
		t.Fatal(err)
	}
	replug(k)
	writes := len(k.Writes())
	var told []string
	h := &assign.Host{FS: k, Told: func(line string) { told = append(told, line) }}
	if _, err := store.ReleaseNamed(t.Context(), h, "5-1"); err != nil || len(k.Writes()) != writes {
		t.Errorf("release: %v, %v", err, k.Writes()[writes:])
	}
	if len(told) != 1 || !strings.Contains(told[0], "device changed under its address") {
		t.Errorf("told %q", told)
	}

	k = bootHost(t, "lab-gadgets.txtar")
	if _, err := store.Assign(t.Context(), &assign.Host{FS: k}, take(mustPlanRequest(t, k, request))); err != nil {
		t.Fatal(err)
	}
	if err := k.UnplugUSB("5-1"); err != nil {
		t.Fatal(err)
	}
	told = nil
	h.FS = k
	if _, err := store.ReleaseNamed(t.Context(), h, "usb:5-1"); err != nil || len(told) != 1 || !strings.Contains(told[0], "device lost") {
		t.Errorf("release of what has gone: %v, told %q", err, told)
	}
}

// A guest may set another configuration; the one there was comes back, with its drivers.
func TestUSBConfigurationComesBack(t *testing.T) {
	k := bootHost(t, "lab-gadgets.txtar")
	before := string(dump(t, k))
	store := &assign.Store{Dir: t.TempDir()}
	h := &assign.Host{FS: k}
	if _, err := store.Assign(t.Context(), h, take(mustPlanRequest(t, k, assign.Request{USB: []usb.PortPath{port(t, "12-2")}}))); err != nil {
		t.Fatal(err)
	}
	if err := k.WriteFile("sys/bus/usb/devices/12-2/bConfigurationValue", []byte("0")); err != nil {
		t.Fatal(err)
	}
	if _, err := store.ReleaseNamed(t.Context(), h, "12-2"); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(before, string(dump(t, k))); d != "" {
		t.Errorf("not as before:\n%s", d)
	}
}

// An interface that a program has is not taken from it.
func TestUSBInUse(t *testing.T) {
	k := bootHost(t, "lab-gadgets.txtar")
	store := &assign.Store{Dir: t.TempDir()}
	if _, err := store.Assign(t.Context(), &assign.Host{FS: k}, take(mustPlanRequest(t, k, assign.Request{USB: []usb.PortPath{port(t, "5-1")}}))); err != nil {
		t.Fatal(err)
	}
	m := k.Tree()
	const dir = "sys/devices/platform/dummy_hcd.2/usb5/5-1/5-1:1.0"
	if err := m.Symlink("../../../../../../bus/usb/drivers/usbfs", dir+"/driver"); err != nil {
		t.Fatal(err)
	}
	taken, err := sim.New(m, sim.Options{VFIO: true})
	if err != nil {
		t.Fatal(err)
	}
	var busy *assign.BusyError
	_, err = store.ReleaseNamed(t.Context(), &assign.Host{FS: taken}, "5-1")
	if !errors.As(err, &busy) || !strings.Contains(err.Error(), "/dev/bus/usb/005/002") || !strings.Contains(err.Error(), "5-1:1.0") || len(taken.Writes()) != 0 {
		t.Errorf("%v, %v", err, taken.Writes())
	}
}

// Who holds what keeps others from all that is tied to it.
func TestKindsClaims(t *testing.T) {
	k := withMediated(t)
	store := &assign.Store{Dir: t.TempDir()}
	h := &assign.Host{FS: k}
	pf := address(t, "0000:05:00.0")
	keyboard := assign.Request{USB: []usb.PortPath{port(t, "1-1")}}
	tablet := assign.Request{USB: []usb.PortPath{port(t, "1-2")}}
	controller := assign.Request{Devices: []pci.Address{address(t, "0000:00:14.0")}, Companions: true}
	vfs := assign.Request{VFs: []assign.VFRequest{{Physical: pf, Count: 2, MACs: []net.HardwareAddr{mac(t, "02:00:00:00:00:01")}}}}
	mdev := assign.Request{Mediated: []assign.MediatedRequest{{Parent: "0000:00:10.0", Type: "GVTg_V5_4", UUID: mdevUUID}}}
	whole := assign.Request{Devices: []pci.Address{address(t, "0000:00:10.0")}, Companions: true}
	hold := func(r assign.Request) *assign.Lease {
		t.Helper()
		l, err := store.Assign(t.Context(), h, take(mustPlanRequest(t, k, r)))
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	refused := func(r assign.Request, key string) {
		t.Helper()
		var held *assign.HeldError
		p := mustPlanRequest(t, withMediated(t), r)
		if _, err := store.Assign(t.Context(), h, take(p)); !errors.As(err, &held) || held.Claim.Key() != key {
			t.Errorf("%v, want %s held", err, key)
		}
	}
	free := func(name string) {
		t.Helper()
		if _, err := store.ReleaseNamed(t.Context(), h, name); err != nil {
			t.Fatal(err)
		}
	}

	l := hold(keyboard)
	if !slices.Equal(l.Names(), []string{"usb:1-1"}) || l.Name() != "usb:1-1" {
		t.Errorf("names %q", l.Names())
	}
	refused(keyboard, "usb 1-1")
	refused(controller, "group 7")
	hold(tablet) // another device of the same controller
	free("1-1")
	refused(controller, "group 7")
	free("usb:1-2")

	hold(vfs)
	refused(vfs, "vfs 0000:05:00.0")
	refused(assign.Request{Devices: []pci.Address{pf}}, "vfs 0000:05:00.0")
	free("0000:05:10.2")

	hold(mdev)
	refused(whole, "group 6")
	free(mdevUUID)
	if left, err := store.List(); len(left) > 0 || err != nil {
		t.Errorf("left %v, %v", left, err)
	}
}
