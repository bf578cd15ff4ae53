package qemu

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// attempt tries from within a jail to get at what is without, and writes a line for each
// attempt. It is executed in QEMU's place, with QEMU's arguments, by which it learns what
// to try: of the guest's name, p and the port of a server of the host, and a process.
func attempt(out io.Writer) {
	say := func(name string, got any, want string) { fmt.Fprintf(out, "%s = %v; want %s\n", name, got, want) }
	word := func(err error) string {
		var errno syscall.Errno
		switch {
		case err == nil:
			return "done"
		case errors.As(err, &errno):
			return unix.ErrnoName(errno)
		}
		return err.Error()
	}
	try := func(name, want string, do func() error) { say(name, word(do()), want) }

	switch os.Args[len(os.Args)-1] {
	case "limits":
		var memlock unix.Rlimit
		try("read own limit", "done", func() error { return unix.Getrlimit(unix.RLIMIT_MEMLOCK, &memlock) })
		fmt.Fprintf(out, "memlock = %d\n", memlock.Cur)
		return
	case "eat":
		var all [][]byte
		for range 256 {
			all = append(all, bytes.Repeat([]byte{1}, 1<<20))
		}
		fmt.Fprintln(out, "eaten", len(all))
		return
	}

	// Files.
	open := func(name string, flags int) error {
		f, err := os.OpenFile(name, flags, 0o600)
		if err == nil {
			f.Close()
		}
		return err
	}
	for _, name := range []string{
		"/etc/shadow", "/etc/passwd", "/root", "/home", "/var/lib/indy", "/run/indy", "/srv", "/boot", "/proc/self/status", "/sys/class",
		"/dev/mem", "/dev/vfio/vfio", "/dev/vfio/1", "/dev/kvm", "/dev/net/tun", "/dev/fuse", "/bin/sh", "/usr/bin/env", "/usr/bin/sudo",
	} {
		try("open "+name, "ENOENT", func() error { return open(name, os.O_RDONLY) })
	}
	for _, name := range []string{"/new", "/dev/new", "/usr/new", "/usr/share/qemu/new"} {
		try("create "+name, "EROFS", func() error { return open(name, os.O_WRONLY|os.O_CREATE) })
	}
	binary := os.Args[0]
	try("write to own program", "EACCES", func() error { return open(binary, os.O_WRONLY) })
	try("remove own program", "EROFS", func() error { return os.Remove(binary) })
	try("leave by ..", "ENOENT", func() error { return open("../../../../../../../../etc/shadow", os.O_RDONLY) })
	try("use /dev/null", "done", func() error { return open("/dev/null", os.O_RDWR) })
	try("use /dev/urandom", "done", func() error { return open("/dev/urandom", os.O_RDONLY) })
	try("make a node", "EROFS", func() error { return unix.Mknod("/dev/null2", unix.S_IFBLK|0o600, int(unix.Mkdev(254, 0))) })

	// Mounts and roots.
	try("mount", "EPERM", func() error { return unix.Mount("tmpfs", "/usr", "tmpfs", 0, "") })
	try("mount writable", "EPERM", func() error { return unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND, "") })
	try("unmount", "EPERM", func() error { return unix.Unmount("/dev/null", unix.MNT_DETACH) })
	try("unmount the root", "EPERM", func() error { return unix.Unmount("/", unix.MNT_DETACH) })
	try("change the root", "EPERM", func() error { return unix.Chroot("/usr") })
	try("make a mount namespace", "EPERM", func() error { return unix.Unshare(unix.CLONE_NEWNS) })

	// Processes.
	_, number, _ := strings.Cut(guestName(), "-")
	parent, _ := strconv.Atoi(number)
	try("signal the starter", "ESRCH", func() error { return syscall.Kill(parent, 0) })
	try("signal everybody", "ESRCH", func() error { return syscall.Kill(-1, 0) })
	try("trace the starter", "ESRCH", func() error { return unix.PtraceSeize(parent) })
	try("open the starter", "ESRCH", func() error { _, err := unix.PidfdOpen(parent, 0); return err })
	say("own number", os.Getpid(), "1")
	say("parent's number", os.Getppid(), "0")
	_, err := unix.SysvShmGet(shmKey, 4096, 0)
	say("shared memory of the host", word(err), "ENOENT")

	// The network.
	port := strings.TrimPrefix(strings.Split(guestName(), "-")[0], "p")
	dial := func(network, address string) func() error {
		return func() error {
			conn, err := net.DialTimeout(network, address, time.Second)
			if err == nil {
				conn.Close()
			}
			return err
		}
	}
	try("connect to the host", "ENETUNREACH", dial("tcp4", "127.0.0.1:"+port))
	try("connect elsewhere", "ENETUNREACH", dial("tcp4", "192.0.2.1:80"))
	try("connect by IPv6", "EADDRNOTAVAIL", dial("tcp6", "[::1]:"+port))
	try("connect to an abstract socket", "ECONNREFUSED", dial("unix", "@indy-jail-test"))
	try("open a raw socket", "EPERM", func() error { _, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, 1); return err })
	interfaces, err := net.Interfaces()
	say("interfaces", fmt.Sprint(len(interfaces), " ", word(err)), "1 done")

	// Rights.
	for _, call := range []struct {
		name   string
		number uintptr
		a      uintptr
	}{
		{"become root", unix.SYS_SETUID, 0}, {"join root's group", unix.SYS_SETGID, 0}, {"give up groups", unix.SYS_SETGROUPS, 0},
	} {
		_, _, errno := unix.RawSyscall(call.number, call.a, 0, 0)
		say(call.name, word(errno), "EPERM")
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	err = unix.Capget(&header, &caps[0])
	say("capabilities", fmt.Sprint(caps, " ", word(err)), "[{0 0 0} {0 0 0}] done")
	bounding := 0
	for c := range 64 {
		if n, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(c), 0, 0, 0); err == nil {
			bounding += n
		}
	}
	say("capabilities that it may get", bounding, "0")
	privs, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	say("no new privileges", fmt.Sprint(privs, " ", word(err)), "1 done")
	groups, err := os.Getgroups()
	say("groups", fmt.Sprint(len(groups), " ", word(err)), "0 done")
	try("change the host name", "EPERM", func() error { return unix.Sethostname([]byte("x")) })
	host, err := os.Hostname()
	say("host name", host+" "+word(err), "jail done")
	say("environment", len(os.Environ()), "0")
	say("umask", fmt.Sprintf("%o", unix.Umask(0)), "77")

	// Open files: standard ones, and one for each that QEMU is told of. What the runtime
	// opens is not inherited.
	open0 := 0
	for fd := range 1024 {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err == nil && flags&unix.FD_CLOEXEC == 0 {
			open0++
		}
	}
	say("inherited files", open0, "6")
	for _, limit := range []struct {
		name     string
		resource int
		want     uint64
	}{{"core dumps", unix.RLIMIT_CORE, 0}, {"most open files", unix.RLIMIT_NOFILE, openFiles}} {
		var r unix.Rlimit
		err := unix.Getrlimit(limit.resource, &r)
		say(limit.name, fmt.Sprint(r.Max, " ", word(err)), fmt.Sprint(limit.want, " done"))
	}
	try("raise a limit", "EPERM", func() error {
		return unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: math.MaxUint64, Max: math.MaxUint64})
	})
}

func guestName() string {
	if i := slices.Index(os.Args, "-name"); i >= 0 && i+1 < len(os.Args) {
		return strings.TrimPrefix(os.Args[i+1], "guest=")
	}
	return ""
}

// without runs a test of this binary again without the capability, and returns what it
// says.
func without(t *testing.T, capability uintptr, test string, env ...string) string {
	t.Helper()
	type result struct {
		said []byte
		err  error
	}
	ended := make(chan result)
	go func() {
		runtime.LockOSThread() // for good: what the thread has lost is lost
		err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0)
		var said []byte
		if err == nil {
			cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run="+test, "-test.v")
			cmd.Env = append(os.Environ(), env...)
			said, err = cmd.CombinedOutput()
		}
		ended <- result{said, err}
	}()
	r := <-ended
	if r.err != nil {
		t.Fatalf("%v\n%s", r.err, r.said)
	}
	return string(r.said)
}

// testUser is nobody.
const testUser = 1879048999

// asUser runs a test of this binary again as a user who is not root, in a user namespace
// of which the test can forbid more.
func asUser(t *testing.T, test string, env ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-test.run="+test, "-test.v")
	cmd.Env, cmd.Dir = append(os.Environ(), env...), "/"
	one := []syscall.SysProcIDMap{{ContainerID: testUser, HostID: testUser, Size: 1}}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: testUser, Gid: testUser, NoSetGroups: true},
		Cloneflags: syscall.CLONE_NEWUSER, UidMappings: one, GidMappings: one, AmbientCaps: []uintptr{24}, // CAP_SYS_RESOURCE
	}
	said, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	return string(said)
}

// parentDies starts a guest in a process of its own, kills that one, and waits for QEMU's
// end.
func parentDies(t *testing.T, test string, o Options) {
	t.Helper()
	if os.Getenv("QEMU_TEST_PARENT") == "1" {
		vm, err := Start(t.Context(), guestOf(), o)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("pid %d\n", vm.PID())
		select {}
	}
	parent := exec.Command(os.Args[0], "-test.run="+test)
	parent.Env = append(os.Environ(), "QEMU_TEST_PARENT=1")
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	parent.Process.Kill()
	parent.Wait()
	pid, _ := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, "pid ")))
	if err != nil || pid == 0 {
		t.Fatalf("%q, %v", line, err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) || strings.Contains(string(stat), ") Z ") { // gone, or waiting for init
			return
		}
		if time.Now().After(deadline) {
			syscall.Kill(pid, syscall.SIGKILL)
			t.Fatal("QEMU outlives its parent")
		}
	}
}
