package qemu

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
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
	"github.com/project-independence/indy/usb"
)

// needProgram skips the test without a program, except where tests count.
func needProgram(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("%v; install the package %s", err, name)
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

// peripherals returns the names of the devices that QEMU has.
func peripherals(t *testing.T, vm *VM) []string {
	t.Helper()
	var list []struct {
		Name string `json:"name"`
	}
	if err := vm.QMP().Call(t.Context(), "qom-list", map[string]string{"path": "/machine/peripheral"}, &list); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range list {
		if d.Name != "type" && !strings.HasPrefix(d.Name, "port") {
			names = append(names, d.Name)
		}
	}
	slices.Sort(names)
	return names
}

// TestSharedByQEMU shows that QEMU takes the arguments, and makes the devices of them.
func TestSharedByQEMU(t *testing.T) {
	needQEMU(t)
	isolated := []guest.NIC{{Link: guest.LinkNAT, Isolated: true}, {Link: guest.LinkNAT, Isolated: true, Model: guest.E1000E}}
	silent := Options{Sound: Sound{Driver: Silent}}
	tests := []struct {
		name    string
		guest   guest.Guest
		options Options
		want    string
	}{
		{"nothing", guest.Guest{}, Options{}, "serial0"},
		{"isolated network", guest.Guest{NICs: isolated}, Options{}, "nic0 nic1 serial0"},
		{"hda", guest.Guest{Sound: guest.SoundCard{Model: guest.HDA, Play: true, Record: true}}, silent, "codec serial0 sound"},
		{"hda that plays", guest.Guest{Sound: guest.SoundCard{Model: guest.HDA, Play: true}}, silent, "codec serial0 sound"},
		{"virtio sound", guest.Guest{Sound: guest.SoundCard{Model: guest.VirtIOSound, Play: true, Record: true}}, silent, "serial0 sound"},
		{"virtio sound that plays", guest.Guest{Sound: guest.SoundCard{Model: guest.VirtIOSound, Play: true}}, silent, "serial0 sound"},
		{"sound by ALSA", guest.Guest{Sound: guest.SoundCard{Model: guest.HDA, Play: true}}, Options{}, "codec serial0 sound"},
		{"graphics", guest.Guest{Graphics: guest.VirtIOGPU}, Options{}, "graphics serial0"},
		{"plain graphics", guest.Guest{Graphics: guest.StdVGA}, Options{}, "graphics serial0"},
		{"virtio input", guest.Guest{Input: guest.Input{Kind: guest.VirtIOInput}}, Options{}, "keyboard serial0 tablet"},
		{"USB input", guest.Guest{Input: guest.Input{Kind: guest.USBInput}}, Options{}, "keyboard serial0 tablet xhci"},
		{"USB controller", guest.Guest{USB: guest.USB{Controller: true}}, Options{}, "serial0 xhci"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.guest.Name, tt.guest.Memory = "test", 64<<20
			vm := startTest(t, tt.guest, tt.options)
			if got := strings.Join(peripherals(t, vm), " "); got != tt.want {
				t.Errorf("devices %s, want %s", got, tt.want)
			}
			if text := summary(vm.proc.stderr.String()); text != "" && tt.name != "sound by ALSA" { // which may have no card
				t.Errorf("QEMU says: %s", text)
			}
		})
	}
}

func TestNVMeBoots(t *testing.T) {
	for _, readOnly := range []bool{false, true} {
		out := newConsole()
		g := guestOf()
		g.Disks = []guest.Disk{{File: bootDisk(t, printText, "from NVMe"), Bus: guest.NVMe, ReadOnly: readOnly}}
		startTest(t, g, Options{Serial: out})
		out.waitFor(t, "from NVMe")
	}
}

// online skips the test where the host is connected to nothing.
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
		if err := syscall.Kill(h.cmd.Process.Pid, 0); err != syscall.ESRCH || !h.state.Success() {
			t.Errorf("passt after the guest: %v, %v", err, h.state)
		}
	}
}

// TestPasstServes asks passt, as a guest does, for an address.
func TestPasstServes(t *testing.T) {
	needProgram(t, "passt")
	online(t)
	binary, err := findPasst()
	if err != nil {
		t.Fatal(err)
	}
	cred, err := credential(User{})
	if err != nil {
		t.Fatal(err)
	}
	f, h, err := startPasst(binary, nil, cred)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		f.Close()
		h.end()
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

// TestViewers connects to the display of a guest as viewers do.
func TestViewers(t *testing.T) {
	needQEMU(t)
	spice := make([]byte, 16+18) // SpiceLinkHeader and SpiceLinkMess of spice/protocol.h
	copy(spice, "REDQ")
	spice[4], spice[8], spice[12], spice[20] = 2, 2, 18, 1
	spice[30] = 18
	tests := []struct {
		kind     guest.ScreenKind
		say, get string
	}{
		{guest.VNC, "", "RFB 003."},
		{guest.SPICE, string(spice), "REDQ"},
	}
	can, err := Ask(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.kind.String(), func(t *testing.T) {
			if tt.kind == guest.SPICE && !can.SPICE && os.Getenv("CI") != "true" {
				t.Skip("install the package qemu-system-modules-spice")
			}
			noLeaks(t)
			path := filepath.Join(t.TempDir(), "viewers")
			listener, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			g := guestOf()
			g.Graphics, g.Screen.Kind = guest.VirtIOGPU, tt.kind
			vm := startTest(t, g, Options{Viewers: listener, PowerdownTimeout: -1, Capabilities: &can})
			for range 2 {
				conn, err := net.Dial("unix", path)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
					t.Fatal(err)
				}
				got := make([]byte, len(tt.get))
				if _, err := io.WriteString(conn, tt.say); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(conn, got); err != nil || string(got) != tt.get {
					t.Errorf("%q, %v, want %q", got, err, tt.get)
				}
			}
			if err := vm.Stop(t.Context()); err != nil {
				t.Error(err)
			}
			if conn, err := net.Dial("unix", path); err == nil {
				conn.Close()
				t.Error("the door is open after the guest's end")
			}
		})
	}
}

func TestNoViewers(t *testing.T) {
	vm := startTest(t, guestOf(), Options{})
	if err := vm.AddViewer(t.Context(), os.Stdin); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v", err)
	}
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "viewers"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = Start(t.Context(), guestOf(), Options{Accelerator: TCG, Viewers: listener})
	if err == nil || !strings.Contains(err.Error(), "the display is none") {
		t.Errorf("%v", err)
	}
	if _, err := listener.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
}

// beep sounds the PC speaker at 1000 Hz for ever: 1193 is the divisor of its clock.
const beep = "b0b6e643b0a9e642b004e642e4610c03e661f4ebfd"

// TestSound records what a guest plays.
func TestSound(t *testing.T) {
	needQEMU(t)
	record := func(a guest.SoundCard) []byte {
		file := filepath.Join(t.TempDir(), "sound.wav")
		g := guestOf(bootDisk(t, beep, ""))
		g.Sound = a
		vm := startTest(t, g, Options{Sound: Sound{Driver: WAV, Recording: file}, PowerdownTimeout: -1})
		if !a.Play {
			// QEMU opens no stream for the card's output
			if said := vm.proc.stderr.String(); !strings.Contains(said, "Could not create a backend for voice `dac'") {
				t.Errorf("it may be heard: %s", said)
			}
		}
		var data []byte
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			var err error
			if data, err = os.ReadFile(file); err != nil {
				t.Fatal(err)
			}
			if crossings(data) > 500 || !a.Play && time.Until(deadline) < 18*time.Second {
				break
			}
		}
		if err := vm.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		return data
	}
	if n := crossings(record(guest.SoundCard{Model: guest.HDA, Play: true})); n <= 500 {
		t.Errorf("the speaker's tone is not in the recording: %d crossings", n)
	}
	if n := crossings(record(guest.SoundCard{Model: guest.HDA, Record: true})); n > 0 {
		t.Errorf("a guest that may not play is heard: %d crossings", n)
	}
}

// crossings counts how often the first channel of a WAV file of 16 bits changes sign.
func crossings(wav []byte) (n int) {
	last := false
	for i := 44; i+4 <= len(wav); i += 4 {
		if v := int16(binary.LittleEndian.Uint16(wav[i:])); v != 0 {
			if v > 0 != last {
				n++
			}
			last = v > 0
		}
	}
	return n
}

// TestUSBByDescriptor gives QEMU what is no USB device, and it says so by the name of
// the device: it got to open it.
func TestUSBByDescriptor(t *testing.T) {
	needQEMU(t)
	g := guestOf()
	g.USB.Devices = []usb.PortPath{port(t, "1-4")}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	_, err = Start(t.Context(), g, Options{Accelerator: TCG, USB: []*os.File{null}})
	if err == nil || !strings.Contains(err.Error(), "failed to open host usb device USB device 1-4") {
		t.Errorf("%v", err)
	}
	if _, err := null.Stat(); err != nil {
		t.Errorf("the file is no longer the caller's: %v", err)
	}
	for _, files := range [][]*os.File{nil, {nil}} {
		if _, err = Start(t.Context(), g, Options{Accelerator: TCG, USB: files}); err == nil {
			t.Errorf("%v for a device is enough", files)
		}
	}
}

// TestAttachUSB shows what a running QEMU does with what is no USB device, and that it
// is left as it was.
func TestAttachUSB(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	p := port(t, "1-4.2")
	if err := startTest(t, guestOf(), Options{}).AttachUSB(t.Context(), p, null); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("without a controller: %v", err)
	}
	g := guestOf()
	g.USB.Controller = true
	vm := startTest(t, g, Options{})
	for range 2 {
		if err := vm.AttachUSB(t.Context(), p, null); err == nil || !strings.Contains(err.Error(), "failed to open host usb device") {
			t.Errorf("%v", err)
		}
	}
	// What QEMU opened and failed with it never closes, but nothing else can open it.
	var sets []struct {
		FDs []json.RawMessage `json:"fds"`
	}
	if err := vm.QMP().Call(t.Context(), "query-fdsets", nil, &sets); err != nil {
		t.Fatal(err)
	}
	for _, s := range sets {
		if len(s.FDs) > 0 {
			t.Errorf("left behind: %s", s.FDs)
		}
	}
	if err := vm.DetachUSB(t.Context(), p); err == nil {
		t.Error("what is not there is detached")
	}
	// a device of QEMU's own takes the place of one of the host's
	args := map[string]any{"driver": "usb-tablet", "id": usbID(p), "bus": "xhci.0"}
	if err := vm.QMP().Call(t.Context(), "device_add", args, nil); err != nil {
		t.Fatal(err)
	}
	if err := vm.DetachUSB(t.Context(), p); err != nil || slices.Contains(peripherals(t, vm), usbID(p)) {
		t.Errorf("%v, %v", peripherals(t, vm), err)
	}
}

// TestEvdev shows that QEMU takes all that is said of a node, up to opening it.
func TestEvdev(t *testing.T) {
	needQEMU(t)
	for keys := guest.CtrlCtrl; keys <= guest.CtrlScrollLock; keys++ {
		g := guestOf()
		g.Input = guest.Input{Evdev: []string{"/dev/input/none,a=b"}, Switch: keys}
		_, err := Start(t.Context(), g, Options{Accelerator: TCG})
		if err == nil || !strings.Contains(err.Error(), "Could not open '/dev/input/none,a=b'") {
			t.Errorf("%v: %v", keys, err)
		}
	}
}

// TestNoVolume holds docs/sharing.md to what it says of the volume.
func TestNoVolume(t *testing.T) {
	vm := startTest(t, guestOf(), Options{})
	var commands []struct {
		Name string `json:"name"`
	}
	if err := vm.QMP().Call(t.Context(), "query-commands", nil, &commands); err != nil || len(commands) < 100 {
		t.Fatalf("%d commands, %v", len(commands), err)
	}
	for _, c := range commands {
		if strings.Contains(c.Name, "volume") || strings.Contains(c.Name, "mute") || strings.HasPrefix(c.Name, "audiodev") {
			t.Errorf("QEMU has the command %s: docs/sharing.md says that it has none", c.Name)
		}
	}
}

func TestTap(t *testing.T) {
	needQEMU(t)
	tun, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	defer tun.Close()
	request, err := unix.NewIfreq("indytest%d")
	if err != nil {
		t.Fatal(err)
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(int(tun.Fd()), unix.TUNSETIFF, request); err != nil {
		t.Skip(err)
	}
	g := guestOf()
	g.NICs = []guest.NIC{{Link: guest.LinkTap}}
	vm := startTest(t, g, Options{Taps: []*os.File{tun}})
	var text string
	if err := vm.QMP().Call(t.Context(), "human-monitor-command", map[string]string{"command-line": "info network"}, &text); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(text, "type=tap") || !strings.Contains(text, g.MAC(0).String()) || vm.NAT() != AutoNAT {
		t.Errorf("%v, %s", vm.NAT(), text)
	}
	if _, err := Start(t.Context(), g, Options{Accelerator: TCG}); err == nil || !strings.Contains(err.Error(), "0 tap interfaces are open for 1") {
		t.Errorf("%v", err)
	}
}

// TestFolder has the test itself in the place of virtiofsd: it says what QEMU asks
// before the guest's first instruction.
func TestFolder(t *testing.T) {
	needQEMU(t)
	noLeaks(t)
	ours, theirs, err := socketFiles("folder")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan map[uint32]bool, 1)
	go func() { asked <- vhostUser(conn) }()
	var h inheritance
	defer h.abandon()
	g := guestOf()
	g.Folders = []guest.SharedFolder{{Path: "/srv", Name: "srv"}}
	l := Layout{Accelerator: TCG, Folders: []int{h.add(theirs, "folder")}}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	vm, err := run(ctx, g, Options{PowerdownTimeout: -1}, l, &h)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(peripherals(t, vm), " "); got != "folder0 serial0" {
		t.Errorf("devices %s", got)
	}
	var memory []struct {
		Share bool `json:"share"`
	}
	if err := vm.QMP().Call(t.Context(), "query-memdev", nil, &memory); err != nil || len(memory) != 1 || !memory[0].Share {
		t.Errorf("%+v, %v", memory, err)
	}
	if err := vm.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if got := <-asked; !got[1] || !got[15] {
		t.Errorf("QEMU asked %v", got)
	}
}

// vhostUser answers what a front end asks of vhost-user at its start, and returns
// which requests there were.
func vhostUser(conn net.Conn) map[uint32]bool {
	defer conn.Close()
	asked := map[uint32]bool{}
	for {
		var head [12]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			return asked
		}
		request, flags := binary.LittleEndian.Uint32(head[:]), binary.LittleEndian.Uint32(head[4:])
		if _, err := io.CopyN(io.Discard, conn, int64(binary.LittleEndian.Uint32(head[8:]))); err != nil {
			return asked
		}
		asked[request] = true
		var value uint64
		switch request {
		case 1: // features: VIRTIO_F_VERSION_1 and protocol features
			value = 1<<32 | 1<<30
		case 15: // protocol features: several queues
			value = 1
		case 17: // queues
			value = 2
		default:
			if flags&8 == 0 {
				continue
			}
		}
		answer := binary.LittleEndian.AppendUint32(nil, request)
		answer = binary.LittleEndian.AppendUint32(answer, 1|4)
		answer = binary.LittleEndian.AppendUint32(answer, 8)
		answer = binary.LittleEndian.AppendUint64(answer, value)
		if _, err := conn.Write(answer); err != nil {
			return asked
		}
	}
}

// listenAt makes a socket below dir.
func listenAt(t *testing.T, dir, name string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
}

func environmentOf(t *testing.T, pid int) string {
	t.Helper()
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil {
		t.Fatal(err)
	}
	return string(env)
}
