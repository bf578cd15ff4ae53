//go:build !cgo

package live

import (
	"errors"
	"testing"

	"github.com/project-independence/indy/usb"
)

func TestWithoutCgo(t *testing.T) {
	p, err := usb.ParsePortPath("1-4.2")
	if err != nil {
		t.Fatal(err)
	}
	d := &Device{path: p}
	_, err1 := Open(p)
	_, err2 := OpenNumber(1, 2)
	_, err3 := d.ClaimTest()
	for _, err := range []error{err1, err2, err3, d.Reset()} {
		var op *usb.OpError
		if !errors.Is(err, errors.ErrUnsupported) || !errors.As(err, &op) {
			t.Errorf("error: %v", err)
		}
	}
	if d.Close() != nil || d.Path() != p {
		t.Errorf("%v", d.Path())
	}
}
