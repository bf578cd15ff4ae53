package audio_test

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/audio"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/pci"
)

const dump = `Codec: Realtek ALC257
Address: 0
AFG Function Id: 0x1 (unsol 1)
Vendor Id: 0x10ec0257
Subsystem Id: 0x17aa2292
Revision Id: 0x100001
No Modem Function Group found
Default PCM:
    rates [0x60]: 44100 48000
State of AFG node 0x01:
  Power states:  D0 D1 D2 D3 D3cold CLKSTOP EPSS
Node 0x02 [Audio Output] wcaps 0x41d: Stereo Amp-Out
  Control: name="Speaker Playback Volume", index=0, device=0
Node 0x14 [Pin Complex] wcaps 0x40058d: Stereo Amp-Out
  Pincap 0x00010014: OUT EAPD Detect
  Pin Default 0x90170110: [Fixed] Speaker at Int N/A
    Conn = Analog, Color = Unknown
    DefAssociation = 0x1, Sequence = 0x0
    Misc = NO_PRESENCE
Node 0x21 [Pin Complex] wcaps 0x40058d: Stereo Amp-Out
  Pincap 0x0001001c: OUT HP EAPD Detect
  Pin Default 0x0321101f: [Jack] HP Out at Ext Left
    Conn = 1/8, Color = Black
    DefAssociation = 0x1, Sequence = 0xf
Node 0x22 [Pin Complex] wcaps 0x400400: Mono
`

func alc257() audio.Codec {
	return audio.Codec{
		Name: "Realtek ALC257", Vendor: pci.NewID(0x10ec), Device: pci.NewID(0x0257),
		SubsystemVendor: pci.NewID(0x17aa), SubsystemDevice: pci.NewID(0x2292), Revision: audio.NewWord(0x100001), AFG: 1,
		Nodes: []audio.Node{
			{ID: 0x02, Capabilities: audio.NewWord(0x41d)},
			{ID: 0x14, Capabilities: audio.NewWord(0x40058d), PinCapabilities: audio.NewWord(0x10014), Default: audio.NewPinDefault(0x90170110)},
			{ID: 0x21, Capabilities: audio.NewWord(0x40058d), PinCapabilities: audio.NewWord(0x1001c), Default: audio.NewPinDefault(0x0321101f)},
			{ID: 0x22, Capabilities: audio.NewWord(0x400400)},
		},
	}
}

// equal lets go-cmp compare values that keep their content to themselves.
func equal() cmp.Option {
	return cmp.Options{
		cmp.Comparer(func(a, b audio.PinDefault) bool { return a == b }), cmp.Comparer(func(a, b audio.Word) bool { return a == b }),
		cmp.Comparer(func(a, b pci.ID) bool { return a == b }), cmp.Comparer(func(a, b pci.Address) bool { return a == b }),
	}
}

func TestParseCodec(t *testing.T) {
	c, err := audio.ParseCodec([]byte("!!HDA-Intel Codec information\nAddress: 7\n--startcollapse--\n\n" + dump + "\nCodec: another\nNode 0x99 [x]\n"))
	if d := cmp.Diff(alc257(), c, equal()); d != "" || err != nil {
		t.Errorf("%v\n%s", err, d)
	}
	var said []string
	for _, p := range c.Pins() {
		said = append(said, fmt.Sprint(p.Describe(), " ", p.Detects()))
	}
	if d := cmp.Diff([]string{"Internal Speaker false", "Headphone jack, left true", "unknown false"}, said); d != "" {
		t.Error(d)
	}
	if s := c.Nodes[0].Describe(); s != "" {
		t.Errorf("an output without a pin: %q", s)
	}
	if c.DisplayOnly() {
		t.Error("a speaker is no display")
	}
}

func TestParseCodecPartly(t *testing.T) {
	for _, tt := range []struct {
		name, from, to, says string
		change               func(*audio.Codec)
	}{
		{"address", "Address: 0", "Address: 16", "Address: 16", nil},
		{"vendor", "0x10ec0257", "0x10ec02571", "32-bit", func(c *audio.Codec) { c.Vendor, c.Device = pci.ID{}, pci.ID{} }},
		{"node", "Node 0x14 ", "Node 0x114 ", "no number of a node",
			func(c *audio.Codec) { // its pin is taken for the node before, which is none
				c.Nodes[0].PinCapabilities, c.Nodes[0].Default = c.Nodes[1].PinCapabilities, c.Nodes[1].Default
				c.Nodes = append(c.Nodes[:1], c.Nodes[2:]...)
			}},
		{"wcaps", "wcaps 0x400400", "wxaps 0x400400", "no wcaps", func(c *audio.Codec) { c.Nodes[3].Capabilities = audio.Word{} }},
		{"default", "0x0321101f", "zero", "32-bit", func(c *audio.Codec) { c.Nodes[2].Default = audio.PinDefault{} }},
		{"subsystem", "Subsystem Id", "Subsystem", "", func(c *audio.Codec) { c.SubsystemVendor, c.SubsystemDevice = pci.ID{}, pci.ID{} }},
	} {
		if !strings.Contains(dump, tt.from) {
			t.Fatalf("%s: nothing to change", tt.name)
		}
		want := alc257()
		if tt.change != nil {
			tt.change(&want)
		}
		got, err := audio.ParseCodec([]byte(strings.Replace(dump, tt.from, tt.to, 1)))
		if tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if d := cmp.Diff(want, got, equal()); d != "" {
			t.Errorf("%s: %s", tt.name, d)
		}
	}
}

func TestParseCodecBounds(t *testing.T) {
	if _, err := audio.ParseCodec([]byte("Address: 0\n")); err == nil {
		t.Error("no codec is no error")
	}
	many := "Codec: x\n" + strings.Repeat("Node 0x14 [Pin Complex] wcaps 0x40058d: Stereo\n", 300)
	if c, err := audio.ParseCodec([]byte(many)); len(c.Nodes) != 256 || err == nil {
		t.Errorf("%d nodes, %v", len(c.Nodes), err)
	}
	if _, err := audio.ParseCodec([]byte("Codec: x\n" + strings.Repeat("Node 0xxx\n", 100_000))); err == nil || strings.Count(err.Error(), "\n") > 10 {
		t.Errorf("%d bytes of error", len(err.Error()))
	}
	if _, err := audio.ParseCodec([]byte("Codec: x\n" + strings.Repeat("\n", 2<<20))); !errors.Is(err, hostfs.ErrTooLarge) {
		t.Errorf("%v", err)
	}
	if c, err := audio.ParseCodec([]byte("Codec: \x1b[2J\u202e" + strings.Repeat("x", 500) + "\n")); len(c.Name) != 126 || strings.ContainsAny(c.Name, "\x1b\u202e") || err != nil {
		t.Errorf("%q, %v", c.Name, err)
	}
}

func TestDescribe(t *testing.T) {
	for register, want := range map[uint32]string{
		0x90170110: "Internal Speaker", 0x90a60130: "Internal Microphone", 0x99130110: "Internal Speaker", 0x0321101f: "Headphone jack, left",
		0x04a11040: "Microphone jack, right", 0x18560010: "HDMI or DisplayPort jack", 0x411111f0: "not connected", 0x01014010: "Line-out jack, rear",
		0x21014020: "Line-out jack, rear, in the dock", 0xc3a19030: "Microphone jack, left, and a built-in one", 0xb7a60140: "Built-in Microphone, inside of the lid",
		0x08113110: "Speaker jack, drive bay", 0x0f213110: "Headphone jack", 0x14451130: "S/PDIF output jack, right, inside", 0x96f60140: "Internal Audio",
	} {
		if got := audio.NewPinDefault(register).Describe(); got != want {
			t.Errorf("%#08x %s: %q, want %q", register, audio.NewPinDefault(register), got, want)
		}
	}
	var unknown audio.PinDefault
	if got := fmt.Sprint(unknown, " ", unknown.Describe(), unknown.Connectivity(), unknown.Device(), unknown.Place(), unknown.Location(), unknown.Connector(), unknown.Colour(), unknown.NoPresence()); got != "unknown unknownfalse" {
		t.Errorf("%q", got)
	}
	if got := audio.NewPinDefault(0x0f2ca01f); got.Location() != "UNKNOWN" || got.Connector() != "UNKNOWN" || got.Colour() != "UNKNOWN" {
		t.Errorf("reserved: %s %s %s", got.Location(), got.Connector(), got.Colour())
	}
}

func TestDisplayOnly(t *testing.T) {
	const hdmi = "Codec: Intel Tigerlake HDMI\nAddress: 2\nVendor Id: 0x80862812\n" +
		"Node 0x04 [Pin Complex] wcaps 0x40778d: 8-Channels Digital Amp-Out CP\n  Pincap 0x0b000094: OUT Detect HBR HDMI DP\n  Pin Default 0x18560010: [Jack] Digital Out at Int HDMI\n" +
		"Node 0x06 [Pin Complex] wcaps 0x40778d: 8-Channels Digital Amp-Out CP\n  Pincap 0x0b000094: OUT Detect HBR HDMI DP\n  Pin Default 0x58560020: [N/A] Digital Out at Int HDMI\n"
	if c, err := audio.ParseCodec([]byte(hdmi)); !c.DisplayOnly() || err != nil || c.Nodes[0].Channels() != 8 {
		t.Errorf("%+v, %v", c, err)
	}
	if (audio.Codec{}).DisplayOnly() {
		t.Error("a codec without pins")
	}
	displays := 0
	for name, dump := range dumps(t) {
		c, _ := audio.ParseCodec(dump)
		if c.DisplayOnly() {
			displays++
			if !strings.Contains(c.Name, "HDMI") {
				t.Errorf("%s: %s plays to displays only", name, c.Name)
			}
		} else if strings.Contains(c.Name, "HDMI") && !strings.Contains(c.Name, "Nvidia GPU 0a") { // whose pins lead nowhere
			t.Logf("%s: %s does not", name, c.Name)
		}
	}
	t.Logf("codecs of displays: %d", displays)
	if displays < 10 {
		t.Error("fewer than there are")
	}
}

func pch(t testing.TB) (*hostfs.Tree, audio.Card) {
	t.Helper()
	tr := new(hostfs.Tree)
	card(t, tr, 0, "pci0000:00/0000:00:1f.3", "snd_hda_intel", "PCH", "controlC0")
	a, err := pci.ParseAddress("0000:00:1f.3")
	must(t, err)
	return tr, audio.Card{Index: 0, ID: "PCH", Function: a}
}

func TestCodecs(t *testing.T) {
	tr, c := pch(t)
	must(t, tr.Put("proc/asound/card0/codec#2", []byte(strings.Replace(dump, "Address: 0", "Address: 2", 1))))
	must(t, tr.Put("proc/asound/card0/codec#0", []byte(dump)))
	must(t, tr.Put("proc/asound/card0/codec#x", []byte(dump)))
	must(t, tr.Put("proc/asound/card1/codec#0", []byte(dump)))
	second := alc257()
	second.Address = 2
	got, err := audio.Codecs(tr, c)
	if d := cmp.Diff([]audio.Codec{alc257(), second}, got, equal()); d != "" || err != nil {
		t.Errorf("%v\n%s", err, d)
	}
	for _, errno := range []syscall.Errno{syscall.ENOENT, syscall.EIO} { // unplugged, and broken
		got, err := audio.Codecs(hosttest.Failing{Tree: tr, Fail: func(name string) error {
			if name == "proc/asound/card0/codec#0" {
				return errno
			}
			return nil
		}}, c)
		var op *audio.OpError
		if d := cmp.Diff([]audio.Codec{second}, got, equal()); d != "" || (err != nil) != (errno == syscall.EIO) ||
			err != nil && (!errors.Is(err, errno) || !errors.As(err, &op) || !strings.HasPrefix(err.Error(), "read codecs of card0: ")) {
			t.Errorf("%v: %v\n%s", errno, err, d)
		}
	}
	usb := audio.Card{Index: 3, Function: c.Function, Port: port(t, "1-4")}
	if got, err := audio.Codecs(tr, usb); got != nil || err != nil {
		t.Errorf("of a USB card: %v, %v", got, err)
	}
	if got, err := audio.Codecs(tr, audio.Card{Index: 9}); got != nil || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of no card: %v, %v", got, err)
	}
}

// Where /proc/asound says nothing, sysfs has most of it.
func TestCodecsOfBus(t *testing.T) {
	tr, c := pch(t)
	put := func(device, name string, files map[string]string) {
		dir := "devices/pci0000:00/" + device + "/" + name
		for file, text := range files {
			must(t, tr.Put("sys/"+dir+"/"+file, []byte(text+"\n")))
		}
		must(t, tr.Symlink("../../../"+dir, "sys/bus/hdaudio/devices/"+name))
	}
	put("0000:00:1f.3", "hdaudioC0D0", map[string]string{
		"vendor_id": "0x10ec0257", "subsystem_id": "0x17aa2292", "revision_id": "0x100001", "vendor_name": "Realtek", "chip_name": "ALC257",
		"afg": "0x1", "mfg": "0x0", "widgets/01/power_caps": "0x8000000f", "widgets/02/caps": "0x0000041d", "widgets/02/pin_caps": "",
		"widgets/14/caps": "0x0040058d", "widgets/14/pin_caps": "0x00010014", "widgets/14/pin_cfg": "0x90170110",
		"widgets/21/caps": "0x0040058d", "widgets/21/pin_caps": "0x0001001c", "widgets/21/pin_cfg": "0x0321101f", "widgets/22/caps": "0x00400400",
	})
	put("0000:00:1f.3", "ehdaudio0D2", map[string]string{"vendor_id": "0x80862812", "vendor_name": "Intel\x1b", "chip_name": ""})
	put("0000:00:1f.3", "hdaudioC1D0", map[string]string{"vendor_id": "0x10ec0001"})
	put("0000:01:00.1", "ehdaudio0D3", map[string]string{"vendor_id": "0x10de0001"})
	put("0000:00:1f.3", "oddC0D0", map[string]string{"vendor_id": "0x10de0001"})
	put("0000:00:1f.3", "hdaudioC0D99", map[string]string{"vendor_id": "0x10de0001"})

	want := []audio.Codec{alc257(), {Address: 2, Name: "Intel", Vendor: pci.NewID(0x8086), Device: pci.NewID(0x2812)}}
	got, err := audio.Codecs(tr, c)
	if d := cmp.Diff(want, got, equal()); d != "" || err != nil {
		t.Errorf("%v\n%s", err, d)
	}
	must(t, tr.Put("sys/devices/pci0000:00/0000:00:1f.3/hdaudioC0D0/widgets/14/pin_cfg", []byte("odd\n")))
	want[0].Nodes[1].Default = audio.PinDefault{}
	got, err = audio.Codecs(tr, c)
	if d := cmp.Diff(want, got, equal()); d != "" || err == nil || !strings.Contains(err.Error(), "widgets/14/pin_cfg") {
		t.Errorf("%v\n%s", err, d)
	}
	// What is wrong is said in the same order each time.
	for _, name := range []string{"afg", "mfg"} {
		must(t, tr.Put("sys/devices/pci0000:00/0000:00:1f.3/hdaudioC0D0/"+name, []byte("0x1000\n")))
	}
	for range 50 {
		_, err := audio.Codecs(tr, c)
		if before, after, ok := strings.Cut(fmt.Sprint(err), "/afg: "); !ok || strings.Contains(before, "/mfg: ") || !strings.Contains(after, "/mfg: ") {
			t.Fatal(err)
		}
	}
	// The file in /proc is worth more, because the kernel asks the chip for it.
	must(t, tr.Put("proc/asound/card0/codec#0", []byte(dump)))
	if got, err = audio.Codecs(tr, c); len(got) != 1 || got[0].Name != "Realtek ALC257" || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzParseCodec(f *testing.F) {
	f.Add([]byte(dump))
	f.Add([]byte("Codec: \nNode 0x\nPin Default 0x"))
	for _, d := range dumps(f) {
		f.Add(d)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := audio.ParseCodec(data)
		if err != nil && len(err.Error()) > 16<<10 {
			t.Errorf("%d bytes of error", len(err.Error()))
		}
		if len(c.Nodes) > 256 || c.Address < 0 || c.Address > 15 || !utf8.ValidString(c.Name) || utf8.RuneCountInString(c.Name) > 126 || strings.ContainsAny(c.Name, "\n\x1b") {
			t.Errorf("%+v", c)
		}
		for _, n := range c.Nodes {
			_, _, _ = n.Describe(), n.Default.String(), n.Channels()
		}
		c.DisplayOnly()
	})
}
