package qemu

import (
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// socketpair returns a connection and the file of its far end, which a child can
// inherit.
func socketpair(name string) (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	near, far := os.NewFile(uintptr(fds[0]), name), os.NewFile(uintptr(fds[1]), name)
	defer near.Close()
	conn, err := net.FileConn(near)
	if err != nil {
		far.Close()
		return nil, nil, err
	}
	return conn, far, nil
}

// A serial carries a guest's serial port between a socket and its user.
type serial struct {
	conn    net.Conn
	drained chan struct{} // closed when all output has been passed on
}

// drainTimeout is how long a writer may take for the last of a guest's output.
const drainTimeout = 5 * time.Second

func pump(conn net.Conn, out io.Writer, in io.Reader) *serial {
	s := &serial{conn: conn, drained: make(chan struct{})}
	if out == nil {
		out = io.Discard
	}
	go func() {
		defer close(s.drained)
		if _, err := io.Copy(onlyWriter{out}, conn); err != nil {
			io.Copy(io.Discard, conn) // the guest must not wait for a writer that is gone
		}
	}()
	if in != nil {
		go io.Copy(onlyWriter{conn}, in)
	}
	return s
}

// close waits for the rest of the output and closes the socket. QEMU must have
// ended, so that there is an end to wait for.
func (s *serial) close() {
	timer := time.NewTimer(drainTimeout)
	defer timer.Stop()
	select {
	case <-s.drained:
	case <-timer.C:
	}
	s.conn.Close()
}

// onlyWriter hides a writer's ReadFrom, which might wait for more than there is.
type onlyWriter struct{ io.Writer }
