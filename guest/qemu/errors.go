package qemu

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
)

// An OpError is an operation on a guest that failed.
type OpError struct {
	Op    string // "start" or "run"
	Guest string
	Err   error // such as *fs.PathError, *ExitError, *qmp.OpError or a context's error
}

// Error names the operation, the guest and the reason.
func (e *OpError) Error() string { return e.Op + " guest " + e.Guest + ": " + e.Err.Error() }

// Unwrap returns the reason.
func (e *OpError) Unwrap() error { return e.Err }

// An ExitError is a QEMU that ended other than by a guest powering off or by
// being asked to.
type ExitError struct {
	// Status is how the process ended, as wait(2) has it.
	Status syscall.WaitStatus

	// Cause is why it was ended from here, nil if it ended by itself. It is
	// syscall.ENOMEM if the kernel ended it because it used more memory than it may.
	Cause error

	// Stderr is the last that QEMU wrote to standard error, at most 16 KiB, with
	// the names of files in place of descriptors.
	Stderr string
}

// Error gives the exit status or signal and the first of what QEMU had to say.
func (e *ExitError) Error() string {
	text := "QEMU ended: " + ending(e.Status)
	if e.Cause != nil {
		text = e.Cause.Error() + "; QEMU was ended: " + ending(e.Status)
	}
	if s := summary(e.Stderr); s != "" {
		text += ": " + s
	}
	return text
}

// ending says how a process ended, in the words of [os.ProcessState].
func ending(s syscall.WaitStatus) string {
	switch {
	case s.Exited():
		return "exit status " + strconv.Itoa(s.ExitStatus())
	case s.Signaled() && s.CoreDump():
		return "signal: " + s.Signal().String() + " (core dumped)"
	case s.Signaled():
		return "signal: " + s.Signal().String()
	}
	return fmt.Sprintf("wait status %#x", uint32(s))
}

// Unwrap returns Cause.
func (e *ExitError) Unwrap() error { return e.Cause }

// summary returns the first lines of QEMU's standard error that are more than
// warnings, and of the dump that KVM makes of a processor the line with the reason.
func summary(stderr string) string {
	var lines []string
	for line := range strings.Lines(stderr) {
		line = strings.TrimPrefix(strings.TrimSpace(line), program+": ")
		switch {
		case line == "" || strings.Contains(line, "warning: ") || strings.HasPrefix(line, "extra data["):
		case line == "emulation failure":
			return strings.Join(append(lines, line), "; ")
		case strings.Contains(line, "Suberror") || len(lines) < 3:
			lines = append(lines, fmt.Sprintf("%.400s", line))
		}
	}
	return strings.Join(lines, "; ")
}
