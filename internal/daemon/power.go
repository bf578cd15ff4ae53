package daemon

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/internal/power"
	"github.com/project-independence/indy/internal/runner"
)

// A PowerConfig is how the daemon learns of the power of the host.
type PowerConfig struct {
	Host fs.FS  // of which batteries, lid and switches are read
	Bus  string // the address of the message bus; empty is [power.SystemBus]

	// State is the file with the guests that were shut down for a time.
	State string

	// Events calls changed when something has become of a power supply, until ctx ends; nil is
	// never. OpenInput opens an input device, whose events are read; nil is none.
	Events    func(ctx context.Context, changed func()) error
	OpenInput func(name string) (io.ReadCloser, error)

	// Inhibit is that of [power.Logind].
	Inhibit func(ctx context.Context, lid bool) (*os.File, error)

	// Poll is how often files are read all the same; 0 is thirty seconds. Retry is how long is
	// waited before the bus is tried again; 0 is ten seconds.
	Poll, Retry time.Duration
}

const (
	powerPoll  = 30 * time.Second
	powerRetry = 10 * time.Second // of the bus

	// Of the time that logind waits this much is kept back, so that it is let go in time.
	sleepReserve = 10 // percent

	// lateSleep is how long guests get when the daemon was started while the host is about to
	// sleep, and nobody waits.
	lateSleep = 2 * time.Second

	// deaf is after how long without logind the host counts as awake: it was when that was
	// last heard, or else this would not go on.
	deaf = 30 * time.Second

	dozeLimit  = 30 * time.Second // for a guest to fall asleep when the host does not
	powerAgain = 5 * time.Second  // after what failed
)

// A keeper does with guests as the power of the host has it.
type keeper struct {
	d      *Daemon
	c      PowerConfig
	logind *power.Logind
	kick   chan struct{}
	offs   *offs

	mu       sync.Mutex
	host     power.Host
	until    time.Time // when guests are to be ready for the host's sleep; zero when they were said to be
	ready    func()    // lets it
	cancel   context.CancelFunc
	silent   *time.Timer // runs while logind is not heard
	switched bool        // a switch has said how the lid is
	report   PowerReport
}

// KeepPower does with guests as the power of the host has it, until ctx ends. What of it
// cannot be had, as the message bus, is told, and waited for.
func (d *Daemon) KeepPower(ctx context.Context, c PowerConfig) {
	if c.Poll <= 0 {
		c.Poll = powerPoll
	}
	if c.Retry <= 0 {
		c.Retry = powerRetry
	}
	k := &keeper{d: d, c: c, kick: make(chan struct{}, 1), ready: func() {}, offs: d.loadOffs(c.State)}
	k.host = power.Host{SleepUnknown: true, LidUnknown: true}
	k.report = PowerReport{Logind: "not heard yet", Steps: []PowerStep{}}
	k.logind = &power.Logind{Address: c.Bus, Retry: c.Retry, Inhibit: c.Inhibit, Connected: k.connected, Gone: k.gone, Sleeps: k.sleeps, Awake: k.awake}
	d.keeper.Store(k)
	var all sync.WaitGroup
	all.Go(func() { k.logind.Watch(ctx) })
	if c.Events != nil {
		all.Go(func() {
			if err := c.Events(ctx, k.look); err != nil && ctx.Err() == nil {
				d.Logger.Warn("changes of batteries are seen late", "err", err, "every", c.Poll)
			}
		})
	}
	k.watchLids(ctx, &all)
	k.look()
	tick := time.NewTicker(c.Poll)
	defer tick.Stop()
	again := time.NewTimer(0)
	defer again.Stop()
	for ctx.Err() == nil {
		select {
		case <-k.kick:
		case <-again.C:
		case <-tick.C:
			k.look()
		case <-ctx.Done():
		}
		if ctx.Err() == nil && !k.pass(ctx) {
			again.Reset(powerAgain)
		}
	}
	all.Wait()
}

// lookAtPower has it looked at again what there is to do because of the power.
func (d *Daemon) lookAtPower() {
	if k := d.keeper.Load(); k != nil {
		select {
		case k.kick <- struct{}{}:
		default:
		}
	}
}

// change changes what is known of the host, and has it looked at what that means.
func (k *keeper) change(f func(*power.Host)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	before := k.host
	f(&k.host)
	if k.host == before {
		return
	}
	k.d.Logger.Info("the power is another one", "sleeping", k.host.Sleeping, "lid_closed", k.host.LidClosed, "battery", k.host.Battery.Percent, "discharging", k.host.Battery.Discharging)
	if (k.host.Sleeping != before.Sleeping || k.host.LidClosed != before.LidClosed) && k.cancel != nil {
		k.cancel() // it is for something else
	}
	select {
	case k.kick <- struct{}{}:
	default:
	}
}

// look reads what there are files of.
func (k *keeper) look() {
	b, err := power.ReadBattery(k.c.Host)
	if err != nil {
		k.d.Logger.Warn("not all of the batteries is known", "err", err)
	}
	closed, known := power.ReadLid(k.c.Host)
	k.change(func(h *power.Host) {
		h.Battery = b
		if known {
			h.LidClosed, h.LidUnknown = closed, false
		}
	})
}

// watchLids listens to the switches of lids.
func (k *keeper) watchLids(ctx context.Context, all *sync.WaitGroup) {
	if k.c.OpenInput == nil {
		return
	}
	for _, name := range power.LidInputs(k.c.Host) {
		f, err := k.c.OpenInput(name)
		if err != nil {
			k.d.Logger.Warn("the lid is seen late", "device", name, "err", err)
			continue
		}
		all.Go(func() {
			stop := context.AfterFunc(ctx, func() { _ = f.Close() })
			defer stop()
			err := power.Lid(f, func(closed bool) {
				k.change(func(h *power.Host) { h.LidClosed, h.LidUnknown, k.switched = closed, false, true })
			})
			if ctx.Err() == nil {
				k.d.Logger.Warn("the lid is seen late", "device", name, "err", err)
			}
		})
	}
}

func (k *keeper) connected(wait time.Duration, lid bool) {
	k.mu.Lock()
	if k.silent != nil {
		k.silent.Stop()
		k.silent = nil
	}
	k.report.Logind, k.report.Wait = "", wait.Seconds()
	k.mu.Unlock()
	k.d.Logger.Info("logind is heard", "waits", wait)
	if _, known := power.ReadLid(k.c.Host); !known {
		k.change(func(h *power.Host) {
			if !k.switched { // which is newer than what logind was asked for
				h.LidClosed, h.LidUnknown = lid, false
			}
		})
	}
}

func (k *keeper) gone(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.report.Logind == err.Error() {
		return
	}
	k.report.Logind, k.report.Wait = err.Error(), 0
	k.d.Logger.Warn("logind is not heard: guests are not made ready before the host sleeps", "err", err)
	if k.silent == nil {
		k.silent = time.AfterFunc(deaf, func() {
			k.change(func(h *power.Host) { h.Sleeping, h.SleepUnknown, h.LidUnknown = false, false, false })
		})
	}
}

func (k *keeper) sleeps(wait time.Duration, ready func()) {
	limit := wait - wait*sleepReserve/100
	if wait == 0 {
		limit = lateSleep
	}
	k.mu.Lock()
	k.until, k.ready = time.Now().Add(limit), ready
	k.mu.Unlock()
	time.AfterFunc(limit, ready) // whatever guests do
	k.change(func(h *power.Host) { h.Sleeping, h.SleepUnknown = true, false })
}

func (k *keeper) awake() {
	k.change(func(h *power.Host) { h.Sleeping, h.SleepUnknown = false, false })
}

// pass does what there is to do now, and reports whether nothing of it failed.
func (k *keeper) pass(ctx context.Context) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	k.mu.Lock()
	h, until, ready := k.host, k.until, k.ready
	k.cancel = cancel
	k.mu.Unlock()
	if h.Sleeping && time.Now().After(until) {
		return true // nothing can be done any more, until it is awake
	}
	if h.Sleeping {
		var end context.CancelFunc
		ctx, end = context.WithDeadline(ctx, until)
		defer end()
	} else {
		until = time.Time{}
	}
	guests, err := k.guests(ctx)
	if err != nil {
		k.d.Logger.Warn("not all guests are known", "err", err)
	}
	k.logind.IgnoreLid(power.Awake(guests))
	p := power.Decide(h, guests, k.offs.list(), sinceBoot())
	for _, o := range p.Forget {
		k.d.Logger.Warn("a guest that was to be started again is not", "guest", o.Name)
		k.offs.forget(k.d, o.Name)
	}
	well := k.run(ctx, p.Hold, until)
	well = k.run(ctx, p.Release, until) && well
	if h.Sleeping && (ctx.Err() == nil || time.Now().After(until)) {
		if len(p.Hold) > 0 {
			k.d.Logger.Info("guests are ready for the host's sleep", "steps", len(p.Hold), "all", well, "left", time.Until(until))
		}
		ready()
		// The host may sleep at any moment now: what is begun would be cut in half.
		k.mu.Lock()
		if k.until.Equal(until) { // or it is about to sleep once more
			k.until = time.Time{}
		}
		k.mu.Unlock()
	}
	return well || h.Sleeping // while it sleeps there is no time to try again
}

// guests are those that are known, with their rules.
func (k *keeper) guests(ctx context.Context) ([]power.Guest, error) {
	entries, err := k.d.Definitions.List()
	names, nerr := k.d.Runners.Names()
	var defs []guest.Definition
	for _, e := range entries {
		defs = append(defs, e.Definition)
	}
	order, _ := guest.StartOrder(defs) // what is left out of it needs nobody
	for _, name := range names {
		// It runs, and its definition is gone or cannot be read.
		if !slices.ContainsFunc(defs, func(d guest.Definition) bool { return d.Name == name }) {
			defs = append(defs, guest.Definition{Name: name})
		}
	}
	all := make([]power.Guest, len(defs))
	var asked []string
	for i, d := range defs {
		all[i] = power.Guest{Name: d.Name, Rules: d.PowerRules()}
		if j := slices.IndexFunc(order, func(p guest.Place) bool { return p.Name == d.Name }); j >= 0 {
			all[i].Needs, all[i].Before = order[j].After, order[j].Before
		}
		asked = append(asked, d.Name)
	}
	for i, s := range k.d.statuses(ctx, asked) {
		all[i].State, all[i].Holds = s.State, s.Holds
		if len(s.Devices) > 0 && all[i].Rules.HostSleep == guest.DoNothing { // by a definition before this one
			all[i].Rules.HostSleep = guest.DoPause
		}
	}
	return all, errors.Join(err, nerr)
}

// run carries out steps, those of guests that do not wait for one another at once.
func (k *keeper) run(ctx context.Context, steps []power.Step, until time.Time) (well bool) {
	byGuest := map[string][]power.Step{}
	over := map[string]chan struct{}{}
	for _, s := range steps {
		byGuest[s.Guest] = append(byGuest[s.Guest], s)
		if over[s.Guest] == nil {
			over[s.Guest] = make(chan struct{})
		}
	}
	levels := power.Levels(steps)
	well = true
	var mu sync.Mutex
	var all sync.WaitGroup
	for name, own := range byGuest {
		all.Go(func() {
			defer close(over[name])
			for _, other := range own[0].After {
				<-over[other] // each has an end
			}
			for _, s := range own {
				began := time.Now()
				err := k.do(ctx, s, share(until, levels-s.Level))
				if !errors.Is(err, context.Canceled) { // or it is decided anew
					k.note(s, began, err)
				}
				mu.Lock()
				well = well && err == nil
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return well
}

// share is how long a guest may take, of so many that come one after the other; 0 is as
// long as usual.
func share(until time.Time, levels int) time.Duration {
	if until.IsZero() {
		return 0
	}
	return max(time.Until(until)/time.Duration(max(levels, 1)), time.Millisecond)
}

// do carries out one step, which takes no longer than within if that is not 0.
func (k *keeper) do(ctx context.Context, s power.Step, within time.Duration) error {
	switch err := ctx.Err(); {
	case errors.Is(err, context.DeadlineExceeded):
		return errLate
	case err != nil:
		return err
	}
	r, err := k.d.Runners.Runner(s.Guest)
	if err != nil {
		return err
	}
	how := runner.SuspendRequest{Reason: s.Reason, Unplug: s.Reason == runner.HostSleep}
	switch s.Do {
	case power.Sleep:
		how.Sleep, how.Timeout = true, dozeLimit.Seconds()
		if within > 0 { // a part of it is for pausing one that does not
			how.Timeout = (within * 3 / 4).Seconds()
		}
		return k.hold(ctx, r, s.Guest, how)
	case power.Pause:
		return k.hold(ctx, r, s.Guest, how)
	case power.ShutDown:
		if s.Reason != runner.LowBattery {
			k.offs.add(k.d, power.Off{Name: s.Guest, Reason: s.Reason, Since: sinceBoot()})
		}
		limit := k.d.Stop
		if within > 0 {
			limit = within * 3 / 4
		}
		if k.shutDown(ctx, r, s.Guest, limit) || ctx.Err() != nil {
			return nil
		}
		return errors.Join(errNotOff, k.hold(ctx, r, s.Guest, how))
	case power.LetGo:
		_, err := r.LetGo(ctx, s.Reason)
		return err
	case power.Start:
		now, err := k.d.launchOnce(ctx, s.Guest, func() {})
		k.offs.forget(k.d, s.Guest)
		if err == nil && now.Over() {
			err = errors.New(failure(now))
		}
		return err
	}
	return nil
}

// errLate is that others have taken the time that there was.
var errLate = errors.New("there was no time left before the host sleeps")

// errNotOff is that a guest does not do as its power button says.
var errNotOff = errors.New("it has not shut itself down in time, and is paused")

// hold has a guest stand still. One that starts is waited for.
func (k *keeper) hold(ctx context.Context, r Runner, name string, how runner.SuspendRequest) error {
	if _, endless := ctx.Deadline(); !endless {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(how.Timeout*float64(time.Second))+askLimit)
		defer cancel()
	}
	for {
		_, err := r.Hold(ctx, how)
		if err == nil {
			return nil
		}
		now, serr := k.d.status(ctx, name)
		if serr == nil && now.Over() {
			return nil // it has ended meanwhile
		}
		if serr != nil || now.State != runner.Starting {
			return err
		}
		select {
		case <-time.After(readyPoll):
		case <-ctx.Done():
			return err
		}
	}
}

// shutDown presses a guest's power button, and reports whether it ends within a time.
func (k *keeper) shutDown(ctx context.Context, r Runner, name string, within time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	if _, err := r.Powerdown(ctx); err != nil {
		return false
	}
	for {
		if now, err := k.d.status(ctx, name); err == nil && now.Over() {
			return true
		}
		select {
		case <-time.After(readyPoll):
		case <-ctx.Done():
			return false
		}
	}
}
