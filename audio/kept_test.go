package audio_test

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/project-independence/indy/audio"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/pci"
)

// A card with a codec whose pins the kernel keeps, a synthesizer, and a codec of another card.
const kept = `
-- sys/class/sound/card0 -> ../../devices/pci0000:00/0000:00:1b.0/sound/card0 --
-- sys/class/sound/hwC0D2/vendor_name --
Realtek
-- sys/class/sound/hwC0D2/chip_name --
ALC269VC
-- sys/class/sound/hwC0D2/vendor_id --
0x10ec0269
-- sys/class/sound/hwC0D2/subsystem_id --
0x17aa21fa
-- sys/class/sound/hwC0D2/afg --
0x1
-- sys/class/sound/hwC0D2/init_pin_configs --
0x15 0x0321101f
0x14 0x90170110
-- sys/class/sound/hwC0D2/widgets/01/caps --
this is not read: it would wake the codec
-- sys/class/sound/hwC0D0/dev --
116:2
-- sys/class/sound/hwC1D0/vendor_id --
0x10ec0270
-- sys/bus/hdaudio/devices/ehdaudio0D2 -> ../../../devices/pci0000:00/0000:00:1f.3/ehdaudio0D2 --
-- sys/devices/pci0000:00/0000:00:1f.3/ehdaudio0D2/vendor_id --
0x10ec0257
-- sys/devices/pci0000:00/0000:00:1f.3/ehdaudio0D2/widgets/02/caps --
this is not read either
`

func describe(codecs []audio.Codec) string {
	var b strings.Builder
	for _, c := range codecs {
		fmt.Fprintf(&b, "%d %s %v:%v %v:%v;", c.Address, c.Name, c.Vendor, c.Device, c.SubsystemVendor, c.SubsystemDevice)
		for _, n := range c.Nodes {
			fmt.Fprintf(&b, " %#x %s;", n.ID, n.Default.Describe())
		}
	}
	return b.String()
}

func TestKeptCodecs(t *testing.T) {
	host, _, err := hostfs.ParseTxtar([]byte(kept))
	must(t, err)
	function := func(s string) pci.Address {
		a, err := pci.ParseAddress(s)
		must(t, err)
		return a
	}
	for _, tt := range []struct {
		card audio.Card
		want string
	}{
		{audio.Card{Index: 0, Function: function("00:1b.0")}, "2 Realtek ALC269VC 10ec:0269 17aa:21fa; 0x14 Internal Speaker; 0x15 Headphone jack, left;"},
		{audio.Card{Index: 1}, "0  10ec:0270 ????:????;"},
		{audio.Card{Index: 2}, ""},
		{audio.Card{Index: 3, Function: function("00:1f.3")}, "2  10ec:0257 ????:????;"}, // behind a DSP
	} {
		got, err := audio.KeptCodecs(host, tt.card)
		if err != nil || describe(got) != tt.want {
			t.Errorf("card %d: %q, %v, want %q", tt.card.Index, describe(got), err, tt.want)
		}
	}
	// One attribute that fails costs what it holds.
	for name, left := range map[string]string{
		"init_pin_configs": "2 Realtek ALC269VC 10ec:0269 17aa:21fa;",
		"subsystem_id":     "2 Realtek ALC269VC 10ec:0269 ????:????; 0x14 Internal Speaker; 0x15 Headphone jack, left;",
	} {
		failing := hosttest.Failing{Tree: host, Fail: func(n string) error {
			if strings.HasSuffix(n, "hwC0D2/"+name) {
				return syscall.EIO
			}
			return nil
		}}
		got, err := audio.KeptCodecs(failing, audio.Card{Index: 0})
		var op *audio.OpError
		if !errors.Is(err, syscall.EIO) || !errors.As(err, &op) || op.Card != "card0" || describe(got) != left {
			t.Errorf("%s: %q, %v", name, describe(got), err)
		}
	}
}

// FuzzKeptPins: whatever the kernel's list of pins holds, there are at most as many as
// numbers for them, in their order.
func FuzzKeptPins(f *testing.F) {
	for _, s := range []string{"", "0x14 0x90170110\n0x15 0x0321101f\n", "0x14", "0x100 0x0", "0x1 -1\n", strings.Repeat("0x1 0x1\n", 1000)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		host := new(hostfs.Tree)
		must(t, host.Put("sys/class/sound/hwC0D0/vendor_id", []byte("0x10ec0269\n")))
		must(t, host.Put("sys/class/sound/hwC0D0/init_pin_configs", []byte(text)))
		codecs, err := audio.KeptCodecs(host, audio.Card{})
		if len(codecs) != 1 {
			t.Fatalf("%v, %v", codecs, err)
		}
		nodes := codecs[0].Nodes
		if len(nodes) > 256 || err == nil && len(nodes) != strings.Count(strings.TrimSpace(text), "\n")+1 && strings.TrimSpace(text) != "" && len(nodes) < 256 {
			t.Errorf("%d pins of %q", len(nodes), text)
		}
		for i, n := range nodes {
			if i > 0 && nodes[i-1].ID > n.ID || !n.Default.Known() {
				t.Errorf("%v", nodes)
			}
		}
	})
}
