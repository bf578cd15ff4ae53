package privsep

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/guest/store"
	"github.com/project-independence/indy/internal/daemon"
)

// The deadlines of who asks.
const (
	shortLimit = 15 * time.Second // for what takes a moment; a change of the store may wait for another
	startLimit = time.Minute      // for a process to be started
	diskLimit  = 10 * time.Minute // for a disk to be made
)

// A Client asks the broker.
type Client struct {
	Socket string // of the broker
	Guests string // where definitions are, of which this process can open none
}

// ask asks for something with a file, or with none, and returns what is answered. The file that
// comes with it is the caller's, and is there if want says so.
func (c *Client) ask(ctx context.Context, limit time.Duration, q request, file *os.File, want bool) (answer, *os.File, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	a, f, err := c.talk(ctx, q, file)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return a, nil, fmt.Errorf("the broker does not answer: %w", err)
	}
	switch e := a.Error; {
	case e != nil && e.Code != 0:
		err = coded{err: e}
	case e != nil:
		err = e
	case want && f == nil:
		err = errors.New("the broker has opened nothing")
	}
	if f != nil && (err != nil || !want) {
		_ = f.Close()
		f = nil
	}
	return a, f, err
}

func (c *Client) talk(ctx context.Context, q request, file *os.File) (a answer, f *os.File, err error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unixpacket", c.Socket)
	if err != nil {
		return a, nil, err
	}
	defer conn.Close()
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return a, nil, fmt.Errorf("a %T is no socket of the broker's", conn)
	}
	// Whoever else had the socket would be believed.
	if p, err := daemon.PeerOf(u); err != nil || p.UID != 0 && int64(p.UID) != int64(os.Geteuid()) {
		return a, nil, errors.Join(fmt.Errorf("%s is not root's", c.Socket), err)
	}
	stop := context.AfterFunc(ctx, func() { _ = u.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := send(u, q, file); err != nil {
		return a, nil, err
	}
	f, err = receive(u, &a)
	return a, f, err
}

// parse makes an entry of what the broker has read.
func (c *Client) parse(name string, text []byte) (store.Entry, error) {
	e := store.Entry{Text: text, Dir: filepath.Join(c.Guests, name)}
	var err error
	if e.Definition, err = guest.ParseDefinition(filepath.Join(e.Dir, "guest.yaml"), text); err != nil {
		e.Definition = guest.Definition{Name: name}
	}
	return e, err
}

// List is that of [daemon.Definitions].
func (c *Client) List() ([]store.Entry, error) {
	_, f, err := c.ask(context.Background(), shortLimit, request{Verb: listVerb}, nil, true)
	if err != nil {
		return nil, err
	}
	var said definitions
	if err := readFile(f, &said); err != nil {
		return nil, err
	}
	var errs []error
	for _, text := range said.Errors {
		errs = append(errs, errors.New(text))
	}
	var all []store.Entry
	for _, d := range said.All {
		e, err := c.parse(d.Name, d.Text)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, e)
	}
	return all, errors.Join(errs...)
}

// readFile reads JSON from a file that the broker has made, and closes it.
func readFile(f *os.File, v any) error {
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("what the broker says is longer than %d bytes", maxFile)
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(text, v)
}

// Read is that of [daemon.Definitions].
func (c *Client) Read(name string) (store.Entry, error) {
	a, _, err := c.ask(context.Background(), shortLimit, request{Verb: readVerb, Name: name}, nil, false)
	if err != nil && a.Text == nil {
		return store.Entry{}, err
	}
	e, bad := c.parse(name, a.Text)
	if err == nil {
		err = bad
	}
	if err != nil {
		e.Definition = guest.Definition{Name: name}
	}
	return e, err
}

// as asks for a change on behalf of somebody.
func (c *Client) as(ctx context.Context, who daemon.Caller, limit time.Duration, q request) (answer, error) {
	if who.Conn == nil {
		return answer{}, errors.New("it is not known on whose behalf the broker would be asked")
	}
	f, err := who.Conn.File()
	if err != nil {
		return answer{}, err
	}
	defer f.Close()
	a, _, err := c.ask(ctx, limit, q, f, false)
	return a, err
}

// Create is that of [daemon.Definitions].
func (c *Client) Create(ctx context.Context, who daemon.Caller, g daemon.NewGuest) (store.Entry, error) {
	a, err := c.as(ctx, who, diskLimit, request{Verb: createVerb, Text: g.Text, Size: g.DiskSize, Key: g.Key})
	if err != nil {
		return store.Entry{}, err
	}
	return c.made(a)
}

// made is the entry that a change has made.
func (c *Client) made(a answer) (store.Entry, error) {
	if len(a.Names) != 1 {
		return store.Entry{}, errors.New("the broker does not say which guest it is")
	}
	return c.parse(a.Names[0], a.Text)
}

// Replace is that of [daemon.Definitions].
func (c *Client) Replace(ctx context.Context, who daemon.Caller, before store.Entry, text []byte) (store.Entry, error) {
	a, err := c.as(ctx, who, shortLimit, request{Verb: replaceVerb, Name: before.Name, Before: sum(before.Text), Text: text})
	if err != nil {
		return store.Entry{}, err
	}
	return c.made(a)
}

// Delete is that of [daemon.Definitions].
func (c *Client) Delete(ctx context.Context, who daemon.Caller, before store.Entry, disks bool) ([]string, error) {
	a, err := c.as(ctx, who, shortLimit, request{Verb: deleteVerb, Name: before.Name, Before: sum(before.Text), On: disks})
	return a.Names, err
}

// Start starts the runner of a guest, and returns what that announces, for [runner.Listen].
func (c *Client) Start(name string, key []byte) (*os.File, error) {
	_, f, err := c.ask(context.Background(), startLimit, request{Verb: startVerb, Name: name, Key: key}, nil, true)
	return f, err
}

// Dial is that of [runner.Access].
func (c *Client) Dial(ctx context.Context, name string) (net.Conn, error) {
	_, f, err := c.ask(ctx, shortLimit, request{Verb: connectVerb, Name: name}, nil, true)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return net.FileConn(f)
}

// Open is that of [runner.Access].
func (c *Client) Open(ctx context.Context, name, file string) (*os.File, error) {
	_, f, err := c.ask(ctx, shortLimit, request{Verb: openVerb, Name: name, What: file}, nil, true)
	return f, err
}

// Locked is that of [runner.Access].
func (c *Client) Locked(ctx context.Context, name string) (bool, error) {
	a, _, err := c.ask(ctx, shortLimit, request{Verb: lockedVerb, Name: name}, nil, false)
	return a.On, err
}

// Forget is that of [runner.Access].
func (c *Client) Forget(ctx context.Context, name string) error {
	_, _, err := c.ask(ctx, shortLimit, request{Verb: forgetVerb, Name: name}, nil, false)
	return err
}

// Devices, Leases and Recover are those of [daemon.Host].
func (c *Client) Devices(ctx context.Context) (json.RawMessage, error) {
	return c.document(ctx, "devices")
}

// Leases is that of [daemon.Host].
func (c *Client) Leases(ctx context.Context) (json.RawMessage, error) {
	return c.document(ctx, "leases")
}

// Recover is that of [daemon.Host].
func (c *Client) Recover(ctx context.Context) (json.RawMessage, error) {
	return c.document(ctx, "recover")
}

// document is what a command writes, as a file that comes with the error, too.
func (c *Client) document(ctx context.Context, which string) (json.RawMessage, error) {
	_, f, err := c.ask(ctx, diskLimit, request{Verb: documentVerb, What: which}, nil, true)
	if err != nil {
		return nil, err
	}
	var said document
	if err := readFile(f, &said); err != nil {
		return nil, err
	}
	if said.Error != "" {
		err = errors.New(said.Error)
	}
	return said.Document, err
}

// Inhibit returns a file by which logind waits before the host sleeps or, about the lid, leaves
// that to others, until it is closed.
func (c *Client) Inhibit(ctx context.Context, lid bool) (*os.File, error) {
	_, f, err := c.ask(ctx, shortLimit, request{Verb: inhibitVerb, On: lid}, nil, true)
	return f, err
}

// OpenLid opens an input device that is the switch of a lid.
func (c *Client) OpenLid(name string) (io.ReadCloser, error) {
	_, f, err := c.ask(context.Background(), shortLimit, request{Verb: lidVerb, Name: name}, nil, true)
	if err != nil {
		return nil, err // not a nil file
	}
	return f, nil
}
