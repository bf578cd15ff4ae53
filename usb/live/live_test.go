package live_test

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/project-independence/indy/usb"
	"github.com/project-independence/indy/usb/live"
)

// Whatever this machine has, and however this was built, a device that is not there
// is an error of one of two kinds.
func TestNotThere(t *testing.T) {
	p, err := usb.ParsePortPath("255-1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	for name, open := range map[string]func() (*live.Device, error){
		"by port path":     func() (*live.Device, error) { return live.Open(p) },
		"by number":        func() (*live.Device, error) { return live.OpenNumber(255, 255) },
		"negative numbers": func() (*live.Device, error) { return live.OpenNumber(-1, -1) },
		"a root hub":       func() (*live.Device, error) { return live.OpenNumber(1, 1) },
	} {
		d, err := open()
		var op *usb.OpError
		if d != nil || !errors.As(err, &op) || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: %v, %v", name, d, err)
		}
		if op != nil && name == "by port path" && op.Path != p {
			t.Errorf("%s: the error is about %v", name, op.Path)
		}
	}
	var op *usb.OpError
	if d, err := live.Open(usb.PortPath{}); d != nil || !errors.As(err, &op) {
		t.Errorf("the zero port path: %v, %v", d, err)
	}
}

// It starts and ends libusb each time.
func TestAgain(t *testing.T) {
	for range 20 {
		if d, err := live.OpenNumber(255, 255); d != nil || err == nil {
			t.Fatalf("%v, %v", d, err)
		}
	}
}
