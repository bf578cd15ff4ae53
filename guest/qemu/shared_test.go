package qemu

import (
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

var update = flag.Bool("update", false, "write testdata/args anew")

func port(t testing.TB, s string) usb.PortPath {
	t.Helper()
	p, err := usb.ParsePortPath(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// sharing are guests that share something with the host, each with its golden file.
func sharing(t testing.TB) map[string]struct {
	guest  guest.Guest
	layout Layout
} {
	type one = struct {
		guest  guest.Guest
		layout Layout
	}
	nat, tap := guest.NIC{Link: guest.LinkNAT}, guest.NIC{Link: guest.LinkTap}
	isolated := guest.NIC{Link: guest.LinkNAT, Isolated: true, Model: guest.E1000E, MAC: guest.MAC{0x52, 0x54, 0, 1, 2, 3}}
	play := guest.SoundCard{Model: guest.HDA, Play: true}
	return map[string]one{
		"nvme": {
			guest.Guest{Disks: []guest.Disk{{File: "a", Bus: guest.NVMe}, {File: "b", Bus: guest.NVMe, ReadOnly: true}}},
			Layout{Disks: []DiskFile{{FD: 5}, {FD: 6}}},
		},
		"network": {
			guest.Guest{NICs: []guest.NIC{nat, nat, tap, isolated}, Devices: []pci.Address{pci.NewAddress(0, 2, 0, 0)}},
			Layout{NICs: []NICEnd{{}, {FD: 5}, {FD: 6}, {}}},
		},
		"agent":         {guest.Guest{Agent: true}, Layout{Agent: 5}},
		"reach":         {guest.Guest{NICs: []guest.NIC{nat, nat}}, Layout{NICs: []NICEnd{{}, {}}, Watch: 5, Knock: 6}},
		"hda-play":      {guest.Guest{Sound: play}, Layout{Sound: PipeWire}},
		"hda-duplex":    {guest.Guest{Sound: guest.SoundCard{Model: guest.HDA, Play: true, Record: true}}, Layout{Sound: PulseAudio, SoundServer: "/run/user/1000/pulse/native,a=b"}},
		"hda-record":    {guest.Guest{Sound: guest.SoundCard{Model: guest.HDA, Record: true}}, Layout{Sound: ALSA}},
		"virtio-play":   {guest.Guest{Sound: guest.SoundCard{Model: guest.VirtIOSound, Play: true}}, Layout{Sound: WAV, Recording: 5}},
		"virtio-record": {guest.Guest{Sound: guest.SoundCard{Model: guest.VirtIOSound, Record: true}}, Layout{Sound: Silent}},
		"window":        {guest.Guest{Graphics: guest.VirtIOGPU, Screen: guest.Screen{Kind: guest.Window, FullScreen: true}}, Layout{Window: GTK}},
		"window-virgl":  {guest.Guest{Graphics: guest.VirGL, Screen: guest.Screen{Kind: guest.Window}}, Layout{Window: SDL}},
		"vnc":           {guest.Guest{Graphics: guest.StdVGA, Screen: guest.Screen{Kind: guest.VNC}}, Layout{}},
		"spice-virgl":   {guest.Guest{Graphics: guest.VirGL, Screen: guest.Screen{Kind: guest.SPICE}}, Layout{RenderNode: "/dev/dri/renderD128"}},
		"tpm":           {guest.Guest{TPM: "/state,file=x", Firmware: guest.UEFI}, Layout{TPM: 5, Code: 6, Variables: 7}},
		"input-virtio":  {guest.Guest{Input: guest.Input{Kind: guest.VirtIOInput}}, Layout{}},
		"input-usb":     {guest.Guest{Input: guest.Input{Kind: guest.USBInput}}, Layout{}},
		"evdev": {
			guest.Guest{Input: guest.Input{Evdev: []string{"/dev/input/event3", "/dev/input/by-id/mouse,file=x"}, Switch: guest.ScrollLock}},
			Layout{},
		},
		"usb":            {guest.Guest{USB: guest.USB{Devices: []usb.PortPath{port(t, "1-4.2"), port(t, "2-1")}}}, Layout{USB: []int{5, 6}}},
		"usb-controller": {guest.Guest{USB: guest.USB{Controller: true}}, Layout{}},
		"folder":         {guest.Guest{Folders: []guest.SharedFolder{{Path: "/srv,x", Name: "files"}}}, Layout{Folders: []int{5}}},
		"all": {
			guest.Guest{
				Firmware: guest.UEFI, Disks: []guest.Disk{{File: "a", Bus: guest.VirtIO}}, NICs: []guest.NIC{nat}, TPM: "/state",
				Sound:    guest.SoundCard{Model: guest.VirtIOSound, Play: true, Record: true},
				Graphics: guest.VirtIOGPU, Screen: guest.Screen{Kind: guest.SPICE}, Input: guest.Input{Kind: guest.USBInput},
				USB: guest.USB{Devices: []usb.PortPath{port(t, "1-1")}}, Folders: []guest.SharedFolder{{Path: "/srv", Name: "srv", ReadOnly: true}},
				Devices: []pci.Address{pci.NewAddress(0, 2, 0, 0)},
			},
			Layout{
				Disks: []DiskFile{{FD: 5}}, NICs: []NICEnd{{FD: 6}}, TPM: 7, Sound: PipeWire, USB: []int{8}, Folders: []int{9},
				Code: 10, Variables: 11,
			},
		},
	}
}

// complete adds what every guest has.
func complete(g guest.Guest, l Layout) (guest.Guest, Layout) {
	if g.Name == "" {
		g.Name = "work"
	}
	g.Memory = 1 << 30
	l.Accelerator, l.QMP, l.Serial = TCG, 3, 4
	return g, l
}

func TestArgsOfWhatIsShared(t *testing.T) {
	for name, tt := range sharing(t) {
		t.Run(name, func(t *testing.T) {
			args, err := Args(complete(tt.guest, tt.layout))
			if err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			for i, a := range args {
				if strings.HasPrefix(a, "-") && i > 0 {
					b.WriteByte('\n')
				} else if i > 0 {
					b.WriteByte(' ')
				}
				b.WriteString(a)
			}
			b.WriteByte('\n')
			file := filepath.Join("testdata", "args", name+".txt")
			if *update {
				if err := os.WriteFile(file, []byte(b.String()), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), b.String()); diff != "" {
				t.Errorf("%s (-want +got; -update writes it anew):\n%s", file, diff)
			}
		})
	}
}

// TestLeast shows that a guest that asks for nothing gets nothing, by the devices on
// its command line.
func TestLeast(t *testing.T) {
	args, err := Args(complete(guest.Guest{}, Layout{}))
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range args {
		switch a {
		case "-netdev", "-audiodev", "-vnc", "-spice", "-tpmdev", "-object", "-add-fd", "-blockdev":
			t.Errorf("%s %s", a, args[i+1])
		case "-device":
			if !strings.Contains(args[i+1], "isa-serial") {
				t.Errorf("%s %s", a, args[i+1])
			}
		case "-display":
			if args[i+1] != "none" {
				t.Errorf("%s %s", a, args[i+1])
			}
		}
	}
}

// TestNoCapture shows that no guest that may not record has a way to: neither an input
// in its card nor a voice on the host.
func TestNoCapture(t *testing.T) {
	for _, card := range []guest.CardModel{guest.HDA, guest.VirtIOSound} {
		for driver := PipeWire; driver <= Silent; driver++ {
			l := Layout{Sound: driver}
			if driver == WAV {
				l.Recording = 5
			}
			args, err := Args(complete(guest.Guest{Sound: guest.SoundCard{Model: card, Play: true}}, l))
			if err != nil {
				t.Fatal(err)
			}
			text := strings.Join(args, "\n")
			if !strings.Contains(text, `"in":{`) || !strings.Contains(text, `"voices":0`) || strings.Contains(text, "hda-duplex") ||
				strings.Contains(text, "hda-micro") || card == guest.VirtIOSound && !strings.Contains(text, `"streams":1`) {
				t.Errorf("%v on %v:\n%s", card, driver, text)
			}
		}
	}
}

func TestArgsRefusesSharing(t *testing.T) {
	nat := []guest.NIC{{Link: guest.LinkNAT}}
	tests := []struct {
		name   string
		guest  guest.Guest
		layout Layout
		want   string
	}{
		{"no end", guest.Guest{NICs: nat}, Layout{}, "0 ends for 1 network interfaces"},
		{"tap without descriptor", guest.Guest{NICs: []guest.NIC{{Link: guest.LinkTap}}}, Layout{NICs: []NICEnd{{}}}, "descriptor 0"},
		{"isolated, but passt", guest.Guest{NICs: []guest.NIC{{Link: guest.LinkNAT, Isolated: true}}}, Layout{NICs: []NICEnd{{FD: 5}}}, "can isolate"},
		{"same descriptor", guest.Guest{NICs: nat}, Layout{NICs: []NICEnd{{FD: 4}}}, "descriptor 4"},
		{"no USB", guest.Guest{USB: guest.USB{Devices: []usb.PortPath{port(t, "1-1")}}}, Layout{}, "0 descriptors for 1 USB"},
		{"no folder", guest.Guest{Folders: []guest.SharedFolder{{Path: "/a", Name: "a"}}}, Layout{}, "0 descriptors for 1 folders"},
		{"no sound driver", guest.Guest{Sound: guest.SoundCard{Model: guest.HDA, Play: true}}, Layout{}, "the sound driver is auto"},
		{"no recording", guest.Guest{Sound: guest.SoundCard{Model: guest.HDA, Play: true}}, Layout{Sound: WAV}, "descriptor 0"},
		{"no window system", guest.Guest{Graphics: guest.StdVGA, Screen: guest.Screen{Kind: guest.Window}}, Layout{}, "neither gtk nor sdl"},
		{"no agent", guest.Guest{Agent: true}, Layout{}, "descriptor 0"},
		{"nothing to look at", guest.Guest{}, Layout{Watch: 5, Knock: 6}, "no network interface to look at"},
		{"half a look", guest.Guest{NICs: nat}, Layout{NICs: []NICEnd{{}}, Watch: 5}, "descriptor 0"},
		{"no TPM", guest.Guest{TPM: "/a"}, Layout{}, "descriptor 0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := Args(complete(tt.guest, tt.layout)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

// shapeOf returns args with all texts of JSON values and of options replaced, so that
// only where arguments, options and keys are remains.
func shapeOf(t *testing.T, args []string) string {
	t.Helper()
	var b strings.Builder
	var shape func(v any)
	shape = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			b.WriteByte('{')
			for _, k := range slices.Sorted(maps.Keys(v)) {
				b.WriteString(k + ":")
				shape(v[k])
			}
			b.WriteByte('}')
		case string:
			b.WriteString("text ")
		default:
			text, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			b.Write(text)
		}
	}
	for _, a := range args {
		var v map[string]any
		switch {
		case strings.HasPrefix(a, "{"):
			if err := json.Unmarshal([]byte(a), &v); err != nil {
				t.Fatalf("%q: %v", a, err)
			}
			shape(v)
		default:
			for rest := a; rest != ""; {
				var one string
				one, rest = unescape(rest)
				rest = strings.TrimPrefix(rest, ",")
				key, _, _ := strings.Cut(one, "=")
				b.WriteString(key + ",")
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// FuzzShared checks that no text in what is shared changes the shape of the command
// line.
func FuzzShared(f *testing.F) {
	for _, s := range []string{"a", "a,b", "a\nb", ",file=/etc/shadow", "=on", "a,grab_all=on", `a","x":"b`, "\xff", "-device", "/dev/fdset/3"} {
		f.Add(s)
	}
	make := func(s string) (guest.Guest, Layout) {
		g := guest.Guest{
			Name: "a", Disks: []guest.Disk{{File: "d" + s, Bus: guest.NVMe}}, TPM: "t" + s, Graphics: guest.VirGL,
			Sound: guest.SoundCard{Model: guest.HDA, Play: true}, Input: guest.Input{Evdev: []string{"/dev/input/a" + s}},
			Folders: []guest.SharedFolder{{Path: "/" + s, Name: "a"}}, Variables: "v" + s, Firmware: guest.UEFI,
		}
		l := Layout{
			Disks: []DiskFile{{FD: 5}}, TPM: 6, Sound: PulseAudio, SoundServer: "/" + s, Folders: []int{7}, Code: 8, Variables: 9,
			RenderNode: "/dev/dri/" + s,
		}
		return complete(g, l)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want, err := Args(make("x"))
		if err != nil {
			t.Fatal(err)
		}
		g, l := make(s)
		got, err := Args(g, l)
		if err != nil {
			if g.Validate() == nil {
				t.Errorf("%q: %v", s, err)
			}
			return
		}
		if a, b := shapeOf(t, want), shapeOf(t, got); a != b {
			t.Errorf("%q gives another shape:\n%s", s, cmp.Diff(a, b))
		}
		g.Folders[0].Name, g.Folders[0].Path = s, "/a"
		if args, err := Args(g, l); err == nil && shapeOf(t, args) != shapeOf(t, want) {
			t.Errorf("the tag %q gives another shape", s)
		}
	})
}
