package qemu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/internal/jail"
)

// TestMain is the jail stage, and what is executed in QEMU's place to get out of it, if
// it is started as such.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "jail" {
		fd, err := strconv.Atoi(os.Args[2])
		fmt.Fprintln(os.Stderr, errors.Join(err, jail.Run(fd)))
		os.Exit(1)
	}
	if len(os.Args) > 1 && os.Args[1] == "-nodefaults" {
		attempt(os.Stderr)
		os.Exit(3)
	}
	os.Exit(m.Run())
}

// inJail makes QEMU be started in a jail.
func inJail(o Options) Options {
	o.Jail = []string{"/proc/self/exe", "jail"}
	return o
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("this test must be run by root")
		}
		hosttest.Missing(t, "only root can make another user's jail")
	}
}

// proc reads a file of QEMU's in /proc.
func proc(t *testing.T, vm *VM, name string) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", vm.PID(), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// status returns the fields of /proc/PID/status.
func status(t *testing.T, vm *VM) map[string]string {
	t.Helper()
	fields := make(map[string]string)
	for line := range strings.Lines(proc(t, vm, "status")) {
		name, value, _ := strings.Cut(line, ":")
		fields[name] = strings.Join(strings.Fields(value), " ")
	}
	return fields
}

// TestConfinedStatus measures at a QEMU that runs what its rights are, whichever program
// the stage is.
func TestConfinedStatus(t *testing.T) {
	needRoot(t)
	t.Run("itself", func(t *testing.T) { confinedStatus(t, "/proc/self/exe", "jail") })
	t.Run("indy-jail", func(t *testing.T) {
		stage := os.Getenv(jailVariable)
		if stage == "" {
			stage = hosttest.BuildJail(t, t.TempDir())
		}
		confinedStatus(t, stage)
	})
}

// jailVariable names the stage where it cannot be built, as in the emulated laptop.
const jailVariable = "INDY_TEST_JAIL"

func confinedStatus(t *testing.T, stage ...string) {
	noLeaks(t)
	g := guestOf(bootDisk(t, printText, "from the jail"))
	out := newConsole()
	vm := startTest(t, g, Options{Jail: stage, User: User{UID: 0x70001234, GID: 0x70005678}, Serial: out})
	out.waitFor(t, "from the jail")
	got := status(t, vm)
	none := "0000000000000000"
	for name, want := range map[string]string{
		"CapInh": none, "CapPrm": none, "CapEff": none, "CapBnd": none, "CapAmb": none,
		"NoNewPrivs": "1", "Seccomp": "2", "Groups": "", "TracerPid": "0", "Umask": "0077",
		"Uid": "1879052852 1879052852 1879052852 1879052852",
		"Gid": "1879070328 1879070328 1879070328 1879070328",
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	if pids := strings.Fields(got["NSpid"]); len(pids) < 2 || pids[len(pids)-1] != "1" {
		t.Errorf("NSpid is %q, want 1 in a namespace of its own", got["NSpid"])
	}
	if got := proc(t, vm, "environ"); got != "" {
		t.Errorf("environment %q", got)
	}
	if got := strings.TrimSpace(proc(t, vm, "oom_score_adj")); got != "200" {
		t.Errorf("oom_score_adj %s", got)
	}
	limits := proc(t, vm, "limits")
	for _, want := range []string{"Max core file size 0 0", "Max open files 4096 4096"} {
		if !strings.Contains(strings.Join(strings.Fields(limits), " "), want) {
			t.Errorf("%s is not in\n%s", want, limits)
		}
	}
	for _, ns := range []string{"mnt", "net", "ipc", "uts", "pid", "cgroup"} {
		own, err1 := os.Readlink("/proc/self/ns/" + ns)
		its, err2 := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", vm.PID(), ns))
		if own == its || errors.Join(err1, err2) != nil {
			t.Errorf("namespace %s: %s, %s of the starter, %v", ns, its, own, errors.Join(err1, err2))
		}
	}
	if devices := strings.Count(proc(t, vm, "net/dev"), ":"); devices != 1 || !strings.Contains(proc(t, vm, "net/dev"), "lo:") {
		t.Errorf("network: %s", proc(t, vm, "net/dev"))
	}
	for _, m := range vm.Confinement() {
		if !m.InForce && m.Name != memoryLimit { // which this host may not have
			t.Errorf("%s is not in force: %s", m.Name, m.Why)
		}
	}
	if err := vm.QMP().Call(t.Context(), "query-status", nil, nil); err != nil {
		t.Error(err)
	}
}

// TestConfinedFiles measures which files a QEMU that runs has open and which it could
// open.
func TestConfinedFiles(t *testing.T) {
	needRoot(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	other, err := os.Open(secret) // which the parent has open
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := unix.FcntlInt(other.Fd(), unix.F_SETFD, 0); err != nil { // and lets all inherit
		t.Fatal(err)
	}
	vm := startTest(t, guestOf(bootDisk(t, printText, "x")), inJail(Options{}))
	root := fmt.Sprintf("/proc/%d/root", vm.PID())

	// What is mounted there, as far as this host has it.
	var points []string
	for line := range strings.Lines(proc(t, vm, "mountinfo")) {
		fields := strings.Fields(line)
		if !strings.Contains(","+fields[5]+",", ",ro,") || !strings.Contains(fields[5], "nosuid") {
			t.Errorf("%s is mounted %s", fields[4], fields[5])
		}
		isNode := strings.HasPrefix(fields[4], "/dev/")
		if isNode != !strings.Contains(fields[5], "nodev") {
			t.Errorf("%s is mounted %s", fields[4], fields[5])
		}
		points = append(points, fields[4])
	}
	slices.Sort(points)
	var want []string
	for _, name := range []string{
		"/dev/null", "/dev/random", "/dev/urandom", "/dev/zero", "/etc/ld.so.cache", "/usr/bin/qemu-system-x86_64", "/usr/lib/ipxe",
		"/usr/lib/x86_64-linux-gnu", "/usr/share/qemu", "/usr/share/seabios",
	} {
		if exists(name) {
			want = append(want, name)
		}
	}
	if diff := cmp.Diff(want, points); diff != "" && exists("/etc/debian_version") {
		t.Errorf("mount points (-want +got):\n%s", diff)
	}
	var top []string
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		top = append(top, e.Name())
	}
	if diff := cmp.Diff([]string{"dev", "etc", "lib", "lib64", "usr"}, top); diff != "" && exists("/etc/debian_version") {
		t.Errorf("the root (-want +got):\n%s", diff)
	}
	for _, name := range []string{"/etc/shadow", "/etc/passwd", "/root", "/home", "/var/lib", "/run", "/tmp", "/proc", "/sys", "/dev/vfio", "/dev/net/tun", "/dev/kvm", "/dev/mem", "/bin/sh", "/usr/bin/env", secret} {
		if _, err := os.Lstat(root + name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}

	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", vm.PID()))
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, f := range files {
		target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", vm.PID(), f.Name()))
		if err != nil {
			continue // closed meanwhile
		}
		kind, _, _ := strings.Cut(target, ":")
		switch {
		case strings.HasSuffix(target, "/disk.raw"):
			kind = "disk"
		case target == "/dev/null" || strings.HasPrefix(target, "anon_inode"):
			kind = "own"
		case strings.HasPrefix(target, "/memfd"):
			kind = "memfd " + target
		}
		kinds[kind]++
	}
	delete(kinds, "own")
	if diff := cmp.Diff(map[string]int{"disk": kinds["disk"], "socket": 2, "pipe": kinds["pipe"]}, kinds); diff != "" || kinds["disk"] == 0 || kinds["pipe"] > 3 {
		t.Errorf("open files (-want +got):\n%s", diff)
	}
}

// TestEscape executes, where QEMU would be, a program that tries to get at the host.
func TestEscape(t *testing.T) {
	needRoot(t)
	noLeaks(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	abstract, err := net.Listen("unix", "@indy-jail-test")
	if err != nil {
		t.Fatal(err)
	}
	defer abstract.Close()
	segment, err := unix.SysvShmGet(shmKey, 4096, unix.IPC_CREAT|0o666)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.SysvShmCtl(segment, unix.IPC_RMID, nil)
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	g := guestOf()
	g.Name = "p" + port + "-" + strconv.Itoa(os.Getpid())
	g.Disks = []guest.Disk{{File: bootDisk(t, printText, "")}}
	_, err = Start(t.Context(), g, inJail(Options{Binary: binary, Accelerator: TCG}))
	var exit *ExitError
	if !errors.As(err, &exit) {
		t.Fatalf("%v", err)
	}
	n := 0
	for line := range strings.Lines(exit.Stderr) {
		name, got, ok := strings.Cut(strings.TrimSpace(line), " = ")
		if !ok {
			if !strings.HasPrefix(line, "==1==WARNING") { // of the race detector, which misses /proc
				t.Errorf("it says %q", line)
			}
			continue
		}
		n++
		t.Run(name, func(t *testing.T) {
			got, want, _ := strings.Cut(got, "; want ")
			if got != want {
				t.Errorf("%s, want %s", got, want)
			}
		})
	}
	if n < 50 {
		t.Errorf("only %d attempts", n)
	}
}

const shmKey = 0x1d7e57

// TestJailParentDies shows that QEMU, the first process of its namespace, dies with who
// started it.
func TestJailParentDies(t *testing.T) {
	needQEMU(t)
	parentDies(t, "^TestJailParentDies$", inJail(Options{Accelerator: TCG}))
}

// TestJailMemlock shows that the limit for the guest's memory is raised through the stage.
func TestJailMemlock(t *testing.T) {
	needRoot(t)
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &own); err != nil {
		t.Fatal(err)
	}
	low := unix.Rlimit{Cur: 64 << 10, Max: own.Max}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &low); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_MEMLOCK, &own)
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cred, err := credential(User{})
	if err != nil {
		t.Fatal(err)
	}
	j, err := newCell(Machine{Guest: guestOf(), Layout: Layout{Accelerator: TCG}}, binary, inJail(Options{}).Jail)
	if err != nil {
		t.Fatal(err)
	}
	p, err := launch(command{binary: binary, args: []string{"-nodefaults", "limits"}, cred: cred, memlock: 1 << 20, jail: j})
	if err != nil {
		t.Fatal(err)
	}
	<-p.done
	if said := p.stderr.String(); !strings.Contains(said, "memlock = 1048576") {
		t.Errorf("%s", said)
	}
}

// TestJailWithout shows what a starter is told that lacks one of the capabilities it
// needs: the guest does not start, and why.
func TestJailWithout(t *testing.T) {
	needRoot(t)
	tests := []struct {
		name string
		bit  uintptr
		want string
	}{
		{"CAP_SYS_ADMIN", 21, "CAP_SYS_ADMIN is needed"},
		{"CAP_SYS_CHROOT", 18, "CAP_SYS_CHROOT is needed"},
		{"CAP_SETPCAP", 8, "CAP_SETPCAP is needed"},
		{"CAP_SETGID", 6, "CAP_SETGID is needed"},
		{"CAP_SETUID", 7, "CAP_SETUID is needed"},
	}
	if name, ok := os.LookupEnv("QEMU_TEST_WITHOUT"); ok {
		binary, err := os.Executable()
		if err == nil {
			_, err = Start(t.Context(), guestOf(), inJail(Options{Binary: binary, Accelerator: TCG}))
		}
		fmt.Printf("without %s: %v\n", name, err)
		return
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			said := without(t, tt.bit, "^TestJailWithout$", "QEMU_TEST_WITHOUT="+tt.name)
			if !strings.Contains(said, tt.want) || !strings.Contains(said, "operation not permitted") || !strings.Contains(said, "confine QEMU") {
				t.Errorf("%s", said)
			}
		})
	}
}

// TestJailOfUser starts a guest as a user who is not root: in namespaces if the host lets
// users make them, and if not as without a jail, with the reason told.
func TestJailOfUser(t *testing.T) {
	if mode, ok := os.LookupEnv("QEMU_TEST_USER"); ok {
		if mode == "may not" {
			if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0); err != nil {
				t.Fatal(err)
			}
		}
		vm, err := Start(t.Context(), guestOf(), inJail(Options{Accelerator: TCG, PowerdownTimeout: -1}))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("mode %s\nCapEff %s NoNewPrivs %s Seccomp %s Uid %s\n", mode, status(t, vm)["CapEff"], status(t, vm)["NoNewPrivs"], status(t, vm)["Seccomp"], status(t, vm)["Uid"])
		for _, m := range vm.Confinement() {
			fmt.Printf("%s %v %s\n", m.Name, m.InForce, m.Why)
		}
		_, err = os.Stat(fmt.Sprintf("/proc/%d/root/etc/passwd", vm.PID()))
		fmt.Println("passwd", err == nil)
		if err := vm.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		return
	}
	needRoot(t)
	needQEMU(t)
	t.Run("who may", func(t *testing.T) {
		said := asUser(t, "^TestJailOfUser$", "QEMU_TEST_USER=may")
		for _, want := range []string{
			"CapEff 0000000000000000 NoNewPrivs 1 Seccomp 2 Uid 1879048999 ", "root true", "network true", "processes true", "groups false only root", "passwd false",
		} {
			if !strings.Contains(said, want) {
				t.Errorf("%q is not in\n%s", want, said)
			}
		}
	})
	t.Run("who may not", func(t *testing.T) {
		said := asUser(t, "^TestJailOfUser$", "QEMU_TEST_USER=may not")
		for _, want := range []string{
			"CapEff 0000000000000000 NoNewPrivs 1 Seccomp 2 Uid 1879048999 ", "root false confine QEMU: ", "network false confine QEMU: ", "passwd true",
		} {
			if !strings.Contains(said, want) {
				t.Errorf("%q is not in\n%s", want, said)
			}
		}
	})
}

// TestJailGoesWrong takes for the stage what is none, or does not do what it should.
// Nothing is left behind.
func TestJailGoesWrong(t *testing.T) {
	needRoot(t)
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	disk := bootDisk(t, printText, "")
	tests := []struct {
		name string
		jail []string
		want string
	}{
		{"no such program", []string{"/nonexistent"}, "no such file"},
		{"it ends", []string{"/bin/sh", "-c", "echo something is wrong >&2"}, "ended without a word: something is wrong"},
		{"it says something else", []string{"/bin/sh", "-c", `eval "echo hello >&$(($0 + 1))"`}, "what is no report"},
		{"it fails", []string{"/bin/sh", "-c", `eval "echo '{\"error\":{\"text\":\"no\",\"errno\":13}}' >&$(($0 + 1))"`}, "confine QEMU: no"},
		{"it hangs", []string{"/bin/sh", "-c", "exec sleep 1000"}, "context deadline exceeded"},
		{"another command of this program", []string{"/proc/self/exe", "-test.run=^$"}, "confine QEMU"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			noLeaks(t)
			before := openCount(t)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			_, err := Start(ctx, guestOf(disk), Options{Binary: binary, Accelerator: TCG, Jail: tt.jail})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if after := openCount(t); after != before {
				t.Errorf("%d files are open, before %d", after, before)
			}
		})
	}
}

func openCount(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}
