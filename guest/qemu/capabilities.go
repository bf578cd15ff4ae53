package qemu

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/project-independence/indy/guest"
)

// Capabilities are what one QEMU has of the parts that distributions pack one by one.
// All lists are sorted, in QEMU's words. The zero value is a QEMU that has none.
type Capabilities struct {
	Devices  []string // models, such as "virtio-vga-gl"
	Sound    []string // drivers, such as "pipewire"
	Displays []string // such as "gtk" or "egl-headless"
	Networks []string // such as "user" or "stream"
	SPICE    bool
}

// Ask asks o.Binary, or what Find finds, what it can. It runs QEMU five times, with the
// rights that it has for a guest. The answer is good for as long as QEMU's packages
// stay as they are; with it in [Options.Capabilities] Start checks before it starts
// anything.
func Ask(ctx context.Context, o Options) (Capabilities, error) {
	binary, err := resolve(o.Binary)
	if err != nil {
		return Capabilities{}, err
	}
	cred, err := credential(o.User)
	if err != nil {
		return Capabilities{}, err
	}
	return ask(ctx, binary, cred, "device", "audiodev", "display", "netdev", "spice")
}

// ask asks for some of the options of QEMU what there is.
func ask(ctx context.Context, binary string, cred *syscall.Credential, topics ...string) (c Capabilities, err error) {
	texts, errs := make([][]byte, len(topics)), make([]error, len(topics))
	var all sync.WaitGroup
	for i, topic := range topics {
		all.Go(func() {
			cmd := exec.CommandContext(ctx, binary, "-"+topic, "help")
			cmd.Env, cmd.Dir = []string{}, "/"
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
			texts[i], errs[i] = cmd.Output()
		})
	}
	all.Wait()
	for i, topic := range topics {
		var exit *exec.ExitError
		// A status may mean that it was built without or that the module is missing,
		// and -spice help has one in any case. What there is to say is on standard output.
		if errs[i] != nil && !(errors.As(errs[i], &exit) && exit.Exited()) {
			return Capabilities{}, fmt.Errorf("%s -%s help: %w", binary, topic, errs[i])
		}
		switch topic {
		case "device":
			c.Devices = models(texts[i])
		case "audiodev":
			c.Sound = words(texts[i])
		case "display":
			c.Displays = words(texts[i])
		case "netdev":
			c.Networks = words(texts[i])
		case "spice":
			c.SPICE = len(texts[i]) > 0
		}
	}
	return c, ctx.Err()
}

// models reads lines such as
//
//	name "virtio-vga", bus PCI
func models(text []byte) []string {
	var names []string
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), `name "`); ok {
			name, _, _ := strings.Cut(rest, `"`)
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// words reads one word a line, below a heading and above an empty line.
func words(text []byte) []string {
	var list []string
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
		line := strings.TrimSpace(s.Text())
		if line == "" && len(list) > 0 {
			break
		}
		if line != "" && !strings.ContainsAny(line, " :") {
			list = append(list, line)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// topics returns what a QEMU for g is to be asked: nothing for a guest that needs
// nothing that might be missing.
func topics(g guest.Guest, nat bool) (list []string) {
	if g.Graphics != guest.NoGraphics || g.Sound.Model == guest.VirtIOSound || len(g.Folders) > 0 || len(g.USB.Devices) > 0 {
		list = append(list, "device")
	}
	if g.Sound.Model != guest.NoSound {
		list = append(list, "audiodev")
	}
	if g.Screen.Kind == guest.Window || g.Graphics == guest.VirGL {
		list = append(list, "display")
	}
	if nat {
		list = append(list, "netdev")
	}
	if g.Screen.Kind == guest.SPICE {
		list = append(list, "spice")
	}
	return list
}

// check returns an error with all that g needs and c lacks. The sound driver and the
// window system in l must have been chosen.
func (c Capabilities) check(g guest.Guest, l Layout, user bool) error {
	var errs []error
	need := func(list []string, name, what, pkg string) {
		if !slices.Contains(list, name) {
			errs = append(errs, lacks(what, pkg))
		}
	}
	switch g.Graphics {
	case guest.VirtIOGPU:
		need(c.Devices, "virtio-vga", "graphics virtio", "qemu-system-common")
	case guest.VirGL:
		need(c.Devices, "virtio-vga-gl", "graphics virgl", "qemu-system-modules-opengl")
		if g.Screen.Kind != guest.Window {
			need(c.Displays, "egl-headless", "OpenGL without a window", "qemu-system-modules-opengl")
		}
	case guest.StdVGA:
		need(c.Devices, "VGA", "graphics std", "qemu-system-x86")
	}
	if g.Screen.Kind == guest.Window {
		need(c.Displays, l.Window.String(), "window by "+l.Window.String(), "qemu-system-gui")
	}
	if g.Screen.Kind == guest.SPICE && !c.SPICE {
		errs = append(errs, lacks("SPICE", "qemu-system-modules-spice"))
	}
	if g.Sound.Model == guest.VirtIOSound {
		need(c.Devices, "virtio-sound-pci", "sound card virtio, which came with version 8.2", "qemu-system-x86")
	}
	if g.Sound.Model != guest.NoSound {
		pkg := "qemu-system-common"
		if l.Sound == PipeWire || l.Sound == PulseAudio {
			pkg = "qemu-system-gui"
		}
		need(c.Sound, l.Sound.String(), "sound by "+l.Sound.String(), pkg)
	}
	if len(g.USB.Devices) > 0 {
		need(c.Devices, "usb-host", "USB devices of the host", "qemu-system-common")
	}
	if len(g.Folders) > 0 {
		need(c.Devices, "vhost-user-fs-pci", "folders of the host", "qemu-system-x86")
	}
	if user {
		need(c.Networks, "user", "user network", "passt")
	}
	return errors.Join(errs...)
}

func lacks(what, pkg string) error {
	return fmt.Errorf("QEMU has no %s here (%w); install the package %s", what, errors.ErrUnsupported, pkg)
}

// window returns w, or for AutoWindow what there is.
func (c Capabilities) window(w WindowSystem) WindowSystem {
	switch {
	case w != AutoWindow:
		return w
	case !slices.Contains(c.Displays, GTK.String()) && slices.Contains(c.Displays, SDL.String()):
		return SDL
	}
	return GTK
}

// sound returns d, or for AutoSound what the seat has, whether or not QEMU can use it:
// sound that goes elsewhere is heard by nobody.
func (c Capabilities) sound(d SoundDriver, s Seat) SoundDriver {
	switch {
	case d != AutoSound:
		return d
	case s.has(pipeWire) && (slices.Contains(c.Sound, PipeWire.String()) || !s.has(pulse)):
		return PipeWire
	case s.has(pulse):
		return PulseAudio
	}
	return ALSA
}
