package gpu_test

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/project-independence/indy/gpu"
	"github.com/project-independence/indy/internal/hosttest"
)

const edp = "sys/devices/pci0000:00/0000:00:02.0/drm/card1/card1-eDP-1/"

func TestConnectorAttributes(t *testing.T) {
	tr, functions := desk(t)
	must(t, tr.Put(edp+"edid", base(0)))
	must(t, tr.Put(edp+"modes", []byte("1920x1080\n1920x1080\n1920x1080i\n1680x1050\n\x1b[2J\n\n")))
	must(t, tr.Put(edp+"enabled", []byte("enabled\n")))
	must(t, tr.Put(edp+"dpms", []byte("On\n")))
	must(t, tr.Put("sys/devices/pci0000:00/0000:00:02.0/drm/card1/boot_display", []byte("1\n")))
	opened := map[string]bool{}
	host := hosttest.Failing{Tree: tr, Fail: func(name string) error { opened[name[strings.LastIndexByte(name, '/')+1:]] = true; return nil }}
	displays, err := gpu.Displays(host, functions)
	must(t, err)
	for _, name := range []string{"edid", "modes", "enabled", "dpms", "boot_display"} {
		if opened[name] {
			t.Errorf("a listing reads %s", name)
		}
	}
	d := displays[0]
	if d.Card() != "card1" || d.Render() != "renderD128" || displays[1].Card() != "" || displays[2].Render() != "" {
		t.Errorf("%+v", displays)
	}
	c := d.Connectors[2]
	e, err := gpu.ReadEDID(tr, c)
	if err != nil || e.Manufacturer != "AUO" {
		t.Errorf("%v, %v", e.Manufacturer, err)
	}
	modes, err := gpu.Modes(tr, c)
	if err != nil || !slices.Equal(modes, []string{"1920x1080", "1920x1080i", "1680x1050", "[2J"}) {
		t.Errorf("%q, %v", modes, err)
	}
	enabled, err := gpu.Enabled(tr, c)
	if err != nil || enabled != gpu.Yes {
		t.Errorf("%v, %v", enabled, err)
	}
	dpms, err := gpu.DPMS(tr, c)
	if err != nil || dpms != "On" {
		t.Errorf("%v, %v", dpms, err)
	}
	for card, want := range map[string]gpu.Answer{"card1": gpu.Yes, "card2": gpu.Unknown, "card9": gpu.Unknown} {
		if boot, err := gpu.BootDisplay(tr, card); err != nil || boot != want {
			t.Errorf("%s: %v, %v", card, boot, err)
		}
	}
}

func TestConnectorFailures(t *testing.T) {
	tr, functions := desk(t)
	displays, err := gpu.Displays(tr, functions)
	must(t, err)
	c := displays[0].Connectors[2]
	for name, read := range map[string]func(fs.FS, gpu.Connector) error{
		"edid":    func(f fs.FS, c gpu.Connector) error { _, err := gpu.ReadEDID(f, c); return err },
		"modes":   func(f fs.FS, c gpu.Connector) error { _, err := gpu.Modes(f, c); return err },
		"enabled": func(f fs.FS, c gpu.Connector) error { _, err := gpu.Enabled(f, c); return err },
		"dpms":    func(f fs.FS, c gpu.Connector) error { _, err := gpu.DPMS(f, c); return err },
	} {
		var op *gpu.OpError
		if err := read(tr, c); !errors.Is(err, fs.ErrNotExist) || !errors.As(err, &op) || op.Device != "card1-eDP-1" || !strings.Contains(err.Error(), name) {
			t.Errorf("%s missing: %v", name, err)
		}
		failing := hosttest.Failing{Tree: tr, Fail: func(string) error { return syscall.EIO }}
		if err := read(failing, c); !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: %v", name, err)
		}
		for _, odd := range []gpu.Connector{{}, {Name: "eDP-1"}, {Card: "card1"}, {Card: "card1", Name: "../card1"}, {Card: "../card1", Name: "eDP-1"}, {Card: "cardx", Name: "a"}} {
			if err := read(tr, odd); !errors.As(err, &op) || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s of %v: %v", name, odd, err)
			}
		}
	}
	for data, want := range map[string]error{"": gpu.ErrNoEDID, "short": nil} {
		must(t, tr.Put(edp+"edid", []byte(data)))
		var op *gpu.OpError
		if _, err := gpu.ReadEDID(tr, c); !errors.As(err, &op) || want != nil && !errors.Is(err, want) {
			t.Errorf("%q: %v", data, err)
		}
	}
	must(t, tr.Put(edp+"enabled", []byte("perhaps\n")))
	if a, err := gpu.Enabled(tr, c); err == nil || a != gpu.Unknown {
		t.Errorf("%v, %v", a, err)
	}
	must(t, tr.Put(edp+"enabled", []byte("disabled\n")))
	if a, err := gpu.Enabled(tr, c); err != nil || a != gpu.No {
		t.Errorf("%v, %v", a, err)
	}
	var many strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&many, "%dx1\n", i)
	}
	must(t, tr.Put(edp+"modes", []byte(many.String())))
	if modes, err := gpu.Modes(tr, c); err != nil || len(modes) != 1024 {
		t.Errorf("%d modes, %v", len(modes), err)
	}
	if _, err := gpu.BootDisplay(tr, "../card1"); err == nil {
		t.Error("a card above the class")
	}
	failing := hosttest.Failing{Tree: tr, Fail: func(string) error { return syscall.EIO }}
	if _, err := gpu.BootDisplay(failing, "card1"); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
}
