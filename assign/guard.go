package assign

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/uevent"
)

// A Guard sees to it that the functions of a lease stay out of the host's hands while they
// are leased: a function that is removed and found again has lost its driver override, and
// the host's own driver takes it.
//
// What a Guard cannot do is be first for certain. The kernel announces a function, sees to
// the rest of what it has found, and then looks for drivers; if the override is there by
// then, vfio-pci gets the function and the host's driver never does. In the emulated laptop
// that was so in 41 of 48 cases; in the others the host's driver had the function for
// a part of a second, in which it could read what the guest had left in it. To close that
// window the override has to be there before: a udev rule comes as late as a Guard does;
// ids given to vfio-pci when it is loaded do not, for devices which the host never uses.
// /sys/bus/pci/drivers_autoprobe does not stop what a rescan finds.
type Guard struct {
	Store *Store
	Host  *Host
	Lease *Lease // assigned

	// MayTake is asked before the host's driver is made to let go of a function that came
	// back; its error leaves the function to the host. Nil takes it: nobody can have begun
	// to use it in the moment since it appeared.
	MayTake func(pci.Address) error

	gone   map[pci.Address]bool // seen without
	failed map[pci.Address]int  // how often it could not be isolated since it came
	told   map[pci.Address]What // the last incident
}

// What says what happened to a function of a lease.
type What string

// What may happen.
const (
	Gone     What = "gone"     // it is not there any more
	Isolated What = "isolated" // it came back, and is with vfio-pci again
	Replaced What = "replaced" // another device has its address, and is left to the host
	Lost     What = "lost"     // it came back and could not be isolated; the host has it
)

// An Incident is something that happened to a function of a lease.
type Incident struct {
	Device pci.Address   `json:"device"`
	What   What          `json:"what"`
	Detail string        `json:"detail"`
	Took   time.Duration `json:"took"` // from when it was looked at until it was isolated, in nanoseconds
}

// String tells a person.
func (i Incident) String() string { return i.Device.String() + ": " + i.Detail }

// maxFailures is how often a function that came back is tried to be isolated.
const maxFailures = 3

// Watch looks at the functions of the lease at once and then whenever read, as
// [uevent.Conn.Read] does, returns an event about one of them, until ctx is done or the
// lease has ended; then it returns nil. Where events were lost it looks at all. It tells
// each incident once, in its own goroutine. Any other error of read ends it.
func (g *Guard) Watch(ctx context.Context, read func(context.Context) (uevent.Event, error), tell func(Incident)) error {
	for {
		incidents, err := g.Check(ctx)
		for _, i := range incidents {
			tell(i)
		}
		if errors.Is(err, fs.ErrNotExist) || ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		for {
			e, err := read(ctx)
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, uevent.ErrOverflow) || err == nil && g.concerns(e) {
				break
			}
			if err != nil && !errors.Is(err, uevent.ErrMalformed) {
				return err
			}
		}
	}
}

// concerns reports whether an event is about a function of the lease. What exactly it says
// does not matter: by now something else may be so.
func (g *Guard) concerns(e uevent.Event) bool {
	if e.Subsystem != "pci" {
		return false
	}
	a, err := pci.ParseAddress(e.Path[strings.LastIndexByte(e.Path, '/')+1:])
	return err == nil && slices.Contains(g.Lease.Devices, a)
}

// Check looks at the functions of the lease now, and isolates again those that came back.
// It returns what happened since the last look. The error is [fs.ErrNotExist] when the
// lease has ended, and may be that of ctx. It waits for other processes that work on the
// lease, and writes only while it has the lease's lock.
func (g *Guard) Check(ctx context.Context) ([]Incident, error) {
	if g.gone == nil {
		g.gone, g.failed, g.told = map[pci.Address]bool{}, map[pci.Address]int{}, map[pci.Address]What{}
	}
	var back []pci.Address
	var all []Incident
	for _, a := range g.Lease.Devices {
		i, came := g.look(a)
		if came {
			back = append(back, a)
		}
		all = g.note(all, i)
	}
	if len(back) == 0 {
		return all, nil
	}
	o, err := g.Store.lockLease(ctx, g.Host, g.Lease)
	if err != nil {
		return all, err
	}
	defer o.close()
	if o.State != Assigned || o.BootID != g.Lease.BootID {
		return all, nil // on its way back
	}
	lost := slices.Clone(o.Lost)
	w := &work{host: o.lent(g.Host), plan: g.Lease.Plan, stuck: o.stillStuck(g.Host.FS)}
	for _, a := range back {
		i := g.isolate(ctx, w, a)
		if i.What != "" {
			lost = slices.DeleteFunc(lost, func(b pci.Address) bool { return a == b })
		}
		if i.What == Replaced || i.What == Lost {
			lost = append(lost, a)
		}
		all = g.note(all, i)
	}
	if !slices.Equal(lost, o.Lost) {
		err = o.lose(lost)
	}
	if len(w.stuck) != len(o.Stuck) {
		err = errors.Join(err, o.append(record{Op: opStuck, Stuck: w.stuck}))
	}
	return all, err
}

// note adds an incident unless it is the one that was told last.
func (g *Guard) note(all []Incident, i Incident) []Incident {
	if i.What == "" || g.told[i.Device] == i.What && i.What != Isolated {
		return all
	}
	g.told[i.Device] = i.What
	return append(all, i)
}

// look says what has become of a function, or that it came back and is to be isolated. It
// writes nothing.
func (g *Guard) look(a pci.Address) (i Incident, came bool) {
	i.Device = a
	driver, err := pci.Driver(g.Host.FS, a)
	if errors.Is(err, fs.ErrNotExist) {
		g.gone[a] = true
		g.failed[a] = 0
		i.What, i.Detail = Gone, "it has gone: unplugged, or removed by hand"
		return i, false
	}
	if driver == VFIODriver && !g.gone[a] {
		return i, false
	}
	if g.failed[a] >= maxFailures {
		return i, false
	}
	return i, true
}

// isolate gives function a, which came back, to vfio-pci again, if it is the one that was
// leased, and no write to it is waited for.
func (g *Guard) isolate(ctx context.Context, w *work, a pci.Address) (i Incident) {
	begin := time.Now()
	i.Device = a
	lost := func(err error) Incident {
		if errors.Is(err, fs.ErrNotExist) {
			return i // it is gone again; the next event is about that
		}
		g.failed[a]++
		i.What, i.Detail = Lost, "it came back, and could not be taken from the host again: "+err.Error()
		return i
	}
	if at := slices.IndexFunc(w.stuck, func(s StuckWrite) bool { return waitsFor([]StuckWrite{s}, a.String()) }); at >= 0 {
		i.What, i.Detail = Lost, "it came back, and is with the host: "+w.stuck[at].Error()
		return i // tried again once the kernel says that something has become of it
	}
	step := slices.IndexFunc(w.plan.Steps, func(s Step) bool { return s.Bus == "" && s.Device == a.String() && !s.Keeps() })
	if step < 0 {
		g.failed[a] = maxFailures
		return lost(errors.New("it was not indy that bound it to vfio-pci"))
	}
	if err := w.same(w.plan.Steps[step]); err != nil {
		if !errors.Is(err, ErrOtherDevice) {
			return lost(err)
		}
		g.failed[a] = maxFailures // until it has gone again
		i.What, i.Detail = Replaced, err.Error()+"; it is left to the host"
		return i
	}
	had, err := g.bind(ctx, w, a)
	if err != nil {
		return lost(err)
	}
	i.Took = time.Since(begin)
	if changed, err := g.other(a); changed != "" || err != nil {
		if err != nil {
			return lost(err)
		}
		g.failed[a] = maxFailures
		undo := &work{host: w.host, plan: w.plan.of(a), note: func(string, int) error { return nil }, stuck: w.stuck}
		undo.begun = len(undo.plan.Steps)
		err := undo.undo()
		w.stuck = undo.stuck
		i.What, i.Detail = Replaced, "another one of its make has its address, with "+changed+"; it is left to the host"
		if err != nil {
			i.Detail += ": " + err.Error()
		}
		return i
	}
	g.gone[a], g.failed[a] = false, 0
	i.What, i.Detail = Isolated, "it came back and is with vfio-pci again"
	if had != "" {
		i.Detail += "; in between the host's driver " + had + " had it"
	}
	return i
}

// bind brings function a from whatever driver took it to vfio-pci, and returns that
// driver. What it writes is taken back by the undo of the plan, all of whose steps are on
// record as begun.
func (g *Guard) bind(ctx context.Context, w *work, a pci.Address) (had string, err error) {
	addr := a.String()
	s := Step{Device: addr}
	if g.MayTake != nil {
		if driver, err := pci.Driver(g.Host.FS, a); err == nil && driver != "" && driver != VFIODriver {
			if err := g.MayTake(a); err != nil {
				return driver, err
			}
		}
	}
	// The kernel announces a function before it is ready for any driver: then it goes to
	// vfio-pci by itself a moment later, and until then nobody can make it.
	end, asked := time.Now().Add(bindTimeout), 0
	for wait := time.Millisecond; ; wait = min(2*wait, 20*time.Millisecond) {
		tied, err := pci.DriverOverride(g.Host.FS, a)
		if err == nil && tied != VFIODriver {
			// First of all: from now on no other driver takes it.
			err = w.write(s, Write{File: deviceDir("", addr) + "/" + override, Value: VFIODriver, After: Check{What: override, Is: VFIODriver}})
		}
		if err != nil {
			return had, err
		}
		driver, err := pci.Driver(g.Host.FS, a)
		switch {
		case err != nil || driver == VFIODriver:
			return had, err
		case driver == "":
			err = w.write(s, Write{File: "sys/bus/pci/drivers_probe", Value: addr, After: Check{What: "driver", Is: VFIODriver}})
			if err == nil {
				return had, nil
			}
		case asked == maxFailures:
			return had, fmt.Errorf("the driver %s does not let go of it", driver)
		default:
			had = driver
			asked++
			err = w.write(s, Write{File: "sys/bus/pci/drivers/" + driver + "/unbind", Value: addr, After: Check{What: "driver", Is: driver, Not: true}})
			if err == nil {
				continue
			}
		}
		if errors.Is(err, ErrStuck) || time.Now().After(end) || ctx.Err() != nil {
			return had, err
		}
		g.Host.pause(ctx, wait)
	}
}

// bindTimeout is how long a function that came back may take to be ready for a driver.
const bindTimeout = 5 * time.Second

// other says what tells function a from the one that was noted when it was leased, empty
// when nothing does.
func (g *Guard) other(a pci.Address) (string, error) {
	if g.Store.StateDir == "" {
		return "", nil
	}
	files, err := g.Store.residueFiles(func(at string) bool { return at == a.String() })
	if err != nil {
		return "", err
	}
	now, err := readFingerprint(g.Host.FS, a, always) // nobody uses it
	if err != nil {
		return "", err
	}
	for _, f := range files {
		if f.Device == a.String() && f.usedIn(g.Lease.ID) {
			return f.Fingerprint.Differs(now), nil
		}
	}
	return "", nil
}

// of returns the part of the plan that is about function a.
func (p *Plan) of(a pci.Address) *Plan {
	part := *p
	part.Steps = slices.DeleteFunc(slices.Clone(p.Steps), func(s Step) bool { return s.Bus != "" || s.Device != a.String() })
	return &part
}
