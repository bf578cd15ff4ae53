package runner

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/project-independence/indy/guest/qemu"
)

// hear keeps what QEMU says by itself, and looks at once when it is about what the guest is
// doing.
func (r *runner) hear(vm *qemu.VM) {
	said := vm.QMP().Subscribe()
	defer said.Close()
	for e := range said.C() {
		if e.Name == "RTC_CHANGE" || e.Name == "NIC_RX_FILTER_CHANGED" {
			continue // as often as the guest likes
		}
		r.event(e.Name, e.Data)
		switch e.Name {
		case "STOP", "RESUME", "SUSPEND", "WAKEUP", "BLOCK_IO_ERROR", "GUEST_PANICKED":
			r.pulse.again()
		}
	}
}

// beaten makes of what QEMU said last, or did not say, the state of the guest.
func (r *runner) beaten() {
	state, detail := r.doing(r.pulse.last())
	if silent, d := r.pulse.silent(); silent {
		state, detail = Unresponsive, r.whySilent(d)
	}
	r.become(state, detail)
}

func (r *runner) become(state State, detail string) {
	r.mu.Lock()
	same := r.status.State == state && r.status.Detail == detail
	last := r.asked || r.status.Over() || r.status.State == Stopping // it does not come back from there
	r.mu.Unlock()
	if same || last {
		return
	}
	r.change(func(s *Status) { s.State, s.Detail = state, detail })
}

// doing says in our words what QEMU's run state is, RunState of its QMP reference.
func (r *runner) doing(word string) (State, string) {
	switch word {
	case "running", "":
		return Running, ""
	case "paused":
		return Suspended, r.holds().words()
	case "suspended":
		r.wokenLate()
		if why := r.holds().words(); why != "" {
			return Suspended, "the guest sleeps (ACPI S3) " + why
		}
		return Suspended, "the guest sleeps (ACPI S3)"
	case "io-error":
		return Suspended, "one of its disks cannot be written, as when the host's is full; resume tries again"
	case "guest-panicked":
		return Suspended, "the guest's system has crashed"
	case "internal-error":
		return Suspended, "QEMU cannot go on with the guest"
	case "watchdog":
		return Suspended, "the guest's watchdog has run out"
	case "shutdown":
		return Stopping, ""
	}
	return Suspended, "QEMU says " + word
}

// whySilent says why QEMU does not answer, as far as /proc tells.
func (r *runner) whySilent(d time.Duration) string {
	r.mu.Lock()
	pid := r.status.QEMU
	r.mu.Unlock()
	why := fmt.Sprintf("QEMU (process %d) has not answered for %s", pid, d.Round(100*time.Millisecond))
	if stopped(r.Host, pid) {
		why = fmt.Sprintf("QEMU (process %d) was stopped by a signal; kill -CONT %d lets it go on", pid, pid)
	}
	return why
}

// stopped reports whether a process stands still because of a signal or a debugger.
func stopped(host fs.FS, pid int) bool {
	f, err := readStat(host, pid)
	return err == nil && (f.state == "T" || f.state == "t")
}

// look returns the status as it is now. It waits for a twentieth of a second at most.
func (r *runner) look() Status {
	r.mu.Lock()
	p := r.pulse
	r.mu.Unlock()
	if p != nil {
		if _, answers := p.now(); answers {
			r.beaten() // which who asked first may not have come to
		} else {
			r.mu.Lock()
			pid := r.status.QEMU
			r.mu.Unlock()
			if silent, d := p.silent(); silent || stopped(r.Host, pid) {
				r.become(Unresponsive, r.whySilent(d))
			}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.status.clone()
	s.Unsaved = r.console.unsaved() + r.log.unsaved() + r.events.unsaved()
	return s
}

// A procStat is what is used of /proc/PID/stat, see proc(5).
type procStat struct {
	state   string
	cpu     time.Duration // of all threads, those ended included
	threads int
	started string // in ticks since the kernel started
}

const ticks = 100 // a second: USER_HZ of every architecture that Linux runs QEMU's x86 on

func readStat(host fs.FS, pid int) (procStat, error) {
	name := "proc/" + strconv.Itoa(pid) + "/stat"
	text, err := fs.ReadFile(host, name)
	if err != nil {
		return procStat{}, err
	}
	f, err := parseStat(text)
	if err != nil {
		err = fmt.Errorf("/%s: %w", name, err)
	}
	return f, err
}

func parseStat(text []byte) (procStat, error) {
	// The name of the program is in brackets and may hold anything.
	s := string(text)
	fields := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
	const state, utime, stime, threads, start = 0, 14 - 3, 15 - 3, 20 - 3, 22 - 3
	if len(fields) <= start {
		return procStat{}, fmt.Errorf("%d fields are too few", len(fields)+2)
	}
	f := procStat{state: fields[state], started: fields[start]}
	user, err := strconv.ParseInt(fields[utime], 10, 48)
	if err != nil {
		return procStat{}, err
	}
	system, err := strconv.ParseInt(fields[stime], 10, 48)
	if err != nil {
		return procStat{}, err
	}
	f.cpu = time.Duration(user+system) * (time.Second / ticks)
	f.threads, err = strconv.Atoi(fields[threads])
	return f, err
}

func oneWord(text []byte) string { return strings.TrimSpace(string(text)) }
