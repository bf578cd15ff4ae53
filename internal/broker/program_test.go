package broker

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/pci"
)

// serving is the word by which this program, the test, serves below a directory.
const serving = "indy-test-serves"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == serving {
		if err := Serve(callsBelow(os.Args[2])); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// callsBelow has the files of a directory for the kernel. What is written is what came; the
// bus of functions is reset by writing their addresses.
func callsBelow(dir string) Calls {
	write := func(name string, data []byte) error {
		fd, err := unix.Open(filepath.Join(dir, name), unix.O_WRONLY, 0)
		if err != nil {
			return &fs.PathError{Op: "open", Path: name, Err: err}
		}
		offMain(func() { _, err = unix.Write(fd, data) }) // which nothing interrupts, as it is in the kernel
		return errors.Join(err, unix.Close(fd))
	}
	return Calls{
		ReadFile: func(name string) ([]byte, error) {
			if strings.HasSuffix(name, "vlan") {
				return nil, errors.New("this driver says nothing\nof that")
			}
			return os.ReadFile(filepath.Join(dir, name))
		},
		WriteFile: write,
		ResetBus: func(all []pci.Address) error {
			return write("reset", []byte(fmt.Sprint(all)))
		},
	}
}

// offMain calls f in a thread that is not the first of its process: when that is killed,
// the first thread ends at once.
func offMain(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			offMain(f)
			return
		}
		f()
	}()
	<-done
}

const (
	mac  = "rtnetlink/0000:02:00.0/vf/0/mac"
	vlan = "rtnetlink/0000:02:00.0/vf/0/vlan"
)

func program(t *testing.T, limit time.Duration, names ...string) *Broker {
	t.Helper()
	b := below(t, limit, names...)
	b.Program = []string{serving, b.root}
	return b
}

// What takes more than a file is done by this program, started once.
func TestProgram(t *testing.T) {
	b := program(t, 0, mac, vlan, "reset", unbind)
	before := descriptors(t)
	for _, value := range []string{"02:00:00:00:00:01", "02:00:00:00:00:02"} {
		if err := b.WriteFile(mac, []byte(value)); err != nil {
			t.Fatal(err)
		}
		if data, err := b.ReadFile(mac); err != nil || string(data) != value {
			t.Errorf("%q, %v", data, err)
		}
	}
	both := []pci.Address{pci.NewAddress(0, 4, 1, 0), pci.NewAddress(0, 4, 2, 0)}
	if err := b.ResetBus(both); err != nil || b.content(t, "reset") != "[0000:04:01.0 0000:04:02.0]" {
		t.Errorf("reset of %q, %v", b.content(t, "reset"), err)
	}
	if err := b.WriteFile(unbind, []byte("0000:02:00.0")); err != nil {
		t.Error(err)
	}
	if len(b.idle[true]) != 1 || len(b.idle[false]) != 1 || descriptors(t) != before+2 {
		t.Errorf("%d and %d processes, %d descriptors", len(b.idle[true]), len(b.idle[false]), descriptors(t)-before)
	}
	pid := b.idle[true][0].pid
	if sid, err := unix.Getsid(pid); err != nil || sid != pid {
		t.Errorf("its session is %d, %v", sid, err)
	}
	if env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)); err != nil || len(env) != 0 {
		t.Errorf("its environment is %q, %v", env, err)
	}

	// Errors arrive with their number, and without one as they are.
	const none = "rtnetlink/0000:09:00.0/vf/0/mac"
	var path *fs.PathError
	if err := b.WriteFile(none, []byte("x")); !errors.Is(err, fs.ErrNotExist) || !errors.As(err, &path) || strings.Count(err.Error(), "mac") != 1 {
		t.Errorf("%v", err)
	}
	if _, err := b.ReadFile(none); !errors.Is(err, unix.ENOENT) {
		t.Errorf("%v", err)
	}
	if _, err := b.ReadFile(vlan); err == nil || !strings.HasSuffix(err.Error(), ": this driver says nothing\nof that") {
		t.Errorf("%v", err)
	}
	for _, name := range []string{"rtnetlink/0000:02:00.0/vf/0/trust", "rtnetlink/../vf/0/mac", "vfio/reset_bus", "rtnetlink"} {
		if err := b.WriteFile(name, []byte("x")); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := b.ReadFile(name); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: %v", name, err)
		}
	}
	alone := below(t, 0, mac)
	if err := alone.ResetBus(both); !errors.Is(err, fs.ErrPermission) || alone.Writes(mac) || alone.Waits(mac) || !b.Writes(mac) || !b.Waits(mac) {
		t.Errorf("without a program: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("after Close: %v", err)
	}
}

// What a process is asked for by its socket is looked at there, too.
func TestProgramAskedForOthers(t *testing.T) {
	calls := Calls{
		ReadFile:  func(string) ([]byte, error) { return nil, errors.New("read") },
		WriteFile: func(string, []byte) error { return errors.New("written") },
		ResetBus:  func([]pci.Address) error { return errors.New("reset") },
	}
	for _, c := range []struct {
		verb        byte
		name, value string
		want        string
	}{
		{'r', mac, "", "read"},
		{'w', mac, "x", "written"},
		{'w', busReset, "0000:04:01.0", "reset"},
		{'r', busReset, "", errNotOurs.Error()},
		{'w', busReset, "", "no function named"},
		{'w', busReset, "04", "address"},
		{'w', "etc/passwd", "", errNotOurs.Error()},
		{'w', "rtnetlink/../vf/0/mac", "", errNotOurs.Error()},
	} {
		if _, err := calls.make(c.verb, c.name, []byte(c.value)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%c %s %q: %v, want %q", c.verb, c.name, c.value, err, c.want)
		}
	}
}

// A reset of a bus that hangs in the kernel is given up as an unbind is: none of the
// functions gets another call until it has come back, and others do.
func TestResetBusHangs(t *testing.T) {
	const first, second = "sys/bus/pci/devices/0000:04:01.0/driver_override", "sys/bus/pci/devices/0000:04:02.0/driver_override"
	b := program(t, time.Second, "reset", first, second, override, mac)
	h := hang(t, filepath.Join(b.root, "reset"))
	link := filepath.Join(b.root, "sys/bus/pci/devices/0000:04:01.0/iommu_group")
	if err := os.Symlink("../../../kernel/iommu_groups/11", link); err != nil {
		t.Fatal(err)
	}
	warm(t, b)
	both := []pci.Address{pci.NewAddress(0, 4, 1, 0), pci.NewAddress(0, 4, 2, 0)}
	err := b.ResetBus(both)
	var stuck *assign.StuckError
	if !errors.As(err, &stuck) || stuck.File != "dev/vfio/11" || stuck.Waited != b.Deadline || stuck.PID <= 0 {
		t.Fatalf("%v", err)
	}
	for _, name := range []string{first, second} {
		if err := b.WriteFile(name, []byte("x")); !errors.Is(err, assign.ErrStuck) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := b.ResetBus(both[1:]); !errors.Is(err, assign.ErrStuck) {
		t.Errorf("again: %v", err)
	}
	b.Deadline = time.Minute // what does not hang may take its time
	if err := b.WriteFile(override, []byte("vfio-pci")); err != nil {
		t.Errorf("another device: %v", err)
	}
	h.release(<-h.writes, len("[0000:04:01.0 0000:04:02.0]"))
	comesBack(t, stuck)
	if err := b.WriteFile(first, []byte("nvme")); err != nil {
		t.Errorf("after it came back: %v", err)
	}
}

// Rtnetlink that waits for whoever changes a network interface is given up, too, and the
// function is left alone; settings of others go on.
func TestSettingHangs(t *testing.T) {
	const numvfs, other = "sys/bus/pci/devices/0000:02:00.0/sriov_numvfs", "rtnetlink/0000:05:00.0/vf/0/mac"
	b := program(t, time.Second, mac, numvfs, other)
	h := hang(t, filepath.Join(b.root, mac))
	warm(t, b)
	err := b.WriteFile(mac, []byte("02:00:00:00:00:01"))
	var stuck *assign.StuckError
	if !errors.As(err, &stuck) || stuck.File != mac {
		t.Fatalf("%v", err)
	}
	if stuck.Started == "" || stuck.Over(hostfs.Live()) {
		t.Errorf("over while it hangs: %+v", stuck)
	}
	if err := b.WriteFile(numvfs, []byte("0")); !errors.Is(err, assign.ErrStuck) {
		t.Errorf("its function: %v", err)
	}
	b.Deadline = time.Minute // what does not hang may take its time
	if err := b.WriteFile(other, []byte("02:00:00:00:00:02")); err != nil {
		t.Errorf("another function: %v", err)
	}
	h.release(<-h.writes, len("02:00:00:00:00:01"))
	comesBack(t, stuck)
}

// warm starts the program, which may take longer than a call.
func warm(t *testing.T, b *Broker) {
	t.Helper()
	limit := b.Deadline
	b.Deadline = time.Minute
	if _, err := b.ReadFile(mac); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOSYS) {
		t.Fatal(err)
	}
	b.Deadline = limit
}

func comesBack(t *testing.T, stuck *assign.StuckError) {
	t.Helper()
	live := hostfs.Live()
	for end := time.Now().Add(5 * time.Second); !stuck.Over(live); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not over after the kernel has come back")
		}
	}
}

// The kernel waits for a minute for a device that was reset. What the user says bounds
// that, too.
func TestDeadlines(t *testing.T) {
	const reset = "sys/bus/pci/devices/0000:02:00.0/reset"
	for _, c := range []struct {
		said time.Duration
		want []time.Duration
	}{
		{0, []time.Duration{65 * time.Second, 65 * time.Second, 10 * time.Second, 10 * time.Second, 10 * time.Second}},
		{20 * time.Second, slices.Repeat([]time.Duration{20 * time.Second}, 5)},
		{5 * time.Minute, slices.Repeat([]time.Duration{5 * time.Minute}, 5)},
	} {
		b := &Broker{Deadline: c.said}
		var got []time.Duration
		for _, name := range []string{reset, busReset, unbind, reset + "_method", mac} {
			got = append(got, b.limit(name))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("--deadline %s: %v, want %v", c.said, got, c.want)
		}
	}
}
