package qemu

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/guest/qmp"
	"github.com/project-independence/indy/internal/hosttest"
)

// fakeQEMU makes a program of a shell script, which stands for a QEMU that goes
// wrong in a way that the real one rarely does.
func fakeQEMU(t *testing.T, script string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "qemu-test-") // t.TempDir is closed to other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	name := filepath.Join(dir, "qemu")
	err = errors.Join(os.Chmod(dir, 0o755), os.WriteFile(name, []byte("#!/bin/sh\n"+script), 0o755))
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func TestQEMUEndsAtOnce(t *testing.T) {
	noLeaks(t)
	tests := []struct {
		name, script string
		want         []string
	}{
		{"a word and a status", "echo 'qemu: cannot do that' >&2; exit 3", []string{"start guest test: ", "exit status 3", "cannot do that"}},
		{"a signal", "echo 'q: warning: x' >&2; kill -SEGV $$", []string{"signal: segmentation fault"}},
		{"much to say", "i=0; while [ $i -lt 3000 ]; do echo line $i >&2; i=$((i+1)); done; exit 1", []string{"exit status 1", "line "}},
		{"a good status, but no QMP", "exit 0", []string{"QEMU closed the connection", "EOF"}},
		{"not QMP", "echo hello >&3; exec sleep 60", []string{"not QMP"}},
		{"too old", `echo '{"QMP":{"version":{"qemu":{"major":2,"minor":1,"micro":0}}}}' >&3; read line <&3; echo '{"return":{},"id":1}' >&3; exec sleep 60`,
			[]string{"QEMU 2.1.0 is older than 7.2"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Start(t.Context(), guestOf(), Options{Binary: fakeQEMU(t, tt.script), Accelerator: TCG})
			var op *OpError
			if !errors.As(err, &op) {
				t.Fatalf("%v", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q, want %q in it", err, want)
				}
			}
			var exit *ExitError
			if errors.As(err, &exit) && len(exit.Stderr) > tailSize {
				t.Errorf("%d bytes of standard error", len(exit.Stderr))
			}
		})
	}
}

func TestNoBinary(t *testing.T) {
	_, err := Start(t.Context(), guestOf(), Options{Binary: "/nonexistent", Accelerator: TCG})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestFind(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if path, err := Find(); err != nil && (!errors.Is(err, errors.ErrUnsupported) || !strings.HasPrefix(err.Error(), "qemu-system-x86_64 is not installed; install the package") ||
		strings.Contains(err.Error(), errors.ErrUnsupported.Error())) {
		t.Errorf("%q, %v", path, err)
	}
}

func TestVersion(t *testing.T) {
	tests := []struct {
		out  string
		want qmp.Version
		ok   bool
	}{
		{"QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright", qmp.Version{Major: 10, Micro: 2}, true},
		{"QEMU emulator version 7.2.22 (Debian)", qmp.Version{Major: 7, Minor: 2, Micro: 22}, true},
		{"QEMU emulator version 8.2", qmp.Version{Major: 8, Minor: 2}, true},
		{"QEMU emulator version x", qmp.Version{}, false},
		{"", qmp.Version{}, false},
	}
	for _, tt := range tests {
		if got, err := parseVersion([]byte(tt.out)); got != tt.want || (err == nil) != tt.ok {
			t.Errorf("parseVersion(%q) = %v, %v", tt.out, got, err)
		}
	}
	old := fakeQEMU(t, "echo QEMU emulator version 7.1.0")
	if v, err := Version(t.Context(), old); v.String() != "7.1.0" || !errors.Is(err, errors.ErrUnsupported) || err.Error() != "QEMU 7.1.0 is older than 7.2, which is needed" {
		t.Errorf("%v, %v", v, err)
	}
	needQEMU(t)
	path, err := Find()
	if err != nil {
		t.Fatal(err)
	}
	if v, err := Version(t.Context(), path); err != nil || v.Major < MinMajor {
		t.Errorf("%v, %v", v, err)
	}
}

// TestMemlock shows that the child may lock what it has to and that the limit of
// this process stays.
func TestMemlock(t *testing.T) {
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &own); err != nil {
		t.Fatal(err)
	}
	if own.Max < 1<<20 {
		hosttest.Missing(t, "this process may lock only %d bytes", own.Max)
	}
	// between a soft limit and the hard one nobody needs a privilege
	want := uint64(1 << 20)
	low := unix.Rlimit{Cur: 64 << 10, Max: own.Max}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &low); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_MEMLOCK, &own)
	p, err := launch(command{binary: fakeQEMU(t, "ulimit -l >&2; exec sleep 60"), memlock: want})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		p.kill(nil)
		<-p.done
	}()
	for p.stderr.String() == "" {
		time.Sleep(time.Millisecond)
	}
	if got := strings.TrimSpace(p.stderr.String()); got != fmt.Sprint(want>>10) {
		t.Errorf("the first program of the child may lock %s KiB", got)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil || !strings.Contains(string(status), "TracerPid:\t0\n") {
		t.Errorf("still traced: %v", err)
	}
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &now); err != nil || now != low {
		t.Errorf("own limit was %+v and is %+v, %v", own, now, err)
	}
}

func TestMemlockRefused(t *testing.T) {
	noLeaks(t)
	_, err := launch(command{binary: fakeQEMU(t, "exec sleep 60"), memlock: 1 << 50})
	if err != nil && (!errors.Is(err, syscall.EPERM) || !strings.Contains(err.Error(), "1073741824 MiB of locked memory")) {
		t.Errorf("%v", err)
	}
}

// TestMemlockStartFails shows that a binary that cannot be started is no trap for
// the way the limit is raised.
func TestMemlockStartFails(t *testing.T) {
	noLeaks(t)
	if _, err := launch(command{binary: "/nonexistent", memlock: 1 << 40}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// TestParentDies shows that QEMU does not outlive the program that started it,
// however that ends.
func TestParentDies(t *testing.T) {
	needQEMU(t)
	parentDies(t, "^TestParentDies$", Options{Accelerator: TCG})
}

func TestSummary(t *testing.T) {
	tests := []struct{ in, want string }{
		{"", ""},
		{"qemu-system-x86_64: warning: host doesn't support x\n", ""},
		{"qemu-system-x86_64: warning: a\nqemu-system-x86_64: error: b\nc\n", "error: b; c"},
		{"KVM internal error. Suberror: 1\nextra data[0]: 0x1\nextra data[1]: 0x2\nemulation failure\nRAX=0\n", "KVM internal error. Suberror: 1; emulation failure"},
		{"a\nb\nc\nd\n", "a; b; c"},
	}
	for _, tt := range tests {
		if got := summary(tt.in); got != tt.want {
			t.Errorf("summary(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}
