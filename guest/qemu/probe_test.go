package qemu

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/project-independence/indy/internal/hosttest"
)

// TestProbeProgram shows that the probe guest itself is right: an emulated
// processor that does everything runs it.
func TestProbeProgram(t *testing.T) {
	needQEMU(t)
	noLeaks(t)
	binary, err := Find()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := probe(ctx, Options{Binary: binary}, TCG); err != nil {
		t.Error(err)
	}
}

// TestProbe shows that the verdict has a reason, and that a guest really runs
// under it.
func TestProbe(t *testing.T) {
	needQEMU(t)
	noLeaks(t)
	start := time.Now()
	a, reason, err := Probe(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%v in %v: %s", a, time.Since(start).Round(time.Millisecond), reason)
	if a != KVM && a != TCG || !strings.Contains(reason, "/dev/kvm") {
		t.Errorf("%v: %q", a, reason)
	}
	out := newConsole()
	vm := startTest(t, guestOf(bootDisk(t, printText, "runs")), Options{Accelerator: a, Serial: out})
	out.waitFor(t, "runs")
	if vm.Accelerator() != a {
		t.Errorf("runs on %v, was started on %v", vm.Accelerator(), a)
	}
}

func TestProbeIsCancelled(t *testing.T) {
	needQEMU(t)
	noLeaks(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a, reason, err := Probe(ctx, Options{})
	if err == nil && strings.Contains(reason, "a probe guest") || err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("%v, %q, %v", a, reason, err)
	}
}

// TestProbeCodeIsItsSource assembles testdata/probe.S and compares.
func TestProbeCodeIsItsSource(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the assembler of another processor")
	}
	for _, tool := range []string{"as", "objcopy"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			hosttest.Missing(t, "%v; install the package binutils", err)
		}
	}
	object, binary := filepath.Join(t.TempDir(), "probe.o"), filepath.Join(t.TempDir(), "probe.bin")
	for _, args := range [][]string{
		{"as", "--64", "-o", object, "testdata/probe.S"},
		{"objcopy", "-O", "binary", "-j", ".text", object, binary},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v: %s", args, err, out)
		}
	}
	want, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	want = bytes.TrimRight(want[:510], "\x00")
	if got := hex.EncodeToString(want); got != probeCode {
		t.Errorf("probeCode is\n%s\nand testdata/probe.S gives\n%s", probeCode, got)
	}
}
