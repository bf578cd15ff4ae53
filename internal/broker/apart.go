package broker

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// nobodyElse is where the identities begin that processes without rights have: above those of
// [github.com/project-independence/indy/guest/qemu.DefaultUser], which no account has either.
const nobodyElse = 0x78000000

// apartAccount is the account that such processes have if it exists.
const apartAccount = "indy-runner"

// ApartID returns an identity, of a user and a group: that of the account indy-runner, or where
// there is none one that nothing else on this host has while this process is there.
func ApartID() (uint32, error) {
	u, err := user.Lookup(apartAccount)
	var unknown user.UnknownUserError
	if errors.As(err, &unknown) {
		return nobodyElse + uint32(os.Getpid()), nil
	}
	if err != nil {
		return 0, err
	}
	id, err := strconv.ParseUint(u.Uid, 10, 32)
	if err == nil && (id == 0 || u.Uid != u.Gid) {
		err = errors.New("its user and its group have to have the same number, which is not 0")
	}
	if err != nil {
		return 0, fmt.Errorf("account %s: %w", apartAccount, err)
	}
	return uint32(id), nil
}

// NoIdentity says of an error, if it is that there is no such identity, what to do.
func NoIdentity(err error) error {
	if errors.Is(err, syscall.EINVAL) {
		err = fmt.Errorf("%w; where there is no such identity, as in a container, make an account: useradd --system --user-group %s", err, apartAccount)
	}
	return err
}

// An Apart is this program once more, in a process that has no rights.
type Apart struct {
	process *os.Process
	done    chan struct{}
}

// StartApart starts this program once more with these arguments and files, of which the first is
// descriptor 3, as the user and the group id. It has no supplementary groups, no capabilities
// and none by what it executes; it is killed when this process ends, with all that it has started. Its
// environment has PATH alone.
func StartApart(id uint32, path string, files []*os.File, args ...string) (*Apart, error) {
	cmd := exec.Command("/proc/self/exe", args...) // not by its name: that may be another program by now
	cmd.Args[0] = "indy"
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + path}
	cmd.ExtraFiles = files
	// As the first process of a name space all that it has started ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true, Pdeathsig: syscall.SIGKILL, Cloneflags: unix.CLONE_NEWPID, Credential: &syscall.Credential{Uid: id, Gid: id},
	}
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
		return nil, fmt.Errorf("start a process without rights, as user %d: %w", id, NoIdentity(err))
	}
	return a, nil
}

// Wait waits until it has ended.
func (a *Apart) Wait() { <-a.done }

// Kill ends it.
func (a *Apart) Kill() { _ = a.process.Kill() }
