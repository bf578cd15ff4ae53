package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Bounds of connections at once.
const (
	maxConns    = 256 // of all but root
	maxUserOwn  = 16  // of one user
	maxRootOwn  = 64  // of root, which are not among those of all
	refuseLimit = 100 * time.Millisecond
)

// forbidden is the answer to those who have no role. It is written before anything that
// they say is read.
const forbidden = "HTTP/1.1 403 Forbidden\r\nContent-Type: application/problem+json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"

// Serve answers on a socket until ctx ends. Those who have asked then get their answers;
// what was begun for them, such as the start of a guest, goes on without the daemon.
func (d *Daemon) Serve(ctx context.Context, l *net.UnixListener) error {
	s := &http.Server{
		Handler:           d.handler(),
		ReadHeaderTimeout: readLimit, ReadTimeout: readLimit, IdleTimeout: idleLimit, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if k, ok := c.(*conn); ok {
				ctx = withCaller(ctx, k.caller)
			}
			return ctx
		},
	}
	s.RegisterOnShutdown(sync.OnceFunc(func() { close(d.closing) }))
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(&listener{UnixListener: l, d: d, conns: map[uint32]int{}}) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := s.Shutdown(end); err != nil {
		return s.Close()
	}
	return nil
}

// handler reads what is asked, which is bounded in size and time, before it is looked at.
// What then is done may take as long as it does.
func (d *Daemon) handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if callerOf(q.Context()).Role == Nobody {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		text, err := io.ReadAll(http.MaxBytesReader(w, q.Body, maxBody))
		if err != nil {
			code := http.StatusBadRequest
			var large *http.MaxBytesError
			if errors.As(err, &large) {
				code = http.StatusRequestEntityTooLarge
			}
			w.Header().Set("Connection", "close")
			w.WriteHeader(code)
			return
		}
		q.Body = io.NopCloser(bytes.NewReader(text))
		q.ContentLength = int64(len(text))
		c := http.NewResponseController(w)
		_ = c.SetReadDeadline(time.Time{}) // or at its end who asks would count as gone
		d.mux.ServeHTTP(&patient{w, c}, q)
	})
}

// patient gives whoever reads an answer a time for each part of it, and not for what it
// takes to be made.
type patient struct {
	http.ResponseWriter
	c *http.ResponseController
}

// Unwrap is for http.ResponseController.
func (p *patient) Unwrap() http.ResponseWriter { return p.ResponseWriter }

func (p *patient) Write(b []byte) (int, error) {
	_ = p.c.SetWriteDeadline(time.Now().Add(writeLimit))
	return p.ResponseWriter.Write(b)
}

// A listener lets in those who have a role, not too many at once.
type listener struct {
	*net.UnixListener
	d *Daemon

	mu    sync.Mutex
	conns map[uint32]int // by user
	all   int            // but those of root
}

// A conn is a connection of a known caller.
type conn struct {
	*net.UnixConn
	caller Caller
	leave  func()
}

// Close closes the connection.
func (c *conn) Close() error {
	c.leave()
	return c.UnixConn.Close()
}

// Accept waits for the next one who may ask.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			return nil, err
		}
		p, err := PeerOf(c)
		who := Caller{Peer: p, Role: l.d.Groups.Role(p), Conn: c}
		switch {
		case err != nil:
			l.d.Logger.Warn("somebody is not known", "err", err)
		case who.Role == Nobody:
			l.d.refused.add("connect")
			l.d.Logger.Debug("turned away", "uid", p.UID, "pid", p.PID)
			err = fmt.Errorf("user %d is in none of the groups %s, %s and %s", p.UID, UserGroup, OperatorGroup, AdminGroup)
		default:
			if leave, ok := l.enter(p.UID); ok {
				return &conn{UnixConn: c, caller: who, leave: sync.OnceFunc(leave)}, nil
			}
			l.d.refused.add("too-many")
			err = errors.New("too many connections")
		}
		turnAway(c, err)
	}
}

// turnAway tells somebody why, if there is room for it, and closes.
func turnAway(c *net.UnixConn, why error) {
	text := fmt.Sprintf(`{"title":"Forbidden","status":403,"detail":%q}`, why)
	_ = c.SetWriteDeadline(time.Now().Add(refuseLimit))
	_, _ = fmt.Fprintf(c, forbidden, len(text), text) // fits into the socket of who has just connected
	_ = c.Close()
}

// enter counts a connection in, if there is a place for it.
func (l *listener) enter(uid uint32) (leave func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	most := maxUserOwn
	if uid == 0 {
		most = maxRootOwn
	}
	if l.conns[uid] >= most || uid != 0 && l.all >= maxConns {
		return nil, false
	}
	l.conns[uid]++
	if uid != 0 {
		l.all++
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.conns[uid]--; l.conns[uid] == 0 {
			delete(l.conns, uid)
		}
		if uid != 0 {
			l.all--
		}
	}, true
}
