package daemon

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/guest/store"
	"github.com/project-independence/indy/internal/runner"
)

// A GuestEntry is a guest in a list.
type GuestEntry struct {
	Name   string        `json:"name"`
	Locked bool          `json:"locked"`
	CPUs   int           `json:"cpus"`
	Memory int64         `json:"memory" doc:"In bytes"`
	Status runner.Status `json:"status"`

	// Autostart is its priority; nil when it does not start by itself.
	Autostart *int `json:"autostart"`
}

// A GuestList is all guests, and what could not be read of them.
type GuestList struct {
	Guests []GuestEntry `json:"guests"`
	Errors []string     `json:"errors" doc:"What could not be read; it hides no other guest"`
}

// A GuestText is a definition, as it is written.
type GuestText struct {
	Name       string `json:"name"`
	Locked     bool   `json:"locked"`
	Definition string `json:"definition" doc:"YAML"`
	Error      string `json:"error" doc:"Why the definition cannot be used; empty when it can"`
}

type listOut struct{ Body GuestList }

type textOut struct{ Body GuestText }

type createIn struct {
	Body struct {
		Definition string `json:"definition" maxLength:"65536" doc:"YAML; its disks must be there, but for the one that is made"`
		DiskSize   int64  `json:"disk_size,omitempty" minimum:"0" maximum:"70368744177664" multipleOf:"512" doc:"How many bytes the first of its disks has, which is made, an empty qcow2 image in the guest's folder; 0 makes none"`
		Key        []byte `json:"key,omitempty" doc:"The passphrase of the disk that is made, when the definition says key: passphrase, in base64; it is kept nowhere"`
	}
}

type editIn struct {
	One
	Body struct {
		Before     string `json:"before" maxLength:"65536" doc:"What was read before; another one now is 409"`
		Definition string `json:"definition" maxLength:"65536" doc:"YAML"`
	}
}

type deleteIn struct {
	One
	Disks bool `query:"disks" doc:"Delete the disks in its folder, too"`
}

type deleteOut struct {
	Body struct {
		Name    string   `json:"name"`
		Deleted []string `json:"deleted" doc:"Files of disks"`
	}
}

func (d *Daemon) guestVerbs() {
	answer(d, huma.Operation{Method: http.MethodGet, Path: "/v1/guests"}, GuestsList, nil, d.list)
	answer(d, huma.Operation{Method: http.MethodGet, Path: "/v1/guests/{name}", Errors: []int{404}}, GuestsShow, named[One](d), d.show)
	answer(d, huma.Operation{Method: http.MethodPost, Path: "/v1/guests", DefaultStatus: http.StatusCreated, Errors: []int{409}}, GuestsCreate,
		func(_ context.Context, in *createIn) (bool, error) { return wouldBeLocked(in.Body.Definition) }, d.create)
	answer(d, huma.Operation{Method: http.MethodPut, Path: "/v1/guests/{name}", Errors: []int{404, 409}}, GuestsEdit,
		func(ctx context.Context, in *editIn) (bool, error) {
			locked, err := isLocked(d)(ctx, in.Name)
			if err != nil || locked {
				return locked, err
			}
			return wouldBeLocked(in.Body.Definition)
		}, d.edit)
	answer(d, huma.Operation{Method: http.MethodDelete, Path: "/v1/guests/{name}", Errors: []int{404, 409}}, GuestsDelete, named[deleteIn](d), d.delete)
}

// named says whether the guest that a request names is locked.
func named[In any, P interface {
	*In
	guest() string
}](d *Daemon) func(context.Context, *In) (bool, error) {
	return func(ctx context.Context, in *In) (bool, error) { return isLocked(d)(ctx, P(in).guest()) }
}

// wouldBeLocked says whether a definition is that of a locked guest.
func wouldBeLocked(text string) (bool, error) {
	def, err := guest.ParseDefinition("guest.yaml", []byte(text))
	if err != nil {
		return false, huma.Error422UnprocessableEntity(err.Error())
	}
	return def.Locked, nil
}

func (d *Daemon) list(ctx context.Context, _ *struct{}) (*listOut, error) {
	all, err := d.Definitions.List()
	out := &listOut{GuestList{Guests: []GuestEntry{}, Errors: messages(err)}}
	var names []string
	for _, e := range all {
		names = append(names, e.Name)
	}
	states := d.statuses(ctx, names)
	for i, e := range all {
		g := GuestEntry{Name: e.Name, Locked: e.Locked, CPUs: max(e.CPUs, 1), Memory: e.Memory, Status: states[i]}
		if e.Autostart != nil {
			g.Autostart = &e.Autostart.Priority
		}
		out.Body.Guests = append(out.Body.Guests, g)
	}
	return out, nil
}

// statuses asks all runners at once: one that does not answer costs no more than itself.
func (d *Daemon) statuses(ctx context.Context, names []string) []runner.Status {
	all := make([]runner.Status, len(names))
	done := make(chan int, len(names))
	for i, name := range names {
		go func() {
			all[i] = d.statusOf(ctx, name)
			done <- i
		}()
	}
	for range names {
		<-done
	}
	return all
}

// statusOf is the status of a guest; what cannot be read is told in it.
func (d *Daemon) statusOf(ctx context.Context, name string) runner.Status {
	s, err := d.status(ctx, name)
	if err != nil {
		s.Name, s.State, s.Detail = name, runner.Unresponsive, err.Error()
	}
	if s.Devices == nil {
		s.Devices = []string{}
	}
	if s.Phases == nil {
		s.Phases = []runner.Phase{}
	}
	return s
}

func (d *Daemon) status(ctx context.Context, name string) (runner.Status, error) {
	r, err := d.Runners.Runner(name)
	if err != nil {
		return runner.Status{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return r.Status(ctx)
}

// messages are those of an error that joins others.
func messages(err error) []string {
	if err == nil {
		return []string{}
	}
	var all interface{ Unwrap() []error }
	if errors.As(err, &all) {
		list := []string{}
		for _, e := range all.Unwrap() {
			list = append(list, messages(e)...)
		}
		if len(list) > 0 {
			return list
		}
	}
	return []string{err.Error()}
}

func (d *Daemon) show(_ context.Context, in *One) (*textOut, error) {
	e, err := d.Definitions.Read(in.Name)
	if err != nil && e.Text == nil {
		return nil, err
	}
	out := &textOut{GuestText{Name: in.Name, Locked: e.Locked || err != nil, Definition: string(bytes.ToValidUTF8(e.Text, []byte("?")))}}
	if err != nil {
		out.Body.Error = err.Error()
	}
	return out, nil
}

func (d *Daemon) create(ctx context.Context, in *createIn) (*textOut, error) {
	defer clear(in.Body.Key)
	e, err := d.Definitions.Create(ctx, callerOf(ctx), NewGuest{Text: []byte(in.Body.Definition), DiskSize: in.Body.DiskSize, Key: in.Body.Key})
	if err != nil {
		return nil, err
	}
	d.Logger.Info("made a guest", "guest", e.Name, "uid", callerOf(ctx).Peer.UID)
	return &textOut{GuestText{Name: e.Name, Locked: e.Locked, Definition: string(e.Text)}}, nil
}

// read returns what is to be changed, which may be damaged.
func (d *Daemon) read(ctx context.Context, name string) (store.Entry, error) {
	e, err := d.Definitions.Read(name)
	if err != nil && (e.Text == nil || callerOf(ctx).Role != Admin) {
		return e, err
	}
	return e, nil
}

func (d *Daemon) edit(ctx context.Context, in *editIn) (*textOut, error) {
	before, err := d.read(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	if in.Body.Before != string(before.Text) {
		return nil, store.ErrChanged
	}
	e, err := d.Definitions.Replace(ctx, callerOf(ctx), before, []byte(in.Body.Definition))
	if err != nil {
		return nil, err
	}
	d.Logger.Info("changed a guest", "guest", e.Name, "uid", callerOf(ctx).Peer.UID)
	return &textOut{GuestText{Name: e.Name, Locked: e.Locked, Definition: string(e.Text)}}, nil
}

func (d *Daemon) delete(ctx context.Context, in *deleteIn) (*deleteOut, error) {
	before, err := d.read(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	if s, err := d.status(ctx, in.Name); err != nil || !s.Over() {
		return nil, errors.Join(runner.ErrRuns, err)
	}
	deleted, err := d.Definitions.Delete(ctx, callerOf(ctx), before, in.Disks)
	if err != nil {
		return nil, err
	}
	d.Logger.Info("deleted a guest", "guest", in.Name, "disks", len(deleted), "uid", callerOf(ctx).Peer.UID)
	out := &deleteOut{}
	out.Body.Name, out.Body.Deleted = in.Name, append([]string{}, deleted...)
	return out, nil
}

// exists returns an error if there is no such guest.
func (d *Daemon) exists(name string) error {
	names, err := d.Runners.Names()
	if err == nil && slices.Contains(names, name) {
		return nil // it runs, whatever has become of its definition
	}
	if _, err := d.Definitions.Read(name); errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
