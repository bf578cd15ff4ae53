package lab_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/project-independence/indy/internal/lab/labtest"
)

// TestSIGKILL kills the real command at its system calls, on a real kernel.
func TestSIGKILL(t *testing.T) {
	t.Parallel()
	labtest.Open(t)
	labtest.RunTest(t, "./internal/lab", "^TestSIGKILLInside$", "", indyVariable+"="+labtest.BuildIndy(t))
}

// TestSIGKILLInside kills assign and release of the NVMe at each of their system calls that
// change something, and of three more at some: before the call and, where it is a write to
// sysfs, also in the middle of it. After each indy recover is run, which is killed itself at some points,
// and the kernel is asked what became of it.
func TestSIGKILLInside(t *testing.T) {
	labtest.Inside(t)
	s := &slaughter{T: t, indy: needIndy(t)}
	begun := time.Now()
	s.of(nvmeDisk(), 1)
	s.of(network(), 4)
	s.of(trio(), 6)
	s.of(igb(), 6)
	t.Logf("kill points: %d (assign %d, release %d), of which %d in the middle of a write to sysfs; recover killed %d times; %v",
		s.assign+s.release, s.assign, s.release, s.within, s.again, time.Since(begun).Round(time.Second))
	if s.assign < 40 || s.release < 40 {
		t.Errorf("%d points of assign and %d of release are fewer than 40", s.assign, s.release)
	}
}

type slaughter struct {
	*testing.T
	indy                           string
	assign, release, within, again int
}

// A point is one place where a process is killed.
type point struct {
	at     int
	within bool
}

// of kills at every nth point of assign and of release of g.
func (s *slaughter) of(g goods, every int) {
	if err := soon(g.withHost); err != nil {
		s.Fatalf("%s, before: %v", g.name, err)
	}
	over := append([]string{"assign", "--with-companions", "--guest", "killed"}, g.addresses()...)
	back := []string{"release", g.addresses()[0]}
	// The first time makes directories; the second shows the points.
	for _, args := range [][]string{over, back} {
		if said, status := call(s.T, s.indy, args...); status != 0 {
			s.Fatalf("indy %q: status %d\n%s", args, status, said)
		}
	}
	if err := soon(g.withHost); err != nil {
		s.Fatalf("%s, given back: %v", g.name, err)
	}
	var all [2]killing
	for i, args := range [][]string{over, back} {
		if err := all[i].run(s.indy, args...); err != nil || all[i].status.ExitStatus() != 0 {
			s.Fatalf("%s: %v, status %d\n%s", args, err, all[i].status.ExitStatus(), all[i].output)
		}
	}
	if err := soon(g.withHost); err != nil {
		s.Fatalf("%s, after an assign and a release: %v", g.name, err)
	}
	s.Logf("%s: %d points of assign, %d of release", g.name, len(all[0].points), len(all[1].points))
	for _, p := range points(all[0].points, every) {
		if s.kill(g, "assign", over, p, all[0].points[p.at-1]) {
			s.assign++
		}
	}
	for _, p := range points(all[1].points, every) {
		if said, status := call(s.T, s.indy, over...); status != 0 {
			s.Fatalf("indy %q: status %d\n%s", over, status, said)
		}
		if s.kill(g, "release", back, p, all[1].points[p.at-1]) {
			s.release++
		}
	}
}

// points are those at which to kill: every nth, each write to sysfs, and the same in the
// middle of it.
func points(seen []string, every int) []point {
	var all []point
	for i, what := range seen {
		sysfs := strings.HasPrefix(what, "write /sys/")
		if sysfs || i%every == 0 {
			all = append(all, point{i + 1, false})
		}
		if sysfs {
			all = append(all, point{i + 1, true})
		}
	}
	return all
}

// kill kills a command at a point, recovers, and looks. What it finds in a guest's hands it
// gives back. It reports whether the command lived to the point.
func (s *slaughter) kill(g goods, verb string, args []string, p point, what string) bool {
	s.Helper()
	where := fmt.Sprintf("%s of %s killed before call %d (%s)", verb, g.name, p.at, what)
	if p.within {
		where = strings.Replace(where, "before", "in", 1)
	}
	k := killing{at: p.at, within: p.within}
	if err := k.run(s.indy, args...); err != nil {
		s.Fatalf("%s: %v", where, err)
	}
	if k.killed && (!k.status.Signaled() || k.status.Signal() != syscall.SIGKILL) {
		s.Errorf("%s: ended with %#x", where, k.status)
	}
	switch {
	case !k.killed: // a call that is not made each time
		s.Logf("%s: it made %d calls only", where, len(k.points))
	case p.within:
		s.within++
	}
	if p.at%5 == 0 {
		again := killing{at: 1 + p.at/5}
		if err := again.run(s.indy, "recover"); err != nil {
			s.Fatalf("%s, recover: %v", where, err)
		}
		if again.killed {
			s.again++
		}
	}
	said, status := call(s.T, s.indy, "recover")
	if status != 0 {
		s.Errorf("%s: indy recover: status %d\n%s", where, status, said)
	}
	s.look(g, where, said)
	return k.killed
}

// look asks the kernel, and whether the list of leases agrees.
func (s *slaughter) look(g goods, where, recovered string) {
	s.Helper()
	said, status := call(s.T, s.indy, "leases", "--json")
	var list struct {
		Leases []struct {
			Devices []string `json:"devices"`
			State   string   `json:"state"`
		} `json:"leases"`
	}
	if err := json.Unmarshal([]byte(said), &list); err != nil || status != 0 {
		s.Fatalf("%s: indy leases: status %d, %v\n%s", where, status, err, said)
	}
	switch {
	case len(list.Leases) == 0:
		if err := soon(g.withHost); err != nil {
			s.Fatalf("%s; recover said %s\nno lease is left, but: %v", where, recovered, err)
		}
	case len(list.Leases) == 1 && list.Leases[0].State == "assigned" && slices.Equal(list.Leases[0].Devices, g.addresses()):
		if err := g.withGuest(); err != nil {
			s.Fatalf("%s; recover said %s\nit is assigned, but: %v", where, recovered, err)
		}
		if said, status := call(s.T, s.indy, "release", g.addresses()[0]); status != 0 {
			s.Fatalf("%s: release afterwards: status %d\n%s", where, status, said)
		}
		if err := soon(g.withHost); err != nil {
			s.Fatalf("%s, after a release: %v", where, err)
		}
	default:
		s.Fatalf("%s; recover said %s\nwhat is left: %s", where, recovered, said)
	}
}
