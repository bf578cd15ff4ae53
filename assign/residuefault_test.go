package assign_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/sim"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
)

const (
	e1000eNIC = "0000:01:00.0" // resets pm bus
	nvmeDisk  = "0000:02:00.0" // flr bus
	hdAudio   = "0000:04:02.0" // none, with 0000:04:01.0
	igbNIC    = "0000:05:00.0" // flr pm bus
)

// A bench hands the functions of one machine to one guest after the other.
type bench struct {
	*testing.T
	kernel *sim.Kernel
	store  *assign.Store
	host   *assign.Host
	told   []string
}

func newBench(t *testing.T, k *sim.Kernel) *bench {
	dir := t.TempDir()
	b := &bench{T: t, store: &assign.Store{Dir: filepath.Join(dir, "leases"), StateDir: filepath.Join(dir, "state")}}
	b.boots(k)
	return b
}

// boots lets the bench go on with another kernel.
func (b *bench) boots(k *sim.Kernel) {
	b.kernel = k
	b.host = &assign.Host{FS: k, Told: func(line string) { b.told = append(b.told, line) }}
}

func (b *bench) assign(guest string, locked bool, device string, allow ...laptop.Code) (*assign.Lease, error) {
	b.Helper()
	r := assign.Request{
		Guest: guest, Locked: locked, Devices: []pci.Address{address(b.T, device)}, Companions: true,
		Allow: append(allow, laptop.HostDiskUnknown, laptop.RouteUnknown, laptop.BootUnknown),
	}
	return b.store.Assign(b.Context(), b.host, assign.Taking{Plan: func() (*assign.Plan, error) {
		l, err := laptop.Read(b.host.FS)
		if err != nil {
			return nil, err
		}
		f, err := assign.Read(b.host.FS, l, r.Devices)
		if err != nil {
			return nil, err
		}
		noted, err := b.store.Residues(b.host.FS)
		if err != nil {
			return nil, err
		}
		if err := f.AddResidue(b.host.FS, noted); err != nil {
			return nil, err
		}
		return assign.NewPlan(f, r)
	}})
}

// must hands the function to the guest and takes it back.
func (b *bench) must(guest string, locked bool, device string, allow ...laptop.Code) {
	b.Helper()
	l, err := b.assign(guest, locked, device, allow...)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := b.store.Release(b.Context(), b.host, l.Devices[0]); err != nil {
		b.Fatal(err)
	}
}

// refused expects that a guest does not get the function, for the given reason.
func (b *bench) refused(code laptop.Code, guest string, locked bool, device string, allow ...laptop.Code) {
	b.Helper()
	_, err := b.assign(guest, locked, device, allow...)
	var r *assign.RefusedError
	if !errors.As(err, &r) || !slices.ContainsFunc(r.Findings, func(f laptop.Finding) bool { return f.Code == code }) {
		b.Errorf("%s to %s: %v, want it refused as %s", device, guest, err, code)
	}
}

func (b *bench) left(device string) assign.Residue {
	b.Helper()
	noted, err := b.store.Residues(b.host.FS)
	if err != nil {
		b.Fatal(err)
	}
	a := address(b.T, device)
	now, err := assign.ReadFingerprint(b.host.FS, a)
	if err != nil {
		b.Fatal(err)
	}
	return noted.Of(a.String(), now)
}

func (b *bench) state(device string, want assign.Condition) {
	b.Helper()
	if r := b.left(device); r.State != want {
		b.Errorf("%s: %s (%+v), want %s", device, r, r, want)
	}
}

func (b *bench) reset(device string, c assign.Cleaning) error {
	b.Helper()
	c.Devices = []pci.Address{address(b.T, device)}
	c.Group = func(a pci.Address) iommu.GroupID {
		f, err := pci.ReadFunction(b.host.FS, a)
		if err != nil {
			b.Fatal(err)
		}
		return f.Group
	}
	_, err := b.store.Clean(b.Context(), b.host, c)
	return err
}

// A guest's device is its own until a reset was seen to work.
func TestResidueOfLease(t *testing.T) {
	b := newBench(t, emulated(t, sim.Options{}))
	before := dump(t, b.kernel)
	l, err := b.assign("play", false, igbNIC)
	if err != nil {
		t.Fatal(err)
	}
	r := b.left(igbNIC)
	if r.State != assign.Used || len(r.Users) != 1 || r.Users[0].Guest != "play" || r.Users[0].Locked || r.Users[0].How != "assign" || r.Users[0].Lease != l.ID {
		t.Errorf("while it is assigned: %+v", r)
	}
	if _, err := b.store.Release(t.Context(), b.host, l.Devices[0]); err != nil {
		t.Fatal(err)
	}
	if r := b.left(igbNIC); r.State != assign.Clean || r.Reset == nil || r.Reset.Method != "flr" || len(r.Users) > 0 {
		t.Errorf("afterwards: %+v", r)
	}
	b.must("work", true, igbNIC)
	if got := dump(t, b.kernel); string(got) != string(before) {
		t.Error("the machine is not as before")
	}
	if len(b.told) > 0 {
		t.Errorf("told: %q", b.told)
	}
}

// What is noted is noted before the first write, and before what can go wrong with it.
func TestResidueBeforeWrites(t *testing.T) {
	b := newBench(t, emulated(t, sim.Options{}))
	states := map[assign.Condition]int{}
	b.host.Did = func(string, assign.Write, error) { states[b.left(nvmeDisk).State]++ }
	if _, err := b.assign("play", false, nvmeDisk); err != nil {
		t.Fatal(err)
	}
	if states[assign.Used] < 3 || len(states) != 1 {
		t.Errorf("after the writes it was %v", states)
	}
	// Where it cannot be noted nothing is written.
	b = newBench(t, emulated(t, sim.Options{}))
	if err := os.WriteFile(b.store.StateDir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := b.assign("play", false, nvmeDisk); err == nil || len(b.kernel.Writes()) > 0 {
		t.Errorf("%v, %d writes", err, len(b.kernel.Writes()))
	}
	if leases, err := b.store.List(); len(leases) > 0 || err != nil {
		t.Errorf("left: %v, %v", leases, err)
	}
}

// A hand-over that is undone leaves no guest's name behind.
func TestResidueOfUndone(t *testing.T) {
	b := newBench(t, emulated(t, sim.Options{}))
	b.host.Viable = func(iommu.GroupID) error { return errors.New("no") }
	if _, err := b.assign("play", false, nvmeDisk); err == nil {
		t.Fatal("assigned")
	}
	b.state(nvmeDisk, assign.Clean)
	b.host.Viable = nil
	b.must("work", true, nvmeDisk)
}

// Row 10: no reset works, or the device does not come back from it.
func TestFault10ResetFails(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		dead bool
		want assign.Condition
	}{
		"ENOTTY":    {syscall.ENOTTY, false, assign.Used}, // nothing was done to it
		"EIO":       {syscall.EIO, false, assign.Tainted},
		"ETIMEDOUT": {syscall.ETIMEDOUT, false, assign.Tainted},
		"all ones":  {nil, true, assign.Tainted},
	} {
		t.Run(name, func(t *testing.T) {
			k := emulated(t, sim.Options{})
			b := newBench(t, k)
			broken := true
			k.ResetFails = func(string, string) error {
				if broken {
					return c.err
				}
				return nil
			}
			l, err := b.assign("play", false, igbNIC)
			if err != nil {
				t.Fatal(err)
			}
			if c.dead {
				k.Config(igbNIC, ones)
			}
			if _, err := b.store.Release(t.Context(), b.host, l.Devices[0]); err != nil {
				t.Fatal(err)
			}
			if got := drivers(t, k)[igbNIC]; got != "igb" {
				t.Errorf("it is with %q: the host gets it back all the same", got)
			}
			b.state(igbNIC, c.want)
			if len(b.told) == 0 || !strings.Contains(strings.Join(b.told, "\n"), string(c.want)) {
				t.Errorf("told: %q", b.told)
			}
			code := laptop.Code(c.want)
			b.refused(code, "other", false, igbNIC)
			b.refused(laptop.LockedResidue, "work", true, igbNIC, code)
			// By its name it goes to another free guest, and to no locked one.
			broken = false
			k.Config(igbNIC, nil)
			p, err := b.assign("other", false, igbNIC, code)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(p.Plan.Findings, func(f laptop.Finding) bool {
				return f.Code == code && strings.HasPrefix(f.Detail, "overridden by --allow "+string(code))
			}) {
				t.Errorf("the override is not on record: %+v", p.Plan.Findings)
			}
			if _, err := b.store.Release(t.Context(), b.host, p.Devices[0]); err != nil {
				t.Fatal(err)
			}
			b.state(igbNIC, assign.Clean) // this time it worked
			b.must("work", true, igbNIC)
		})
	}
}

// Row 11: what has no FLR is reset another way, and what has none at all stays with the
// guest that used it.
func TestFault11NoFLR(t *testing.T) {
	b := newBench(t, emulated(t, sim.Options{}))
	b.must("play", false, e1000eNIC)
	if r := b.left(e1000eNIC); r.State != assign.Clean || r.Reset.Method != "pm" || !r.Reset.Weak() {
		t.Errorf("e1000e: %+v", r)
	}
	// The way through D3hot does among free guests. It is no reset for a locked one, for
	// which, and after which, the bus is reset as well.
	b.must("other", false, e1000eNIC)
	b.refused(laptop.LockedResidue, "work", true, e1000eNIC, laptop.UsedBy, laptop.Tainted)
	unbound(t, b.kernel, e1000eNIC)
	if err := b.reset(e1000eNIC, assign.Cleaning{}); err != nil {
		t.Error(err)
	}
	b.must("work", true, e1000eNIC)
	if r := b.left(e1000eNIC); r.State != assign.Clean || r.Reset.Method != "bus" || len(r.Users) > 0 {
		t.Errorf("e1000e after a locked guest: %+v", r)
	}
	b.kernel.ResetFails = func(_, method string) error {
		if method == "bus" {
			return syscall.ENOTTY
		}
		return nil
	}
	b.must("work", true, e1000eNIC)
	if r := b.left(e1000eNIC); r.State != assign.Clean || r.Reset.Method != "pm" {
		t.Errorf("e1000e without its bus: %+v", r)
	}
	b.refused(laptop.LockedResidue, "play", false, e1000eNIC, laptop.UsedBy)
	b.must("work", true, e1000eNIC)
	b.kernel.ResetFails = nil
	// Nobody resets the bus here, and nothing else resets these two.
	b.must("play", false, hdAudio, laptop.NoReset)
	for _, device := range []string{hdAudio, "0000:04:01.0"} {
		b.state(device, assign.Used)
	}
	b.refused(laptop.UsedBy, "other", false, hdAudio, laptop.NoReset)
	b.refused(laptop.LockedResidue, "work", true, hdAudio, laptop.NoReset, laptop.UsedBy, laptop.Tainted)
	b.must("play", false, hdAudio, laptop.NoReset)
	b.must("other", false, hdAudio, laptop.NoReset, laptop.UsedBy)
	b.refused(laptop.UsedBy, "play", false, hdAudio, laptop.NoReset) // the other's is in it now
	// With a reset of the bus they are clean.
	b.host.ResetBus = func([]pci.Address) error { return nil }
	b.must("other", false, hdAudio, laptop.NoReset, laptop.UsedBy)
	b.state(hdAudio, assign.Clean)
	b.must("work", true, hdAudio, laptop.NoReset)
}

// Row 40: the machine restarts while a guest has a device, and its host driver has it
// again.
func TestFault40RebootWhileAssigned(t *testing.T) {
	b := newBench(t, booted(t, "one"))
	l, err := b.assign("work", true, igbNIC)
	if err != nil {
		t.Fatal(err)
	}
	b.boots(booted(t, "two"))
	if got := drivers(t, b.kernel)[igbNIC]; got != "igb" {
		t.Fatalf("it is with %q", got)
	}
	b.state(igbNIC, assign.Used)
	b.refused(laptop.LockedResidue, "play", false, igbNIC, laptop.UsedBy)
	b.refused(laptop.LockedResidue, "other", true, igbNIC, laptop.UsedBy)
	all, err := b.store.Recover(t.Context(), b.host)
	if err != nil || len(all) != 1 || all[0].Result != assign.Dropped || all[0].Lease != l.ID {
		t.Fatalf("%+v, %v", all, err)
	}
	if told := strings.Join(all[0].Told, "\n"); !strings.Contains(told, `was used by guest "work" before the last boot and is with igb now`) {
		t.Errorf("told: %q", told)
	}
	if n := len(b.kernel.Writes()); n > 0 {
		t.Errorf("%d writes to what a host driver has", n)
	}
	b.state(igbNIC, assign.Used)
	b.refused(laptop.LockedResidue, "play", false, igbNIC, laptop.UsedBy)
	if err := b.reset(igbNIC, assign.Cleaning{}); !errors.Is(err, assign.ErrRefused) || !strings.Contains(err.Error(), "igb") {
		t.Errorf("reset under its driver: %v", err)
	}
	// Its guest takes it and gives it back.
	b.must("work", true, igbNIC)
	b.must("play", false, igbNIC)

	// Where nobody has it after the restart, recover resets it.
	b = newBench(t, booted(t, "one"))
	if _, err := b.assign("work", true, igbNIC); err != nil {
		t.Fatal(err)
	}
	k := booted(t, "two")
	unbound(t, k, igbNIC)
	b.boots(k)
	all, err = b.store.Recover(t.Context(), b.host)
	if err != nil || len(all) != 1 || !strings.Contains(strings.Join(all[0].Told, "\n"), "it is clean") {
		t.Fatalf("%+v, %v", all, err)
	}
	b.state(igbNIC, assign.Clean)

	// And what was noted may be lost with the disk: the lease still says it.
	b = newBench(t, booted(t, "one"))
	if _, err := b.assign("work", true, igbNIC); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(b.store.StateDir); err != nil {
		t.Fatal(err)
	}
	b.state(igbNIC, assign.Used)
	b.boots(booted(t, "two"))
	b.state(igbNIC, assign.Used)
	if _, err := b.store.Recover(t.Context(), b.host); err != nil {
		t.Fatal(err)
	}
	b.state(igbNIC, assign.Used)
}

// What a machine without power has forgotten is clean because its owner says so, and not
// while the same kernel runs.
func TestPowerCycled(t *testing.T) {
	b := newBench(t, booted(t, "one"))
	b.must("play", false, hdAudio, laptop.NoReset)
	if err := b.reset(hdAudio, assign.Cleaning{PowerCycled: true}); !errors.Is(err, assign.ErrRefused) {
		t.Errorf("without a restart: %v", err)
	}
	b.state(hdAudio, assign.Used)
	b.boots(booted(t, "two"))
	b.state(hdAudio, assign.Used)
	if err := b.reset(hdAudio, assign.Cleaning{PowerCycled: true}); err != nil {
		t.Error(err)
	}
	b.state(hdAudio, assign.Clean)
}

func TestClean(t *testing.T) {
	k := emulated(t, sim.Options{})
	b := newBench(t, k)
	k.ResetFails = func(string, string) error { return syscall.EIO }
	b.must("play", false, nvmeDisk)
	b.state(nvmeDisk, assign.Tainted)
	if err := b.reset(nvmeDisk, assign.Cleaning{}); !errors.Is(err, assign.ErrRefused) {
		t.Errorf("with its host driver: %v", err)
	}
	unbound(t, k, nvmeDisk)
	if err := b.reset(nvmeDisk, assign.Cleaning{}); err != nil {
		t.Error(err)
	}
	b.state(nvmeDisk, assign.Tainted)
	k.ResetFails = nil
	before := dump(t, k)
	if err := b.reset(nvmeDisk, assign.Cleaning{}); err != nil {
		t.Error(err)
	}
	b.state(nvmeDisk, assign.Clean)
	if got := dump(t, k); string(got) != string(before) {
		t.Error("a reset has left something behind")
	}
	if leases, err := b.store.List(); len(leases) > 0 || err != nil {
		t.Errorf("left: %v, %v", leases, err)
	}
	// A guest that has it keeps it.
	l, err := b.assign("work", true, nvmeDisk)
	if err != nil {
		t.Fatal(err)
	}
	var held *assign.HeldError
	if err := b.reset(nvmeDisk, assign.Cleaning{}); !errors.As(err, &held) || held.Lease.ID != l.ID {
		t.Errorf("while it is leased: %v", err)
	}
}

// Somebody who dies while a function is reset leaves one method of several; whoever
// recovers puts them back.
func TestCleanInterrupted(t *testing.T) {
	k := emulated(t, sim.Options{})
	b := newBench(t, k)
	unbound(t, k, igbNIC)
	before := dump(t, k)
	done := make(chan struct{})
	k.Fail = func(name string, _ []byte) error {
		if strings.HasSuffix(name, "/reset") {
			panic(done) // as if killed
		}
		return nil
	}
	func() {
		defer func() {
			if recover() != any(done) {
				t.Error("not killed")
			}
		}()
		_ = b.reset(igbNIC, assign.Cleaning{})
	}()
	k.Fail = nil
	if got := dump(t, k); string(got) == string(before) {
		t.Fatal("nothing was left to put back")
	}
	if _, err := b.store.Recover(t.Context(), b.host); err != nil {
		t.Fatal(err)
	}
	if got := dump(t, k); string(got) != string(before) {
		t.Error("the reset methods are not as before")
	}
}

// No byte of what is noted can go wrong and leave a used device clean.
func TestResidueDamaged(t *testing.T) {
	b := newBench(t, emulated(t, sim.Options{}))
	b.must("play", false, hdAudio, laptop.NoReset)
	files, err := filepath.Glob(filepath.Join(b.store.StateDir, "residue", hdAudio+"-*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	unknown := 0
	for i := range whole[:len(strings.TrimRight(string(whole), "\x00"))+20] {
		b2 := slices.Clone(whole)
		b2[i] ^= 0x20
		if err := os.WriteFile(files[0], b2, 0o600); err != nil {
			t.Fatal(err)
		}
		switch r := b.left(hdAudio); r.State {
		case assign.Unknown:
			unknown++
		case assign.Used: // nothing of it was lost
		default:
			t.Errorf("byte %d of it damaged: %+v", i, r)
		}
	}
	for _, text := range []string{"", "\x00", "nonsense\n"} {
		if err := os.WriteFile(files[0], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		b.state(hdAudio, assign.Unknown)
	}
	b.refused(laptop.LockedResidue, "play", false, hdAudio, laptop.NoReset, laptop.UsedBy, laptop.Tainted)
	t.Logf("bytes damaged: %d, of which noticed as such: %d", len(strings.TrimRight(string(whole), "\x00"))+20, unknown)
	// A reset makes it clean and puts the damaged file aside.
	withVFIO(t, b.kernel, hdAudio, "0000:04:01.0")
	b.boots(b.kernel)
	b.host.ResetBus = func([]pci.Address) error { return nil }
	c := assign.Cleaning{Devices: []pci.Address{address(t, "0000:04:01.0"), address(t, hdAudio)}, Group: func(pci.Address) iommu.GroupID { return iommu.GroupID{} }}
	if left, err := b.store.Clean(t.Context(), b.host, c); err != nil || left[1].State != assign.Clean {
		t.Errorf("%+v, %v", left, err)
	}
	b.state(hdAudio, assign.Clean)
	if aside, _ := filepath.Glob(filepath.Join(b.store.StateDir, "residue", "damaged", "*")); len(aside) != 1 {
		t.Errorf("put aside: %v", aside)
	}
}

// A card is a host in which another function may sit at one address.
type card struct {
	*sim.Kernel
	address  string
	replaced *bool
}

func (c card) ReadFile(name string) ([]byte, error) {
	data, err := c.Kernel.ReadFile(name)
	if *c.replaced && strings.HasSuffix(name, c.address+"/uevent") {
		data = []byte(strings.ReplaceAll(string(data), "PCI_ID=8086:10C9", "PCI_ID=8086:1521"))
	}
	if *c.replaced && strings.HasSuffix(name, c.address+"/config") {
		data[2], data[3] = 0x21, 0x15
	}
	return data, err
}

var _ hostfs.FS = card{}

// Row 7: the function is unplugged, and another one is plugged in under its address.
func TestFault07ReplacedUnderAddress(t *testing.T) {
	t.Run("while it is handed over", func(t *testing.T) {
		for after := range 3 { // writes
			k := emulated(t, sim.Options{})
			b := newBench(t, k)
			replaced := after == 0
			b.host.FS = card{k, igbNIC, &replaced}
			p := mustPlan(t, k, igbNIC)
			var stray []assign.Write
			b.host.Did = func(_ string, w assign.Write, _ error) {
				if replaced && w.Value != "\n" { // but for taking back an override that hit it
					stray = append(stray, w)
				}
				after--
				replaced = replaced || after == 0
			}
			_, err := b.store.Assign(t.Context(), b.host, take(p))
			if !errors.Is(err, assign.ErrOtherDevice) {
				t.Errorf("%v", err)
			}
			if len(stray) > 0 {
				t.Errorf("written to another device: %v", stray)
			}
		}
	})
	t.Run("while it is leased", func(t *testing.T) {
		k := emulated(t, sim.Options{})
		b := newBench(t, k)
		replaced := false
		b.host.FS = card{k, igbNIC, &replaced}
		l, err := b.assign("work", true, igbNIC)
		if err != nil {
			t.Fatal(err)
		}
		g := &assign.Guard{Store: b.store, Host: b.host, Lease: l}
		comeBack(t, k, igbNIC)
		replaced = true
		begin := len(k.Writes())
		all, err := g.Check(t.Context())
		if err != nil || len(all) != 1 || all[0].What != assign.Replaced || !strings.Contains(all[0].Detail, "8086:1521") {
			t.Errorf("%+v, %v", all, err)
		}
		if all, err := g.Check(t.Context()); err != nil || len(all) > 0 {
			t.Errorf("again: %+v, %v", all, err)
		}
		leases, err := b.store.List()
		if err != nil || len(leases) != 1 || !slices.Equal(leases[0].Lost, l.Devices) {
			t.Errorf("%+v, %v", leases, err)
		}
		// It is the host's, and nobody writes to it.
		if _, err := b.store.Release(t.Context(), b.host, l.Devices[0]); err != nil {
			t.Error(err)
		}
		if n := len(k.Writes()) - begin; n > 0 {
			t.Errorf("%d writes to another device", n)
		}
		// It has not the other's residue; but who says that the guest has not made it say so?
		b.state(igbNIC, assign.Tainted)
		if err := b.reset(igbNIC, assign.Cleaning{}); !errors.Is(err, assign.ErrRefused) {
			t.Error(err)
		}
		unbound(t, k, igbNIC)
		if err := b.reset(igbNIC, assign.Cleaning{}); err != nil {
			t.Error(err)
		}
		b.state(igbNIC, assign.Tainted)
		if err := b.reset(igbNIC, assign.Cleaning{AsNew: true}); err != nil {
			t.Error(err)
		}
		b.state(igbNIC, assign.Clean)
	})
	t.Run("after a restart", func(t *testing.T) {
		b := newBench(t, booted(t, "one"))
		if _, err := b.assign("work", true, igbNIC); err != nil {
			t.Fatal(err)
		}
		k := booted(t, "two")
		replaced := true
		b.boots(k)
		b.host.FS = card{k, igbNIC, &replaced}
		b.state(igbNIC, assign.Clean)
		if _, err := b.store.Recover(t.Context(), b.host); err != nil {
			t.Fatal(err)
		}
		b.state(igbNIC, assign.Clean)
		b.must("play", false, igbNIC)
		replaced = false // and the first one comes back
		b.state(igbNIC, assign.Used)
		b.refused(laptop.LockedResidue, "play", false, igbNIC)
	})
}

// comeBack removes a function and finds it again.
func comeBack(t *testing.T, k *sim.Kernel, device string) {
	t.Helper()
	for _, name := range []string{"sys/bus/pci/devices/" + device + "/remove", "sys/bus/pci/rescan"} {
		if err := k.WriteFile(name, []byte("1")); err != nil {
			t.Fatal(err)
		}
	}
}

// A device's option ROM is never asked for: nobody writes to the file that would show it.
func TestROMIsNotTouched(t *testing.T) {
	b := newBench(t, emulated(t, sim.Options{}))
	for _, device := range []string{e1000eNIC, nvmeDisk, igbNIC} {
		b.must("play", false, device)
	}
	for _, w := range b.kernel.Writes() {
		if strings.HasSuffix(w.Name, "/rom") {
			t.Errorf("written: %s", w.Name)
		}
	}
}
