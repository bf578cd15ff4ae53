package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/project-independence/indy/guest/store"
	"github.com/project-independence/indy/internal/runner"
)

// Bounds of what is asked.
const (
	maxBody    = 1 << 20
	maxHeader  = 8 << 10
	readLimit  = 5 * time.Second  // to read a request
	writeLimit = 10 * time.Second // for each part of an answer to be taken
	idleLimit  = 30 * time.Second // between two requests of a connection
	askLimit   = 10 * time.Second // for a runner to answer what it can answer at once
)

// A Config is what a daemon is made of.
type Config struct {
	Version string
	Groups  Groups
	Runners Runners
	Host    Host
	State   string // the file with what became of the start of guests at this boot
	BootID  string // of the running kernel

	// Definitions are those of the guests.
	Definitions Definitions

	Started float64      // when the daemon was started, in seconds since the kernel was
	Logger  *slog.Logger // nil is none

	// Ready is how long a guest may take to be ready before those that need it are given up;
	// 0 is ten minutes.
	Ready time.Duration

	// Stop is how long a guest may take to shut itself down; 0 is 90 seconds.
	Stop time.Duration
}

// A Host is what the daemon is asked about the machine. Each answers with the JSON document
// that the command of the same name writes.
type Host interface {
	Devices(context.Context) (json.RawMessage, error)
	Leases(context.Context) (json.RawMessage, error)

	// Recover may take long. An error may come with a document.
	Recover(context.Context) (json.RawMessage, error)
}

// A Daemon answers for all guests of a machine. It is made by [New].
type Daemon struct {
	Config
	api      huma.API
	mux      *http.ServeMux
	heavy    chan struct{} // places of those that ask for what costs the machine something
	starts   *starts
	refused  counter
	closing  chan struct{} // closed when it ends, by which those at serial ports are ended
	consoles chan struct{} // places of those
	asked    counter
	keeper   atomic.Pointer[keeper] // nil as long as the power is not looked after
}

// maxHeavy is how many may have the machine read at once.
const maxHeavy = 2

// New returns a daemon that listens to nobody yet.
func New(c Config) *Daemon {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Ready <= 0 {
		c.Ready = 10 * time.Minute
	}
	if c.Stop <= 0 {
		c.Stop = 90 * time.Second
	}
	d := &Daemon{Config: c, mux: http.NewServeMux(), heavy: make(chan struct{}, maxHeavy), closing: make(chan struct{}), consoles: make(chan struct{}, maxConsoles)}
	d.starts = d.loadStarts()
	d.api = humago.New(d.mux, apiConfig(c.Version))
	d.guestVerbs()
	d.runnerVerbs()
	d.hostVerbs()
	return d
}

// apiConfig is how requests are read and the document is written. Nothing is served but the
// verbs: neither pages with scripts of others nor schemas by themselves.
func apiConfig(version string) huma.Config {
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title:   "indy daemon",
				Version: version,
				Description: "What indy's daemon answers on its unix socket. Who may do what is in docs/roles.md; the operation ids are the verbs there. " +
					"Whoever is in none of the groups is answered 403, whatever is asked.",
			},
			Components: &huma.Components{Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)},
		},
		Formats:                      map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
	}
}

type callerKey struct{}

// A Caller is who asks, and what they may.
type Caller struct {
	Peer Peer
	Role Role
	Conn *net.UnixConn // by which; nil is that there is none
}

func withCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// callerOf returns who asks; without a connection it is nobody.
func callerOf(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

// One is the part of a request that names a guest.
type One struct {
	Name string `path:"name" pattern:"^[a-z0-9][a-z0-9-]{0,62}$" maxLength:"63" doc:"The guest's name"`
}

func (o *One) guest() string { return o.Name }

// answer registers a verb. Who asks is looked up in the table before do is called, and
// nothing else answers a request: locked says of a request whether it concerns a locked
// guest, and is nil for what concerns none or all.
func answer[In, Out any](d *Daemon, op huma.Operation, v Verb, locked func(context.Context, *In) (bool, error), do func(context.Context, *In) (*Out, error)) {
	op.OperationID = string(v)
	for _, rule := range Verbs() {
		if rule.Verb == v {
			op.Summary = rule.Does
		}
	}
	op.MaxBodyBytes, op.BodyReadTimeout = maxBody, -1 // it has been read
	op.Errors = append(op.Errors, http.StatusForbidden, http.StatusInternalServerError)
	huma.Register(d.api, op, func(ctx context.Context, in *In) (*Out, error) {
		who := callerOf(ctx)
		d.asked.add(string(v))
		of := false
		if locked != nil {
			// Who may do it with neither is not told whether there is such a guest.
			if !May(who.Role, v, false) {
				return nil, d.refuse(who, v)
			}
			var err error
			if of, err = locked(ctx, in); err != nil {
				return nil, problem(err)
			}
		}
		if !May(who.Role, v, of) {
			return nil, d.refuse(who, v)
		}
		out, err := do(ctx, in)
		if err != nil {
			return nil, problem(err)
		}
		return out, nil
	})
}

// refuse notes that somebody wanted what they may not.
func (d *Daemon) refuse(who Caller, v Verb) error {
	d.refused.add(string(v))
	d.Logger.Warn("refused", "verb", v, "role", who.Role.String(), "uid", who.Peer.UID, "pid", who.Peer.PID)
	least := "an operator"
	if who.Role == Operator || !May(Operator, v, false) {
		least = "an administrator"
	}
	if who.Role == Nobody {
		least = "a member of " + UserGroup
	}
	return huma.Error403Forbidden(string(v) + " takes " + least + "; who asks is " + who.Role.String())
}

// isLocked says whether a guest is locked.
func isLocked(d *Daemon) func(context.Context, string) (bool, error) {
	return func(_ context.Context, name string) (bool, error) {
		e, err := d.Definitions.Read(name)
		if errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		return err != nil || e.Locked, nil // of one that cannot be read it is not known
	}
}

// problem makes an answer of an error.
func problem(err error) error {
	var status huma.StatusError
	if errors.As(err, &status) {
		return err
	}
	var code interface{ Status() int }
	switch {
	case errors.As(err, &code):
		return huma.NewError(code.Status(), err.Error())
	case errors.Is(err, store.ErrLocked):
		return huma.Error403Forbidden(err.Error())
	case errors.Is(err, fs.ErrNotExist):
		return huma.Error404NotFound(err.Error())
	case errors.Is(err, store.ErrChanged), errors.Is(err, fs.ErrExist), errors.Is(err, ErrNoRunner), errors.Is(err, runner.ErrRuns):
		return huma.Error409Conflict(err.Error())
	case errors.Is(err, context.DeadlineExceeded):
		return huma.Error504GatewayTimeout(err.Error())
	case errors.Is(err, errors.ErrUnsupported):
		return huma.Error501NotImplemented(err.Error())
	}
	return huma.Error500InternalServerError(err.Error())
}
