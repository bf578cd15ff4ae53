package qemu

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A process is a QEMU, or a helper of one, that was started.
type process struct {
	cmd    *exec.Cmd
	stderr *tail
	done   chan struct{} // closed when it has ended and is reaped
	end    End           // how, but for what it wrote to standard error

	group *cgroup // that it is limited by, or nil
	far   Child   // it is that, which somebody else has started; then it has neither cmd nor group

	mu    sync.Mutex
	cause error // why it was killed from here, or by the kernel for want of memory
}

// adopt returns the process that a child is.
func adopt(c Child) *process {
	if p, ok := c.(*process); ok {
		return p
	}
	p := &process{far: c, stderr: new(tail), done: make(chan struct{})}
	go func() {
		<-c.Done()
		p.ended(c.End())
	}()
	return p
}

// ended says how the process has ended.
func (p *process) ended(end End) {
	_, _ = p.stderr.Write([]byte(end.Stderr))
	p.end, p.end.Stderr = end, ""
	if end.OutOfMemory {
		p.mu.Lock()
		if p.cause == nil {
			p.cause = fmt.Errorf("killed for want of memory: QEMU and its guest may use %d MiB: %w", end.Memory>>20, syscall.ENOMEM)
		}
		p.mu.Unlock()
	}
	close(p.done)
}

// PID returns its process id.
func (p *process) PID() int {
	if p.far != nil {
		return p.far.PID()
	}
	return p.cmd.Process.Pid
}

// Kill ends it.
func (p *process) Kill() error {
	if p.far != nil {
		return p.far.Kill()
	}
	return p.cmd.Process.Kill()
}

// Done is closed when it has ended.
func (p *process) Done() <-chan struct{} { return p.done }

// End returns how it ended.
func (p *process) End() End {
	end := p.end
	end.Stderr = p.stderr.String()
	return end
}

// A command is what a process is started with.
type command struct {
	binary  string
	args    []string
	env     []string
	files   []*os.File // from descriptor 3 on
	cred    *syscall.Credential
	memlock uint64 // how many bytes it must be able to lock
	jail    *cell  // what confines it besides; nil is nothing
}

// launch starts c. Linux sends the parent-death signal when the thread that
// started a process ends, not when the parent does, so one goroutine keeps its
// thread from the start of the process until it has been reaped.
func launch(c command) (*process, error) {
	p := &process{stderr: new(tail), done: make(chan struct{})}
	p.cmd = exec.Command(c.binary, c.args...)
	p.cmd.Env = append([]string{}, c.env...)
	p.cmd.Dir = "/"
	p.cmd.Stderr = p.stderr
	p.cmd.ExtraFiles = c.files
	p.cmd.SysProcAttr = attributes(c.cred)
	p.cmd.WaitDelay = time.Second
	if c.jail != nil {
		if err := c.jail.enter(p); err != nil {
			return nil, err
		}
		defer c.jail.close()
	}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread has given up too much to be used again
		var err error
		if c.jail == nil { // the stage needs what it takes from itself
			err = confine()
		}
		if err == nil {
			err = p.start(c.memlock)
		}
		started <- err
		if err != nil {
			return
		}
		var end End
		err = p.cmd.Wait()
		if state := p.cmd.ProcessState; state == nil {
			end.Err = err
		} else {
			end.Status, _ = state.Sys().(syscall.WaitStatus)
		}
		end.OutOfMemory, end.Memory = p.group.end()
		p.ended(end)
	}()
	err := <-started
	if err != nil {
		p.group.remove()
		if c.jail != nil {
			err = c.jail.notMade(err)
		}
	} else if c.jail != nil {
		err = c.jail.wait(p)
	}
	if errors.Is(err, syscall.EINVAL) && c.cred != nil {
		err = fmt.Errorf("run QEMU as user %d: %w; where there is no such identity, as in a container, make an account: useradd --system %s", c.cred.Uid, err, Account)
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// confine takes from this thread, and so from the processes it starts, every way
// to more rights than the user has that they run as. The thread keeps what it
// needs to become that user.
func confine() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	for c := uintptr(0); c < 64; c++ { // the kernel refuses the first one it does not know
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
			break // or all of them, to one who is not root and has none to lose
		}
	}
	return nil
}

// start starts the process with at least memlock bytes that it may lock, which
// VFIO does with all memory of the guest before the guest's first instruction. A
// limit that has to be raised is raised for the child alone: the kernel holds it
// at its first instruction as it does for a debugger.
func (p *process) start(memlock uint64) error {
	var own unix.Rlimit
	if memlock > 0 {
		if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &own); err != nil {
			return os.NewSyscallError("getrlimit", err)
		}
	}
	if own.Cur >= memlock {
		return p.cmd.Start()
	}
	p.cmd.SysProcAttr.Ptrace = true
	if err := p.cmd.Start(); err != nil {
		return err
	}
	if err := raiseMemlock(p.cmd.Process.Pid, memlock, own); err != nil {
		p.cmd.Process.Kill()
		return errors.Join(err, ignoreExit(p.cmd.Wait()))
	}
	return nil
}

// raiseMemlock raises the limit of the child that is held at its start, and lets
// it go.
func raiseMemlock(pid int, memlock uint64, own unix.Rlimit) error {
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &status, 0, nil)
		if err == nil {
			break
		}
		if err != unix.EINTR {
			return os.NewSyscallError("wait4", err)
		}
	}
	if !status.Stopped() {
		return errors.New("QEMU ended before its first instruction")
	}
	limit := unix.Rlimit{Cur: memlock, Max: max(memlock, own.Max)}
	if err := unix.Prlimit(pid, unix.RLIMIT_MEMLOCK, &limit, nil); err != nil {
		return fmt.Errorf("devices need %d MiB of locked memory and %d MiB are allowed (%w); raise the limit: ulimit -l, LimitMEMLOCK= or limits.conf",
			memlock>>20, own.Max>>20, os.NewSyscallError("prlimit", err))
	}
	return os.NewSyscallError("ptrace", unix.PtraceDetach(pid))
}

func ignoreExit(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}

// kill ends the process for the reason cause. It does not wait. The first reason
// counts.
func (p *process) kill(cause error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.done:
		return
	default:
	}
	if p.cause == nil {
		p.cause = cause
	}
	_ = p.Kill() // or it has ended just now
}

// result returns nil for a process that ended well. It must have ended.
func (p *process) result(clean func(string) string) error {
	p.mu.Lock()
	cause := p.cause
	p.mu.Unlock()
	if p.end.Err != nil {
		return errors.Join(p.end.Err, cause)
	}
	if p.end.Status == 0 { // it was quicker than whoever wanted to kill it
		return nil
	}
	return &ExitError{Status: p.end.Status, Cause: cause, Stderr: clean(p.stderr.String())}
}
