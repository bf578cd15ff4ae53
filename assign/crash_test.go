package assign_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/internal/journal/journaltest"
	"github.com/project-independence/indy/internal/sim"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
)

// A world is a machine and a disk.
type world struct {
	kernel *sim.Kernel
	disk   *journaltest.Disk
}

func (w world) clone() world { return world{w.kernel.Clone(), w.disk.Clone()} }

func (w world) store() *assign.Store {
	s := &assign.Store{Dir: memory + "/leases", StateDir: memory + "/state"}
	s.SetDisk(w.disk)
	return s
}

// memory is a directory that the host does not have: only the disk in memory does.
const memory = "/indy-in-memory"

// host is the machine of w, on which there never is anything to wait for.
func (w world) host() *assign.Host {
	return &assign.Host{
		FS: w.kernel, Pause: func(context.Context, time.Duration) { panic("waited on a machine that does all at once") },
		ResetBus: w.resetBus,
	}
}

// resetBus resets the bus of functions that can all be opened, as the command does.
func (w world) resetBus(functions []pci.Address) error {
	for _, a := range functions {
		if d, err := pci.Driver(w.kernel, a); err != nil || d != assign.VFIODriver {
			return fmt.Errorf("open %s: %w", a, syscall.ENODEV)
		}
	}
	return nil
}

// left returns what is noted of what guests have left in the functions of the plan.
func (c *trial) left(w world) map[string]assign.Condition {
	noted, err := w.store().Residues(w.kernel)
	if err != nil {
		c.Error(err)
		return nil
	}
	conditions := map[string]assign.Condition{}
	for _, r := range noted.All() {
		conditions[r.Device] = r.State
	}
	return conditions
}

// An act is something that may be crashed.
type act func(*assign.Store, *assign.Host) error

func recoverAct(s *assign.Store, h *assign.Host) error {
	_, err := s.Recover(context.Background(), h)
	return err
}

// told is a kernel that tells of a write before it is made.
type told struct {
	*sim.Kernel
	before func(name string)
}

func (k told) WriteFile(name string, data []byte) error {
	k.before(name)
	return k.Kernel.WriteFile(name, data)
}

// crashes acts in w, and calls visit with every state in which a crash may leave it: before
// and after each operation that changes the machine or the disk and in the midst of it,
// whatever the disk then keeps of what was not synced. Each state is visited once. What is
// visited is a copy, so nothing that the act does after the crash is seen in it; that what
// it does is not finished is the same as that it is killed.
func (w world) crashes(do act, visit func(where string, left world)) error {
	var seen []*journaltest.Disk // since the machine was changed
	at := func(where string, op journaltest.Op) {
		for _, c := range w.disk.Crashes(op) {
			if slices.ContainsFunc(seen, c.Disk.Same) {
				continue
			}
			seen = append(seen, c.Disk.Clone())
			visit(where+", "+c.Kind, world{w.kernel.Clone(), c.Disk})
		}
	}
	w.disk.Before = func(op journaltest.Op) error { at("before "+op.String(), op); return nil }
	h := w.host()
	h.FS = told{w.kernel, func(name string) {
		at("before write /"+name, journaltest.Op{})
		seen = nil
	}}
	err := do(w.store(), h)
	w.disk.Before = nil
	seen = nil // those that come last are those at the end
	at("at the end", journaltest.Op{})
	return err
}

// A trial is one plan on one machine, and what may be left of it.
type trial struct {
	*testing.T
	plan            *assign.Plan
	run             bool  // the lease is to be given back when its process has ended
	start, assigned world // nothing handed out, all handed out
	releasing       bool  // all was handed out, and is given back

	// What is noted of the functions after a release.
	released map[string]assign.Condition
	other    int // leases that are there all the time
	count    counts
}

type counts struct{ single, double, triple, boots, again int }

func (c *counts) total() int { return c.single + c.double + c.triple + c.boots }

func (c *counts) add(d counts) {
	c.single += d.single
	c.double += d.double
	c.triple += d.triple
	c.boots += d.boots
	c.again += d.again
}

// differ returns what is not the same on two machines, without the count of events and what
// the idle time of a function decides.
func differ(a, b *sim.Kernel) []string {
	return slices.DeleteFunc(a.Tree().Diff(b.Tree()), func(name string) bool {
		return name == "sys/kernel/uevent_seqnum" || strings.HasSuffix(name, "/power/runtime_status")
	})
}

// state says in which of its two states a world is, with leases that say so, or what is
// wrong with it.
func (c *trial) state(w world) (assigned bool, err error) {
	leases, err := w.store().List()
	if err != nil {
		return false, err
	}
	var states []string
	for _, l := range leases {
		states = append(states, l.Name()+" "+string(l.State))
		if l.State != assign.Assigned {
			return false, fmt.Errorf("leases: %v", states)
		}
	}
	undone, done := differ(c.start.kernel, w.kernel), differ(c.assigned.kernel, w.kernel)
	switch {
	case len(leases) == c.other && len(undone) == 0:
		return false, nil
	case len(leases) == c.other+1 && len(done) == 0:
		return true, nil
	}
	return false, fmt.Errorf("leases: %v; not as at the start: %v; not as assigned: %v", states, few(undone), few(done))
}

func few(names []string) []string { return names[:min(len(names), 6)] }

// settle recovers w and returns in which of the two states it is then.
func (c *trial) settle(where string, w world) (assigned, ok bool) {
	if err := recoverAct(w.store(), w.host()); err != nil {
		c.Errorf("%s: recover: %v", where, err)
		return false, false
	}
	assigned, err := c.state(w)
	if err != nil {
		c.Errorf("%s: after recover: %v", where, err)
	}
	if assigned && c.run {
		c.Errorf("%s: a run that has ended keeps its devices", where)
	}
	if err == nil && !assigned {
		c.checkLeft(where, w)
	}
	return assigned, err == nil
}

// checkLeft compares what is noted of the functions with what is after a release that ends
// by itself. A hand-over that did not come to its end leaves nothing.
func (c *trial) checkLeft(where string, w world) {
	left := c.left(w)
	for a, want := range c.released {
		if is := left[a]; is != want && (c.releasing || is != assign.Clean && is != "") {
			c.Errorf("%s: %s is %s, and %s after a release that nobody interrupts", where, a, cmp.Or(is, "not noted"), want)
		}
	}
}

// afterwards shows that the world is good to go on with: recovering again changes nothing,
// and all can be handed out and taken back.
func (c *trial) afterwards(where string, w world, assigned bool) {
	c.count.again++
	before := len(w.kernel.Writes())
	if _, ok := c.settle(where+", again", w); !ok || len(w.kernel.Writes()) != before {
		c.Errorf("%s: recovering again wrote %d times", where, len(w.kernel.Writes())-before)
	}
	if !assigned {
		if err := c.assign(w.store(), w.host()); err != nil {
			c.Errorf("%s: assign after recover: %v", where, err)
			return
		}
	}
	if !c.run {
		if assigned, err := c.state(w); err != nil || !assigned {
			c.Errorf("%s: assigned after recover: %v, %v", where, assigned, err)
		}
	}
	if err := c.release(w.store(), w.host()); err != nil {
		c.Errorf("%s: release after recover: %v", where, err)
	} else if assigned, err := c.state(w); err != nil || assigned {
		c.Errorf("%s: released after recover: %v, %v", where, assigned, err)
	}
}

func (c *trial) assign(s *assign.Store, h *assign.Host) error {
	t := take(c.plan)
	t.Run = c.run
	_, err := s.Assign(context.Background(), h, t)
	return err
}

func (c *trial) release(s *assign.Store, h *assign.Host) error {
	_, err := s.ReleaseNamed(context.Background(), h, c.plan.Names()[0])
	return err
}

// A thinning says how many of the points are looked at more closely: each so many.
type thinning struct{ double, triple, boot, again int }

// crash tries every crash of do, which leads from one state to another, from both of which
// what it leaves is to be recovered to one.
func (c *trial) crash(name string, from world, do act, thin thinning, reboot func(where string, w world)) {
	to := from.clone()
	var assigned, whole bool
	err := to.crashes(do, func(where string, left world) {
		where = name + ": " + where
		c.count.single++
		n := c.count.single
		if n%thin.boot == 0 {
			reboot(where, left.clone())
		}
		if n%thin.double == 0 {
			c.double(where, left.clone(), thin)
		}
		assigned, whole = c.settle(where, left)
		if whole && n%thin.again == 0 {
			c.afterwards(where, left, assigned)
		}
	})
	if err != nil {
		c.Errorf("%s: %v", name, err)
		return
	}
	// What it was told is done stays done; the last states visited are those at its end.
	if want, err := c.state(to); err != nil || whole && want != assigned && !c.run {
		c.Errorf("%s: assigned is %v, %v; and after a crash then %v", name, want, err, assigned)
	}
}

// double crashes the recovering of what a crash has left.
func (c *trial) double(where string, left world, thin thinning) {
	err := left.crashes(recoverAct, func(then string, left world) {
		then = where + "; then " + then
		c.count.double++
		n := c.count.double
		if n%thin.triple == 0 {
			third := left.clone()
			if err := third.crashes(recoverAct, func(last string, left world) {
				c.count.triple++
				c.settle(then+"; then "+last, left)
			}); err != nil {
				c.Errorf("%s: recover: %v", then, err)
			}
		}
		if assigned, ok := c.settle(then, left); ok && n%(thin.again*7) == 0 {
			c.afterwards(then, left, assigned)
		}
	})
	if err != nil {
		c.Errorf("%s: recover: %v", where, err)
	}
}

// plans returns every plan of one group that can be made on a machine, with all that can be
// overridden, and one of all those groups at once.
func plans(t *testing.T, fsys hostfs.FS) []*assign.Plan {
	t.Helper()
	l, err := laptop.Read(fsys)
	if err != nil {
		t.Fatal(err)
	}
	var all []*assign.Plan
	every := assign.Request{Guest: "all", Companions: true}
	for _, g := range l.Groups {
		for _, a := range g.Devices {
			p, err := overridden(t, fsys, l, assign.Request{Guest: "test", Companions: true, Devices: []pci.Address{a}})
			if err == nil && len(p.Steps) > 0 {
				all = append(all, p)
				every.Devices = append(every.Devices, a)
				break // those of the others in the group are the same
			}
		}
	}
	p, err := overridden(t, fsys, l, every)
	if err != nil {
		t.Fatal(err)
	}
	return append(all, p)
}

// overridden plans a request with all that can be overridden.
func overridden(t *testing.T, fsys hostfs.FS, l *laptop.Laptop, r assign.Request) (*assign.Plan, error) {
	t.Helper()
	for {
		facts, err := assign.Read(fsys, l, r.Devices)
		if err != nil {
			t.Fatal(err)
		}
		p, err := assign.NewPlan(facts, r)
		var refused *assign.RefusedError
		if !errors.As(err, &refused) {
			return p, err
		}
		allowed := len(r.Allow)
		for _, f := range refused.Findings {
			if f.Code.Overridable() && !slices.Contains(r.Allow, f.Code) {
				r.Allow = append(r.Allow, f.Code)
			}
		}
		if len(r.Allow) == allowed {
			return nil, err
		}
	}
}

const bootID = "proc/sys/kernel/random/boot_id"

// machine is a machine in its n-th boot.
func machine(t *testing.T, file string, n int) *sim.Kernel {
	t.Helper()
	saved, err := hostfs.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	return nthBoot(t, saved.(*hostfs.Tree), n)
}

func nthBoot(t *testing.T, m *hostfs.Tree, n int) *sim.Kernel {
	t.Helper()
	if err := m.Put(bootID, fmt.Appendf(nil, "00000000-0000-4000-8000-%012d\n", n)); err != nil {
		t.Fatal(err)
	}
	k, err := sim.New(m, sim.Options{VFIO: true})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func machines(t *testing.T) []string {
	return []string{
		filepath.Join(hosttest.Root(t), "testdata", "hosts", "lab-intel.txtar"), // a group of three functions
		hosttest.Shared(t, "hosts", "thinkpad-t14sg1-amd-coaxmetal.txtar"),      // groups of five, eight and nine
		hosttest.Shared(t, "hosts", "framework13-intel13-A6-turingmachine.txtar"),
	}
}

// TestCrashPoints crashes assign and release of every plan of three machines at each of
// their operations, and recovering from that, and recovering from what that left: all
// devices are then where they were, or all are handed over and in a lease.
func TestCrashPoints(t *testing.T) {
	var mu sync.Mutex
	var count counts
	began := time.Now()
	planned, tried := 0, 0
	t.Run("machines", func(t *testing.T) {
		try := func(name string, first, second *sim.Kernel, p *assign.Plan, run bool) {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				c := &trial{T: t, plan: p, run: run}
				c.start = world{first.Clone(), journaltest.New()}
				// What a second crash costs grows with the square of the plan.
				closer := max(1, len(p.Steps)*len(p.Steps)/3)
				c.try(second, thinning{double: closer, triple: 40 * closer, boot: 10, again: 20})
				t.Logf("%d steps: %+v", len(p.Steps), c.count)
				mu.Lock()
				defer mu.Unlock()
				count.add(c.count)
				tried++
			})
		}
		for n, file := range machines(t) {
			first, second := machine(t, file, 1), machine(t, file, 2)
			all := plans(t, first)
			if n > 0 {
				all = all[:len(all)-1] // of one machine everything at once is enough
			}
			planned += len(all)
			for i, p := range all {
				name := strings.TrimSuffix(filepath.Base(file), ".txtar") + "/" + p.Guest + "-" + p.Devices[0].String()
				try(name, first, second, p, i%5 == 4)
			}
		}
		for _, kind := range kindCases() {
			if kind.writes == 0 {
				continue
			}
			planned++
			m := kind.boot(t).Tree()
			first := nthBoot(t, m, 1)
			try("kinds/"+kind.name, first, nthBoot(t, m, 2), mustPlanRequest(t, first, kind.request(t)), false)
		}
	})
	t.Logf("crash points: %d (single %d, double %d, triple %d, followed by a reboot %d) in %.1f s; gone on with: %d", count.total(),
		count.single, count.double, count.triple, count.boots, time.Since(began).Seconds(), count.again)
	if _, err := os.Lstat(memory); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something was written past the disk in memory: %v", err)
	}
	if tried == planned && (count.total() < 20000 || count.double < 2000) {
		t.Error("that is fewer than 20000, or than 2000 double ones")
	}
}

// try crashes the assigning and the releasing of the trial's plan. next is the machine as it
// starts anew.
func (c *trial) try(next *sim.Kernel, thin thinning) {
	c.assigned = c.start.clone()
	if err := c.assign(c.assigned.store(), c.assigned.host()); err != nil {
		c.Fatal(err)
	}
	for _, a := range c.plan.Devices {
		if d, err := pci.Driver(c.assigned.kernel, a); d != assign.VFIODriver {
			c.Fatalf("%s has the driver %q, %v", a, d, err)
		}
	}
	reboot := func(where string, w world) { c.reboot(where, w, next) }
	back := c.assigned.clone()
	if err := c.release(back.store(), back.host()); err != nil {
		c.Fatal(err)
	}
	c.released = c.left(back)
	c.crash("assign", c.start, c.assign, thin, reboot)
	c.releasing = true
	c.crash("release", c.assigned, c.release, thin, reboot)
}

// reboot starts the machine anew after a crash, with what is on its disk and without: its
// own drivers have its devices, nothing is written, and a lease that was there is told of.
func (c *trial) reboot(where string, w world, next *sim.Kernel) {
	for _, kept := range []bool{true, false} {
		c.count.boots++
		again := world{next.Clone(), journaltest.New()}
		var had []assign.Lease
		if kept {
			again.disk = w.disk
			had, _ = again.store().List()
		}
		recovered, err := again.store().Recover(c.Context(), again.host())
		leases, listed := again.store().List()
		switch d := differ(next, again.kernel); {
		case err != nil || listed != nil:
			c.Errorf("%s: recover after a reboot: %v, %v", where, err, listed)
		case len(leases) > 0 || len(again.kernel.Writes()) > 0 || len(d) > 0:
			c.Errorf("%s: after a reboot: leases %v, %d writes, changed %v", where, leases, len(again.kernel.Writes()), few(d))
		case len(recovered) != len(had):
			c.Errorf("%s: after a reboot %d leases were told of, and there were %d", where, len(recovered), len(had))
		}
	}
}
