package cli

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
)

const bridgeVariable = "INDY_TEST_BRIDGE"

// TestBridgePort makes a port of a bridge in a network of its own, in which it runs once more.
func TestBridgePort(t *testing.T) {
	if os.Getenv(bridgeVariable) == "" {
		if _, err := exec.LookPath("ip"); err != nil || os.Getuid() != 0 {
			hosttest.Missing(t, "it takes root and the program ip (package iproute2)")
		}
		again := exec.Command("/proc/self/exe", "-test.run=^TestBridgePort$", "-test.v")
		again.Env = append(os.Environ(), bridgeVariable+"=1")
		again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		out, err := again.CombinedOutput()
		if strings.Contains(string(out), "--- SKIP") {
			hosttest.Missing(t, "%s", out)
		}
		if err != nil || !strings.Contains(string(out), "PASS: TestBridgePort") {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	if _, err := bridgePort(hostfs.Live(), "br0"); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "no such bridge") {
		t.Errorf("without a bridge: %v", err)
	}
	if out, err := exec.Command("ip", "link", "add", "br0", "type", "bridge").CombinedOutput(); err != nil {
		hosttest.Missing(t, "this kernel makes no bridges: %s", out)
	}
	f, err := bridgePort(hostfs.Live(), "br0")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("ip", "-o", "link", "show", "master", "br0").CombinedOutput()
	if err != nil || !strings.Contains(string(out), ": indy0: <") || !strings.Contains(string(out), "UP") {
		t.Errorf("%s, %v", out, err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if _, err := net.InterfaceByName("indy0"); err == nil {
		t.Error("the interface is left")
	}
	if _, err := bridgePort(hostfs.Live(), "lo"); err == nil {
		t.Error("a port of what is no bridge")
	}
	if all, _ := filepath.Glob("/sys/class/net/indy*"); len(all) != 0 {
		t.Errorf("%v are left", all)
	}
}
