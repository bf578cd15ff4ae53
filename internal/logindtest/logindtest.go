// Package logindtest is a message bus and a logind for tests.
package logindtest

import (
	"bytes"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/project-independence/indy/internal/hosttest"
)

// The names of logind.
const (
	login   = "org.freedesktop.login1"
	path    = dbus.ObjectPath("/org/freedesktop/login1")
	manager = login + ".Manager"
)

const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><listen>unix:path=%s</listen><policy context="default"><allow send_destination="*"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`

// A Bus is a message bus of a test's own.
type Bus struct {
	t       testing.TB
	dir     string
	Address string // for who connects
	daemon  *exec.Cmd
}

// StartBus starts one.
func StartBus(t testing.TB) *Bus {
	t.Helper()
	dir, err := os.MkdirTemp("", "bus")
	if err != nil {
		t.Fatal(err)
	}
	b := &Bus{t: t, dir: dir, Address: "unix:path=" + filepath.Join(dir, "s")}
	t.Cleanup(func() {
		b.Stop()
		_ = os.RemoveAll(dir)
	})
	b.Start()
	return b
}

// Start starts it, for the first time or again.
func (b *Bus) Start() {
	b.t.Helper()
	program, err := exec.LookPath("dbus-daemon")
	if err != nil {
		hosttest.Missing(b.t, "a message bus is wanted (package dbus-daemon): %v", err)
	}
	socket := filepath.Join(b.dir, "s")
	_ = os.Remove(socket)
	config := filepath.Join(b.dir, "conf")
	if err := os.WriteFile(config, bytes.ReplaceAll([]byte(busConfig), []byte("%s"), []byte(socket)), 0o600); err != nil {
		b.t.Fatal(err)
	}
	b.daemon = exec.Command(program, "--config-file="+config, "--nofork", "--nopidfile")
	if err := b.daemon.Start(); err != nil {
		b.t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if c, err := net.Dial("unix", socket); err == nil {
			_ = c.Close()
			return
		}
		if time.Now().After(end) {
			b.t.Fatal("dbus-daemon does not listen")
		}
	}
}

// Stop ends it, and all connections with it.
func (b *Bus) Stop() {
	if b.daemon != nil {
		_ = b.daemon.Process.Kill()
		_ = b.daemon.Wait()
		b.daemon = nil
	}
}

// Signal sends its process a signal.
func (b *Bus) Signal(sig syscall.Signal) {
	if err := b.daemon.Process.Signal(sig); err != nil {
		b.t.Fatal(err)
	}
}

// Connect connects to it.
func (b *Bus) Connect() *dbus.Conn {
	b.t.Helper()
	c, err := dbus.Connect(b.Address)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = c.Close() })
	return c
}

// A Logind is logind as far as indy knows it.
type Logind struct {
	bus  *Bus
	conn *dbus.Conn

	mu        sync.Mutex
	preparing bool
	wait      uint64
	lid       bool
	held      []*held
}

// held is an inhibitor that logind gave away: what it reads from ends when that is closed.
type held struct {
	what, mode string
	r          *os.File
	over       chan struct{}
}

func (h *held) open() bool {
	select {
	case <-h.over:
		return false
	default:
		return true
	}
}

// StartLogind starts a logind whose host is about to sleep, or not.
func (b *Bus) StartLogind(preparing, lid bool) *Logind {
	b.t.Helper()
	l := &Logind{bus: b, conn: b.Connect(), preparing: preparing, wait: 5_000_000, lid: lid}
	if err := l.conn.Export(loginMethods{l}, path, manager); err != nil {
		b.t.Fatal(err)
	}
	if err := l.conn.Export(loginProperties{l}, path, "org.freedesktop.DBus.Properties"); err != nil {
		b.t.Fatal(err)
	}
	if got, err := l.conn.RequestName(login, dbus.NameFlagDoNotQueue); err != nil || got != dbus.RequestNameReplyPrimaryOwner {
		b.t.Fatal(got, err)
	}
	return l
}

// loginMethods are those of org.freedesktop.login1.Manager.
type loginMethods struct{ l *Logind }

// Inhibit is that of org.freedesktop.login1.Manager.
func (m loginMethods) Inhibit(what, who, why, mode string) (dbus.UnixFD, *dbus.Error) {
	m.l.mu.Lock()
	defer m.l.mu.Unlock()
	if m.l.preparing && what == "sleep" {
		return 0, dbus.NewError(login+".OperationInProgress", []any{"The operation inhibition has been requested for is already running"})
	}
	r, w, err := os.Pipe()
	if err != nil || who == "" || why == "" {
		return 0, dbus.MakeFailedError(err)
	}
	h := &held{what: what, mode: mode, r: r, over: make(chan struct{})}
	m.l.held = append(m.l.held, h)
	go func() {
		defer close(h.over)
		_, _ = io.Copy(io.Discard, r)
		_ = r.Close()
	}()
	// The answer is sent after this returns, with a descriptor that is closed then.
	fd := dbus.UnixFD(w.Fd())
	time.AfterFunc(200*time.Millisecond, func() { _ = w.Close() })
	return fd, nil
}

type loginProperties struct{ l *Logind }

// Get is that of org.freedesktop.DBus.Properties.
func (p loginProperties) Get(of, name string) (dbus.Variant, *dbus.Error) {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	switch {
	case of != manager:
	case name == "PreparingForSleep":
		return dbus.MakeVariant(p.l.preparing), nil
	case name == "InhibitDelayMaxUSec":
		return dbus.MakeVariant(p.l.wait), nil
	case name == "LidClosed":
		return dbus.MakeVariant(p.l.lid), nil
	}
	return dbus.Variant{}, dbus.NewError("org.freedesktop.DBus.Error.UnknownProperty", nil)
}

// Sleep says that the host is about to sleep, or is awake.
func (l *Logind) Sleep(is bool) {
	l.bus.t.Helper()
	l.mu.Lock()
	l.preparing = is
	l.mu.Unlock()
	if err := l.conn.Emit(path, manager+".PrepareForSleep", is); err != nil {
		l.bus.t.Fatal(err)
	}
}

// Modes are the modes of all inhibitors that were ever given away for something.
func (l *Logind) Modes(what string) (all []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range l.held {
		if h.what == what {
			all = append(all, h.mode)
		}
	}
	return all
}

// Holders is how many inhibitors of a kind are open.
func (l *Logind) Holders(what string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, h := range l.held {
		if h.what == what && h.open() {
			n++
		}
	}
	return n
}

// Stop ends it.
func (l *Logind) Stop() { _ = l.conn.Close() }

// SendTo sends a forged signal to one connection.
func SendTo(c *dbus.Conn, name string) error {
	m := &dbus.Message{Type: dbus.TypeSignal, Body: []any{true}, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldPath: dbus.MakeVariant(path), dbus.FieldInterface: dbus.MakeVariant(manager), dbus.FieldMember: dbus.MakeVariant("PrepareForSleep"),
		dbus.FieldDestination: dbus.MakeVariant(name), dbus.FieldSignature: dbus.MakeVariant(dbus.SignatureOf(true)),
	}}
	return c.Send(m, nil).Err
}
