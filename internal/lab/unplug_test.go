package lab_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/lab"
	"github.com/project-independence/indy/internal/lab/labtest"
	"github.com/project-independence/indy/uevent"
	"github.com/project-independence/indy/vfio"
)

// TestUnplugged pulls devices out of a laptop that is handing them over, and puts others
// in their place.
func TestUnplugged(t *testing.T) {
	t.Parallel()
	labtest.Open(t)
	dir, err := os.MkdirTemp("", "") // short: the path of a socket has 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	labtest.RunTestOn(t, lab.Machine{
		Env: []string{indyVariable + "=" + labtest.BuildIndy(t)},
		// Two root ports of one device that keep nothing apart, with a function behind
		// each: one group of four. And a line on which the tests inside tell QEMU what
		// shall happen to the machine.
		Extra: []string{
			"-device", `{"driver":"pcie-root-port","id":"hot1","bus":"pcie.0","addr":"12.0","chassis":31,"slot":31,"multifunction":true,"disable-acs":true}`,
			"-device", `{"driver":"pcie-root-port","id":"hot2","bus":"pcie.0","addr":"12.1","chassis":32,"slot":32,"disable-acs":true}`,
			"-device", `{"driver":"e1000e","id":"mate","bus":"hot1"}`,
			"-device", `{"driver":"e1000e","id":"victim","bus":"hot2"}`,
			"-chardev", "socket,id=qmp,server=on,wait=off,path=" + dir + "/qmp",
			"-mon", "chardev=qmp,mode=control",
			"-chardev", "socket,id=line,path=" + dir + "/qmp",
			"-device", `{"driver":"virtio-serial-pci","id":"lines","bus":"pcie.0","addr":"13.0"}`,
			"-device", `{"driver":"virtserialport","bus":"lines.0","chardev":"line","name":"qmp"}`,
		},
	}, "./internal/lab", "^(TestFault06UnpluggedInside|TestFault07ReplacedInside|TestFault08FoundAgainInside)$")
}

// A monitor tells QEMU what happens to the machine from outside.
type monitor struct {
	*testing.T
	line *os.File
	in   *bufio.Reader
}

func openMonitor(t *testing.T) *monitor {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "modprobe", "virtio_console").CombinedOutput(); err != nil {
		t.Fatalf("modprobe virtio_console: %v\n%s", err, out)
	}
	var names []string
	if err := soon(func() (err error) {
		if names, err = filepath.Glob("/dev/vport*"); len(names) == 0 {
			err = errors.New("no /dev/vport")
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	line, err := os.OpenFile(names[0], os.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { line.Close() })
	m := &monitor{t, line, bufio.NewReader(line)}
	m.tell("qmp_capabilities", nil)
	return m
}

// tell has QEMU carry out a command, and returns when it has.
func (m *monitor) tell(command string, arguments any) {
	m.Helper()
	text, err := json.Marshal(map[string]any{"execute": command, "arguments": arguments})
	if arguments == nil {
		text, err = json.Marshal(map[string]any{"execute": command})
	}
	if err == nil {
		_, err = m.line.Write(append(text, '\n'))
	}
	for err == nil {
		var said string
		if said, err = m.in.ReadString('\n'); err != nil {
			break
		}
		var answer map[string]any
		if err := json.Unmarshal([]byte(said), &answer); err != nil {
			m.Fatalf("QEMU said %q: %v", said, err)
		}
		if answer["error"] != nil && command != "qmp_capabilities" { // which an earlier test had, too
			m.Fatalf("%s: %s", text, said)
		}
		if answer["return"] != nil || answer["error"] != nil {
			return
		}
	}
	m.Fatalf("%s: %v", text, err)
}

// unplug pulls out the device with an id, and waits until its function at address has gone.
func (m *monitor) unplug(id, address string) {
	m.Helper()
	m.tell("device_del", map[string]string{"id": id})
	if err := soon(func() error {
		if _, err := fs.Lstat(hostfs.Live(), pciDevice(address)); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is still there, %v", address, err)
		}
		return nil
	}); err != nil {
		m.Fatal(err)
	}
}

// plug puts a device of a model into a port, and waits until its driver has it.
func (m *monitor) plug(model, id, port, address, driver string) {
	m.Helper()
	// QEMU tells the machine that the old one has gone before it has forgotten its name.
	time.Sleep(50 * time.Millisecond)
	m.tell("device_add", map[string]string{"driver": model, "id": id, "bus": port})
	if err := soon(func() error {
		if got, _, err := holding(address); got != driver || err != nil {
			return fmt.Errorf("%s has driver %q, %v; want %s", address, got, err, driver)
		}
		return nil
	}); err != nil {
		m.Fatal(err)
	}
}

const (
	mateAt   = "0000:06:00.0"
	victimAt = "0000:07:00.0"
)

// pair are the functions behind the two ports.
func pair() goods {
	return goods{"pair", map[string]string{mateAt: "e1000e", victimAt: "e1000e"}, []string{
		"/sys/bus/pci/devices/" + mateAt + "/net/*", "/sys/bus/pci/devices/" + victimAt + "/net/*",
	}}
}

// mate is what of them is left.
func mate() goods {
	return goods{"mate", map[string]string{mateAt: "e1000e"}, []string{"/sys/bus/pci/devices/" + mateAt + "/net/*"}}
}

// steps counts the writes that hand over g, and has them done and taken back.
func (h *hand) steps(t *testing.T, g goods) int {
	t.Helper()
	n := 0
	h.door.before = func(string, string) error { n++; return nil }
	if _, err := h.assign(t.Context(), g, "counted"); err != nil {
		t.Fatal(err)
	}
	h.door.before = nil
	if err := h.release(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	if err := soon(g.withHost); err != nil {
		t.Fatal(err)
	}
	return n
}

// at has do done before the nth write, counted from 0, or after all of them.
func (h *hand) at(n, all int, do func()) {
	i := 0
	h.door.before = func(string, string) error {
		if i == n {
			do()
		}
		i++
		return nil
	}
	h.Host.Viable = vfio.Viable
	if n == all {
		i = -1 << 30 // no write
		h.door.before = nil
		done := false
		h.Host.Viable = nil
		h.Host.Did = func(_ string, w assign.Write, _ error) {
			if i++; i == -1<<30+all && !done {
				done = true
				do()
			}
		}
	}
}

func (h *hand) undisturbed() {
	h.door.before, h.Host.Did, h.Host.Viable = nil, nil, vfio.Viable
}

// TestFault06UnpluggedInside pulls out a device before each write that hands it over with
// another of its group, and after the last. That one goes back to its driver, and no lease
// is left.
func TestFault06UnpluggedInside(t *testing.T) {
	labtest.Inside(t)
	m := openMonitor(t)
	if err := soon(pair().withHost); err != nil {
		t.Fatal(err)
	}
	h := newHand(t, filepath.Join(t.TempDir(), "leases"))
	before := countDescriptors(t)
	all := h.steps(t, pair())
	for n := range all + 1 {
		h.look(t)
		h.at(n, all, func() { m.unplug("victim", victimAt) })
		_, err := h.assign(t.Context(), pair(), "unplugged")
		h.undisturbed()
		var partial *assign.PartialError
		if !errors.Is(err, assign.ErrDeviceLost) || !strings.Contains(err.Error(), "device lost") || errors.As(err, &partial) {
			t.Fatalf("pulled out before write %d of %d: %v, want that the device was lost", n, all, err)
		}
		t.Logf("before write %d of %d: %v", n, all, err)
		h.settled(t, fmt.Sprintf("pulled out before write %d", n), mate())
		m.plug("e1000e", "victim", "hot2", victimAt, "e1000e")
		if err := soon(pair().withHost); err != nil {
			t.Fatal(err)
		}
	}

	// It is pulled out of the guest's hands: what is left goes back.
	h.look(t)
	if _, err := h.assign(t.Context(), pair(), "unplugged"); err != nil {
		t.Fatal(err)
	}
	m.unplug("victim", victimAt)
	if err := h.release(t.Context(), mate()); err != nil {
		t.Fatalf("release of what is left: %v", err)
	}
	h.settled(t, "pulled out while it was assigned", mate())
	m.plug("e1000e", "victim", "hot2", victimAt, "e1000e")
	if err := soon(pair().withHost); err != nil {
		t.Fatal(err)
	}
	if n := countDescriptors(t); n != before {
		t.Errorf("%d open files, there were %d", n, before)
	}
}

// settled says that what is left of a group is with the host, and that no lease is left.
func (h *hand) settled(t *testing.T, what string, g goods) {
	t.Helper()
	if err := soon(g.withHost); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if left, err := h.Store.List(); err != nil || len(left) > 0 {
		t.Fatalf("%s: leases %+v, %v", what, left, err)
	}
	if told, err := h.Store.Recover(t.Context(), &h.Host); err != nil || len(told) > 0 {
		t.Fatalf("%s: recover: %+v, %v", what, told, err)
	}
}

// TestFault07ReplacedInside pulls out a device that is being handed over, and plugs another
// one into the same port, which gets the same address. Nothing is written to that one.
func TestFault07ReplacedInside(t *testing.T) {
	labtest.Inside(t)
	m := openMonitor(t)
	if err := soon(pair().withHost); err != nil {
		t.Fatal(err)
	}
	h := newHand(t, filepath.Join(t.TempDir(), "leases"))
	all := h.steps(t, pair())
	other := mate()
	other.drivers[victimAt] = "igb"
	for n := range all + 1 {
		h.look(t)
		h.at(n, all, func() {
			m.unplug("victim", victimAt)
			m.plug("igb", "victim", "hot2", victimAt, "igb")
		})
		_, err := h.assign(t.Context(), pair(), "replaced")
		h.undisturbed()
		// In the middle of a write its outcome is what is seen first.
		var partial *assign.PartialError
		if err == nil || errors.As(err, &partial) {
			t.Fatalf("replaced before write %d of %d: %v", n, all, err)
		}
		t.Logf("before write %d of %d: %v", n, all, err)
		h.settled(t, fmt.Sprintf("replaced before write %d", n), other)
		m.unplug("victim", victimAt)
		m.plug("e1000e", "victim", "hot2", victimAt, "e1000e")
		if err := soon(pair().withHost); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFault08FoundAgainInside takes a leased device away and has it found again, in both
// ways: the kernel gives it to the host's driver, and the guard of the lease back to
// vfio-pci. Another device in its place is left to the host.
func TestFault08FoundAgainInside(t *testing.T) {
	labtest.Inside(t)
	m := openMonitor(t)
	if err := soon(pair().withHost); err != nil {
		t.Fatal(err)
	}
	h := newHand(t, filepath.Join(t.TempDir(), "leases"))
	h.Store.StateDir = t.TempDir()
	lease, err := h.assign(t.Context(), pair(), "guarded")
	if err != nil {
		t.Fatal(err)
	}
	events, err := uevent.Listen(uevent.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	guard := assign.Guard{Store: &h.Store, Host: &h.Host, Lease: lease}
	ctx, cancel := context.WithCancel(t.Context())
	incidents := make(chan assign.Incident, 100)
	ended := make(chan error, 1)
	go func() { ended <- guard.Watch(ctx, events.Read, func(i assign.Incident) { incidents <- i }) }()
	expect := func(what assign.What) {
		t.Helper()
		for {
			select {
			case i := <-incidents:
				t.Logf("%s: %s, in %v", i.What, i, i.Took.Round(time.Millisecond))
				if i.Device.String() != victimAt {
					t.Errorf("%s is not the one", i.Device)
				}
				if i.What == what {
					return
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("the guard did not say %s", what)
			}
		}
	}

	for _, again := range []struct {
		name     string
		away, in func()
	}{
		{"plugged in again", func() { m.unplug("victim", victimAt) }, func() {
			time.Sleep(50 * time.Millisecond)
			m.tell("device_add", map[string]string{"driver": "e1000e", "id": "victim", "bus": "hot2"})
		}},
		{"removed and rescanned", func() { h.write(t, pciDevice(victimAt)+"/remove", "1") }, func() { h.write(t, "sys/bus/pci/rescan", "1") }},
	} {
		again.away()
		expect(assign.Gone)
		begun := time.Now()
		again.in()
		expect(assign.Isolated)
		t.Logf("%s: with vfio-pci again %v after it was told to come", again.name, time.Since(begun).Round(time.Millisecond))
		if err := pair().withGuest(); err != nil {
			t.Fatalf("%s: %v", again.name, err)
		}
	}

	m.unplug("victim", victimAt)
	expect(assign.Gone)
	m.plug("igb", "victim", "hot2", victimAt, "igb")
	expect(assign.Replaced)
	if driver, override, err := holding(victimAt); driver != "igb" || override != "" || err != nil {
		t.Errorf("another device has driver %q, override %q, %v", driver, override, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("the guard: %v", err)
	}
	if err := h.release(t.Context(), mate()); err != nil {
		t.Errorf("release: %v", err)
	}
	other := mate()
	other.drivers[victimAt] = "igb"
	h.settled(t, "given back", other)
	m.unplug("victim", victimAt)
	m.plug("e1000e", "victim", "hot2", victimAt, "e1000e")
}

// write writes to the kernel as somebody else does.
func (h *hand) write(t *testing.T, name, value string) {
	t.Helper()
	if err := h.door.LiveHost.WriteFile(name, []byte(value)); err != nil {
		t.Fatal(err)
	}
}
