//go:build cgo

package live

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/internal/lab"
	"github.com/project-independence/indy/internal/lab/labtest"
	"github.com/project-independence/indy/usb"
)

// TestLab runs TestLiveInside in the emulated laptop. It builds the program itself,
// because labtest.RunTest builds without cgo, and without the race detector, because
// the laptop is slow enough. The tests run with the libraries of this machine.
func TestLab(t *testing.T) {
	l := labtest.Open(t)
	root := hosttest.Root(t)
	program := filepath.Join(t.TempDir(), "inside.test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", program, "./usb/live")
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=1")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build, err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), labtest.Limit)
	defer cancel()
	var said bytes.Buffer
	status, err := l.Run(ctx, lab.Machine{
		Args: []string{program, "-test.v", "-test.count=1", "-test.run", "^TestLiveInside$"},
		Env:  []string{"INDY_LAB_INSIDE=1"}, Dir: filepath.Join(root, "usb", "live"), Stdout: &said,
	})
	t.Logf("inside the emulated laptop:\n%s", &said)
	if err != nil || status != 0 || !strings.Contains(said.String(), "--- PASS: TestLiveInside") {
		t.Fatalf("status %d, %v", status, err)
	}
}

// TestLiveInside uses the device at the port path in INDY_USB_PORT, or any that has a
// driver.
func TestLiveInside(t *testing.T) {
	labtest.Inside(t)
	host := hostfs.Live()
	d := anyDevice(t, host)
	name := d.Path.String() + ":1.0"
	t.Logf("%v %v:%v, %s with driver %s", d.Path, d.Vendor, d.Product, name, d.Interfaces[0].Driver)

	dev, err := Open(d.Path)
	if err != nil {
		t.Fatal(err)
	}
	if dev.Path() != d.Path {
		t.Errorf("it is at %v", dev.Path())
	}
	claims, err := dev.ClaimTest()
	if err != nil || len(claims) != len(d.Interfaces) || !errors.Is(claims[0].Err, syscall.EBUSY) {
		t.Errorf("with a driver: %v, %v", claims, err)
	}
	driver := "sys/bus/usb/drivers/" + d.Interfaces[0].Driver
	write := func(attribute string) {
		t.Helper()
		if err := host.WriteFile(driver+"/"+attribute, []byte(name)); err != nil {
			t.Fatal(err)
		}
	}
	write("unbind")
	for range 2 { // the first lets go of what it claimed
		if claims, err := dev.ClaimTest(); err != nil || len(claims) == 0 || claims[0].Err != nil {
			t.Errorf("without a driver: %v, %v", claims, err)
		}
	}
	if after, err := usb.ReadDevice(host, d.Path); err != nil || after.Interfaces[0].Driver != "" {
		t.Errorf("afterwards: %+v, %v", after, err)
	}
	write("bind")
	if err := dev.Reset(); err != nil {
		t.Error(err)
	}
	if after, err := usb.ReadDevice(host, d.Path); err != nil || after.Number != d.Number || after.Interfaces[0].Driver != d.Interfaces[0].Driver {
		t.Errorf("after the reset: %+v, %v", after, err)
	}
	if err := errors.Join(dev.Close(), dev.Close()); err != nil {
		t.Error(err)
	}
	if err := dev.Reset(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("closed: %v", err)
	}

	byNumber, err := OpenNumber(d.Bus, d.Number)
	if err != nil || byNumber.Path() != d.Path {
		t.Fatalf("by number: %+v, %v", byNumber, err)
	}
	if err := byNumber.Close(); err != nil {
		t.Error(err)
	}
	if root, err := OpenNumber(d.Bus, 1); root != nil || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the root hub: %v, %v", root, err)
	}
	denied := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.v", "-test.run", "^TestDenied$") // where it is, nobody may not look
	denied.Env = append(os.Environ(), "INDY_USB_PORT="+d.Path.String(), "INDY_USB_DENIED=1")
	denied.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := denied.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestDenied") {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
}

// TestDenied is run by TestLiveInside as nobody.
func TestDenied(t *testing.T) {
	labtest.Inside(t)
	if os.Getenv("INDY_USB_DENIED") == "" {
		t.Skip("is run by TestLiveInside as nobody")
	}
	p, err := usb.ParsePortPath(os.Getenv("INDY_USB_PORT"))
	if err != nil {
		t.Fatal(err)
	}
	d, err := Open(p)
	var op *usb.OpError
	if d != nil || !errors.Is(err, fs.ErrPermission) || !errors.As(err, &op) || op.Path != p {
		t.Errorf("%v, %v", d, err)
	}
}

// anyDevice waits for a device that is no hub and whose first interface has a driver.
func anyDevice(t *testing.T, host fs.FS) usb.Device {
	t.Helper()
	var list []usb.Device
	var err error
	for range 600 {
		list, err = usb.Devices(host)
		for _, d := range list {
			if want := os.Getenv("INDY_USB_PORT"); want != "" && want != d.Path.String() {
				continue
			}
			if !d.Hub && len(d.Interfaces) > 0 && d.Interfaces[0].Driver != "" && d.Number > 0 {
				return d
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("no device with a driver: %+v, %v", list, err)
	return usb.Device{}
}
