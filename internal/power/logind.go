package power

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"
)

// SystemBus is the address of the system's message bus where nothing else is said.
const SystemBus = "unix:path=/run/dbus/system_bus_socket"

// The names of logind, org.freedesktop.login1(5).
const (
	login        = "org.freedesktop.login1"
	loginPath    = dbus.ObjectPath("/org/freedesktop/login1")
	loginManager = login + ".Manager"
	busName      = "org.freedesktop.DBus"
)

// callLimit is how long the bus, or logind, may take to answer.
const callLimit = 5 * time.Second

// A Logind listens to logind, and has it wait before the host sleeps. What it hears it
// says by calling the functions, one after the other; they must return at once.
type Logind struct {
	Address string // of the bus; empty is SystemBus

	// Retry is how long is waited before the bus is tried again; 0 is five seconds.
	Retry time.Duration

	// Inhibit is [Inhibit] by who may, where this process may not; nil is that it may.
	Inhibit func(ctx context.Context, lid bool) (*os.File, error)

	// Connected says that logind is heard, how long it waits before the host sleeps, and
	// whether the lid is closed, as far as it says.
	Connected func(wait time.Duration, lidClosed bool)

	// Gone says that it is heard no more, or not yet.
	Gone func(error)

	// Sleeps says that the host is about to sleep, and waits so long for ready to be called,
	// which may be called any number of times. Of a host that was about to when logind was
	// first heard it waits for nobody, and wait is 0.
	Sleeps func(wait time.Duration, ready func())

	// Awake says that the host does not sleep any more, or not after all.
	Awake func()

	mu   sync.Mutex
	lid  bool // logind is to leave a closed lid to others
	kick chan struct{}
}

// IgnoreLid says whether logind is not to have the host sleep because its lid is closed.
func (l *Logind) IgnoreLid(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lid == on {
		return
	}
	l.lid = on
	select {
	case l.wake() <- struct{}{}:
	default:
	}
}

// wake is what says that lid has changed. The caller has the lock.
func (l *Logind) wake() chan struct{} {
	if l.kick == nil {
		l.kick = make(chan struct{}, 1)
	}
	return l.kick
}

// Watch listens until ctx ends. It outlives the bus and logind: what is gone is waited for.
func (l *Logind) Watch(ctx context.Context) {
	retry := l.Retry
	if retry <= 0 {
		retry = 5 * time.Second
	}
	for {
		err := l.listen(ctx)
		if ctx.Err() != nil {
			return
		}
		l.Gone(err)
		select {
		case <-time.After(retry):
		case <-ctx.Done():
			return
		}
	}
}

// A session is one connection to the bus.
type session struct {
	*Logind
	conn  *dbus.Conn
	owner string // of logind's name, by which its signals are known

	delay *inhibitor // until guests are ready to sleep
	block *inhibitor // of the lid
	asks  bool       // the host is about to sleep
	wait  time.Duration
}

// An inhibitor is an open file by which logind waits, and that somebody may close at any
// time.
type inhibitor struct{ close func() }

func newInhibitor(f *os.File) *inhibitor {
	return &inhibitor{sync.OnceFunc(func() { _ = f.Close() })}
}

func (i *inhibitor) release() {
	if i != nil {
		i.close()
	}
}

// listen does so until the connection ends.
func (l *Logind) listen(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	address := l.Address
	if address == "" {
		address = SystemBus
	}
	// Nothing of dialling has a deadline but that of the connection.
	late := time.AfterFunc(callLimit, func() { cancel(errors.New("the message bus does not answer")) })
	defer late.Stop()
	conn, err := dbus.Connect(address, dbus.WithContext(ctx), dbus.WithAuth(dbus.AuthExternal(strconv.Itoa(os.Geteuid()))))
	if err != nil {
		return errors.Join(fmt.Errorf("message bus %s: %w", address, err), context.Cause(ctx))
	}
	defer conn.Close()
	signals := make(chan *dbus.Signal, 64)
	conn.Signal(signals)
	s := &session{Logind: l, conn: conn}
	defer func() {
		s.delay.release()
		s.block.release()
	}()
	for _, rule := range [][]dbus.MatchOption{
		{dbus.WithMatchSender(login), dbus.WithMatchObjectPath(loginPath), dbus.WithMatchInterface(loginManager), dbus.WithMatchMember("PrepareForSleep")},
		{dbus.WithMatchSender(busName), dbus.WithMatchInterface(busName), dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, login)},
	} {
		if err := conn.AddMatchSignalContext(ctx, rule...); err != nil {
			return fmt.Errorf("message bus: %w", err)
		}
	}
	late.Stop()
	if err := s.begin(ctx); err != nil {
		return err
	}
	l.mu.Lock()
	kick := l.wake()
	l.mu.Unlock()
	for {
		s.watchLid(ctx)
		select {
		case sig, ok := <-signals:
			if !ok {
				return errors.New("the message bus has ended the connection")
			}
			if err := s.heard(ctx, sig); err != nil {
				return err
			}
		case <-kick:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// call asks logind, or the bus.
func (s *session) call(ctx context.Context, dest string, path dbus.ObjectPath, method string, result any, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	return s.conn.Object(dest, path).CallWithContext(ctx, method, 0, args...).Store(result)
}

// begin has logind wait from now on, and finds out how it is. Logind is started by being
// asked.
func (s *session) begin(ctx context.Context) error {
	preparing, err := property[bool](ctx, s, "PreparingForSleep")
	if err != nil {
		return fmt.Errorf("logind: %w", err)
	}
	if err := s.call(ctx, busName, "/org/freedesktop/DBus", busName+".GetNameOwner", &s.owner, login); err != nil {
		return fmt.Errorf("logind: %w", err)
	}
	usec, err := property[uint64](ctx, s, "InhibitDelayMaxUSec")
	if err != nil {
		return fmt.Errorf("logind: %w", err)
	}
	s.wait = time.Duration(min(usec, uint64(time.Hour/time.Microsecond))) * time.Microsecond
	lid, _ := property[bool](ctx, s, "LidClosed") // without it there is none
	// Files of a logind before this one mean nothing to it.
	s.block.release()
	s.block = nil
	late := preparing
	if !late {
		if err := s.inhibit(ctx); err != nil {
			return err
		}
		// It may have begun since logind was asked to wait, and the signal is still to come.
		if preparing, err = property[bool](ctx, s, "PreparingForSleep"); err != nil {
			return fmt.Errorf("logind: %w", err)
		}
	}
	s.Connected(s.wait, lid)
	switch {
	case !preparing:
		s.asks = false
		s.Awake() // whatever was before
	case s.asks:
	case late:
		s.asks = true
		s.Sleeps(0, func() {})
	default:
		s.asks = true
		s.Sleeps(s.wait, s.delay.release)
	}
	return nil
}

func property[T any](ctx context.Context, s *session, name string) (v T, err error) {
	var out dbus.Variant
	if err := s.call(ctx, login, loginPath, "org.freedesktop.DBus.Properties.Get", &out, loginManager, name); err != nil {
		return v, fmt.Errorf("%s: %w", name, err)
	}
	v, ok := out.Value().(T)
	if !ok {
		return v, fmt.Errorf("%s is of the type %s", name, out.Signature())
	}
	return v, nil
}

// Inhibit returns a file by which logind waits before the host sleeps or, for the lid, leaves
// a closed one to others, until it is closed. It may block for some seconds. address is that of the
// message bus; empty is [SystemBus].
func Inhibit(ctx context.Context, address string, lid bool) (*os.File, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	if address == "" {
		address = SystemBus
	}
	conn, err := dbus.Connect(address, dbus.WithContext(ctx), dbus.WithAuth(dbus.AuthExternal(strconv.Itoa(os.Geteuid()))))
	if err != nil {
		return nil, fmt.Errorf("message bus %s: %w", address, err)
	}
	defer conn.Close()
	return inhibitBy(ctx, conn, lid)
}

// inhibitBy is Inhibit by a connection that there is.
func inhibitBy(ctx context.Context, conn *dbus.Conn, lid bool) (*os.File, error) {
	what, why, mode := "sleep", "guests are made ready for it", "delay"
	if lid {
		what, why, mode = "handle-lid-switch", "a guest goes on while the lid is closed", "block"
	}
	var fd dbus.UnixFD
	if err := conn.Object(login, loginPath).CallWithContext(ctx, loginManager+".Inhibit", 0, what, "indy", why, mode).Store(&fd); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "inhibitor"), nil
}

// hold has logind wait, or leave the lid alone.
func (s *session) hold(ctx context.Context, lid bool) (*inhibitor, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	by := s.Logind.Inhibit
	if by == nil {
		by = func(ctx context.Context, lid bool) (*os.File, error) { return inhibitBy(ctx, s.conn, lid) }
	}
	f, err := by(ctx, lid)
	if err != nil {
		return nil, err
	}
	return newInhibitor(f), nil
}

// inhibit has logind wait before the host sleeps, from now on.
func (s *session) inhibit(ctx context.Context) error {
	i, err := s.hold(ctx, false)
	if err != nil {
		return fmt.Errorf("logind does not wait before the host sleeps: %w", err)
	}
	s.delay.release()
	s.delay = i
	return nil
}

// watchLid has logind leave the lid alone, or not. What cannot be had now is tried again
// with the next signal.
func (s *session) watchLid(ctx context.Context) {
	s.mu.Lock()
	wanted := s.lid
	s.mu.Unlock()
	if !wanted {
		s.block.release()
		s.block = nil
		return
	}
	if s.block == nil {
		s.block, _ = s.hold(ctx, true) // nil when it cannot be had
	}
}

// heard does what a signal asks for, if it is logind's: anybody can send one to a
// connection that is known by its number.
func (s *session) heard(ctx context.Context, sig *dbus.Signal) error {
	switch {
	case sig.Sender == busName && sig.Name == busName+".NameOwnerChanged":
		var name, before, after string
		if dbus.Store(sig.Body, &name, &before, &after) != nil || name != login || after == s.owner {
			return nil
		}
		if s.owner = after; after == "" {
			return errors.New("logind has ended")
		}
		return s.begin(ctx)
	case sig.Sender == s.owner && s.owner != "" && sig.Name == loginManager+".PrepareForSleep" && sig.Path == loginPath:
		var sleeps bool
		if dbus.Store(sig.Body, &sleeps) != nil || sleeps == s.asks {
			return nil
		}
		if s.asks = sleeps; sleeps {
			s.Sleeps(s.wait, s.delay.release)
			return nil
		}
		s.Awake()
		return s.inhibit(ctx)
	}
	return nil
}
