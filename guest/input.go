package guest

import (
	"fmt"
	"path"
	"strings"

	"github.com/project-independence/indy/usb"
)

// Input is a guest's keyboard and pointer.
type Input struct {
	// Kind is what the guest sees beside the PS/2 keyboard and mouse of its chipset.
	Kind InputKind

	// Evdev are nodes in /dev/input of keyboards and pointers of the host that are
	// taken over: the guest has their keys and movements, the host has not, until the
	// keys of Switch are pressed, which gives them back and takes them again. The
	// first one must be a keyboard, and switches all.
	Evdev []string

	// Switch is by which keys the nodes in Evdev change sides; the zero value is
	// CtrlCtrl.
	Switch SwitchKeys
}

// An InputKind is the hardware that keyboard and pointer seem to be.
type InputKind int

// The kinds of input.
const (
	// PS2 is the chipset's, which every operating system knows. Its pointer moves, but
	// cannot be put somewhere.
	PS2 InputKind = iota
	// VirtIOInput is a keyboard and a tablet, for Linux.
	VirtIOInput
	// USBInput is a keyboard and a tablet on a USB controller, which every operating
	// system knows.
	USBInput
)

// String returns "ps2", "virtio" or "usb".
func (k InputKind) String() string {
	switch k {
	case PS2:
		return "ps2"
	case VirtIOInput:
		return "virtio"
	case USBInput:
		return "usb"
	}
	return fmt.Sprintf("InputKind(%d)", int(k))
}

// SwitchKeys are keys that are pressed at once to give the input to the guest or
// back to the host. The guest does not see them.
type SwitchKeys int

// The keys that QEMU knows.
const (
	CtrlCtrl SwitchKeys = iota // left and right
	AltAlt
	ShiftShift
	MetaMeta
	ScrollLock
	CtrlScrollLock
)

// String returns QEMU's word, such as "ctrl-ctrl".
func (k SwitchKeys) String() string {
	switch k {
	case CtrlCtrl:
		return "ctrl-ctrl"
	case AltAlt:
		return "alt-alt"
	case ShiftShift:
		return "shift-shift"
	case MetaMeta:
		return "meta-meta"
	case ScrollLock:
		return "scrolllock"
	case CtrlScrollLock:
		return "ctrl-scrolllock"
	}
	return fmt.Sprintf("SwitchKeys(%d)", int(k))
}

func (in Input) validate() (errs []error) {
	if in.Kind < PS2 || in.Kind > USBInput {
		errs = append(errs, fmt.Errorf("input: %v is no kind", in.Kind))
	}
	if in.Switch < CtrlCtrl || in.Switch > CtrlScrollLock {
		errs = append(errs, fmt.Errorf("input: %v are no keys", in.Switch))
	}
	if len(in.Evdev) > MaxEvdev {
		errs = append(errs, fmt.Errorf("input: %d nodes are more than %d", len(in.Evdev), MaxEvdev))
	}
	seen := make(map[string]bool, len(in.Evdev))
	for _, node := range in.Evdev {
		switch {
		case !strings.HasPrefix(node, "/dev/input/") || path.Clean(node) != node || strings.ContainsRune(node, 0):
			errs = append(errs, fmt.Errorf("input: %s is no node in /dev/input", quote(node)))
		case seen[node]:
			errs = append(errs, fmt.Errorf("input: %s is given twice", quote(node)))
		}
		seen[node] = true
	}
	return errs
}

// USB is a guest's xHCI controller and what of the host is plugged into it.
type USB struct {
	// Controller gives the guest one even if nothing is plugged in at first. Devices
	// and USBInput do so, too.
	Controller bool

	// Devices are the host's USB devices assigned to the guest. Whoever starts the
	// guest opens them.
	Devices []usb.PortPath
}

// HasUSB reports whether g has a USB controller.
func (g Guest) HasUSB() bool {
	return g.USB.Controller || len(g.USB.Devices) > 0 || g.Input.Kind == USBInput
}

func (u USB) validate() (errs []error) {
	if len(u.Devices) > MaxUSB {
		errs = append(errs, fmt.Errorf("usb: %d devices are more than %d", len(u.Devices), MaxUSB))
	}
	seen := make(map[usb.PortPath]bool, len(u.Devices))
	for i, p := range u.Devices {
		switch {
		case !p.IsValid():
			errs = append(errs, fmt.Errorf("usb device %d: no port", i+1))
		case seen[p]:
			errs = append(errs, fmt.Errorf("usb device %v: given twice", p))
		}
		seen[p] = true
	}
	return errs
}
