package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/cli"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/internal/sim"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
)

// A console is indy on a simulated host.
type console struct {
	t      *testing.T
	kernel *sim.Kernel
	env    cli.Env
}

func newConsole(t *testing.T) *console {
	t.Helper()
	saved, err := hostfs.Open(filepath.Join(hosttest.Root(t), "testdata", "hosts", "lab-intel.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	k, err := sim.New(saved.(*hostfs.Tree), sim.Options{VFIO: true})
	if err != nil {
		t.Fatal(err)
	}
	return &console{t, k, cli.Env{
		Host: k, Names: os.DirFS(filepath.Join(hosttest.Root(t), "testdata", "ids")), LeaseDir: t.TempDir(), Stdin: strings.NewReader(""),
		Getenv: func(string) string { return "" }, Version: "test", Viable: func(iommu.GroupID) error { return nil },
	}}
}

// run returns what a command wrote and its exit code.
func (c *console) run(args ...string) (stdout, stderr string, code int) {
	var out, errs bytes.Buffer
	env := c.env
	env.Stdout, env.Stderr = &out, &errs
	code = cli.Main(args, &env)
	return out.String(), errs.String(), code
}

func (c *console) expect(code int, stdout, stderr string, args ...string) {
	c.t.Helper()
	o, e, got := c.run(args...)
	if got != code || !strings.Contains(o, stdout) || !strings.Contains(e, stderr) || code == 0 && e != "" && stderr == "" {
		c.t.Errorf("indy %s: exit %d, want %d\nstdout (want %q):\n%s\nstderr (want %q):\n%s", strings.Join(args, " "), got, code, stdout, o, stderr, e)
	}
}

func (c *console) driver(a string) string {
	c.t.Helper()
	addr, err := pci.ParseAddress(a)
	if err != nil {
		c.t.Fatal(err)
	}
	d, err := pci.Driver(c.kernel, addr)
	if err != nil {
		c.t.Fatal(err)
	}
	return d
}

func TestAssignAndRelease(t *testing.T) {
	c := newConsole(t)
	c.expect(0, "no device is handed out", "", "leases")
	c.expect(0, "nvme/unbind", "", "plan", "02:00.0")
	c.expect(4, "", "0000:04:02.0", "assign", "04:01.0")
	c.expect(4, "", "--allow no-reset", "assign", "00:1b.0")
	c.expect(0, "assigned 0000:00:1b.0", "no-reset: overridden by --allow no-reset: the kernel knows no way to reset 0000:00:1b.0", "assign", "00:1b.0", "--allow", "no-reset")
	c.expect(0, "released 0000:00:1b.0", "", "release", "00:1b.0")
	c.expect(0, "assigned 0000:04:01.0, 0000:04:02.0", "", "assign", "--with-companions", "--guest", "work", "04:01.0")
	if d := c.driver("0000:04:02.0"); d != "vfio-pci" {
		t.Errorf("driver %q", d)
	}
	c.expect(0, "work", "", "leases")
	c.expect(4, "", `held by guest "work"`, "assign", "--guest", "other", "04:02.0")
	c.expect(0, "released 0000:04:01.0, 0000:04:02.0", "", "release", "04:02.0", "04:01.0")
	if d := c.driver("0000:04:02.0"); d != "snd_hda_intel" {
		t.Errorf("driver %q", d)
	}
	c.expect(1, "", "indy leases lists what is", "release", "04:02.0")
	c.expect(0, "assigned", "", "assign", "02:00.0")
	c.expect(0, "released 0000:02:00.0", "", "release", "--all")
}

// Parts of devices, and devices on no PCI bus, go and come back by their names.
func TestAssignKinds(t *testing.T) {
	c := newConsole(t)
	c.expect(0, "assigned usb:1-1\n  /dev/bus/usb/001/002\n", "", "assign", "1-1", "--guest", "work")
	if d, err := hostfs.ReadLinkBase(c.kernel, "sys/bus/usb/devices/1-1:1.0/driver"); err == nil {
		t.Errorf("driver %q", d)
	}
	c.expect(0, "usb:1-1", "", "leases")
	c.expect(4, "", `usb 1-1 is held by guest "work"`, "assign", "1-1")
	c.expect(4, "", "IOMMU group 7 is held", "assign", "00:14.0", "--with-companions", "--allow", "no-reset")
	c.expect(0, "released usb:1-1\n", "", "release", "1-1")
	c.expect(0, "set vf 0 mac of 0000:05:00.0 to 02:00:00:00:00:01 (rtnetlink)", "", "plan", "05:00.0", "--vfs", "2", "--vf-mac", "02:00:00:00:00:01")
	c.expect(0, "assigned 0000:05:10.0, 0000:05:10.2\n  /dev/vfio/", "", "assign", "05:00.0", "--vfs", "2", "--vf-mac", "02:00:00:00:00:01")
	c.expect(4, "", "vfs 0000:05:00.0 is held", "assign", "05:00.0", "--vfs", "1")
	c.expect(0, "released 0000:05:10.0, 0000:05:10.2\n", "", "release", "05:10.2", "05:10.0")
	if d := c.driver("0000:05:00.0"); d != "igb" {
		t.Errorf("driver %q", d)
	}
	c.expect(0, "assigned usb:1-1, usb:1-2\n", "", "assign", "usb:1-1", "usb:1-2")
	c.expect(0, "released usb:1-1, usb:1-2\n", "", "release", "--all")
}

func TestWords(t *testing.T) {
	c := newConsole(t)
	for _, test := range []struct {
		code   int
		stderr string
		args   []string
	}{
		{2, `unknown command "bind"`, []string{"bind"}},
		{2, "unknown flag: --frm", []string{"devices", "--frm", "x"}},
		{2, `no role "sound"`, []string{"devices", "--role", "sound"}},
		{2, "nothing is named; expected: indy why DEVICE", []string{"why"}},
		{2, `no device "1b:00.0"`, []string{"why", "1b:00.0"}},
		{2, "0000:04:02.0  audio", []string{"why", "audio"}},
		{2, "no device", []string{"plan", "unobtainium"}},
		{2, "nothing is named; expected: indy assign DEVICE...", []string{"assign"}},
		{2, "name the devices, or --all", []string{"release"}},
		{2, "no refusal of this name", []string{"plan", "02:00.0", "--allow", "bridge"}},
		{4, "a bridge stays with the host", []string{"assign", "03:00.0"}},
		{5, "no PCI function", []string{"run", "--device", "1-1"}},
		{2, "--vfs and --mdev are about one function", []string{"plan", "05:00.0", "01:00.0", "--vfs", "1"}},
		{2, "use one of them", []string{"plan", "05:00.0", "--vfs", "1", "--mdev", "x"}},
		{2, "--vfs takes a number", []string{"plan", "05:00.0", "--vfs", "-1"}},
		{2, "with --vfs only", []string{"plan", "05:00.0", "--vf-mac", "02:00:00:00:00:01"}},
		{2, "with --mdev only", []string{"plan", "05:00.0", "--uuid", "x"}},
		{2, "expected on or off", []string{"plan", "05:00.0", "--vfs", "1", "--vf-spoof-check", "maybe"}},
		{2, "not the address of one Ethernet interface", []string{"plan", "05:00.0", "--vfs", "1", "--vf-mac", "01:00:00:00:00:01"}},
		{2, "not from 0 to 4094", []string{"plan", "05:00.0", "--vfs", "1", "--vf-vlan", "4095"}},
		{2, "is no UUID", []string{"plan", "05:00.0", "--mdev", "x", "--uuid", "x"}},
		{5, "at most 7 virtual functions", []string{"assign", "05:00.0", "--vfs", "8"}},
		{5, "no mediated devices can be made of 0000:05:00.0", []string{"assign", "05:00.0", "--mdev", "x"}},
		{5, "no PCI function", []string{"assign", "1-1", "--vfs", "1"}},
		{5, "serio0 is on no bus that can be handed over; the host shares it\n", []string{"assign", "serio0"}},
		{2, "nothing to start from", []string{"run"}},
		{2, "guest name", []string{"run", "--name", "No/Name", "--disk", "x.raw"}},
		{2, "--accel", []string{"run", "--accel", "warp", "--disk", "x.raw"}},
		{1, "no such file", []string{"devices", "--from", "/nonexistent"}},
		{5, "make lab", []string{"selftest", "--lab", t.TempDir()}},
	} {
		c.expect(test.code, "", test.stderr, test.args...)
	}
	if n := len(c.kernel.Writes()); n != 0 {
		t.Errorf("%d writes", n)
	}
}

func TestErrorsAsJSON(t *testing.T) {
	c := newConsole(t)
	stdout, stderr, code := c.run("plan", "--json", "04:01.0")
	var got struct {
		Error struct {
			Message  string
			Exit     int
			Findings []struct{ Code, Severity, Device, Detail, Evidence, Remedy string }
		}
	}
	if err := json.Unmarshal([]byte(stderr), &got); err != nil || code != 4 || stdout != "" {
		t.Fatalf("exit %d, %v\n%s\n%s", code, err, stdout, stderr)
	}
	if f := got.Error.Findings; got.Error.Exit != 4 || len(f) != 1 || f[0].Code != "companions" || f[0].Severity != "block" {
		t.Errorf("%+v", got)
	}
}

// A hand-over that fails halfway, and one that cannot be taken back.
func TestAssignFails(t *testing.T) {
	c := newConsole(t)
	n := 0
	c.kernel.Fail = func(name string, _ []byte) error {
		if n++; n == 3 {
			return syscall.EBUSY
		}
		return nil
	}
	c.expect(1, "", "device or resource busy", "assign", "02:00.0")
	c.expect(0, "no device is handed out", "", "leases")
	if d := c.driver("0000:02:00.0"); d != "nvme" {
		t.Errorf("driver %q", d)
	}
	n = 0
	c.kernel.Fail = func(name string, _ []byte) error {
		if n++; n >= 3 {
			return syscall.EIO
		}
		return nil
	}
	c.expect(3, "", "not all could be given back", "assign", "02:00.0")
	c.expect(0, "assigning", "", "leases")
	c.kernel.Fail = nil
	c.expect(0, "released", "", "release", "02:00.0")
	if d := c.driver("0000:02:00.0"); d != "nvme" {
		t.Errorf("driver %q", d)
	}
}

func TestDevicesJSON(t *testing.T) {
	c := newConsole(t)
	stdout, _, code := c.run("devices", "--json")
	var got struct {
		Machine map[string]any
		Devices []map[string]any
	}
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != 0 {
		t.Fatalf("exit %d, %v", code, err)
	}
	for _, d := range got.Devices {
		for _, field := range []string{
			"id", "bus", "address", "path", "role", "roles", "class", "vendor_id", "device_id", "subsystem_vendor_id",
			"subsystem_device_id", "vendor", "device", "driver", "iommu_group", "nodes", "classes", "parts", "part_of", "verdict", "findings",
		} {
			if _, ok := d[field]; !ok {
				t.Errorf("%v lacks %s", d["id"], field)
			}
		}
		if d["id"] != fmt.Sprint(d["bus"], ":", d["address"]) {
			t.Errorf("id %v of %v %v", d["id"], d["bus"], d["address"])
		}
	}
	stdout, _, _ = c.run("groups", "--json")
	var groups struct {
		IOMMU  struct{ Enabled, Interrupt_remapping any }
		Groups []struct {
			ID      *int
			Type    *string
			Devices []string
			Viable  *bool
		}
	}
	if err := json.Unmarshal([]byte(stdout), &groups); err != nil || groups.IOMMU.Enabled != true || len(groups.Groups) < 10 {
		t.Fatalf("%v\n%s", err, stdout)
	}
	for i, g := range groups.Groups {
		if g.ID == nil || i > 0 && *g.ID <= *groups.Groups[i-1].ID || g.Viable == nil || g.Type == nil {
			t.Errorf("group %d: %+v", i, g)
		}
	}
}

// What could not be read does not hide the rest, and is JSON where the rest is.
func TestPartlyRead(t *testing.T) {
	c := newConsole(t)
	saved := c.kernel.Tree()
	if err := saved.Put("sys/class/dmi/id/sys_vendor/x", nil); err != nil {
		_ = saved.Remove("sys/class/dmi/id/sys_vendor")
		if err := saved.Put("sys/class/dmi/id/sys_vendor/x", nil); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Join(t.TempDir(), "odd.tar")
	if err := hostfs.Save(name, saved, ""); err != nil {
		t.Fatal(err)
	}
	c.expect(1, "0000:02:00.0", "sys_vendor", "devices", "--from", name)
	stdout, stderr, code := c.run("devices", "--json", "--from", name)
	if code != 1 || !strings.Contains(stdout, `"pci:0000:02:00.0"`) {
		t.Errorf("exit %d\n%s", code, stdout)
	}
	validate(t, "devices", []byte(stdout))
	validate(t, "error", []byte(stderr))
}

// A disk that something uses without a mount of ours is not taken.
func TestDiskInUse(t *testing.T) {
	c := newConsole(t)
	var asked []string
	c.env.DiskFree = func(node string) error {
		asked = append(asked, node)
		return syscall.EBUSY
	}
	c.expect(4, "", "host-disk: /dev/nvme0n1 is in use", "assign", "02:00.0")
	c.expect(0, "assigned", "", "assign", "01:00.0")
	if len(asked) != 1 || asked[0] != "dev/nvme0n1" || len(c.kernel.Writes()) != 3 {
		t.Errorf("asked for %v, wrote %v", asked, c.kernel.Writes())
	}
	c.env.InUse = func(iommu.GroupID) error { return syscall.EBUSY }
	c.expect(4, "", `guest "guest" still runs`, "release", "01:00.0")
}

// Escape sequences that a saved machine holds must not reach the terminal.
func TestHostileNames(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "hostile.txtar")
	const d = "sys/bus/pci/devices/0000:00:02.0/"
	text := "-- " + d + "uevent --\nDRIVER=evil\x1b]0;owned\x07\nPCI_CLASS=30000\nPCI_ID=8086:1234\nPCI_SUBSYS_ID=0000:0000\n" +
		"-- sys/class/dmi/id/sys_vendor (hex) --\n1b5b324a0a\n"
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c := newConsole(t)
	for _, args := range [][]string{{"devices", "--from", name}, {"why", "02:00.0", "--from", name}, {"groups", "--from", name}} {
		stdout, stderr, _ := c.run(args...)
		if strings.ContainsAny(stdout+stderr, "\x1b\x07") {
			t.Errorf("indy %v passes control characters on: %q", args, stdout+stderr)
		}
	}
}
