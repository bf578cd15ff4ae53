package qemu

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/internal/hosttest"
)

// needQEMU skips the test without QEMU, except where tests count.
func needQEMU(t *testing.T) {
	t.Helper()
	if _, err := Find(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		hosttest.Missing(t, "%v", err)
	}
}

// noLeaks fails the test if it leaves goroutines behind.
func noLeaks(t *testing.T) {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		deadline := time.Now().Add(3 * time.Second)
		for runtime.NumGoroutine() > before {
			if time.Now().After(deadline) {
				buf := make([]byte, 1<<20)
				t.Errorf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
}

// The programs of boot sectors, at 7c00.
const (
	printText = "baf803be127cac84c07403eeebf8f4ebfd" // writes the text behind it to the serial port, halts
	powerOff  = "ba0406b80020eff4"                   // writes "sleep, S5" to PM1a_CNT
	reset     = "b0fee664f4"                         // by the keyboard controller
	echo      = "bafd03eca80174f8baf803eceeebf1"     // the serial port's input to its output
)

// bootDisk makes a raw disk that starts program, which may be followed by text.
func bootDisk(t testing.TB, program, text string) string {
	t.Helper()
	b, err := hex.DecodeString(program)
	if err != nil {
		t.Fatal(err)
	}
	b = append(append(b, 0), text...)
	disk := make([]byte, 1<<20)
	copy(disk, b)
	disk[510], disk[511] = 0x55, 0xaa
	name := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(name, disk, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func guestOf(disks ...string) guest.Guest {
	g := guest.Guest{Name: "test", Memory: 64 << 20}
	for _, d := range disks {
		g.Disks = append(g.Disks, guest.Disk{File: d})
	}
	return g
}

// A console is a serial port's output that can be waited for.
type console struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	news chan struct{}
}

func newConsole() *console { return &console{news: make(chan struct{}, 1)} }

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case c.news <- struct{}{}:
	default:
	}
	return c.buf.Write(p)
}

func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buf.String()
}

func (c *console) waitFor(t *testing.T, text string) {
	t.Helper()
	timeout := time.After(60 * time.Second)
	for !strings.Contains(c.String(), text) {
		select {
		case <-c.news:
		case <-timeout:
			t.Fatalf("no %q on the serial port, only %q", text, c.String())
		}
	}
}

func startTest(t *testing.T, g guest.Guest, o Options) *VM {
	t.Helper()
	if o.Binary == "" {
		needQEMU(t)
	}
	if o.Accelerator == Auto {
		o.Accelerator = TCG
	}
	vm, err := Start(t.Context(), g, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		vm.Stop(ctx)
	})
	return vm
}

func TestGuestPrintsAndIsStopped(t *testing.T) {
	noLeaks(t)
	out := newConsole()
	vm := startTest(t, guestOf(bootDisk(t, printText, "hello from the disk\r\n")), Options{Serial: out, PowerdownTimeout: 200 * time.Millisecond})
	out.waitFor(t, "hello from the disk\r\n")
	if vm.Err() != nil || vm.Accelerator() != TCG || vm.Name() != "test" {
		t.Errorf("%v, %v, %v while running", vm.Err(), vm.Accelerator(), vm.Name())
	}
	var wg sync.WaitGroup
	for range 4 { // this guest knows no power button, so QEMU is told to quit
		wg.Go(func() {
			if err := vm.Stop(t.Context()); err != nil {
				t.Errorf("Stop: %v", err)
			}
		})
	}
	wg.Wait()
	if err := vm.Wait(); err != nil {
		t.Error(err)
	}
	if err := syscall.Kill(vm.PID(), 0); err != syscall.ESRCH {
		t.Errorf("QEMU is still there: %v", err)
	}
}

func TestBusesAndFormats(t *testing.T) {
	tests := []struct {
		name string
		disk guest.Disk
	}{
		{"virtio", guest.Disk{Bus: guest.VirtIO}},
		{"read-only", guest.Disk{ReadOnly: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out := newConsole()
			tt.disk.File = bootDisk(t, printText, "booted")
			g := guestOf()
			g.Disks = []guest.Disk{tt.disk}
			startTest(t, g, Options{Serial: out})
			out.waitFor(t, "booted")
		})
	}
}

func TestBootOrder(t *testing.T) {
	out := newConsole()
	var disks []string
	for i := range 6 {
		disks = append(disks, bootDisk(t, printText, fmt.Sprintf("disk %d", i)))
	}
	g := guestOf(disks...)
	g.Disks[0].Bus = guest.VirtIO
	for range 10 { // as many as there can be, sixteen
		g.Disks = append(g.Disks, guest.Disk{File: bootDisk(t, printText, "wrong"), Bus: guest.VirtIO})
	}
	startTest(t, g, Options{Serial: out})
	out.waitFor(t, "disk 0")
}

func TestSerialInput(t *testing.T) {
	noLeaks(t)
	in, typed := io.Pipe()
	defer typed.Close()
	out := newConsole()
	vm := startTest(t, guestOf(bootDisk(t, echo, "")), Options{Serial: out, SerialInput: in, PowerdownTimeout: -1})
	io.WriteString(typed, "typed")
	out.waitFor(t, "typed")
	start := time.Now()
	if err := vm.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("without a power button Stop took %v", d)
	}
}

func TestGuestPowersOff(t *testing.T) {
	noLeaks(t)
	vm := startTest(t, guestOf(bootDisk(t, powerOff, "")), Options{})
	if err := vm.Wait(); err != nil {
		t.Error(err)
	}
	if err := vm.Stop(t.Context()); err != nil {
		t.Errorf("Stop afterwards: %v", err)
	}
}

func TestNoReboot(t *testing.T) {
	vm := startTest(t, guestOf(bootDisk(t, reset, "")), Options{NoReboot: true})
	if err := vm.Wait(); err != nil {
		t.Error(err)
	}
}

func TestKilled(t *testing.T) {
	noLeaks(t)
	vm := startTest(t, guestOf(), Options{})
	syscall.Kill(vm.PID(), syscall.SIGKILL)
	err := vm.Wait()
	var exit *ExitError
	var op *OpError
	if !errors.As(err, &op) || op.Op != "run" || !errors.As(err, &exit) || exit.Cause != nil {
		t.Fatalf("%#v", err)
	}
	if got, want := err.Error(), "run guest test: QEMU ended: signal: killed"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if again := vm.Stop(t.Context()); again != err || vm.Err() != err {
		t.Errorf("Stop: %v, Err: %v", again, vm.Err())
	}
}

func TestSilentQEMU(t *testing.T) {
	noLeaks(t)
	vm := startTest(t, guestOf(), Options{PowerdownTimeout: time.Minute})
	syscall.Kill(vm.PID(), syscall.SIGSTOP)
	start := time.Now()
	err := vm.Stop(t.Context())
	if d := time.Since(start); d > 3*commandTimeout {
		t.Errorf("took %v", d)
	}
	if !errors.Is(err, errUnresponsive) || !strings.Contains(err.Error(), "signal: killed") {
		t.Errorf("%v", err)
	}
}

func TestStopHurries(t *testing.T) {
	noLeaks(t)
	vm := startTest(t, guestOf(), Options{PowerdownTimeout: time.Minute})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := vm.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if vm.Wait() == nil {
		t.Error("killed, but Wait says nothing")
	}
}

func TestStartIsCancelled(t *testing.T) {
	needQEMU(t)
	noLeaks(t)
	for _, d := range []time.Duration{0, time.Millisecond, 20 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		vm, err := Start(ctx, guestOf(), Options{Accelerator: TCG})
		if err == nil { // a fast machine
			vm.proc.kill(nil)
			vm.Wait()
		} else if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("after %v: %v", d, err)
		}
		cancel()
	}
}

func TestQEMUHasNoRights(t *testing.T) {
	vm := startTest(t, guestOf(bootDisk(t, printText, "x")), Options{})
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", vm.PID()))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"CapEff": "0000000000000000", "CapPrm": "0000000000000000", "CapAmb": "0000000000000000",
		"NoNewPrivs": "1", "Seccomp": "2"}
	if os.Geteuid() == 0 {
		want["Groups"], want["CapBnd"] = "", "0000000000000000"
	}
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if w, ok := want[key]; ok && w != strings.TrimSpace(value) {
			t.Errorf("%s is %q, want %q", key, value, w)
		}
		if key == "Uid" || key == "Gid" {
			for _, id := range strings.Fields(value) {
				if id == "0" {
					t.Errorf("%s is %s", key, value)
				}
			}
		}
	}
	if env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", vm.PID())); err == nil && len(env) != 0 {
		t.Errorf("QEMU has the environment %q", env)
	}
	// no file but the listed ones: standard streams, two sockets, the disk, and what
	// QEMU makes for itself
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", vm.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		target, err := os.Readlink(fd)
		if err == nil && strings.HasPrefix(target, "/") && target != "/dev/null" && !strings.HasSuffix(target, "/disk.raw") {
			t.Errorf("QEMU holds %s", target)
		}
	}
	if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", vm.PID())); err == nil {
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if pid := fmt.Sprint(vm.PID()); fields[2] != pid || fields[3] != pid {
			t.Errorf("process group %s and session %s are not its own", fields[2], fields[3])
		}
	}
}

func TestUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		_, err := credential(User{UID: uint32(os.Geteuid()) + 1})
		if !errors.Is(err, fs.ErrPermission) {
			t.Errorf("another user: %v", err)
		}
		return
	}
	for _, u := range []User{{0, 1}, {1, 0}} {
		if _, err := credential(u); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%v: %v", u, err)
		}
	}
	vm := startTest(t, guestOf(), Options{User: User{4321, 1234}})
	info, err := os.Stat(fmt.Sprintf("/proc/%d/task", vm.PID()))
	if err != nil {
		t.Fatal(err)
	}
	if st := info.Sys().(*syscall.Stat_t); st.Uid != 4321 || st.Gid != 1234 {
		t.Errorf("runs as %d:%d", st.Uid, st.Gid)
	}
}
