package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/guest/qemu"
)

// errGone is that the keeper does not answer any more. The guest ends with it.
var errGone = errors.New("the keeper of this guest, which is root and has its devices, has ended")

// A Client asks a keeper. It is a [Host], and the [qemu.Rights] of that.
type Client struct {
	conn *net.UnixConn

	mu    sync.Mutex
	next  uint64
	asked map[uint64]chan reply
	gone  bool
	told  *slog.Logger
}

type reply struct {
	packet
	files []*os.File
}

// NewClient makes f, the socket that the keeper started this process with, a client, which
// closes it.
func NewClient(f *os.File) (*Client, error) {
	conn, err := connOf(f)
	if err != nil {
		return nil, err
	}
	c := &Client{conn: conn, asked: make(map[uint64]chan reply), told: slog.New(slog.DiscardHandler)}
	go c.hear()
	return c, nil
}

// Close leaves the keeper, which then ends all it has started and gives the devices back.
func (c *Client) Close() error { return c.conn.Close() }

// hear hands answers to who waits for them.
func (c *Client) hear() {
	for {
		p, files, err := receive(c.conn)
		if err != nil {
			c.mu.Lock()
			c.gone = true
			for _, waiting := range c.asked {
				close(waiting)
			}
			clear(c.asked)
			c.mu.Unlock()
			return
		}
		c.mu.Lock()
		waiting, told := c.asked[p.Number], c.told
		delete(c.asked, p.Number)
		c.mu.Unlock()
		switch {
		case waiting != nil:
			waiting <- reply{p, files}
		default:
			closeAll(files)
			var line lineBody
			if p.Verb == logVerb && json.Unmarshal(p.Body, &line) == nil {
				told.Log(context.Background(), line.Level, line.Text)
			}
		}
	}
}

// ask asks for what verb is, and waits for the answer, also when ctx has ended, which the keeper
// is told of. The files that come back are the caller's.
func (c *Client) ask(ctx context.Context, v verb, in, out any, files ...*os.File) ([]*os.File, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	answer := make(chan reply, 1)
	c.mu.Lock()
	c.next++
	number := c.next
	if c.gone {
		close(answer)
	} else {
		c.asked[number] = answer
	}
	c.mu.Unlock()
	if err := send(c.conn, packet{Number: number, Verb: v, Body: body}, files); err != nil {
		c.mu.Lock()
		delete(c.asked, number)
		c.mu.Unlock()
		return nil, fmt.Errorf("%w: %w", errGone, err)
	}
	var got reply
	var there bool
	select {
	case got, there = <-answer:
	case <-ctx.Done():
		_ = send(c.conn, packet{Number: number, Verb: cancelVerb}, nil)
		got, there = <-answer
	}
	switch {
	case !there:
		return nil, fmt.Errorf("%w: %w", errGone, io.ErrUnexpectedEOF)
	case got.Error != nil:
		closeAll(got.files)
		return nil, got.Error
	}
	if out != nil {
		err := json.Unmarshal(got.Body, out)
		clear(got.Body) // there may be a key in it
		if err != nil {
			closeAll(got.files)
			return nil, err
		}
	}
	return got.files, nil
}

// file is ask for what answers with one file.
func (c *Client) file(v verb, in, out any, files ...*os.File) (*os.File, error) {
	got, err := c.ask(context.Background(), v, in, out, files...)
	if err != nil {
		return nil, err
	}
	if len(got) != 1 {
		closeAll(got)
		return nil, fmt.Errorf("%s: %d files", v, len(got))
	}
	return got[0], nil
}

// Resolve asks what the guest is on this machine.
func (c *Client) Resolve(ctx context.Context, told *slog.Logger) (r Resolved, err error) {
	c.mu.Lock()
	c.told = told
	c.mu.Unlock()
	_, err = c.ask(ctx, resolveVerb, nil, &r)
	return r, err
}

// Hold asks for the devices.
func (c *Client) Hold(ctx context.Context) (h Held, err error) {
	var b heldBody
	files, err := c.ask(ctx, holdVerb, nil, &b)
	if err != nil {
		return h, err
	}
	if b.Taps < 0 || b.USB < 0 || b.Taps+b.USB != len(files) {
		closeAll(files)
		return h, fmt.Errorf("%s: %d files", holdVerb, len(files))
	}
	return Held{files[:b.Taps], files[b.Taps:], b.Keys}, nil
}

// Started tells that the guest runs.
func (c *Client) Started() { _, _ = c.ask(context.Background(), startedVerb, nil, nil) }

// Check asks whether the devices work.
func (c *Client) Check() error {
	_, err := c.ask(context.Background(), checkVerb, nil, nil)
	return err
}

// Forgets asks which devices do not keep what they were told.
func (c *Client) Forgets() (all []string) {
	_, _ = c.ask(context.Background(), forgetsVerb, nil, &all)
	return all
}

// Reopen asks for a USB device once more.
func (c *Client) Reopen(i int) (*os.File, error) { return c.file(reopenVerb, i, nil) }

// Release gives the devices back.
func (c *Client) Release() error {
	_, err := c.ask(context.Background(), releaseVerb, nil, nil)
	return err
}

// Gone has the guest's directory taken away, which the runner has emptied and cannot remove.
func (c *Client) Gone() { _, _ = c.ask(context.Background(), goneVerb, nil, nil) }

// Rights are the keeper's, for this guest.
func (c *Client) Rights() qemu.Rights { return c }

// Open asks for a file of the guest.
func (c *Client) Open(name string, write bool) (*os.File, error) {
	f, err := c.file(openVerb, openBody{name, write}, nil)
	return named(f, name, err)
}

// KVM asks for /dev/kvm.
func (c *Client) KVM() (*os.File, error) {
	files, err := c.ask(context.Background(), kvmVerb, nil, nil)
	if err != nil || len(files) == 0 {
		return nil, err
	}
	closeAll(files[1:])
	return files[0], nil
}

// Variables asks for the file of UEFI's variables.
func (c *Client) Variables(name string, template *os.File) (*os.File, error) {
	f, err := c.file(variablesVerb, openBody{Name: name}, nil, template)
	return named(f, name, err)
}

// named gives a file that was received the name that it has.
func named(f *os.File, name string, err error) (*os.File, error) {
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// TPM has swtpm started.
func (c *Client) TPM(dir string) (*os.File, qemu.Child, error) {
	return c.served(tpmVerb, openBody{Name: dir})
}

// Passt has passt started.
func (c *Client) Passt(servers []netip.Addr) (*os.File, qemu.Child, error) {
	return c.served(passtVerb, passtBody{servers})
}

// Folder has virtiofsd started.
func (c *Client) Folder(f guest.SharedFolder) (*os.File, qemu.Child, error) {
	return c.served(folderVerb, folderBody{f})
}

func (c *Client) served(v verb, in any) (*os.File, qemu.Child, error) {
	var b childBody
	f, err := c.file(v, in, &b)
	if err != nil {
		return nil, nil, err
	}
	return f, c.child(b), nil
}

// QEMU has QEMU started.
func (c *Client) QEMU(ctx context.Context, m qemu.Machine, files []*os.File) (qemu.Child, []qemu.Measure, error) {
	var b childBody
	if _, err := c.ask(ctx, qemuVerb, m, &b, files...); err != nil {
		return nil, nil, err
	}
	return c.child(b), b.Measures, nil
}

// A child is a process that the keeper has started.
type child struct {
	c      *Client
	number uint64
	pid    int
	done   chan struct{}
	end    qemu.End
}

func (c *Client) child(b childBody) *child {
	p := &child{c: c, number: b.Child, pid: b.PID, done: make(chan struct{})}
	go func() {
		var end endBody
		_, err := c.ask(context.Background(), waitVerb, p.number, &end)
		if p.end = end.end(); err != nil {
			p.end.Err = err
		}
		close(p.done)
	}()
	return p
}

func (p *child) PID() int { return p.pid }

func (p *child) Kill() error {
	_, err := p.c.ask(context.Background(), killVerb, p.number, nil)
	return err
}

func (p *child) Done() <-chan struct{} { return p.done }

func (p *child) End() qemu.End { return p.end }
