package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"image/png"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
)

// Two guests run side by side, each with its own disk, and are watched and reached.
func TestTwoGuests(t *testing.T) {
	needQEMU(t)
	top := root(t)
	ctx := context.Background()
	dirs := map[string]Dir{}
	released := map[string]string{}
	var both sync.WaitGroup
	for _, name := range []string{"work", "home"} {
		dirs[name] = Dir{Name: name, Path: filepath.Join(top, name)}
		released[name] = filepath.Join(t.TempDir(), "released")
		disk := bootDisk(t, printText, "this is "+name+"\r\n")
		q := testRequest{Dir: dirs[name], Disk: disk, Graphics: true, Ready: guest.Ready{Serial: "this is " + name}, Released: released[name]}
		both.Go(func() {
			if s := launch(t, q, isReady); s.State != Running || s.QEMU == 0 || s.Accelerator != "tcg" {
				t.Errorf("%+v", s)
			}
		})
	}
	both.Wait()
	all, err := Guests(top)
	if err != nil || len(all) != 2 || all[0].Name != "home" {
		t.Errorf("guests %v, %v", all, err)
	}
	for name, d := range dirs {
		s := ask(t, d)
		if s.State != Running || !s.Ready || s.Name != name || len(s.Devices) != 1 {
			t.Errorf("%+v", s)
		}
		last := 0.0
		for i, phase := range []PhaseName{PhaseRunner, PhaseResolved, PhaseDevices, PhaseQEMU, PhaseQMP, PhaseRunning} {
			at, ok := s.At(phase)
			if !ok || at < last || s.Phases[i].Name != phase {
				t.Errorf("%s: phases %v", name, s.Phases)
			}
			last = at
		}
		if serial, ok := s.At(PhaseSerial); !ok || serial < last {
			t.Errorf("%s: phases %v", name, s.Phases)
		}
		console, err := os.ReadFile(d.Console())
		if err != nil || !hasLine(console, "this is "+name) {
			t.Errorf("console %q, %v", console, err)
		}
		u, err := d.Top(ctx)
		if err != nil || u.CPUSeconds <= 0 || u.Resident < 1<<20 || len(u.Disks) != 1 || u.Disks[0].ReadBytes < 512 || u.Memory != 32<<20 {
			t.Errorf("%+v, %v", u, err)
		}
		var picture bytes.Buffer
		if err := d.Screenshot(ctx, &picture); err != nil {
			t.Error(err)
		} else if p, err := png.Decode(&picture); err != nil || p.Bounds().Dx() < 320 {
			t.Errorf("%v", err)
		}
		log, err := os.ReadFile(d.Log())
		if err != nil || !hasLine(log, "msg=prepared") {
			t.Errorf("log %s, %v", log, err)
		}
	}
	work := dirs["work"]
	if s, err := work.Suspend(ctx); err != nil || s.State != Suspended {
		t.Errorf("%+v, %v", s, err)
	}
	if s := ask(t, dirs["home"]); s.State != Running {
		t.Errorf("%+v", s)
	}
	if s, err := work.Resume(ctx); err != nil || s.State != Running {
		t.Errorf("%+v, %v", s, err)
	}
	events, err := os.ReadFile(work.Events())
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(events) {
		if !json.Valid(line) {
			t.Errorf("%s", line)
		}
	}
	if !hasLine(events, `"name":"STOP"`) || !hasLine(events, `{"detail":"","state":"suspended"}`) {
		t.Errorf("%s", events)
	}
	followed, err := work.FollowEvents(ctx)
	if err != nil {
		t.Fatal(err)
	}
	// It ignores its power button, as it is off in no time.
	began := time.Now()
	if s, err := work.Stop(ctx, StopRequest{Timeout: 0.2}); err != nil || s.State != Stopped {
		t.Errorf("%+v, %v", s, err)
	}
	if took := time.Since(began); took < 200*time.Millisecond || took > 5*time.Second {
		t.Errorf("stopped in %v", took)
	}
	if text, err := io.ReadAll(followed); err != nil || !hasLine(text, `"state":"stopping"`) || !hasLine(text, `"state":"stopped"`) {
		t.Errorf("%s, %v", text, err)
	}
	stopNow(t, dirs["home"])
	for name, file := range released {
		if _, err := os.Stat(file); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if s := ask(t, dirs[name]); s.State != Stopped {
			t.Errorf("%+v", s)
		}
	}
}

// What is typed on a console arrives, and what the guest wrote before is seen; a second start
// is refused.
func TestConsole(t *testing.T) {
	needQEMU(t)
	d := Dir{Name: "echo", Path: filepath.Join(root(t), "echo")}
	launch(t, testRequest{Dir: d, Disk: bootDisk(t, echo, "")}, runs)
	if _, err := Launch(d, hostfs.Live(), testRequest{Dir: d}, detach(t, "")); !errors.Is(err, ErrRuns) || !strings.Contains(err.Error(), "guest echo") {
		t.Errorf("a second start: %v", err)
	}
	var conns []io.ReadWriteCloser
	for range 2 {
		conn, err := d.Attach(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns = append(conns, conn)
	}
	const said = "who is there?"
	for _, c := range []byte(said) { // the guest has no buffer
		if _, err := conns[0].Write([]byte{c}); err != nil {
			t.Fatal(err)
		}
		for i, conn := range conns {
			var got [1]byte
			if _, err := io.ReadFull(conn, got[:]); err != nil || got[0] != c {
				t.Fatalf("console %d: %q, %v", i, got, err)
			}
		}
	}
	late, err := d.Attach(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	got := make([]byte, len(said))
	if _, err := io.ReadFull(late, got); err != nil || string(got) != said {
		t.Errorf("%q, %v", got, err)
	}
	if err := d.Screenshot(context.Background(), io.Discard); err == nil {
		t.Error("a picture of a guest without a screen")
	}
	stopNow(t, d)
	if rest, err := io.ReadAll(late); err != nil || len(rest) > 0 {
		t.Errorf("%q, %v", rest, err)
	}
}

// A QEMU that is stopped by a signal is told of at once, and can be killed.
func TestFault13StoppedQEMU(t *testing.T) {
	needQEMU(t)
	d := Dir{Name: "still", Path: filepath.Join(root(t), "still")}
	s := launch(t, testRequest{Dir: d, Disk: bootDisk(t, printText, "x")}, runs)
	if err := syscall.Kill(s.QEMU, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	until(t, "QEMU stands still", func() bool { f, err := readStat(os.DirFS("/"), s.QEMU); return err == nil && f.state == "T" })
	if got := ask(t, d); got.State != Unresponsive || !strings.Contains(got.Detail, "stopped by a signal") {
		t.Errorf("%+v", got)
	}
	until(t, "the silence is too long", func() bool {
		_, err := d.Suspend(context.Background())
		var refused *AnswerError
		return errors.As(err, &refused) && refused.Code == http.StatusGatewayTimeout
	})
	for range 10 { // and nothing that is asked piles up
		ask(t, d)
	}
	if err := syscall.Kill(s.QEMU, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	until(t, "it runs again", func() bool { return ask(t, d).State == Running })
	if err := syscall.Kill(s.QEMU, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stopNow(t, d)
	until(t, "QEMU is gone", func() bool { return !alive(s.QEMU) })
}

// A runner that stands still is told of, too.
func TestFault13StoppedRunner(t *testing.T) {
	needQEMU(t)
	d := Dir{Name: "still", Path: filepath.Join(root(t), "still")}
	s := launch(t, testRequest{Dir: d, Disk: bootDisk(t, printText, "x")}, runs)
	if err := syscall.Kill(s.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, d); got.State != Unresponsive || !strings.Contains(got.Detail, "its runner") {
		t.Errorf("%+v", got)
	}
	if err := syscall.Kill(s.PID, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	until(t, "it answers", func() bool { return ask(t, d).State == Running })
	stopNow(t, d)
}

// QEMU dies with its runner, and the guest can be started again.
func TestFault16KilledRunner(t *testing.T) {
	needQEMU(t)
	d := Dir{Name: "killed", Path: filepath.Join(root(t), "killed")}
	q := testRequest{Dir: d, Disk: bootDisk(t, printText, "x")}
	s := launch(t, q, runs)
	until(t, "the state is saved", func() bool { kept, err := d.read(); return err == nil && kept.QEMU == s.QEMU })
	if err := syscall.Kill(s.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "it has failed", func() bool { return ask(t, d).State == Failed })
	if got := ask(t, d); got.Failure == nil || !strings.Contains(got.Failure.Message, "was killed") || got.PID != 0 {
		t.Errorf("%+v", got)
	}
	again := launch(t, q, runs)
	if alive(s.QEMU) {
		t.Error("QEMU outlived its runner")
	}
	if again.PID == s.PID || again.QEMU == s.QEMU {
		t.Errorf("%+v", again)
	}
	stopNow(t, d)
}

// What a runner says when it crashes is in the log, and whoever waits is told to look there.
func TestCrashedRunner(t *testing.T) {
	needQEMU(t)
	const words = "this cannot happen"
	d := Dir{Name: "crashed", Path: filepath.Join(root(t), "crashed")}
	launch(t, testRequest{Dir: d, Disk: bootDisk(t, printText, "x"), Crash: words}, runs)
	if _, err := d.Stop(t.Context(), StopRequest{Force: true}); !errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "indy guest log crashed") {
		t.Errorf("stopped: %v", err)
	}
	until(t, "it has failed", func() bool { return ask(t, d).State == Failed })
	said, err := os.ReadFile(d.Log())
	if err != nil || !strings.Contains(string(said), "prepared") || !strings.Contains(string(said), "panic: "+words) || !strings.Contains(string(said), "main_test.go") {
		t.Errorf("the log: %s, %v", said, err)
	}
}

// A QEMU that is killed is a failure with its cause, which is kept until the next start.
func TestFault12KilledQEMU(t *testing.T) {
	needQEMU(t)
	d := Dir{Name: "killed", Path: filepath.Join(root(t), "killed")}
	q := testRequest{Dir: d, Disk: bootDisk(t, printText, "last words"), Ready: guest.Ready{Serial: "words"}, Released: filepath.Join(t.TempDir(), "released")}
	s := launch(t, q, isReady)
	if err := syscall.Kill(s.QEMU, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "it has failed", func() bool { return ask(t, d).State == Failed })
	got := ask(t, d)
	if got.Failure == nil || !strings.Contains(got.Failure.Message, "signal: killed") || got.Failure.Exit != 1 {
		t.Errorf("%+v", got.Failure)
	}
	until(t, "its runner is gone", func() bool { return !d.Locked() })
	if _, err := os.Stat(q.Released); err != nil {
		t.Error(err)
	}
	if console, err := os.ReadFile(d.Console()); err != nil || !hasLine(console, "last words") {
		t.Errorf("%q, %v", console, err)
	}
	launch(t, q, runs)
	stopNow(t, d)
}

// What keeps a guest from starting is told to who starts it: what is not there, and QEMU's
// own words.
func TestFault12FailedStart(t *testing.T) {
	needQEMU(t)
	top := root(t)
	failed := func(s Status) bool { return s.State == Failed }
	d := Dir{Name: "first", Path: filepath.Join(top, "first")}
	if s := launch(t, testRequest{Dir: d, Refuse: "it is Monday"}, failed); s.Failure == nil || s.Failure.Message != "it is Monday" {
		t.Errorf("%+v", s.Failure)
	}
	disk := bootDisk(t, printText, "x")
	launch(t, testRequest{Dir: d, Disk: disk}, runs)
	second := Dir{Name: "second", Path: filepath.Join(top, "second")}
	s := launch(t, testRequest{Dir: second, Disk: disk}, failed)
	if s.Failure == nil || !strings.Contains(s.Failure.LastWords, `Failed to get "write" lock`) || strings.Contains(s.Failure.LastWords, "/dev/fdset") {
		t.Errorf("%+v", s.Failure)
	}
	stopNow(t, d)
	until(t, "its runner is gone", func() bool { return !second.Locked() })
	if err := second.Forget(); err != nil {
		t.Error(err)
	}
	if s := ask(t, second); s.State != Stopped {
		t.Errorf("%+v", s)
	}
}

// Whatever is written to the socket, who asks in earnest has an answer.
func TestGarbage(t *testing.T) {
	needQEMU(t)
	d := Dir{Name: "loud", Path: filepath.Join(root(t), "loud")}
	launch(t, testRequest{Dir: d, Disk: bootDisk(t, printText, "x")}, runs)
	defer stopNow(t, d)
	say := func(text string) net.Conn {
		t.Helper()
		conn, err := net.Dial("unix", d.file(controlFile))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		_, _ = conn.Write([]byte(text))
		return conn
	}
	for text, status := range map[string]string{
		"\x00\xff\x00\xff\r\n\r\n": "400",
		"GET /v1/status HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 1<<20):           "431",
		"GET /v1/../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n":                             "307",
		"DELETE /v1/status HTTP/1.1\r\nHost: x\r\n\r\n":                                    "405",
		"GET /v2/status HTTP/1.1\r\nHost: x\r\n\r\n":                                       "404",
		"POST /v1/stop HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n[1,2]":              "400",
		"POST /v1/stop HTTP/1.1\r\nHost: x\r\nContent-Length: 15\r\n\r\n{\"timeout\":1e9}": "400",
	} {
		conn := say(text)
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		answer := make([]byte, 12)
		if _, err := io.ReadFull(conn, answer); err != nil || string(answer) != "HTTP/1.1 "+status {
			t.Errorf("%.60q: %q, %v; want %s", text, answer, err, status)
		}
	}
	for range maxCallers - 10 { // who ask, and never get to the end of it
		say("GET /v1/sta")
	}
	if s := ask(t, d); s.State != Running {
		t.Errorf("%+v", s)
	}
}

// Another user is turned away, even where the socket lets them in.
func TestAnotherUser(t *testing.T) {
	if os.Getuid() != 0 {
		hosttest.Missing(t, "only root can be another user")
	}
	needQEMU(t)
	top := root(t)
	d := Dir{Name: "mine", Path: filepath.Join(top, "mine")}
	launch(t, testRequest{Dir: d, Disk: bootDisk(t, printText, "x")}, runs)
	defer stopNow(t, d)
	self := filepath.Join(top, "self")
	program, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(self, program, 0o755)
	}
	for _, name := range []string{top, d.Path, d.file(controlFile)} {
		err = errors.Join(err, os.Chmod(name, 0o777))
	}
	if err != nil {
		t.Fatal(err)
	}
	stranger := exec.Command(self, "ask-for-status", d.Path)
	stranger.Dir = "/"
	stranger.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := stranger.CombinedOutput(); err != nil || !strings.Contains(string(out), "user 65534 may not ask; the guest is user 0's") {
		t.Errorf("%s, %v", out, err)
	}
	if s := ask(t, d); s.State != Running {
		t.Errorf("%+v", s)
	}
}

// Of many who start a guest at once one does, and all others are told so.
func TestManyStarts(t *testing.T) {
	needQEMU(t)
	d := Dir{Name: "many", Path: filepath.Join(root(t), "many")}
	q := testRequest{Dir: d, Disk: bootDisk(t, printText, "x"), Released: filepath.Join(t.TempDir(), "released")}
	start := detach(t, "")
	var all sync.WaitGroup
	launched := make(chan *Launched, 16)
	for range cap(launched) {
		all.Go(func() {
			l, err := Launch(d, hostfs.Live(), q, start)
			switch {
			case err == nil:
				launched <- l
			case !errors.Is(err, ErrRuns):
				t.Error(err)
			}
		})
	}
	all.Wait()
	close(launched)
	n := 0
	for l := range launched {
		n++
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if n != 1 {
		t.Errorf("%d have started it", n)
	}
	until(t, "it runs", func() bool { return ask(t, d).State == Running })
	stopNow(t, d)
}

// A guest goes on when nothing of it can be saved, answers, and says how much was lost.
func TestFault44DiskFull(t *testing.T) {
	needQEMU(t)
	if os.Geteuid() != 0 {
		hosttest.Missing(t, "a small file system of its own is mounted, by root")
	}
	small := root(t)
	if err := unix.Mount("indy", small, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(small, 0); err != nil {
			t.Error(err)
		}
	})
	d := Dir{Name: "full", Path: filepath.Join(small, "full")}
	launch(t, testRequest{Dir: d, Disk: bootDisk(t, echo, "")}, runs)
	f, err := os.Create(filepath.Join(small, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, piece := range []int{4096, 1} {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, piece))
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
	}
	conn, err := d.Attach(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var heard [1]byte
	for i := range 5000 { // more than what is left of a page
		c := byte('a' + i%26)
		if _, err := conn.Write([]byte{c}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, heard[:]); err != nil || heard[0] != c {
			t.Fatalf("%d: %q, %v", i, heard, err)
		}
	}
	if s := ask(t, d); s.State != Running || s.Unsaved == 0 || s.Unsaved > 6000 {
		t.Errorf("%+v", s)
	}
	for _, do := range []func(context.Context) (Status, error){d.Suspend, d.Resume} {
		if _, err := do(context.Background()); err != nil {
			t.Error(err)
		}
	}
	if s := ask(t, d); s.State != Running {
		t.Errorf("%+v", s)
	}
	stopNow(t, d)
}

// What others have written makes no lines of its own in a guest's log.
func TestFault45ForgedLog(t *testing.T) {
	const forged = "Mouse\nlevel=INFO msg=\"all is well\"\r\x1b[2J\x00\u202egnp.exe\u2028\xff\u009b31m"
	log, err := newTape(filepath.Join(t.TempDir(), "log"), maxLog, true)
	if err != nil {
		t.Fatal(err)
	}
	defer log.close()
	told := slog.New(newLogHandler(log))
	told.Warn(forged, "device", forged, "err", errors.New(forged))
	text := string(log.text())
	if strings.Count(text, "\n") != 1 || strings.IndexFunc(strings.TrimSuffix(text, "\n"), func(r rune) bool { return !unicode.IsPrint(r) }) >= 0 {
		t.Errorf("%q", text)
	}
	if strings.Count(text, "Mouse") != 3 {
		t.Errorf("%q", text)
	}
}
