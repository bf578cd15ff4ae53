package cli_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/project-independence/indy/internal/runner"
)

// sleepOver has a guest with a network card and a USB device of the emulated laptop made ready
// for the host's sleep, and go on after it, when the card has been found to answer. The laptop
// itself does not sleep.
func sleepOver(t *testing.T, name string) {
	t.Helper()
	d := runner.Dir{Name: name, Path: "/run/indy/guests/" + name}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if s, err := d.Hold(ctx, runner.SuspendRequest{Reason: runner.HostSleep, Unplug: true}); err != nil || s.State != runner.Suspended {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := d.LetGo(ctx, runner.HostSleep); err != nil || s.State != runner.Running || len(s.Holds) != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	text, err := os.ReadFile(d.Events())
	if err != nil {
		t.Error(err)
	}
	for _, words := range []string{`"name":"forgets","data":{"device":"pci:0000:05:00.0 `, `"name":"unplugged","data":{"device":"usb:1-2"}`, `"name":"plugged","data":{"device":"usb:1-2"}`} {
		if !strings.Contains(string(text), words) {
			t.Errorf("no event %s in\n%s", words, text)
		}
	}
}
