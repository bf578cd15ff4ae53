package uevent

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/project-independence/indy/internal/plain"
)

// An Action is what happened to a device, in the kernel's word.
type Action string

// The actions of the kernel, from lib/kobject_uevent.c.
const (
	Add     Action = "add"
	Remove  Action = "remove"
	Change  Action = "change"
	Move    Action = "move" // renamed, or moved below another device
	Online  Action = "online"
	Offline Action = "offline"
	Bind    Action = "bind" // to a driver
	Unbind  Action = "unbind"
)

// An Event is one message of the kernel's. A field that it does not state is empty.
type Event struct {
	Action Action

	// Path is the device's directory below /sys, as /devices/pci0000:00/0000:00:14.0.
	// A removed device no longer has it, a moved one has its new one.
	Path string

	Subsystem string // bus or class, as pci, usb, net
	DevType   string // kind within the subsystem, as usb_device or usb_interface
	DevName   string // node below /dev, as bus/usb/001/004
	Driver    string
	Modalias  string

	// Seqnum counts the events of the kernel, from 1. A listener does not see all
	// numbers: events of other network namespaces are left out. 0 when not stated.
	Seqnum uint64

	// Env is all that the event states, each KEY=VALUE, in the kernel's order. Some
	// values, as HID_NAME, are the device's own words and untrusted. What is not
	// printable is replaced by U+FFFD.
	Env []string
}

// Lookup returns the value of the first variable key of Env.
func (e Event) Lookup(key string) (value string, ok bool) {
	for _, v := range e.Env {
		if name, value, _ := strings.Cut(v, "="); name == key {
			return value, true
		}
	}
	return "", false
}

// ErrMalformed is the cause when a message is none of the kernel's.
var ErrMalformed = errors.New("not an event of the kernel's")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

const (
	maxMessage   = 16 << 10 // the kernel's own bound is 2 KiB of variables and a path
	maxVariables = 256      // the kernel's is 64
	maxAction    = 32
)

// Parse reads a message of the kernel's: ACTION@DEVPATH and then KEY=VALUE, each
// ended by a NUL. The error is [ErrMalformed], also for the messages that udev sends
// on, which have a format of their own.
func Parse(message []byte) (Event, error) {
	switch {
	case len(message) > maxMessage:
		return Event{}, malformed("%d bytes are more than %d", len(message), maxMessage)
	case strings.HasPrefix(string(message[:min(len(message), 8)]), "libudev"):
		return Event{}, malformed("it is in udev's format")
	}
	header, rest, _ := strings.Cut(string(message), "\x00")
	action, path, ok := strings.Cut(header, "@")
	switch {
	case !ok || action == "" || len(action) > maxAction || strings.Trim(action, "abcdefghijklmnopqrstuvwxyz") != "":
		return Event{}, malformed("it begins with %.64q instead of ACTION@DEVPATH", header)
	case !isPath(path):
		return Event{}, malformed("%.256q is no path of a device", path)
	}
	e := Event{Action: Action(action), Path: path}
	for variable := range strings.SplitSeq(strings.TrimSuffix(rest, "\x00"), "\x00") {
		if rest == "" {
			break
		}
		if len(e.Env) == maxVariables {
			return Event{}, malformed("more than %d variables", maxVariables)
		}
		if key, _, ok := strings.Cut(variable, "="); !ok || !isKey(key) {
			return Event{}, malformed("%.64q instead of KEY=VALUE", variable)
		}
		e.Env = append(e.Env, plain.Printable(variable))
	}
	for _, first := range [][2]string{{"ACTION", action}, {"DEVPATH", path}} {
		if got, ok := e.Lookup(first[0]); ok && got != first[1] {
			return Event{}, malformed("%s is %.64q, and %.64q in the first line", first[0], got, first[1])
		}
	}
	if s, ok := e.Lookup("SEQNUM"); ok {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return Event{}, malformed("SEQNUM is %.64q", s)
		}
		e.Seqnum = n
	}
	e.Subsystem, _ = e.Lookup("SUBSYSTEM")
	e.DevType, _ = e.Lookup("DEVTYPE")
	e.DevName, _ = e.Lookup("DEVNAME")
	e.Driver, _ = e.Lookup("DRIVER")
	e.Modalias, _ = e.Lookup("MODALIAS")
	return e, nil
}

// isPath reports whether s can be a directory below /sys: whoever joins it to a name
// stays there, and whoever prints it harms no terminal.
func isPath(s string) bool {
	if !strings.HasPrefix(s, "/") || plain.Printable(s) != s {
		return false
	}
	return fs.ValidPath(s[1:]) && s != "/."
}

func isKey(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' {
			return false
		}
	}
	return s != ""
}

// Seqnum returns how many events the kernel has sent since it started, from
// /sys/kernel/uevent_seqnum. An event with a higher number happened after the call.
// The error keeps the kernel's *[fs.PathError].
func Seqnum(fsys fs.FS) (uint64, error) {
	const name = "sys/kernel/uevent_seqnum"
	text, err := fs.ReadFile(fsys, name)
	if err != nil {
		return 0, fmt.Errorf("count of events: %w", err)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("count of events: %s: %.64q is no number", name, text)
	}
	return n, nil
}
