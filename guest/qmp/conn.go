package qmp

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// A Conn is a connection to one QEMU. Its methods may be called from several
// goroutines at once.
type Conn struct {
	conn    net.Conn
	version Version
	done    chan struct{} // closed when the reader has ended
	writing chan struct{} // holds one token; taken while a message is written

	mu      sync.Mutex
	err     error // why the connection is over; nil while it is not
	last    uint64
	pending map[uint64]chan *message
	subs    map[*Subscription]struct{}
}

var errEnded = fmt.Errorf("QEMU closed the connection: %w", io.EOF)

// ended returns errEnded for each of the errors by which that shows. A reset is a
// QEMU that died before it had read all that was sent.
func ended(err error) error {
	if err == io.EOF || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) {
		return errEnded
	}
	return err
}

// New reads the greeting on conn and negotiates, so that commands can be given. It
// owns conn from then on and closes it if it fails. When ctx ends first, New fails
// with its error.
func New(ctx context.Context, conn net.Conn) (*Conn, error) {
	c := &Conn{
		conn:    conn,
		done:    make(chan struct{}),
		writing: make(chan struct{}, 1),
		pending: make(map[uint64]chan *message),
		subs:    make(map[*Subscription]struct{}),
	}
	fail := func(err error) (*Conn, error) {
		conn.Close()
		return nil, &OpError{"connect", err}
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	r := bufio.NewReader(conn)
	m, err := readMessage(r)
	for err == nil && m.Event != "" {
		m, err = readMessage(r)
	}
	if !stop() {
		return fail(ctx.Err())
	}
	switch {
	case err != nil:
		return fail(ended(err))
	case m.QMP == nil:
		return fail(fmt.Errorf("%w: an answer where the greeting belongs", ErrProtocol))
	}
	c.version = m.QMP.Version.QEMU
	go c.read(r)
	if err := c.Call(ctx, "qmp_capabilities", nil, nil); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Version returns the version QEMU greeted with.
func (c *Conn) Version() Version { return c.version }

// Call runs command with args and decodes what it returns into result. A nil args
// sends none; otherwise it must encode as a JSON object. A nil result is not
// filled. The error is an *OpError. When ctx ends before the answer, Call returns;
// the command may still be carried out.
func (c *Conn) Call(ctx context.Context, command string, args, result any) error {
	if err := c.call(ctx, command, nil, args, result); err != nil {
		return &OpError{command, err}
	}
	return nil
}

// CallFile is Call with file sent along, as getfd and add-fd want it. QEMU gets a
// descriptor of its own; file stays the caller's. The connection must be a unix
// socket, or the error is errors.ErrUnsupported.
func (c *Conn) CallFile(ctx context.Context, file *os.File, command string, args, result any) error {
	if err := c.call(ctx, command, file, args, result); err != nil {
		return &OpError{command, err}
	}
	return nil
}

// SendFile gives QEMU a descriptor of file as part of its descriptor set number
// set, so that /dev/fdset/SET opens it. QEMU chooses a descriptor with the access
// that it wants, so a set may hold one for reading and one for writing.
func (c *Conn) SendFile(ctx context.Context, file *os.File, set int) error {
	args := map[string]any{"fdset-id": set, "opaque": file.Name()}
	return c.CallFile(ctx, file, "add-fd", args, nil)
}

func (c *Conn) call(ctx context.Context, command string, file *os.File, args, result any) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	answer := make(chan *message, 1)
	id, err := c.register(answer)
	if err != nil {
		return err
	}
	defer c.forget(id)
	text, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
		ID        uint64 `json:"id"`
	}{command, args, id})
	if err != nil {
		return err
	}
	if err := c.write(ctx, append(text, '\n'), file); err != nil {
		return err
	}
	var m *message
	select {
	case m = <-answer:
	case <-ctx.Done():
		return ctx.Err()
	case <-c.done:
		select { // an answer that came just before the end
		case m = <-answer:
		default:
			return c.reason()
		}
	}
	if m.Error != nil {
		return m.Error
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(m.Return, result); err != nil {
		return fmt.Errorf("unexpected answer: %w", err)
	}
	return nil
}

func (c *Conn) register(answer chan *message) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, c.reasonLocked()
	}
	c.last++
	c.pending[c.last] = answer
	return c.last, nil
}

func (c *Conn) forget(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pending, id)
}

// write sends one message whole. A message cut short by ctx leaves nothing that
// could be said after it, so the connection is over then.
func (c *Conn) write(ctx context.Context, text []byte, file *os.File) error {
	select {
	case c.writing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-c.done:
		return c.reason()
	}
	defer func() { <-c.writing }()
	late := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		c.conn.SetWriteDeadline(time.Unix(1, 0))
		close(late)
	})
	n, err := c.send(text, file)
	if !stop() {
		<-late
		c.conn.SetWriteDeadline(time.Time{})
	}
	switch {
	case err == nil || errors.Is(err, errors.ErrUnsupported):
		return err
	case ctx.Err() != nil:
		err = ctx.Err()
		if n == 0 {
			return err // nothing was said, so nothing is broken
		}
	}
	c.fail(err)
	return ended(err)
}

// send returns how much of text was written.
func (c *Conn) send(text []byte, file *os.File) (n int, err error) {
	if file != nil {
		if n, err = c.sendFile(text, file); err != nil {
			return n, err
		}
	}
	m, err := c.conn.Write(text[n:])
	return n + m, err
}

// sendFile writes at least the first byte of text, with a descriptor of file.
func (c *Conn) sendFile(text []byte, file *os.File) (n int, err error) {
	conn, ok := c.conn.(*net.UnixConn)
	if !ok {
		return 0, fmt.Errorf("sending a file needs a unix socket: %w", errors.ErrUnsupported)
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return 0, err
	}
	controlErr := raw.Control(func(fd uintptr) {
		n, _, err = conn.WriteMsgUnix(text, syscall.UnixRights(int(fd)), nil)
	})
	return n, errors.Join(err, controlErr)
}

// read takes apart what arrives until the connection is over.
func (c *Conn) read(r *bufio.Reader) {
	defer c.finish()
	for {
		m, err := readMessage(r)
		if err == nil && m.Event == "" {
			err = c.deliver(m)
		}
		if err != nil {
			c.fail(err)
			return
		}
		if m.Event != "" {
			c.publish(m.event())
		}
	}
}

// deliver hands an answer to its call. A call that has been given up is still
// answered, so any id that was ever used is right.
func (c *Conn) deliver(m *message) error {
	if m.QMP != nil {
		return fmt.Errorf("%w: a second greeting", ErrProtocol)
	}
	id, err := strconv.ParseUint(string(m.ID), 10, 64)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case len(m.ID) == 0 && m.Error != nil:
		return fmt.Errorf("%w: QEMU did not understand a command: %w", ErrProtocol, m.Error)
	case err != nil || id == 0 || id > c.last:
		return fmt.Errorf("%w: an answer to no call", ErrProtocol)
	}
	if answer, ok := c.pending[id]; ok {
		delete(c.pending, id)
		answer <- m // has room for one
	}
	return nil
}

// fail ends the connection for the reason err, unless it is over already.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = ended(err)
	}
	c.mu.Unlock()
	c.conn.Close()
}

// finish tells everyone that the reader has ended.
func (c *Conn) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.done)
	for s := range c.subs {
		delete(c.subs, s)
		close(s.c)
	}
}

// Close ends the connection; calls in progress fail with net.ErrClosed. Closing
// again does nothing. The error is always nil.
func (c *Conn) Close() error {
	c.fail(net.ErrClosed)
	<-c.done
	return nil
}

// Done is closed when the connection is over.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err returns why the connection is over, in the words of OpError.Err, and nil
// while it is not.
func (c *Conn) Err() error {
	select {
	case <-c.done:
		return c.reason()
	default:
		return nil
	}
}

func (c *Conn) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reasonLocked()
}

func (c *Conn) reasonLocked() error {
	if c.err == errEnded {
		return errEnded
	}
	return fmt.Errorf("the connection is over: %w", c.err)
}
