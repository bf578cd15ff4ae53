package assign_test

import (
	"errors"
	"flag"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/broker"
	"github.com/project-independence/indy/internal/ioctl"
	"github.com/project-independence/indy/internal/lab"
	"github.com/project-independence/indy/internal/lab/labtest"
	"github.com/project-independence/indy/internal/sim"
	"github.com/project-independence/indy/internal/vflink"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
	"github.com/project-independence/indy/vfio"
)

var updateKinds = flag.Bool("update-kinds", false, "take what the emulated laptop says for kinds.golden")

const kindsScript = "../internal/sim/testdata/kinds"

// TestKindsLab runs TestKindsInside in an emulated laptop with a stick and a sound card
// on USB.
func TestKindsLab(t *testing.T) {
	labtest.Open(t)
	stick := filepath.Join(t.TempDir(), "stick.img")
	if err := os.WriteFile(stick, make([]byte, 16<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	labtest.RunTestOn(t, lab.Machine{
		Out: out, Env: []string{"INDY_LAB_INDY=" + labtest.BuildIndy(t)},
		Extra: []string{
			"-blockdev", `{"driver":"raw","node-name":"stick","file":{"driver":"file","filename":"` + stick + `"}}`,
			"-device", `{"driver":"usb-storage","bus":"xhci.0","port":"3","drive":"stick"}`,
			"-device", `{"driver":"usb-audio","bus":"xhci.0","port":"4","audiodev":"silent"}`,
		},
	}, "./assign", "^TestKindsInside$")
	said, err := os.ReadFile(filepath.Join(out, "kinds.golden"))
	if err != nil {
		t.Fatal(err)
	}
	if *updateKinds {
		if err := os.WriteFile(kindsScript+".golden", said, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(kindsScript + ".golden")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(golden), string(said)); d != "" {
		t.Errorf("the kernel of the emulated laptop says something else now (-golden +now):\n%s", d)
	}
}

// The simulated kernel says what the real one did.
func TestKindsConformSim(t *testing.T) {
	script, err := os.ReadFile(kindsScript + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	golden, err := os.ReadFile(kindsScript + ".golden")
	if err != nil {
		t.Fatal(err)
	}
	said, err := sim.Conform(bootHost(t, "lab-gadgets.txtar"), script)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(golden), string(said)); d != "" {
		t.Errorf("not as the kernel of the emulated laptop (-kernel +sim):\n%s", d)
	}
}

// TestKindsInside hands over and gives back real USB devices and virtual functions.
func TestKindsInside(t *testing.T) {
	labtest.Inside(t)
	aside := &broker.Broker{}
	defer aside.Close()
	host := vflink.Over(hostfs.LiveWith(aside), nil)
	shell(t, "modprobe sd_mod; modprobe ext4; for i in $(seq 100); do [ -e /dev/sda ] && break; sleep 0.1; done; mke2fs -q /dev/sda")
	t.Run("conformance", func(t *testing.T) {
		script, err := os.ReadFile(kindsScript + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		said, err := sim.Conform(vflink.Over(hostfs.Live(), nil), script) // it writes what a broker does not
		if err == nil {
			err = os.WriteFile(filepath.Join(lab.OutDir, "kinds.golden"), said, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	t.Run("stick", func(t *testing.T) { mountedInside(t, host) })
	for _, d := range []struct{ path, driver string }{
		{"1-1", "usbhid"}, {"1-2", "usbhid"}, {"2-3", "usb-storage"}, {"1-4", "snd-usb-audio"},
	} {
		t.Run(d.path, func(t *testing.T) { usbInside(t, host, d.path, d.driver) })
	}
	t.Run("replug", func(t *testing.T) { replugInside(t, host) })
	t.Run("virtual functions", func(t *testing.T) { virtualInside(t, host) })
	t.Run("command", func(t *testing.T) { commandInside(t, host) })
	t.Run("killed with sound", func(t *testing.T) {
		killedInside(t, host, assign.Request{USB: []usb.PortPath{port(t, "1-4")}}, []bool{false, true}, 6)
	})
	t.Run("killed with virtual functions", func(t *testing.T) {
		killedInside(t, host, assign.Request{VFs: []assign.VFRequest{{
			Physical: address(t, "0000:05:00.0"), Count: 2, MACs: []net.HardwareAddr{mac(t, "02:00:00:00:00:11")},
		}}}, []bool{true}, 9)
	})
}

func shell(t *testing.T, script string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "/bin/bash", "-c", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return strings.TrimSpace(string(out))
}

// realHost asks the kernel about groups, as the command does.
func realHost(host hostfs.FS) *assign.Host {
	return &assign.Host{FS: host, Viable: vfio.Viable, InUse: vfio.InUse}
}

// interfaces lists the drivers of a device's interfaces.
func interfaces(t *testing.T, host fs.FS, path string) string {
	t.Helper()
	d, err := usb.ReadDevice(host, port(t, path))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, i := range d.Interfaces {
		all = append(all, i.Driver)
	}
	return strings.Join(all, ",")
}

// await waits until ok, at most for a minute: what a driver makes comes later.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

// dmesg counts the lines of the kernel's log with a text that is about USB.
func dmesg(t *testing.T, text string) int {
	t.Helper()
	n := 0
	for line := range strings.Lines(shell(t, "dmesg")) {
		if strings.Contains(line, " usb ") && strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// mountedInside mounts the stick: it is refused then.
func mountedInside(t *testing.T, host hostfs.FS) {
	shell(t, "mkdir -p /tmp/mounted && mount /dev/sda /tmp/mounted")
	_, err := planRequest(t, host, assign.Request{USB: []usb.PortPath{port(t, "2-3")}})
	var refused *assign.RefusedError
	if !errors.As(err, &refused) || refused.Findings[0].Code != laptop.HostDisk {
		t.Errorf("a mounted stick: %v", err)
	}
	shell(t, "umount /tmp/mounted")
	if _, err := planRequest(t, host, assign.Request{USB: []usb.PortPath{port(t, "2-3")}}); err != nil {
		t.Errorf("unmounted: %v", err)
	}
}

// usbInside hands over a USB device, opens it as QEMU does, and gives it back.
func usbInside(t *testing.T, host hostfs.FS, path, driver string) {
	before := interfaces(t, host, path)
	if !strings.Contains(before, driver) {
		t.Fatalf("drivers %q", before)
	}
	store := &assign.Store{Dir: t.TempDir(), StateDir: t.TempDir()}
	h := realHost(host)
	left := func(want assign.Condition) assign.Residue {
		t.Helper()
		noted, err := store.Residues(host)
		if err != nil {
			t.Fatal(err)
		}
		now, err := assign.ReadUSBFingerprint(host, port(t, path))
		if err != nil {
			t.Fatal(err)
		}
		r := noted.Of("usb:"+path, now)
		if r.State != want {
			t.Errorf("%+v, want it %s", r, want)
		}
		return r
	}
	l, err := store.Assign(t.Context(), h, take(mustPlanRequest(t, host, assign.Request{USB: []usb.PortPath{port(t, path)}})))
	if err != nil {
		t.Fatal(err)
	}
	if now := interfaces(t, host, path); strings.Trim(now, ",") != "" {
		t.Errorf("drivers %q while it is handed over", now)
	}
	nodes, err := l.Plan.Nodes(host)
	if err != nil || len(nodes) != 1 {
		t.Fatalf("nodes %q, %v", nodes, err)
	}
	f, err := os.OpenFile("/"+nodes[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	const claimInterface = 0x8004550f // USBDEVFS_CLAIMINTERFACE, _IOR('U', 15, unsigned int)
	if _, err := ioctl.Struct(f.Fd(), claimInterface, make([]byte, 4)); err != nil {
		t.Errorf("claim interface 0: %v", err)
	}
	var busy *assign.BusyError
	if _, err := store.ReleaseNamed(t.Context(), h, path); !errors.As(err, &busy) {
		t.Errorf("release while a program has it: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	left(assign.Used)
	began := dmesg(t, "reset ")
	if _, err := store.ReleaseNamed(t.Context(), h, path); err != nil {
		t.Fatal(err)
	}
	if r := left(assign.Clean); r.Reset == nil || r.Reset.Method != "usbfs" || dmesg(t, "reset ") == began {
		t.Errorf("%+v, and the kernel tells of %d resets", r, dmesg(t, "reset ")-began)
	}
	if now := interfaces(t, host, path); now != before {
		t.Errorf("drivers %q, they were %q", now, before)
	}
	if driver == "usb-storage" {
		await(t, "the disk", func() bool { _, err := os.Stat("/dev/sda"); return err == nil })
	}
}

// replugInside plugs a stick in anew while it is handed over: that is another device.
func replugInside(t *testing.T, host hostfs.FS) {
	const gadgets = "/bin/bash ../internal/cli/testdata/gadgets.sh"
	shell(t, gadgets+" load 1")
	udc := shell(t, gadgets+" make storage 0x0042")
	plug := func(to string) {
		t.Helper()
		if err := os.WriteFile(udc, []byte(to+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	find := func() (path usb.PortPath) {
		all, _ := usb.Devices(host)
		for _, d := range all {
			if d.Vendor.String() == "1209" && len(d.Interfaces) == 1 && d.Interfaces[0].Driver == "usb-storage" {
				path = d.Path
			}
		}
		return path
	}
	plug("dummy_udc.0")
	await(t, "the stick", func() bool { return find().IsValid() })
	path := find()
	request := assign.Request{USB: []usb.PortPath{path}}
	planned := mustPlanRequest(t, host, request)
	store := &assign.Store{Dir: t.TempDir()}
	var told []string
	h := realHost(host)
	h.Told = func(line string) { told = append(told, line) }
	var writes []string
	h.Did = func(device string, w assign.Write, err error) { writes = append(writes, w.File) }
	if _, err := store.Assign(t.Context(), h, take(planned)); err != nil {
		t.Fatal(err)
	}
	writes = nil
	plug("")
	await(t, "the stick gone", func() bool { return !find().IsValid() })
	if _, err := store.ReleaseNamed(t.Context(), h, path.String()); err != nil || len(writes) > 0 || len(told) != 1 || !strings.Contains(told[0], "device lost") {
		t.Errorf("release of what is unplugged: %v, writes %q, told %q", err, writes, told)
	}

	plug("dummy_udc.0")
	await(t, "the stick again", func() bool { return find() == path })
	if _, err := store.Assign(t.Context(), h, take(planned)); !errors.Is(err, assign.ErrOtherDevice) || len(writes) > 0 {
		t.Errorf("assign of another at %s: %v, writes %q", path, err, writes)
	}
	if _, err := store.Assign(t.Context(), h, take(mustPlanRequest(t, host, request))); err != nil {
		t.Fatal(err)
	}
	plug("")
	plug("dummy_udc.0")
	await(t, "the stick a third time", func() bool { return find() == path })
	told, writes = nil, nil
	if _, err := store.ReleaseNamed(t.Context(), h, path.String()); err != nil || len(writes) > 0 || len(told) != 1 || !strings.Contains(told[0], "device changed") {
		t.Errorf("release after a replug: %v, writes %q, told %q", err, writes, told)
	}
	if find() != path {
		t.Error("the other stick has lost its driver")
	}
	plug("")
}

// virtualInside makes virtual functions with addresses and gives them back.
func virtualInside(t *testing.T, host hostfs.FS) {
	pf := address(t, "0000:05:00.0")
	store := &assign.Store{Dir: t.TempDir()}
	h := realHost(host)
	l, err := store.Assign(t.Context(), h, take(mustPlanRequest(t, host, assign.Request{VFs: []assign.VFRequest{{
		Physical: pf, Count: 2, SpoofCheck: "off", VLANs: []int{0, 100},
		MACs: []net.HardwareAddr{mac(t, "02:00:00:00:00:11"), mac(t, "02:00:00:00:00:12")},
	}}})))
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := l.Plan.Nodes(host)
	if err != nil || len(nodes) != 2 {
		t.Errorf("nodes %q, %v", nodes, err)
	}
	for _, a := range l.Devices {
		if d, err := hostfs.ReadLinkBase(host, "sys/bus/pci/devices/"+a.String()+"/driver"); err != nil || d != assign.VFIODriver {
			t.Errorf("%s has %q, %v", a, d, err)
		}
	}
	said := shell(t, "ip link show $(ls /sys/bus/pci/devices/0000:05:00.0/net)")
	t.Log(said)
	for _, want := range []string{"02:00:00:00:00:11", "02:00:00:00:00:12", "vlan 100", "spoof checking off"} {
		if !strings.Contains(said, want) {
			t.Errorf("ip link does not show %s", want)
		}
	}
	group, err := pci.ParseGroupID(strings.TrimPrefix(nodes[0], "dev/vfio/"))
	if err != nil {
		t.Fatal(err)
	}
	g, err := vfio.OpenGroup(group)
	if err != nil {
		t.Fatal(err)
	}
	var busy *assign.BusyError
	if _, err := store.ReleaseNamed(t.Context(), h, l.Devices[0].String()); !errors.As(err, &busy) {
		t.Errorf("release while a guest has one: %v", err)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := store.ReleaseNamed(t.Context(), h, l.Devices[1].String()); err != nil {
		t.Fatal(err)
	}
	noVirtual(t, "released", host)
}

// commandInside does it with the command.
func commandInside(t *testing.T, host hostfs.FS) {
	before := interfaces(t, host, "1-4")
	for _, c := range []struct{ args, says string }{
		{"assign 1-4 --guest work", "assigned usb:1-4\n  /dev/bus/usb/001/"},
		{"assign 05:00.0 --vfs 2 --vf-mac 02:00:00:00:00:21,02:00:00:00:00:22", "assigned 0000:05:10.0, 0000:05:10.2\n  /dev/vfio/"},
		{"leases", "0000:05:10.0, 0000:05:10.2"},
		{"release 1-4 05:10.2", "released usb:1-4, 0000:05:10.0, 0000:05:10.2"},
		{"leases", "no device is handed out"},
	} {
		if said := shell(t, os.Getenv("INDY_LAB_INDY")+" "+c.args); !strings.Contains(said, c.says) {
			t.Errorf("indy %s: %q", c.args, said)
		}
		if strings.Contains(c.args, "--vfs") {
			if said := shell(t, "ip link show $(ls /sys/bus/pci/devices/0000:05:00.0/net)"); !strings.Contains(said, "02:00:00:00:00:22") {
				t.Errorf("no address: %s", said)
			}
		}
	}
	noVirtual(t, "with the command", host)
	if now := interfaces(t, host, "1-4"); now != before {
		t.Errorf("drivers %q, they were %q", now, before)
	}
}

func noVirtual(t *testing.T, where string, host fs.FS) {
	t.Helper()
	const pf = "sys/bus/pci/devices/0000:05:00.0"
	for name, want := range map[string]string{"sriov_numvfs": "0", "sriov_drivers_autoprobe": "1"} {
		if got, err := hostfs.ReadString(host, pf+"/"+name); err != nil || got != want {
			t.Errorf("%s: %s is %q, %v", where, name, got, err)
		}
	}
	if d, err := hostfs.ReadLinkBase(host, pf+"/driver"); err != nil || d != "igb" {
		t.Errorf("%s: driver %q, %v", where, d, err)
	}
}

// killedInside is killAtEachWrite on the real kernel.
func killedInside(t *testing.T, host hostfs.FS, r assign.Request, when []bool, least int) {
	before := interfaces(t, host, "1-4")
	points := killAtEachWrite(t, when, func() hostfs.FS { return host },
		func(host hostfs.FS) *assign.Plan { return mustPlanRequest(t, host, r) },
		func(where string, host hostfs.FS) {
			noVirtual(t, where, host)
			if now := interfaces(t, host, "1-4"); now != before {
				t.Errorf("%s: drivers %q, they were %q", where, now, before)
			}
		})
	if points < least {
		t.Errorf("killed at %d points only", points)
	}
	t.Logf("killed at %d points", points)
}
