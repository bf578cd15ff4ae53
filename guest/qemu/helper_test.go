package qemu

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/internal/hosttest"
)

// needProgram skips the test without a program, except where tests count.
func needProgram(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		hosttest.Missing(t, "%v; install the package %s", err, name)
	}
}

// onlyPrograms leaves, of all programs, those in a directory that everybody may read.
func onlyPrograms(t *testing.T, scripts map[string]string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "qemu-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	err = os.Chmod(dir, 0o755)
	for name, script := range scripts {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
}

// binaryOf returns the path of QEMU, for when PATH is another.
func binaryOf(t *testing.T) string {
	t.Helper()
	needQEMU(t)
	path, err := resolve("")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// online skips the test where the host is connected to nothing: passt takes the addresses of
// the interface with the default route, and no set-up of ours connects a machine.
func online(t *testing.T) {
	t.Helper()
	routes, err := os.ReadFile("/proc/net/route")
	if err != nil || !strings.Contains(string(routes), "\t00000000\t") {
		t.Skipf("no default route: %v", err)
	}
}

func TestPasst(t *testing.T) {
	needProgram(t, "passt")
	online(t)
	noLeaks(t)
	g := guestOf()
	g.NICs = []guest.NIC{{Link: guest.LinkNAT}, {Link: guest.LinkNAT, Model: guest.E1000E}}
	vm := startTest(t, g, Options{PowerdownTimeout: -1})
	if vm.NAT() != Passt || len(vm.helpers) != 2 {
		t.Fatalf("the network is %v, with %d helpers", vm.NAT(), len(vm.helpers))
	}
	for _, h := range vm.helpers {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.cmd.Process.Pid))
		if err != nil || !strings.Contains(string(status), "CapEff:\t0000000000000000") || !strings.Contains(string(status), "NoNewPrivs:\t1") {
			t.Errorf("passt has rights: %v\n%s", err, status)
		}
	}
	var text string
	if err := vm.QMP().Call(t.Context(), "human-monitor-command", map[string]string{"command-line": "info network"}, &text); err != nil {
		t.Fatal(err)
	}
	if strings.Count(text, "type=stream") != 2 || strings.Contains(text, "type=user") {
		t.Errorf("%s", text)
	}
	if err := vm.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	for _, h := range vm.helpers {
		if err := syscall.Kill(h.cmd.Process.Pid, 0); err != syscall.ESRCH || h.End().Status != 0 {
			t.Errorf("passt after the guest: %v, %v", err, h.End())
		}
	}
}

// TestPasstServes asks passt, as a guest does, for an address.
func TestPasstServes(t *testing.T) {
	needProgram(t, "passt")
	online(t)
	rights, err := Options{}.rights()
	if err != nil {
		t.Fatal(err)
	}
	f, h, err := answering(rights, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		f.Close()
		h.finish()
	}()
	fd := int(f.Fd())
	if err := unix.Sendto(fd, discover(), 0, nil); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}); err != nil {
		t.Fatal(err)
	}
	for {
		var size [4]byte
		if err := receive(fd, size[:]); err != nil {
			t.Fatal(err)
		}
		frame := make([]byte, binary32(size[:]))
		if err := receive(fd, frame); err != nil {
			t.Fatal(err)
		}
		if len(frame) < 282 || frame[12] != 8 || frame[13] != 0 || frame[23] != 17 {
			continue
		}
		if address := net.IP(frame[58:62]); address.IsUnspecified() {
			t.Errorf("an offer of %v", address)
		}
		return
	}
}

func binary32(b []byte) uint32 { return binary.BigEndian.Uint32(b) }

// discover is DHCPDISCOVER (RFC 2131) in UDP, IPv4, Ethernet and passt's frame.
func discover() []byte {
	dhcp := make([]byte, 300)
	copy(dhcp, []byte{1, 1, 6, 0, 0, 0, 0x12, 0x34})
	copy(dhcp[28:], []byte{0x52, 0x54, 0, 0, 0, 1})
	copy(dhcp[236:], []byte{0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255})
	ip := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 0, 68, 0, 67, 0, 0, 0, 0}
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)+len(dhcp)))
	binary.BigEndian.PutUint16(ip[24:], uint16(8+len(dhcp)))
	var sum uint32
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	binary.BigEndian.PutUint16(ip[10:], ^uint16(sum>>16+sum&0xffff))
	frame := slices.Concat([]byte{255, 255, 255, 255, 255, 255, 0x52, 0x54, 0, 0, 0, 1, 8, 0}, ip, dhcp)
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)
}

// TestNoPasst shows what is taken in its place, and that it is said.
func TestNoPasst(t *testing.T) {
	qemu := binaryOf(t)
	g := guestOf()
	g.NICs = []guest.NIC{{Link: guest.LinkNAT}}
	for _, scripts := range []map[string]string{nil, {"passt": "echo External interface not usable >&2; exit 1"}} {
		onlyPrograms(t, scripts)
		var log bytes.Buffer
		vm := startTest(t, g, Options{Binary: qemu, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if vm.NAT() != UserNetwork {
			t.Errorf("with %v the network is %v", scripts, vm.NAT())
		}
		if want := "nat=user"; !strings.Contains(log.String(), want) {
			t.Errorf("no %q in the log:\n%s", want, log.String())
		}
		_, err := Start(t.Context(), g, Options{Binary: qemu, Accelerator: TCG, NAT: Passt})
		switch {
		case err == nil:
			t.Error("a guest that wants passt is started without")
		case scripts == nil && (!errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "install the package passt")),
			scripts != nil && !strings.Contains(err.Error(), "passt ended: exit status 1: External interface not usable"):
			t.Errorf("%v", err)
		}
	}
}

func TestTPM(t *testing.T) {
	needProgram(t, "swtpm")
	needQEMU(t)
	noLeaks(t)
	dir := t.TempDir() // closed to other users
	state := filepath.Join(dir, "state,mode=0777")
	g := guestOf()
	g.TPM = state
	users := []User{{}, {}}
	if os.Geteuid() == 0 {
		users = []User{{4321, 4321}, {4322, 4322}}
	}
	var seal []byte
	for i, u := range users {
		vm := startTest(t, g, Options{User: u, PowerdownTimeout: -1})
		var tpms []struct {
			Model string `json:"model"`
		}
		if err := vm.QMP().Call(t.Context(), "query-tpm", nil, &tpms); err != nil || len(tpms) != 1 || tpms[0].Model != "tpm-crb" {
			t.Fatalf("%+v, %v", tpms, err)
		}
		// another guest, or this one once more, is not to take it away
		other := Options{Accelerator: TCG}
		if os.Geteuid() == 0 {
			other.User = User{4323, 4323}
		}
		if _, err := Start(t.Context(), g, other); err == nil ||
			os.Geteuid() == 0 && (!errors.Is(err, syscall.EBUSY) || !strings.Contains(err.Error(), state)) {
			t.Errorf("a TPM for two: %v", err)
		}
		pid := vm.helpers[0].cmd.Process.Pid
		if err := vm.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
			t.Errorf("swtpm after the guest: %v", err)
		}
		data, err := os.ReadFile(filepath.Join(state, "tpm2-00.permall"))
		if err != nil || len(data) < 512 {
			t.Fatalf("%d bytes of state, %v", len(data), err)
		}
		if i == 0 {
			seal = data
		}
		if info, err := os.Stat(state); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
	}
	if len(seal) == 0 {
		t.Error("nothing was kept")
	}
}

func TestTPMState(t *testing.T) {
	cred := &syscall.Credential{Uid: uint32(os.Geteuid()), Gid: uint32(os.Getegid())}
	if f, err := openTPMState(filepath.Join(t.TempDir(), "no", "where"), cred); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v, %v", f, err)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]func(dir string) error{
		"a symbolic link": func(dir string) error { return os.Symlink(secret, filepath.Join(dir, "a")) },
		"another name":    func(dir string) error { return os.Link(secret, filepath.Join(dir, "a")) },
		"a fifo":          func(dir string) error { return syscall.Mkfifo(filepath.Join(dir, "a"), 0o600) },
		"a directory":     func(dir string) error { return os.Mkdir(filepath.Join(dir, "a"), 0o700) },
		"many files": func(dir string) (err error) {
			for i := range maxTPMState + 1 {
				err = errors.Join(err, os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o600))
			}
			return err
		},
	}
	for name, prepare := range tests {
		dir := t.TempDir()
		if err := prepare(dir); err != nil {
			t.Fatal(err)
		}
		if f, err := openTPMState(dir, cred); err == nil {
			f.Close()
			t.Errorf("%s is given away", name)
		} else if !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", name, err)
		}
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	if f, err := openTPMState(link, cred); err == nil {
		f.Close()
		t.Error("the directory may be a link")
	}
}

// TestHelperFails shows that a guest does not start without what it needs, and why.
func TestHelperFails(t *testing.T) {
	qemu := binaryOf(t)
	noLeaks(t)
	g := guestOf()
	g.TPM = filepath.Join(t.TempDir(), "state")
	onlyPrograms(t, map[string]string{"swtpm": "echo swtpm: the state is locked >&2; exit 1"})
	_, err := Start(t.Context(), g, Options{Binary: qemu, Accelerator: TCG})
	if err == nil || !strings.Contains(err.Error(), "swtpm ended: exit status 1: swtpm: the state is locked") {
		t.Errorf("%v", err)
	}
	onlyPrograms(t, nil)
	_, err = Start(t.Context(), g, Options{Binary: qemu, Accelerator: TCG})
	if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "install the package swtpm") {
		t.Errorf("%v", err)
	}
	if err := CheckHost(t.Context(), g, Options{Binary: qemu}); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "swtpm") {
		t.Errorf("CheckHost: %v", err)
	}
	if _, err := os.Stat("/usr/libexec/virtiofsd"); err != nil {
		g := guestOf()
		g.Folders = []guest.SharedFolder{{Path: "/srv", Name: "srv"}}
		_, err := Start(t.Context(), g, Options{Binary: qemu, Accelerator: TCG})
		if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "install the package virtiofsd") {
			t.Errorf("%v", err)
		}
	}
}

// TestHelperDies shows that a guest goes on without what helped it, and that it is
// said.
func TestHelperDies(t *testing.T) {
	needProgram(t, "swtpm")
	needQEMU(t)
	log := newConsole()
	g := guestOf()
	g.TPM = filepath.Join(t.TempDir(), "state")
	vm := startTest(t, g, Options{PowerdownTimeout: -1, Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err := vm.helpers[0].cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	log.waitFor(t, "the guest goes on without a helper")
	if err := vm.Err(); err != nil {
		t.Error(err)
	}
	if err := vm.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestTwoGuests shows that two guests share the host side by side: nothing of one is in
// the way of the other.
func TestTwoGuests(t *testing.T) {
	needProgram(t, "swtpm")
	needQEMU(t)
	noLeaks(t)
	var guests []*VM
	for _, name := range []string{"work", "play"} {
		path := filepath.Join(t.TempDir(), "viewers")
		listener, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		out := newConsole()
		g := guestOf(bootDisk(t, printText, "this is "+name))
		g.Name, g.TPM, g.NICs = name, filepath.Join(t.TempDir(), "tpm"), []guest.NIC{{Link: guest.LinkNAT}}
		g.Graphics, g.Screen.Kind = guest.VirtIOGPU, guest.VNC
		g.Sound = guest.SoundCard{Model: guest.HDA, Play: true}
		g.Input.Kind = guest.USBInput
		vm := startTest(t, g, Options{
			Viewers: listener, Serial: out, PowerdownTimeout: -1,
			Sound: Sound{Driver: WAV, Recording: filepath.Join(t.TempDir(), "sound.wav")},
		})
		guests = append(guests, vm)
		out.waitFor(t, "this is "+name)
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if got := vncName(t, conn); got != "QEMU ("+name+")" {
			t.Errorf("the viewer of %s sees %q", name, got)
		}
	}
	for _, vm := range guests {
		if err := errors.Join(vm.Err(), vm.helpersFailed()); err != nil || vm.NAT() == AutoNAT {
			t.Errorf("%s: %v, network %v", vm.Name(), err, vm.NAT())
		}
		if err := vm.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// vncName begins as a viewer does (RFC 6143) and returns the name of the screen.
func vncName(t *testing.T, conn net.Conn) string {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	read := func(n int) []byte {
		b := make([]byte, n)
		if _, err := io.ReadFull(conn, b); err != nil {
			t.Fatal(err)
		}
		return b
	}
	say := func(text string) {
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
	}
	read(12)
	say("RFB 003.008\n")
	read(int(read(1)[0])) // kinds of security, of which 1 is none
	say("\x01")
	read(4)
	say("\x01") // shared
	return string(read(int(binary32(read(24)[20:]))))
}
