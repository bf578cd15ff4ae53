package broker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/internal/ioctl"
)

// A child is a process that makes calls, one at a time. It ends when its socket is
// closed.
type child struct {
	pid    int
	socket int
}

func start() (*child, error) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	defer unix.Close(ends[1])
	pid, err := ioctl.Aside(ends[1], "indy aside")
	if err != nil {
		_ = unix.Close(ends[0])
		return nil, os.NewSyscallError("clone", err)
	}
	return &child{pid, ends[0]}, nil
}

// errLate is that no answer came in time, errEnded that none will.
var (
	errLate  = errors.New("no answer")
	errEnded = errors.New("the process that made the call has been killed, and nobody knows what became of the call")
)

// An answer is what a child did; without errno it did all of it.
type answer struct {
	failed byte // o: open, r: read, w: write, c: close
	errno  unix.Errno
	count  int // of bytes, or flags
	data   []byte
}

// ask has the child make a call. The error is errLate or errEnded, or the request could
// not be made.
func (c *child) ask(verb byte, name, value string, limit time.Duration, lent *lock) (answer, error) {
	if len(name) >= ioctl.AsideValue-ioctl.AsideName || len(value) > ioctl.AsideMost {
		return answer{}, unix.ENAMETOOLONG
	}
	request := make([]byte, ioctl.AsideValue+len(value))
	request[0] = verb
	copy(request[ioctl.AsideName:], name)
	copy(request[ioctl.AsideValue:], value)
	if err := lent.send(c.socket, request); err != nil {
		if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
			return answer{}, errEnded
		}
		return answer{}, err
	}
	if err := c.await(limit); err != nil {
		return answer{}, err
	}
	reply := make([]byte, ioctl.AsideData+ioctl.AsideMost)
	n, _, err := unix.Recvfrom(c.socket, reply, unix.MSG_DONTWAIT)
	if err != nil || n < ioctl.AsideData {
		return answer{}, errEnded
	}
	return answer{
		failed: reply[0],
		errno:  unix.Errno(binary.NativeEndian.Uint32(reply[ioctl.AsideErrno:])),
		count:  int(binary.NativeEndian.Uint32(reply[ioctl.AsideCount:])),
		data:   reply[ioctl.AsideData:n],
	}, nil
}

// await waits until there is something to read.
func (c *child) await(limit time.Duration) error {
	end := time.Now().Add(limit)
	for {
		left := time.Until(end)
		if left <= 0 {
			return errLate
		}
		ready := []unix.PollFd{{Fd: int32(c.socket), Events: unix.POLLIN}}
		n, err := unix.Poll(ready, int((left+time.Millisecond-1)/time.Millisecond))
		switch {
		case err != nil && !errors.Is(err, unix.EINTR):
			return os.NewSyscallError("poll", err)
		case n > 0:
			return nil
		}
	}
}

// grace is how long a child that was killed is waited for. One that is not in the kernel
// for good is gone in a fraction of it.
const grace = 100 * time.Millisecond

// kill reports whether the child has ended. If not it ends once the kernel lets go of it.
func (c *child) kill() bool { return c.killWithin(grace) }

func (c *child) killWithin(limit time.Duration) bool {
	c.close()
	_ = unix.Kill(c.pid, unix.SIGKILL)
	begun := time.Now()
	for wait := 100 * time.Microsecond; time.Since(begun) < limit; wait = min(2*wait, grace/4) {
		if c.ended() {
			return true
		}
		time.Sleep(wait)
	}
	return c.ended()
}

// ended reaps the child if it has ended, and never waits.
func (c *child) ended() bool {
	if c.pid == 0 {
		return true
	}
	pid, err := unix.Wait4(c.pid, nil, unix.WNOHANG, nil)
	if pid == c.pid || errors.Is(err, unix.ECHILD) {
		c.pid = 0 // the number may be another process's from now on
	}
	return c.pid == 0
}

func (c *child) close() {
	if c.socket >= 0 {
		_ = unix.Close(c.socket)
		c.socket = -1
	}
}

// idleGrace is how long a child that is in no call is waited for, also on a machine that is busy.
const idleGrace = 5 * time.Second

// stop ends a child that is not in a call.
func (c *child) stop() error {
	if !c.killWithin(idleGrace) {
		return fmt.Errorf("process %d does not end", c.pid)
	}
	return nil
}
