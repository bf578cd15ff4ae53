package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/vfio"
)

// A written is one value that was written to the kernel.
type written struct{ name, value string }

// recorder is a host that keeps what is written, and for how long the writer was in
// the kernel.
type recorder struct {
	*hostfs.LiveHost // all of its ways to read
	writes           []written
	took             time.Duration
}

func (r *recorder) WriteFile(name string, data []byte) error {
	begun := time.Now()
	err := r.LiveHost.WriteFile(name, data)
	r.took += time.Since(begun)
	r.writes = append(r.writes, written{name, string(data)})
	return err
}

// library hands over by package assign in this process, as the command does: the machine
// is read, a plan made, a lease kept.
type library struct {
	store assign.Store
	fsys  recorder
	host  assign.Host

	kernel []time.Duration // in the kernel, writing, of each assign and release
}

func newLibrary(dir string) *library {
	l := &library{store: assign.Store{Dir: dir + "/leases", StateDir: dir + "/state"}}
	l.fsys.LiveHost = hostfs.Live()
	l.host = assign.Host{FS: &l.fsys, Viable: vfio.Viable}
	return l
}

func (l *library) contender(ctx context.Context) contender {
	return contender{name: "package assign", prepare: func(t target) (assign, release func() error, err error) {
		l.kernel = nil
		return func() error { return l.assign(ctx, t) }, func() error { return l.release(ctx, t) }, nil
	}, kernel: func() []time.Duration { return l.kernel }}
}

func (l *library) assign(ctx context.Context, t target) error {
	l.fsys.writes, l.fsys.took = nil, 0
	devices, err := addresses(t.devices)
	if err != nil {
		return err
	}
	var claims []assign.Claim // said ahead, as the command does, so that the machine is read once
	for _, a := range devices {
		f, err := pci.ReadFunction(&l.fsys, a)
		if err != nil {
			return err
		}
		if c := assign.GroupClaim(f.Group); !slices.Contains(claims, c) {
			claims = append(claims, c)
		}
	}
	_, err = l.store.Assign(ctx, &l.host, assign.Taking{Guest: "bench", Devices: devices, Claims: claims, Plan: func() (*assign.Plan, error) {
		machine, err := laptop.ReadGroups(&l.fsys, devices)
		if machine == nil {
			return nil, err
		}
		facts, err := assign.Read(&l.fsys, machine, devices)
		if err != nil {
			return nil, err
		}
		return assign.NewPlan(facts, assign.Request{Guest: "bench", Devices: devices, Companions: true})
	}})
	return err
}

func (l *library) release(ctx context.Context, t target) error {
	devices, err := addresses(t.devices)
	if err == nil {
		_, err = l.store.Release(ctx, &l.host, devices[0])
	}
	l.kernel = append(l.kernel, l.fsys.took)
	return err
}

// writes returns what package assign writes to hand t over and to take it back, by
// having it done.
func (l *library) writes(ctx context.Context, t target) (assign, release []written, err error) {
	if err = l.assign(ctx, t); err != nil {
		return nil, nil, err
	}
	assign = l.fsys.writes
	l.fsys.writes = nil
	err = l.release(ctx, t)
	return assign, l.fsys.writes, errors.Join(err, t.settle())
}

// ours are the shell loops of the writes that indy makes, and indy. The first is what
// all are compared with.
func ours(ctx context.Context, dir string) []contender {
	indy := filepath.Join(dir, "indy")
	lib := newLibrary("/run/bench")
	plain := loops(ctx, lib, "without", func(w written) bool { return !isReset(w) })
	reset := loops(ctx, lib, "with", func(written) bool { return true })
	return []contender{
		{name: "shell loop", prepare: plain},
		{name: "shell loop with reset", prepare: reset},
		{name: "indy", prepare: func(t target) (assign, release func() error, err error) {
			return command(ctx, append([]string{indy, "assign", "--with-companions", "--guest", "bench"}, t.devices...)...),
				command(ctx, indy, "release", t.devices[0]), nil
		}},
		{name: "indy version, twice", prepare: func(t target) (assign, release func() error, err error) {
			return command(ctx, indy, "version"), command(ctx, indy, "version"), nil
		}, idle: true},
		{name: "an empty Go program, twice", prepare: func(t target) (assign, release func() error, err error) {
			return command(ctx, filepath.Join(dir, "empty")), command(ctx, filepath.Join(dir, "empty")), nil
		}, idle: true},
		{name: "an empty shell script, twice", prepare: func(t target) (assign, release func() error, err error) {
			return command(ctx, "/bin/busybox", "sh", "/dev/null"), command(ctx, "/bin/busybox", "sh", "/dev/null"), nil
		}, idle: true},
		lib.contender(ctx),
	}
}

// loops writes two scripts for busybox's shell, which make the writes that package
// assign makes, but for those that keep does not want; where it resets nothing, one for
// each device is put before the release if all are wanted.
func loops(ctx context.Context, lib *library, name string, keep func(written) bool) func(target) (assign, release func() error, err error) {
	return func(t target) (assign, release func() error, err error) {
		over, back, err := lib.writes(ctx, t)
		if err != nil {
			return nil, nil, err
		}
		if !slices.ContainsFunc(back, isReset) {
			for _, d := range slices.Backward(t.devices) {
				file := "sys/bus/pci/devices/" + d + "/reset"
				if _, err := os.Stat("/" + file); err == nil {
					back = slices.Insert(back, 0, written{file, "1"})
				}
			}
		}
		base := filepath.Join("/run", strings.ReplaceAll(t.name, " ", "-")+"-"+name)
		if err := errors.Join(script(base+"-assign", over, keep), script(base+"-release", back, keep)); err != nil {
			return nil, nil, err
		}
		return command(ctx, "/bin/busybox", "sh", base+"-assign"), command(ctx, "/bin/busybox", "sh", base+"-release"), nil
	}
}

func script(name string, writes []written, keep func(written) bool) error {
	var b strings.Builder
	b.WriteString("set -e\n")
	for _, w := range writes {
		if keep(w) {
			fmt.Fprintf(&b, "echo %s >/%s", strings.TrimSpace(w.value), w.name)
			if isReset(w) {
				b.WriteString(" 2>/dev/null || :") // two behind one bridge cannot be reset one by one
			}
			b.WriteByte('\n')
		}
	}
	return os.WriteFile(name, []byte(b.String()), 0o755)
}

func isReset(w written) bool { return strings.HasSuffix(w.name, "/reset") }
