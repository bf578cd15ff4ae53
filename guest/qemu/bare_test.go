package qemu

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/pci"
)

// TestBare: it runs beside the guest whose disk it would need, and leaves that as it is.
func TestBare(t *testing.T) {
	needQEMU(t)
	noLeaks(t)
	disk := bootDisk(t, printText, "the guest itself")
	before, err := os.ReadFile(disk)
	if err != nil {
		t.Fatal(err)
	}
	g := guestOf(disk)
	out := newConsole()
	vm := startTest(t, g, Options{Serial: out})
	out.waitFor(t, "the guest itself")
	for _, firmware := range []guest.Firmware{guest.BIOS, guest.UEFI} {
		g.Firmware, g.Variables = firmware, ""
		if firmware == guest.UEFI {
			if _, _, err := openFirmware(&inheritance{rights: own{}}, guest.Guest{Firmware: guest.UEFI, Variables: filepath.Join(t.TempDir(), "v")}, Firmware()); err != nil {
				t.Log(err)
				continue
			}
			g.Variables = filepath.Join(t.TempDir(), "variables")
		}
		b, err := Bare(t.Context(), g, Options{Accelerator: TCG})
		if err != nil {
			t.Fatal(err)
		}
		if b.Answered <= 0 || b.Going < b.Answered || len(b.Without) != 0 {
			t.Errorf("%+v", b)
		}
		if g.Variables != "" {
			if _, err := os.Stat(g.Variables); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the guest has variables now: %v", err)
			}
		}
	}
	if err := vm.QMP().Call(t.Context(), "query-status", nil, nil); err != nil {
		t.Error(err)
	}
	if after, err := os.ReadFile(disk); err != nil || !slices.Equal(before, after) {
		t.Errorf("the disk has changed: %v", err)
	}
}

// TestBareFails tells why, in QEMU's words where it has some, and leaves nothing behind.
func TestBareFails(t *testing.T) {
	needQEMU(t)
	noLeaks(t)
	g := guestOf(bootDisk(t, printText, ""))
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Bare(over, g, Options{Accelerator: TCG}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	g.CPUs = 250
	g.Memory = 1 << 50
	var op *OpError
	if _, err := Bare(t.Context(), g, Options{Accelerator: TCG}); !errors.As(err, &op) || op.Guest != "test" {
		t.Errorf("%v", err)
	}
}

func TestOwnMachine(t *testing.T) {
	g := guest.Guest{
		Name: "test", CPUs: 2, Memory: 64 << 20, Disks: []guest.Disk{{File: "a"}}, Devices: make([]pci.Address, 1),
		NICs: []guest.NIC{{Link: guest.LinkNAT}}, Graphics: guest.VirGL, TPM: "tpm", Screen: guest.Screen{Kind: guest.VNC},
		Sound: guest.SoundCard{Model: guest.HDA}, Folders: []guest.SharedFolder{{Name: "x"}},
	}
	own, without := ownMachine(g)
	want := []string{"OpenGL", "assigned functions", "network", "viewers", "sound", "TPM", "folders"}
	if diff := cmp.Diff(want, without); diff != "" {
		t.Error(diff)
	}
	own.Disks[0].File = "b"
	if g.Disks[0].File != "a" || own.CPUs != 2 || own.Graphics != guest.VirtIOGPU || len(own.NICs) != 0 {
		t.Errorf("%+v of %+v", own, g)
	}
}
