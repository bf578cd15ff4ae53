package fakehost_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/fakehost"
	"github.com/project-independence/indy/internal/sim"
)

// A scenario is a hand-over that is interrupted.
type scenario struct {
	name    string
	prepare [][2]string // file below sys/bus/pci and what is written to it before
	assign  []string    // arguments
	files   bool        // it is killed at what it does to its own files, too
}

func scenarios() []scenario {
	return []scenario{
		{name: "ethernet", assign: []string{"0000:01:00.0"}, files: true},
		{name: "disk", assign: []string{"0000:02:00.0", "--allow", "host-disk-unknown"}},
		{name: "two behind a bridge", assign: []string{"0000:04:01.0", "--with-companions"}, files: true},
		{name: "group of three", assign: []string{"0000:00:1f.3", "--with-companions", "--allow", "host-disk-unknown,no-reset"}},
		{name: "prior override", prepare: [][2]string{{"devices/0000:05:00.0/driver_override", "igb"}}, assign: []string{"0000:05:00.0"}},
		{name: "no driver", prepare: [][2]string{{"drivers/igb/unbind", "0000:05:00.0"}}, assign: []string{"0000:05:00.0"}},
	}
}

// A phase is the command that is killed, on a host that before has made ready.
type phase struct {
	name   string
	before func(*testing.T, *bench) // on the scenario's kernel
	args   []string
}

func phases(s scenario) []phase {
	assign := append([]string{"assign"}, s.assign...)
	assigned := func(t *testing.T, b *bench) { b.must(t, assign...) }
	return []phase{
		{"assign", func(*testing.T, *bench) {}, assign},
		{"release", assigned, []string{"release", s.assign[0]}},
		{"recover of an assign", func(t *testing.T, b *bench) {
			b.killAt(t, point{"write /sys/bus/pci/drivers_probe", 0, after, false}, assign...)
		}, []string{"recover"}},
		{"recover of a release", func(t *testing.T, b *bench) {
			b.must(t, assign...)
			b.killAt(t, point{"write /sys/bus/pci/drivers/vfio-pci/unbind", 0, after, false}, "release", s.assign[0])
		}, []string{"recover"}},
	}
}

// A moment is when in an operation the process is killed.
type moment string

const (
	before moment = "before"
	after  moment = "after"
	torn   moment = "torn"     // when half of it was written
	orphan moment = "orphaned" // before, but another process is at it and does it all the same
)

// A point is one place at which a process is killed.
type point struct {
	op     string // as Op.String says
	nth    int    // of those, from 0
	moment moment
	state  bool // at a file of its own, not at the kernel
}

func (p point) String() string { return fmt.Sprintf("%s #%d %s", p.op, p.nth+1, p.moment) }

// A bench is a host on which one command runs at a time.
type bench struct {
	*fakehost.Host
	landed atomic.Int64  // when the write of a process that was left behind was made, in nanoseconds; 0 for none
	late   *atomic.Int64 // how many were made after the next command had begun
}

func (b *bench) run(t *testing.T, args ...string) fakehost.Result {
	t.Helper()
	r, err := b.Run("indy", args...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (b *bench) must(t *testing.T, args ...string) fakehost.Result {
	t.Helper()
	r := b.run(t, args...)
	if r.Code != 0 {
		t.Fatalf("indy %s: %+v", strings.Join(args, " "), r)
	}
	return r
}

// points runs a command to its end and returns where it can be killed.
func (b *bench) points(t *testing.T, args ...string) []point {
	t.Helper()
	var mu sync.Mutex
	var all []point
	seen := map[string]int{}
	b.SetHook(func(o fakehost.Op) fakehost.Fault {
		mu.Lock()
		defer mu.Unlock()
		name := o.String()
		// After an operation on a file is before the next one, as far as anybody sees.
		moments := []moment{before, after, orphan}
		switch {
		case o.State() && o.Kind == "write":
			moments = []moment{before, torn}
		case o.State():
			moments = []moment{before}
		}
		for _, m := range moments {
			all = append(all, point{name, seen[name], m, o.State()})
		}
		seen[name]++
		return fakehost.Fault{}
	})
	defer b.SetHook(nil)
	b.must(t, args...)
	mu.Lock()
	defer mu.Unlock()
	return all
}

// killAt runs a command that is killed at p.
func (b *bench) killAt(t *testing.T, p point, args ...string) {
	t.Helper()
	var mu sync.Mutex
	seen := 0
	cmd := b.Command("indy", args...)
	started := make(chan struct{})
	b.SetHook(func(o fakehost.Op) fakehost.Fault {
		mu.Lock()
		defer mu.Unlock()
		if o.String() != p.op {
			return fakehost.Fault{}
		}
		if seen++; seen != p.nth+1 {
			return fakehost.Fault{}
		}
		return fatal(p.moment, o, &b.landed, func() (alone bool) {
			<-started
			pid := cmd.Process.Pid
			_ = cmd.Process.Kill()
			if process(o.TID) == pid {
				return true
			}
			for deadline := time.Now().Add(10 * time.Second); alive(pid) && time.Now().Before(deadline); {
				time.Sleep(time.Millisecond)
			}
			return false
		})
	})
	defer b.SetHook(nil)
	err := b.Start(cmd)
	close(started)
	if err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != -1 {
		t.Errorf("indy %s was not killed at %s: %v", strings.Join(args, " "), p, err)
	}
}

// fatal kills at a moment of an operation. The operation is not done if its process dies
// before, which kill says, or is to die with the one that is killed.
func fatal(m moment, o fakehost.Op, landed *atomic.Int64, kill func() (alone bool)) fakehost.Fault {
	switch m {
	case after:
		return fakehost.Fault{After: func() { kill() }}
	case torn:
		return fakehost.Fault{Take: max(len(o.Data)/2, 1), After: func() { kill() }}
	}
	if kill() || m == before {
		return fakehost.Fault{Err: syscall.EIO}
	}
	// By then the next command is at it.
	return fakehost.Fault{Before: func() {
		time.Sleep(orphanDelay)
		landed.Store(time.Now().UnixNano())
	}}
}

// orphanDelay is longer than a command takes from its start to its first look at a lease.
const orphanDelay = 300 * time.Millisecond

// process is the process of a thread.
func process(tid int) (pid int) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	if _, after, ok := strings.Cut(string(text), "\nTgid:"); ok {
		_, _ = fmt.Sscan(after, &pid)
	}
	return pid
}

// alive reports whether a process has not ended; one that nobody has waited for has.
func alive(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, state, _ := strings.Cut(string(text), ") ")
	return err == nil && !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X")
}

// recover brings the host to where nothing is in between.
func (b *bench) recover(t *testing.T) {
	t.Helper()
	b.landed.Store(0)
	if r := b.run(t, "recover"); r.Code != 0 {
		t.Errorf("indy recover: %+v", r)
	}
	if b.late != nil && b.landed.Load() > 0 {
		b.late.Add(1) // it was at the device when recover began
	}
}

// state is the whole machine as text, without the count of events and what the idle time
// of a function decides.
func state(t *testing.T, k *sim.Kernel) string {
	t.Helper()
	const devices = "sys/bus/pci/devices"
	m := k.Tree()
	_ = m.Remove("sys/kernel/uevent_seqnum")
	entries, err := m.ReadDir(devices)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		_ = m.Remove(devices + "/" + e.Name() + "/power/runtime_status")
	}
	text, err := hostfs.FormatTxtar(m, "")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// leases returns the states of the leases.
func (b *bench) leases(t *testing.T) string {
	t.Helper()
	r := b.must(t, "leases", "--json")
	var out struct{ Leases []struct{ State string } }
	if err := json.Unmarshal([]byte(r.Stdout), &out); err != nil {
		t.Fatal(err)
	}
	var states []string
	for _, l := range out.Leases {
		states = append(states, l.State)
	}
	return strings.Join(states, " ")
}

// A killing is one point of one phase of one scenario.
type killing struct {
	scenario scenario
	phase    phase
	point    point
	kernel   *sim.Kernel // at the start
	start    string
	assigned string
}

// TestSIGKILL kills the real command at each operation by which it changes something,
// during assign, release and recover, and has another recover. The machine is then as
// before or as it should be, and the leases say which of the two.
func TestSIGKILL(t *testing.T) {
	machine := kernel(t, sim.Options{VFIO: true})
	b := &bench{Host: host(t, machine.Clone())}
	var all []killing
	for _, s := range scenarios() {
		k := machine.Clone()
		for _, w := range s.prepare {
			if err := k.WriteFile("sys/bus/pci/"+w[0], []byte(w[1])); err != nil {
				t.Fatal(err)
			}
		}
		one := killing{scenario: s, kernel: k, start: state(t, k)}
		for _, p := range phases(s) {
			if err := b.Reset(k.Clone()); err != nil {
				t.Fatal(err)
			}
			p.before(t, b)
			points := b.points(t, p.args...)
			switch p.name {
			case "assign":
				one.assigned = state(t, b.Kernel())
			default:
				if diff := cmp.Diff(one.start, state(t, b.Kernel())); diff != "" {
					t.Fatalf("%s, %s: not as before (-before +after):\n%s", s.name, p.name, diff)
				}
			}
			one.phase = p
			for _, one.point = range points {
				// What is kept in files is so in the same way for each; that takes most of the time.
				if s.files || !one.point.state {
					all = append(all, one)
				}
			}
		}
	}
	var late atomic.Int64
	work := make(chan killing)
	var workers sync.WaitGroup
	for range runtime.NumCPU() + 1 {
		b := &bench{Host: host(t, machine), late: &late}
		workers.Go(func() {
			for k := range work {
				t.Run(k.scenario.name+"/"+k.phase.name+"/"+k.point.String(), func(t *testing.T) { k.run(t, b) })
			}
		})
	}
	for _, k := range all {
		work <- k
	}
	close(work)
	workers.Wait()
	t.Logf("kill points: %d", len(all))
	t.Logf("writes that were made while another process recovered: %d", late.Load())
	if len(all) < 300 || late.Load() < 40 {
		t.Errorf("only %d points, and %d writes that nobody waited for any more", len(all), late.Load())
	}
}

func (k killing) run(t *testing.T, b *bench) {
	if err := b.Reset(k.kernel.Clone()); err != nil {
		t.Fatal(err)
	}
	k.phase.before(t, b)
	b.killAt(t, k.point, k.phase.args...)
	b.recover(t)
	got, leases := state(t, b.Kernel()), b.leases(t)
	switch {
	case got == k.start && leases == "":
	case got == k.assigned && leases == "assigned" && !strings.HasPrefix(k.phase.name, "recover"):
	default:
		t.Errorf("leases: %q; the machine (-before +after):\n%s", leases, cmp.Diff(k.start, got))
	}
}
