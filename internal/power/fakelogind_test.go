package power

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

const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><listen>unix:path=%s</listen><policy context="default"><allow send_destination="*"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`

// A bus is a message bus of this test's own.
type bus struct {
	t       *testing.T
	dir     string
	address string
	daemon  *exec.Cmd
}

// startBus starts one.
func startBus(t *testing.T) *bus {
	t.Helper()
	dir, err := os.MkdirTemp("", "bus")
	if err != nil {
		t.Fatal(err)
	}
	b := &bus{t: t, dir: dir, address: "unix:path=" + filepath.Join(dir, "s")}
	t.Cleanup(func() {
		b.stop()
		_ = os.RemoveAll(dir)
	})
	b.start()
	return b
}

func (b *bus) start() {
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

func (b *bus) stop() {
	if b.daemon != nil {
		_ = b.daemon.Process.Kill()
		_ = b.daemon.Wait()
		b.daemon = nil
	}
}

func (b *bus) signal(sig syscall.Signal) {
	if err := b.daemon.Process.Signal(sig); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bus) connect() *dbus.Conn {
	b.t.Helper()
	c, err := dbus.Connect(b.address)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = c.Close() })
	return c
}

// A fakeLogind is logind as far as indy knows it.
type fakeLogind struct {
	bus  *bus
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

func (b *bus) startLogind(preparing, lid bool) *fakeLogind {
	b.t.Helper()
	l := &fakeLogind{bus: b, conn: b.connect(), preparing: preparing, wait: 5_000_000, lid: lid}
	if err := l.conn.Export(loginMethods{l}, loginPath, loginManager); err != nil {
		b.t.Fatal(err)
	}
	if err := l.conn.Export(loginProperties{l}, loginPath, "org.freedesktop.DBus.Properties"); err != nil {
		b.t.Fatal(err)
	}
	if got, err := l.conn.RequestName(login, dbus.NameFlagDoNotQueue); err != nil || got != dbus.RequestNameReplyPrimaryOwner {
		b.t.Fatal(got, err)
	}
	return l
}

type loginMethods struct{ l *fakeLogind }

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

type loginProperties struct{ l *fakeLogind }

// Get is that of org.freedesktop.DBus.Properties.
func (p loginProperties) Get(of, name string) (dbus.Variant, *dbus.Error) {
	p.l.mu.Lock()
	defer p.l.mu.Unlock()
	switch {
	case of != loginManager:
	case name == "PreparingForSleep":
		return dbus.MakeVariant(p.l.preparing), nil
	case name == "InhibitDelayMaxUSec":
		return dbus.MakeVariant(p.l.wait), nil
	case name == "LidClosed":
		return dbus.MakeVariant(p.l.lid), nil
	}
	return dbus.Variant{}, dbus.NewError("org.freedesktop.DBus.Error.UnknownProperty", nil)
}

// sleep says that the host is about to sleep, or is awake.
func (l *fakeLogind) sleep(is bool) {
	l.bus.t.Helper()
	l.mu.Lock()
	l.preparing = is
	l.mu.Unlock()
	if err := l.conn.Emit(loginPath, loginManager+".PrepareForSleep", is); err != nil {
		l.bus.t.Fatal(err)
	}
}

// holders is how many inhibitors of a kind are open.
func (l *fakeLogind) holders(what string) int {
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

func (l *fakeLogind) stop() { _ = l.conn.Close() }

// sendTo sends a forged signal to one connection.
func sendTo(c *dbus.Conn, name string) error {
	m := &dbus.Message{Type: dbus.TypeSignal, Body: []any{true}, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldPath: dbus.MakeVariant(loginPath), dbus.FieldInterface: dbus.MakeVariant(loginManager), dbus.FieldMember: dbus.MakeVariant("PrepareForSleep"),
		dbus.FieldDestination: dbus.MakeVariant(name), dbus.FieldSignature: dbus.MakeVariant(dbus.SignatureOf(true)),
	}}
	return c.Send(m, nil).Err
}
