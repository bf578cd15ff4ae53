package runner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/guest/qemu"
	"github.com/project-independence/indy/hostfs"
)

func TestTape(t *testing.T) {
	name := filepath.Join(t.TempDir(), "tape")
	tape, err := newTape(name, 64, true)
	if err != nil {
		t.Fatal(err)
	}
	past, e := tape.listen()
	if len(past) != 0 {
		t.Errorf("%q", past)
	}
	var all strings.Builder
	for i := range 100 {
		line := fmt.Sprintf("line %d\n", i)
		all.WriteString(line)
		if n, err := tape.Write([]byte(line)); n != len(line) || err != nil {
			t.Fatal(n, err)
		}
	}
	kept := string(tape.text())
	if len(kept) > 64 || !strings.HasSuffix(all.String(), kept) || !strings.HasPrefix(kept, "line ") {
		t.Errorf("%q", kept)
	}
	file, err := os.ReadFile(name)
	if err != nil || len(file) > 128 || !strings.HasSuffix(string(file), kept) {
		t.Errorf("%q, %v", file, err)
	}
	heard := ""
	for range 100 {
		heard += string(<-e.c)
	}
	if heard != all.String() {
		t.Errorf("%q", heard)
	}
	for range earQueue + 1 { // nobody listens any more
		_, _ = tape.Write([]byte("x"))
	}
	n := 0
	for range e.c {
		n++
	}
	if n != earQueue {
		t.Errorf("%d were heard before it was too slow", n)
	}
	tape.hangUp(e)
	_, e = tape.listen()
	if err := errors.Join(tape.close(), tape.close()); err != nil {
		t.Error(err)
	}
	if _, ok := <-e.c; ok {
		t.Error("it is not over")
	}
	tape.hangUp(e)
	if _, late := tape.listen(); func() bool { _, ok := <-late.c; return ok }() {
		t.Error("it is not over")
	}
}

func TestReady(t *testing.T) {
	for _, test := range []struct {
		by     guest.Ready
		writes []string
		fails  bool // asking it does
		silent bool // it does not answer
		want   bool
	}{
		{by: guest.Ready{}, want: true},
		{by: guest.Ready{After: time.Millisecond}, want: true},
		{by: guest.Ready{Agent: true}, want: true},
		{by: guest.Ready{Agent: true}, fails: true},
		{by: guest.Ready{Agent: true}, silent: true},
		{by: guest.Ready{TCP: 22}, want: true},
		{by: guest.Ready{TCP: 22}, fails: true},
		{by: guest.Ready{TCP: 22}, silent: true},
		{by: guest.Ready{Serial: "login:"}},
		{by: guest.Ready{Serial: "login:"}, writes: []string{"lo", "logi", "m:"}, want: false},
		{by: guest.Ready{Serial: "login:"}, writes: []string{"a lo", "gin", ": more", "login:"}, want: true},
		{by: guest.Ready{Serial: "x"}, writes: []string{"", "yyy", "x"}, want: true},
	} {
		var r readiness
		w := r.text(test.by.Serial)
		for _, s := range test.writes {
			if _, err := io.WriteString(w, s); err != nil {
				t.Fatal(err)
			}
		}
		g := told{t: t, fails: test.fails, silent: test.silent, ended: make(chan struct{})}
		found := make(chan struct{})
		time.AfterFunc(100*time.Millisecond, func() { close(g.ended) })
		if err := r.watch(test.by, g, func() { close(found) }); (err != nil) != test.fails {
			t.Errorf("%+v: %v", test.by, err)
		}
		got := false
		select {
		case <-found:
			got = true
		default:
		}
		if got != test.want {
			t.Errorf("%+v after %q: ready %v", test.by, test.writes, got)
		}
	}
}

// told is a guest that is asked whether it is ready.
type told struct {
	t             *testing.T
	fails, silent bool
	ended         chan struct{}
}

func (g told) AwaitAgent(ctx context.Context) error {
	switch {
	case g.fails:
		return errors.New("it says too much")
	case g.silent:
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

func (g told) Reach(ctx context.Context, port uint16) error {
	if port != 22 {
		g.t.Errorf("port %d", port)
	}
	return g.AwaitAgent(ctx)
}

func (g told) Done() <-chan struct{} { return g.ended }

// A QEMU that does not answer gets one question and no second.
func TestPulse(t *testing.T) {
	var asked atomic.Int32
	answers := make(chan string)
	p := newPulseOf(func(ctx context.Context) (string, error) {
		asked.Add(1)
		select {
		case s := <-answers:
			return s, nil
		case <-ctx.Done():
			return "", ctx.Err()
		}
	})
	ended, over := make(chan struct{}), make(chan struct{})
	var changed atomic.Int32
	go func() {
		defer close(over)
		p.beat(ended, func() { changed.Add(1) })
	}()
	answers <- "running"
	until(t, "it is known", func() bool { return p.last() == "running" })
	for range 3 {
		if _, ok := p.now(); ok {
			t.Error("an answer of nobody's")
		}
	}
	if n := asked.Load(); n != 2 {
		t.Errorf("%d questions", n)
	}
	until(t, "it is told that there is none", func() bool { return changed.Load() == 2 })
	if silent, d := p.silent(); !silent || d < silence {
		t.Errorf("%v, %v", silent, d)
	}
	answers <- "paused"
	until(t, "it is known", func() bool { return p.last() == "paused" })
	if silent, _ := p.silent(); silent {
		t.Error("silent")
	}
	close(ended)
	<-over
}

func TestStat(t *testing.T) {
	const text = "1234 (a) S) R) T 1 1234 1234 0 -1 4194560 1 2 3 4 250 50 7 8 20 0 5 0 98765 1000000 2000 18446744073709551615"
	got, err := parseStat([]byte(text))
	if err != nil || got.state != "T" || got.cpu != 3*time.Second || got.threads != 5 || got.started != "98765" {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "1 (x) S", strings.Replace(text, " 250 ", " -x ", 1), strings.Replace(text, " 5 0 98765", " five 0 98765", 1)} {
		if got, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q: %+v", bad, got)
		}
	}
	own, err := readStat(os.DirFS("/"), os.Getpid())
	if err != nil || own.threads < 1 || own.state == "T" {
		t.Errorf("%+v, %v", own, err)
	}
	if n, err := resident(os.DirFS("/"), os.Getpid()); err != nil || n < 1<<20 {
		t.Errorf("%d, %v", n, err)
	}
}

func FuzzStat(f *testing.F) {
	if own, err := os.ReadFile("/proc/self/stat"); err == nil {
		f.Add(own)
	}
	f.Add([]byte("1 () Z 0"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if got, err := parseStat(text); err == nil && (got.state == "" || got.started == "") {
			t.Errorf("%q: %+v", text, got)
		}
	})
}

func FuzzStatus(f *testing.F) {
	f.Add([]byte(`{"name":"work","state":"running","phases":[{"name":"qemu","at":1.5}],"failure":{"message":"x","exit":1}}`))
	f.Add([]byte(`{"state":`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := parseStatus("state.json", text)
		if err == nil && len(text) > maxState {
			t.Error("too long, and taken")
		}
		s.At(PhaseReady)
		s.clone()
	})
}

// What the kernel counts decides whether a killed QEMU was killed for want of memory.
func TestFault14OutOfMemory(t *testing.T) {
	const events, vmstat = "sys/fs/cgroup/user.slice/a/memory.events", "proc/vmstat"
	host := func(group, all int) fstest.MapFS {
		file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
		return fstest.MapFS{
			"proc/7/cgroup": file("12:pids:/x\n0::/user.slice/a\n"),
			events:          file(fmt.Sprintf("low 0\nhigh 0\nmax 9\noom 3\noom_kill %d\n", group)),
			vmstat:          file(fmt.Sprintf("nr_free_pages 9\noom_kill %d\n", all)),
		}
	}
	// As wait(2) has them: the signal that ended it.
	const killed, crashed = syscall.WaitStatus(syscall.SIGKILL), syscall.WaitStatus(syscall.SIGSEGV)
	for _, test := range []struct {
		name       string
		err        *qemu.ExitError
		group, all int
		want       string // begins with this
		memory     bool
	}{
		{"its own limit", &qemu.ExitError{Status: killed}, 3, 5, "the kernel killed QEMU for want of memory (OOM) in its control group", true},
		{"the host's memory", &qemu.ExitError{Status: killed}, 2, 6, "the kernel killed QEMU for want of memory (OOM), as far as", true},
		{"a person", &qemu.ExitError{Status: killed}, 2, 5, "somebody killed QEMU: QEMU ended: signal: killed", false},
		{"ourselves", &qemu.ExitError{Status: killed, Cause: context.Canceled}, 3, 6, "context canceled", false},
		{"a crash", &qemu.ExitError{Status: crashed}, 3, 6, "QEMU ended: signal: segmentation fault", false},
	} {
		before := newDeath(host(2, 5), 7)
		got := before.explain(host(test.group, test.all), test.err)
		if !strings.HasPrefix(got.Error(), test.want) || errors.Is(got, errMemory) != test.memory {
			t.Errorf("%s: %v", test.name, got)
		}
	}
	for text, want := range map[string]string{
		"0::/\n": "sys/fs/cgroup", "0::/a/b\n": "sys/fs/cgroup/a/b", "0::/../../etc\n": "", "1:cpu:/x\n": "", "": "", "0::/a (deleted)\n": "sys/fs/cgroup/a (deleted)",
	} {
		if got := cgroupOf(text); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}

// The lock is one for all, is seen without being taken, and goes with the directory.
func TestLock(t *testing.T) {
	top := root(t)
	d, err := DirOf(top, "work")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := DirOf(top, "../work"); err == nil {
		t.Error("a name that leads elsewhere")
	}
	if d.Locked() || d.Forget() != nil {
		t.Error("locked before it is there")
	}
	lock, err := d.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Lock(); !errors.Is(err, ErrRuns) || !d.Locked() || !errors.Is(d.Forget(), ErrRuns) {
		t.Errorf("%v, locked %v", err, d.Locked())
	}
	if info, err := os.Stat(d.Path); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := d.write(Status{Name: "work", State: Running, PID: 1}); err != nil {
		t.Fatal(err)
	}
	if s := ask(t, d); s.State != Unresponsive { // it is locked, and nobody listens
		t.Errorf("%+v", s)
	}
	if err := d.gone(); err != nil {
		t.Error(err)
	}
	next, err := d.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if !d.Locked() {
		t.Error("not locked")
	}
	if err := errors.Join(lock.Close(), next.Close()); err != nil {
		t.Error(err)
	}
	if d.Locked() {
		t.Error("locked by nobody")
	}
	if err := d.write(Status{Name: "work", State: Running, PID: 1}); err != nil {
		t.Fatal(err)
	}
	if s := ask(t, d); s.State != Failed || s.Failure == nil || s.PID != 0 {
		t.Errorf("%+v", s)
	}
	if err := os.WriteFile(d.file(stateFile), bytes.Repeat([]byte(" "), maxState+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Status(context.Background(), hostfs.Live()); err == nil {
		t.Error("a state of any length is read")
	}
	if err := d.Forget(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(d.Path); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	far := Dir{Name: "work", Path: filepath.Join(top, strings.Repeat("x", 100), "work")}
	if _, err := far.Lock(); err == nil || !strings.Contains(err.Error(), "more than 107") {
		t.Error(err)
	}
}

func TestDisk(t *testing.T) {
	for qdev, want := range map[string]int{
		"/machine/peripheral/disk0/virtio-backend": 0, "disk12": 12, "/machine/peripheral/disk3": 3, "": -1, "mydisk3": -1, "disk3x": -1, "disk99999": -1,
	} {
		if got := (blockStats{QDev: qdev}).disk(); got != want {
			t.Errorf("%q: %d", qdev, got)
		}
	}
}
