package cli_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/project-independence/indy/guest/qmp"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/internal/lab"
	"github.com/project-independence/indy/internal/lab/labtest"
)

// What the guests of TestGuestsDriveHardware have to do with, as in testdata/hardwareguest.
const (
	hardwareTone  = 523     // Hz
	hardwareRead  = 1 << 20 // where on the NVMe there is something to read
	hardwareWrite = 2 << 20 // and where it is written in capitals
	hardwareText  = "on no other disk but this"
)

// hardwareVariable names the directory with the disks of the guests.
const hardwareVariable = "INDY_LAB_HARDWARE"

// hardwareStripes are the colours that a guest paints, from the top, as red, green, blue.
var hardwareStripes = [4][3]byte{{0xc0, 0x40, 0x20}, {0x10, 0xb0, 0x30}, {0x30, 0x50, 0xd0}, {0xe0, 0xd0, 0x10}}

// hardwareKernel keeps the kernel of a guest from what takes an emulator in an emulator long
// and has nothing to do with its devices: self-tests, certificates, BPF, security modules.
const hardwareKernel = "console=ttyS0 quiet panic=-1 init_on_alloc=0 nokaslr mitigations=off tsc=reliable lpj=4000000 no_timer_check numa=off rodata=off " +
	"apparmor=0 lsm= audit=0 ipv6.disable=1 vt.global_cursor_default=0 initcall_blacklist=load_system_certificate_list,jent_mod_init," +
	"bpf_tcp_ca_kfunc_init,bpf_dummy_struct_ops_init,init_encrypted,crypto_kdf108_init,trace_eval_init,crypto_algapi_init,aa_create_aafs"

// TestGuestsDriveHardware has two Linux guests side by side in the emulated laptop, a locked
// one and a free one, that drive what is assigned to them. What they do is seen from outside
// the laptop: by what its sound card played, what is on its disk, what its display shows; and
// keys typed on its keyboard and the answers of its network get to them.
//
// The guests' kernels run in an emulator in an emulator: it takes a processor of its own for six
// minutes, and longer where others have it, too.
func TestGuestsDriveHardware(t *testing.T) {
	l := labtest.Open(t)
	dir, err := os.MkdirTemp("", "") // short: the path of a socket has 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	in := func(name string) string { return filepath.Join(dir, name) }

	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", in("init"), "./internal/cli/testdata/hardwareguest")
	build.Dir, build.Env = hosttest.Root(t), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build, err, out)
	}
	for name, modules := range map[string][]string{
		"work": {"nvme", "snd_hda_codec_generic", "snd_hda_intel", "snd_mixer_oss", "snd_pcm_oss"},
		"free": {"e1000e", "bochs", "xhci_pci", "usbhid", "hid_generic", "evdev"},
	} {
		if err := l.WriteLinuxDisk(in(name+".raw"), lab.LinuxDisk{
			Init: in("init"), Busybox: name == "free", Kernel: hardwareKernel, Modules: modules,
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := lab.NVMeImage(in("nvme.raw"), "not started from"); err != nil {
		t.Fatal(err)
	}
	disk, err := os.OpenFile(in("nvme.raw"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	if _, err := disk.WriteAt([]byte(hardwareText), hardwareRead); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(in("out"), 0o755); err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() {
		for _, name := range []string{"work", "free"} {
			if said, err := os.ReadFile(in("out/" + name + ".console")); t.Failed() {
				t.Logf("console of %s: %s, %v", name, said, err)
			}
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		outside := &outside{T: t, ctx: ctx, dir: dir}
		outside.watch()
	}()
	defer func() {
		cancel()
		<-watched
	}()
	labtest.RunTestOn(t, lab.Machine{
		NVMe: in("nvme.raw"), Heard: in("heard.wav"), Out: in("out"),
		Env: []string{indyVariable + "=" + labtest.BuildIndy(t), hardwareVariable + "=" + dir},
		Extra: []string{
			"-device", `{"driver":"virtio-vga","bus":"pcie.0","addr":"0f.0","romfile":""}`, // the firmware's display
			"-device", `{"driver":"pcie-root-port","id":"panelport","bus":"pcie.0","addr":"12.0","chassis":31,"slot":31}`,
			"-device", `{"driver":"bochs-display","id":"panel","bus":"panelport"}`,
			"-chardev", "socket,id=qmp,server=on,wait=off,path=" + in("qmp"),
			"-mon", "chardev=qmp,mode=control",
		},
	}, "./internal/cli", "^TestGuestsDriveHardwareInside$")
	cancel()
	<-watched

	block := make([]byte, len(hardwareText))
	if _, err := disk.ReadAt(block, hardwareWrite); err != nil || string(block) != strings.ToUpper(hardwareText) {
		t.Errorf("on the disk there is %q, %v", block, err)
	}
	heard, err := readWAV(in("heard.wav"))
	if err != nil {
		t.Fatal(err)
	}
	tone, other := heard.seconds(hardwareTone), heard.seconds(700)
	t.Logf("of %.1f s that the sound card played, %.1f s are a tone of %d Hz, %.1f s one of 700 Hz",
		float64(len(heard.samples))/float64(heard.rate), tone, hardwareTone, other)
	if tone < 1 || other != 0 {
		t.Errorf("%.1f s of %d Hz were heard, wanted nearly 2; %.1f s of 700 Hz", tone, hardwareTone, other)
	}
	before, _ := stripes(in("before.ppm"))
	after, err := stripes(in("after.ppm"))
	t.Logf("of the display %.0f %% were as a guest paints it before it did, %.0f %% then", 100*before, 100*after)
	if before > 0.3 || after < 0.95 || err != nil {
		t.Errorf("the picture of the display is not what the guest painted: %v", err)
	}
}

// outside does what happens to the laptop from outside while guests run in it: what it is
// told to by files in the laptop's Out.
type outside struct {
	*testing.T
	ctx  context.Context
	dir  string
	qemu *qmp.Conn
}

func (o *outside) watch() {
	defer func() {
		if o.qemu != nil {
			o.qemu.Close()
		}
	}()
	for _, want := range []struct {
		file string
		do   func() error
	}{
		{"before", func() error { return o.picture("before.ppm") }},
		{"painted", func() error { return o.picture("after.ppm") }},
		{"listening", o.keys},
	} {
		for {
			if _, err := os.Stat(filepath.Join(o.dir, "out", want.file)); err == nil {
				break
			}
			select {
			case <-o.ctx.Done():
				return
			case <-time.After(200 * time.Millisecond):
			}
		}
		err := want.do()
		if err == nil {
			err = os.WriteFile(filepath.Join(o.dir, "out", want.file+".done"), nil, 0o644)
		}
		if err != nil && o.ctx.Err() == nil {
			o.Errorf("%s: %v", want.file, err)
			return
		}
	}
}

func (o *outside) tell(command string, args any) error {
	if o.qemu == nil {
		conn, err := net.Dial("unix", filepath.Join(o.dir, "qmp"))
		if err == nil {
			o.qemu, err = qmp.New(o.ctx, conn)
		}
		if err != nil {
			return err
		}
	}
	return o.qemu.Call(o.ctx, command, args, nil)
}

func (o *outside) picture(file string) error {
	return o.tell("screendump", map[string]any{"filename": filepath.Join(o.dir, file), "device": "panel"})
}

func (o *outside) keys() error {
	for _, key := range "indy" {
		err := o.tell("send-key", map[string]any{"keys": []any{map[string]string{"type": "qcode", "data": string(key)}}})
		if err != nil {
			return err
		}
		time.Sleep(time.Second)
	}
	return nil
}

// TestGuestsDriveHardwareInside is started by TestGuestsDriveHardware.
func TestGuestsDriveHardwareInside(t *testing.T) {
	labtest.Inside(t)
	began := time.Now()
	indy := func(want string, args ...string) {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), os.Getenv(indyVariable), args...).CombinedOutput()
		t.Logf("%.0f s: indy %s:\n%s", time.Since(began).Seconds(), strings.Join(args, " "), out)
		if err != nil || !strings.Contains(string(out), want) {
			t.Fatalf("%v; want %q", err, want)
		}
	}
	drivers := func(want ...string) {
		t.Helper()
		for i, address := range []string{"0000:02:00.0", "0000:00:1b.0", "0000:01:00.0", "0000:00:14.0", panel(t)} {
			var got string
			for end := time.Now().Add(10 * time.Second); time.Now().Before(end) && got != want[i%len(want)]; time.Sleep(50 * time.Millisecond) {
				got, _ = hostfs.ReadLinkBase(hostfs.Live(), "sys/bus/pci/devices/"+address+"/driver")
			}
			if got != want[i%len(want)] {
				t.Errorf("%s is with %q, want %s", address, got, want[i%len(want)])
			}
		}
	}
	outside := func(what string) {
		t.Helper()
		file := filepath.Join(lab.OutDir, what)
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
			if _, err := os.Stat(file + ".done"); err == nil {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("nothing is done outside for %s", what)
			}
		}
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"work": "locked: true\ndevices: [{want: storage, class: \"0108\", how: assign}, {want: audio, ids: \"8086:2668\", how: assign}]\n",
		"free": "devices: [{want: ethernet, ids: \"8086:10d3\", how: assign}, {want: usb-controller, ids: \"1b36:000d\", how: assign}, " +
			"{want: gpu, ids: \"1234:1111\", how: assign}]\n",
	} {
		file := filepath.Join(dir, name+".yaml")
		text = fmt.Sprintf("name: %s\nmemory: 160MiB\nfirmware: bios\ndisks: [{file: %s, read_only: true}]\n"+
			"autostart: {ready: {serial: \"guest: drove\"}}\n%s", name, filepath.Join(os.Getenv(hardwareVariable), name+".raw"), text)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		indy("made guest "+name, "guest", "import", file)
	}
	home := []string{"nvme", "snd_hda_intel", "e1000e", "xhci_hcd", "bochs-drm"}
	drivers(home...)
	outside("before")
	// One after the other: a kernel that starts is hundreds of timer interrupts a second to an
	// emulator in an emulator, one that waits is none.
	indy("running after", "guest", "start", "work", "--accel", "tcg", "--allow", "no-reset")
	work := watchConsole(t, "work")
	work.await("read from the disk: " + hardwareText)
	work.await(fmt.Sprintf("played %d Hz", hardwareTone))
	work.await("drove 2, failed 0")
	t.Logf("the locked guest has driven its devices after %.0f s", time.Since(began).Seconds())
	indy("running after", "guest", "start", "free", "--accel", "tcg", "--allow", "no-reset")
	free := watchConsole(t, "free")
	drivers("vfio-pci")
	indy("work", "leases")
	free.await("lease 10.0.2.15 of 10.0.2.2")
	free.await("painted 1280x800 by bochs-drmdrmfb")
	outside("painted")
	free.await("listening to ")
	outside("listening")
	free.await("typed: indy")
	free.await("drove 3, failed 0")
	drivers("vfio-pci") // both have what they drove until now
	indy("work", "guest", "list")
	t.Logf("both have driven what they have after %.0f s", time.Since(began).Seconds())

	for _, name := range []string{"work", "free"} {
		indy("stopped "+name, "guest", "stop", name, "--timeout", "1s")
	}
	drivers(home...)
	indy("no device is handed out", "leases")
	if err := eventuallyRead("/dev/nvme0n1", hardwareWrite, strings.ToUpper(hardwareText)); err != nil {
		t.Error(err) // by the host's own driver
	}
}

// panel returns the address of the display.
func panel(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob("/sys/bus/pci/devices/*/device")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && string(b) == "0x1111\n" {
			return filepath.Base(filepath.Dir(f))
		}
	}
	t.Fatal("there is no bochs-display")
	return ""
}

// eventuallyRead reads want from a file, which may not be there at once.
func eventuallyRead(name string, at int64, want string) (err error) {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		var f *os.File
		if f, err = os.Open(name); err != nil {
			continue
		}
		b := make([]byte, len(want))
		_, err = f.ReadAt(b, at)
		f.Close()
		if err == nil && string(b) == want {
			return nil
		}
		err = errors.Join(err, fmt.Errorf("%s has %q", name, b))
	}
	return err
}

// An onSerial is what a guest writes to its serial port, as indy guest console shows it.
type onSerial struct {
	*testing.T
	name string
	mu   sync.Mutex
	b    bytes.Buffer
}

func watchConsole(t *testing.T, name string) *onSerial {
	t.Helper()
	c := &onSerial{T: t, name: name}
	cmd := exec.CommandContext(t.Context(), os.Getenv(indyVariable), "guest", "console", name)
	cmd.Stdout, cmd.Stderr = c, c
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it ends with the guest
		_ = cmd.Wait()
		t.Logf("console of %s:\n%s", name, c)
	})
	return c
}

// Write keeps a copy where it is seen also if the laptop has to be switched off.
func (c *onSerial) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.b.Write(p)
	return len(p), os.WriteFile(filepath.Join(lab.OutDir, c.name+".console"), c.b.Bytes(), 0o644)
}

func (c *onSerial) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.ReplaceAll(c.b.String(), "\r", "")
}

// await waits until the guest has written text.
func (c *onSerial) await(text string) {
	c.Helper()
	for end := time.Now().Add(labtest.Limit); ; time.Sleep(500 * time.Millisecond) {
		said := c.String()
		if strings.Contains(said, text) {
			return
		}
		if strings.Contains(said, "guest: drove") && strings.HasSuffix(said, "\n") || time.Now().After(end) {
			c.Fatalf("guest %s does not write %q", c.name, text)
		}
	}
}

// A recording is the first channel of a WAV file of 16 bits.
type recording struct {
	rate    int
	samples []float64
}

func readWAV(name string) (recording, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return recording{}, err
	}
	le := binary.LittleEndian
	if len(b) < 44 || string(b[:4]) != "RIFF" || le.Uint16(b[34:]) != 16 || le.Uint16(b[22:]) == 0 {
		return recording{}, fmt.Errorf("%s, %d bytes, is not a recording of 16 bits", name, len(b))
	}
	r := recording{rate: int(le.Uint32(b[24:]))}
	frame := 2 * int(le.Uint16(b[22:]))
	for at := 44; at+frame <= len(b); at += frame {
		r.samples = append(r.samples, float64(int16(le.Uint16(b[at:]))))
	}
	return r, nil
}

// seconds returns for how long nearly all that is heard is one tone, by Goertzel's algorithm
// over pieces of a twentieth of a second.
func (r recording) seconds(hertz float64) float64 {
	size := r.rate / 20
	heard := 0
	for at := 0; size > 0 && at+size <= len(r.samples); at += size {
		k := 2 * math.Cos(2*math.Pi*hertz/float64(r.rate))
		var s1, s2, energy float64
		for _, v := range r.samples[at : at+size] {
			s1, s2 = v+k*s1-s2, s1
			energy += v * v
		}
		// A tone of this frequency alone has half the number of samples times its energy.
		power := s1*s1 + s2*s2 - k*s1*s2
		if loud := 500.0 * 500 * float64(size); energy > loud && power > 0.8*energy*float64(size)/2 {
			heard++
		}
	}
	return float64(heard) / 20
}

func TestSecondsOfTone(t *testing.T) {
	t.Parallel()
	tone := recording{rate: 44100, samples: make([]float64, 44100)}
	for i := range 22050 {
		tone.samples[i] = 8000 * math.Sin(2*math.Pi*523*float64(i)/44100)
	}
	both := recording{rate: 44100, samples: make([]float64, 44100)}
	for i := range both.samples {
		both.samples[i] = 4000 * (math.Sin(2*math.Pi*523*float64(i)/44100) + math.Sin(2*math.Pi*700*float64(i)/44100))
	}
	for _, test := range []struct {
		r     recording
		hertz float64
		want  float64
	}{{tone, 523, 0.5}, {tone, 700, 0}, {tone, 500, 0}, {both, 523, 0}, {recording{rate: 44100, samples: make([]float64, 44100)}, 523, 0}, {recording{}, 523, 0}} {
		if got := test.r.seconds(test.hertz); got != test.want {
			t.Errorf("%v s of %v Hz, want %v", got, test.hertz, test.want)
		}
	}
}

// stripes returns how much of a picture, as PPM, is what a guest paints.
func stripes(name string) (float64, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	var width, height, most int
	if _, err := fmt.Sscanf(string(b[:min(len(b), 40)]), "P6\n%d %d\n%d\n", &width, &height, &most); err != nil {
		return 0, err
	}
	if most != 255 || width < 1 || height < 1 || len(b) < 3*width*height {
		return 0, fmt.Errorf("%s: %d bytes, %dx%d of %d", name, len(b), width, height, most)
	}
	pixels := b[len(b)-3*width*height:]
	same := 0
	for y := range height {
		want := hardwareStripes[y*len(hardwareStripes)/height]
		for x := range width {
			if [3]byte(pixels[3*(y*width+x):]) == want {
				same++
			}
		}
	}
	return float64(same) / float64(width*height), nil
}
