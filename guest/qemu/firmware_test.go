package qemu

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/internal/hosttest"
)

func TestVariables(t *testing.T) {
	template := []byte("as they come from the factory")
	dir := t.TempDir()
	name := filepath.Join(dir, "vars.fd")
	for range 2 { // made, then found
		f, err := openVariables(own{}, name, template)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, template) {
		t.Errorf("%q, %v", got, err)
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if _, err := openVariables(own{}, name, template[1:]); err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("variables of another firmware: %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	f, err := openVariables(own{}, "", template)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := make([]byte, len(template))
	if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, template) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestNoFirmware(t *testing.T) {
	var h inheritance
	_, _, err := openFirmware(&h, guestOf(), [][2]string{{t.TempDir() + "/code.fd", "vars.fd"}})
	if !errors.Is(err, errors.ErrUnsupported) || !strings.HasPrefix(err.Error(), "there is no UEFI firmware here; install the package ovmf") {
		t.Errorf("%v", err)
	}
}

// TestUEFI starts a guest with UEFI and nothing to boot. That the firmware runs is
// seen from the variables, which it writes to.
func TestUEFI(t *testing.T) {
	needQEMU(t)
	g := guestOf()
	g.Memory, g.Firmware = 256<<20, guest.UEFI
	g.Variables = filepath.Join(t.TempDir(), "vars.fd")
	vm, err := Start(t.Context(), g, Options{Accelerator: TCG, PowerdownTimeout: -1})
	if errors.Is(err, errors.ErrUnsupported) && os.Getenv("CI") != "true" {
		hosttest.Missing(t, "%v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(g.Variables)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		now, err := os.ReadFile(g.Variables)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(first, now) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the firmware has not written its variables")
		}
	}
	if err := vm.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}
