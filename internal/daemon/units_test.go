package daemon

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/project-independence/indy/internal/hosttest"
)

// TestUnits has systemd check the units that are shipped, and holds how exposed they are by
// its measure: 0 is not at all, 10 is a program without any bound. That of the broker is
// what guests' processes need, which inherit what it is forbidden.
func TestUnits(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		hosttest.Missing(t, "systemd has to check its units: %v", err)
	}
	root := filepath.Join(hosttest.Root(t), "packaging")
	dir := t.TempDir()
	units, err := filepath.Glob(filepath.Join(root, "systemd", "indy-*"))
	if err != nil || len(units) != 5 {
		t.Fatalf("%v, %v", units, err)
	}
	var copies []string
	for _, u := range units {
		text, err := os.ReadFile(u)
		if err != nil {
			t.Fatal(err)
		}
		c := filepath.Join(dir, filepath.Base(u))
		// A program that is there, and not whichever indy this machine has.
		text = bytes.ReplaceAll(text, []byte("=/usr/bin/indy "), []byte("=/bin/true "))
		text = bytes.ReplaceAll(text, []byte("=-/usr/bin/udevadm "), []byte("=-/bin/true "))
		if err := os.WriteFile(c, text, 0o644); err != nil {
			t.Fatal(err)
		}
		copies = append(copies, c)
	}
	out, err := exec.Command("systemd-analyze", append([]string{"verify", "--man=no"}, copies...)...).CombinedOutput()
	if err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	for unit, most := range map[string]string{"indy-broker.service": "60", "indy-daemon.service": "12", "indy-guests.service": "9"} {
		out, err := exec.Command("systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold="+most, filepath.Join(dir, unit)).CombinedOutput()
		if err != nil {
			t.Errorf("%s is more exposed than %s tenths: %v\n%s", unit, most, err, out)
		}
		t.Logf("%s", regexp.MustCompile(`Overall .*: [0-9.]+`).Find(out))
	}
}

// TestUnitsKeepGuests holds what guests need of the units, which systemd cannot know.
func TestUnitsKeepGuests(t *testing.T) {
	root := filepath.Join(hosttest.Root(t), "packaging")
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for name, wants := range map[string][]string{
		// Guests outlive the daemon, and are not killed for one of them.
		"systemd/indy-broker.service": {"KillMode=process\n", "OOMPolicy=continue\n", "Type=notify\n", "LimitMEMLOCK=infinity\n", "DeviceAllow=char-vfio* ", "DeviceAllow=/dev/char/10:232 "},
		"systemd/indy-broker.socket":  {"ListenSequentialPacket=/run/indy/broker.sock\n", "SocketUser=indy-daemon\n", "SocketMode=0600\n"},
		"systemd/indy-daemon.service": {"User=indy-daemon\n", "CapabilityBoundingSet=\n", "RestrictNamespaces=yes\n", "RuntimeDirectoryPreserve=yes\n", "Type=notify\n"},
		"systemd/indy-daemon.socket":  {"ListenStream=" + Socket + "\n", "SocketMode=0666\n"},
		"systemd/indy-guests.service": {"RemainAfterExit=yes\n", "ExecStop=/usr/bin/indy daemon stop-guests\n", "After=indy-daemon.socket indy-daemon.service\n", "ExecStartPre=-/usr/bin/udevadm settle "},
		"sysusers.d/indy.conf":        {"g " + UserGroup + " ", "g " + OperatorGroup + " ", "g " + AdminGroup + " ", "u indy-daemon "},
		"modules-load.d/indy.conf":    {"\nvfio-pci\n"},
		"tmpfiles.d/indy.conf":        {"d /run/indy/guests 0755 root root", "d /var/lib/indy/guests 0755 root root"},
	} {
		text := read(name)
		for _, want := range wants {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %q", name, want)
			}
		}
	}
	for _, no := range []string{"ProtectKernelTunables=yes", "PrivateDevices=yes", "MemoryDenyWriteExecute=yes", "RestrictSUIDSGID=yes", "ProtectHostname=yes", "RestrictNamespaces=", "ProtectHome=yes", "OOMScoreAdjust"} {
		if strings.Contains(read("systemd/indy-broker.service"), no) {
			t.Errorf("with %s no guest runs as it should", no)
		}
	}
}
