package qmp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

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
