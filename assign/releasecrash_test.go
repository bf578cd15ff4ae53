package assign_test

import (
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/journal/journaltest"
	"github.com/project-independence/indy/internal/sim"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
)

// halfReleased is a machine whose group of three, of which only the bus can be reset, was
// given back as far as its first write, by a process that was killed then. It returns how
// often the bus was reset.
func halfReleased(t *testing.T, fails error) (b *bench, resets *int) {
	b = newBench(t, booted(t, "one"))
	w := world{b.kernel, journaltest.New()}
	b.store = w.store()
	resets = new(int)
	b.host.ResetBus = func(functions []pci.Address) error {
		*resets++
		if err := w.resetBus(functions); err != nil {
			return err
		}
		return fails
	}
	l, err := b.assign("play", false, hdAudio, laptop.NoReset)
	if err != nil {
		t.Fatal(err)
	}
	// What it writes after this, and keeps on the disk, is lost.
	var kernel *sim.Kernel
	var disk *journaltest.Disk
	h := *b.host
	unbound := false
	h.FS = told{b.kernel, func(name string) {
		if unbound && kernel == nil {
			kernel, disk = b.kernel.Clone(), w.disk.Clone()
		}
		unbound = unbound || strings.HasSuffix(name, "/"+assign.VFIODriver+"/unbind")
	}}
	if _, err := b.store.Release(t.Context(), &h, l.Devices[0]); err != nil {
		t.Fatal(err)
	}
	w = world{kernel, disk}
	reset := b.host.ResetBus
	b.boots(kernel)
	b.host.ResetBus, b.store = reset, w.store()
	var with []string
	for _, device := range []string{"0000:04:01.0", hdAudio} {
		driver, err := pci.Driver(kernel, address(t, device))
		if err != nil {
			t.Fatal(err)
		}
		with = append(with, driver)
	}
	if !slices.Equal(with, []string{assign.VFIODriver, ""}) {
		t.Fatalf("they are with %q", with)
	}
	return b, resets
}

// A release is killed when it has given back a part of a group whose bus it has reset. The
// bus cannot be reset any more, and need not be: it is on record that it was.
func TestReleaseKilledAfterReset(t *testing.T) {
	b, resets := halfReleased(t, nil)
	if *resets != 1 {
		t.Fatalf("%d resets of the bus", *resets)
	}
	// Nor does anybody take them for used meanwhile.
	for _, device := range []string{"0000:04:01.0", hdAudio} {
		b.state(device, assign.Clean)
	}
	if _, err := b.store.Recover(t.Context(), b.host); err != nil {
		t.Fatal(err)
	}
	if *resets != 1 {
		t.Errorf("%d resets of the bus", *resets)
	}
	for _, device := range []string{"0000:04:01.0", hdAudio} {
		b.state(device, assign.Clean)
	}
	if len(b.told) > 0 {
		t.Errorf("told %q", b.told)
	}
	b.must("other", true, hdAudio, laptop.NoReset)
}

// The same where the reset has failed: what is on record of it stays, and what nobody tried
// again is no reset.
func TestReleaseKilledAfterFailedReset(t *testing.T) {
	for _, c := range []struct {
		err  error
		want assign.Condition
	}{
		{syscall.EIO, assign.Tainted},
		{syscall.ENOTTY, assign.Used},
	} {
		b, resets := halfReleased(t, c.err)
		*resets = 0
		if _, err := b.store.Recover(t.Context(), b.host); err != nil {
			t.Fatal(err)
		}
		if *resets != 0 {
			t.Errorf("%v: %d more resets of the bus", c.err, *resets)
		}
		for _, device := range []string{"0000:04:01.0", hdAudio} {
			b.state(device, c.want)
			if why := b.left(device).Detail; c.want == assign.Tainted && !strings.Contains(why, "reset by hot failed: input/output error") {
				t.Errorf("%s: it is tainted because %q", device, why)
			}
		}
		var refused *assign.RefusedError
		if _, err := b.assign("other", false, hdAudio, laptop.NoReset); !errors.As(err, &refused) {
			t.Errorf("%v: another guest: %v", c.err, err)
		}
	}
}

// A function that vfio-pci had before its lease stays with it, and a release resets it all the
// same, by one method at a time: wherever that is killed, all of them are set again in the end.
func TestCrashHeldBefore(t *testing.T) {
	file := machines(t)[0]
	k, next := machine(t, file, 1), machine(t, file, 2)
	c := &trial{T: t, plan: heldBefore(t, k, "0000:02:00.0"), start: world{k, journaltest.New()}}
	c.assigned = c.start.clone()
	if err := c.assign(c.assigned.store(), c.assigned.host()); err != nil {
		t.Fatal(err)
	}
	if n := len(c.assigned.kernel.Writes()); n != 0 {
		t.Errorf("%d writes to hand over what vfio-pci has", n)
	}
	back := c.assigned.clone()
	if err := c.release(back.store(), back.host()); err != nil {
		t.Fatal(err)
	}
	if c.released = c.left(back); c.released["0000:02:00.0"] != assign.Clean {
		t.Errorf("after its release: %v", c.released)
	}
	c.releasing = true
	c.crash("release", c.assigned, c.release, thinning{double: 1, triple: 40, boot: 10, again: 20}, func(where string, w world) { c.reboot(where, w, next) })
	t.Logf("%+v", c.count)
	if c.count.single < 10 || c.count.double < 100 {
		t.Error("too few to show anything")
	}
}

// heldBefore has vfio-pci take a function that knows several resets before it is planned for.
func heldBefore(t *testing.T, k *sim.Kernel, device string) *assign.Plan {
	t.Helper()
	const devices, drivers = "sys/bus/pci/devices/", "sys/bus/pci/drivers/"
	driver, err := pci.Driver(k, address(t, device))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range [][2]string{
		{devices + device + "/driver_override", assign.VFIODriver}, {drivers + driver + "/unbind", device}, {"sys/bus/pci/drivers_probe", device},
	} {
		if err := k.WriteFile(w[0], []byte(w[1])); err != nil {
			t.Fatal(err)
		}
	}
	methods, _ := hostfs.ReadString(k, devices+device+"/reset_method")
	l, err := laptop.Read(k)
	if err != nil || !strings.Contains(methods, " ") {
		t.Fatalf("methods %q, %v", methods, err)
	}
	p, err := overridden(t, k, l, assign.Request{Guest: "test", Companions: true, Devices: []pci.Address{address(t, device)}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}
