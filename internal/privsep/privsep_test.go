package privsep

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/guest/store"
	"github.com/project-independence/indy/internal/daemon"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/internal/runner"
)

// A fixture is a broker with two guests, of which one is locked, and the socket of a daemon.
type fixture struct {
	*Client
	dir    string
	daemon *net.UnixListener
	server *Server
}

const operators = 54322 // the group

func newFixture(t *testing.T) fixture {
	t.Helper()
	if os.Geteuid() != 0 {
		hosttest.Missing(t, "without root there is no broker")
	}
	dir, err := os.MkdirTemp("", "") // short: the name of a socket has 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { // others connect
		t.Fatal(err)
	}
	kept := store.Store{Dir: filepath.Join(dir, "guests"), Admin: true}
	for _, text := range []string{"name: free\nmemory: 1GiB\n", "name: secret\nmemory: 1GiB\nlocked: true\n"} {
		if _, err := kept.Create(t.Context(), []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	kept.Admin = false
	groups, err := daemon.ReadGroups(fstest.MapFS{"etc/group": {Data: []byte("indy-operators:x:54322:\n")}})
	if err != nil {
		t.Fatal(err)
	}
	f := fixture{Client: &Client{Socket: filepath.Join(dir, "b"), Guests: kept.Dir}, dir: dir}
	listen := func(network, name string) *net.UnixListener {
		l, err := net.ListenUnix(network, &net.UnixAddr{Name: filepath.Join(dir, name), Net: network})
		if err == nil {
			err = os.Chmod(filepath.Join(dir, name), 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		return l
	}
	f.daemon = listen("unix", "d")
	f.server = &Server{
		UID: 54321, Daemon: filepath.Join(dir, "d"), Groups: groups, Logger: slog.New(slog.DiscardHandler), Definitions: &daemon.Stored{Store: kept},
		Guest:  func(name string) (runner.Dir, error) { return runner.DirOf(filepath.Join(dir, "run"), name) },
		Launch: func(string, []byte) (*runner.Launched, error) { return nil, runner.ErrRuns },
		Document: func(which string) (json.RawMessage, error) {
			return json.RawMessage(`"` + which + `"`), errors.New("not all")
		},
		Inhibit: func(context.Context, bool) (*os.File, error) { return nil, errors.New("no bus") },
		OpenLid: func(string) (*os.File, error) { return nil, errors.New("no lid") },
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	l := listen("unixpacket", "b")
	go func() { ended <- f.server.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return f
}

// by runs f in a thread of another user and group, as the kernel tells it of connections.
func by(t *testing.T, id int, f func()) {
	t.Helper()
	var failed error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlock: the thread ends with this
		none := uintptr(id)
		for _, call := range []uintptr{unix.SYS_SETRESGID, unix.SYS_SETRESUID} {
			if _, _, e := unix.RawSyscall(call, none, none, none); e != 0 {
				failed = e
				return
			}
		}
		f()
	}()
	<-done
	if failed != nil {
		t.Fatal(failed)
	}
}

// caller is somebody who is connected to the daemon.
func (f fixture) caller(t *testing.T, id int) daemon.Caller {
	t.Helper()
	var near net.Conn
	var err error
	by(t, id, func() {
		var fd int
		if fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return
		}
		if err = unix.Connect(fd, &unix.SockaddrUnix{Name: f.server.Daemon}); err == nil {
			file := os.NewFile(uintptr(fd), "near")
			near, err = net.FileConn(file)
			_ = file.Close()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = near.Close() })
	c, err := f.daemon.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return daemon.Caller{Role: daemon.Admin, Conn: c} // as a daemon might claim
}

// TestDefinitions: what can be read is as in the store, and is changed for who may, whatever the
// daemon says who that is.
func TestDefinitions(t *testing.T) {
	f := newFixture(t)
	all, err := f.List()
	if err != nil || len(all) != 2 || all[0].Name != "free" || !all[1].Locked || all[1].Dir != filepath.Join(f.Guests, "secret") {
		t.Fatalf("%+v, %v", all, err)
	}
	if _, err := f.Read("nobody"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("one that is not there: %v", err)
	}
	ctx, root, operator, nobody := t.Context(), f.caller(t, 0), f.caller(t, operators), f.caller(t, 54399)
	small := []byte("name: free\nmemory: 512MiB\n")
	if _, err := f.Replace(ctx, nobody, all[0], small); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("nobody changes a guest: %v", err)
	}
	if _, err := f.Replace(ctx, operator, all[1], []byte("name: secret\nmemory: 1GiB\n")); !errors.Is(err, store.ErrLocked) {
		t.Errorf("an operator unlocks a guest: %v", err)
	}
	if _, err := f.Delete(ctx, operator, all[1], true); !errors.Is(err, store.ErrLocked) {
		t.Errorf("an operator deletes a locked guest: %v", err)
	}
	if _, err := f.Create(ctx, operator, daemon.NewGuest{Text: []byte("name: new\nmemory: 1GiB\nlocked: true\n")}); !errors.Is(err, store.ErrLocked) {
		t.Errorf("an operator makes a locked guest: %v", err)
	}
	// A file of the host, which the daemon says the guest had before.
	forged := all[0]
	reads := []byte("name: free\nmemory: 1GiB\ndisks: [{file: /etc/shadow, format: raw, read_only: true}]\n")
	forged.Text = reads
	if _, err := f.Replace(ctx, operator, forged, reads); !errors.Is(err, store.ErrChanged) {
		t.Errorf("what was before is believed of the daemon: %v", err)
	}
	var code interface{ Status() int }
	if _, err := f.Replace(ctx, operator, all[0], reads); !errors.As(err, &code) || code.Status() != 403 || !strings.Contains(err.Error(), "/etc/shadow") {
		t.Errorf("an operator gives a guest a file of the host: %v", err)
	}
	e, err := f.Replace(ctx, operator, all[0], small)
	if err != nil || e.Name != "free" || string(e.Text) != string(small) {
		t.Fatalf("%+v, %v", e, err)
	}
	if _, err := f.Replace(ctx, root, all[0], small); !errors.Is(err, store.ErrChanged) {
		t.Errorf("after another change: %v", err)
	}
	if e, err := f.Read("free"); err != nil || string(e.Text) != string(small) || e.Memory != 512<<20 {
		t.Errorf("%+v, %v", e, err)
	}
	if _, err := f.Create(ctx, root, daemon.NewGuest{Text: []byte("name: new\nmemory: 1GiB\nlocked: true\n")}); err != nil {
		t.Errorf("root makes a locked guest: %v", err)
	}
	if _, err := f.Create(ctx, root, daemon.NewGuest{Text: small}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("it is there already: %v", err)
	}
	if _, err := f.Delete(ctx, root, all[1], false); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(f.Guests, "new", "guest.yaml"), []byte("name: ["), 0o600); err != nil {
		t.Fatal(err)
	}
	damaged, err := f.Read("new")
	if err == nil || damaged.Name != "new" || string(damaged.Text) != "name: [" {
		t.Errorf("a damaged one: %+v, %v", damaged, err)
	}
	if all, err := f.List(); err == nil || len(all) != 1 {
		t.Errorf("with a damaged one: %+v, %v", all, err)
	}
}

// TestWhoAsks: somebody is who the kernel says of a connection that the daemon's socket has
// made, and of no other one.
func TestWhoAsks(t *testing.T) {
	f := newFixture(t)
	entry, err := f.Read("free")
	if err != nil {
		t.Fatal(err)
	}
	want := func(what string, conn *net.UnixConn) {
		t.Helper()
		_, err := f.Delete(t.Context(), daemon.Caller{Role: daemon.Admin, Conn: conn}, entry, false)
		if err == nil || !strings.Contains(err.Error(), "on whose behalf") {
			t.Errorf("%s: %v", what, err)
		}
	}
	want("none", nil)
	// The other end is root's, who listens there.
	out, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: f.server.Daemon, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	want("the end of who connects", out)
	own, err := net.DialUnix("unix", &net.UnixAddr{Name: filepath.Join(f.dir, "own"), Net: "unix"}, &net.UnixAddr{Name: f.server.Daemon, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	want("one with another name", own)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[1])
	file := os.NewFile(uintptr(pair[0]), "pair")
	defer file.Close()
	c, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	want("a pair", c.(*net.UnixConn))
	if _, err := f.Read("free"); err != nil {
		t.Errorf("it is gone: %v", err)
	}
}

// TestGuests: what a runner keeps and where it listens is handed over open.
func TestGuests(t *testing.T) {
	f := newFixture(t)
	run := filepath.Join(f.dir, "run", "free")
	if err := os.MkdirAll(run, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(filepath.Join(run, "log"), []byte("said"), 0o600), os.Symlink("/etc/shadow", filepath.Join(run, "events"))); err != nil {
		t.Fatal(err)
	}
	d := runner.Dir{Name: "free", By: f.Client}
	file, err := d.OpenLog()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if text, err := io.ReadAll(file); err != nil || string(text) != "said" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := d.OpenConsole(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if _, err := d.OpenEvents(); err == nil {
		t.Error("a link is followed")
	}
	for _, name := range []string{"control", "../free/log", "lock", ""} {
		if _, err := f.Open(t.Context(), "free", name); err == nil {
			t.Errorf("%q is opened", name)
		}
	}
	if d.Locked() {
		t.Error("it is locked")
	}
	if _, err := f.Dial(t.Context(), "free"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nobody listens: %v", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(run, "control"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := f.Dial(t.Context(), "free")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	far, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	if _, err := io.WriteString(far, "x"); err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(10 * time.Second)) // which takes a socket that does not wait
	if n, err := c.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if err := d.Forget(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(run); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is not forgotten: %v", err)
	}
	if _, err := f.Start("nobody", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a guest that is not there is started: %v", err)
	}
	if _, err := f.Start("free", nil); !errors.Is(err, runner.ErrRuns) {
		t.Errorf("%v", err)
	}
	if _, _, err := f.ask(t.Context(), time.Second, request{Verb: lockedVerb, Name: "../guests"}, nil, false); err == nil {
		t.Error("a name of no guest")
	}
}

// TestRest: documents come with their errors, and there is no verb but the fixed ones.
func TestRest(t *testing.T) {
	f := newFixture(t)
	doc, err := f.Leases(t.Context())
	if string(doc) != `"leases"` || err == nil || err.Error() != "not all" {
		t.Errorf("%s, %v", doc, err)
	}
	if _, err := f.document(t.Context(), "capture"); err == nil {
		t.Error("another document")
	}
	if _, err := f.Inhibit(t.Context(), true); err == nil || !strings.Contains(err.Error(), "no bus") {
		t.Errorf("%v", err)
	}
	if c, err := f.OpenLid("dev/input/event0"); err == nil || c != nil {
		t.Errorf("%v, %v", c, err)
	}
	if _, _, err := f.ask(t.Context(), time.Second, request{Verb: "run", Name: "free"}, nil, false); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v", err)
	}
	nobody := &Client{Socket: filepath.Join(f.dir, "none")}
	if _, err := nobody.List(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a broker: %v", err)
	}
}

// TestRefusesOthers: whoever is neither root nor the daemon's user is not answered.
func TestRefusesOthers(t *testing.T) {
	f := newFixture(t)
	for id, want := range map[int]bool{54321: true, 54399: false, operators: false} {
		var text []byte
		var err error
		by(t, id, func() {
			var fd int
			if fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0); err != nil {
				return
			}
			defer unix.Close(fd)
			if err = unix.Connect(fd, &unix.SockaddrUnix{Name: f.Socket}); err != nil {
				return
			}
			_, _ = unix.Write(fd, []byte(`{"verb":"read","name":"free"}`))
			buf := make([]byte, maxMessage)
			n, _ := unix.Read(fd, buf)
			text = buf[:max(n, 0)]
		})
		if err != nil || len(text) > 0 != want {
			t.Errorf("user %d is answered %q, %v", id, text, err)
		}
	}
}

// FuzzRequest asks for whatever may come, on behalf of nobody, with nothing changed by it.
func FuzzRequest(f *testing.F) {
	for _, verb := range []string{listVerb, readVerb, createVerb, replaceVerb, deleteVerb, startVerb, connectVerb, openVerb, lockedVerb, forgetVerb, documentVerb, inhibitVerb, lidVerb, ""} {
		text, err := json.Marshal(request{Verb: verb, Name: "free", What: "log", Text: []byte("name: free\nmemory: 1GiB\n")})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"verb":"read"}{"verb":"read"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := t.TempDir()
		s := &Server{
			Logger: slog.New(slog.DiscardHandler), Definitions: &daemon.Stored{Store: store.Store{Dir: filepath.Join(dir, "guests")}},
			Guest:    func(name string) (runner.Dir, error) { return runner.DirOf(filepath.Join(dir, "run"), name) },
			Launch:   func(string, []byte) (*runner.Launched, error) { return nil, runner.ErrRuns },
			Document: func(string) (json.RawMessage, error) { return nil, nil },
			Inhibit:  func(context.Context, bool) (*os.File, error) { return nil, nil },
			OpenLid:  func(string) (*os.File, error) { return nil, nil },
		}
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		conns := make([]*net.UnixConn, 2)
		for i, fd := range fds {
			file := os.NewFile(uintptr(fd), "end")
			c, err := net.FileConn(file)
			_ = file.Close()
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			conns[i] = c.(*net.UnixConn)
		}
		s.UID = uint32(os.Geteuid())
		if _, err := conns[0].Write(text); err != nil {
			return // longer than a message can be
		}
		_ = s.serve(t.Context(), conns[1], make(chan struct{}, 1))
		if all, err := os.ReadDir(dir); err != nil || slices.ContainsFunc(all, func(e fs.DirEntry) bool { return e.Name() == "guests" }) {
			t.Errorf("%v, %v: something was made", all, err)
		}
	})
}
