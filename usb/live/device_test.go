//go:build cgo

package live

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"github.com/google/gousb"
)

func TestGuard(t *testing.T) {
	var none []int
	for name, test := range map[string]struct {
		f    func() error
		want error
	}{
		"libusb does not start": {func() error { panic(gousb.ErrorOther) }, gousb.ErrorOther},
		"it may not":            {func() error { panic(gousb.ErrorAccess) }, fs.ErrPermission},
		"an index":              {func() error { none[len(none)] = 1; return nil }, nil},
		"a text":                {func() error { panic("no") }, nil},
		"an error":              {func() error { return gousb.ErrorNoDevice }, fs.ErrNotExist},
		"its text":              {func() error { return fmt.Errorf("failed to claim: %v", gousb.ErrorBusy) }, syscall.EBUSY},
		"not found":             {func() error { return gousb.ErrorNotFound }, fs.ErrNotExist},
		"not supported":         {func() error { return gousb.ErrorNotSupported }, errors.ErrUnsupported},
		"another one":           {func() error { return fs.ErrInvalid }, fs.ErrInvalid},
	} {
		if err := guard(test.f); err == nil || test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := guard(func() error { return nil }); err != nil {
		t.Error(err)
	}
}

func TestCode(t *testing.T) {
	for text, want := range map[string]gousb.Error{
		"libusb: not found [code -5]": gousb.ErrorNotFound, "": 0, "[code ": 0, "[code -5": 0, "[code -5] more": 0, "[code x]": 0, "[code 99999]": 0,
	} {
		if got := code(errors.New(text)); got != want {
			t.Errorf("%q: %d", text, got)
		}
	}
}

// Numbers of interfaces have gaps in real devices, where gousb panics.
func TestByNumber(t *testing.T) {
	setting := func(n, alternate int) gousb.InterfaceSetting {
		return gousb.InterfaceSetting{Number: n, Alternate: alternate}
	}
	in := []gousb.InterfaceDesc{
		{Number: 4, AltSettings: []gousb.InterfaceSetting{setting(4, 0), setting(4, 1)}},
		{Number: 2, AltSettings: []gousb.InterfaceSetting{setting(2, 3)}},
		{Number: 7}, {Number: -1, AltSettings: []gousb.InterfaceSetting{setting(-1, 0)}},
	}
	list := byNumber(in)
	if len(list) != 5 {
		t.Fatalf("%v", list)
	}
	for i, got := range list {
		if has := i == 2 || i == 4; has != (got.Number == i) || has != (len(got.AltSettings) == 1) {
			t.Errorf("%d: %+v", i, got)
		}
	}
	if len(in[0].AltSettings) != 2 || list[2].AltSettings[0].Alternate != 3 {
		t.Errorf("%+v %+v", in, list)
	}
}

// What libusb says of speeds and depths that it does not know does no harm.
func TestPortPath(t *testing.T) {
	for want, desc := range map[string]gousb.DeviceDesc{
		"1-4.2":             {Bus: 1, Path: []int{4, 2}, Speed: 5},
		"255-1.2.3.4.5.6.7": {Bus: 255, Path: []int{1, 2, 3, 4, 5, 6, 7}, Speed: -1},
		"invalid port path": {Bus: 1},
	} {
		if got := portPath(&desc); got.String() != want {
			t.Errorf("%v: %v", desc.Path, got)
		}
	}
	for _, desc := range []gousb.DeviceDesc{{Bus: -1, Path: []int{1}}, {Bus: 1, Path: []int{-1}}, {Bus: 1, Path: []int{0}}, {Bus: 256, Path: []int{1}}, {Bus: 1, Path: make([]int, 99)}} {
		if got := portPath(&desc); got.IsValid() {
			t.Errorf("%+v: %v", desc, got)
		}
	}
}

func TestClosed(t *testing.T) {
	d := &Device{}
	if _, err := d.ClaimTest(); !errors.Is(err, fs.ErrClosed) {
		t.Error(err)
	}
	if err := d.Reset(); !errors.Is(err, fs.ErrClosed) {
		t.Error(err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}
