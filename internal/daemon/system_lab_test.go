package daemon

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/internal/lab"
	"github.com/project-independence/indy/internal/lab/labtest"
	"github.com/project-independence/indy/internal/runner"
)

// powerSector is a boot sector that prints a text on the first serial line, as that of
// [lab.BootSector] does, and then waits for the power button and switches the machine off,
// by the registers of ACPI as SeaBIOS places them:
//
//	       mov dx, 602h   ; PM1 enable: the power button, heard from here on
//	       mov ax, 100h
//	       out dx, ax
//	       mov dx, 3f8h   ; the first serial line
//	       mov si, 7c28h  ; the text, after this code
//	next   lodsb
//	       test al, al
//	       jz button
//	       out dx, al
//	       jmp next
//	button mov dx, 600h   ; PM1 status
//	wait   hlt            ; until the timer
//	       in ax, dx
//	       test ah, 1
//	       jz wait
//	       mov dx, 604h   ; PM1 control: sleep, S5
//	       mov ax, 2000h
//	       out dx, ax
//	       jmp $
func powerSector(text string) []byte {
	const code = "\xba\x02\x06\xb8\x00\x01\xef" + "\xba\xf8\x03\xbe\x28\x7c\xac\x84\xc0\x74\x03\xee\xeb\xf8" +
		"\xba\x00\x06\xf4\xed\xf6\xc4\x01\x74\xf9\xba\x04\x06\xb8\x00\x20\xef\xeb\xfe"
	b := make([]byte, 64<<20)
	copy(b, code+text+"\r\n")
	b[510], b[511] = 0x55, 0xaa
	return b
}

// What is laid over the root file system, besides what make install has put there: a service that runs
// TestSystemdInside and then has the machine switched off, and one that is stopped after all
// of indy.
const (
	insideService = `[Unit]
Description=TestSystemdInside
After=indy-guests.service
SuccessAction=poweroff
FailureAction=poweroff
[Service]
Environment=INDY_LAB_INSIDE=1 HOME=/root
WorkingDirectory=/
ExecStart=/usr/lib/indy-lab/inside.test -test.v -test.count=1 -test.run ^TestSystemdInside$
ExecStopPost=/bin/sh -c 'echo $EXIT_STATUS >/run/lab-status'
StandardOutput=file:/dev/ttyS1
StandardError=inherit
[Install]
WantedBy=multi-user.target
`
	lastService = `[Unit]
Description=What there is when guests and daemon have been stopped
Before=indy-broker.service indy-daemon.service indy-guests.service lab.service
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
ExecStop=/bin/sh /usr/lib/indy-lab/last.sh
[Install]
WantedBy=multi-user.target
`
	lastScript = `{
	for a in 0000:02:00.0 0000:05:00.0; do
		echo "at the end $a has $(basename "$(readlink /sys/bus/pci/devices/$a/driver)")"
	done
	echo "at the end: $(indy leases)"
	echo "at the end there are $(pidof qemu-system-x86_64 indy | wc -w) processes"
} >/dev/ttyS1 2>&1
echo "status $(cat /run/lab-status)" >/dev/ttyS2
`
	journalConf = "[Journal]\nForwardToConsole=yes\nMaxLevelConsole=info\nRateLimitIntervalSec=0\n"
)

// TestSystemd boots Debian with systemd in the emulated laptop, with indy installed by
// make install, and two guests that start by themselves, each with a device.
func TestSystemd(t *testing.T) {
	if os.Geteuid() != 0 {
		hosttest.Missing(t, "what root has inside has to be root's here")
	}
	l := labtest.Open(t)
	dir := os.Getenv("INDY_LAB")
	if dir == "" {
		dir = filepath.Join(hosttest.Root(t), ".lab")
	}
	root := filepath.Join(dir, "root")
	if _, err := os.Stat(filepath.Join(root, "etc", "indy-lab")); err != nil {
		hosttest.Missing(t, "no Debian to boot, run lab/system.sh: %v", err)
	}
	over := t.TempDir()
	if err := os.Chmod(over, 0o755); err != nil {
		t.Fatal(err)
	}
	put := func(name string, mode os.FileMode, data []byte) {
		t.Helper()
		file := filepath.Join(over, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, data, mode); err != nil {
			t.Fatal(err)
		}
	}
	install(t, over)
	if err := os.MkdirAll(filepath.Join(over, "usr/lib/indy-lab"), 0o755); err != nil {
		t.Fatal(err)
	}
	hosttest.BuildTest(t, filepath.Join(over, "usr/lib/indy-lab"), "./internal/daemon")
	put("usr/lib/systemd/system/lab.service", 0o644, []byte(insideService))
	put("usr/lib/systemd/system/lab-last.service", 0o644, []byte(lastService))
	put("usr/lib/indy-lab/last.sh", 0o644, []byte(lastScript))
	put("etc/systemd/journald.conf.d/lab.conf", 0o644, []byte(journalConf))
	// Drivers take longer here, and more so when this machine is busy.
	put("etc/systemd/system/indy-guests.service.d/lab.conf", 0o644, []byte("[Service]\nExecStartPre=\nExecStartPre=/usr/bin/udevadm settle --timeout=300\n"))
	put("etc/systemd/system/indy-daemon.service.d/lab.conf", 0o644, []byte("[Service]\nWatchdogSec=120\n"))
	put("etc/hostname", 0o644, []byte("lab\n"))
	put("var/lib/indy/guests/net/guest.yaml", 0o600, []byte(`name: net
memory: 64MiB
firmware: bios
autostart: {priority: 1, ready: {serial: "net is up"}}
disks: [{file: net.raw}]
devices: [{want: ethernet, ids: "8086:10c9", how: assign}]
`))
	put("var/lib/indy/guests/net/net.raw", 0o600, powerSector("net is up"))
	put(filepath.Join("var/lib/indy/guests", "work", "guest.yaml"), 0o600, []byte(`name: work
memory: 64MiB
firmware: bios
locked: true
autostart: {priority: 9, ready: {serial: "work is up"}, needs: [net]}
devices: [{want: storage, class: "0108", how: assign}]
`))
	put("var/lib/indy/guests/hand/guest.yaml", 0o600, []byte("name: hand\nmemory: 64MiB\nfirmware: bios\ndisks: [{file: hand.raw}]\n"))
	put("var/lib/indy/guests/hand/hand.raw", 0o600, powerSector("hand is up"))
	nvme := filepath.Join(t.TempDir(), "nvme.img")
	if err := os.WriteFile(nvme, powerSector("work is up"), 0o600); err != nil {
		t.Fatal(err)
	}
	// What Debian starts besides takes longest, and nobody here wants it.
	for _, unit := range []string{
		"systemd-networkd.service", "systemd-networkd.socket", "e2scrub_reap.service", "e2scrub_all.timer", "apt-daily.timer", "apt-daily-upgrade.timer",
		"fstrim.timer", "dpkg-db-backup.timer", "getty@tty1.service", "serial-getty@ttyS0.service", "systemd-firstboot.service",
		"modprobe@dm_mod.service", "modprobe@drm.service", "modprobe@efi_pstore.service", "modprobe@loop.service", "modprobe@fuse.service", "modprobe@configfs.service",
		"systemd-journal-flush.service", "systemd-update-utmp.service",
	} {
		link := filepath.Join(over, "etc/systemd/system", unit)
		if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("/dev/null", link); err != nil {
			t.Fatal(err)
		}
	}
	enable := exec.CommandContext(t.Context(), "systemctl", "--root="+over, "enable", "indy-broker.socket", "indy-daemon.socket", "indy-daemon.service", "indy-guests.service", "lab.service", "lab-last.service")
	if out, err := enable.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), labtest.Limit)
	defer cancel()
	var said, console bytes.Buffer
	status, err := l.Run(ctx, lab.Machine{Root: []string{over, root}, NVMe: nvme, Stdout: &said, Console: &console})
	text := strings.ReplaceAll(said.String(), "\r", "")
	t.Logf("inside:\n%s", text)
	t.Logf("its console:\n%s", regexp.MustCompile(`[^\n -~]`).ReplaceAllString(console.String(), ""))
	if err != nil || status != 0 {
		t.Fatalf("exit status %d, %v", status, err)
	}
	for _, want := range []string{"at the end 0000:02:00.0 has nvme\n", "at the end 0000:05:00.0 has igb\n", "at the end: no device is handed out\n", "at the end there are 0 processes\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q", want)
		}
	}
	// By their power buttons, and each when those that need it have ended.
	last := map[string]int{}
	for _, what := range []string{"stops all guests", "indy-guest-work-", "indy-guest-net-", "stopped net after ", "stopped work after "} {
		want := regexp.QuoteMeta(what)
		if strings.HasSuffix(what, "-") {
			want += `\d+\.scope: Deactivated successfully`
		}
		all := regexp.MustCompile(want).FindAllIndex(console.Bytes(), -1)
		if len(all) != 1 {
			t.Fatalf("%d times %q on the console", len(all), what)
		}
		last[what] = all[0][0]
	}
	if last["stops all guests"] > last["indy-guest-work-"] || last["indy-guest-work-"] > last["indy-guest-net-"] {
		t.Errorf("guests were not stopped in order: %v", last)
	}
	if bytes.Contains(console.Bytes(), []byte("stopped by force")) {
		t.Error("a guest was stopped by force")
	}
}

// TestSystemdInside is what TestSystemd has run as a service.
func TestSystemdInside(t *testing.T) {
	labtest.Inside(t)
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput()
		t.Logf("$ %s\n%s", strings.Join(args, " "), out)
		if err != nil {
			t.Fatalf("%s: %v", args[0], err)
		}
		return string(out)
	}
	ask := func() BootReport {
		t.Helper()
		c, err := Dial(Socket)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		b, err := c.BootReport(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	// The processes of the guests, which nothing below may change.
	guests := func() map[string]runner.Status {
		t.Helper()
		all := map[string]runner.Status{}
		for _, name := range []string{"net", "work"} {
			s, err := Directories{Root: "/run/indy/guests", Host: hostfs.Live()}.Runner(name)
			if err != nil {
				t.Fatal(err)
			}
			now, err := s.Status(t.Context())
			if err != nil || now.State != runner.Running || !now.Ready {
				t.Fatalf("%s: %+v, %v", name, now, err)
			}
			all[name] = now
		}
		return all
	}
	first := ask()
	for end := time.Now().Add(5 * time.Minute); !first.Done && time.Now().Before(end); first = ask() {
		time.Sleep(500 * time.Millisecond)
	}
	run("indy", "daemon", "boot-report")
	run("indy", "guest", "boot-report")
	run("indy", "guest", "log", "net")
	before := guests()
	for name, device := range map[string]string{"net": "0000:05:00.0", "work": "0000:02:00.0"} {
		if got := before[name].Devices; !slices.Equal(got, []string{"pci:" + device}) {
			t.Errorf("%s has %q, want %s", name, got, device)
		}
		if driver, err := hostfs.ReadLinkBase(hostfs.Live(), "sys/bus/pci/devices/"+device+"/driver"); driver != "vfio-pci" {
			t.Errorf("%s is with %q, %v", device, driver, err)
		}
	}
	if net, work := at(t, before["net"], runner.PhaseReady), at(t, before["work"], runner.PhaseRunner); net > work {
		t.Errorf("work was started %.3f s after the kernel, and net, which it needs, was ready at %.3f s", work, net)
	}
	run("systemctl", "status", "--no-pager", "--full", "--lines=0", "indy-broker.socket", "indy-broker.service", "indy-daemon.socket", "indy-daemon.service", "indy-guests.service")
	for name, s := range before {
		insideScope(t, name, s)
	}
	// One that root starts by hand is confined as those are, and is nobody's but its own scope's.
	run("indy", "guest", "start", "hand")
	byHand, err := runner.Dir{Name: "hand", Path: "/run/indy/guests/hand"}.Status(t.Context(), hostfs.Live())
	if err != nil || byHand.State != runner.Running {
		t.Fatalf("hand: %+v, %v", byHand, err)
	}
	insideScope(t, "hand", byHand)
	run("indy", "guest", "stop", "hand", "--force")
	if failed := run("systemctl", "--failed", "--plain", "--no-legend"); failed != "" {
		t.Errorf("failed units: %s", failed)
	}

	// Who may ask: the groups are those of sysusers.d, and the socket is everybody's.
	as := []string{"env", "HOME=/tmp", "setpriv", "--reuid", "1000", "--regid", "1000"}
	if out := run(append(as, "--groups", "indy-users", "indy", "guest", "list")...); !strings.Contains(out, "work") {
		t.Error("a member of indy-users sees no guests")
	}
	if out := run(append(as, "--clear-groups", "indy", "guest", "list")...); strings.Contains(out, "work") {
		t.Error("somebody who is in no group sees guests")
	}

	// The daemon is restarted, killed, and stopped and asked again.
	pid := mainPID(t, "daemon")
	insideDaemon(t, pid)
	for _, how := range [][]string{
		{"systemctl", "restart", "indy-daemon.service"},
		{"systemctl", "kill", "--kill-who=main", "--signal=KILL", "indy-daemon.service"},
		{"systemctl", "stop", "indy-daemon.service"},
	} {
		run(how...)
		if now := guests(); now["net"].PID != before["net"].PID || now["work"].QEMU != before["work"].QEMU {
			t.Errorf("after %q: %+v; before: %+v", how, now, before)
		}
		b := ask() // waits for the next one, which the socket starts if nothing else has
		if now := mainPID(t, "daemon"); now == pid || now == "0" {
			t.Errorf("after %q the daemon is process %s, as before", how, now)
		} else {
			pid = now
		}
		if len(b.Guests) != 2 || b.Guests[0].State != runner.Running || b.Guests[1].State != runner.Running || b.Asked != first.Asked {
			t.Errorf("after %q it finds %+v", how, b)
		}
	}
	// So is the broker, which the daemon then asks again.
	broker := mainPID(t, "broker")
	for _, how := range [][]string{
		{"systemctl", "restart", "indy-broker.service"},
		{"systemctl", "kill", "--kill-who=main", "--signal=KILL", "indy-broker.service"},
	} {
		run(how...)
		if b := ask(); len(b.Guests) != 2 || b.Guests[0].State != runner.Running || b.Guests[1].State != runner.Running {
			t.Errorf("after %q the daemon finds %+v", how, b)
		}
		if now := guests(); now["net"].PID != before["net"].PID || now["work"].QEMU != before["work"].QEMU {
			t.Errorf("after %q: %+v; before: %+v", how, now, before)
		}
		if now := mainPID(t, "broker"); now == broker || now == "0" {
			t.Errorf("after %q the broker is process %s, as before", how, now)
		} else {
			broker = now
		}
	}
	run("indy", "daemon", "power")
	run("indy", "leases")
}

// insideDaemon looks at what the daemon may.
func insideDaemon(t *testing.T, pid string) {
	t.Helper()
	text, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the daemon:\n%s", text)
	for _, want := range []string{`Uid:\t([1-9][0-9]*)\t\d+\t\d+\t\d+`, `CapPrm:\t0+`, `CapEff:\t0+`, `CapBnd:\t0+`, `NoNewPrivs:\t1`, `Seccomp:\t2`} {
		if !regexp.MustCompile("(?m)^" + want + "$").Match(text) {
			t.Errorf("the daemon has not %s", want)
		}
	}
}

func at(t *testing.T, s runner.Status, name runner.PhaseName) float64 {
	t.Helper()
	at, passed := s.At(name)
	if !passed {
		t.Errorf("%s has not come to %s", s.Name, name)
	}
	return at
}

func mainPID(t *testing.T, unit string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "systemctl", "show", "--value", "--property=MainPID", "indy-"+unit+".service").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// insideScope looks at what confines a guest of root's.
func insideScope(t *testing.T, name string, s runner.Status) {
	t.Helper()
	read := func(file string) string {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
		}
		return strings.TrimSpace(string(text))
	}
	keeper := ""
	for line := range strings.Lines(read(fmt.Sprintf("/proc/%d/status", s.PID))) {
		if parent, ok := strings.CutPrefix(line, "PPid:"); ok {
			keeper = strings.TrimSpace(parent)
		}
	}
	scope := fmt.Sprintf("/system.slice/indy-guest-%s-%s.scope", name, keeper)
	own := strings.TrimPrefix(read(fmt.Sprintf("/proc/%d/cgroup", s.PID)), "0::")
	if !strings.HasPrefix(own, scope) {
		t.Errorf("the runner of %s is in %s, want %s", name, own, scope)
	}
	// What may be opened there: the node of VFIO, and not the machine's memory, which root may
	// open elsewhere.
	const try = `for f in /dev/vfio/vfio /dev/mem; do (exec 3<$f) 2>/dev/null && echo $f; done; true`
	for before, want := range map[string]string{
		"": "/dev/vfio/vfio\n/dev/mem\n", "echo $$ >/sys/fs/cgroup" + own + "/cgroup.procs || exit; ": "/dev/vfio/vfio\n",
	} {
		if out, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", before+try).CombinedOutput(); err != nil || string(out) != want {
			t.Errorf("%s%s: %q, %v; want %q", before, try, out, err, want)
		}
	}
	group := strings.TrimPrefix(read(fmt.Sprintf("/proc/%d/cgroup", s.QEMU)), "0::")
	if !strings.HasPrefix(group, scope+"/guest-"+name+"-") {
		t.Errorf("the QEMU of %s is in %s", name, group)
	}
	if most := read("/sys/fs/cgroup" + group + "/memory.max"); len(most) < 9 { // or max
		t.Errorf("the QEMU of %s may use %s bytes of memory", name, most)
	}
	if most := read("/sys/fs/cgroup" + group + "/pids.max"); most != "256" {
		t.Errorf("the QEMU of %s may have %s processes", name, most)
	}
	status := read(fmt.Sprintf("/proc/%d/status", s.QEMU))
	for _, want := range []string{"CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !strings.Contains(status, want+"\n") {
			t.Errorf("the QEMU of %s has no %q:\n%s", name, want, status)
		}
	}
	if strings.Contains(status, "Uid:\t0\t") {
		t.Errorf("the QEMU of %s is root", name)
	}
	out, err := exec.CommandContext(t.Context(), "systemctl", "show", "--property=DevicePolicy,DeviceAllow,Delegate", filepath.Base(scope)).Output()
	t.Logf("%s: %s", scope, out)
	if err != nil || !bytes.Contains(out, []byte("DevicePolicy=closed\n")) || !bytes.Contains(out, []byte("char-vfio* rwm")) {
		t.Errorf("%s: %v", scope, err)
	}
}
