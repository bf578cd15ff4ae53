package assign_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/laptop"
)

// busy is the machine of w, with a guest that runs with all that is handed out.
func (w world) busy() *assign.Host {
	h := w.host()
	h.InUse = func(iommu.GroupID) error { return syscall.EBUSY }
	return h
}

// The state directory is that of an older time of this boot: of every moment of a hand-over,
// when it has long been finished and a guest runs with the devices. Nothing is written and
// the guest is named. When it does not run any more all is given back, or what is not is
// named with what to do.
func TestFault19OlderStateOfAssigned(t *testing.T) {
	t.Parallel()
	c := tried(t, false)
	states := 0
	from := c.start.clone()
	if err := from.crashes(c.assign, func(where string, older world) {
		w := world{c.assigned.kernel.Clone(), older.disk}
		had, err := w.store().List()
		if err != nil {
			t.Errorf("%s: %v", where, err)
		}
		if len(had) == 0 {
			return // see TestFault19NoState
		}
		states++
		recovered, err := w.store().Recover(t.Context(), w.busy())
		var busy *assign.BusyError
		switch {
		case len(w.kernel.Writes()) > 0:
			t.Errorf("%s: %d writes to devices that a guest runs with", where, len(w.kernel.Writes()))
		case had[0].State == assign.Planning:
			if err == nil || !strings.Contains(err.Error(), "by hand") {
				t.Errorf("%s: what is prepared for a guest is not told of: %v", where, err)
			}
			return
		case had[0].State == assign.Assigned && (err != nil || len(recovered) > 0):
			t.Errorf("%s: %+v, %v", where, recovered, err)
		case had[0].State == assign.Assigning && (!errors.As(err, &busy) || busy.Lease.Guest != c.plan.Guest):
			t.Errorf("%s: %v does not name the guest", where, err)
		}
		c.back(where, w)
	}); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d states", states)
	if states < 50 {
		t.Error("too few to show anything")
	}
}

// The state directory is of a time before the devices were given back: of every moment of
// the release and of before it. Nothing is written, and the lease ends with a word on it.
func TestFault19OlderStateOfReleased(t *testing.T) {
	t.Parallel()
	c := tried(t, false)
	states := 0
	from := c.assigned.clone()
	if err := from.crashes(c.release, func(where string, older world) {
		w := world{c.start.kernel.Clone(), older.disk}
		had, err := w.store().List()
		if err != nil {
			t.Errorf("%s: %v", where, err)
		}
		states++
		recovered, err := w.store().Recover(t.Context(), w.host())
		if err != nil || len(recovered) != len(had) || len(w.kernel.Writes()) > 0 {
			t.Errorf("%s: %d leases, recovered %+v, %v, with %d writes", where, len(had), recovered, err, len(w.kernel.Writes()))
			return
		}
		if len(had) > 0 && had[0].State == assign.Assigned && !strings.Contains(fmt.Sprint(recovered[0].Told), "older copy") {
			t.Errorf("%s: told %q", where, recovered[0].Told)
		}
		if assigned, err := c.state(w); err != nil || assigned {
			t.Errorf("%s: %v, %v", where, assigned, err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d states", states)
	if states < 50 {
		t.Error("too few to show anything")
	}
}

// The state directory is of a time before the hand-over, so nobody knows whose what is
// prepared for a guest is. It is not touched: not by recover, and not by who is handed it,
// to whom it is told.
func TestFault19NoState(t *testing.T) {
	c := tried(t, false)
	w := world{c.assigned.kernel.Clone(), c.start.disk.Clone()}
	recovered, err := w.store().Recover(t.Context(), w.host())
	if err != nil || len(recovered) > 0 {
		t.Errorf("recover: %+v, %v", recovered, err)
	}
	l, err := laptop.Read(w.kernel)
	if err != nil {
		t.Fatal(err)
	}
	p, err := overridden(t, w.kernel, l, assign.Request{Devices: c.plan.Devices[1:2], Companions: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range c.plan.Devices {
		if !strings.Contains(fmt.Sprint(p.Findings), a.String()+" was bound to vfio-pci before, and stays so") {
			t.Errorf("%s is not told of: %v", a, p.Findings)
		}
	}
	if _, err := w.store().Assign(t.Context(), w.host(), take(p)); err != nil {
		t.Error(err)
	}
	if _, ok := c.settle("held by vfio-pci before", w); !ok {
		t.Error("recover has changed something")
	}
	if err := c.release(w.store(), w.host()); err != nil {
		t.Error(err)
	}
	if d := differ(c.assigned.kernel, w.kernel); len(d) > 0 || len(w.kernel.Writes()) > 0 {
		t.Errorf("changed: %v, in %d writes", few(d), len(w.kernel.Writes()))
	}
}

// A lease of before the last boot comes back beside one of now, for the same devices: it is
// dropped, and nothing of the other is touched.
func TestFault19StateOfAnotherBoot(t *testing.T) {
	c := tried(t, false)
	now := *c
	now.start.kernel = machine(t, machines(t)[0], 2)
	now.assigned = now.start.clone()
	if err := c.assign(now.assigned.store(), now.assigned.host()); err != nil {
		t.Fatal(err)
	}
	w := now.assigned.clone()
	name, data := leaseFile(t, c.assigned.disk)
	w.disk.Put(filepath.Clean(name), data)
	recovered, err := w.store().Recover(t.Context(), w.host())
	if err != nil || len(recovered) != 1 || recovered[0].Result != assign.Dropped || len(w.kernel.Writes()) > 0 {
		t.Errorf("recover: %+v, %v, %d writes", recovered, err, len(w.kernel.Writes()))
	}
	if assigned, err := now.state(w); err != nil || !assigned {
		t.Errorf("after recover: %v, %v", assigned, err)
	}
}

// A lease that has ended comes back beside the one that has its devices now. With a guest
// that runs nothing is touched; when all is given back nothing is left of either.
func TestFault19TwoLeases(t *testing.T) {
	c := tried(t, false)
	w := c.assigned.clone()
	name, data := leaseFile(t, w.disk)
	if err := c.release(w.store(), w.host()); err != nil {
		t.Fatal(err)
	}
	if err := c.assign(w.store(), w.host()); err != nil {
		t.Fatal(err)
	}
	w.disk.Put(name, data)
	writes := len(w.kernel.Writes())
	if _, err := w.store().Recover(t.Context(), w.busy()); err != nil {
		t.Errorf("recover: %v", err)
	}
	_, err := w.store().Release(t.Context(), w.busy(), c.plan.Devices[0])
	var busy *assign.BusyError
	if !errors.As(err, &busy) || len(w.kernel.Writes()) > writes {
		t.Errorf("release while a guest runs: %v, %d writes", err, len(w.kernel.Writes())-writes)
	}
	if err := c.release(w.store(), w.host()); err != nil {
		t.Errorf("release: %v", err)
	}
	if assigned, ok := c.settle("afterwards", w); !ok || assigned {
		t.Errorf("after release and recover: assigned is %v", assigned)
	}
}
