package cli_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"image/png"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/internal/hosttest"
)

const sharingVariable = "INDY_TEST_SHARING"

// apart runs the test once more, as the first process of a machine of its own: with its
// own network, processes, and files in /run and /var/lib. It returns true there.
func apart(t *testing.T, programs ...string) bool {
	t.Helper()
	if os.Getenv(sharingVariable) != "" {
		for _, m := range []struct {
			what, where string
			flags       uintptr
		}{{"none", "/", unix.MS_REC | unix.MS_PRIVATE}, {"proc", "/proc", 0}, {"tmpfs", "/run", 0}, {"tmpfs", "/var/lib", 0}} {
			if err := unix.Mount(m.what, m.where, strings.TrimSuffix(m.what, "none"), m.flags, ""); err != nil {
				t.Fatalf("mount %s: %v", m.where, err)
			}
		}
		return true
	}
	if testing.Short() {
		t.Skip("boots Linux guests; not with -short")
	}
	if os.Getuid() != 0 {
		hosttest.Missing(t, "it takes root")
	}
	if can, err := exec.Command("qemu-system-x86_64", "-audiodev", "help").Output(); err != nil || !strings.Contains(string(can), "pa\n") {
		hosttest.Missing(t, "QEMU has neither sound by PulseAudio nor windows; install the package qemu-system-gui")
	}
	for _, program := range append(programs, "ip", "passt") {
		if _, err := exec.LookPath(program); err != nil {
			hosttest.Missing(t, "%v; make lab installs what has it", err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	again := exec.CommandContext(ctx, "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	again.Env = append(os.Environ(), sharingVariable+"=1")
	again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID}
	out, err := again.CombinedOutput()
	t.Logf("%s", out)
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatal(err)
	}
	return false
}

// A machine is where guests run by the real command.
type machine struct {
	t    *testing.T
	indy string
	env  []string
}

func (m *machine) program(name string, args ...string) string {
	m.t.Helper()
	cmd := exec.CommandContext(m.t.Context(), name, args...)
	cmd.Env = m.env
	began := time.Now()
	out, err := cmd.CombinedOutput()
	if name == m.indy && !strings.Contains(strings.Join(args, " "), "console") {
		m.t.Logf("indy %s in %v:\n%s", strings.Join(args, " "), time.Since(began).Round(time.Millisecond), out)
	}
	if err != nil {
		m.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (m *machine) guest(args ...string) string {
	m.t.Helper()
	return m.program(m.indy, append([]string{"guest"}, args...)...)
}

// define makes a guest by the template linux and then gives it all of a definition.
func (m *machine) define(name, disk, text string, flags ...string) {
	m.t.Helper()
	m.guest(append([]string{"create", name, "--disk", disk, "--memory", "256MiB"}, flags...)...)
	file := filepath.Join(m.t.TempDir(), "definition.yaml")
	text = "name: " + name + "\nmemory: 256MiB\ndisks: [{file: " + disk + ", bus: virtio}]\n" + text
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
	m.guest("edit", name, "--file", file)
}

// said waits until all the words are on a guest's console, and returns what is.
func (m *machine) said(name string, words ...string) string {
	m.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		console, missing := m.guest("console", name, "--kept"), ""
		for _, w := range words {
			if !strings.Contains(console, w) {
				missing = w
			}
		}
		if missing == "" {
			return console
		}
		if time.Now().After(end) {
			m.t.Fatalf("guest %s has not said %q:\n%s\n%s", name, missing, console, m.guest("log", name))
		}
	}
}

// answers answers each caller with a word and what it says.
func answers(t *testing.T, address, word string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			text, _ := bufio.NewReader(io.LimitReader(c, 100)).ReadString('\n')
			_, _ = io.WriteString(c, word+" "+strings.TrimPrefix(strings.TrimSpace(text), "this is "))
			_ = c.Close()
		}
	}()
}

// TestShared runs two Linux guests side by side, a locked one and a free one, which share the
// host's network and its sound, and draw on a screen each. It holds what docs/sharing.md says of
// passt, of playing, and of each guest being a stream in the host's mixer.
func TestShared(t *testing.T) {
	if !apart(t, "pulseaudio", "parec", "pactl") {
		return
	}
	// A host that is connected: passt gives guests its address, and they reach others.
	m := &machine{t: t, indy: hosttest.BuildIndy(t, t.TempDir()), env: append(os.Environ(), "XDG_RUNTIME_DIR=/run/seat", "HOME=/run/seat")}
	for _, words := range []string{
		"link set lo up", "link add net0 type veth peer name far", "addr add 192.0.2.10/24 dev net0", "link set far up", "link set net0 up",
		"route add default via 192.0.2.1", "addr add 198.51.100.1/32 dev lo",
	} {
		m.program("ip", strings.Fields(words)...)
	}
	answers(t, "198.51.100.1:2222", "hello")
	answers(t, "127.0.0.1:2223", "loopback")

	// A sound server whose card is heard by nobody but parec.
	if err := os.MkdirAll("/run/seat/pulse", 0o755); err != nil {
		t.Fatal(err)
	}
	const server = "unix:/run/seat/pulse/native"
	m.start("pulseaudio", "-n", "--exit-idle-time=-1", "--disable-shm=yes", "--use-pid-file=no",
		"-L", "module-null-sink sink_name=card rate=48000", "-L", "module-native-protocol-unix auth-anonymous=1 socket=/run/seat/pulse/native")
	m.until("a sound server", func() bool { return exec.Command("pactl", "-s", server, "info").Run() == nil })
	heard := filepath.Join(t.TempDir(), "heard")
	m.start("parec", "-s", server, "-d", "card.monitor", "--raw", "--format=s16le", "--rate=48000", "--channels=1", heard)

	l := newLinux(t, nil)
	const share = "network: nat\ndisplay: {kind: virtio}\nautostart: {ready: {serial: \"guest: up\"}}\n"
	const calls = "CALL=198.51.100.1:2222,192.0.2.1:2223"
	m.define("work", l.disk(t, "work", "NAME=work", "COLOUR=3060c0", "TONE=1000", "DHCP=1", "LISTEN=5555", calls),
		"locked: true\naudio: {play: true}\n"+share, "--locked")
	m.define("home", l.disk(t, "home", "NAME=home", "COLOUR=c08030", "TONE=1500", "DHCP=1", calls),
		"audio: {record: true}\n"+share)
	for _, name := range []string{"work", "home"} {
		m.guest("start", name, "--wait", "ready", "--accel", "tcg")
	}

	// Network: each has the lease of its own passt and reaches others through the host, but
	// not what the host has for itself, nor the other one.
	for _, name := range []string{"work", "home"} {
		console := m.said(name, "guest: lease 192.0.2.10 router 192.0.2.1", "guest: call 198.51.100.1:2222: \"hello "+name+"\"",
			"guest: call 192.0.2.1:2223: no", "guest: shouted 40 times")
		if strings.Contains(console, "guest: heard") {
			t.Errorf("guest %s hears another one:\n%s", name, console)
		}
	}
	m.said("work", "guest: listens on 5555")
	for _, address := range []string{"192.0.2.10:5555", "127.0.0.1:5555"} {
		if c, err := net.DialTimeout("tcp", address, time.Second); err == nil {
			c.Close()
			t.Errorf("a guest on NAT is called by %s", address)
		}
	}

	// Displays: each shows what its guest draws.
	for name, colour := range map[string][3]uint32{"work": {0x30, 0x60, 0xc0}, "home": {0xc0, 0x80, 0x30}} {
		m.said(name, "guest: painted")
		m.until("the picture of guest "+name, func() bool { return m.share(name, colour) > 0.95 })
	}

	// Sound: the tone of who may play is heard and no other, and the host's mixer turns it off.
	m.said("work", "guest: played 1000 Hz")
	m.said("home", "guest: played 1500 Hz")
	m.until("the tone", func() bool { return tone(t, heard, 1000) > 1e5 })
	t.Logf("1000 Hz: %g, 1500 Hz: %g", tone(t, heard, 1000), tone(t, heard, 1500))
	for _, hertz := range []float64{1500, 700} {
		if loud := tone(t, heard, hertz); loud > 1e3 {
			t.Errorf("a tone of %v Hz is heard, %g", hertz, loud)
		}
	}
	streams := m.program("pactl", "-s", server, "list", "sink-inputs")
	id, rest, ok := strings.Cut(strings.TrimPrefix(streams, "Sink Input #"), "\n")
	if !ok || strings.Count(streams, "Sink Input #") != 1 || !strings.Contains(rest, "work") || strings.Contains(rest, "home") {
		t.Fatalf("the host's mixer has\n%s", streams)
	}
	m.program("pactl", "-s", server, "set-sink-input-mute", id, "1")
	m.until("silence", func() bool { return tone(t, heard, 1000) < 1 })

	m.guest("suspend", "home")
	m.guest("resume", "home")
	m.guest("stop", "home", "--timeout", "1s")
	if got := m.guest("status", "work"); !strings.Contains(got, "running") {
		t.Errorf("%s", got)
	}
	m.guest("stop", "work", "--force")
}

// TestReadyLinux starts Linux guests and waits until their agent answers, and until they take
// connections, on each kind of NAT and on a bridge. One that fills its agent's port with other things is not ready,
// and is run and stopped all the same.
func TestReadyLinux(t *testing.T) {
	if !apart(t) {
		return
	}
	m := &machine{t: t, indy: hosttest.BuildIndy(t, t.TempDir()), env: append(os.Environ(), "XDG_RUNTIME_DIR=/run/seat")}
	m.program("ip", "link", "set", "lo", "up") // connected to nothing: passt does not start
	answers(t, "127.0.0.1:2223", "loopback")
	extra := map[string]string{}
	if ga, err := exec.LookPath("qemu-ga"); err == nil { // Debian's own, with all it is linked to
		extra["bin/qemu-ga"] = ga
		for line := range strings.Lines(m.program("ldd", ga)) {
			for _, word := range strings.Fields(line) {
				if strings.HasPrefix(word, "/") {
					extra[word[1:]] = word
				}
			}
		}
	}
	l := newLinux(t, extra)
	const share = "network: nat\nautostart: {ready: {tcp: 5555}}\n"
	m.define("agent", l.disk(t, "agent", "NAME=agent", "AGENT=1"), "autostart: {ready: {agent: true}}\n")
	m.define("user", l.disk(t, "user", "NAME=user", "DHCP=1", "LISTEN=5555", "LATE=1", "CALL=10.0.2.2:2223"), share)
	m.define("passt", l.disk(t, "passt", "NAME=passt", "DHCP=1", "LISTEN=5555", "LATE=1"), share)
	m.define("bridged", l.disk(t, "bridged", "NAME=bridged", "DHCP=198.18.0.20-198.18.0.1", "LISTEN=5555", "LATE=1", "CALL=198.18.0.1:2224"),
		strings.Replace(share, "nat", "bridge:br0", 1))
	m.define("loud", l.disk(t, "loud", "NAME=loud", "AGENT=garbage"), "autostart: {ready: {agent: true}}\n")
	ready := func(name, before string) {
		t.Helper()
		m.guest("start", name, "--wait", "ready", "--accel", "tcg")
		if console := m.guest("console", name, "--kept"); !strings.Contains(console, before) {
			t.Errorf("guest %s is ready before it said %q:\n%s", name, before, console)
		}
		m.guest("log", name)
	}
	ready("agent", "guest: agent runs")
	m.guest("stop", "agent", "--force")

	ready("user", "guest: listens on 5555")
	console := m.said("user", "guest: lease 10.0.2.15 router 10.0.2.2", "guest: call 10.0.2.2:2223: \"loopback user\"")
	if strings.Contains(console, "called") {
		t.Errorf("a connection was made:\n%s", console)
	}
	m.guest("stop", "user", "--force")

	for _, words := range []string{
		"link add net0 type veth peer name far", "addr add 192.0.2.10/24 dev net0", "link set far up", "link set net0 up",
		"route add default via 192.0.2.1",
	} {
		m.program("ip", strings.Fields(words)...)
	}
	ready("passt", "guest: listens on 5555")
	m.said("passt", "guest: lease 192.0.2.10 router 192.0.2.1")
	m.guest("stop", "passt", "--force")

	for _, words := range []string{"link add br0 type bridge", "addr add 198.18.0.1/24 dev br0", "link set br0 up"} {
		m.program("ip", strings.Fields(words)...)
	}
	answers(t, "198.18.0.1:2224", "bridge")
	ready("bridged", "guest: listens on 5555")
	m.said("bridged", "guest: call 198.18.0.1:2224: \"bridge bridged\"")
	if c, err := net.DialTimeout("tcp", "198.18.0.20:5555", 5*time.Second); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
	m.said("bridged", "guest: called by 198.18.0.1")
	m.guest("stop", "bridged", "--force")

	m.guest("start", "loud", "--accel", "tcg")
	m.said("loud", "guest: said garbage")
	m.until("its end of it", func() bool { return strings.Contains(m.guest("log", "loud"), "that are no answer") })
	if got := m.guest("status", "loud"); !strings.Contains(got, "running") || strings.Contains(got, "ready") {
		t.Errorf("%s", got)
	}
	m.guest("stop", "loud", "--force")
}

// TestFullScreen starts a guest that is to have the whole screen, where the
// window manager gives it to who asks.
func TestFullScreen(t *testing.T) {
	if !apart(t, "Xvfb", "openbox") {
		return
	}
	dir := t.TempDir()
	m := &machine{t: t, indy: hosttest.BuildIndy(t, t.TempDir()), env: append(os.Environ(), "DISPLAY=:77")}
	if err := unix.Mount("tmpfs", "/tmp/.X11-unix", "tmpfs", 0, "mode=1777"); err != nil {
		if err = errors.Join(os.MkdirAll("/run/x", 0o755), os.Mkdir("/tmp/.X11-unix", 0o1777)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.Remove("/tmp/.X11-unix") })
	}
	// Without a lock: one that was killed leaves it, with a number that another process has here.
	m.start("Xvfb", ":77", "-nolock", "-screen", "0", "1280x800x24", "-fbdir", dir, "-ac", "-wr", "-nolisten", "tcp")
	m.until("a screen", func() bool { return share(t, dir, [3]byte{0xff, 0xff, 0xff}) == 1 })
	m.start("openbox", "--sm-disable")
	l := newLinux(t, nil)
	m.define("first", l.disk(t, "first", "NAME=first", "COLOUR=3060c0"),
		"display: {kind: virtio, where: window}\nautostart: {fullscreen: true, ready: {serial: \"guest: painted\"}}\n")
	m.guest("start", "first", "--wait", "ready", "--accel", "tcg")
	m.until("the guest's picture", func() bool { return share(t, dir, [3]byte{0x30, 0x60, 0xc0}) > 0.1 })
	if rest := share(t, dir, [3]byte{0xff, 0xff, 0xff}); rest > 0 {
		t.Errorf("%g of the screen has nothing of the guest", rest)
	}
	m.guest("stop", "first", "--force")
}

// share returns how much of the screen of Xvfb has a colour. It is in a file in the form of
// xwd (X11/XWDFile.h): numbers of four bytes, of which the first is how many bytes they are, a table of
// colours, and lines of pixels.
func share(t *testing.T, dir string, colour [3]byte) float64 {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "Xvfb_screen0"))
	if err != nil || len(data) < 100 {
		return 0
	}
	field := func(i int) int { return int(binary.BigEndian.Uint32(data[4*i:])) }
	width, height, line, at := field(4), field(5), field(12), field(0)+12*field(19)
	if len(data) < at+line*height || width*height == 0 {
		return 0
	}
	n := 0
	for y := range height {
		for x := range width {
			if p := data[at+y*line+4*x:]; p[2] == colour[0] && p[1] == colour[1] && p[0] == colour[2] {
				n++
			}
		}
	}
	return float64(n) / float64(width*height)
}

// start runs a program until the test is over.
func (m *machine) start(name string, args ...string) {
	m.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env, cmd.Stderr = m.env, os.Stderr
	if err := cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

func (m *machine) until(what string, done func() bool) {
	m.t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			m.t.Fatalf("there is not: %s", what)
		}
	}
}

// share returns how much of a guest's screen has a colour.
func (m *machine) share(name string, colour [3]uint32) float64 {
	m.t.Helper()
	file := filepath.Join(m.t.TempDir(), "screen.png")
	m.guest("screenshot", name, file)
	f, err := os.Open(file)
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	picture, err := png.Decode(f)
	if err != nil {
		m.t.Fatal(err)
	}
	n, box := 0, picture.Bounds()
	for y := box.Min.Y; y < box.Max.Y; y++ {
		for x := box.Min.X; x < box.Max.X; x++ {
			r, g, b, _ := picture.At(x, y).RGBA()
			if [3]uint32{r >> 8, g >> 8, b >> 8} == colour {
				n++
			}
		}
	}
	return float64(n) / float64(box.Dx()*box.Dy())
}

// tone returns how loud a tone is in the last second of a recording, samples of 16 bits at
// 48 kHz, by Goertzel's algorithm: about a quarter of its amplitude squared.
func tone(t *testing.T, file string, hertz float64) float64 {
	t.Helper()
	const second = 48000
	f, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() < 2*second {
		return 0
	}
	data := make([]byte, 2*second)
	if _, err := f.ReadAt(data, info.Size()/2*2-2*second); err != nil {
		t.Fatal(err)
	}
	c := 2 * math.Cos(2*math.Pi*hertz/second)
	var a, b float64
	for i := range second {
		a, b = float64(int16(binary.LittleEndian.Uint16(data[2*i:])))+c*a-b, a
	}
	return (a*a + b*b - c*a*b) / (second * second)
}
