package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"syscall"

	"github.com/project-independence/indy/guest/qemu"
)

// A death is what has to be known of a living QEMU to say why it died.
type death struct {
	cgroup string // its directory in sys/fs/cgroup; empty when that is not known
	group  uint64 // how many processes the kernel had killed there for want of memory
	host   uint64 // and anywhere
}

func newDeath(host fs.FS, pid int) *death {
	d := new(death)
	if text, err := fs.ReadFile(host, "proc/"+strconv.Itoa(pid)+"/cgroup"); err == nil {
		d.cgroup = cgroupOf(string(text))
	}
	d.group, d.host = d.count(host)
	return d
}

// cgroupOf returns the directory of the unified hierarchy in /proc/PID/cgroup, whose line
// begins with 0::, see cgroups(7).
func cgroupOf(text string) string {
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			if dir := path.Join("sys/fs/cgroup", name); fs.ValidPath(dir) && strings.HasPrefix(dir, "sys/fs/cgroup") {
				return dir
			}
		}
	}
	return ""
}

// count reads how often the kernel has killed for want of memory. What cannot be read is
// 0.
func (d *death) count(host fs.FS) (group, all uint64) {
	read := func(name string) uint64 {
		text, err := fs.ReadFile(host, name)
		if err != nil {
			return 0
		}
		return counter(string(text), "oom_kill")
	}
	if d.cgroup != "" {
		group = read(d.cgroup + "/memory.events")
	}
	return group, read("proc/vmstat")
}

// counter returns the number on the line that begins with key.
func counter(text, key string) uint64 {
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == key {
			n, _ := strconv.ParseUint(f[1], 10, 64)
			return n
		}
	}
	return 0
}

// errMemory is that the kernel killed QEMU because there was no memory left.
var errMemory = errors.New("the kernel killed QEMU for want of memory (OOM)")

// explain returns err, and before it what the kernel says of it.
func (d *death) explain(host fs.FS, err error) error {
	var exit *qemu.ExitError
	if !errors.As(err, &exit) || exit.Cause != nil {
		return err
	}
	if !exit.Status.Signaled() || exit.Status.Signal() != syscall.SIGKILL {
		return err
	}
	group, all := d.count(host)
	switch {
	case group > d.group:
		return fmt.Errorf("%w in its control group, whose limit is too low: %w", errMemory, err)
	case all > d.host:
		return fmt.Errorf("%w, as far as can be told: %w", errMemory, err)
	}
	return fmt.Errorf("somebody killed QEMU: %w", err)
}
