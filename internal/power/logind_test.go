package power

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/project-independence/indy/internal/logindtest"
)

// heard is what a Logind has said, as words.
type heard struct {
	mu    sync.Mutex
	words []string
	ready func()
}

func (h *heard) say(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.words = append(h.words, fmt.Sprintf(format, args...))
}

func (h *heard) last() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.words) == 0 {
		return ""
	}
	return h.words[len(h.words)-1]
}

func (h *heard) let() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ready()
}

func listenTo(t *testing.T, address string) (*Logind, *heard) {
	t.Helper()
	h := &heard{ready: func() {}}
	l := &Logind{
		Address: address, Retry: 20 * time.Millisecond,
		Connected: func(wait time.Duration, lid bool) { h.say("connected %v %v", wait, lid) },
		Gone:      func(err error) { h.say("gone: %v", err) },
		Awake:     func() { h.say("awake") },
		Sleeps: func(wait time.Duration, ready func()) {
			h.mu.Lock()
			h.ready = ready
			h.mu.Unlock()
			h.say("sleeps %v", wait)
		},
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.Watch(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			t.Error("it listens still")
		}
	})
	return l, h
}

// until waits for something.
func until(t *testing.T, what string, wanted func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !wanted(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

// Logind waits from the beginning, and until it is let go; after the host's sleep it waits
// again.
func TestLogind(t *testing.T) {
	t.Parallel()
	b := logindtest.StartBus(t)
	fake := b.StartLogind(false, true)
	_, h := listenTo(t, b.Address)
	until(t, "it is connected", func() bool { return h.last() == "awake" })
	h.mu.Lock()
	if h.words[0] != "connected 5s true" {
		t.Errorf("%q", h.words)
	}
	h.mu.Unlock()
	for range 3 {
		until(t, "logind waits", func() bool { return fake.Holders("sleep") == 1 })
		fake.Sleep(true)
		until(t, "the host is to sleep", func() bool { return h.last() == "sleeps 5s" })
		time.Sleep(250 * time.Millisecond) // longer than the fake has the file open itself
		if fake.Holders("sleep") != 1 {
			t.Fatal("logind does not wait for guests")
		}
		h.let()
		h.let()
		until(t, "logind waits no more", func() bool { return fake.Holders("sleep") == 0 })
		fake.Sleep(false)
		until(t, "the host is awake", func() bool { return h.last() == "awake" })
	}
	until(t, "logind waits again", func() bool { return fake.Holders("sleep") == 1 })
	// A sleep that fails at once.
	fake.Sleep(true)
	fake.Sleep(false)
	until(t, "the host is awake", func() bool { return h.last() == "awake" && fake.Holders("sleep") == 1 })
	for _, mode := range fake.Modes("sleep") {
		if mode != "delay" {
			t.Errorf("logind is held up by %s", mode)
		}
	}
}

// A closed lid is left to others only as long as a guest wants it.
func TestLogindLid(t *testing.T) {
	t.Parallel()
	b := logindtest.StartBus(t)
	fake := b.StartLogind(false, false)
	l, h := listenTo(t, b.Address)
	until(t, "it is connected", func() bool { return h.last() == "awake" })
	if n := fake.Holders("handle-lid-switch"); n != 0 {
		t.Errorf("%d have taken the lid", n)
	}
	for range 2 {
		l.IgnoreLid(true)
		until(t, "the lid is left alone", func() bool { return fake.Holders("handle-lid-switch") == 1 })
		l.IgnoreLid(false)
		until(t, "the lid is logind's", func() bool { return fake.Holders("handle-lid-switch") == 0 })
	}
}

// Nobody but logind can say that the host sleeps.
func TestLogindForged(t *testing.T) {
	t.Parallel()
	b := logindtest.StartBus(t)
	fake := b.StartLogind(false, false)
	_, h := listenTo(t, b.Address)
	until(t, "it is connected", func() bool { return h.last() == "awake" })
	forger := b.Connect()
	// To all, and to each connection that there is, by its number.
	if err := forger.Emit(loginPath, loginManager+".PrepareForSleep", true); err != nil {
		t.Fatal(err)
	}
	var names []string
	if err := forger.BusObject().Call(busName+".ListNames", 0).Store(&names); err != nil {
		t.Fatal(err)
	}
	sent := 0
	for _, n := range names {
		if strings.HasPrefix(n, ":") {
			if err := logindtest.SendTo(forger, n); err != nil {
				t.Fatal(err)
			}
			sent++
		}
	}
	if sent < 3 {
		t.Fatalf("sent to %d", sent)
	}
	if err := forger.BusObject().Call(busName+".GetId", 0).Err; err != nil { // all before has been delivered
		t.Fatal(err)
	}
	fake.Sleep(true)
	until(t, "the host is to sleep", func() bool { return h.last() == "sleeps 5s" })
	fake.Sleep(false)
	until(t, "the host is awake", func() bool { return h.last() == "awake" })
	h.mu.Lock()
	defer h.mu.Unlock()
	if got := strings.Join(h.words, ", "); got != "connected 5s false, awake, sleeps 5s, awake" {
		t.Errorf("%s", got)
	}
}

// Without a bus, without logind, with a bus that is gone and back, and one that hangs: it is
// told, and goes on.
func TestLogindGone(t *testing.T) {
	t.Parallel()
	b := logindtest.StartBus(t)
	_, h := listenTo(t, b.Address)
	until(t, "there is no logind", func() bool { return strings.HasPrefix(h.last(), "gone: logind: PreparingForSleep: ") })
	fake := b.StartLogind(false, false)
	until(t, "it is connected", func() bool { return h.last() == "awake" })
	fake.Sleep(true)
	until(t, "the host is to sleep", func() bool { return h.last() == "sleeps 5s" })
	fake.Stop()
	until(t, "it is told", func() bool { return strings.HasPrefix(h.last(), "gone: ") })
	// The next one still makes the host ready, and waits for nobody.
	fake = b.StartLogind(true, false)
	until(t, "the host is to sleep", func() bool { return h.last() == "sleeps 0s" })
	if n := fake.Holders("sleep"); n != 0 {
		t.Errorf("%d hold it up", n)
	}
	fake.Sleep(false)
	until(t, "the host is awake", func() bool { return h.last() == "awake" && fake.Holders("sleep") == 1 })
	b.Stop()
	until(t, "it is told", func() bool { return strings.HasPrefix(h.last(), "gone: ") })
	b.Start()
	fake = b.StartLogind(false, false)
	until(t, "it is connected", func() bool { return h.last() == "awake" && fake.Holders("sleep") == 1 })
	// A bus that hangs is given up; guests are not kept waiting by it.
	b.Signal(syscall.SIGSTOP)
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	other := &Logind{Address: b.Address, Gone: func(error) { cancel() }, Connected: func(time.Duration, bool) {}, Awake: func() {}, Sleeps: func(time.Duration, func()) {}}
	began := time.Now()
	other.Watch(ctx)
	if took := time.Since(began); took < callLimit || took > callLimit+2*time.Second {
		t.Errorf("given up after %v", took)
	}
	b.Signal(syscall.SIGCONT)
}

func TestLogindNoBus(t *testing.T) {
	t.Parallel()
	_, h := listenTo(t, "unix:path=/nonexistent/bus")
	until(t, "it is told", func() bool { return strings.Contains(h.last(), "/nonexistent/bus: connect: no such file or directory") })
}
