package cli_test

import (
	"strings"
	"syscall"
	"testing"

	"github.com/project-independence/indy/pci"
)

// What a guest has left is told by all who are asked, and goes nowhere before it is reset.
func TestResidue(t *testing.T) {
	c := newConsole(t)
	c.env.StateDir = t.TempDir()
	const nvme = "0000:02:00.0"
	if out, _, code := c.run("why", nvme, "--json"); code != 0 || !strings.Contains(out, `"residue": null`) {
		t.Errorf("exit %d: %s", code, out)
	}
	c.expect(0, "assigned", "", "assign", "--guest", "play", nvme)
	c.expect(0, "used-by play", "", "why", nvme)
	c.kernel.ResetFails = func(string, string) error { return syscall.EIO }
	c.expect(0, "released", "is tainted play: reset by flr failed: input/output error (errno 5)", "release", nvme)
	c.expect(0, "0000:02:00.0 is tainted play", "", "leases")
	c.expect(4, "", "--allow tainted", "plan", "--guest", "other", nvme)
	c.expect(4, "", "a locked guest gets only what was reset", "plan", "--guest", "work", "--locked", "--allow", "tainted,used-by", nvme)
	c.expect(2, "", "no refusal of this name that can be overridden", "plan", "--allow", "locked-residue", nvme)
	c.expect(0, "overridden by --allow tainted", "", "plan", "--guest", "other", "--allow", "tainted", nvme)
	for what, args := range map[string][]string{"leases": {"leases", "--json"}, "why": {"why", nvme, "--json"}} {
		out, _, code := c.run(args...)
		if code != 0 || !strings.Contains(out, `"state": "tainted"`) {
			t.Errorf("%s: exit %d: %s", what, code, out)
		}
		validate(t, what, []byte(out))
	}

	c.expect(4, "", "its driver nvme uses it", "reset", nvme)
	if err := c.kernel.WriteFile("sys/bus/pci/drivers/nvme/unbind", []byte(nvme)); err != nil {
		t.Fatal(err)
	}
	c.expect(1, "tainted play", "is not clean", "reset", nvme)
	c.expect(4, "", "while this kernel runs", "reset", "--power-cycled", nvme)
	c.kernel.ResetFails = nil
	out, _, code := c.run("reset", "--json", nvme)
	if code != 0 {
		t.Errorf("exit %d", code)
	}
	validate(t, "reset", []byte(out))
	c.expect(0, "clean, since", "", "why", nvme)
	c.expect(0, "assigned", "", "assign", "--guest", "work", "--locked", nvme)
	c.expect(4, "", `held by guest "work"`, "reset", nvme)
	c.expect(0, "released", "", "release", nvme)
	c.expect(2, "", "no device", "reset", "unobtainium")
}

// What is with vfio-pci and nobody's is named by whoever recovers, and left alone.
func TestRecoverNamesStrays(t *testing.T) {
	c := newConsole(t)
	const igb = "0000:05:00.0"
	c.expect(0, "assigned", "", "assign", igb)
	c.expect(0, "nothing to recover\n", "", "recover")
	c.env.LeaseDir = t.TempDir() // the lease is lost
	c.expect(0, "nothing to recover\nnote: 0000:05:00.0 is with vfio-pci by the driver override vfio-pci, and no lease, process or early binding", "", "recover")
	out, _, code := c.run("recover", "--json")
	if code != 0 || !strings.Contains(out, `"device": "0000:05:00.0"`) || !strings.Contains(out, `"driver_override": "vfio-pci"`) {
		t.Errorf("exit %d: %s", code, out)
	}
	validate(t, "recover", []byte(out))
	if d := c.driver(igb); d != "vfio-pci" {
		t.Errorf("driver %q", d)
	}
}

// A device that was removed and found again is taken from the host by whoever recovers.
func TestRecoverIsolates(t *testing.T) {
	c := newConsole(t)
	c.env.StateDir = t.TempDir()
	const igb = "0000:05:00.0"
	c.expect(0, "assigned", "", "assign", igb)
	for _, name := range []string{"sys/bus/pci/devices/" + igb + "/remove", "sys/bus/pci/rescan"} {
		if err := c.kernel.WriteFile(name, []byte("1")); err != nil {
			t.Fatal(err)
		}
	}
	if d := c.driver(igb); d != "igb" {
		t.Fatalf("driver %q", d)
	}
	out, _, code := c.run("recover", "--json")
	if code != 0 || !strings.Contains(out, `"what": "isolated"`) {
		t.Errorf("exit %d: %s", code, out)
	}
	validate(t, "recover", []byte(out))
	if d := c.driver(igb); d != "vfio-pci" {
		t.Errorf("driver %q", d)
	}
	c.expect(0, "nothing to recover", "", "recover")
	if o, err := pci.DriverOverride(c.kernel, pci.NewAddress(0, 5, 0, 0)); err != nil || o != "vfio-pci" {
		t.Errorf("override %q, %v", o, err)
	}
	c.expect(0, "released", "", "release", igb)
}

// What is left in a USB device is told as that of a function is.
func TestResidueUSB(t *testing.T) {
	c := newConsole(t)
	c.env.StateDir = t.TempDir()
	const keyboard = "1-1"
	allow := "only-keyboard,host-disk-unknown,route-unknown,boot-unknown"
	c.kernel.USBReset = func(string) error { return syscall.EIO }
	c.expect(0, "assigned usb:1-1", "", "assign", "--guest", "play", "--allow", allow, keyboard)
	c.expect(0, "used-by play", "", "why", keyboard)
	c.expect(0, "released", "usb:1-1 is tainted play: reset by usbfs failed: input/output error (errno 5)", "release", keyboard)
	c.expect(0, "usb:1-1 is tainted play", "", "leases")
	c.expect(4, "", "--allow tainted", "plan", "--guest", "other", "--allow", allow, keyboard)
	c.expect(4, "", "a locked guest gets only what was reset", "plan", "--guest", "work", "--locked", "--allow", allow+",tainted,used-by", keyboard)
	for what, args := range map[string][]string{"leases": {"leases", "--json"}, "why": {"why", keyboard, "--json"}} {
		out, _, code := c.run(args...)
		if code != 0 || !strings.Contains(out, `"device": "usb:1-1"`) || !strings.Contains(out, `"state": "tainted"`) {
			t.Errorf("%s: exit %d: %s", what, code, out)
		}
		validate(t, what, []byte(out))
	}
	c.expect(4, "", "the driver usbhid of the host uses it", "reset", keyboard)
	if err := c.kernel.WriteFile("sys/bus/usb/drivers/usbhid/unbind", []byte("1-1:1.0")); err != nil {
		t.Fatal(err)
	}
	c.expect(1, "tainted play", "is not clean", "reset", "usb:1-1")
	c.kernel.USBReset = nil
	out, _, code := c.run("reset", "--json", "usb:1-1", "0000:02:00.0")
	if code != 4 { // the disk is the host's, and nothing is done
		t.Errorf("exit %d: %s", code, out)
	}
	out, _, code = c.run("reset", "--json", "usb:1-1")
	if code != 0 {
		t.Errorf("exit %d: %s", code, out)
	}
	validate(t, "reset", []byte(out))
	c.expect(0, "it was reset by usbfs", "", "why", keyboard)
	c.expect(0, "assigned", "", "assign", "--guest", "work", "--locked", "--allow", allow, keyboard)
	c.expect(4, "", `held by guest "work"`, "reset", keyboard)
	c.expect(0, "released", "", "release", keyboard)
}
