package privsep

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/project-independence/indy/guest/store"
	"github.com/project-independence/indy/internal/daemon"
	"github.com/project-independence/indy/internal/runner"
)

// Bounds of who asks.
const (
	maxAsking = 64              // at once
	maxHeavy  = 2               // of those that have the machine read
	readLimit = 5 * time.Second // for a request to come, and an answer to be taken
)

// A Server is the broker.
type Server struct {
	// UID is the user who may ask, besides root.
	UID uint32

	// Daemon is the name of the daemon's socket: whoever is connected by it is who the kernel
	// says, and what they may is by Groups.
	Daemon string
	Groups daemon.Groups

	Definitions *daemon.Stored
	Guest       func(name string) (runner.Dir, error)
	Launch      func(name string, key []byte) (*runner.Launched, error)

	// Document is what the command writes that is called so.
	Document func(command string) (json.RawMessage, error)

	// Inhibit and OpenLid are those of [Client].
	Inhibit func(ctx context.Context, lid bool) (*os.File, error)
	OpenLid func(name string) (*os.File, error)

	Logger *slog.Logger
}

// document is the file that is the answer of documentVerb.
type document struct {
	Document json.RawMessage `json:"document,omitempty"`
	Error    string          `json:"error,omitempty"`
}

// Serve answers until ctx ends. What was begun is done first.
func (s *Server) Serve(ctx context.Context, l *net.UnixListener) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	places, heavy := make(chan struct{}, maxAsking), make(chan struct{}, maxHeavy)
	var all sync.WaitGroup
	defer all.Wait()
	for {
		places <- struct{}{}
		c, err := l.AcceptUnix()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		all.Go(func() {
			defer func() { <-places }()
			defer c.Close()
			if err := s.serve(ctx, c, heavy); err != nil {
				s.Logger.Warn("somebody was not answered", "err", err)
			}
		})
	}
}

// serve answers one request.
func (s *Server) serve(ctx context.Context, c *net.UnixConn, heavy chan struct{}) error {
	p, err := daemon.PeerOf(c)
	if err != nil {
		return err
	}
	if p.UID != 0 && p.UID != s.UID {
		return fmt.Errorf("user %d, process %d, may ask nothing", p.UID, p.PID)
	}
	_ = c.SetDeadline(time.Now().Add(readLimit))
	var q request
	with, err := receive(c, &q)
	if err != nil {
		return fmt.Errorf("request: %w", err)
	}
	defer clear(q.Key)
	if with != nil {
		defer with.Close()
	}
	if q.Verb == documentVerb {
		heavy <- struct{}{}
		defer func() { <-heavy }()
	}
	var a answer
	f, err := s.do(context.WithoutCancel(ctx), q, with, &a)
	if err != nil {
		a.Error = errorOf(err)
	}
	if f != nil {
		defer f.Close()
	}
	_ = c.SetDeadline(time.Now().Add(readLimit))
	if err := send(c, a, f); err != nil {
		return fmt.Errorf("answer to %s: %w", q.Verb, err)
	}
	return nil
}

// do does what is asked. The file that it returns goes with the answer.
func (s *Server) do(ctx context.Context, q request, with *os.File, a *answer) (*os.File, error) {
	switch q.Verb {
	case listVerb:
		return s.list()
	case readVerb:
		e, err := s.Definitions.Read(q.Name)
		a.Text = e.Text
		return nil, err
	case createVerb, replaceVerb, deleteVerb:
		who, err := s.caller(with)
		if err != nil {
			return nil, err
		}
		return nil, s.change(ctx, who, q, a)
	case startVerb:
		return s.start(q)
	case documentVerb:
		if !slices.Contains([]string{"devices", "leases", "recover"}, q.What) {
			return nil, fmt.Errorf("%.40q is no document", q.What)
		}
		doc, err := s.Document(q.What)
		said := document{Document: doc}
		if err != nil {
			said.Error = err.Error()
		}
		return jsonFile(said)
	case inhibitVerb:
		return s.Inhibit(ctx, q.On)
	case lidVerb:
		return s.OpenLid(q.Name)
	}
	return s.ofGuest(ctx, q, a)
}

// ofGuest does what is about the directory of a guest's runner.
func (s *Server) ofGuest(ctx context.Context, q request, a *answer) (*os.File, error) {
	d, err := s.Guest(q.Name)
	if err != nil {
		return nil, err
	}
	switch q.Verb {
	case connectVerb:
		ctx, cancel := context.WithTimeout(ctx, readLimit) // one that stands still may have no room
		defer cancel()
		c, err := d.Dial(ctx)
		if err != nil {
			return nil, err
		}
		defer c.Close()
		u, ok := c.(*net.UnixConn)
		if !ok {
			return nil, fmt.Errorf("a %T is no socket of a runner's", c)
		}
		return u.File()
	case openVerb:
		return d.Open(q.What)
	case lockedVerb:
		a.On = d.Locked()
		return nil, nil
	case forgetVerb:
		return nil, d.Forget()
	}
	return nil, fmt.Errorf("%.40q is no verb: %w", q.Verb, errors.ErrUnsupported)
}

func (s *Server) list() (*os.File, error) {
	entries, err := s.Definitions.List()
	said := definitions{All: []definition{}, Errors: []string{}}
	if err != nil {
		said.Errors = append(said.Errors, messages(err)...)
	}
	for _, e := range entries {
		said.All = append(said.All, definition{e.Name, e.Text})
	}
	return jsonFile(said)
}

// messages are those of errors that are joined.
func messages(err error) (all []string) {
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		return []string{err.Error()}
	}
	for _, e := range joined.Unwrap() {
		all = append(all, messages(e)...)
	}
	return all
}

func jsonFile(v any) (*os.File, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return fileOf(text)
}

// caller is who is connected to the daemon by a file. One that was not made by its socket is
// nobody's: the other end of a socket that somebody connects to themselves may be root's.
func (s *Server) caller(f *os.File) (daemon.Caller, error) {
	if f == nil {
		return daemon.Caller{}, errors.New("on whose behalf is not said")
	}
	c, err := net.FileConn(f)
	if err != nil {
		return daemon.Caller{}, err
	}
	defer c.Close()
	u, ok := c.(*net.UnixConn)
	if !ok || u.LocalAddr().Network() != "unix" || u.LocalAddr().String() != s.Daemon {
		return daemon.Caller{}, errors.New("on whose behalf is said by what is no connection of the daemon's socket")
	}
	p, err := daemon.PeerOf(u)
	return daemon.Caller{Peer: p, Role: s.Groups.Role(p)}, err
}

// change changes a definition on behalf of somebody.
func (s *Server) change(ctx context.Context, who daemon.Caller, q request, a *answer) error {
	verb := map[string]daemon.Verb{createVerb: daemon.GuestsCreate, replaceVerb: daemon.GuestsEdit, deleteVerb: daemon.GuestsDelete}[q.Verb]
	if !daemon.May(who.Role, verb, false) { // of locked ones the store asks
		return fmt.Errorf("%s is not for user %d, who is %s: %w", verb, who.Peer.UID, who.Role, os.ErrPermission)
	}
	s.Logger.Info("changes definitions", "verb", q.Verb, "guest", q.Name, "uid", who.Peer.UID, "role", who.Role.String())
	var before, now store.Entry
	var err error
	if q.Verb != createVerb {
		before, err = s.Definitions.Read(q.Name)
		switch {
		case err != nil && (before.Text == nil || who.Role != daemon.Admin):
			return err
		case sum(before.Text) != q.Before:
			return fmt.Errorf("guest %s: %w", q.Name, store.ErrChanged)
		}
	}
	switch q.Verb {
	case createVerb:
		now, err = s.Definitions.Create(ctx, who, daemon.NewGuest{Text: q.Text, DiskSize: q.Size, Key: q.Key})
	case replaceVerb:
		now, err = s.Definitions.Replace(ctx, who, before, q.Text)
	default:
		d, bad := s.Guest(q.Name)
		if bad != nil || d.Locked() {
			return errors.Join(runner.ErrRuns, bad)
		}
		a.Names, err = s.Definitions.Delete(ctx, who, before, q.On)
		return err
	}
	if err == nil {
		a.Names, a.Text = []string{now.Name}, now.Text
	}
	return err
}

// start starts a runner.
func (s *Server) start(q request) (*os.File, error) {
	if _, err := s.Definitions.Read(q.Name); err != nil {
		return nil, err
	}
	s.Logger.Info("starts a guest", "guest", q.Name)
	l, err := s.Launch(q.Name, q.Key)
	if err != nil {
		return nil, err
	}
	return l.File(), nil
}
