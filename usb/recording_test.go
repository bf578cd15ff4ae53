package usb_test

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/usb"
)

// recording reads a recording of umockdev's as a saved machine: P: a device's path,
// E: a line of its uevent, A: an attribute, H: one in hexadecimal, L: a link.
func recording(t *testing.T, file string) *hostfs.Tree {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	tr := new(hostfs.Tree)
	dir, uevent := "", ""
	end := func() {
		if dir == "" {
			return
		}
		must(t, tr.Put(dir+"/uevent", []byte(uevent)))
		if strings.Contains(uevent, "SUBSYSTEM=usb\n") {
			must(t, tr.Symlink("../../../"+strings.TrimPrefix(dir, "sys/"), "sys/bus/usb/devices/"+filepath.Base(dir)))
		}
		uevent = ""
	}
	for line := range strings.Lines(string(text)) {
		kind, rest, _ := strings.Cut(strings.TrimRight(line, "\n"), ": ")
		name, value, _ := strings.Cut(rest, "=")
		switch kind {
		case "P":
			end()
			dir = "sys" + rest
		case "E":
			uevent += rest + "\n"
		case "A":
			must(t, tr.Put(dir+"/"+name, []byte(strings.NewReplacer(`\n`, "\n", `\\`, `\`).Replace(value))))
		case "H":
			data, err := hex.DecodeString(value)
			must(t, err)
			must(t, tr.Put(dir+"/"+name, data))
		case "L":
			must(t, tr.Symlink(value, dir+"/"+name))
		}
	}
	end()
	return tr
}

func recordings(t *testing.T) []string {
	t.Helper()
	var files []string
	for _, of := range []string{"umockdev", "libfprint"} {
		found, err := filepath.Glob(filepath.Join(hosttest.Shared(t, "hwdata", "usb", of), "*.umockdev"))
		must(t, err)
		files = append(files, found...)
	}
	return files
}

// TestRecordings reads recordings of real machines; what their descriptors say is
// what the kernel made of them.
func TestRecordings(t *testing.T) {
	parsed, devices := 0, 0
	for _, file := range recordings(t) {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".umockdev"), func(t *testing.T) {
			tr := recording(t, file)
			list, err := usb.Devices(tr)
			if err != nil && !strings.Contains(err.Error(), "no USB") && len(list) > 0 {
				t.Error(err)
			}
			for _, d := range list {
				devices++
				got, err := usb.ReadDescriptors(tr, d.Path)
				if err != nil {
					t.Error(err)
					continue
				}
				parsed++
				if got.Device.Vendor != d.Vendor || got.Device.Product != d.Product || got.Device.Release != d.Release || got.Device.Class != d.Class {
					t.Errorf("%v: %+v, but %+v", d.Path, got.Device, d)
				}
				compareAttributes(t, tr, d, got)
			}
		})
	}
	t.Logf("descriptors parsed: %d", parsed)
	if parsed < 20 || parsed != devices {
		t.Errorf("%d devices, descriptors of %d", devices, parsed)
	}
}

func compareAttributes(t *testing.T, tr *hostfs.Tree, d usb.Device, got usb.Descriptors) {
	t.Helper()
	active, err := usb.ActiveConfiguration(tr, d.Path)
	must(t, err)
	c, ok := got.Configuration(active)
	if !ok {
		t.Fatalf("%v: no configuration %d", d.Path, active)
	}
	power, err := usb.ReadPower(tr, d.Path)
	if want := (usb.Power{MaxPower: c.MaxPower, SelfPowered: c.SelfPowered, RemoteWakeup: c.RemoteWakeup}); err != nil || power != want {
		t.Errorf("%v: %+v, %v, but %+v", d.Path, power, err, want)
	}
	if version, err := usb.Version(tr, d.Path); err != nil || version != got.Device.USB {
		t.Errorf("%v: version %v, %v, but %v", d.Path, version, err, got.Device.USB)
	}
	if n, err := usb.Configurations(tr, d.Path); err != nil || n != len(got.Configurations) {
		t.Errorf("%v: %d configurations, %v, but %d", d.Path, n, err, len(got.Configurations))
	}
	for _, i := range d.Interfaces { // a recording may lack some
		if !strings.Contains(got.InterfaceSet(active), i.Class.String()) {
			t.Errorf("%v: interface %d of class %v, but %s", d.Path, i.Number, i.Class, got.InterfaceSet(active))
		}
	}
}
