package daemon

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/logindtest"
	"github.com/project-independence/indy/internal/power"
	"github.com/project-independence/indy/internal/runner"
)

// hold is what a runner does.
func (f *fakeRunners) hold(ctx context.Context, name string, how runner.SuspendRequest) (runner.Status, error) {
	f.mu.Lock()
	s := f.guests[name]
	switch {
	case s == nil || s.State == runner.Starting:
		f.mu.Unlock()
		return runner.Status{}, &runner.AnswerError{Guest: name, Code: 409, Text: "guest " + name + ": the guest is not running"}
	case f.deaf[name]:
		f.mu.Unlock()
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
		return runner.Status{}, &runner.AnswerError{Guest: name, Code: 504, Text: "guest " + name + ": QEMU does not answer"}
	}
	defer f.mu.Unlock()
	if s.Holds.Has(how.Reason) || s.State == runner.Suspended && !s.Holds.Effective() {
		return *s, nil
	}
	word := "pause"
	if how.Sleep && !f.stays[name] {
		word = "sleep"
	}
	if s.State == runner.Running {
		f.stopped[name]++
	}
	if how.Unplug {
		word += "+unplug"
	}
	f.note("%s %s %s", word, name, how.Reason)
	s.Holds, s.State = s.Holds.With(how.Reason, sinceBoot()), runner.Suspended
	return *s, nil
}

func (f *fakeRunners) letGo(name string, reason runner.Reason) (runner.Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.guests[name]
	if s == nil || f.deaf[name] {
		return runner.Status{}, &runner.AnswerError{Guest: name, Code: 504, Text: "guest " + name + ": QEMU does not answer"}
	}
	had := s.Holds.Effective()
	s.Holds = s.Holds.Without(reason)
	if !had || s.Holds.Effective() {
		return *s, nil
	}
	if f.lost[name] {
		s.Holds = s.Holds.With(runner.LostDevice, sinceBoot())
		return runner.Status{}, &runner.AnswerError{Guest: name, Code: 409, Text: "pci:0000:01:00.0 does not answer"}
	}
	f.note("go %s %s", name, reason)
	f.went[name]++
	s.State = runner.Running
	return *s, nil
}

// set changes what the runners are like.
func (f *fakeRunners) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fakeRunners) state(name string) runner.State {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.guests[name] == nil {
		return runner.Stopped
	}
	return f.guests[name].State
}

// house is a daemon whose guests home and work need network, with a bus and a logind.
type house struct {
	fixture
	bus   *logindtest.Bus
	login *logindtest.Logind
	host  *hostfs.Tree
	conf  PowerConfig
}

const withDevice = "devices: [{want: ethernet, how: assign}]\n"

func newHouse(t *testing.T, definitions ...string) *house {
	t.Helper()
	if definitions == nil {
		definitions = []string{
			"name: network\nmemory: 1GiB\nautostart: {}\n" + withDevice,
			"name: home\nmemory: 1GiB\nautostart: {needs: [network]}\n" + withDevice,
			"name: work\nmemory: 1GiB\nautostart: {needs: [network]}\n" + withDevice,
			"name: tiny\nmemory: 1GiB\n",
		}
	}
	h := &house{fixture: newFixture(t, definitions...), bus: logindtest.StartBus(t), host: new(hostfs.Tree)}
	h.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	h.login = h.bus.StartLogind(false, false)
	h.runners.obeys = true
	h.conf = PowerConfig{Host: h.host, Bus: h.bus.Address, State: filepath.Join(t.TempDir(), "off.json"), Poll: 20 * time.Millisecond, Retry: 20 * time.Millisecond}
	var names []string
	for _, d := range definitions {
		names = append(names, strings.TrimPrefix(strings.SplitN(d, "\n", 2)[0], "name: "))
	}
	h.run(t, names...)
	return h
}

// keep has a daemon look after the power until it is killed.
func (h *house) keep(t *testing.T) (kill func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		h.KeepPower(ctx, h.conf)
	}()
	var killed bool
	kill = func() {
		if killed {
			return
		}
		killed = true
		cancel()
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Error("the daemon does not end")
		}
	}
	t.Cleanup(kill)
	return kill
}

func (h *house) put(t *testing.T, name, content string) {
	t.Helper()
	if err := h.host.Put(name, []byte(content+"\n")); err != nil {
		t.Fatal(err)
	}
}

func (h *house) battery(t *testing.T, percent int, status string) {
	t.Helper()
	for name, content := range map[string]string{"type": "Battery", "status": status, "capacity": fmt.Sprint(percent)} {
		h.put(t, "sys/class/power_supply/BAT0/"+name, content)
	}
}

func (h *house) report(t *testing.T) PowerReport {
	t.Helper()
	out, err := h.power(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return out.Body
}

func (h *house) errors(t *testing.T) (all []string) {
	t.Helper()
	for _, s := range h.report(t).Steps {
		if s.Error != "" {
			all = append(all, fmt.Sprintf("%s %s %s: %s", s.Do, s.Guest, s.Reason, s.Error))
		}
	}
	return all
}

func until(t *testing.T, what string, wanted func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !wanted(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

func (h *house) holders() int { return h.login.Holders("sleep") }

// The host sleeps: guests with devices stand still before it does, those that others need last,
// and go on after it, those that others need first.
func TestPowerSleep(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.keep(t)
	for range 2 {
		until(t, "logind waits", func() bool { return h.holders() == 1 })
		h.login.Sleep(true)
		until(t, "logind waits no more", func() bool { return h.holders() == 0 })
		if h.state("network") != runner.Suspended {
			t.Error("the host sleeps before its guests")
		}
		h.login.Sleep(false)
		until(t, "all go on", func() bool { return h.state("work") == runner.Running && h.state("home") == runner.Running })
	}
	said := h.runners.asked()
	if len(said) != 12 {
		t.Fatalf("%q", said)
	}
	for _, part := range [][]string{said[:6], said[6:]} {
		slices.Sort(part[:2])
		slices.Sort(part[4:])
		want := []string{"pause+unplug home host-sleep", "pause+unplug work host-sleep", "pause+unplug network host-sleep",
			"go network host-sleep", "go home host-sleep", "go work host-sleep"}
		if diff := cmp.Diff(want, part); diff != "" {
			t.Error(diff)
		}
	}
	if r := h.report(t); len(r.Steps) != 12 || r.Logind != "" || r.Wait != 5 || r.Sleeping {
		t.Errorf("%+v", r)
	}
}

// sleep has the host go to sleep once logind waits for guests, and returns when it waits no
// more, within the time that it does.
func (h *house) sleep(t *testing.T) {
	t.Helper()
	until(t, "logind waits", func() bool { return h.holders() == 1 })
	began := time.Now()
	h.login.Sleep(true)
	until(t, "logind waits no more", func() bool { return h.holders() == 0 })
	if took := time.Since(began); took > 4900*time.Millisecond {
		t.Errorf("it waited for %v", took)
	}
}

func (h *house) state(name string) runner.State { return h.runners.state(name) }

// A sleep that fails right after it was begun, and one that lasts: no guest is lost.
func TestPowerSleepFails(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.keep(t)
	until(t, "logind waits", func() bool { return h.holders() == 1 })
	for range 5 {
		h.login.Sleep(true)
		h.login.Sleep(false)
	}
	until(t, "all go on, and logind waits", func() bool {
		return h.holders() == 1 && !h.report(t).Sleeping && h.state("work") == runner.Running && h.state("network") == runner.Running && h.state("home") == runner.Running
	})
	time.Sleep(50 * time.Millisecond)
	h.runners.mu.Lock()
	defer h.runners.mu.Unlock()
	for name, s := range h.runners.guests {
		if len(s.Holds) != 0 || h.runners.stopped[name] != h.runners.went[name] || s.State != runner.Running {
			t.Errorf("%s: stopped %d times, let go %d times, %+v", name, h.runners.stopped[name], h.runners.went[name], s)
		}
	}
}

// A QEMU that hangs holds up neither the others nor logind, and is told of.
func TestPowerSleepHung(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.runners.deaf["work"] = true
	h.keep(t)
	h.sleep(t)
	if h.state("home") != runner.Suspended || h.state("network") != runner.Suspended {
		t.Error("others do not stand still")
	}
	time.Sleep(100 * time.Millisecond) // it looks again, and does nothing: the host may sleep at any moment
	if diff := cmp.Diff([]string{"pause work host-sleep: guest work: QEMU does not answer"}, h.errors(t)); diff != "" {
		t.Error(diff)
	}
	h.login.Sleep(false)
	until(t, "the others go on", func() bool { return h.state("home") == runner.Running && h.state("network") == runner.Running })
}

// A guest that starts while the host is about to sleep is waited for; a runner that dies is not.
func TestPowerSleepStarting(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.runners.set(func() { h.runners.guests["home"].State = runner.Starting; delete(h.runners.guests, "work") })
	h.keep(t)
	until(t, "logind waits", func() bool { return h.holders() == 1 })
	h.login.Sleep(true)
	time.Sleep(300 * time.Millisecond)
	if h.holders() != 1 || h.state("network") != runner.Running {
		t.Fatal("it is not waited for")
	}
	h.runners.set(func() { h.runners.guests["home"].State = runner.Running })
	until(t, "logind waits no more", func() bool { return h.holders() == 0 })
	if h.state("home") != runner.Suspended || h.state("network") != runner.Suspended {
		t.Error("they go on")
	}
}

// No guest goes on with a dead device, it is told once, and the others do not wait for it for ever.
func TestPowerLostDevice(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.runners.lost["network"] = true
	h.keep(t)
	h.sleep(t)
	h.login.Sleep(false)
	until(t, "the others go on", func() bool { return h.state("home") == runner.Running && h.state("work") == runner.Running })
	time.Sleep(60 * time.Millisecond)
	if h.state("network") != runner.Suspended {
		t.Error("it goes on")
	}
	if diff := cmp.Diff([]string{"let-go network host-sleep: pci:0000:01:00.0 does not answer"}, h.errors(t)); diff != "" {
		t.Error(diff)
	}
}

// Guests are put to sleep and shut down by rule, and run again after it. What does not do as its power button
// says is paused within the time that logind waits.
func TestPowerSleepRules(t *testing.T) {
	t.Parallel()
	rule := func(name, rule string) string {
		return "name: " + name + "\nmemory: 1GiB\npower: {host_sleep: " + rule + "}\n"
	}
	h := newHouse(t, rule("dozes", "sleep"), rule("ends", "shutdown"), rule("stays", "shutdown"), rule("runs", "nothing"))
	h.runners.stays["stays"] = true
	h.keep(t)
	h.sleep(t)
	for name, want := range map[string]runner.State{"dozes": runner.Suspended, "ends": runner.Stopped, "stays": runner.Suspended, "runs": runner.Running} {
		if got := h.state(name); got != want {
			t.Errorf("%s is %s", name, got)
		}
	}
	if diff := cmp.Diff([]string{"shutdown stays host-sleep: " + errNotOff.Error()}, h.errors(t)); diff != "" {
		t.Error(diff)
	}
	h.login.Sleep(false)
	until(t, "all run", func() bool {
		return h.state("dozes") == runner.Running && h.state("ends") == runner.Running && h.state("stays") == runner.Running
	})
	if said := h.runners.asked(); !slices.Contains(said, "sleep+unplug dozes host-sleep") || !slices.Contains(said, "start ends") || slices.Contains(said, "start stays") {
		t.Errorf("%q", said)
	}
}

// Lid and battery, read from files.
func TestPowerLidAndBattery(t *testing.T) {
	t.Parallel()
	h := newHouse(t,
		"name: lid\nmemory: 1GiB\npower: {lid_closed: pause, low_battery: {at: 10, do: pause}}\n",
		"name: save\nmemory: 1GiB\npower: {low_battery: {at: 7}}\n",
		"name: awake\nmemory: 1GiB\npower: {lid_closed: stay-awake, low_battery: {do: nothing}}\n")
	h.battery(t, 50, "Discharging")
	h.put(t, "proc/acpi/button/lid/LID0/state", "state:      open")
	h.keep(t)
	until(t, "the lid is not logind's", func() bool { return h.login.Holders("handle-lid-switch") == 1 })
	h.put(t, "proc/acpi/button/lid/LID0/state", "state:      closed")
	until(t, "it stands still", func() bool { return h.state("lid") == runner.Suspended })
	h.battery(t, 9, "Discharging")
	until(t, "the battery is known", func() bool { return h.report(t).Battery == power.Battery{Known: true, Percent: 9, Discharging: true} })
	h.put(t, "proc/acpi/button/lid/LID0/state", "state:      open")
	until(t, "the lid is open", func() bool { return !h.report(t).LidClosed })
	time.Sleep(60 * time.Millisecond)
	if h.state("lid") != runner.Suspended || h.state("save") != runner.Running {
		t.Error("the battery is not low")
	}
	h.battery(t, 6, "Discharging")
	until(t, "it is saved", func() bool { return h.state("save") == runner.Stopped })
	h.battery(t, 6, "Charging")
	until(t, "it goes on", func() bool { return h.state("lid") == runner.Running })
	time.Sleep(60 * time.Millisecond)
	if h.state("save") != runner.Stopped || h.state("awake") != runner.Running {
		t.Error("it was started again, or was not left alone")
	}
	if _, err := (fakeRunner{h.runners, "awake"}).Stop(t.Context(), runner.StopRequest{Force: true}); err != nil {
		t.Fatal(err)
	}
	until(t, "the lid is logind's", func() bool { return h.login.Holders("handle-lid-switch") == 0 })
}

// The switch of the lid is heard at once.
func TestPowerLidSwitch(t *testing.T) {
	t.Parallel()
	h := newHouse(t, "name: lid\nmemory: 1GiB\npower: {lid_closed: pause}\n")
	h.put(t, "sys/class/input/event2/device/capabilities/sw", "1")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	h.conf.Poll = time.Hour
	h.conf.OpenInput = func(name string) (io.ReadCloser, error) {
		if name != "dev/input/event2" {
			t.Errorf("%s is opened", name)
		}
		return r, nil
	}
	h.keep(t)
	until(t, "logind is heard, which says that the lid is open", func() bool { return h.report(t).Logind == "" })
	for closed, want := range []runner.State{runner.Running, runner.Suspended, runner.Running} {
		event := make([]byte, 24)
		event[16], event[20] = 5, byte(closed&1)
		if _, err := w.Write(event); err != nil {
			t.Fatal(err)
		}
		until(t, "it is "+string(want), func() bool { return h.state("lid") == want })
	}
}

// Without a message bus the rest is done, and it is said so.
func TestPowerNoBus(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.bus.Stop()
	h.battery(t, 3, "Discharging")
	h.keep(t)
	until(t, "guests are saved", func() bool { return h.state("work") == runner.Stopped && h.state("network") == runner.Stopped })
	until(t, "it is told", func() bool { return strings.Contains(h.report(t).Logind, "message bus") })
}

// Whoever is killed when: the next daemon goes on, no guest is lost, and each that was stopped
// goes on once.
func TestPowerKilled(t *testing.T) {
	t.Parallel()
	h := newHouse(t,
		"name: network\nmemory: 1GiB\nautostart: {}\n"+withDevice,
		"name: work\nmemory: 1GiB\nautostart: {needs: [network]}\npower: {host_sleep: shutdown}\n"+withDevice,
		"name: home\nmemory: 1GiB\nautostart: {needs: [network]}\npower: {host_sleep: sleep, lid_closed: pause}\n"+withDevice)
	h.put(t, "proc/acpi/button/lid/LID0/state", "state:      open")
	rapid.Check(t, func(rt *rapid.T) {
		h.runners.set(func() { clear(h.runners.stopped); clear(h.runners.went) })
		asleep := false
		for range rapid.IntRange(1, 6).Draw(rt, "daemons") {
			kill := h.keep(t)
			for range rapid.IntRange(0, 2).Draw(rt, "events") {
				if rapid.Bool().Draw(rt, "the lid") {
					h.put(t, "proc/acpi/button/lid/LID0/state", "state: "+rapid.SampledFrom([]string{"open", "closed"}).Draw(rt, "is"))
				} else {
					asleep = !asleep
					h.login.Sleep(asleep)
				}
				time.Sleep(time.Duration(rapid.IntRange(0, 30).Draw(rt, "ms")) * time.Millisecond)
			}
			kill()
		}
		h.put(t, "proc/acpi/button/lid/LID0/state", "state: open")
		if asleep {
			h.login.Sleep(false)
		}
		kill := h.keep(t)
		until(t, "all run", func() bool {
			h.runners.mu.Lock()
			defer h.runners.mu.Unlock()
			for _, s := range h.runners.guests {
				if s.State != runner.Running || len(s.Holds) > 0 {
					return false
				}
			}
			return true
		})
		kill()
		h.runners.mu.Lock()
		defer h.runners.mu.Unlock()
		for name := range h.runners.guests {
			if h.runners.stopped[name] != h.runners.went[name] && name != "work" { // which ends in between
				rt.Errorf("%s was stopped %d times, and let go %d times", name, h.runners.stopped[name], h.runners.went[name])
			}
		}
	})
}

func FuzzOffs(f *testing.F) {
	f.Add(`{"boot_id":"one","off":[{"name":"work","reason":"host-sleep","since":1.5}]}`)
	f.Add(`{"off":[{"name":"../x"}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		var kept keptOffs
		if err := parseKept(strings.NewReader(text), maxOffs, &kept); err == nil {
			_ = power.Decide(power.Host{}, nil, kept.Off, 0)
		}
	})
}

// A daemon that is started while the host sleeps lets no guest go before it has heard that it is
// awake, however late it hears logind.
func TestPowerKilledAsleep(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	kill := h.keep(t)
	h.sleep(t)
	kill()
	h.bus.Signal(syscall.SIGSTOP)
	h.keep(t)
	time.Sleep(150 * time.Millisecond)
	h.bus.Signal(syscall.SIGCONT)
	until(t, "logind is heard", func() bool { r := h.report(t); return r.Logind == "" && r.Sleeping })
	for _, name := range []string{"work", "home", "network"} {
		if h.state(name) != runner.Suspended {
			t.Errorf("%s does not stand still", name)
		}
	}
	h.login.Sleep(false)
	until(t, "all go on", func() bool { return h.state("work") == runner.Running && h.state("home") == runner.Running })
	h.runners.mu.Lock()
	defer h.runners.mu.Unlock()
	for _, name := range []string{"work", "home", "network"} {
		if h.runners.stopped[name] != 1 || h.runners.went[name] != 1 {
			t.Errorf("%s was stopped %d times, and let go %d times", name, h.runners.stopped[name], h.runners.went[name])
		}
	}
}
