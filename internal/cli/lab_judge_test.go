package cli_test

import (
	"encoding/binary"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/ioctl"
	"github.com/project-independence/indy/internal/lab"
	"github.com/project-independence/indy/internal/lab/labtest"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
)

// TestJudge makes whatever speaks against handing over a device, on a laptop that is used,
// and on one whose firmware takes little care.
func TestJudge(t *testing.T) {
	t.Parallel()
	labtest.Open(t)
	indy := indyVariable + "=" + labtest.BuildIndy(t)
	t.Run("losses", func(t *testing.T) {
		labtest.RunTestOn(t, lab.Machine{
			Env: []string{indy},
			Extra: []string{
				"-device", `{"driver":"virtio-vga","bus":"pcie.0","addr":"0f.0","romfile":""}`,
				"-device", `{"driver":"qemu-xhci","id":"xhci9","bus":"pcie.0","addr":"15.0"}`,
				"-device", `{"driver":"usb-kbd","bus":"xhci9.0","port":"1"}`,
			},
		}, "./internal/cli", "^TestJudgeLossesInside$")
	})
	t.Run("firmware", func(t *testing.T) {
		labtest.RunTestOn(t, lab.Machine{
			Topology: lab.NoRemappingIntel, Kernel: "pcie_acs_override=downstream,multifunction", Env: []string{indy},
		}, "./internal/cli", "^TestJudgeFirmwareInside$")
	})
}

// TestFault37WithoutIOMMU: what is missing is named, and nothing is changed.
func TestFault37WithoutIOMMU(t *testing.T) {
	t.Parallel()
	labtest.Open(t)
	indy := indyVariable + "=" + labtest.BuildIndy(t)
	labtest.RunTestOn(t, lab.Machine{Topology: lab.NoIOMMU, Env: []string{indy}}, "./internal/cli", "^TestJudgeWithoutInside$")
}

func TestJudgeLossesInside(t *testing.T) {
	labtest.Inside(t)
	programKeyboard(t)
	judge(t, "busy")
	losses(t)
	judge(t, "idle")
}

// losses is what a person is told who asks what else the host does with these devices,
// while it does.
func losses(t *testing.T) {
	t.Helper()
	l, err := laptop.Read(hostfs.Live())
	if err != nil {
		t.Error(err)
	}
	for _, test := range []struct {
		address string
		kind    laptop.Code
		what    string   // a part of it
		via     []string // the links between what is lost and the function
	}{
		{"0000:02:00.0", laptop.HostDisk, "/tmp/mnt", []string{"dm-1", "dm-0", "nvme0n1"}},
		{"0000:02:00.0", laptop.HostDisk, "swap", []string{"dm-2", "dm-0", "nvme0n1"}},
		{"0000:01:00.0", laptop.DefaultRoute, "default route", []string{"eth"}},
		{"0000:00:14.0", laptop.OnlyKeyboard, "QEMU USB Keyboard", []string{"usb:1-"}},
		{"0000:00:1b.0", laptop.NodeOpen, "sleep", []string{"snd/controlC"}},
	} {
		a, err := pci.ParseAddress(test.address)
		if err != nil {
			t.Fatal(err)
		}
		all, err := laptop.Losses(hostfs.Live(), l, []*laptop.Device{l.Function(a)})
		if err != nil {
			t.Error(err)
		}
		found := false
		for _, loss := range all {
			said := strings.Join(append([]string{loss.What}, loss.Via...), " > ")
			here := loss.Kind == test.kind && strings.Contains(said, test.what)
			for _, link := range test.via {
				here = here && strings.Contains(said, link)
			}
			found = found || here
		}
		if !found {
			t.Errorf("%s: no %s of %q by %q; there are %+v", a, test.kind, test.what, test.via, all)
		}
	}
}

func TestJudgeFirmwareInside(t *testing.T) {
	labtest.Inside(t)
	judge(t, "firmware")
}

func TestJudgeWithoutInside(t *testing.T) {
	labtest.Inside(t)
	judge(t, "without")
}

func judge(t *testing.T, what string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "/bin/bash", "testdata/judge.sh", what, os.Getenv(indyVariable)).CombinedOutput()
	t.Logf("%s", out)
	if err != nil || !strings.HasSuffix(string(out), "done\n") {
		t.Error(err)
	}
}

// programKeyboard makes a keyboard that is a program's, this one's, as of those that type
// what comes over a network: nobody can sit down at it.
func programKeyboard(t *testing.T) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "modprobe", "uinput").CombinedOutput(); err != nil {
		t.Fatalf("modprobe uinput: %v\n%s", err, out)
	}
	// Of linux/uinput.h.
	const (
		create     = 0x5501     // UI_DEV_CREATE
		setup      = 0x405c5503 // UI_DEV_SETUP, struct uinput_setup
		setEventOf = 0x40045564 // UI_SET_EVBIT
		setKey     = 0x40045565 // UI_SET_KEYBIT
		keyEvent   = 1          // EV_KEY
		lastKey    = 120
	)
	fd, err := unix.Open("/dev/uinput", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	set := func(request uint, value int) {
		if err := unix.IoctlSetInt(fd, request, value); err != nil {
			t.Fatalf("uinput: %#x of %d: %v", request, value, err)
		}
	}
	set(setEventOf, keyEvent)
	for key := 1; key <= lastKey; key++ {
		set(setKey, key)
	}
	description := make([]byte, 92)
	binary.NativeEndian.PutUint16(description, 6) // BUS_VIRTUAL
	copy(description[8:], "lab's own keyboard")
	if _, err := ioctl.Struct(uintptr(fd), setup, description); err != nil {
		t.Fatalf("uinput: %v", err)
	}
	set(create, 0)
}
