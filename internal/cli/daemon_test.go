package cli

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/project-independence/indy/guest/store"
	"github.com/project-independence/indy/internal/daemon"
	"github.com/project-independence/indy/internal/hosttest"
)

// TestDaemonTellsSystemd holds that systemd is told that the daemon is alive as long as it answers, and
// not any more when it does not.
func TestDaemonTellsSystemd(t *testing.T) {
	if os.Geteuid() != 0 {
		hosttest.Missing(t, "the daemon is root's")
	}
	dir, err := os.MkdirTemp("", "indy-notify")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	told, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "n"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer told.Close()
	t.Setenv("NOTIFY_SOCKET", filepath.Join(dir, "n"))
	t.Setenv("WATCHDOG_USEC", "60000")
	hear := func(within time.Duration) string {
		_ = told.SetReadDeadline(time.Now().Add(within))
		b := make([]byte, 256)
		n, err := told.Read(b)
		if err != nil {
			return ""
		}
		return string(b[:n])
	}
	socket := filepath.Join(dir, "d")
	l, err := listenAt(socket)
	if err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(socket); err != nil || st.Mode().Perm() != 0o666 {
		t.Errorf("%v, %v: everybody may connect", st, err)
	}
	quiet := slog.New(slog.DiscardHandler)
	d := daemon.New(daemon.Config{Version: "1", Definitions: &daemon.Stored{Store: store.Store{Dir: dir}}, Runners: daemon.Directories{Root: dir}, Host: daemonHost{&Env{}}})
	serving, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Serve(serving, l) }()
	go keepTelling(t.Context(), quiet, socket)
	for range 3 {
		if got := hear(5 * time.Second); got != "WATCHDOG=1" {
			t.Fatalf("%q", got)
		}
	}
	if _, err := listenAt(socket); err == nil || !strings.Contains(err.Error(), "answers on") {
		t.Errorf("a second daemon: %v", err)
	}
	end()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	hung, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"}) // lets nobody in
	if err != nil {
		t.Fatal(err)
	}
	defer hung.Close()
	for hear(time.Millisecond) != "" { // what was told before
	}
	if got := hear(300 * time.Millisecond); got != "" {
		t.Errorf("systemd is told %q of a daemon that does not answer", got)
	}
}

// What others have written makes no lines of its own in the daemon's log, and nothing that turns or
// colours what a terminal shows.
func TestFault45ForgedLog(t *testing.T) {
	const forged = "Mouse\n{\"level\":\"INFO\",\"msg\":\"all is well\"}\r\x1b[2J\x00\u202egnp.exe\u2028\xff\u009b31m"
	var b strings.Builder
	told := (&Env{Stderr: &b}).daemonLog()
	told.Info("plugged", "device", forged)
	told.Error("unplugged", "err", errors.New(forged))
	told.With("device", forged).WithGroup("a").Warn(forged, slog.Group("b", "c", forged))
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	if len(lines) != 3 {
		t.Errorf("%d lines: %q", len(lines), lines)
	}
	for _, line := range lines {
		var said any
		if err := json.Unmarshal([]byte(line), &said); err != nil {
			t.Errorf("%v: %s", err, line)
		}
		check := func(text string) {
			if text != printable(text) {
				t.Errorf("%q", text)
			}
		}
		check(line)
		var walk func(any)
		walk = func(v any) {
			switch v := v.(type) {
			case string:
				check(v)
			case map[string]any:
				for _, v := range v {
					walk(v)
				}
			}
		}
		walk(said)
		if !strings.Contains(line, "Mouse") {
			t.Errorf("what it is called is not told: %s", line)
		}
	}
}
