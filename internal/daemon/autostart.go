package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/internal/runner"
)

// A StartResult is what became of a guest that starts by itself.
type StartResult string

// The results.
const (
	Waiting  StartResult = "waiting"  // for those that it needs, or its delay
	Starting StartResult = "starting" // its runner starts it
	Started  StartResult = "started"  // it runs, and is not ready yet
	Ready    StartResult = "ready"    // it is ready, and those that need it may start
	Failed   StartResult = "failed"   // it did not start, ended, or was not ready in time
	Skipped  StartResult = "skipped"  // one that it needs has failed, or is not there
)

// A Start is what became of one guest's start.
type Start struct {
	Name   string      `json:"name"`
	After  []string    `json:"after" doc:"The guests that it needs"`
	Result StartResult `json:"result"`
	Reason string      `json:"reason" doc:"Why it failed or was skipped, or what is odd"`
}

func (s Start) over() bool { return s.Result == Ready || s.Result == Failed || s.Result == Skipped }

// startAll starts guests in order: each when those that it needs are ready, and its delay is
// over. Of those that may start at the same moment the ones before in the order are asked
// first. Each change is told, one after the other. It returns when all are ready, have failed or are skipped, or
// ctx ends, which ends no guest.
func (d *Daemon) startAll(ctx context.Context, order guest.Order, guests map[string]guest.Definition, tell func(Start)) {
	var mu sync.Mutex
	result := make(map[string]StartResult, len(order))
	over := make(map[string]chan struct{}, len(order))
	for _, p := range order {
		over[p.Name] = make(chan struct{})
	}
	note := func(s Start) {
		mu.Lock()
		result[s.Name] = s.Result
		tell(s)
		mu.Unlock()
		if s.over() {
			close(over[s.Name])
		}
	}
	var all sync.WaitGroup
	for _, p := range order {
		s := Start{Name: p.Name, After: append([]string{}, p.After...), Result: Waiting}
		note(s)
		begun := make(chan struct{})
		all.Go(func() {
			note(d.startOne(ctx, s, guests[p.Name], over, func(name string) StartResult {
				mu.Lock()
				defer mu.Unlock()
				return result[name]
			}, sync.OnceFunc(func() { close(begun) }), note))
		})
		<-begun
	}
	all.Wait()
}

// errEnds is why a guest is not started: the daemon ends, and the next one goes on.
var errEnds = errors.New("the daemon was stopped before it was ready")

// startOne starts a guest and returns what became of it. It calls begun as soon as the next
// one in the order has not to wait for it any more: when it waits itself, or its runner is
// there.
func (d *Daemon) startOne(ctx context.Context, s Start, g guest.Definition, over map[string]chan struct{}, result func(string) StartResult,
	begun func(), note func(Start)) Start {
	defer begun()
	var delay time.Duration
	if g.Autostart != nil {
		delay = g.Autostart.Delay
	}
	if len(s.After) > 0 || delay > 0 {
		begun()
	}
	for _, need := range s.After {
		select {
		case <-over[need]:
		case <-ctx.Done():
			return s.because(Failed, errEnds.Error())
		}
		if r := result(need); r != Ready {
			return s.because(Skipped, fmt.Sprintf("it needs guest %s, which %s", need, map[StartResult]string{Failed: "failed", Skipped: "was not started"}[r]))
		}
	}
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return s.because(Failed, errEnds.Error())
	}
	note(s.because(Starting, ""))
	now, err := d.launchOnce(ctx, s.Name, begun)
	switch {
	case err != nil:
		return s.because(Failed, err.Error())
	case now.Over():
		return s.because(Failed, failure(now))
	}
	note(s.because(Started, ""))
	return d.untilReady(ctx, s.because(Started, ""))
}

func (s Start) because(r StartResult, reason string) Start {
	s.Result, s.Reason = r, reason
	return s
}

// launchOnce starts a guest that may run already, as after the daemon was killed. It calls
// launched when its runner is there, or will not be.
func (d *Daemon) launchOnce(ctx context.Context, name string, launched func()) (runner.Status, error) {
	now, err := d.status(ctx, name)
	if err == nil && !now.Over() {
		return now, nil
	}
	now, err = d.launch(ctx, name, nil, launched)
	if errors.Is(err, runner.ErrRuns) { // somebody else has started it meanwhile
		return d.status(ctx, name)
	}
	return now, err
}

// readyPoll is how often a guest is asked whether it is ready.
const readyPoll = 100 * time.Millisecond

// untilReady waits until a guest is ready, or has ended, or has had time enough.
func (d *Daemon) untilReady(ctx context.Context, s Start) Start {
	end := time.Now().Add(d.Ready)
	for {
		now, err := d.status(ctx, s.Name)
		switch {
		case err == nil && now.Over():
			s.Result, s.Reason = Failed, failure(now)
			if now.State == runner.Stopped {
				s.Reason = "it ended before it was ready"
			}
			return s
		case err == nil && now.Ready:
			s.Result = Ready
			return s
		case time.Now().After(end):
			s.Result, s.Reason = Failed, fmt.Sprintf("it was not ready within %s", d.Ready)
			return s
		}
		select {
		case <-time.After(readyPoll):
		case <-ctx.Done():
			return s.because(Failed, errEnds.Error())
		}
	}
}

// A Stopped is what became of one guest at a shutdown.
type Stopped struct {
	Name   string  `json:"name"`
	Took   float64 `json:"took" doc:"Seconds"`
	Forced bool    `json:"forced" doc:"Whether it was ended by force, because it took too long"`
	Error  string  `json:"error"`
}

// stopSlack is how much longer than a guest may take a runner may, to end QEMU and give
// devices back.
const stopSlack = 30 * time.Second

// stopAll stops all guests that run, each when those that need it have ended, and by force
// what takes longer than within.
func (d *Daemon) stopAll(ctx context.Context, within time.Duration) ([]Stopped, error) {
	names, err := d.Runners.Names()
	entries, lerr := d.Definitions.List()
	var defs []guest.Definition
	for _, e := range entries {
		defs = append(defs, e.Definition)
	}
	// What is left out of the order waits for nobody.
	order, _ := guest.StartOrder(defs)
	before := map[string][]string{}
	for _, p := range order {
		before[p.Name] = p.Before
	}
	ended := map[string]chan struct{}{}
	for _, n := range names {
		ended[n] = make(chan struct{})
	}
	all := make([]Stopped, len(names))
	var wait sync.WaitGroup
	for i, name := range names {
		wait.Go(func() {
			defer close(ended[name])
			for _, other := range before[name] {
				if c, runs := ended[other]; runs {
					<-c // ends, because each is stopped within a time
				}
			}
			all[i] = d.stopOne(ctx, name, within)
		})
	}
	wait.Wait()
	all = slices.DeleteFunc(all, func(s Stopped) bool { return s.Name == "" })
	slices.SortFunc(all, func(a, b Stopped) int { return cmp.Compare(a.Name, b.Name) })
	return all, errors.Join(err, lerr)
}

// stopOne stops a guest: by its power button, and by force when that takes too long.
func (d *Daemon) stopOne(ctx context.Context, name string, within time.Duration) Stopped {
	r, err := d.Runners.Runner(name)
	if err != nil {
		return Stopped{Name: name, Error: err.Error()}
	}
	begun := time.Now()
	if s, err := d.status(ctx, name); err == nil && s.Over() {
		return Stopped{}
	}
	stopping, cancel := context.WithTimeout(ctx, within+stopSlack)
	defer cancel()
	s, err := r.Stop(stopping, runner.StopRequest{Timeout: within.Seconds()})
	took := time.Since(begun)
	out := Stopped{Name: name, Took: took.Seconds(), Forced: took >= within}
	switch {
	case err != nil:
		out.Error = err.Error()
	case s.State == runner.Failed:
		out.Error = failure(s)
	}
	return out
}
