package daemon

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// consoleProtocol is what a connection for the console is upgraded to: the bytes of the
// serial port in both directions, and nothing else.
const consoleProtocol = "indy-console"

// maxConsoles is how many may be at serial ports, or follow what guests do, at once. Each is one
// of the connections of its user, too.
const maxConsoles = 64

// lookAgain is how often is looked whether who is at a serial port may be there still.
const lookAgain = 250 * time.Millisecond

type consoleIn struct {
	One
	Upgrade string `header:"Upgrade" doc:"indy-console connects with the serial port in both directions, until one of the two ends; without it, the last that was written is the answer"`
}

// console answers with the last that a guest wrote to its serial port or, when the connection
// is to be upgraded, becomes that.
func (d *Daemon) console(ctx context.Context, in *consoleIn) (*huma.StreamResponse, error) {
	if in.Upgrade == "" {
		return streamed(d.kept(Runner.OpenConsole, "application/octet-stream")(ctx, &in.One))
	}
	if !strings.EqualFold(in.Upgrade, consoleProtocol) {
		return nil, huma.Error400BadRequest(fmt.Sprintf("upgrade to %.40q: expected %s", in.Upgrade, consoleProtocol))
	}
	r, err := d.runs(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	select {
	case d.consoles <- struct{}{}:
	default:
		return nil, huma.Error503ServiceUnavailable("too many are at serial ports")
	}
	port, err := r.Attach(ctx)
	if err != nil {
		<-d.consoles
		return nil, answered(err)
	}
	who := callerOf(ctx)
	d.Logger.Info("somebody is at a serial port", "guest", in.Name, "uid", who.Peer.UID)
	may := d.mayStill(ctx, GuestsConsole, in.Name)
	return &huma.StreamResponse{Body: func(c huma.Context) {
		defer func() { <-d.consoles }()
		defer port.Close()
		_, w := humago.Unwrap(c)
		d.connect(w, port, may)
	}}, nil
}

// connect makes of a request a connection with a serial port. It returns when either end has
// closed it, has not taken what it was sent in time, who asked may not be there any more, or
// the daemon ends.
func (d *Daemon) connect(w http.ResponseWriter, port io.ReadWriteCloser, may func() bool) {
	conn, both, err := http.NewResponseController(w).Hijack()
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Time{}) // those of requests are not meant
	ended := make(chan struct{}, 2)
	var ways sync.WaitGroup
	ways.Go(func() {
		_, _ = io.Copy(port, both)
		ended <- struct{}{}
	})
	ways.Go(func() {
		to := timed{conn}
		_, err := fmt.Fprintf(to, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", consoleProtocol)
		if err == nil {
			_, _ = io.Copy(to, port)
		}
		ended <- struct{}{}
	})
	d.whileMay(may, ended)
	_ = errors.Join(conn.Close(), port.Close()) // which ends the other one
	ways.Wait()
}

// whileMay returns when a connection has ended, may not go on, or the daemon ends.
func (d *Daemon) whileMay(may func() bool, ended <-chan struct{}) {
	look := time.NewTicker(lookAgain)
	defer look.Stop()
	for may() { // once at first: it may have been changed while the port was connected
		select {
		case <-look.C:
		case <-ended:
			return
		case <-d.closing:
			return
		}
	}
}

// timed gives whoever reads a time for each part.
type timed struct{ conn net.Conn }

func (t timed) Write(p []byte) (int, error) {
	_ = t.conn.SetWriteDeadline(time.Now().Add(writeLimit))
	return t.conn.Write(p)
}

// Attach connects with the serial port of a guest. What is read begins with the last that the
// guest wrote. The context bounds the connecting alone; the caller closes the connection.
func (c *Client) Attach(ctx context.Context, name string) (io.ReadWriteCloser, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	r := bufio.NewReader(conn)
	var a *http.Response
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: indy\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", guestPath(name, "console"), consoleProtocol)
	if err == nil {
		a, err = http.ReadResponse(r, nil)
	}
	switch {
	case err != nil:
		err = fmt.Errorf("the daemon does not answer: %w", errors.Join(err, ctx.Err()))
	case a.StatusCode != http.StatusSwitchingProtocols:
		text, _ := io.ReadAll(io.LimitReader(a.Body, maxBody))
		err = refusal(a.StatusCode, a.Status, text)
	case !stop():
		err = ctx.Err()
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return attached{conn, r}, nil
}

// attached is a connection of which a part has been read already.
type attached struct {
	net.Conn
	r *bufio.Reader
}

// Read reads what was read already first.
func (a attached) Read(p []byte) (int, error) { return a.r.Read(p) }
