package fakehost_test

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/internal/fakehost"
	"github.com/project-independence/indy/internal/sim"
)

// TestFault23RealCommand is a sample of what assign's TestFault23WriteErrors tests, by the
// real command: what it says, how it ends and what it leaves.
func TestFault23RealCommand(t *testing.T) {
	machine := kernel(t, sim.Options{VFIO: true})
	b := &bench{Host: host(t, machine)}
	start := state(t, machine)
	const addr = "0000:01:00.0"
	assign, release := []string{"assign", addr}, []string{"release", addr}
	for _, c := range []struct {
		file  string // the end of its name
		args  []string
		cause syscall.Errno // 0 is a short write
		again bool          // it fails whenever it is written
		code  int
	}{
		{"driver_override", assign, syscall.EACCES, false, 1},
		{"driver_override", assign, 0, false, 1},
		{"e1000e/unbind", assign, syscall.EBUSY, false, 1},
		{"e1000e/unbind", assign, syscall.EINTR, false, 1},
		{"drivers_probe", assign, syscall.ENODEV, false, 1},
		{"drivers_probe", assign, syscall.EIO, true, 1},
		{"driver_override", assign, syscall.EIO, true, 1}, // nothing was done yet
		{"vfio-pci/unbind", release, syscall.EPERM, false, 3},
		{"driver_override", release, syscall.EINVAL, false, 3},
		{"e1000e/bind", release, syscall.EIO, false, 3},
		{"e1000e/bind", release, syscall.EAGAIN, true, 3},
		{"e1000e/bind", release, 0, true, 3},
	} {
		t.Run(fmt.Sprintf("%s %s %v", c.args[0], c.file, c.cause), func(t *testing.T) {
			if err := b.Reset(machine.Clone()); err != nil {
				t.Fatal(err)
			}
			if c.args[0] == "release" {
				b.must(t, assign...)
			}
			var failed atomic.Int32
			var name atomic.Value
			b.SetHook(func(o fakehost.Op) fakehost.Fault {
				if o.Kind != "write" || !strings.HasSuffix(o.Name, c.file) || failed.Add(1) > 1 && !c.again {
					return fakehost.Fault{}
				}
				name.Store(o.Name[strings.LastIndexByte(o.Name, '/'):])
				if c.cause == 0 {
					return fakehost.Fault{Take: max(len(o.Data)-1, 1)}
				}
				return fakehost.Fault{Err: c.cause}
			})
			r := b.run(t, c.args...)
			b.SetHook(nil)
			says := "short write"
			if c.cause != 0 {
				says = c.cause.Error()
			}
			_, meaning, _ := strings.Cut(r.Stderr, says+": ")
			if failed.Load() == 0 {
				t.Fatalf("nothing was written to %s", c.file)
			}
			if r.Code != c.code || len(meaning) < 10 || !strings.Contains(r.Stderr, name.Load().(string)) {
				t.Errorf("exit code %d, want %d; it says\n%s", r.Code, c.code, r.Stderr)
			}
			if c.code == 3 {
				if leases := b.leases(t); leases == "" {
					t.Error("no lease says what is left")
				}
				b.recover(t)
			}
			if diff := cmp.Diff(start, state(t, b.Kernel())); diff != "" || b.leases(t) != "" {
				t.Errorf("leases %q; the machine (-before +after):\n%s", b.leases(t), diff)
			}
		})
	}
}

// A hang is a write from which the kernel does not come back before answer is closed.
type hang struct {
	reached chan int // the process that makes it
	answer  chan struct{}
	writes  atomic.Int32 // about its device
}

// hang lets the write about a device to the file with that ending hang.
func (b *bench) hang(device, file string) *hang {
	h := &hang{reached: make(chan int, 16), answer: make(chan struct{})}
	b.SetHook(func(o fakehost.Op) fakehost.Fault {
		if o.Kind != "write" || o.State() || !strings.Contains(o.Name+string(o.Data), device) {
			return fakehost.Fault{}
		}
		h.writes.Add(1)
		if strings.HasSuffix(o.Name, file) {
			h.reached <- process(o.TID)
			return fakehost.Fault{Wait: h.answer}
		}
		return fakehost.Fault{}
	})
	return h
}

// await returns the process in which the kernel is.
func (h *hang) await(t *testing.T) int {
	t.Helper()
	select {
	case pid := <-h.reached:
		return pid
	case <-time.After(20 * time.Second):
		t.Fatal("nothing was written")
		return 0
	}
}

// TestHang has one write that the kernel never answers. The command gives up, says that the
// device is stuck and never writes to it again; other devices are handed over meanwhile, and
// who asks is answered at once. When the kernel has come back, all of it can be recovered.
func TestHang(t *testing.T) {
	machine := kernel(t, sim.Options{VFIO: true})
	b := &bench{Host: host(t, machine.Clone())}
	start := state(t, machine)
	const stuck, other = "0000:01:00.0", "0000:05:00.0"
	hung := b.hang(stuck, "/e1000e/unbind")
	cmd := b.Command("indy", "assign", "--deadline", "3s", stuck)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := b.Start(cmd); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	hung.await(t)
	at := time.Now()
	asks := func(when, want string) {
		t.Helper()
		began := time.Now()
		if got := b.leases(t); got != want {
			t.Errorf("%s the leases are %q, want %q", when, got, want)
		}
		took := time.Since(began)
		t.Logf("indy leases %s: %v", when, took)
		if took > 2*time.Second {
			t.Errorf("%s leases are listed in %v", when, took)
		}
	}
	asks("while it hangs", "assigning")
	began := time.Now()
	b.must(t, "assign", other)
	t.Logf("indy assign of another device while it hangs: %v", time.Since(began))
	select {
	case err := <-ended:
		t.Logf("indy gave up after %v: %s", time.Since(at), &said)
		if exit := new(exec.ExitError); !errors.As(err, &exit) || exit.ExitCode() != 3 || !strings.Contains(said.String(), "/e1000e/unbind") {
			t.Errorf("%v: %s", err, &said)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("indy did not give up")
	}
	asks("when it was given up", "stuck assigned")
	// Nobody writes to the device a second time.
	n := hung.writes.Load()
	for _, args := range [][]string{{"release", stuck}, {"recover"}, {"assign", stuck}} {
		if r := b.run(t, args...); r.Code == 0 {
			t.Errorf("indy %v of a stuck device: %+v", args, r)
		}
	}
	if m := hung.writes.Load(); m != n {
		t.Errorf("%d more writes to a stuck device", m-n)
	}
	close(hung.answer)
	time.Sleep(100 * time.Millisecond) // until the process that was in the kernel is gone
	b.SetHook(nil)
	b.recover(t)
	asks("when it has come back", "assigned")
	b.must(t, "release", other)
	if diff := cmp.Diff(start, state(t, b.Kernel())); diff != "" {
		t.Errorf("not as before (-before +after):\n%s", diff)
	}
}

// TestKilledWhileItHangs: the process that had asked for a write is killed while the kernel
// does not come back from it. Nobody else writes for its lease meanwhile, who asks is told in
// which process the kernel is, and other devices are handed over.
func TestKilledWhileItHangs(t *testing.T) {
	machine := kernel(t, sim.Options{VFIO: true})
	b := &bench{Host: host(t, machine.Clone())}
	start := state(t, machine)
	const stuck, other = "0000:01:00.0", "0000:05:00.0"
	hung := b.hang(stuck, "/e1000e/unbind")
	cmd := b.Command("indy", "assign", stuck)
	if err := b.Start(cmd); err != nil {
		t.Fatal(err)
	}
	child := hung.await(t)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	n := hung.writes.Load()
	b.must(t, "assign", other)
	told := fmt.Sprintf("e1000e/unbind for 10s (process %d is in it)", child)
	for _, args := range [][]string{{"recover"}, {"release", stuck}} {
		began := time.Now()
		if r := b.run(t, args...); r.Code != 3 || !strings.Contains(r.Stderr, told) || strings.Contains(r.Stderr, "another process") {
			t.Errorf("indy %v: %+v", args, r)
		}
		if took := time.Since(began); took < 9*time.Second {
			t.Errorf("indy %v waited for %v", args, took)
		}
	}
	if r := b.run(t, "assign", stuck); r.Code == 0 {
		t.Errorf("indy assign: %+v", r)
	}
	if m := hung.writes.Load(); m != n {
		t.Errorf("%d more writes to a device that the kernel is at", m-n)
	}
	close(hung.answer)
	b.SetHook(nil)
	b.recover(t)
	b.must(t, "release", other)
	if diff := cmp.Diff(start, state(t, b.Kernel())); diff != "" || b.leases(t) != "" {
		t.Errorf("not as before (-before +after):\n%s", diff)
	}
}

// TestFault06Unplugged: a device goes while the real command hands it over with another one.
func TestFault06Unplugged(t *testing.T) {
	machine := kernel(t, sim.Options{VFIO: true})
	b := &bench{Host: host(t, machine.Clone())}
	const victim, mate = "0000:04:01.0", "0000:04:02.0"
	for _, file := range []string{"/e1000/unbind", "/snd_hda_intel/unbind", "/drivers_probe"} {
		if err := b.Reset(machine.Clone()); err != nil {
			t.Fatal(err)
		}
		var gone atomic.Bool
		b.SetHook(func(o fakehost.Op) fakehost.Fault {
			if o.Kind != "write" || !strings.HasSuffix(o.Name, file) || gone.Swap(true) {
				return fakehost.Fault{}
			}
			return fakehost.Fault{Before: func() {
				if err := b.Kernel().WriteFile("sys/bus/pci/devices/"+victim+"/remove", []byte("1")); err != nil {
					t.Error(err)
				}
			}}
		})
		r := b.run(t, "assign", "--with-companions", victim)
		b.SetHook(nil)
		if r.Code != 1 || !strings.Contains(r.Stderr, "device lost") || b.leases(t) != "" {
			t.Errorf("%s: %+v", file, r)
		}
		driver, err := b.Kernel().ReadLink("sys/bus/pci/devices/" + mate + "/driver")
		if err != nil || !strings.HasSuffix(driver, "/snd_hda_intel") {
			t.Errorf("%s: the driver of its mate: %q, %v", file, driver, err)
		}
		if _, err := b.Kernel().Lstat("sys/bus/pci/devices/" + victim); !errors.Is(err, unix.ENOENT) {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// TestUnconfirmed: what is made for a guest is taken away again when nobody confirms it. Its
// lease is called by what is made only once the plan says what that is.
func TestUnconfirmed(t *testing.T) {
	machine := kernel(t, sim.Options{VFIO: true})
	b := &bench{Host: host(t, machine.Clone())}
	start := state(t, machine)
	b.must(t, "assign", "0000:05:00.0", "--vfs", "2", "--confirm-within", "5s")
	for end := time.Now().Add(time.Minute); b.leases(t) != ""; time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it is still handed out")
		}
	}
	if diff := cmp.Diff(start, state(t, b.Kernel())); diff != "" {
		t.Errorf("not as before (-before +after):\n%s", diff)
	}
}
