package uevent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// kernelGroup is the multicast group in which the kernel itself speaks; udev has the
// next one.
const kernelGroup = 1

// A Conn receives the kernel's events from when it was made. It may be used by many
// goroutines at once; each event goes to one of them.
type Conn struct {
	file   *os.File
	raw    syscall.RawConn
	closed atomic.Bool

	reading chan struct{} // full while somebody reads, who alone uses what follows
	data    []byte
	oob     []byte
}

// Listen begins to receive the kernel's events (NETLINK_KOBJECT_UEVENT). It does not
// block. The error is [errors.ErrUnsupported] where this kernel or sandbox does not
// let the process listen, and keeps the kernel's.
func Listen(o Options) (*Conn, error) {
	c, err := listen(o)
	if err != nil {
		switch {
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOMEM), errors.Is(err, unix.ENOBUFS):
			return nil, fmt.Errorf("listen to the kernel's events: %w", err)
		}
		return nil, fmt.Errorf("listen to the kernel's events: %w (%w)", err, errors.ErrUnsupported)
	}
	return c, nil
}

func listen(o Options) (*Conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	file := os.NewFile(uintptr(fd), "uevent")
	c := &Conn{file: file, reading: make(chan struct{}, 1), data: make([]byte, maxMessage+1),
		oob: make([]byte, unix.CmsgSpace(unix.SizeofUcred))}
	if err := c.prepare(fd, o); err != nil {
		_ = file.Close()
		return nil, err
	}
	return c, nil
}

func (c *Conn) prepare(fd int, o Options) (err error) {
	size := o.Buffer
	if size <= 0 {
		size = defaultBuffer
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size); err != nil {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, size); err != nil {
			return os.NewSyscallError("setsockopt SO_RCVBUF", err)
		}
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1); err != nil {
		return os.NewSyscallError("setsockopt SO_PASSCRED", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: kernelGroup}); err != nil {
		return os.NewSyscallError("bind", err)
	}
	c.raw, err = c.file.SyscallConn()
	return err
}

// Close ends listening. A Read that waits returns [os.ErrClosed].
func (c *Conn) Close() error {
	c.closed.Store(true)
	return c.file.Close()
}

// Read waits for the next event, and for its turn, and returns it. It stops waiting
// when ctx ends, with ctx's error, and when the Conn is closed, with [os.ErrClosed].
// After [ErrOverflow], and after [ErrMalformed], which is about one message, it may be
// called again. Messages of others than the kernel are passed over.
func (c *Conn) Read(ctx context.Context) (Event, error) {
	select {
	case c.reading <- struct{}{}:
		defer func() { <-c.reading }()
	case <-ctx.Done():
		return Event{}, ctx.Err()
	}
	if err := ctx.Err(); err != nil {
		return Event{}, err
	}
	if err := c.file.SetReadDeadline(time.Time{}); err != nil {
		return Event{}, c.readError(ctx, err)
	}
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = c.file.SetReadDeadline(time.Unix(1, 0)) // past: wakes whoever waits
		close(woken)
	})
	defer func() {
		if !stop() {
			<-woken // or it would wake the next Read
		}
	}()
	for {
		message, err := c.receive()
		switch {
		case err != nil:
			return Event{}, c.readError(ctx, err)
		case message != nil:
			return Parse(message)
		}
	}
}

// receive waits for one message. One that is not the kernel's is nil.
func (c *Conn) receive() (message []byte, err error) {
	var n, oobn int
	var from unix.Sockaddr
	wait := c.raw.Read(func(fd uintptr) bool {
		for {
			n, oobn, _, from, err = unix.Recvmsg(int(fd), c.data, c.oob, 0)
			if err != unix.EINTR {
				return err != unix.EAGAIN
			}
		}
	})
	if wait != nil {
		return nil, wait
	}
	if err != nil {
		return nil, os.NewSyscallError("recvmsg", err)
	}
	if !fromKernel(from, c.oob[:oobn]) {
		return nil, nil
	}
	return c.data[:n], nil
}

// fromKernel reports whether a message was sent by the kernel to all that listen to
// it. A process has a port of its own, and may have written to ours alone.
func fromKernel(from unix.Sockaddr, oob []byte) bool {
	sender, ok := from.(*unix.SockaddrNetlink)
	if !ok || sender.Pid != 0 || sender.Groups != kernelGroup {
		return false
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(messages) != 1 {
		return false
	}
	who, err := unix.ParseUnixCredentials(&messages[0])
	return err == nil && who.Pid == 0 && who.Uid == 0
}

func (c *Conn) readError(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, unix.ENOBUFS):
		return ErrOverflow
	case c.closed.Load():
		err = os.ErrClosed
	case errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil:
		return ctx.Err()
	}
	return fmt.Errorf("read the kernel's events: %w", err)
}
