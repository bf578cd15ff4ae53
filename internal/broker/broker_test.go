package broker

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/hostfs"
)

const (
	unbind   = "sys/bus/pci/drivers/nvme/unbind"
	override = "sys/bus/pci/devices/0000:02:00.0/driver_override"
)

// below returns a Broker for a directory with files of these names.
func below(t *testing.T, limit time.Duration, names ...string) *Broker {
	t.Helper()
	b := &Broker{Deadline: limit, root: t.TempDir()}
	for _, name := range names {
		file := filepath.Join(b.root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte("(null)\n"), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func (b *Broker) content(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(b.root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestCalls(t *testing.T) {
	b := below(t, 0, unbind, override)
	before := descriptors(t)
	for range 3 {
		if err := b.WriteFile(unbind, []byte("0000:02:00.0")); err != nil {
			t.Fatal(err)
		}
		if data, err := b.ReadFile(override); err != nil || string(data) != "(null)\n" {
			t.Errorf("%q, %v", data, err)
		}
	}
	if got := b.content(t, unbind); got != "0000:02:00.0" {
		t.Errorf("written: %q", got)
	}
	if n := len(b.idle[false]); n != 1 {
		t.Errorf("%d processes for calls one after the other", n)
	}
	if n := descriptors(t); n != before+1 {
		t.Errorf("%d descriptors more, not one socket", n-before)
	}
	pid := b.idle[false][0].pid
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil || len(fds) != 1 {
		t.Errorf("the process has %v, %v, not its socket alone", fds, err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil || !strings.Contains(string(status), "Name:\tindy aside\n") || !strings.Contains(string(status), "Threads:\t1\n") {
		t.Errorf("%s, %v", status, err)
	}
	if sid, err := unix.Getsid(pid); err != nil || sid != pid {
		t.Errorf("its session is %d, %v", sid, err)
	}
	for _, s := range []unix.Signal{unix.SIGTERM, unix.SIGHUP, unix.SIGINT, unix.SIGURG, unix.SIGPIPE} {
		if err := unix.Kill(pid, s); err != nil {
			t.Error(err)
		}
	}
	if err := b.WriteFile(unbind, []byte("0000:03:00.0")); err != nil {
		t.Errorf("after signals: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("after Close: %v", err)
	}
	if n := descriptors(t); n != before {
		t.Errorf("%d descriptors more after Close", n-before)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}

// What it says of an error is what the running host itself says of it.
func TestErrors(t *testing.T) {
	b := below(t, 0, "sys/bus/pci/rescan")
	b.root = ""
	live := hostfs.Live()
	for _, name := range []string{"sys/bus/pci/drivers/nothing/bind", "sys/bus/pci/devices/none/driver_override"} {
		got, want := b.WriteFile(name, []byte("x")), live.WriteFile(name, []byte("x"))
		if got == nil || want == nil || got.Error() != want.Error() || !errors.Is(got, fs.ErrNotExist) {
			t.Errorf("%s: %v; the host says %v", name, got, want)
		}
	}
	const missing = "sys/bus/pci/devices/none/driver_override"
	_, got := b.ReadFile(missing)
	_, want := live.ReadFile(missing)
	if got == nil || got.Error() != want.Error() {
		t.Errorf("%v; the host says %v", got, want)
	}
	if err := b.WriteFile(unbind, make([]byte, 1<<20)); !errors.Is(err, unix.ENAMETOOLONG) {
		t.Errorf("a value of 1 MiB: %v", err)
	}
	// The kernel's errors arrive as they are.
	b.root = t.TempDir()
	full := filepath.Join(b.root, unbind)
	if err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.Symlink("/dev/full", full)); err != nil {
		t.Fatal(err)
	}
	if err := b.WriteFile(unbind, []byte("x")); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("a write that fails: %v", err)
	}
}

func TestNames(t *testing.T) {
	b := below(t, 0, unbind, "etc/passwd", "sys/bus/pci/devices/0000:02:00.0/vpd")
	for _, name := range []string{
		"etc/passwd", "sys/bus/pci/devices/0000:02:00.0/vpd", "sys/bus/pci/drivers/nvme/new_id", "sys/bus/pci/drivers/../drivers_probe",
		"../etc/passwd", "/etc/passwd", "", "sys/bus/pci/drivers/a/b/unbind",
	} {
		if err := b.WriteFile(name, []byte("x")); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("write %q: %v", name, err)
		}
		if _, err := b.ReadFile(name); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("read %q: %v", name, err)
		}
	}
	if err := b.WriteFile("sys/bus/pci/devices/0000:02:00.0/config", []byte("x")); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("write configuration space: %v", err)
	}
	if len(b.idle[false]) != 0 {
		t.Error("a process was started for what is refused")
	}
	for _, name := range []string{
		"sys/bus/pci/drivers/vfio-pci/bind", "sys/bus/pci/drivers_probe", "sys/bus/pci/rescan", "sys/bus/pci/devices/10000:e1:00.0/reset",
		"sys/bus/pci/devices/0000:05:00.0/sriov_drivers_autoprobe", "sys/bus/pci/devices/0000:05:00.0/power/control",
		"sys/bus/usb/drivers/usbhid/unbind", "sys/bus/usb/devices/1-4.2/bConfigurationValue",
		"sys/class/mdev_bus/0000:00:02.0/mdev_supported_types/i915-GVTg_V5_4/create",
		"sys/bus/mdev/devices/83b8f4f2-509f-382f-3c1e-e6bfe0fa1001/remove",
	} {
		if !among(writable, name) {
			t.Errorf("%s cannot be written", name)
		}
	}
	for name, want := range map[string]bool{
		override: true, "sys/bus/pci/devices/0000:02:00.0/sriov_numvfs": true, "sys/bus/pci/devices/0000:02:00.0/config": true, "sys/bus/pci/devices/0000:02:00.0/uevent": false,
		"sys/bus/platform/devices/x/driver_override": false,
	} {
		if got := b.Waits(name); got != want {
			t.Errorf("Waits(%s) is %v", name, got)
		}
	}
	for _, test := range []struct{ name, value, want string }{
		{unbind, "0000:02:00.0\n", "pci 0000:02:00.0"},
		{override, "vfio-pci", "pci 0000:02:00.0"},
		{"sys/bus/pci/drivers_probe", "0000:02:00.0", "pci 0000:02:00.0"},
		{"sys/bus/pci/rescan", "1", "sys/bus/pci/rescan"},
		{"sys/bus/usb/devices/1-4/authorized", "0", "usb 1-4"},
		{"sys/bus/usb/drivers/usbhid/unbind", "1-4:1.0", "usb 1-4:1.0"},
	} {
		if got := device(test.name, test.value); got != test.want {
			t.Errorf("%s of %q is about %q, not %q", test.name, test.value, got, test.want)
		}
	}
}

// Of two calls about one device that hang, both have to come back.
func TestStuckTwice(t *testing.T) {
	first, err := start()
	if err != nil {
		t.Fatal(err)
	}
	second, err := start()
	if err != nil {
		t.Fatal(err)
	}
	const about = "pci 0000:02:00.0"
	b := &Broker{stuck: map[string][]stuck{about: {{first, &assign.StuckError{PID: first.pid}}, {second, &assign.StuckError{PID: second.pid}}}}}
	for _, c := range []*child{second, first} {
		if got, err := b.child([]string{about}, false); !errors.Is(err, assign.ErrStuck) {
			t.Fatalf("%v, %v with one that has not come back", got, err)
		}
		if err := c.stop(); err != nil {
			t.Fatal(err)
		}
	}
	c, err := b.child([]string{about}, false)
	if err != nil || len(b.stuck) != 0 {
		t.Fatalf("%v, %v", err, b.stuck)
	}
	if err := c.stop(); err != nil {
		t.Error(err)
	}
}

// A call that waits for something a signal ends is ended, and is no reason to leave the
// device alone.
func TestDeadline(t *testing.T) {
	b := below(t, 50*time.Millisecond, override)
	pipe := filepath.Join(b.root, unbind)
	if err := errors.Join(os.MkdirAll(filepath.Dir(pipe), 0o755), unix.Mkfifo(pipe, 0o644)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	err := b.WriteFile(unbind, []byte("0000:02:00.0"))
	if !errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, assign.ErrStuck) {
		t.Errorf("nobody reads: %v", err)
	}
	if took := time.Since(began); took < 50*time.Millisecond || took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	if err := b.WriteFile(override, []byte("vfio-pci")); err != nil {
		t.Errorf("the same device: %v", err)
	}
}

// A child that somebody kills is an error, and the next call has another.
func TestKilled(t *testing.T) {
	b := below(t, time.Minute, override)
	if err := b.WriteFile(override, []byte("a")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(b.idle[false][0].pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond)
	if err := b.WriteFile(override, []byte("b")); !errors.Is(err, errEnded) {
		t.Errorf("its process was killed: %v", err)
	}
	if err := b.WriteFile(override, []byte("c")); err != nil {
		t.Error(err)
	}
}

func TestManyAtOnce(t *testing.T) {
	var names []string
	for i := range 16 {
		names = append(names, fmt.Sprintf("sys/bus/pci/devices/0000:%02x:00.0/driver_override", i))
	}
	b := below(t, 0, names...)
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() {
			for n := range 50 {
				value := fmt.Sprintf("%03d:%03d\n", i, n)
				if err := b.WriteFile(name, []byte(value)); err != nil {
					t.Error(err)
				}
				if data, err := b.ReadFile(name); string(data) != value || err != nil {
					t.Errorf("%q, %v; want %q", data, err, value)
				}
			}
		})
	}
	all.Wait()
}

// What the broker costs: a process with the first call, and what a call takes then.
func BenchmarkFirstCall(b *testing.B) {
	dir := b.TempDir()
	file := filepath.Join(dir, override)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, nil, 0o644)); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		broker := Broker{root: dir}
		if err := errors.Join(broker.WriteFile(override, []byte("x")), broker.Close()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCall(b *testing.B) {
	dir := b.TempDir()
	file := filepath.Join(dir, override)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, nil, 0o644)); err != nil {
		b.Fatal(err)
	}
	broker := Broker{root: dir}
	defer broker.Close()
	for b.Loop() {
		if err := broker.WriteFile(override, []byte("x")); err != nil {
			b.Fatal(err)
		}
	}
}

// A reset of a USB device is a call on the node that is named, and on no other file.
func TestResetUSB(t *testing.T) {
	const node = "dev/bus/usb/001/004"
	b := below(t, 0, node)
	const reset = "usbfs/1-4/reset"
	for value, want := range map[string]error{
		"001/004": unix.ENOTTY, // a file is no device: the call was made
		"001/005": unix.ENOENT,
		"1/4":     unix.EINVAL, "001/004\n": unix.EINVAL, "../001": unix.EINVAL, "": unix.EINVAL, "001": unix.EINVAL, "001/004/": unix.EINVAL,
	} {
		if err := b.WriteFile(reset, []byte(value)); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", value, err, want)
		}
	}
	for _, name := range []string{"usbfs/1-4", "usbfs/reset", "usbfs/1-4/2/reset", "usbfs/1-4/unbind", node} {
		if err := b.WriteFile(name, []byte("001/004")); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := b.content(t, node); got != "(null)\n" {
		t.Errorf("it was written: %q", got)
	}
	if about := device(reset, "001/004"); about != "usb 1-4" {
		t.Errorf("it is about %q", about)
	}
}
