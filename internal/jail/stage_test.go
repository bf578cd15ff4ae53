package jail

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/internal/hosttest"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "jail" {
		fd, err := strconv.Atoi(os.Args[2])
		fmt.Fprintln(os.Stderr, errors.Join(err, Run(fd)))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// stage runs a stage on s and returns what the program and the stage say.
func stage(t *testing.T, s Spec, flags uintptr, extra ...*os.File) (stdout string, report Report, err error) {
	t.Helper()
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "spec"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt(data, 0); err != nil {
		t.Fatal(err)
	}
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if s.OOMScoreAdj == nobodyListens {
		in.Close()
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "jail", strconv.Itoa(3+len(extra)))
	cmd.ExtraFiles = append(extra, file, out)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	var said bytes.Buffer
	cmd.Stdout = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out.Close()
	report, err = ReadReport(in)
	if e := cmd.Wait(); e != nil && err == nil {
		err = e
	}
	return said.String(), report, err
}

const namespaces = unix.CLONE_NEWPID | unix.CLONE_NEWUTS

// nobodyListens makes stage behave as a starter that has ended.
const nobodyListens = 999

// TestStarterGone shows that nothing is executed for who has ended meanwhile: before the
// parent-death signal is set, nobody would end it.
func TestStarterGone(t *testing.T) {
	needRoot(t)
	s := busybox(t, "echo", "executed")
	s.OOMScoreAdj = nobodyListens
	if got, _, _ := stage(t, s, namespaces); got != "" {
		t.Errorf("it says %q", got)
	}
	s.OOMScoreAdj--
	if got, _, err := stage(t, s, namespaces); got != "executed\n" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("this test must be run by root")
		}
		hosttest.Missing(t, "only root can make a jail for another user")
	}
}

// busybox returns a Spec that executes a static program.
func busybox(t *testing.T, args ...string) Spec {
	t.Helper()
	program, err := exec.LookPath("busybox")
	if err == nil {
		program, err = filepath.EvalSymlinks(program)
	}
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		hosttest.Missing(t, "install the package busybox-static")
	}
	return Spec{Program: "/bin/busybox", Args: args, UID: 0x70000001, GID: 0x70000001, Binds: []Bind{{From: program, To: "/bin/busybox"}}}
}

func TestStage(t *testing.T) {
	needRoot(t)
	s := busybox(t, "find", "/", "-xdev")
	s.Links = []Link{{"/sbin", "bin"}}
	s.Binds = append(s.Binds, Bind{From: "/dev/null", Device: true})
	got, report, err := stage(t, s, namespaces)
	if err != nil {
		t.Fatal(err)
	}
	if want := "/\n/sbin\n/dev\n/bin\n"; sorted(got) != sorted(want+"/bin/busybox\n/dev/null\n") && sorted(got) != sorted(want) {
		t.Errorf("it sees %q", got)
	}
	if len(report.Kept) > 0 {
		t.Errorf("kept %v", report.Kept)
	}
}

func sorted(lines string) string {
	seen := map[string]bool{}
	for l := range strings.Lines(lines) {
		seen[l] = true
	}
	return fmt.Sprint(seen)
}

// TestStageProc shows that proc has the program and nothing else.
func TestStageProc(t *testing.T) {
	needRoot(t)
	s := busybox(t, "ls", "/proc")
	s.Proc = true
	got, _, err := stage(t, s, namespaces)
	if err != nil || strings.Join(strings.Fields(got), " ") != "1 self thread-self" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestStageFiles shows that the program has the files that it is to have and no other.
func TestStageFiles(t *testing.T) {
	needRoot(t)
	file, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	s := busybox(t, "ls", "/proc/self/fd")
	s.Proc, s.Files = true, 2
	got, _, err := stage(t, s, namespaces, file, file)
	if err != nil || strings.Join(strings.Fields(got), " ") != "0 1 2 3 4 5" { // 5 is how ls looks
		t.Errorf("%q, %v", got, err)
	}
}

// TestStageRefuses gives the stage what it must not go on with. Nothing may have been
// executed.
func TestStageRefuses(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	link, loop, pipe := filepath.Join(dir, "link"), filepath.Join(dir, "loop"), filepath.Join(dir, "pipe")
	if err := errors.Join(os.Symlink("/etc", link), os.Symlink(loop, loop), syscall.Mkfifo(pipe, 0o600)); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		bind  Bind
		flags uintptr
		want  string
		errno syscall.Errno
	}{
		{"a link", Bind{From: link}, namespaces, link, unix.ELOOP},
		{"a link in the way", Bind{From: link + "/passwd"}, namespaces, "passwd", unix.ELOOP},
		{"a loop", Bind{From: loop}, namespaces, loop, unix.ELOOP},
		{"nothing", Bind{From: dir + "/none"}, namespaces, "none", unix.ENOENT},
		{"a pipe", Bind{From: pipe}, namespaces, "not the kind", 0},
		{"a device that is not said to be one", Bind{From: "/dev/null"}, namespaces, "not the kind", 0},
		{"a device that is none", Bind{From: "/etc/passwd", Device: true}, namespaces, "not the kind", 0},
		{"a directory as device", Bind{From: "/dev", Device: true}, namespaces, "not the kind", 0},
		{"the host's processes", Bind{From: "/etc/passwd"}, unix.CLONE_NEWUTS, "not the first process", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := busybox(t, "echo", "executed")
			s.Binds = append(s.Binds, tt.bind)
			got, _, err := stage(t, s, tt.flags)
			var e *Error
			if got != "" || !errors.As(err, &e) || !strings.Contains(e.Text, tt.want) || e.Errno != tt.errno {
				t.Errorf("%q, %#v, want %q", got, err, tt.want)
			}
		})
	}
	t.Run("another number of files", func(t *testing.T) {
		s := busybox(t, "echo", "executed")
		s.Files = 5
		if got, _, err := stage(t, s, namespaces); got != "" || err == nil || !strings.Contains(err.Error(), "5 files, and the spec is descriptor 3") {
			t.Errorf("%q, %v", got, err)
		}
	})
	t.Run("no program", func(t *testing.T) {
		s := busybox(t, "echo", "executed")
		s.Program = "/bin/none"
		if got, _, err := stage(t, s, namespaces); got != "" || !errors.Is(err, unix.ENOENT) || !strings.Contains(err.Error(), "/bin/none") {
			t.Errorf("%q, %v", got, err)
		}
	})
	t.Run("a program outside", func(t *testing.T) {
		s := busybox(t, "echo", "executed")
		s.Program = "/bin/sh"
		if got, _, err := stage(t, s, namespaces); got != "" || !errors.Is(err, unix.ENOENT) {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// TestRunAlone shows that a person who calls the stage by hand gets an error and keeps
// what they have.
func TestRunAlone(t *testing.T) {
	for _, fd := range []int{0, 2, 1000} {
		if err := Run(fd); err == nil || !strings.Contains(err.Error(), "only indy itself") {
			t.Errorf("%d: %v", fd, err)
		}
	}
}

// TestHostUntouched shows that nothing of what the stage mounts is seen outside.
func TestHostUntouched(t *testing.T) {
	needRoot(t)
	before, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := stage(t, busybox(t, "true"), namespaces); err != nil {
		t.Fatal(err)
	}
	after, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("%v\nbefore:\n%s\nafter:\n%s", err, before, after)
	}
}
