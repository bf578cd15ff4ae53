package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/internal/runner"
)

// Socket is where the daemon answers.
const Socket = "/run/indy/daemon.sock"

// A Client asks the daemon.
type Client struct {
	http *http.Client
	dial func(context.Context) (*net.UnixConn, error)
}

// ErrNone is that there is no daemon.
var ErrNone = errors.New("there is no daemon")

// dialLimit is how long is waited for a daemon to let somebody in.
const dialLimit = 2 * time.Second

// Dial returns a client of the daemon at a socket. The error is [ErrNone] when nobody
// listens there, or who does is not root.
func Dial(socket string) (*Client, error) {
	dial := func(ctx context.Context) (*net.UnixConn, error) {
		d := net.Dialer{Timeout: dialLimit}
		c, err := d.DialContext(ctx, "unix", socket)
		if err != nil {
			return nil, err
		}
		u := c.(*net.UnixConn)
		// The socket of somebody else would be told definitions, and believed.
		if p, err := PeerOf(u); err != nil || p.UID != 0 && int64(p.UID) != int64(os.Geteuid()) {
			_ = u.Close()
			return nil, fmt.Errorf("%s: %w of root's", socket, ErrNone)
		}
		return u, nil
	}
	c, err := dial(context.Background())
	if err != nil {
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOTDIR) {
			err = fmt.Errorf("%w: %w", ErrNone, err)
		}
		return nil, err
	}
	first := make(chan net.Conn, 1)
	first <- c
	return &Client{dial: dial, http: &http.Client{Transport: &http.Transport{
		MaxConnsPerHost: 4, MaxResponseHeaderBytes: 64 << 10, IdleConnTimeout: idleLimit / 2,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			select {
			case c := <-first:
				return c, nil
			default:
				return dial(ctx)
			}
		},
	}}}, nil
}

// Close closes the connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// A RefusalError is what the daemon did not do.
type RefusalError struct {
	Code int // of HTTP
	Text string
}

// Error returns what the daemon said.
func (e *RefusalError) Error() string { return e.Text }

// maxAnswer is how long an answer of the daemon may be.
const maxAnswer = 64 << 20

// ask asks for a path and decodes what is answered into out, unless that is nil.
func (c *Client) ask(ctx context.Context, method, path string, in, out any) error {
	text, err := c.raw(ctx, method, path, in)
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("the daemon's answer is not understood: %w", err)
	}
	return nil
}

// raw asks for a path.
func (c *Client) raw(ctx context.Context, method, path string, in any) ([]byte, error) {
	a, err := c.open(ctx, method, path, in)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	return readAnswer(a)
}

// readAnswer reads an answer to its end.
func readAnswer(a io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(a, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("the daemon's answer broke off: %w", err)
	case len(text) > maxAnswer:
		return nil, fmt.Errorf("the daemon's answer is longer than %d bytes", maxAnswer)
	}
	return text, nil
}

// open asks for a path, and returns what is answered, which the caller closes.
func (c *Client) open(ctx context.Context, method, path string, in any) (io.ReadCloser, error) {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		defer clear(text) // there may be a key in it
		body = bytes.NewReader(text)
	}
	q, err := http.NewRequestWithContext(ctx, method, "http://indy"+path, body)
	if err != nil {
		return nil, err
	}
	if in != nil {
		q.Header.Set("Content-Type", "application/json")
	}
	a, err := c.http.Do(q)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return nil, fmt.Errorf("the daemon does not answer: %w", err)
	}
	if a.StatusCode < 300 {
		return a.Body, nil
	}
	defer a.Body.Close()
	text, err := readAnswer(a.Body)
	if err != nil {
		return nil, err
	}
	return nil, refusal(a.StatusCode, a.Status, text)
}

// refusal reads an answer of RFC 9457.
func refusal(code int, status string, text []byte) error {
	var said struct {
		Detail string
		Errors []struct{ Message, Location string }
	}
	if json.Unmarshal(text, &said) != nil || said.Detail == "" {
		said.Detail = "the daemon answers " + status
	}
	lines := []string{said.Detail}
	for _, e := range said.Errors {
		lines = append(lines, strings.TrimPrefix(e.Location+": ", ": ")+e.Message)
	}
	return &RefusalError{code, strings.Join(lines, "\n")}
}

func guestPath(name, word string) string {
	path := "/v1/guests/" + url.PathEscape(name)
	if word != "" {
		path += "/" + word
	}
	return path
}

// Version returns which daemon it is, and what who asks may do.
func (c *Client) Version(ctx context.Context) (v Version, err error) {
	err = c.ask(ctx, http.MethodGet, "/v1/version", nil, &v)
	return v, err
}

// List returns all guests.
func (c *Client) List(ctx context.Context) (l GuestList, err error) {
	err = c.ask(ctx, http.MethodGet, "/v1/guests", nil, &l)
	return l, err
}

// Show returns the definition of a guest.
func (c *Client) Show(ctx context.Context, name string) (g GuestText, err error) {
	err = c.ask(ctx, http.MethodGet, guestPath(name, ""), nil, &g)
	return g, err
}

// Create makes a guest of a definition, and the first of its disks empty, of that many bytes,
// unless they are 0. The key is the passphrase of that disk, nil for one that has none.
func (c *Client) Create(ctx context.Context, definition string, disk int64, key []byte) (g GuestText, err error) {
	in := map[string]any{"definition": definition, "disk_size": disk}
	if len(key) > 0 {
		in["key"] = key
	}
	err = c.ask(ctx, http.MethodPost, "/v1/guests", in, &g)
	return g, err
}

// Edit replaces a definition that was read before.
func (c *Client) Edit(ctx context.Context, name, before, definition string) (g GuestText, err error) {
	err = c.ask(ctx, http.MethodPut, guestPath(name, ""), map[string]string{"before": before, "definition": definition}, &g)
	return g, err
}

// Delete forgets a guest, and returns which of its disks are deleted.
func (c *Client) Delete(ctx context.Context, name string, disks bool) (deleted []string, err error) {
	var out struct{ Deleted []string }
	err = c.ask(ctx, http.MethodDelete, guestPath(name, "")+fmt.Sprintf("?disks=%t", disks), nil, &out)
	return out.Deleted, err
}

// Start starts a guest and returns when it runs. The key is the passphrase of its disks, nil
// for a guest that asks for none.
func (c *Client) Start(ctx context.Context, name string, key []byte) (s runner.Status, err error) {
	if len(key) == 0 {
		return c.post(ctx, name, "start")
	}
	err = c.ask(ctx, http.MethodPost, guestPath(name, "start"), map[string][]byte{"key": key}, &s)
	return s, err
}

// Stop has a guest shut itself down within a time, 0 for as long as usual, and returns when
// it has ended and its devices are given back.
func (c *Client) Stop(ctx context.Context, name string, within time.Duration) (s runner.Status, err error) {
	err = c.ask(ctx, http.MethodPost, guestPath(name, "stop"), map[string]float64{"timeout": within.Seconds()}, &s)
	return s, err
}

// Kill ends a guest at once.
func (c *Client) Kill(ctx context.Context, name string) (runner.Status, error) {
	return c.post(ctx, name, "kill")
}

// Powerdown presses its power button.
func (c *Client) Powerdown(ctx context.Context, name string) (runner.Status, error) {
	return c.post(ctx, name, "powerdown")
}

// Sleep has a guest put itself to sleep, and stand still if it does not within a time.
func (c *Client) Sleep(ctx context.Context, name string, within time.Duration) (s runner.Status, err error) {
	err = c.ask(ctx, http.MethodPost, guestPath(name, "suspend"), map[string]any{"sleep": true, "timeout": within.Seconds()}, &s)
	return s, err
}

// Suspend has a guest stand still.
func (c *Client) Suspend(ctx context.Context, name string) (runner.Status, error) {
	return c.post(ctx, name, "suspend")
}

// Resume has it go on.
func (c *Client) Resume(ctx context.Context, name string) (runner.Status, error) {
	return c.post(ctx, name, "resume")
}

func (c *Client) post(ctx context.Context, name, word string) (s runner.Status, err error) {
	err = c.ask(ctx, http.MethodPost, guestPath(name, word), nil, &s)
	return s, err
}

// Status returns how a guest is.
func (c *Client) Status(ctx context.Context, name string) (s runner.Status, err error) {
	err = c.ask(ctx, http.MethodGet, guestPath(name, "status"), nil, &s)
	return s, err
}

// Top returns what a guest uses of the host.
func (c *Client) Top(ctx context.Context, name string) (t runner.Top, err error) {
	err = c.ask(ctx, http.MethodGet, guestPath(name, "top"), nil, &t)
	return t, err
}

// Kept returns the last of a guest's log, events or console, or its screenshot as PNG.
func (c *Client) Kept(ctx context.Context, name, what string) ([]byte, error) {
	return c.raw(ctx, http.MethodGet, guestPath(name, what), nil)
}

// Follow returns what is kept of a guest's log or events, and what comes: until the guest has
// ended, the daemon ends, who asks may be told no more, or ctx ends. The caller closes it.
func (c *Client) Follow(ctx context.Context, name, what string) (io.ReadCloser, error) {
	return c.open(ctx, http.MethodGet, guestPath(name, what)+"?follow=true", nil)
}

// Document returns devices, leases, the metrics or the OpenAPI document.
func (c *Client) Document(ctx context.Context, what string) ([]byte, error) {
	return c.raw(ctx, http.MethodGet, "/v1/"+what, nil)
}

// Recover finishes or takes back what was interrupted.
func (c *Client) Recover(ctx context.Context) ([]byte, error) {
	return c.raw(ctx, http.MethodPost, "/v1/recover", nil)
}

// BootReport returns how long the start took.
func (c *Client) BootReport(ctx context.Context) (b BootReport, err error) {
	err = c.ask(ctx, http.MethodGet, "/v1/boot-report", nil, &b)
	return b, err
}

// Power returns how the host is powered, and what was done with guests because of it.
func (c *Client) Power(ctx context.Context) (r PowerReport, err error) {
	err = c.ask(ctx, http.MethodGet, "/v1/power", nil, &r)
	return r, err
}

// Autostart starts the guests that start by themselves, and reports whether that was not
// done before at this boot. It does not wait for them.
func (c *Client) Autostart(ctx context.Context) (begun bool, err error) {
	var out struct{ Begun bool }
	err = c.ask(ctx, http.MethodPost, "/v1/autostart", nil, &out)
	return out.Begun, err
}

// Shutdown stops all guests, by force those that take longer than within, which is as long as
// usual when it is 0. It returns when they have ended.
func (c *Client) Shutdown(ctx context.Context, within time.Duration) ([]Stopped, error) {
	var out struct {
		Guests []Stopped
		Errors []string
	}
	err := c.ask(ctx, http.MethodPost, fmt.Sprintf("/v1/shutdown?timeout=%g", within.Seconds()), nil, &out)
	for _, e := range out.Errors {
		err = errors.Join(err, errors.New(e))
	}
	return out.Guests, err
}
