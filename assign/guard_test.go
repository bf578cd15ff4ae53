package assign_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/internal/sim"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/uevent"
)

// A wire brings a guard the events of a simulated kernel, which has none itself.
type wire chan func() (uevent.Event, error)

func (w wire) read(ctx context.Context) (uevent.Event, error) {
	select {
	case f := <-w:
		return f()
	case <-ctx.Done():
		return uevent.Event{}, ctx.Err()
	}
}

func (w wire) event(action uevent.Action, device string) {
	w <- func() (uevent.Event, error) {
		return uevent.Event{Action: action, Subsystem: "pci", Path: "/devices/pci0000:00/0000:00:05.0/" + device}, nil
	}
}

func (w wire) fail(err error) { w <- func() (uevent.Event, error) { return uevent.Event{}, err } }

// watched leases a function and watches it until the test ends.
func watched(t *testing.T, b *bench, device string) (events wire, incidents chan assign.Incident, l *assign.Lease) {
	t.Helper()
	l, err := b.assign("work", true, device)
	if err != nil {
		t.Fatal(err)
	}
	before := runtime.NumGoroutine()
	events, incidents = make(wire), make(chan assign.Incident, 100)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	g := &assign.Guard{Store: b.store, Host: b.host, Lease: l}
	looked := make(chan struct{})
	var once sync.Once
	read := func(ctx context.Context) (uevent.Event, error) {
		once.Do(func() { close(looked) })
		return events.read(ctx)
	}
	go func() { ended <- g.Watch(ctx, read, func(i assign.Incident) { incidents <- i }) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("the guard ended with %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("the guard does not end")
		}
		for range 100 {
			if runtime.NumGoroutine() <= before {
				return
			}
			time.Sleep(time.Millisecond)
		}
		t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), before)
	})
	<-looked
	return events, incidents, l
}

func next(t *testing.T, incidents chan assign.Incident) assign.Incident {
	t.Helper()
	select {
	case i := <-incidents:
		return i
	case <-time.After(10 * time.Second):
		t.Fatal("nothing is told")
	}
	return assign.Incident{}
}

func quiet(t *testing.T, incidents chan assign.Incident) {
	t.Helper()
	select {
	case i := <-incidents:
		t.Errorf("told: %+v", i)
	case <-time.After(20 * time.Millisecond):
	}
}

func expectDriver(t *testing.T, k *sim.Kernel, device, want string) {
	t.Helper()
	if got := drivers(t, k)[device]; got != want {
		t.Errorf("%s is with %q, want %q", device, got, want)
	}
}

const leased = "vfio-pci override vfio-pci"

// Row 8: remove and rescan give the device back to the host's driver, override and all.
// The guard takes it again, whatever of the events it gets to see.
func TestFault08RemoveRescan(t *testing.T) {
	irrelevant := func(w wire) {
		for i := range 2000 {
			w.event(uevent.Change, fmt.Sprintf("0000:06:%02x.0", i%32))
		}
	}
	for name, tell := range map[string]func(w wire){
		"each in its place": func(w wire) { w.event(uevent.Add, igbNIC); w.event(uevent.Bind, igbNIC) },
		"only the last":     func(w wire) { w.event(uevent.Bind, igbNIC) },
		"out of order": func(w wire) {
			w.event(uevent.Bind, igbNIC)
			w.event(uevent.Remove, igbNIC)
			w.event(uevent.Add, igbNIC)
		},
		"again and again": func(w wire) {
			for range 50 {
				w.event(uevent.Add, igbNIC)
			}
		},
		"in a storm": func(w wire) { irrelevant(w); w.event(uevent.Add, igbNIC); irrelevant(w) },
		"lost":       func(w wire) { w.fail(uevent.ErrOverflow) },
		"malformed": func(w wire) {
			w.fail(uevent.ErrMalformed)
			w.fail(fmt.Errorf("x: %w", uevent.ErrMalformed))
			w.event(uevent.Add, igbNIC)
		},
	} {
		t.Run(name, func(t *testing.T) {
			k := emulated(t, sim.Options{})
			before := dump(t, k)
			b := newBench(t, k)
			events, incidents, l := watched(t, b, igbNIC)
			comeBack(t, k, igbNIC)
			expectDriver(t, k, igbNIC, "igb") // the kernel was first
			tell(events)
			if i := next(t, incidents); i.What != assign.Isolated || i.Device != l.Devices[0] || !strings.Contains(i.Detail, "igb had it") {
				t.Errorf("told: %+v", i)
			}
			expectDriver(t, k, igbNIC, leased)
			quiet(t, incidents)
			// It goes back as if nothing had been.
			if _, err := b.store.Release(t.Context(), b.host, l.Devices[0]); err != nil {
				t.Error(err)
			}
			if got := dump(t, k); string(got) != string(before) {
				t.Error("the machine is not as before")
			}
		})
	}
}

// TestGuardStuck: a host driver that does not let go of what came back is on record, so that
// nobody else writes to it before the kernel has come back, and everybody then. The guest
// keeps what else it has.
func TestGuardStuck(t *testing.T) {
	tree := emulated(t, sim.Options{}).Tree()
	put(tree, "proc/4711/stat", "4711 (indy) D 1 1 1 0 -1 0 1 0 0 0 0 0 0 0 20 0 1 0 99 0 0")
	k, err := sim.New(tree, sim.Options{VFIO: true})
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, k)
	l, err := b.assign("work", true, igbNIC)
	if err != nil {
		t.Fatal(err)
	}
	comeBack(t, k, igbNIC)
	writes := 0
	k.Fail = func(name string, data []byte) error {
		if strings.Contains(name+string(data), igbNIC) {
			writes++
		}
		if strings.HasSuffix(name, "/igb/unbind") {
			return &assign.StuckError{File: name, Waited: time.Second, PID: 4711, Started: "99"}
		}
		return nil
	}
	guard := func() *assign.Guard { return &assign.Guard{Store: b.store, Host: b.host, Lease: l} }
	if all, err := guard().Check(t.Context()); err != nil || len(all) != 1 || all[0].What != assign.Lost || writes != 2 {
		t.Fatalf("%+v, %v, %d writes", all, err, writes)
	}
	if got := all1(t, b.store); got.State != assign.Assigned || len(got.Stuck) != 1 || got.Stuck[0].Device != igbNIC {
		t.Errorf("%+v", got)
	}
	// A guard of another process, and whoever gives it back.
	if all, err := guard().Check(t.Context()); err != nil || len(all) != 1 || all[0].What != assign.Lost || !strings.Contains(all[0].Detail, "process 4711") {
		t.Errorf("%+v, %v", all, err)
	}
	b.host.InUse = func(iommu.GroupID) error { return syscall.EBUSY }
	var busy *assign.BusyError
	if _, err := b.store.Release(t.Context(), b.host, l.Devices[0]); !errors.As(err, &busy) {
		t.Errorf("while a guest runs with it: %v", err)
	}
	b.host.InUse = nil
	var partial *assign.PartialError
	if _, err := b.store.Release(t.Context(), b.host, l.Devices[0]); !errors.As(err, &partial) || !errors.Is(err, assign.ErrStuck) {
		t.Errorf("release: %v", err)
	}
	if writes != 2 {
		t.Errorf("%d writes", writes)
	}
	k.Fail = nil
	b.host.FS = ended{k}
	if all, err := b.store.Recover(t.Context(), b.host); err != nil || len(all) != 1 || all[0].Result != assign.GivenBack {
		t.Errorf("%+v, %v", all, err)
	}
	expectDriver(t, k, igbNIC, "igb")
}

// ended is a kernel whose process 4711 has ended.
type ended struct{ *sim.Kernel }

func (k ended) ReadFile(name string) ([]byte, error) {
	if name == "proc/4711/stat" {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return k.Kernel.ReadFile(name)
}

// What has gone is told once, and isolated when it comes, however often.
func TestGuardFlapping(t *testing.T) {
	k := emulated(t, sim.Options{})
	b := newBench(t, k)
	events, incidents, _ := watched(t, b, igbNIC)
	const times = 20
	for range times {
		if err := k.WriteFile("sys/bus/pci/devices/"+igbNIC+"/remove", []byte("1")); err != nil {
			t.Fatal(err)
		}
		events.event(uevent.Unbind, igbNIC)
		events.event(uevent.Remove, igbNIC)
		if i := next(t, incidents); i.What != assign.Gone {
			t.Errorf("told: %+v", i)
		}
		if err := k.WriteFile("sys/bus/pci/rescan", []byte("1")); err != nil {
			t.Fatal(err)
		}
		events.event(uevent.Add, igbNIC)
		i := next(t, incidents)
		if i.What != assign.Isolated || i.Took <= 0 {
			t.Errorf("told: %+v", i)
		}
		expectDriver(t, k, igbNIC, leased)
	}
	quiet(t, incidents)
}

// Where the override is there before the kernel looks for a driver, the host's never has
// the device.
func TestGuardIsFirst(t *testing.T) {
	k := emulated(t, sim.Options{})
	b := newBench(t, k)
	events, incidents, _ := watched(t, b, igbNIC)
	comeBack(t, k, igbNIC)
	unbound(t, k, igbNIC) // the kernel has found it, and has not looked for a driver yet
	begin := len(k.Writes())
	events.event(uevent.Add, igbNIC)
	if i := next(t, incidents); i.What != assign.Isolated || strings.Contains(i.Detail, "had it") {
		t.Errorf("told: %+v", i)
	}
	if got := written(k, begin); !slices.Equal(got, []string{"driver_override=vfio-pci", "drivers_probe=" + igbNIC}) {
		t.Errorf("wrote %q", got)
	}
}

// A host's driver that does not let go is not fought for ever.
func TestGuardGivesUp(t *testing.T) {
	k := emulated(t, sim.Options{})
	b := newBench(t, k)
	var mu sync.Mutex
	refusals := 0
	fails := false
	k.Fail = func(name string, _ []byte) error {
		mu.Lock()
		defer mu.Unlock()
		if fails && strings.HasSuffix(name, "igb/unbind") {
			refusals++
			return syscall.EBUSY
		}
		return nil
	}
	events, incidents, l := watched(t, b, igbNIC)
	mu.Lock()
	fails = true
	mu.Unlock()
	comeBack(t, k, igbNIC)
	for range 20 {
		events.event(uevent.Bind, igbNIC)
	}
	if i := next(t, incidents); i.What != assign.Lost || !strings.Contains(i.Detail, "igb") {
		t.Errorf("told: %+v", i)
	}
	quiet(t, incidents)
	mu.Lock()
	if refusals == 0 || refusals > 9 {
		t.Errorf("asked %d times", refusals)
	}
	fails = false
	mu.Unlock()
	leases, err := b.store.List()
	if err != nil || len(leases) != 1 || !slices.Equal(leases[0].Lost, l.Devices) {
		t.Errorf("%+v, %v", leases, err)
	}
	// When it has gone and comes again it is another chance.
	comeBack(t, k, igbNIC)
	events.event(uevent.Remove, igbNIC) // late: it is there again
	quiet(t, incidents)
	if err := k.WriteFile("sys/bus/pci/devices/"+igbNIC+"/remove", []byte("1")); err != nil {
		t.Fatal(err)
	}
	events.event(uevent.Remove, igbNIC)
	if i := next(t, incidents); i.What != assign.Gone {
		t.Errorf("told: %+v", i)
	}
	if err := k.WriteFile("sys/bus/pci/rescan", []byte("1")); err != nil {
		t.Fatal(err)
	}
	events.event(uevent.Add, igbNIC)
	if i := next(t, incidents); i.What != assign.Isolated {
		t.Errorf("told: %+v", i)
	}
}

// Another card of the same make is known by its serial number, once nobody else can have
// it, and is given to the host.
func TestGuardSameMake(t *testing.T) {
	k := emulated(t, sim.Options{})
	b := newBench(t, k)
	k.Config(igbNIC, withSerial(t, k, igbNIC, 1))
	l, err := b.assign("work", true, igbNIC)
	if err != nil {
		t.Fatal(err)
	}
	if got := b.left(igbNIC).Fingerprint.Serial; got != "" { // it sleeps now
		t.Logf("serial number %s", got)
	}
	g := &assign.Guard{Store: b.store, Host: b.host, Lease: l}
	comeBack(t, k, igbNIC)
	if all, err := g.Check(t.Context()); err != nil || len(all) != 1 || all[0].What != assign.Isolated {
		t.Fatalf("the same: %+v, %v", all, err)
	}
	comeBack(t, k, igbNIC)
	k.Config(igbNIC, withSerial(t, k, igbNIC, 2))
	all, err := g.Check(t.Context())
	if err != nil || len(all) != 1 || all[0].What != assign.Replaced || !strings.Contains(all[0].Detail, "serial number") {
		t.Fatalf("another: %+v, %v", all, err)
	}
	expectDriver(t, k, igbNIC, "igb")
	if all, err := g.Check(t.Context()); err != nil || len(all) > 0 {
		t.Errorf("again: %+v, %v", all, err)
	}
}

// withSerial is configuration space of a function with a serial number.
func withSerial(t *testing.T, k *sim.Kernel, device string, n byte) []byte {
	t.Helper()
	head, err := pci.ReadConfig(k, address(t, device))
	if err != nil {
		t.Fatal(err)
	}
	c := make([]byte, 4096)
	copy(c, head.Bytes())
	c[0x06], c[0x34] = 0x10, 0x40 // capabilities: that of PCI Express
	c[0x40], c[0x42] = 0x10, 0x02
	c[0x100], c[0x102] = 0x03, 0x01 // Device Serial Number, the last one
	c[0x104] = n
	return c
}

// A host that uses the device by now keeps it, if whoever looks says so.
func TestGuardMayTake(t *testing.T) {
	k := emulated(t, sim.Options{})
	b := newBench(t, k)
	l, err := b.assign("work", true, igbNIC)
	if err != nil {
		t.Fatal(err)
	}
	comeBack(t, k, igbNIC)
	begin := len(k.Writes())
	g := &assign.Guard{Store: b.store, Host: b.host, Lease: l, MayTake: func(pci.Address) error { return errors.New("it has the default route") }}
	all, err := g.Check(t.Context())
	if err != nil || len(all) != 1 || all[0].What != assign.Lost || !strings.Contains(all[0].Detail, "default route") {
		t.Errorf("%+v, %v", all, err)
	}
	if n := len(k.Writes()) - begin; n > 0 {
		t.Errorf("%d writes", n)
	}
	expectDriver(t, k, igbNIC, "igb")
}

// A lease that has ended is watched no longer, and one on its way back is left alone.
func TestGuardEnds(t *testing.T) {
	k := emulated(t, sim.Options{})
	b := newBench(t, k)
	l, err := b.assign("work", true, igbNIC)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.store.Release(t.Context(), b.host, l.Devices[0]); err != nil {
		t.Fatal(err)
	}
	g := &assign.Guard{Store: b.store, Host: b.host, Lease: l}
	read := func(context.Context) (uevent.Event, error) { return uevent.Event{}, os.ErrClosed }
	if err := g.Watch(t.Context(), read, func(i assign.Incident) { t.Errorf("told: %+v", i) }); err != nil {
		t.Errorf("%v", err)
	}
	expectDriver(t, k, igbNIC, "igb")
	// A socket that fails is told to whoever started the guard.
	l, err = b.assign("work", true, igbNIC)
	if err != nil {
		t.Fatal(err)
	}
	g = &assign.Guard{Store: b.store, Host: b.host, Lease: l}
	if err := g.Watch(t.Context(), read, func(i assign.Incident) { t.Errorf("told: %+v", i) }); !errors.Is(err, os.ErrClosed) {
		t.Errorf("%v", err)
	}
}
