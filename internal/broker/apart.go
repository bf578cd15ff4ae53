package broker

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// nobodyElse is where the identities begin that processes without rights have: above those of
// [github.com/project-independence/indy/guest/qemu.DefaultUser], which no account has either.
const nobodyElse = 0x78000000

// ApartID returns an identity, of a user and a group, that nothing else on this host has while
// this process is there.
func ApartID() uint32 { return nobodyElse + uint32(os.Getpid()) }

// An Apart is this program once more, in a process that has no rights.
type Apart struct {
	process *os.Process
	done    chan struct{}
}

// StartApart starts this program once more with these arguments and files, of which the first is
// descriptor 3, as the user and the group id. It has no supplementary groups, no capabilities
// and no way to any; it is killed when this process ends. Its environment has PATH alone.
func StartApart(id uint32, path string, files []*os.File, args ...string) (*Apart, error) {
	cmd := exec.Command("/proc/self/exe", args...) // not by its name: that may be another program by now
	cmd.Args[0] = "indy"
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + path}
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL, Credential: &syscall.Credential{Uid: id, Gid: id}}
	a := &Apart{done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// Linux sends the parent-death signal when the thread ends that has started a process, and
		// this one has given up too much to be used again.
		runtime.LockOSThread()
		err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		if err == nil {
			err = cmd.Start()
		}
		a.process = cmd.Process
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait() // how it ended, it has told
		close(a.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start a process without rights, as user %d: %w", id, err)
	}
	return a, nil
}

// Wait waits until it has ended, which it is made to when it takes longer than close to.
func (a *Apart) Wait() { <-a.done }

// Kill ends it.
func (a *Apart) Kill() { _ = a.process.Kill() }
