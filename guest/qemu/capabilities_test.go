package qemu

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/usb"
)

func TestAsk(t *testing.T) {
	needQEMU(t)
	can, err := Ask(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d devices, sound %v, displays %v, networks %v, SPICE %v", len(can.Devices), can.Sound, can.Displays, can.Networks, can.SPICE)
	for name, list := range map[string][]string{
		"nvme": can.Devices, "virtio-net-pci": can.Devices, "none": can.Sound, "wav": can.Sound, "tap": can.Networks, "stream": can.Networks,
	} {
		if !slices.Contains(list, name) {
			t.Errorf("no %s among %v", name, list)
		}
	}
	// docs/sharing.md says why a guest is not told of the battery and the lid
	for _, name := range can.Devices {
		if strings.Contains(name, "battery") || strings.Contains(name, "lid") || strings.Contains(name, "acad") {
			t.Errorf("QEMU has %s: docs/sharing.md says that it cannot", name)
		}
	}
}

func TestAskReadsWhatIsSaid(t *testing.T) {
	answers := `case $1 in
-device) echo 'Display devices:'; echo 'name "virtio-vga", bus PCI'; echo 'name "VGA", bus PCI, alias "x"'; echo 'name "VGA", bus PCI';;
-audiodev) printf 'Available audio drivers:\nnone\nalsa\n';;
-display) printf 'Available display backend types:\nnone\ngtk\n\nSome display backends support suboptions\nword\n';;
-netdev) printf 'Available netdev backend types:\nuser\n'; exit 1;;
-spice) echo 'There is no option group' >&2; exit 1;;
esac`
	got, err := Ask(t.Context(), Options{Binary: fakeQEMU(t, answers)})
	if err != nil {
		t.Fatal(err)
	}
	want := Capabilities{
		Devices: []string{"VGA", "virtio-vga"}, Sound: []string{"alsa", "none"}, Displays: []string{"gtk", "none"}, Networks: []string{"user"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := Ask(t.Context(), Options{Binary: fakeQEMU(t, "kill -9 $$")}); err == nil {
		t.Error("a QEMU that is killed has said all")
	}
	if _, err := Ask(t.Context(), Options{Binary: "/nonexistent"}); !errors.Is(err, exec.ErrNotFound) && err == nil {
		t.Errorf("%v", err)
	}
}

func FuzzHelp(f *testing.F) {
	f.Add([]byte("name \"VGA\", bus PCI\n\nname \"\n"))
	f.Add([]byte("Available audio drivers:\nnone\nalsa\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, list := range [][]string{models(text), words(text)} {
			if !slices.IsSorted(list) {
				t.Errorf("%q", list)
			}
		}
	})
}

// TestMissing shows that what QEMU lacks is named with its package, before anything is
// started.
func TestMissing(t *testing.T) {
	window := guest.Screen{Kind: guest.Window}
	hda := guest.SoundCard{Model: guest.HDA, Play: true}
	screen := Seat{Wayland: "wayland-0"}
	tests := []struct {
		name    string
		guest   guest.Guest
		options Options
		want    []string
	}{
		{"virgl", guest.Guest{Graphics: guest.VirGL}, Options{}, []string{"virgl", "OpenGL without a window", "qemu-system-modules-opengl"}},
		{"virtio", guest.Guest{Graphics: guest.VirtIOGPU}, Options{}, []string{"graphics virtio", "qemu-system-common"}},
		{"std", guest.Guest{Graphics: guest.StdVGA}, Options{}, []string{"graphics std"}},
		{"window", guest.Guest{Graphics: guest.StdVGA, Screen: window}, Options{Seat: screen}, []string{"window by gtk", "qemu-system-gui"}},
		{"no screen", guest.Guest{Graphics: guest.StdVGA, Screen: window}, Options{}, []string{"no screen here"}},
		{"SPICE", guest.Guest{Graphics: guest.StdVGA, Screen: guest.Screen{Kind: guest.SPICE}}, Options{}, []string{"qemu-system-modules-spice"}},
		{"ALSA", guest.Guest{Sound: hda}, Options{}, []string{"sound by alsa", "qemu-system-common"}},
		{"PipeWire", guest.Guest{Sound: hda}, Options{Sound: Sound{Driver: PipeWire}}, []string{"sound by pipewire", "qemu-system-gui"}},
		{"virtio sound", guest.Guest{Sound: guest.SoundCard{Model: guest.VirtIOSound, Play: true}}, Options{}, []string{"version 8.2"}},
		{"usb", guest.Guest{USB: guest.USB{Devices: []usb.PortPath{port(t, "1-1")}}}, Options{}, []string{"USB devices of the host"}},
		{"user network", guest.Guest{NICs: []guest.NIC{{Link: guest.LinkNAT, Isolated: true}}}, Options{}, []string{"user network", "passt"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.guest.Name, tt.guest.Memory = "test", 64<<20
			tt.options.Binary, tt.options.Capabilities = "/nonexistent", new(Capabilities)
			err := CheckHost(t.Context(), tt.guest, tt.options)
			var op *OpError
			if !errors.Is(err, errors.ErrUnsupported) || !errors.As(err, &op) {
				t.Fatalf("%v", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in %v", want, err)
				}
			}
		})
	}
	if err := CheckHost(t.Context(), guestOf(), Options{Binary: "/nonexistent"}); err != nil {
		t.Errorf("a guest that shares nothing: %v", err)
	}
}

// TestLacks shows what is said when QEMU does not start for want of a part.
func TestLacks(t *testing.T) {
	qemu := fakeQEMU(t, `[ "$2" = help ] && exit 1; echo "qemu: 'spice' is not known" >&2; exit 1`)
	g := guestOf()
	g.Graphics, g.Screen.Kind = guest.StdVGA, guest.SPICE
	_, err := Start(t.Context(), g, Options{Binary: qemu, Accelerator: TCG})
	var exit *ExitError
	if !errors.Is(err, errors.ErrUnsupported) || !errors.As(err, &exit) || !strings.Contains(err.Error(), "qemu-system-modules-spice") ||
		!strings.Contains(err.Error(), "'spice' is not known") {
		t.Errorf("%v", err)
	}
	// and when it is for something else
	if _, err := Start(t.Context(), guestOf(), Options{Binary: qemu, Accelerator: TCG}); errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v", err)
	}
}

func TestChoice(t *testing.T) {
	dir := t.TempDir()
	here := Seat{RuntimeDir: dir}
	all := Capabilities{Sound: []string{"alsa", "pa", "pipewire"}, Displays: []string{"gtk", "sdl"}}
	old := Capabilities{Sound: []string{"alsa", "pa"}, Displays: []string{"sdl"}}
	check := func(c Capabilities, s Seat, want SoundDriver) {
		t.Helper()
		if got := c.sound(AutoSound, s); got != want {
			t.Errorf("sound by %v, want %v", got, want)
		}
	}
	check(all, Seat{}, ALSA)
	check(all, here, ALSA)
	listenAt(t, dir, "pulse/native")
	check(all, here, PulseAudio)
	listenAt(t, dir, "pipewire-0")
	check(all, here, PipeWire)
	check(old, here, PulseAudio)
	if got := all.sound(WAV, here); got != WAV {
		t.Errorf("%v in place of what was asked for", got)
	}
	for _, tt := range []struct {
		c          Capabilities
		want, take WindowSystem
	}{{all, AutoWindow, GTK}, {old, AutoWindow, SDL}, {old, GTK, GTK}, {Capabilities{}, AutoWindow, GTK}} {
		if got := tt.c.window(tt.want); got != tt.take {
			t.Errorf("window by %v, want %v", got, tt.take)
		}
	}
}

func TestSeat(t *testing.T) {
	env, err := Seat{Display: ":0", RuntimeDir: "/run/user/1000"}.environment()
	if diff := cmp.Diff([]string{"DISPLAY=:0", "XDG_RUNTIME_DIR=/run/user/1000"}, env); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if env, err := (Seat{Wayland: "a\x00LD_PRELOAD=x"}).environment(); err == nil {
		t.Errorf("%q", env)
	}
	// only a guest that is seen or heard there is told
	needQEMU(t)
	vm := startTest(t, guestOf(), Options{Seat: Seat{Display: ":0"}})
	if env := environmentOf(t, vm.PID()); env != "" {
		t.Errorf("QEMU has the environment %q", env)
	}
}

// Who may not look into a seat's directory knows what is there from who may.
func TestSeatSeen(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "pulse"), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, pulse))
	if err != nil {
		t.Fatal(err)
	}
	seen := Seat{RuntimeDir: dir}.Seen()
	if err := l.Close(); err != nil { // which removes it
		t.Fatal(err)
	}
	for _, s := range []struct {
		seat Seat
		has  string
	}{{seen, pulse}, {Seat{RuntimeDir: dir}, ""}, {Seat{RuntimeDir: dir}.Seen(), ""}, {Seat{}.Seen(), ""}} {
		for _, name := range []string{pipeWire, pulse} {
			if got := s.seat.has(name); got != (name == s.has) {
				t.Errorf("%+v has %s: %t", s.seat, name, got)
			}
		}
	}
}
