package daemon

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/google/renameio/v2"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/internal/runner"
)

// starts is what is remembered of the start of guests at this boot, in a file too, so that a
// daemon that is started anew goes on with it.
type starts struct {
	mu    sync.Mutex
	file  string
	begun bool // by this daemon
	kept  keptStarts
}

type keptStarts struct {
	BootID string `json:"boot_id"`

	// Daemon is when the first daemon of this boot was started, and Asked when it was to
	// start guests, in seconds since the kernel started; 0 is not yet.
	Daemon float64 `json:"daemon"`
	Asked  float64 `json:"asked"`
	Done   bool    `json:"done"`

	Guests []Start  `json:"guests"`
	Errors []string `json:"errors"`
}

// maxStarts is how long the file may be.
const maxStarts = 4 << 20

// loadStarts reads what was remembered. What is of another boot, or cannot be read, is
// nothing.
func (d *Daemon) loadStarts() *starts {
	s := &starts{file: d.State}
	var kept keptStarts
	err := recall(d.State, maxStarts, &kept)
	if err == nil && kept.BootID == d.BootID {
		s.kept = kept
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.Logger.Warn("what became of the start of guests is not known", "err", err)
	}
	if s.kept.BootID == "" {
		s.kept = keptStarts{BootID: d.BootID, Daemon: d.Started}
		s.save(d)
	}
	return s
}

// save writes the file. The caller has the lock, or is alone.
func (s *starts) save(d *Daemon) {
	if err := keep(s.file, s.kept); err != nil {
		d.Logger.Warn("what becomes of the start of guests is not kept", "err", err)
	}
}

// keep replaces a file by what as JSON; without a name it does nothing.
func keep(file string, what any) error {
	if file == "" {
		return nil
	}
	text, err := json.Marshal(what)
	if err == nil {
		err = renameio.WriteFile(file, text, 0o600, renameio.WithTempDir(filepath.Dir(file)))
	}
	return err
}

// recall reads a file that keep has written, of at most so many bytes, into what. Without a
// name there is none.
func recall(file string, most int, what any) error {
	if file == "" {
		return fs.ErrNotExist
	}
	f, err := os.Open(filepath.Clean(file))
	if err != nil {
		return err
	}
	defer f.Close()
	return parseKept(f, most, what)
}

func parseKept(r io.Reader, most int, what any) error {
	text, err := io.ReadAll(io.LimitReader(r, int64(most)+1))
	if err == nil && len(text) > most {
		err = fmt.Errorf("more than %d bytes are kept", most)
	}
	if err == nil {
		err = json.Unmarshal(text, what)
	}
	return err
}

// tell notes what became of a guest.
func (s *starts) tell(d *Daemon, one Start) {
	d.Logger.Info("start", "guest", one.Name, "result", one.Result, "reason", one.Reason)
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.kept.Guests, func(k Start) bool { return k.Name == one.Name })
	if i < 0 {
		s.kept.Guests = append(s.kept.Guests, one)
	} else {
		s.kept.Guests[i] = one
	}
	s.save(d)
}

func (s *starts) look() keptStarts {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.kept
	k.Guests, k.Errors = slices.Clone(k.Guests), slices.Clone(k.Errors)
	return k
}

// Resume goes on with the start of guests that a daemon before was in when it ended. It
// returns at once.
func (d *Daemon) Resume(ctx context.Context) {
	if k := d.starts.look(); k.Asked > 0 && !k.Done {
		d.begin(ctx)
	}
}

// begin starts the guests that start by themselves, once each boot. It returns at once.
func (d *Daemon) begin(ctx context.Context) (begun bool) {
	s := d.starts
	s.mu.Lock()
	if s.begun || s.kept.Done {
		s.mu.Unlock()
		return false
	}
	s.begun = true
	if s.kept.Asked == 0 {
		s.kept.Asked = sinceBoot()
	}
	s.save(d)
	s.mu.Unlock()
	go d.startGuests(context.WithoutCancel(ctx))
	return true
}

func (d *Daemon) startGuests(ctx context.Context) {
	entries, err := d.Definitions.List()
	var defs []guest.Definition
	guests := map[string]guest.Definition{}
	for _, e := range entries {
		defs = append(defs, e.Definition)
		guests[e.Name] = e.Definition
	}
	order, oerr := guest.StartOrder(defs)
	s := d.starts
	s.mu.Lock()
	s.kept.Errors = messages(errors.Join(err, oerr))
	s.mu.Unlock()
	for _, m := range messages(errors.Join(err, oerr)) {
		d.Logger.Error("a guest is not started", "err", m)
	}
	d.startAll(ctx, order, guests, func(one Start) { s.tell(d, one) })
	s.mu.Lock()
	s.kept.Done = true
	s.save(d)
	s.mu.Unlock()
}

type autostartOut struct {
	Body struct {
		Begun bool `json:"begun" doc:"False when guests were started at this boot already"`
	}
}

func (d *Daemon) autostart(ctx context.Context, _ *struct{}) (*autostartOut, error) {
	out := &autostartOut{}
	out.Body.Begun = d.begin(ctx)
	return out, nil
}

type shutdownOut struct {
	Body struct {
		Guests []Stopped `json:"guests"`
		Errors []string  `json:"errors"`
	}
}

type shutdownIn struct {
	Timeout float64 `query:"timeout" minimum:"0" maximum:"86400" doc:"Seconds that each guest may take to shut itself down; without it or 0, as long as usual"`
}

func (d *Daemon) shutdown(ctx context.Context, in *shutdownIn) (*shutdownOut, error) {
	within := time.Duration(in.Timeout * float64(time.Second))
	if within <= 0 {
		within = d.Stop
	}
	d.Logger.Info("stops all guests", "uid", callerOf(ctx).Peer.UID, "within", within)
	all, err := d.stopAll(context.WithoutCancel(ctx), within) // who asks may be killed meanwhile
	out := &shutdownOut{}
	out.Body.Guests, out.Body.Errors = append([]Stopped{}, all...), messages(err)
	return out, nil
}

// A BootReport is how long the start of the machine and of its guests took. All times are
// seconds since the kernel started, CLOCK_BOOTTIME of clock_gettime(2).
type BootReport struct {
	BootID string      `json:"boot_id"`
	Daemon float64     `json:"daemon" doc:"When the first daemon of this boot was started"`
	Asked  float64     `json:"asked" doc:"When it was to start guests; 0 when it was not"`
	Done   bool        `json:"done" doc:"Whether nothing more is started"`
	Guests []BootGuest `json:"guests"`
	Errors []string    `json:"errors" doc:"Why guests are not started"`
}

// A BootGuest is how far a guest came.
type BootGuest struct {
	Start
	State  runner.State `json:"state" doc:"What it is doing now"`
	Phases []BootPhase  `json:"phases"`
}

// A BootPhase is a point that the start of a guest has passed.
type BootPhase struct {
	Name runner.PhaseName `json:"name"`
	At   float64          `json:"at"`
	Took float64          `json:"took" doc:"Since the point before, and of the first since the daemon was to start guests"`
}

type bootReportOut struct{ Body BootReport }

func (d *Daemon) bootReport(ctx context.Context, _ *struct{}) (*bootReportOut, error) {
	return &bootReportOut{d.BootReport(ctx)}, nil
}

// BootReport returns how long the start of this boot took.
func (d *Daemon) BootReport(ctx context.Context) BootReport {
	k := d.starts.look()
	b := BootReport{BootID: k.BootID, Daemon: k.Daemon, Asked: k.Asked, Done: k.Done, Guests: []BootGuest{}, Errors: append([]string{}, k.Errors...)}
	var names []string
	for _, g := range k.Guests {
		names = append(names, g.Name)
	}
	states := d.statuses(ctx, names)
	for i, g := range k.Guests {
		one := BootGuest{Start: g, State: states[i].State, Phases: []BootPhase{}}
		one.After = append([]string{}, g.After...)
		phases := slices.Clone(states[i].Phases)
		slices.SortStableFunc(phases, func(a, b runner.Phase) int { return cmp.Compare(a.At, b.At) })
		before := k.Asked
		for _, p := range phases {
			if p.At < k.Asked { // it ran before
				before = p.At
			}
			one.Phases = append(one.Phases, BootPhase{p.Name, p.At, p.At - before})
			before = p.At
		}
		b.Guests = append(b.Guests, one)
	}
	return b
}
