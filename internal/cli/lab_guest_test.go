package cli_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/lab"
	"github.com/project-independence/indy/internal/lab/labtest"
)

// onTheDisk is what is on the NVMe, and on no other disk.
const onTheDisk = "started from the assigned disk"

// TestGuestsInside has two guests run side by side in the emulated laptop, a locked one with
// the NVMe and a free one with the network card, and kills what runs them. TestFault09UnbindHangs
// starts it.
func TestGuestsInside(t *testing.T) {
	labtest.Inside(t)
	dir := t.TempDir()
	indy := func(status int, want string, args ...string) string {
		t.Helper()
		began := time.Now()
		out, err := exec.CommandContext(t.Context(), os.Getenv(indyVariable), args...).CombinedOutput()
		t.Logf("indy %s in %v:\n%s", strings.Join(args, " "), time.Since(began).Round(time.Millisecond), out)
		if err != nil && status == 0 || !strings.Contains(string(out), want) {
			t.Fatalf("%v; want exit status %d and %q", err, status, want)
		}
		if exit, ok := err.(*exec.ExitError); status != 0 && (!ok || exit.ExitCode() != status) {
			t.Fatalf("%v; want exit status %d", err, status)
		}
		return string(out)
	}
	driver := func(address, want string) {
		t.Helper()
		if got, err := hostfs.ReadLinkBase(hostfs.Live(), "sys/bus/pci/devices/"+address+"/driver"); got != want {
			t.Errorf("%s is with %q (%v), want %s", address, got, err, want)
		}
	}
	const nvme, nic = "0000:02:00.0", "0000:05:00.0"
	define := func(name, text string) {
		t.Helper()
		file := filepath.Join(dir, name+".yaml")
		if err := os.WriteFile(file, []byte("name: "+name+"\nmemory: 64MiB\nfirmware: bios\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
		indy(0, "made guest "+name, "guest", "import", file)
	}
	if err := lab.NVMeImage(filepath.Join(dir, "net.raw"), "net is up"); err != nil {
		t.Fatal(err)
	}
	define("work", `locked: true
autostart: {ready: {serial: "`+onTheDisk+`"}}
devices: [{want: storage, class: "0108", how: assign}]
`)
	define("net", `autostart: {ready: {serial: "net is up"}}
disks: [{file: net.raw}]
devices: [{want: ethernet, ids: "8086:10c9", how: assign}, {want: input, port: 1-2, how: assign}, {want: firewire, how: assign, need: optional}]
`)
	define("other", `devices: [{want: storage, class: "0108", how: assign}]
`)
	status := func(name string) (s struct{ PID, QEMU int }) {
		t.Helper()
		if err := json.Unmarshal([]byte(indy(0, "", "guest", "status", name, "--json")), &s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	gone := func(pid int) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			if _, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/cwd"); err != nil { // of one that waits to be reaped, neither
				return
			}
			if time.Now().After(end) {
				t.Fatalf("process %d is still there", pid)
			}
		}
	}

	indy(0, "ready after", "guest", "start", "work", "--wait", "ready", "--accel", "tcg")
	indy(0, "ready after", "guest", "start", "net", "--wait", "ready", "--accel", "tcg")
	driver(nvme, "vfio-pci")
	driver(nic, "vfio-pci")
	indy(0, "pci:"+nvme, "guest", "status", "work")
	indy(0, "pci:"+nic+" usb:1-2", "guest", "top", "--once")
	indy(4, `held by guest "work"`, "guest", "start", "other", "--accel", "tcg")

	// Who runs it is killed: QEMU dies, and its keeper gives the device back.
	keeper := func(pid int) int {
		t.Helper()
		text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if parent, ok := strings.CutPrefix(line, "PPid:\t"); ok {
				pid, err = strconv.Atoi(strings.TrimSpace(parent))
			}
		}
		if err != nil || pid <= 1 {
			t.Fatalf("the keeper is process %d, %v", pid, err)
		}
		return pid
	}
	before := status("work")
	root := keeper(before.PID)
	if err := syscall.Kill(before.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	gone(before.QEMU)
	gone(root)
	indy(0, "work is failed", "guest", "status", "work")
	driver(nvme, "nvme")

	// The keeper is killed: everything dies, and the device is given back by who is asked to.
	killed := func() {
		t.Helper()
		indy(0, "ready after", "guest", "start", "work", "--wait", "ready", "--accel", "tcg")
		before := status("work")
		if err := syscall.Kill(keeper(before.PID), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		gone(before.QEMU)
		gone(before.PID)
	}
	killed()
	indy(0, "work is failed", "guest", "status", "work")
	indy(0, nvme, "recover")
	driver(nvme, "nvme")

	// Or by the next start, once that has ended.
	killed()
	indy(0, "ready after", "guest", "start", "work", "--wait", "ready", "--accel", "tcg")

	// QEMU is killed: its runner gives the device back, and says what happened.
	now := status("work")
	if err := syscall.Kill(now.QEMU, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	gone(now.PID)
	indy(0, "signal: killed", "guest", "status", "work")
	driver(nvme, "nvme")

	sleepOver(t, "net")
	indy(0, "stopped net", "guest", "stop", "net", "--timeout", "1s")
	driver(nic, "igb")
	indy(0, "no device is handed out", "leases")
}
