package lab_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// launchVariable has TestLaunchInside run a program, with what follows its own flags.
const launchVariable = "INDY_LAB_LAUNCH"

// changing are the system calls that change what others see: files and what is in them.
// Of openat only those count that may make a file.
func changing() []uint32 {
	return []uint32{
		unix.SYS_WRITE, unix.SYS_PWRITE64, unix.SYS_WRITEV, unix.SYS_FALLOCATE, unix.SYS_FTRUNCATE, unix.SYS_FSYNC, unix.SYS_FDATASYNC,
		unix.SYS_RENAME, unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_UNLINK, unix.SYS_UNLINKAT, unix.SYS_RMDIR,
		unix.SYS_MKDIR, unix.SYS_MKDIRAT, unix.SYS_LINKAT, unix.SYS_SYMLINKAT, unix.SYS_FCHMOD, unix.SYS_FCHMODAT,
	}
}

// TestLaunchInside becomes another program, of which every system call that changes
// something is shown to whoever traces it: a filter says which, so that all the others
// cost nothing.
func TestLaunchInside(t *testing.T) {
	program := os.Getenv(launchVariable)
	if program == "" {
		t.Skip("a helper of the tests that trace")
	}
	var args []string
	for i, a := range os.Args {
		if a == "--" {
			args = append([]string{program}, os.Args[i+1:]...)
			break
		}
	}
	runtime.LockOSThread()
	if err := filter(); err != nil {
		t.Fatal(err)
	}
	t.Fatal(syscall.Exec(program, args, os.Environ()))
}

// filter puts the filter over this thread and what it will execute.
func filter() error {
	const (
		load, equal, anyBit, ret = 0x20, 0x15, 0x45, 0x06 // BPF_LD|W|ABS, JMP|JEQ|K, JMP|JSET|K, RET|K
		number, flags            = 0, 16 + 2*8            // offsets in struct seccomp_data
		allow, trace             = unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_TRACE
	)
	var program []byte
	add := func(code uint16, jt, jf uint8, k uint32) {
		program = binary.NativeEndian.AppendUint16(program, code)
		program = append(program, jt, jf)
		program = binary.NativeEndian.AppendUint32(program, k)
	}
	add(load, 0, 0, number)
	for _, n := range changing() {
		add(equal, 0, 1, n)
		add(ret, 0, 0, trace)
	}
	add(equal, 0, 3, unix.SYS_OPENAT)
	add(load, 0, 0, flags)
	add(anyBit, 0, 1, unix.O_CREAT)
	add(ret, 0, 0, trace)
	add(ret, 0, 0, allow)

	// struct sock_fprog: a length, padding and a pointer.
	fprog := make([]byte, 16)
	binary.NativeEndian.PutUint16(fprog, uint16(len(program)/8))
	binary.NativeEndian.PutUint64(fprog[8:], uint64(reflect.ValueOf(program).Pointer()))
	err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	if err == nil {
		err = unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, reflect.ValueOf(fprog).Pointer(), 0, 0)
	}
	runtime.KeepAlive(program)
	runtime.KeepAlive(fprog)
	return err
}

// A killing is one run of a program that is killed at one of its system calls.
type killing struct {
	at     int  // the system call, counted from 1; 0 is none
	within bool // the call goes on while it is killed

	points []string // the calls that were seen, with the file of each
	killed bool
	status syscall.WaitStatus
	output string
}

// run runs program to its end, or kills it. Processes that it has started are let run to
// their ends. It uses a thread of its own, which alone may ask for what it traces.
func (k *killing) run(program string, args ...string) error {
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with what it traces
		ended <- k.trace(program, args)
	}()
	return <-ended
}

func (k *killing) trace(program string, args []string) error {
	out, err := os.CreateTemp("", "killed")
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, append([]string{"-test.run=^TestLaunchInside$", "--"}, args...)...)
	cmd.Env = append(os.Environ(), launchVariable+"="+program)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	main := cmd.Process.Pid
	defer cmd.Process.Release()
	if err := k.follow(main); err != nil {
		_ = unix.Kill(main, unix.SIGKILL)
		return err
	}
	said, err := os.ReadFile(out.Name())
	k.output = string(said)
	return err
}

func (k *killing) follow(main int) error {
	var status unix.WaitStatus
	if _, err := unix.Wait4(main, &status, unix.WALL, nil); err != nil || !status.Stopped() {
		return fmt.Errorf("the program did not begin: %v, status %#x", err, status)
	}
	const options = unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_TRACEEXEC |
		unix.PTRACE_O_TRACESECCOMP | unix.PTRACE_O_EXITKILL
	if err := unix.PtraceSetOptions(main, options); err != nil {
		return err
	}
	if err := unix.PtraceCont(main, 0); err != nil {
		return err
	}
	began := false
	for {
		pid, err := unix.Wait4(-1, &status, unix.WALL|unix.WNOTHREAD, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ECHILD):
			return nil
		case err != nil:
			return err
		}
		if !status.Stopped() {
			if pid == main {
				k.status = syscall.WaitStatus(status)
			}
			continue
		}
		signal := 0
		switch event := int(status) >> 16; {
		case event == unix.PTRACE_EVENT_EXEC && pid == main:
			began = true
		case event == unix.PTRACE_EVENT_SECCOMP && began:
			k.seen(main, pid)
		case event == 0 && status.StopSignal() != unix.SIGTRAP && status.StopSignal() != unix.SIGSTOP:
			signal = int(status.StopSignal())
		}
		if err := unix.PtraceCont(pid, signal); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
}

// seen is called when a thread is about to make a call.
func (k *killing) seen(main, pid int) {
	point, ok := describe(pid)
	if !ok || k.killed {
		return
	}
	k.points = append(k.points, point)
	if len(k.points) != k.at {
		return
	}
	k.killed = true
	if k.within {
		// The kernel finishes what it has begun, and the process does not see it.
		_ = unix.PtraceCont(pid, 0)
		_ = unix.Nanosleep(&unix.Timespec{Nsec: 3e6}, nil)
	}
	_ = unix.Kill(main, unix.SIGKILL)
}

// describe says what call a thread is about to make, and on which file. A write to what is
// no file is none that anybody else sees.
func describe(pid int) (string, bool) {
	var regs unix.PtraceRegs
	if err := unix.PtraceGetRegs(pid, &regs); err != nil {
		return "", false
	}
	onFile := map[uint64]string{
		unix.SYS_WRITE: "write", unix.SYS_PWRITE64: "pwrite", unix.SYS_WRITEV: "writev", unix.SYS_FALLOCATE: "fallocate",
		unix.SYS_FTRUNCATE: "ftruncate", unix.SYS_FSYNC: "fsync", unix.SYS_FDATASYNC: "fdatasync", unix.SYS_FCHMOD: "fchmod",
	}
	if name, ok := onFile[regs.Orig_rax]; ok {
		file, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, int32(regs.Rdi)))
		return name + " " + file, err == nil && strings.HasPrefix(file, "/")
	}
	name, path := "", regs.Rdi
	switch regs.Orig_rax {
	case unix.SYS_OPENAT:
		name, path = "create", regs.Rsi
	case unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2:
		name, path = "rename", regs.Rsi
	case unix.SYS_UNLINKAT:
		name, path = "unlink", regs.Rsi
	case unix.SYS_MKDIRAT:
		name, path = "mkdir", regs.Rsi
	case unix.SYS_LINKAT:
		name, path = "link", regs.Rsi
	case unix.SYS_FCHMODAT:
		name, path = "chmod", regs.Rsi
	default:
		name = fmt.Sprintf("call %d", regs.Orig_rax)
	}
	text := make([]byte, 256)
	n, _ := unix.PtracePeekData(pid, uintptr(path), text)
	return name + " " + unix.ByteSliceToString(text[:n]), true
}
