package qemu

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/usb"
)

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
				hosttest.Missing(t, "install the package qemu-system-modules-spice")
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
		hosttest.Missing(t, "%v", err)
	}
	defer tun.Close()
	request, err := unix.NewIfreq("indytest%d")
	if err != nil {
		t.Fatal(err)
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(int(tun.Fd()), unix.TUNSETIFF, request); err != nil {
		hosttest.Missing(t, "%v", err)
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
	o := Options{PowerdownTimeout: -1}
	rights, err := o.rights()
	if err != nil {
		t.Fatal(err)
	}
	h := inheritance{rights: rights}
	defer h.abandon()
	g := guestOf()
	g.Folders = []guest.SharedFolder{{Path: "/srv", Name: "srv"}}
	l := Layout{Accelerator: TCG, Folders: []int{h.add(theirs, "folder")}}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	vm, err := run(ctx, g, o, l, &h)
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
