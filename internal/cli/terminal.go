package cli

import (
	"context"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// watchReader cancels a run whose output nobody reads any more: the other end of the
// pipe has been closed, and a guest that says nothing would not make us notice.
func watchReader(ctx context.Context, env *Env, cancel context.CancelCauseFunc) {
	out, _ := env.Stdout.(*output)
	if out == nil {
		return
	}
	f, ok := out.w.(*os.File)
	if !ok {
		return
	}
	fds := []unix.PollFd{{Fd: int32(f.Fd())}} // errors and hang-ups are always told
	for ctx.Err() == nil {
		const patience = 200 // milliseconds
		if n, err := unix.Poll(fds, patience); err == nil && n > 0 {
			cancel(errInterrupted)
		}
	}
}

// serialTerminal makes a terminal pass each key to the guest's serial port at once
// and leave the echo to the guest. Ctrl-C still means us. It returns what restores
// the terminal; anything but a terminal is left alone. Ctrl-Z goes to the guest: a
// stopped indy would hold its devices and take its guest's serial port from it.
func serialTerminal(in io.Reader) (restore func()) {
	f, ok := in.(*os.File)
	if !ok {
		return func() {}
	}
	fd := int(f.Fd())
	saved, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return func() {}
	}
	raw := *saved
	raw.Lflag &^= unix.ICANON | unix.ECHO
	raw.Iflag &^= unix.ICRNL
	raw.Cc[unix.VSUSP] = 0
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &raw); err != nil {
		return func() {}
	}
	return func() { _ = unix.IoctlSetTermios(fd, unix.TCSETS, saved) }
}
