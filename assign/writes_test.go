package assign_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/internal/sim"
)

// A scripted kernel is the simulated one with something that happens at a write.
type scripted struct {
	*sim.Kernel
	n      int // writes so far
	write  func(n int, name string, data []byte, do func() error) error
	writes []string // what was written to, in order
}

func (s *scripted) WriteFile(name string, data []byte) error {
	n := s.n
	s.n++
	s.writes = append(s.writes, name)
	do := func() error { return s.Kernel.WriteFile(name, data) }
	if s.write == nil {
		return do()
	}
	err := s.write(n, name, data, do)
	if pe := new(fs.PathError); err != nil && !errors.As(err, &pe) {
		err = &fs.PathError{Op: "write", Path: "/" + name, Err: err}
	}
	return err
}

// count starts counting again.
func (s *scripted) count(write func(n int, name string, data []byte, do func() error) error) {
	s.n, s.writes, s.write = 0, nil, write
}

// A handing is a hand-over whose writes are made to fail.
type handing struct {
	name    string
	device  string
	prepare [][2]string // file below sys/bus/pci, and what is written to it before
}

func handings() []handing {
	return []handing{
		{name: "one with an override and power saving", device: "0000:05:00.0", prepare: [][2]string{
			{"devices/0000:05:00.0/driver_override", "igb"}, {"devices/0000:05:00.0/power/control", "auto"},
		}},
		{name: "two", device: "0000:04:01.0"},
		{name: "without a driver", device: "0000:02:00.0", prepare: [][2]string{{"drivers/nvme/unbind", "0000:02:00.0"}}},
	}
}

// An attempt is one hand-over on a machine and in a store of its own.
type attempt struct {
	*scripted
	store *assign.Store
	host  *assign.Host
	plan  *assign.Plan
	start []byte
}

func (c handing) begin(t *testing.T, machine *sim.Kernel) *attempt {
	t.Helper()
	k := &scripted{Kernel: machine.Clone()}
	for _, w := range c.prepare {
		if err := k.Kernel.WriteFile("sys/bus/pci/"+w[0], []byte(w[1])); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	return &attempt{
		scripted: k, store: &assign.Store{Dir: dir + "/leases", StateDir: dir + "/state"}, host: &assign.Host{FS: k},
		plan: mustPlan(t, k, c.device), start: dump(t, k.Kernel),
	}
}

func (a *attempt) assign(t *testing.T) error {
	t.Helper()
	_, err := a.store.Assign(t.Context(), a.host, take(a.plan))
	return err
}

func (a *attempt) release(t *testing.T) error {
	t.Helper()
	_, err := a.store.Release(t.Context(), a.host, a.plan.Devices[0])
	return err
}

// leases is how many there are.
func (a *attempt) leases(t *testing.T) int {
	t.Helper()
	l, err := a.store.List()
	if err != nil {
		t.Error(err)
	}
	return len(l)
}

// undone says that nothing is left of the attempt.
func (a *attempt) undone(t *testing.T) {
	t.Helper()
	if diff := cmp.Diff(string(a.start), string(dump(t, a.Kernel))); diff != "" {
		t.Errorf("not as before (-before +after):\n%s", diff)
	}
	if n := a.leases(t); n != 0 {
		t.Errorf("%d leases", n)
	}
}

// mended has what a failed undo has left recovered, now that nothing fails any more.
func (a *attempt) mended(t *testing.T) {
	t.Helper()
	if n := a.leases(t); n != 1 {
		t.Errorf("%d leases after a failed undo, want the one that knows how to go on", n)
	}
	a.count(nil)
	if r, err := a.store.Recover(t.Context(), a.host); err != nil {
		t.Errorf("recover: %+v, %v", r, err)
	}
	a.undone(t)
}

// clearly says that an error names the file, the kernel's reason, and what that means.
func clearly(t *testing.T, err error, file string, cause error) {
	t.Helper()
	text := err.Error()
	_, meaning, _ := strings.Cut(text, cause.Error()+": ")
	if !errors.Is(err, cause) || !strings.Contains(text, "/"+file) || len(meaning) < 10 {
		t.Errorf("%v\n does not say what %v of /%s means", err, cause, file)
	}
}

// TestFault23WriteErrors has each write of an assign and of a release fail with each error.
// Everything is then as before, or what could not be taken back is kept as a lease and
// recovered once nothing fails.
func TestFault23WriteErrors(t *testing.T) {
	causes := []error{
		syscall.EIO, syscall.EBUSY, syscall.ENODEV, syscall.EPERM, syscall.EINVAL,
		syscall.ENOENT, syscall.EACCES, syscall.EAGAIN, syscall.EINTR, io.ErrShortWrite,
	}
	machine := emulated(t, sim.Options{})
	pairs, kinds := 0, map[string]bool{}
	for _, c := range handings() {
		a := c.begin(t, machine)
		if err := a.assign(t); err != nil {
			t.Fatal(err)
		}
		assigns := a.writes
		a.count(nil)
		if err := a.release(t); err != nil {
			t.Fatal(err)
		}
		releases := a.writes
		a.undone(t)
		for _, cause := range causes {
			for n, file := range assigns {
				pairs++
				kinds[kind(file)] = true
				t.Run(fmt.Sprintf("%s/assign/%d %s/%v", c.name, n, kind(file), cause), func(t *testing.T) {
					c.failOnce(t, machine, n, file, cause)
					c.failFrom(t, machine, n, file, cause)
				})
			}
			for n, file := range releases {
				pairs++
				kinds[kind(file)] = true
				t.Run(fmt.Sprintf("%s/release/%d %s/%v", c.name, n, kind(file), cause), func(t *testing.T) {
					c.failRelease(t, machine, n, file, cause)
				})
			}
		}
	}
	t.Logf("pairs of a write and an error: %d, on %d kinds of file", pairs, len(kinds))
	if pairs < 140 || len(kinds) < 6 {
		t.Errorf("only %d pairs on %d kinds of file", pairs, len(kinds))
	}
}

// kind is a file without the device: drivers/nvme/bind, driver_override.
func kind(file string) string {
	if dir, base := path.Split(file); strings.Contains(dir, "/drivers/") {
		return "drivers/" + path.Base(dir) + "/" + base
	}
	if strings.HasSuffix(file, "power/control") {
		return "power/control"
	}
	return path.Base(file)
}

// failOnce: one write of an assign fails, and those that take back do not.
func (c handing) failOnce(t *testing.T, machine *sim.Kernel, at int, file string, cause error) {
	a := c.begin(t, machine)
	a.count(func(n int, _ string, _ []byte, do func() error) error {
		if n == at {
			return cause
		}
		return do()
	})
	err := a.assign(t)
	var partial *assign.PartialError
	if err == nil || errors.As(err, &partial) {
		t.Errorf("%v; want an error after which everything is as before", err)
		return
	}
	clearly(t, err, file, cause)
	a.undone(t)
}

// failFrom: from one write of an assign on its file can never be written again.
func (c handing) failFrom(t *testing.T, machine *sim.Kernel, at int, file string, cause error) {
	a := c.begin(t, machine)
	a.count(func(n int, name string, _ []byte, do func() error) error {
		if n >= at && name == file {
			return cause
		}
		return do()
	})
	err := a.assign(t)
	var partial *assign.PartialError
	switch {
	case err == nil:
		t.Error("no error")
	case errors.As(err, &partial):
		clearly(t, err, file, cause)
		a.mended(t)
	default:
		clearly(t, err, file, cause)
		a.undone(t)
	}
}

// failRelease: one write of a release fails.
func (c handing) failRelease(t *testing.T, machine *sim.Kernel, at int, file string, cause error) {
	a := c.begin(t, machine)
	if err := a.assign(t); err != nil {
		t.Fatal(err)
	}
	a.count(func(n int, _ string, _ []byte, do func() error) error {
		if n == at {
			return cause
		}
		return do()
	})
	err := a.release(t)
	if base := path.Base(file); base == "reset" || base == "reset_method" {
		// It is given back all the same; if no other way to reset it was verified, it is kept
		// from the next guest.
		noted, nerr := a.store.Residues(a.Kernel)
		if err != nil || nerr != nil {
			t.Fatalf("%v, %v", err, nerr)
		}
		if !slices.ContainsFunc(noted.All(), func(r assign.Residue) bool { return r.State != assign.Clean || r.Reset != nil && r.Reset.Verified }) {
			t.Errorf("on record as clean: %+v", noted.All())
		}
		a.undone(t)
		return
	}
	var partial *assign.PartialError
	if !errors.As(err, &partial) {
		t.Errorf("%v; want a *PartialError", err)
		return
	}
	clearly(t, err, file, cause)
	a.mended(t)
}

// TestFault24NobodyBound: a write succeeds and no driver has the function, or another one.
func TestFault24NobodyBound(t *testing.T) {
	machine := emulated(t, sim.Options{})
	other := func(a *attempt, addr string) {
		for _, w := range [][2]string{
			{"devices/" + addr + "/driver_override", "other"}, {"drivers/other/bind", addr}, {"devices/" + addr + "/driver_override", "vfio-pci"},
		} {
			if err := a.Kernel.WriteFile("sys/bus/pci/"+w[0], []byte(w[1])); err != nil {
				t.Error(err)
			}
		}
	}
	for _, c := range handings() {
		t.Run("nobody/"+c.name, func(t *testing.T) {
			for at := range len(c.begin(t, machine).plan.Devices) {
				a := c.begin(t, machine)
				probes := 0
				a.count(func(_ int, name string, _ []byte, do func() error) error {
					if strings.HasSuffix(name, "/drivers_probe") {
						if probes++; probes == at+1 {
							return nil // deferred, or refused by the driver
						}
					}
					return do()
				})
				err := a.assign(t)
				if err == nil || !strings.Contains(err.Error(), "expected that driver is vfio-pci; it is none") {
					t.Errorf("%v", err)
				}
				a.undone(t)
			}
		})
		t.Run("another/"+c.name, func(t *testing.T) {
			a := c.begin(t, machine)
			if err := a.AddDriver("other"); err != nil {
				t.Fatal(err)
			}
			a.count(func(_ int, name string, data []byte, do func() error) error {
				if strings.HasSuffix(name, "/drivers_probe") {
					other(a, string(data))
					return nil
				}
				return do()
			})
			err := a.assign(t)
			if err == nil || !strings.Contains(err.Error(), "expected that driver is vfio-pci; it is other") {
				t.Errorf("%v", err)
			}
			if n := a.leases(t); n != 0 {
				t.Errorf("%d leases of what nobody got", n)
			}
			// Whoever has the first function keeps it; the others are as before.
			for addr, is := range drivers(t, a.Kernel) {
				was := drivers(t, c.begin(t, machine).Kernel)[addr]
				if addr == a.plan.Devices[0].String() {
					if !strings.HasPrefix(is, "other") {
						t.Errorf("%s was taken from another driver: %q", addr, is)
					}
				} else if is != was {
					t.Errorf("%s: %q, was %q", addr, is, was)
				}
			}
		})
		t.Run("not back/"+c.name, func(t *testing.T) {
			a := c.begin(t, machine)
			if err := a.assign(t); err != nil {
				t.Fatal(err)
			}
			left := 0
			a.count(func(_ int, name string, _ []byte, do func() error) error {
				if strings.HasSuffix(name, "/bind") {
					left++
					return nil
				}
				return do()
			})
			err := a.release(t)
			var partial *assign.PartialError
			switch {
			case left == 0 && err == nil: // it had no driver
			case !errors.As(err, &partial) || !strings.Contains(err.Error(), "it is none"):
				t.Errorf("%v", err)
			default:
				a.mended(t)
			}
		})
	}
}

// TestFault06Vanishes: one of two functions goes before or after each write of an assign.
// The other is as before, and the error says that a device is lost.
func TestFault06Vanishes(t *testing.T) {
	machine := emulated(t, sim.Options{})
	c := handings()[1]
	reference := c.begin(t, machine)
	if err := reference.assign(t); err != nil {
		t.Fatal(err)
	}
	before := drivers(t, c.begin(t, machine).Kernel)
	for at := range reference.writes {
		for _, victim := range reference.plan.Devices {
			for _, late := range []bool{false, true} {
				t.Run(fmt.Sprintf("%d %s/%s/%v", at, kind(reference.writes[at]), victim, late), func(t *testing.T) {
					a := c.begin(t, machine)
					a.count(func(n int, _ string, _ []byte, do func() error) (err error) {
						if n == at && late {
							err = do()
						}
						if n == at {
							if err := a.Kernel.WriteFile("sys/bus/pci/devices/"+victim.String()+"/remove", []byte("1")); err != nil {
								t.Error(err)
							}
						}
						if n == at && late {
							return err
						}
						return do()
					})
					err := a.assign(t)
					var partial *assign.PartialError
					if !errors.Is(err, assign.ErrDeviceLost) || errors.As(err, &partial) {
						t.Errorf("%v; want that a device is lost, and nothing left to do", err)
					}
					if n := a.leases(t); n != 0 {
						t.Errorf("%d leases", n)
					}
					after := drivers(t, a.Kernel)
					if _, there := after[victim.String()]; there {
						t.Error("the device has come back")
					}
					after[victim.String()] = before[victim.String()]
					if diff := cmp.Diff(before, after); diff != "" {
						t.Errorf("its mates (-before +after):\n%s", diff)
					}
				})
			}
		}
	}
	if n := len(reference.writes); n < 6 || len(slices.Compact(slices.Clone(reference.plan.Devices))) != 2 {
		t.Errorf("only %d writes", n)
	}
}
