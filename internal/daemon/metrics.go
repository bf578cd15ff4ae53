package daemon

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/project-independence/indy/internal/runner"
)

// A counter counts by a word, of which there are few.
type counter struct {
	mu sync.Mutex
	n  map[string]uint64
}

func (c *counter) add(word string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]uint64{}
	}
	c.n[word]++
}

func (c *counter) look() map[string]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.n)
}

// states are all states of guests, as a metric has one line for each.
func states() []runner.State {
	return []runner.State{runner.Stopped, runner.Starting, runner.Running, runner.Suspended, runner.Stopping, runner.Failed, runner.Unresponsive}
}

func (d *Daemon) metrics(ctx context.Context, _ *struct{}) (*bytesOut, error) {
	return &bytesOut{"text/plain; version=0.0.4; charset=utf-8", d.metricsText(ctx)}, nil
}

// metricsText is the text format 0.0.4 of Prometheus. Guests that do not answer in time have
// no figures but their state.
func (d *Daemon) metricsText(ctx context.Context) []byte {
	entries, err := d.Definitions.List()
	running, rerr := d.Runners.Names()
	names := slices.Clone(running)
	for _, e := range entries {
		names = append(names, e.Name)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	status := d.statuses(ctx, names)
	tops := d.tops(ctx, status)

	var b strings.Builder
	m := metrics{&b}
	m.head("indy_daemon_info", "gauge", "Which daemon this is; always 1.")
	m.line("indy_daemon_info", 1, "version", d.Version)
	m.head("indy_daemon_start_time_seconds", "gauge", "When the daemon was started, since the kernel was.")
	m.line("indy_daemon_start_time_seconds", d.Started)
	m.head("indy_daemon_requests_total", "counter", "What was asked, by verb.")
	m.lines("indy_daemon_requests_total", "verb", d.asked.look())
	m.head("indy_daemon_refused_total", "counter", "What was refused for want of a role, by verb.")
	m.lines("indy_daemon_refused_total", "verb", d.refused.look())
	m.head("indy_guests", "gauge", "Guests that are defined.")
	m.line("indy_guests", float64(len(entries)))
	m.head("indy_guests_unreadable", "gauge", "1 when guests could not all be read.")
	m.line("indy_guests_unreadable", truth(err != nil || rerr != nil))
	m.head("indy_guest_state", "gauge", "1 for the state that a guest is in, 0 for the others.")
	for _, s := range status {
		for _, one := range states() {
			m.line("indy_guest_state", truth(s.State == one), "guest", s.Name, "state", string(one))
		}
	}
	m.head("indy_guest_ready", "gauge", "Whether a guest is ready.")
	for _, s := range status {
		m.line("indy_guest_ready", truth(s.Ready), "guest", s.Name)
	}
	m.head("indy_guest_devices", "gauge", "Devices of the host that are assigned to a guest.")
	for _, s := range status {
		m.line("indy_guest_devices", float64(len(s.Devices)), "guest", s.Name)
	}
	m.head("indy_guest_unsaved_bytes", "gauge", "Bytes of a guest's console, log and events that could not be written to their files.")
	for _, s := range status {
		m.line("indy_guest_unsaved_bytes", float64(s.Unsaved), "guest", s.Name)
	}
	m.head("indy_guest_start_phase_seconds", "gauge", "When the start of a guest passed a point, since the kernel started.")
	for _, s := range status {
		for _, p := range s.Phases {
			m.line("indy_guest_start_phase_seconds", p.At, "guest", s.Name, "phase", string(p.Name))
		}
	}
	m.used(tops)
	return []byte(b.String())
}

// tops asks all guests that run what they use.
func (d *Daemon) tops(ctx context.Context, all []runner.Status) []runner.Top {
	ctx, cancel := context.WithTimeout(ctx, askLimit/5)
	defer cancel()
	tops := make([]runner.Top, len(all))
	var wait sync.WaitGroup
	for i, s := range all {
		if s.State != runner.Running && s.State != runner.Suspended {
			continue
		}
		wait.Go(func() {
			r, err := d.Runners.Runner(s.Name)
			if err != nil {
				return
			}
			if t, err := r.Top(ctx); err == nil {
				tops[i] = t
				tops[i].Name = s.Name
			}
		})
	}
	wait.Wait()
	return slices.DeleteFunc(tops, func(t runner.Top) bool { return t.Name == "" })
}

// metrics are written to a text.
type metrics struct{ b *strings.Builder }

func (m metrics) head(name, kind, help string) {
	fmt.Fprintf(m.b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// line writes one figure with its labels, each a name and a value.
func (m metrics) line(name string, value float64, labels ...string) {
	m.b.WriteString(name)
	for i := 0; i+1 < len(labels); i += 2 {
		fmt.Fprintf(m.b, "%s%s=\"%s\"", map[bool]string{true: "{", false: ","}[i == 0], labels[i], escapeLabel(labels[i+1]))
	}
	if len(labels) > 0 {
		m.b.WriteByte('}')
	}
	fmt.Fprintf(m.b, " %v\n", value)
}

func (m metrics) lines(name, label string, counts map[string]uint64) {
	for _, word := range slices.Sorted(maps.Keys(counts)) {
		m.line(name, float64(counts[word]), label, word)
	}
}

// used writes what guests use of the host.
func (m metrics) used(tops []runner.Top) {
	for _, one := range []struct {
		name, kind, help string
		of               func(runner.Top) float64
	}{
		{"indy_guest_cpu_seconds_total", "counter", "Time of the host's processors that a guest has used.", func(t runner.Top) float64 { return t.CPUSeconds }},
		{"indy_guest_memory_bytes", "gauge", "Memory of a guest.", func(t runner.Top) float64 { return float64(t.Memory) }},
		{"indy_guest_resident_bytes", "gauge", "Memory of the host that a guest's QEMU has.", func(t runner.Top) float64 { return float64(t.Resident) }},
	} {
		m.head(one.name, one.kind, one.help)
		for _, t := range tops {
			m.line(one.name, one.of(t), "guest", t.Name)
		}
	}
	for _, one := range []struct {
		name, help string
		of         func(runner.DiskUse) int64
	}{
		{"indy_guest_disk_read_bytes_total", "Bytes that a guest has read from a disk.", func(u runner.DiskUse) int64 { return u.ReadBytes }},
		{"indy_guest_disk_written_bytes_total", "Bytes that a guest has written to a disk.", func(u runner.DiskUse) int64 { return u.WrittenBytes }},
	} {
		m.head(one.name, "counter", one.help)
		for _, t := range tops {
			for i, u := range t.Disks {
				m.line(one.name, float64(one.of(u)), "guest", t.Name, "disk", fmt.Sprint(i))
			}
		}
	}
}

// escapeLabel makes a text the value of a label.
func escapeLabel(s string) string {
	return strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`).Replace(s)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
