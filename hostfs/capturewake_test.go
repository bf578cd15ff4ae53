package hostfs_test

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/project-independence/indy/hostfs"
)

// sleepers are functions in all states of power, each a bridge with a link, and two
// sound cards.
func sleepers(t *testing.T) *hostfs.Tree {
	t.Helper()
	m := new(hostfs.Tree)
	put := func(name, text string) {
		if err := m.Put(name, []byte(text+"\n")); err != nil {
			t.Fatal(err)
		}
	}
	for address, state := range map[string]string{
		"0000:00:01.0": "D0 active", "0000:00:02.0": "D3hot suspended", "0000:00:03.0": "D3cold suspended",
		"0000:00:04.0": "unknown active", "0000:00:05.0": "unknown suspended", "0000:00:06.0": "", "0000:00:07.0": "D0 suspending",
	} {
		dir := "sys/devices/pci0000:00/" + address
		power, runtime, known := strings.Cut(state, " ")
		if known {
			put(dir+"/power_state", power)
			put(dir+"/power/runtime_status", runtime)
		}
		for _, name := range []string{"current_link_speed", "current_link_width", "max_link_speed", "max_link_width", "resource0_resize",
			"secondary_bus_number", "subordinate_bus_number", "vpd", "rom", "config"} {
			put(dir+"/"+name, "1")
		}
		if err := m.Symlink("../../../devices/pci0000:00/"+address, "sys/bus/pci/devices/"+address); err != nil {
			t.Fatal(err)
		}
	}
	for card, function := range map[string]string{"card0": "0000:00:02.0", "card1": "0000:00:03.0", "card2": ""} {
		dir := "sys/devices/pci0000:00/" + function
		if function != "" {
			if err := m.Symlink("/"+dir, "sys/class/sound/"+card+"/device"); err != nil {
				t.Fatal(err)
			}
			codec := "hdaudioC" + strings.TrimPrefix(card, "card") + "D0"
			put(dir+"/"+codec+"/widgets/02/caps", "0x1")
			if err := m.Symlink("/"+dir+"/"+codec, "sys/bus/hdaudio/devices/"+codec); err != nil {
				t.Fatal(err)
			}
		}
		put("proc/asound/"+card+"/codec#0", "Codec: x")
		put("proc/asound/"+card+"/id", "PCH")
	}
	return m
}

func TestCaptureLetsSleep(t *testing.T) {
	g := grudging{sleepers(t), nil, map[string]bool{}}
	c, err := hostfs.Capture(g, hostfs.CaptureOptions{Raw: true})
	if err != nil {
		t.Fatal(err)
	}
	const dir = "sys/devices/pci0000:00/"
	waking := []string{"current_link_speed", "current_link_width", "max_link_speed", "max_link_width", "resource0_resize", "subordinate_bus_number"}
	for address, awake := range map[string]bool{
		"0000:00:01.0": true, "0000:00:02.0": false, "0000:00:03.0": false, "0000:00:04.0": true, "0000:00:05.0": false,
		"0000:00:06.0": true, "0000:00:07.0": true,
	} {
		for _, name := range waking {
			name = dir + address + "/" + name
			if _, err := c.Stat(name); (err == nil) != awake || g.opened[name] != awake {
				t.Errorf("%s: %v, opened: %v", name, err, g.opened[name])
			}
		}
		bridge := dir + address + "/secondary_bus_number"
		if data, err := c.ReadFile(bridge); err != nil || (len(data) > 0) != awake || g.opened[bridge] != awake {
			t.Errorf("%s: %q, %v", bridge, data, err)
		}
	}
	for name, taken := range map[string]bool{
		"proc/asound/card0/codec#0": true, "proc/asound/card1/codec#0": false, "proc/asound/card2/codec#0": true, "proc/asound/card1/id": true,
		dir + "0000:00:02.0/hdaudioC0D0/widgets/02/caps": true, dir + "0000:00:03.0/hdaudioC1D0/widgets/02/caps": false,
	} {
		if _, err := c.Stat(name); (err == nil) != taken || g.opened[name] != taken {
			t.Errorf("%s: %v, opened: %v", name, err, g.opened[name])
		}
	}
}

// What may wake a function is taken on demand, VPD only by who wants serial numbers,
// too, and a ROM never.
func TestCaptureWakes(t *testing.T) {
	for _, tt := range []struct {
		opts hostfs.CaptureOptions
		want string
	}{
		{hostfs.CaptureOptions{}, ""},
		{hostfs.CaptureOptions{Raw: true}, ""},
		{hostfs.CaptureOptions{Wake: true}, "max_link_speed"},
		{hostfs.CaptureOptions{Config: true}, "config max_link_speed"},
		{hostfs.CaptureOptions{Config: true, Raw: true}, "config max_link_speed vpd"},
	} {
		c, err := hostfs.Capture(sleepers(t), tt.opts)
		if err != nil {
			t.Fatal(err)
		}
		var found []string
		for _, name := range []string{"config", "max_link_speed", "rom", "vpd"} {
			if _, err := c.Stat("sys/bus/pci/devices/0000:00:03.0/" + name); err == nil {
				found = append(found, name)
			}
		}
		if !slices.Equal(found, strings.Fields(tt.want)) {
			t.Errorf("%+v: %v, want %s", tt.opts, found, tt.want)
		}
	}
}

// Each thing that could not be read is told once, with its path.
func TestCaptureErrorsArePaths(t *testing.T) {
	const file = "sys/devices/pci0000:00/0000:00:01.0/max_link_speed"
	g := grudging{sleepers(t), map[string]error{file: syscall.EIO, "proc/swaps": syscall.EACCES}, map[string]bool{}}
	_, err := hostfs.Capture(g, hostfs.CaptureOptions{})
	var paths []string
	for _, err := range err.(interface{ Unwrap() []error }).Unwrap() {
		var p *fs.PathError
		if !errors.As(err, &p) {
			t.Fatalf("%v is no error of a path", err)
		}
		paths = append(paths, p.Path)
	}
	if want := []string{"proc/swaps", file}; !slices.Equal(paths, want) {
		t.Errorf("%v, want %v", paths, want)
	}
}
