package cli_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/project-independence/indy/internal/hosttest"
)

// TestKept starts a guest of root's by the real command, and measures what the process that
// speaks with QEMU may do, and what becomes of the guest when it or its keeper is killed.
func TestKept(t *testing.T) {
	if !apart(t) {
		return
	}
	m := &machine{t: t, indy: hosttest.BuildIndy(t, t.TempDir()), env: os.Environ()}
	disk := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(disk, make([]byte, 1<<20), 0o600); err != nil { // the runner may not even look for it
		t.Fatal(err)
	}
	m.define("work", disk, "tpm: true\nfirmware: uefi\ndisplay: {kind: virtio, where: vnc}\nnetwork: nat\n")
	type status struct {
		State     string
		PID, QEMU int
	}
	look := func() (s status) {
		t.Helper()
		if err := json.Unmarshal([]byte(m.guest("status", "work", "--json")), &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	start := func() (runner, keeper, qemu int) {
		t.Helper()
		m.guest("start", "work", "--accel", "tcg")
		s := look()
		if _, err := fmt.Sscan(field(t, s.PID, "PPid"), &keeper); err != nil {
			t.Fatal(err)
		}
		return s.PID, keeper, s.QEMU
	}

	runner, keeper, qemu := start()
	for name, want := range map[string]string{"CapEff": "0000000000000000", "CapPrm": "0000000000000000", "CapInh": "0000000000000000", "CapAmb": "0000000000000000", "NoNewPrivs": "1", "Groups": ""} {
		if got := field(t, runner, name); got != want {
			t.Errorf("%s of the runner: %q, want %q", name, got, want)
		}
	}
	ids := map[string]string{}
	for who, pid := range map[string]int{"runner": runner, "keeper": keeper, "QEMU": qemu} {
		uid, gid := strings.Fields(field(t, pid, "Uid")), strings.Fields(field(t, pid, "Gid"))
		for _, id := range [][]string{uid, gid} {
			if len(id) != 4 || id[0] != id[1] || id[0] != id[2] || id[0] != id[3] {
				t.Errorf("%s runs as %q", who, id)
			}
		}
		if other := ids[uid[0]]; other != "" {
			t.Errorf("%s runs as %s, as %s does", who, uid[0], other)
		}
		ids[uid[0]] = who
	}
	if ids["0"] != "keeper" {
		t.Errorf("who runs as whom: %v", ids)
	}
	if parent := field(t, qemu, "PPid"); parent != fmt.Sprint(keeper) {
		t.Errorf("process %s has started QEMU, the keeper is %d", parent, keeper)
	}
	// The keeper has no file open of QEMU's sockets, nor of the guest's disk.
	for _, file := range opened(t, keeper) {
		if file == disk || strings.HasSuffix(file, "uefi-variables") {
			t.Errorf("the keeper has %s open", file)
		}
	}
	// What users of guests do goes on.
	for _, command := range []string{"status", "top --once", "log", "events", "suspend", "resume"} {
		args := strings.Fields(command)
		m.guest(append([]string{args[0]}, append(args[1:], "work")...)...)
	}
	if leftovers, err := filepath.Glob("/run/indy/guests/work/*"); err != nil || len(leftovers) == 0 {
		t.Errorf("%q, %v", leftovers, err)
	}
	m.guest("stop", "work", "--force")
	gone(t, runner, keeper, qemu)
	if left, err := os.ReadDir("/run/indy/guests"); err != nil || len(left) > 0 {
		t.Errorf("left in /run: %v, %v", left, err)
	}

	// Whichever of the three is killed, the others end, and the guest can be started again.
	for _, victim := range []string{"runner", "keeper", "QEMU"} {
		runner, keeper, qemu := start()
		if err := syscall.Kill(map[string]int{"runner": runner, "keeper": keeper, "QEMU": qemu}[victim], syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		gone(t, runner, keeper, qemu)
		if s := look(); s.State != "failed" {
			t.Errorf("the %s was killed, and the guest is %s", victim, s.State)
		}
	}
	start()
	m.guest("stop", "work", "--force")
}

// field returns one of the fields of /proc/PID/status.
func field(t *testing.T, pid int, name string) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("process %d has no %s", pid, name)
	return ""
}

// opened returns the names of the files that a process has open.
func opened(t *testing.T, pid int) (names []string) {
	t.Helper()
	all, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(all) == 0 {
		t.Fatalf("process %d: %d files, %v", pid, len(all), err)
	}
	for _, link := range all {
		if name, err := os.Readlink(link); err == nil {
			names = append(names, name)
		}
	}
	return names
}

// gone waits until processes have ended.
func gone(t *testing.T, pids ...int) {
	t.Helper()
	for _, pid := range pids {
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			if _, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); err != nil { // of one that waits to be reaped, neither
				break
			}
			if time.Now().After(end) {
				t.Fatalf("process %d is still there", pid)
			}
		}
	}
}
