package qmp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
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
