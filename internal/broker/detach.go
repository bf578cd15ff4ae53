package broker

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// Detach starts this program once more, with these arguments, as a process that goes on
// when this one, its terminal and its session have ended: it has a session of its own and
// neither terminal nor any open file of this process. Its working directory is /, and its
// environment has PATH alone.
func Detach(path string, args ...string) error { return DetachWith(path, nil, args...) }

// DetachWith is Detach for a process that has open files of this one, the first of them as
// descriptor 3. They stay open here.
func DetachWith(path string, files []*os.File, args ...string) error {
	_, err := DetachProcess(path, files, args...)
	return err
}

// DetachProcess is DetachWith, and returns which process it is.
func DetachProcess(path string, files []*os.File, args ...string) (pid int, err error) {
	// Not by its name: that may be another program by now.
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = "indy"
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + path}
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil { // without Stdin, Stdout and Stderr these are /dev/null
		return 0, fmt.Errorf("start a process that goes on alone: %w", err)
	}
	// This process may go on for long, too, as a daemon does, and would keep all that have
	// ended as zombies.
	go func() { _, _ = cmd.Process.Wait() }()
	return cmd.Process.Pid, nil
}
