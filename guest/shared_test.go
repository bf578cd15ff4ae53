package guest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/project-independence/indy/usb"
)

func TestValidateShared(t *testing.T) {
	port, err := usb.ParsePortPath("1-4.2")
	if err != nil {
		t.Fatal(err)
	}
	mac := MAC{0x52, 0x54, 0, 1, 2, 3}
	tests := []struct {
		name   string
		change func(*Guest)
		want   string // part of the error, empty for none
	}{
		{"NVMe, read-only", func(g *Guest) { g.Disks = []Disk{{File: "a", Bus: NVMe, ReadOnly: true}} }, ""},
		{"CD-ROM on NVMe", func(g *Guest) { g.Disks = []Disk{{File: "a", Bus: NVMe, CDROM: true}} }, "needs the SATA bus"},
		{"tpm", func(g *Guest) { g.TPM = "a\x00" }, "tpm: "},
		{"nat", func(g *Guest) {
			g.NICs = []NIC{{Link: LinkNAT}, {Link: LinkNAT, Isolated: true}, {Link: LinkTap, Model: E1000E}}
		}, ""},
		{"nowhere", func(g *Guest) { g.NICs = []NIC{{}} }, "network interface 1: it leads nowhere (Link(0))"},
		{"unknown link", func(g *Guest) { g.NICs = []NIC{{Link: 3}} }, "Link(3)"},
		{"unknown model", func(g *Guest) { g.NICs = []NIC{{Link: LinkNAT, Model: 2}} }, "NICModel(2) is no model"},
		{"isolated tap", func(g *Guest) { g.NICs = []NIC{{Link: LinkTap, Isolated: true}} }, "only a LinkNAT"},
		{"group address", func(g *Guest) { g.NICs = []NIC{{Link: LinkNAT, MAC: MAC{1}}} }, "01:00:00:00:00:00 is a group address"},
		{"MAC twice", func(g *Guest) { g.NICs = []NIC{{Link: LinkNAT, MAC: mac}, {Link: LinkNAT, MAC: mac}} }, "network interface 2: 52:54:00:01:02:03 is given twice"},
		{"too many interfaces", func(g *Guest) { g.NICs = make([]NIC, MaxNICs+1) }, "9 interfaces are more than 8"},
		{"play", func(g *Guest) { g.Sound = SoundCard{HDA, true, false} }, ""},
		{"record", func(g *Guest) { g.Sound = SoundCard{VirtIOSound, false, true} }, ""},
		{"silent card", func(g *Guest) { g.Sound = SoundCard{Model: HDA} }, "neither play nor record"},
		{"no card", func(g *Guest) { g.Sound = SoundCard{Record: true} }, "no card"},
		{"unknown card", func(g *Guest) { g.Sound = SoundCard{9, true, true} }, "CardModel(9) is no card"},
		{"window", func(g *Guest) { g.Graphics, g.Screen = VirGL, Screen{Window, true} }, ""},
		{"graphics alone", func(g *Guest) { g.Graphics = StdVGA }, ""},
		{"nothing to show", func(g *Guest) { g.Screen = Screen{Kind: VNC} }, "no graphics to show"},
		{"full screen of a viewer", func(g *Guest) { g.Graphics, g.Screen = VirtIOGPU, Screen{SPICE, true} }, "full screen"},
		{"unknown graphics", func(g *Guest) { g.Graphics = -1 }, "Graphics(-1) is none"},
		{"unknown display", func(g *Guest) { g.Screen.Kind = 9 }, "ScreenKind(9) is none"},
		{"input", func(g *Guest) { g.Input = Input{USBInput, []string{"/dev/input/event3"}, MetaMeta} }, ""},
		{"unknown input", func(g *Guest) { g.Input.Kind = 9 }, "InputKind(9) is no kind"},
		{"unknown keys", func(g *Guest) { g.Input.Switch = 9 }, "SwitchKeys(9) are no keys"},
		{"another node", func(g *Guest) { g.Input.Evdev = []string{"/dev/sda"} }, "no node in /dev/input"},
		{"a way out", func(g *Guest) { g.Input.Evdev = []string{"/dev/input/../sda"} }, "no node in /dev/input"},
		{"node twice", func(g *Guest) { g.Input.Evdev = []string{"/dev/input/a", "/dev/input/a"} }, "given twice"},
		{"too many nodes", func(g *Guest) {
			for i := range MaxEvdev + 1 {
				g.Input.Evdev = append(g.Input.Evdev, fmt.Sprintf("/dev/input/event%d", i))
			}
		}, "17 nodes are more than 16"},
		{"usb", func(g *Guest) { g.USB.Devices = []usb.PortPath{port} }, ""},
		{"no port", func(g *Guest) { g.USB.Devices = []usb.PortPath{{}} }, "usb device 1: no port"},
		{"port twice", func(g *Guest) { g.USB.Devices = []usb.PortPath{port, port} }, "usb device 1-4.2: given twice"},
		{"too many usb", func(g *Guest) { g.USB.Devices = make([]usb.PortPath, MaxUSB+1) }, "14 devices are more than 13"},
		{"folder", func(g *Guest) { g.Folders = []SharedFolder{{"/home/a,b=c", "home_1", true}} }, ""},
		{"folder here", func(g *Guest) { g.Folders = []SharedFolder{{"home", "home", false}} }, "not an absolute"},
		{"no tag", func(g *Guest) { g.Folders = []SharedFolder{{"/home", "", false}} }, `name ""`},
		{"long tag", func(g *Guest) { g.Folders = []SharedFolder{{"/home", strings.Repeat("a", 37), false}} }, "1 to 36"},
		{"tag with a comma", func(g *Guest) { g.Folders = []SharedFolder{{"/home", "a,b", false}} }, `name "a,b"`},
		{"tag twice", func(g *Guest) { g.Folders = []SharedFolder{{"/a", "a", false}, {"/b", "a", false}} }, "given twice"},
		{"too many folders", func(g *Guest) { g.Folders = make([]SharedFolder, maxFolders+1) }, "17 are more than 16"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := valid()
			tt.change(&g)
			err := g.Validate()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("Validate() = %v, want %q", err, tt.want)
			}
		})
	}
}

func TestParseBus(t *testing.T) {
	for b := AutoBus; b <= NVMe; b++ {
		if got, err := ParseBus(b.String()); got != b || err != nil {
			t.Errorf("ParseBus(%q) = %v, %v", b.String(), got, err)
		}
	}
	if _, err := ParseBus("ide\n"); err == nil || !strings.Contains(err.Error(), `"ide\n"`) {
		t.Errorf("%v", err)
	}
}

func TestMAC(t *testing.T) {
	a, b := valid(), valid()
	b.Name = "play"
	given := MAC{2, 0, 0, 0, 0, 1}
	a.NICs = []NIC{{Link: LinkNAT}, {Link: LinkNAT}, {Link: LinkNAT, MAC: given}}
	if a.MAC(0) == a.MAC(1) || a.MAC(0) == b.MAC(0) || a.MAC(2) != given {
		t.Errorf("%v %v %v, %v", a.MAC(0), a.MAC(1), a.MAC(2), b.MAC(0))
	}
	// It is part of what a guest knows of itself: it stays.
	if got := a.MAC(0).String(); got != "52:54:00:ad:bc:96" {
		t.Errorf("the first one of %q was 52:54:00:ad:bc:96 and is %s", a.Name, got)
	}
	for _, bad := range []string{"", "52:54:00:12:34", "52-54-00-12-34-56", "52:54:00:12:34:5g", "01:00:5e:00:00:01", "00:00:00:00:00:00", "52:54:00:12:34:56\n"} {
		if m, err := ParseMAC(bad); err == nil || m != (MAC{}) {
			t.Errorf("ParseMAC(%q) = %v, %v", bad, m, err)
		}
	}
}

func FuzzParseMAC(f *testing.F) {
	for _, s := range []string{"52:54:00:12:34:56", "FE:FF:ff:00:00:00", "::::::::", "52:54:00:12:34:5"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := ParseMAC(s)
		if err != nil {
			return
		}
		if again, err := ParseMAC(m.String()); again != m || err != nil || !strings.EqualFold(s, m.String()) {
			t.Errorf("%q is %v, and read again %v, %v", s, m, again, err)
		}
	})
}
