package daemon

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
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
