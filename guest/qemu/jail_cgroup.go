package qemu

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/guest"
)

// limits are those of a control group.
type limits struct {
	name   string // of the guest
	memory int64  // bytes
	root   string // where control groups of version 2 are, as of the kernel's root
	own    string // the control group of this process below it

	systemd bool // whether it is systemd that makes control groups
}

// memoryOf returns how much memory a QEMU for g may use: the guest's, what QEMU needs to
// emulate a machine with it, and with TCG the code it has translated, which is 1 GiB at
// most. What it reads of disks counts, too, but gives way.
func memoryOf(g guest.Guest, a Accelerator) int64 {
	n := g.Memory + g.Memory/64 + 512<<20
	if a == TCG {
		n += 1 << 30
	}
	if g.Graphics != guest.NoGraphics {
		n += 512 << 20
	}
	return n
}

// A cgroup is a control group of one QEMU. Nil is none.
type cgroup struct {
	dir    *os.File
	memory int64
}

// makeCgroup makes a control group for a guest where this process may: in the nearest
// one above it that systemd has delegated, or anywhere where there is no systemd.
func makeCgroup(l limits) (*cgroup, error) {
	parent, err := l.parent()
	if err != nil {
		return nil, err
	}
	if err := enable(parent); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(parent, "guest-"+l.name+"-")
	if err != nil {
		return nil, err
	}
	g := &cgroup{memory: l.memory}
	for _, set := range [...][2]string{
		{"memory.max", strconv.FormatInt(l.memory, 10)}, {"memory.oom.group", "1"}, {"pids.max", strconv.Itoa(maxTasks)},
	} {
		if err = os.WriteFile(filepath.Join(dir, set[0]), []byte(set[1]), 0); err != nil {
			break
		}
	}
	if err == nil {
		g.dir, err = os.OpenFile(dir, unix.O_DIRECTORY, 0)
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(dir))
	}
	return g, nil
}

// parent returns the directory in which a control group can be made.
func (l limits) parent() (string, error) {
	if l.root == "" {
		return "", fmt.Errorf("the host has no control groups of version 2 with limits of memory: %w", errors.ErrUnsupported)
	}
	for at := l.own; ; at = filepath.Dir(at) {
		dir := filepath.Join(l.root, at)
		if !l.systemd || delegated(dir) {
			if base := filepath.Base(at); !strings.HasPrefix(base, "user@") { // that one is systemd's own
				return dir, nil
			}
			break
		}
		if at == "/" || at == "." {
			break
		}
	}
	return "", fmt.Errorf("the control group %s is systemd's alone; start with: systemd-run --scope -p Delegate=yes", l.own)
}

// delegated reports whether systemd has left the control group in dir to others; see
// systemd.resource-control(5).
func delegated(dir string) bool {
	value := make([]byte, 8)
	for _, name := range []string{"user.delegate", "trusted.delegate"} {
		if n, err := unix.Getxattr(dir, name, value); err == nil && string(value[:n]) == "1" {
			return true
		}
	}
	return false
}

// enable makes sure that control groups in dir can have limits. One that has processes
// itself cannot, unless it is the uppermost one; if those are this one and what it has
// started, they move into a group beside those of the guests.
func enable(dir string) error {
	control := filepath.Join(dir, "cgroup.subtree_control")
	has, err := os.ReadFile(control)
	if err != nil {
		return err
	}
	if words := strings.Fields(string(has)); slices.Contains(words, "memory") && slices.Contains(words, "pids") {
		return nil
	}
	can, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	if words := strings.Fields(string(can)); !slices.Contains(words, "memory") || !slices.Contains(words, "pids") {
		return fmt.Errorf("%s has no controllers for memory and processes: %w", dir, errors.ErrUnsupported)
	}
	on := func() error { return os.WriteFile(control, []byte("+memory +pids"), 0) }
	if err = on(); !errors.Is(err, syscall.EBUSY) {
		return err
	}
	procs, e := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	all := strings.Fields(string(procs))
	if e != nil || slices.ContainsFunc(all, func(pid string) bool { return !ours(pid) }) {
		return err
	}
	starter := filepath.Join(dir, "starter")
	if e := os.Mkdir(starter, 0o755); e != nil && !errors.Is(e, fs.ErrExist) {
		return e
	}
	for _, pid := range all {
		if e := os.WriteFile(filepath.Join(starter, "cgroup.procs"), []byte(pid), 0); e != nil && !errors.Is(e, syscall.ESRCH) {
			return e
		}
	}
	return on()
}

// ours reports whether a process is this one or was started by it, such as those that a guest's
// network and TPM are.
func ours(pid string) bool {
	if pid == strconv.Itoa(os.Getpid()) {
		return true
	}
	status, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return errors.Is(err, fs.ErrNotExist) // it has ended meanwhile
	}
	for line := range strings.Lines(string(status)) {
		if parent, ok := strings.CutPrefix(line, "PPid:"); ok {
			return strings.TrimSpace(parent) == strconv.Itoa(os.Getpid())
		}
	}
	return false
}

// end is called when the process has ended: it reports whether the limit was why, and which it
// was, and removes the group.
func (g *cgroup) end() (outOfMemory bool, memory int64) {
	if g == nil {
		return false, 0
	}
	events, err := os.ReadFile(filepath.Join(g.dir.Name(), "memory.events"))
	g.remove()
	return err == nil && oomKills(string(events)) > 0, g.memory
}

// oomKills reads how many processes were killed from memory.events.
func oomKills(events string) uint64 {
	for line := range strings.Lines(events) {
		if text, ok := strings.CutPrefix(line, "oom_kill "); ok {
			n, _ := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
			return n
		}
	}
	return 0
}

func (g *cgroup) remove() {
	if g == nil {
		return
	}
	for range 50 { // threads may take a moment to be gone
		if err := os.Remove(g.dir.Name()); !errors.Is(err, syscall.EBUSY) {
			break
		}
		time.Sleep(2 * time.Millisecond)
	}
	g.dir.Close()
}
