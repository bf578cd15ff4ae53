package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/lab"
	"github.com/project-independence/indy/internal/lab/labtest"
	"github.com/project-independence/indy/pci"
)

// TestLab runs the example in an emulated laptop that has the device.
func TestLab(t *testing.T) {
	labtest.RunTestOn(t, lab.Machine{
		Extra: []string{
			"-device", "pcie-root-port,id=port9,bus=pcie.0,addr=07.0,chassis=9,slot=9",
			"-device", "edu,bus=port9",
		},
		Env: []string{"INDY=" + labtest.BuildIndy(t)},
	}, "./examples/edu", "^TestEdu$")
}

// TestEdu has indy hand the device over, runs the example, and looks for the fault of
// the IOMMU in the kernel's log.
func TestEdu(t *testing.T) {
	labtest.Inside(t)
	functions, err := pci.Functions(hostfs.Live())
	if err != nil {
		t.Fatal(err)
	}
	var a pci.Address
	for _, f := range functions {
		if f.Vendor == pci.NewID(0x1234) && f.Device == pci.NewID(0x11e8) {
			a = f.Address
		}
	}
	if !a.IsValid() {
		t.Fatal("the machine has no edu")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var said bytes.Buffer
	if err := run(ctx, &said, a); err == nil || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("before it is handed over: %v\n%s", err, &said)
	}
	indy(t, "assign", a.String())
	t.Cleanup(func() {
		indy(t, "release", a.String())
		if driver, err := pci.Driver(hostfs.Live(), a); driver != "" || err != nil {
			t.Errorf("after the release it is bound to %q, %v", driver, err)
		}
	})
	log := kernelLog(t)
	said.Reset()
	err = run(ctx, &said, a)
	t.Logf("the example:\n%s", &said)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"edu version 1.0", "12! = 479001600", "4096 bytes went there and came back the same", "untouched"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("it does not say %q", want)
		}
	}
	fault := ""
	for end := time.Now().Add(10 * time.Second); fault == "" && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		for _, line := range log() {
			if strings.Contains(line, "DMAR") && strings.Contains(line, "fault addr 0x300000") {
				fault = line
			} else if strings.Contains(line, "DMAR") {
				t.Log(line)
			}
		}
	}
	t.Log(fault)
	if name := a.String()[len("0000:"):]; !strings.Contains(fault, "DMA Write") || !strings.Contains(fault, name) {
		t.Errorf("the kernel's log has no fault of %s writing to 0x300000: %q", name, fault)
	}
}

func indy(t *testing.T, args ...string) {
	t.Helper()
	out, err := exec.Command(os.Getenv("INDY"), args...).CombinedOutput()
	t.Logf("indy %s:\n%s", strings.Join(args, " "), out)
	if err != nil {
		t.Fatal(err)
	}
}

// kernelLog returns what the kernel logs from now on, each line once.
func kernelLog(t *testing.T) func() []string {
	t.Helper()
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err == nil {
		_, err = unix.Seek(fd, 0, unix.SEEK_END)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return func() (lines []string) {
		b := make([]byte, 8192)
		for {
			n, err := unix.Read(fd, b) // one record a read; EPIPE: some were overwritten
			switch {
			case err == syscall.EAGAIN:
				return lines
			case err == syscall.EPIPE:
			case err != nil:
				t.Fatal(err)
			default:
				lines = append(lines, strings.TrimSpace(string(b[:n])))
			}
		}
	}
}
