package guest

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/usb"
)

func TestShare(t *testing.T) {
	port, err := usb.ParsePortPath("1-4")
	if err != nil {
		t.Fatal(err)
	}
	share := func(w Want) Need { return Need{Want: w, How: Share} }
	base := Guest{Name: "work", Memory: 64 << 20}
	for name, test := range map[string]struct {
		d       Definition
		seat    bool
		devices []usb.PortPath
		want    func(*Guest)
	}{
		"nothing": {want: func(*Guest) {}},
		"all that a definition says": {
			d: Definition{
				Network: Network{Kind: NAT}, Audio: Audio{Record: true}, TPM: true, Display: Display{Kind: VirglDisplay, Where: OnSPICE},
				Folders: []Folder{{Path: "/srv/x", Name: "x", ReadOnly: true}},
			},
			want: func(g *Guest) {
				g.NICs = []NIC{{Link: LinkNAT}}
				g.Sound = SoundCard{Model: HDA, Record: true}
				g.TPM = "/guests/home/tpm"
				g.Graphics, g.Screen, g.Input = VirGL, Screen{Kind: SPICE}, Input{Kind: USBInput}
				g.Folders = []SharedFolder{{Path: "/srv/x", Name: "x", ReadOnly: true}}
			},
		},
		"shared needs": {
			d: Definition{Devices: []Need{share(WantWLAN), share(WantEthernet), share(WantAudio), share(WantWebcam)}},
			want: func(g *Guest) {
				g.NICs = []NIC{{Link: LinkNAT}}
				g.Sound = SoundCard{Model: HDA, Play: true}
			},
		},
		"what is said goes before a need": {
			d: Definition{
				Network: Network{Kind: Bridged, Bridge: "br0"}, Audio: Audio{Record: true},
				Devices: []Need{share(WantWLAN), share(WantAudio)},
			},
			want: func(g *Guest) {
				g.NICs = []NIC{{Link: LinkTap}}
				g.Sound = SoundCard{Model: HDA, Record: true}
			},
		},
		"an agent that is waited for": {
			d:    Definition{Autostart: &Autostart{Ready: Ready{Agent: true}}},
			want: func(g *Guest) { g.Agent = true },
		},
		"nobody sits there": {
			d:    Definition{Display: Display{Kind: VirtioDisplay}, Autostart: &Autostart{Fullscreen: true}},
			want: func(g *Guest) { g.Graphics = VirtIOGPU },
		},
		"somebody does": {
			d: Definition{Display: Display{Kind: VirtioDisplay}, Autostart: &Autostart{Fullscreen: true}}, seat: true,
			want: func(g *Guest) {
				g.Graphics, g.Screen, g.Input = VirtIOGPU, Screen{Kind: Window, FullScreen: true}, Input{Kind: USBInput}
			},
		},
		"and is not to see it": {
			d: Definition{Display: Display{Kind: VirtioDisplay, Where: Nowhere}}, seat: true,
			want: func(g *Guest) { g.Graphics = VirtIOGPU },
		},
		"an assigned display": {d: Definition{Display: Display{Kind: AssignedDisplay}}, seat: true, want: func(*Guest) {}},
		"a USB device": {
			devices: []usb.PortPath{port},
			want:    func(g *Guest) { g.USB.Devices = []usb.PortPath{port} },
		},
	} {
		want := base
		test.want(&want)
		got, err := test.d.Share(base, "/guests/home", test.seat, test.devices)
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b usb.PortPath) bool { return a == b })); err != nil || diff != "" {
			t.Errorf("%s: %v\n-want +got:\n%s", name, err, diff)
		}
	}
	if g, err := (Definition{}).Share(base, "", false, []usb.PortPath{port, port}); err == nil {
		t.Errorf("one device twice: %+v", g.USB)
	}
}
