package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/guest/qmp"
)

// The bounds of what is asked on the socket.
const (
	maxCallers = 64 // connections at once
	maxHeader  = 4 << 10
	maxBody    = 4 << 10
	readLimit  = 5 * time.Second // of a request
	writeLimit = 10 * time.Second
	idleLimit  = 30 * time.Second
)

// A server answers on the guest's socket.
type server struct {
	r    *runner
	http *http.Server

	consoles sync.WaitGroup // that are attached
}

// lastLook is how long those who look on may take for the last that there is.
const lastLook = time.Second

// listen answers on the socket from now on.
func (r *runner) listen() (*server, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: r.Dir.file(controlFile), Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // the directory may be another runner's by then
	if err := os.Chmod(r.Dir.file(controlFile), 0o600); err != nil {
		_ = l.Close()
		return nil, err
	}
	s := &server{r: r}
	s.http = &http.Server{
		Handler: s.routes(), ReadHeaderTimeout: readLimit, ReadTimeout: readLimit, IdleTimeout: idleLimit, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, callerKey{}, callerOf(c))
		},
	}
	go func() { _ = s.http.Serve(&fewAtOnce{UnixListener: l, places: make(chan struct{}, maxCallers)}) }()
	return s, nil
}

// close lets those who have asked have their answers, and then ends.
func (s *server) close() {
	ctx, cancel := context.WithTimeout(context.Background(), writeLimit) // as each answer has, also on a machine that is busy
	defer cancel()
	_ = s.http.Shutdown(ctx)
	s.consoles.Wait() // each has a deadline
	_ = s.http.Close()
}

// fewAtOnce is a listener that lets those wait who come when there are too many.
type fewAtOnce struct {
	*net.UnixListener
	places chan struct{}
}

// Accept waits for the next caller and for a place.
func (l *fewAtOnce) Accept() (net.Conn, error) {
	l.places <- struct{}{}
	c, err := l.AcceptUnix()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &placed{UnixConn: c, places: l.places}, nil
}

// placed is a connection that leaves its place when it is closed.
type placed struct {
	*net.UnixConn
	places chan struct{}
	once   sync.Once
}

// Close closes the connection.
func (c *placed) Close() error {
	c.once.Do(func() { <-c.places })
	return c.UnixConn.Close()
}

// A caller is who asks, by SO_PEERCRED of unix(7).
type caller struct {
	uid uint32
	err error
}

type callerKey struct{}

func callerOf(c net.Conn) caller {
	p, ok := c.(*placed)
	if !ok {
		return caller{err: fmt.Errorf("%T does not say who asks", c)}
	}
	raw, err := p.SyscallConn()
	if err != nil {
		return caller{err: err}
	}
	var cred *unix.Ucred
	if e := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); e != nil {
		err = e
	}
	if err != nil {
		return caller{err: err}
	}
	return caller{uid: cred.Uid}
}

// may returns nil if the caller may ask: the user whose runner this is, and root.
func (c caller) may() error {
	switch {
	case c.err != nil:
		return fmt.Errorf("who asks is not known: %w", c.err)
	case c.uid == 0, int64(c.uid) == int64(os.Geteuid()):
		return nil
	}
	return fmt.Errorf("user %d may not ask; the guest is user %d's", c.uid, os.Geteuid())
}

// routes are the requests that are answered.
func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", s.status)
	mux.HandleFunc("GET /v1/top", s.top)
	mux.HandleFunc("GET /v1/screenshot", s.screenshot)
	mux.HandleFunc("GET /v1/console", s.console)
	mux.HandleFunc("GET /v1/log", s.follow(s.r.log))
	mux.HandleFunc("GET /v1/events", s.follow(s.r.events))
	mux.HandleFunc("POST /v1/stop", s.stop)
	mux.HandleFunc("POST /v1/suspend", s.suspend)
	mux.HandleFunc("POST /v1/resume", s.resume)
	mux.HandleFunc("POST /v1/powerdown", s.doing("system_powerdown"))
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		who, ok := q.Context().Value(callerKey{}).(caller)
		if !ok {
			who.err = errors.New("no connection")
		}
		if err := who.may(); err != nil {
			s.r.logger.Warn("somebody was turned away", "err", err)
			answerError(w, http.StatusForbidden, err)
			return
		}
		q.Body = http.MaxBytesReader(w, q.Body, maxBody)
		mux.ServeHTTP(w, q)
	})
}

// A complaint is the answer to what could not be done.
type complaint struct {
	Error string `json:"error"`
}

func answer(w http.ResponseWriter, v any) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeLimit))
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // to somebody who has gone
}

func answerError(w http.ResponseWriter, code int, err error) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeLimit))
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(complaint{err.Error()})
}

// refuse answers by what went wrong.
func refuse(w http.ResponseWriter, err error) {
	var refused *qmp.Error
	code := http.StatusInternalServerError
	switch {
	case errors.Is(err, errSilent):
		code = http.StatusGatewayTimeout
	case errors.Is(err, errNotYet), errors.Is(err, errLost), errors.As(err, &refused):
		code = http.StatusConflict
	}
	answerError(w, code, err)
}
