package daemon

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/project-independence/indy/internal/hosttest"
)

// TestConsole is at a serial port by way of the daemon, until the guest has ended.
func TestConsole(t *testing.T) {
	if os.Geteuid() != 0 {
		hosttest.Missing(t, "without root there is no group that gives a role")
	}
	f := newFixture(t)
	f.run(t, "secret")
	c := f.client(t)
	port, err := c.Attach(t.Context(), "secret")
	if err != nil {
		t.Fatal(err)
	}
	defer port.Close()
	r := bufio.NewReader(port)
	for _, want := range []string{"this is secret\n", "typed\n"} {
		if line, err := r.ReadString('\n'); line != want {
			t.Fatalf("%q, %v; want %q", line, err, want)
		}
		if _, err := io.WriteString(port, "typed\n"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.WriteString(port, "bye"); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(r); err != nil || strings.Trim(string(rest), "typed\n") != "" {
		t.Errorf("%q, %v", rest, err)
	}
	if kept, err := c.Kept(t.Context(), "secret", "console"); err != nil || string(kept) != "{}\n" {
		t.Errorf("what is kept: %q, %v", kept, err)
	}
	for end := time.Now().Add(5 * time.Second); len(f.consoles) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d still have a place", len(f.consoles))
		}
	}
}

// TestConsoleRefused: who cannot be connected is told why, and takes no place.
func TestConsoleRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		hosttest.Missing(t, "without root there is no group that gives a role")
	}
	f := newFixture(t)
	f.run(t, "secret")
	c := f.client(t)
	code := func(name string) int {
		port, err := c.Attach(t.Context(), name)
		var refused *RefusalError
		switch {
		case err == nil:
			port.Close()
			return http.StatusSwitchingProtocols
		case !errors.As(err, &refused):
			t.Errorf("%s: %v", name, err)
			return 0
		}
		return refused.Code
	}
	if got := code("free"); got != http.StatusConflict { // it does not run
		t.Errorf("%d", got)
	}
	if got := code("nobody"); got != http.StatusNotFound {
		t.Errorf("%d", got)
	}
	for range maxConsoles {
		f.consoles <- struct{}{}
	}
	if got := code("secret"); got != http.StatusServiceUnavailable {
		t.Errorf("%d with all places taken", got)
	}
	<-f.consoles
	if got := code("secret"); got != http.StatusSwitchingProtocols {
		t.Errorf("%d with one place free", got)
	}
}

// TestConsoleRoles: to type at it takes what it takes to read it, of a locked guest an
// administrator.
func TestConsoleRoles(t *testing.T) {
	f := newFixture(t)
	f.run(t, "free", "secret")
	for role, guests := range map[Role]map[string]bool{
		Nobody: {"free": false, "secret": false}, User: {"free": true, "secret": false},
		Operator: {"free": true, "secret": false}, Admin: {"free": true, "secret": true},
	} {
		for name, may := range guests {
			q := f.request(t, role, "GET", "/v1/guests/"+name+"/console", "")
			q.Header.Set("Upgrade", "another")
			got := f.answer(q).Code
			if want := map[bool]int{false: http.StatusForbidden, true: http.StatusBadRequest}[may]; got != want {
				t.Errorf("%v, %s: %d, want %d", role, name, got, want)
			}
		}
	}
}

// TestConsoleEndsWithRight: who is at the serial port of a guest that is locked meanwhile, or
// of which nobody knows any more whether it is, is there no more; an administrator stays.
func TestConsoleEndsWithRight(t *testing.T) {
	holding := func(text string) func(string) error {
		return func(file string) error { // in one step, as the store does: an empty one would be damaged
			return errors.Join(os.WriteFile(file+".new", []byte(text), 0o600), os.Rename(file+".new", file))
		}
	}
	all, admins := map[Role]bool{User: true, Operator: true, Admin: true}, map[Role]bool{Admin: true}
	for name, change := range map[string]struct {
		file func(string) error
		may  map[Role]bool
	}{
		"locked":  {holding("name: free\nmemory: 1GiB\nlocked: true\n"), admins},
		"damaged": {holding("name: [\n"), admins},
		"deleted": {os.Remove, admins},
		"another": {holding("name: free\nmemory: 2GiB\n"), all},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			f.run(t, "free")
			ports := map[Role]*bufio.ReadWriter{}
			for _, role := range []Role{User, Operator, Admin} {
				ports[role] = f.upgraded(t, role, "free")
			}
			if err := change.file(filepath.Join(f.Store.Folder("free"), "guest.yaml")); err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * lookAgain)
			for role, port := range ports {
				got := echoes(port)
				for end := time.Now().Add(5 * time.Second); got && !change.may[role] && time.Now().Before(end); got = echoes(port) {
					time.Sleep(10 * time.Millisecond) // on a busy machine
				}
				if got != change.may[role] {
					t.Errorf("%v is there: %t, want %t", role, got, change.may[role])
				}
			}
			for end := time.Now().Add(5 * time.Second); len(f.consoles) > len(change.may); time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("%d still have a place", len(f.consoles))
				}
			}
		})
	}
}

// upgraded is a connection with the serial port of a guest for somebody in a role.
func (f fixture) upgraded(t *testing.T, role Role, name string) *bufio.ReadWriter {
	t.Helper()
	s := httptest.NewUnstartedServer(f.handler())
	s.Config.BaseContext = func(net.Listener) context.Context {
		return withCaller(context.Background(), Caller{Peer: Peer{UID: 1000}, Role: role})
	}
	s.Start()
	t.Cleanup(s.Close)
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	port := bufio.NewReadWriter(bufio.NewReader(conn), bufio.NewWriter(conn))
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: indy\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", guestPath(name, "console"), consoleProtocol); err != nil {
		t.Fatal(err)
	}
	a, err := http.ReadResponse(port.Reader, nil)
	if err != nil || a.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v: %v, %v", role, a, err)
	}
	if line, err := port.ReadString('\n'); err != nil || line != "this is "+name+"\n" {
		t.Fatalf("%v: %q, %v", role, line, err)
	}
	return port
}

// echoes reports whether what is typed comes back.
func echoes(port *bufio.ReadWriter) bool {
	_, err := port.WriteString("typed\n")
	err = errors.Join(err, port.Flush())
	line, rerr := port.ReadString('\n')
	return err == nil && rerr == nil && line == "typed\n"
}

// TestConsoleEndsWithDaemon: nobody is left at a port of a daemon that has ended.
func TestConsoleEndsWithDaemon(t *testing.T) {
	if os.Geteuid() != 0 {
		hosttest.Missing(t, "without root there is no group that gives a role")
	}
	f := newFixture(t)
	f.run(t, "free")
	l := listenIn(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Serve(ctx, l) }()
	c, err := Dial(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	port, err := c.Attach(t.Context(), "free")
	if err != nil {
		t.Fatal(err)
	}
	defer port.Close()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	over := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, port)
		close(over)
	}()
	select {
	case <-over:
	case <-time.After(10 * time.Second):
		t.Error("it goes on")
	}
}
