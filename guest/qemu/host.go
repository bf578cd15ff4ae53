package qemu

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A NAT is what carries the network interfaces of guests with the link guest.LinkNAT.
type NAT int

// The NATs.
const (
	// AutoNAT is Passt where it is installed and the host is connected to something,
	// and else UserNetwork.
	AutoNAT NAT = iota
	// Passt is a process beside QEMU, without rights of its own and with nothing to
	// reach but the network. The guest has the host's address and cannot reach the
	// host's services on its loopback interface.
	Passt
	// UserNetwork is within QEMU. Through its gateway a guest reaches all that listens
	// on the host's loopback interface. It alone can isolate a guest.
	UserNetwork
)

// String returns "auto", "passt" or "user".
func (n NAT) String() string {
	switch n {
	case AutoNAT:
		return "auto"
	case Passt:
		return "passt"
	case UserNetwork:
		return "user"
	}
	return fmt.Sprintf("NAT(%d)", int(n))
}

// A SoundDriver is what carries the sound of guests on the host.
type SoundDriver int

// The sound drivers.
const (
	// AutoSound is PipeWire or PulseAudio, whichever the seat has, and else ALSA.
	AutoSound SoundDriver = iota
	PipeWire
	PulseAudio
	ALSA
	// WAV writes what a guest plays to a file, for tests.
	WAV
	// Silent plays nothing and records silence.
	Silent
)

// String returns QEMU's word: "pipewire", "pa", "alsa", "wav", "none", and "auto".
func (d SoundDriver) String() string {
	switch d {
	case AutoSound:
		return "auto"
	case PipeWire:
		return "pipewire"
	case PulseAudio:
		return "pa"
	case ALSA:
		return "alsa"
	case WAV:
		return "wav"
	case Silent:
		return "none"
	}
	return fmt.Sprintf("SoundDriver(%d)", int(d))
}

// Sound is how a guest's sound gets to the host.
type Sound struct {
	Driver SoundDriver

	// Recording is the file that the driver WAV writes. It is made, or emptied.
	Recording string
}

// A WindowSystem is what draws the window of a guest.
type WindowSystem int

// The window systems.
const (
	// AutoWindow is GTK where QEMU has it, and else SDL.
	AutoWindow WindowSystem = iota
	GTK
	SDL
)

// String returns "auto", "gtk" or "sdl".
func (w WindowSystem) String() string {
	switch w {
	case AutoWindow:
		return "auto"
	case GTK:
		return "gtk"
	case SDL:
		return "sdl"
	}
	return fmt.Sprintf("WindowSystem(%d)", int(w))
}

// A Seat is where a person sits: the screen for windows and the sound server. Its
// fields are the variables of the environment of the same meaning; the zero Seat is
// none. Only a QEMU that has a window or sound there is told, and the user it runs as
// must have the right to the sockets.
type Seat struct {
	Display    string // DISPLAY
	XAuthority string // XAUTHORITY
	Wayland    string // WAYLAND_DISPLAY
	RuntimeDir string // XDG_RUNTIME_DIR

	// Sound are the sockets of sound servers that are in RuntimeDir; nil is that it is looked
	// for them. See [Seat.Seen].
	Sound []string
}

// environment returns what is set, as a program takes it.
func (s Seat) environment() ([]string, error) {
	var env []string
	for _, v := range [...][2]string{
		{"DISPLAY", s.Display}, {"XAUTHORITY", s.XAuthority}, {"WAYLAND_DISPLAY", s.Wayland}, {"XDG_RUNTIME_DIR", s.RuntimeDir},
	} {
		if strings.ContainsRune(v[1], 0) {
			return nil, fmt.Errorf("seat: %s has a zero byte", v[0])
		}
		if v[1] != "" {
			env = append(env, v[0]+"="+v[1])
		}
	}
	return env, nil
}

// hasScreen reports whether windows can be opened there.
func (s Seat) hasScreen() bool { return s.Display != "" || s.Wayland != "" }

// The names of the sound servers' sockets in the runtime directory.
const (
	pipeWire = "pipewire-0"
	pulse    = "pulse/native"
)

// PulseServer returns the name of PulseAudio's socket, which may not be there.
func (s Seat) PulseServer() string { return filepath.Join(s.RuntimeDir, pulse) }

// Seen returns the seat with the sound servers that are there, for somebody who may not look for
// them.
func (s Seat) Seen() Seat {
	sound := []string{}
	for _, name := range []string{pipeWire, pulse} {
		if s.has(name) {
			sound = append(sound, name)
		}
	}
	s.Sound = sound
	return s
}

// has reports whether there is a socket of this name in the runtime directory.
func (s Seat) has(name string) bool {
	if s.RuntimeDir == "" {
		return false
	}
	if s.Sound != nil {
		return slices.Contains(s.Sound, name)
	}
	info, err := os.Stat(filepath.Join(s.RuntimeDir, name))
	return err == nil && info.Mode()&fs.ModeSocket != 0
}

// duplicate returns f once more, to be handed to a child, while f stays the caller's.
func duplicate(f *os.File, name string) (*os.File, error) {
	if f == nil {
		return nil, fmt.Errorf("%s: %w", name, os.ErrInvalid)
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	fd := -1
	if e := raw.Control(func(n uintptr) { fd, err = unix.FcntlInt(n, unix.F_DUPFD_CLOEXEC, 3) }); e != nil {
		err = e
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, os.NewSyscallError("fcntl", err))
	}
	return os.NewFile(uintptr(fd), name), nil
}

// openRecording makes the file that the driver WAV writes. QEMU opens it once more by
// its descriptor, so it must belong to whom QEMU runs as.
func openRecording(name string, cred *syscall.Credential) (*os.File, error) {
	if name == "" {
		return nil, fmt.Errorf("sound: the driver %v needs a file", WAV)
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file", name)
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil && cred != nil {
		err = f.Chown(int(cred.Uid), int(cred.Gid))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
