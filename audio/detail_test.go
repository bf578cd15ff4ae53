package audio_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/audio"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/pci"
)

// function puts a PCI function of that class at an address on bus 0 or below a port.
func function(t testing.TB, tr *hostfs.Tree, path, class, driver string) {
	t.Helper()
	dir := "devices/" + path
	text := "PCI_CLASS=" + class + "\nPCI_ID=1002:1638\nPCI_SUBSYS_ID=17AA:5095\n"
	if driver != "" {
		text = "DRIVER=" + driver + "\n" + text
		if _, err := tr.ReadLink("sys/" + dir + "/driver"); err != nil {
			must(t, tr.Symlink("../../../bus/pci/drivers/"+driver, "sys/"+dir+"/driver"))
		}
	}
	must(t, tr.Put("sys/"+dir+"/uevent", []byte(text)))
	must(t, tr.Symlink("../../../"+dir, "sys/bus/pci/devices/"+path[strings.LastIndexByte(path, '/')+1:]))
}

// A notebook with a DSP, a processor by AMD whose GPU shares its slot with the
// speakers, and a webcam.
func notebook(t testing.TB) *hostfs.Tree {
	tr := desk(t)
	const slot = "pci0000:00/0000:00:08.1/0000:33:00"
	card(t, tr, 5, slot+".1", "snd_hda_intel", "Generic")
	card(t, tr, 6, slot+".6", "snd_hda_intel", "Generic_1")
	function(t, tr, slot+".0", "30000", "amdgpu")
	function(t, tr, slot+".1", "40300", "snd_hda_intel")
	function(t, tr, slot+".6", "40300", "snd_hda_intel")
	function(t, tr, "pci0000:00/0000:00:1f.3", "40100", "sof-audio-pci-intel-tgl")
	function(t, tr, "pci0000:00/0000:00:01.0/0000:01:00.0", "40800", "")
	function(t, tr, "pci0000:00/0000:00:01.0/0000:01:00.1", "40300", "snd_hda_intel")
	must(t, tr.Put("proc/asound/card1/usbid", []byte("046d:0843\n")))
	return tr
}

func TestReadDetail(t *testing.T) {
	tr := notebook(t)
	cards, err := audio.Cards(tr)
	must(t, err)
	gpu, err := pci.ParseAddress("0000:33:00.0")
	must(t, err)
	want := map[int]audio.Detail{
		0: {Model: "sof-hda-dsp", LongName: "LENOVO-20UHCTO1WW", FunctionDriver: "sof-audio-pci-intel-tgl", DSP: true},
		1: {Model: "USB-Audio", LongName: "Logitech at usb-0000:00:14.0-4.1", USBVendor: pci.NewID(0x046d), USBProduct: pci.NewID(0x0843)},
		// The name is of another card that has had the number before, and function 0 of
		// the slot is no display.
		2:  {FunctionDriver: "snd_hda_intel"},
		3:  {},
		4:  {},
		5:  {FunctionDriver: "snd_hda_intel", Display: gpu},
		6:  {FunctionDriver: "snd_hda_intel"},
		10: {Model: "USB-Audio", LongName: "Logitech at usb-0000:00:14.0-4.2"},
		40: {},
	}
	got := map[int]audio.Detail{}
	for _, c := range cards {
		got[c.Index], err = audio.ReadDetail(tr, c)
		if err != nil {
			t.Errorf("card%d: %v", c.Index, err)
		}
	}
	if d := cmp.Diff(want, got, equal()); d != "" {
		t.Error(d)
	}
}

func TestReadDetailFails(t *testing.T) {
	tr := notebook(t)
	must(t, tr.Put("proc/asound/card1/usbid", []byte("046d\n")))
	cards, err := audio.Cards(tr)
	must(t, err)
	d, err := audio.ReadDetail(tr, cards[1])
	if d.Model != "USB-Audio" || err == nil || !strings.Contains(err.Error(), "card1/usbid") {
		t.Errorf("%+v, %v", d, err)
	}
	d, err = audio.ReadDetail(hosttest.Failing{Tree: tr, Fail: func(name string) error {
		if name == "proc/asound/cards" {
			return syscall.EIO
		}
		return nil
	}}, cards[0])
	if !d.DSP || !errors.Is(err, syscall.EIO) || !strings.HasPrefix(err.Error(), "read details of card0: ") {
		t.Errorf("%+v, %v", d, err)
	}
}

const eld = "monitor_present\t\t1\neld_valid\t\t1\ncodec_pin_nid\t\t0x5\nmonitor_name\t\tDELL U2412M\nconnection_type\t\tDisplayPort\n" +
	"eld_version\t\t[0x2] CEA-861D or below\nedid_version\t\t[0x3] CEA-861-B, C or D\nmanufacture_id\t\t0xac10\nproduct_id\t\t0xa07a\nport_id\t\t\t0x20000\n" +
	"support_hdcp\t\t0\nsupport_ai\t\t0\naudio_sync_delay\t0\nspeakers\t\t[0x4f] FL/FR LFE FC RL/RR RLC/RRC\nsad_count\t\t2\n" +
	"sad0_coding_type\t[0x1] LPCM\nsad0_channels\t\t8\nsad0_rates\t\t[0x1ee0] 32000 44100 48000\nsad0_bits\t\t[0xe0000] 16 20 24\n" +
	"sad1_coding_type\t[0x2] AC-3\nsad1_channels\t\t6\nsad1_max_bitrate\t640000\n"

func TestSinks(t *testing.T) {
	tr := new(hostfs.Tree)
	if got, err := audio.Sinks(tr, audio.Card{}); got != nil || err != nil {
		t.Errorf("without: %v, %v", got, err)
	}
	for name, text := range map[string]string{
		"eld#0.0": eld, "eld#0.1": "monitor_present\t\t0\neld_valid\t\t0\n", "eld#2.0": "monitor_present\t\t1\neld_valid\t\t0\n",
		"eld#2.1": "monitor_present\t1\neld_valid\t1\nmonitor_name\t\x1b[2JEvil " + strings.Repeat("x", 500) + "\nmanufacture_id\t0xffff\nspeakers\tnone\nsad99_channels\t2\nsad14_coding_type\t[0xf] x\n",
		"eld#x.1": "", "eld#1": "", "pcm0p": "",
	} {
		must(t, tr.Put("proc/asound/card0/"+name, []byte(text)))
	}
	got, err := audio.Sinks(tr, audio.Card{})
	want := []audio.Sink{
		{Codec: 0, Index: 0, Present: true, Valid: true, Monitor: "DELL U2412M", Manufacturer: "DEL", Connection: "DisplayPort",
			Speakers: []string{"FL/FR", "LFE", "FC", "RL/RR", "RLC/RRC"}, Codings: []string{"LPCM", "AC-3"}, Channels: []int{8, 6}},
		{Codec: 0, Index: 1}, {Codec: 2, Index: 0, Present: true},
		{Codec: 2, Index: 1, Present: true, Valid: true, Monitor: "[2JEvil " + strings.Repeat("x", 118), Codings: []string{"x"}, Channels: []int{0}},
	}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v\n%s", err, d)
	}
	var said []string
	for _, s := range append(got[:3], audio.Sink{Present: true, Valid: true, Connection: "HDMI"}, audio.Sink{Present: true, Valid: true, Monitor: "TV"}) {
		said = append(said, s.String())
	}
	if d := cmp.Diff([]string{"DELL U2412M on DisplayPort", "nothing plugged in", "something that does not say what it is", "something on HDMI", "TV"}, said); d != "" {
		t.Error(d)
	}
	for _, errno := range []syscall.Errno{syscall.ENOENT, syscall.EIO} {
		got, err := audio.Sinks(hosttest.Failing{Tree: tr, Fail: func(name string) error {
			if strings.HasSuffix(name, "eld#0.0") {
				return errno
			}
			return nil
		}}, audio.Card{})
		if len(got) != 3 || (err != nil) != (errno == syscall.EIO) {
			t.Errorf("%v: %d sinks, %v", errno, len(got), err)
		}
	}
}

const stream0 = `Logitech Webcam C930e at usb-0000:00:14.0-4, high speed : USB Audio

Playback:
  Status: Running
    Interface = 1
    Altset = 1
    Packet Size = 200
    Momentary freq = 48000 Hz (0x30.0000)
  Interface 1
    Altset 1
    Format: S16_LE
    Channels: 2
    Endpoint: 0x01 (1 OUT) (ADAPTIVE)
    Rates: 8000 - 48000 (continuous)
  Interface 1
    Altset 2
    Format: S24_3LE
    Channels: 2
    Rates: 44100, 48000

Capture:
  Status: Stop
  Interface 3
    Altset 1
    Format: S16_LE
    Channels: 1
    Endpoint: 0x86 (6 IN) (ASYNC)
    Rates: 16000, 24000, 32000, 44100, 48000
    Bits: 16
`

func TestUSBFormats(t *testing.T) {
	tr := new(hostfs.Tree)
	if got, err := audio.USBFormats(tr, audio.Card{Index: 1}); got != nil || err != nil {
		t.Errorf("without: %v, %v", got, err)
	}
	must(t, tr.Put("proc/asound/card1/stream0", []byte(stream0)))
	must(t, tr.Put("proc/asound/card1/stream2", []byte("Capture:\n  Altset 7\n  Interface 999\n  Altset 1\n    Format: X\n  Interface 1\n    Altset 0\n    Rates: no, 0, -1\n")))
	want := []audio.USBFormat{
		{Interface: 1, AltSetting: 1, Format: "S16_LE", Channels: 2, Rates: []int{8000, 48000}, Continuous: true},
		{Interface: 1, AltSetting: 2, Format: "S24_3LE", Channels: 2, Rates: []int{44100, 48000}},
		{Capture: true, Interface: 3, AltSetting: 1, Format: "S16_LE", Channels: 1, Rates: []int{16000, 24000, 32000, 44100, 48000}},
		{Device: 2, Capture: true, Interface: 1},
	}
	got, err := audio.USBFormats(tr, audio.Card{Index: 1})
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v\n%s", err, d)
	}
	must(t, tr.Put("proc/asound/card1/stream0", []byte("Playback:\n"+strings.Repeat("Interface 1\nAltset 1\nRates: "+strings.Repeat("1, ", 1000)+"\n", 1000))))
	if got, err := audio.USBFormats(tr, audio.Card{Index: 1}); len(got) != 256 || len(got[0].Rates) > 64 || err != nil {
		t.Errorf("%d formats, %v", len(got), err)
	}
	_, err = audio.USBFormats(hosttest.Failing{Tree: tr, Fail: func(name string) error {
		if strings.HasSuffix(name, "stream2") {
			return syscall.EIO
		}
		return nil
	}}, audio.Card{Index: 1})
	if !errors.Is(err, syscall.EIO) {
		t.Errorf("%v", err)
	}
}

// FuzzProc puts nonsense into every file of a card below /proc/asound.
func FuzzProc(f *testing.F) {
	for _, text := range []string{eld, stream0, status, params, "00-00: a : b : playback 1 : capture 1\n", "046d:0843\n", "closed\n", "no setup\n", "error -19\n"} {
		f.Add([]byte(text))
	}
	lab, err := hostfs.Open(filepath.Join(hosttest.Root(f), "testdata", "hosts", "lab-intel.txtar")) // as a kernel wrote them
	must(f, err)
	data, err := lab.ReadFile("proc/asound/pcm")
	must(f, err)
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		tr := new(hostfs.Tree)
		for _, name := range []string{"pcm", "card0/pcm0p/info", "card0/pcm0p/sub0/status", "card0/pcm0p/sub0/hw_params", "card0/eld#0.0", "card0/stream0", "card0/usbid"} {
			must(t, tr.Put("proc/asound/"+name, data))
		}
		c := audio.Card{Index: 0, Port: port(t, "1-4")}
		streams, _ := audio.Streams(tr, c)
		saved, _ := audio.Streams(tr, audio.Card{Index: 1})
		for _, s := range append(streams, saved...) {
			line := fmt.Sprint(s.ID, s.Name, s.Program, s.Format, s.State)
			if strings.ContainsAny(line, "\n\x1b\x00") || s.Owner < 0 || s.Rate < 0 || s.Trigger < 0 {
				t.Errorf("%+v", s)
			}
		}
		sinks, _ := audio.Sinks(tr, c)
		formats, _ := audio.USBFormats(tr, c)
		detail, _ := audio.ReadDetail(tr, c)
		if line := fmt.Sprint(sinks, formats, detail); strings.ContainsAny(line, "\n\x1b\x00") || len(streams) > 1024 || len(saved) > 1024 || len(formats) > 256 {
			t.Errorf("%q", line)
		}
	})
}
