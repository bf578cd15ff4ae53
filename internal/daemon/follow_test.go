package daemon

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/project-independence/indy/internal/hosttest"
)

// TestFollow goes on with what a guest tells, by way of the daemon, until it has ended.
func TestFollow(t *testing.T) {
	if os.Geteuid() != 0 {
		hosttest.Missing(t, "without root there is no group that gives a role")
	}
	for _, what := range []string{"log", "events"} {
		t.Run(what, func(t *testing.T) {
			f := newFixture(t)
			f.run(t, "secret")
			tells := make(chan string)
			f.runners.tells = tells
			c := f.client(t)
			said, err := c.Follow(t.Context(), "secret", what)
			if err != nil {
				t.Fatal(err)
			}
			defer said.Close()
			r := bufio.NewReader(said)
			wantLine(t, r, "{}\n") // which is kept
			for range 3 {
				tells <- "more\n"
				wantLine(t, r, "more\n")
			}
			close(tells)
			if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
				t.Errorf("%q, %v", rest, err)
			}
			f.wantPlaces(t, 0)
		})
	}
}

func wantLine(t *testing.T, r *bufio.Reader, want string) {
	t.Helper()
	if line, err := r.ReadString('\n'); line != want {
		t.Fatalf("%q, %v; want %q", line, err, want)
	}
}

// wantPlaces waits until so many have a place of those that are taken for long.
func (f fixture) wantPlaces(t *testing.T, want int) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); len(f.consoles) != want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d have a place, want %d", len(f.consoles), want)
		}
	}
}

// TestFollowRefused: who cannot follow is told why, and takes no place.
func TestFollowRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		hosttest.Missing(t, "without root there is no group that gives a role")
	}
	f := newFixture(t)
	f.run(t, "secret")
	c := f.client(t)
	want := func(name string, code int) {
		t.Helper()
		_, err := c.Follow(t.Context(), name, "log")
		var refused *RefusalError
		if !errors.As(err, &refused) || refused.Code != code {
			t.Errorf("%s: %v, want %d", name, err, code)
		}
	}
	want("free", http.StatusConflict) // it does not run
	want("nobody", http.StatusNotFound)
	for range maxConsoles {
		f.consoles <- struct{}{}
	}
	want("secret", http.StatusServiceUnavailable)
}

// TestFollowGone: who goes away leaves no place taken.
func TestFollowGone(t *testing.T) {
	if os.Geteuid() != 0 {
		hosttest.Missing(t, "without root there is no group that gives a role")
	}
	f := newFixture(t)
	f.run(t, "secret")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if _, err := f.client(t).Follow(ctx, "secret", "events"); err != nil {
		t.Fatal(err)
	}
	f.wantPlaces(t, 1)
	cancel()
	f.wantPlaces(t, 0)
}

// TestFollowEndsWithRight: who follows the log of a guest that is locked meanwhile is told no
// more; an administrator is, and anybody may go on with the events.
func TestFollowEndsWithRight(t *testing.T) {
	f := newFixture(t)
	f.run(t, "free")
	tells := make(chan string)
	f.runners.tells = tells
	type one struct {
		role Role
		what string
	}
	all := map[one]*bufio.Reader{}
	for _, o := range []one{{User, "log"}, {Admin, "log"}, {User, "events"}} {
		s := httptest.NewUnstartedServer(f.handler())
		s.Config.BaseContext = func(net.Listener) context.Context {
			return withCaller(context.Background(), Caller{Peer: Peer{UID: 1000}, Role: o.role})
		}
		s.Start()
		t.Cleanup(s.Close)
		q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+guestPath("free", o.what)+"?follow=true", nil)
		if err != nil {
			t.Fatal(err)
		}
		a, err := s.Client().Do(q)
		if err != nil || a.StatusCode != http.StatusOK {
			t.Fatalf("%v: %v, %v", o, a, err)
		}
		t.Cleanup(func() { _ = a.Body.Close() })
		all[o] = bufio.NewReader(a.Body)
		wantLine(t, all[o], "{}\n")
	}
	file := filepath.Join(f.Store.Folder("free"), "guest.yaml")
	if err := errors.Join(os.WriteFile(file+".new", []byte("name: free\nmemory: 1GiB\nlocked: true\n"), 0o600), os.Rename(file+".new", file)); err != nil {
		t.Fatal(err)
	}
	if rest, _ := io.ReadAll(all[one{User, "log"}]); len(rest) > 0 {
		t.Errorf("a user is told %q of a locked guest", rest)
	}
	f.wantPlaces(t, 2)
	for range 2 { // each takes one
		tells <- "more\n"
	}
	for _, o := range []one{{Admin, "log"}, {User, "events"}} {
		wantLine(t, all[o], "more\n")
	}
	close(tells)
	f.wantPlaces(t, 0)
}

// TestFollowEndsWithDaemon: nobody waits for what a daemon that has ended would tell.
func TestFollowEndsWithDaemon(t *testing.T) {
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
	said, err := c.Follow(t.Context(), "free", "log")
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if text, err := io.ReadAll(said); err != nil || string(text) != "{}\n" {
		t.Errorf("%q, %v", text, err)
	}
}
