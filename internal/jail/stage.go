package jail

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// The names of what may be kept; see [Report].
const (
	Groups = "groups" // supplementary groups, which only root can give up
	Under  = "under"  // the host's root is covered by the new one, not gone
)

// hostName is what the program takes for the name of the host.
const hostName = "jail"

// Main is [Run] for a program that does nothing else, with its arguments: the descriptor.
func Main(args []string) error {
	if len(args) != 1 {
		return errors.New("expected a descriptor; only indy itself uses this command")
	}
	fd, err := strconv.ParseUint(args[0], 10, 16)
	if err != nil {
		return fmt.Errorf("descriptor %q is no number; only indy itself uses this command", args[0])
	}
	return Run(int(fd))
}

// Run reads a [Spec] from the descriptor fd, makes of this process what it says, and
// executes the program. It returns only with an error, which is on the pipe fd+1 then,
// too. The process must be the first one of a PID namespace and must end when Run
// returns: much may have been taken from it by then.
func Run(fd int) error {
	// What follows is of this thread: its mounts, its identity, and the parent-death
	// signal. The others end when it executes the program.
	runtime.LockOSThread()
	for n := fd; n <= fd+1; n++ {
		if n < 3 || setCloseOnExec(n) != nil {
			return fmt.Errorf("descriptor %d is no file of whoever starts a guest; only indy itself uses this command", n)
		}
	}
	report := os.NewFile(uintptr(fd+1), "report")
	err := run(os.NewFile(uintptr(fd), "spec"), fd, report)
	return errors.Join(err, Report{Error: failed(err)}.say(report))
}

func setCloseOnExec(fd int) error {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC)
	return err
}

func run(in *os.File, fd int, report *os.File) error {
	s, err := readSpec(in)
	if err != nil {
		return err
	}
	if os.Getpid() != 1 {
		return errors.New("not the first process of a PID namespace")
	}
	if 3+s.Files != fd {
		return fmt.Errorf("%d files, and the spec is descriptor %d", s.Files, fd)
	}
	var said Report
	keep := func(what, why string) {
		if said.Kept == nil {
			said.Kept = make(map[string]string)
		}
		said.Kept[what] = why
	}
	if err := limit(s); err != nil {
		return err
	}
	if err := newRoot(s, keep); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(hostName)); err != nil {
		return fmt.Errorf("set the host name: %w", os.NewSyscallError("sethostname", err))
	}
	if err := unix.CloseRange(uint(3+s.Files), math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return os.NewSyscallError("close_range", err)
	}
	if err := giveUp(s); err != nil {
		return err
	}
	if s.UID == 0 {
		keep(Groups, "only root can give up supplementary groups")
	}
	// The change of identity would have cleared it. A parent that ended before this line
	// has closed its end of the pipe, and is found out by the next one.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	if err := said.say(report); err != nil {
		return err
	}
	err = syscall.Exec(s.Program, append([]string{s.Program}, s.Args...), s.Env)
	return &fs.PathError{Op: "execute", Path: s.Program, Err: err}
}

// limit sets what is of the process alone.
func limit(s Spec) error {
	unix.Umask(0o077)
	if err := unix.Prlimit(0, unix.RLIMIT_CORE, new(unix.Rlimit), nil); err != nil {
		return os.NewSyscallError("prlimit", err)
	}
	if s.OpenFiles > 0 {
		var now unix.Rlimit
		if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, nil, &now); err != nil {
			return os.NewSyscallError("prlimit", err)
		}
		n := min(s.OpenFiles, now.Max)
		if err := unix.Prlimit(0, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: n}, nil); err != nil {
			return os.NewSyscallError("prlimit", err)
		}
	}
	if s.OOMScoreAdj == 0 {
		return nil
	}
	// A process can be made to end earlier than others by anybody, and later by root alone.
	f, err := os.OpenFile("/proc/self/oom_score_adj", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(strconv.Itoa(s.OOMScoreAdj))
	return errors.Join(err, f.Close())
}

// giveUp takes every right from this thread that the user does not have whom it becomes,
// and every way to more. Each call is made for this thread alone, which is the one that
// is left when the program is executed.
func giveUp(s Spec) error {
	for c := uintptr(0); ; c++ { // the kernel refuses the first one it does not know
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) && c > 0 {
			break
		}
		if err != nil {
			return fmt.Errorf("drop capability %d: %w; CAP_SETPCAP is needed", c, os.NewSyscallError("prctl", err))
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	if s.UID != 0 {
		uid, gid := uintptr(s.UID), uintptr(s.GID)
		for _, call := range []struct {
			name    string
			number  uintptr
			a, b, c uintptr
			needs   string
		}{
			{"setgroups", unix.SYS_SETGROUPS, 0, 0, 0, "CAP_SETGID"},
			{"setresgid", unix.SYS_SETRESGID, gid, gid, gid, "CAP_SETGID"},
			{"setresuid", unix.SYS_SETRESUID, uid, uid, uid, "CAP_SETUID"},
		} {
			_, _, errno := unix.RawSyscall(call.number, call.a, call.b, call.c)
			if errno == unix.EPERM {
				return fmt.Errorf("become user %d: %w; %s is needed", s.UID, os.NewSyscallError(call.name, errno), call.needs)
			}
			if errno != 0 {
				return fmt.Errorf("become user %d: %w", s.UID, os.NewSyscallError(call.name, errno))
			}
		}
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return os.NewSyscallError("capset", err)
	}
	return os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
}
