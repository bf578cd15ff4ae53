package usb_test

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

// bin makes bytes of hexadecimal digits with blanks and line ends between them.
func bin(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
	must(t, err)
	return b
}

// device puts a device descriptor of one configuration before configurations, each
// a text of descriptors whose first is that of the configuration, and corrects
// wTotalLength.
func device(t testing.TB, release string, configurations ...string) []byte {
	t.Helper()
	all := bin(t, "12 01 "+release+" ef 02 01 40 6d 04 e5 08 02 00 01 02 03 00")
	all[17] = byte(len(configurations))
	for _, text := range configurations {
		b := bin(t, text)
		binary.LittleEndian.PutUint16(b[2:], uint16(len(b)))
		all = append(all, b...)
	}
	return all
}

const configuration = "09 02 00 00 01 01 00 a0 32 "

// A webcam with a microphone, as in many lids.
const webcam = `09 02 00 00 04 01 00 80 fa
08 0b 00 02 0e 03 00 05
09 04 00 00 01 0e 01 00 05
0d 24 01 00 01 4d 00 80 c3 c9 01 01 01
12 24 02 01 01 02 00 00 00 00 00 00 00 00 03 0e 00 00
0b 24 05 03 01 00 00 02 7f 14 00
09 24 03 05 01 01 00 03 00
07 05 83 03 10 00 06
05 25 03 10 00
09 04 01 00 00 0e 02 00 00
0e 24 01 01 5b 00 81 00 05 00 00 00 01 00
0b 24 06 01 01 01 01 00 00 00 00
1e 24 07 01 00 80 02 e0 01 00 00 77 01 00 00 ca 08 00 60 09 00 15 16 05 00 01 15 16 05 00
1b 24 04 02 01 59 55 59 32 00 00 10 00 80 00 00 aa 00 38 9b 71 10 01 00 00 00 00
26 24 05 01 00 40 01 f0 00 00 00 77 01 00 00 ca 08 00 60 09 00 15 16 05 00 00 15 16 05 00 80 84 1e 00 01 00 00 00
06 24 0d 01 01 04
09 04 01 01 01 0e 02 00 00
07 05 81 05 00 14 01
08 0b 02 02 01 02 00 06
09 04 02 00 00 01 01 00 06
09 24 01 00 01 26 00 01 03
0c 24 02 01 01 02 00 01 00 00 00 09
09 24 03 03 01 01 01 05 00
08 24 06 05 01 01 03 00
09 04 03 00 00 01 02 00 00
09 04 03 01 01 01 02 00 00
07 24 01 03 01 01 00
0e 24 02 01 01 02 10 02 80 3e 00 80 bb 00
09 05 84 0d 44 00 04 00 00
07 25 01 01 00 00 00
`

func TestWebcam(t *testing.T) {
	data := device(t, "00 02", webcam)
	d, err := usb.ParseDescriptors(data)
	must(t, err)
	want := usb.DeviceDescriptor{
		USB: pci.NewID(0x0200), Class: usb.NewClass(0xef, 2, 1), Vendor: pci.NewID(0x046d), Product: pci.NewID(0x08e5), Release: pci.NewID(2),
		MaxPacket: 64, ManufacturerIndex: 1, ProductIndex: 2, SerialIndex: 3, Configurations: 1,
	}
	if diff := cmp.Diff(want, d.Device, compareIDs); diff != "" {
		t.Error(diff)
	}
	c := d.Configurations[0]
	if c.Value != 1 || c.MaxPower != 500 || c.SelfPowered || c.RemoteWakeup || c.NumInterfaces != 4 || len(c.Interfaces) != 6 {
		t.Errorf("%+v", c)
	}
	for i, want := range []usb.ClassSpecific{
		usb.VideoControl{
			Release: pci.NewID(0x0100), Streaming: []int{1}, Units: []usb.Unit{{ID: 3, Kind: "processing"}},
			Terminals: []usb.Terminal{{ID: 1, Input: true, Type: 0x0201, Name: "camera"}, {ID: 5, Type: 0x0101, Name: "USB streaming", Source: 3}},
		},
		usb.VideoStreaming{Input: true, Endpoint: 0x81, Terminal: 5, Formats: []usb.VideoFormat{
			{Index: 1, Kind: "mjpeg", Frames: []usb.VideoFrame{{Width: 640, Height: 480, Intervals: []time.Duration{33333300 * time.Nanosecond}}}},
			{Index: 2, Kind: "uncompressed", FourCC: "YUY2", Bits: 16, Frames: []usb.VideoFrame{
				{Width: 320, Height: 240, Intervals: []time.Duration{33333300, 200 * time.Millisecond}, Range: true}}},
		}},
		nil,
		usb.AudioControl{
			Release: pci.NewID(0x0100), Streaming: []int{3}, Units: []usb.Unit{{ID: 5, Kind: "feature"}},
			Terminals: []usb.Terminal{
				{ID: 1, Input: true, Type: 0x0201, Name: "microphone", Channels: 1, StringIndex: 9},
				{ID: 3, Type: 0x0101, Name: "USB streaming", Source: 5, Associated: 1},
			},
		},
		nil,
		usb.AudioStreaming{Terminal: 3, Channels: 1, Bits: 16, Rates: []uint32{16000, 48000}},
	} {
		if diff := cmp.Diff(want, c.Interfaces[i].Specific, compareIDs); diff != "" {
			t.Errorf("interface %d: %s", i, diff)
		}
	}
	video, sound := c.Interfaces[2].Endpoints[0], c.Interfaces[5].Endpoints[0]
	if !video.In() || video.Number() != 1 || video.Type != usb.Isochronous || video.MaxPacket != 1024 || video.Transactions != 3 || video.Sync() != "asynchronous" {
		t.Errorf("%+v", video)
	}
	if sound.Sync() != "synchronous" || sound.Usage() != "data" || sound.Transactions != 1 || sound.MaxPacket != 68 || len(sound.Extra) != 1 {
		t.Errorf("%+v", sound)
	}
	want2 := []usb.Function{
		{Class: usb.NewClass(0x0e, 3, 0), Interfaces: []int{0, 1}, Grouping: usb.Associated, StringIndex: 5},
		{Class: usb.NewClass(1, 2, 0), Interfaces: []int{2, 3}, Grouping: usb.Associated, StringIndex: 6},
	}
	if diff := cmp.Diff(want2, d.Functions(1), compareIDs); diff != "" {
		t.Error(diff)
	}
	if got := d.InterfaceSet(1); got != "0e0100+0e0200+010100+010200" {
		t.Error(got)
	}
	if d.InterfaceSet(2) != "" || d.Functions(2) != nil {
		t.Error("there is a configuration 2")
	}
}

var compareIDs = cmp.Options{
	cmp.Comparer(func(a, b usb.ID) bool { return a == b }), cmp.Comparer(func(a, b usb.Class) bool { return a == b }),
	cmp.Comparer(func(a, b usb.PortPath) bool { return a == b }), cmp.Comparer(func(a, b pci.Address) bool { return a == b }),
}

// Each case is one interface, or more, within one configuration.
func TestClassSpecific(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want []usb.ClassSpecific
	}{
		"keyboard": {"09 04 00 00 01 03 01 01 00  09 21 11 01 21 01 22 41 00", []usb.ClassSpecific{usb.HID{Release: pci.NewID(0x0111), Country: 0x21, ReportLength: 65}}},
		"keyboard, old order": {"09 04 00 00 01 03 01 01 00  07 05 81 03 08 00 0a  0c 21 11 01 00 02 23 01 00 22 41 00",
			[]usb.ClassSpecific{usb.HID{Release: pci.NewID(0x0111), ReportLength: 65}}},
		"smart card reader": {`09 04 00 00 03 0b 00 00 00
			36 21 10 01 00 07 03 00 00 00 a0 0f 00 00 a0 0f 00 00 00 00 2a 00 00 00 fe 00 00 00 fe 00 00 00 00 00 00 00 00 00 00 00 40 08 04 00 0f 01 00 00 ff ff 00 00 03 01`,
			[]usb.ClassSpecific{usb.SmartCard{Release: pci.NewID(0x0110), Slots: 1, BusySlots: 1, T0: true, T1: true, PINEntry: true, PINChange: true, MaxMessage: 271, Features: 0x00040840}}},
		"firmware update": {"09 04 00 00 00 fe 01 01 00  09 21 0b 00 01 00 10 10 01",
			[]usb.ClassSpecific{usb.DFU{Release: pci.NewID(0x0110), Download: true, Upload: true, Detaches: true, DetachTimeout: 256, TransferSize: 4096}}},
		"firmware update 1.0": {"09 04 00 00 00 fe 01 00 00  07 21 01 ff 00 40 00", []usb.ClassSpecific{usb.DFU{Download: true, DetachTimeout: 255, TransferSize: 64}}},
		"modem": {`09 04 00 00 01 02 02 01 00  05 24 00 10 01  05 24 01 03 01  04 24 02 06  05 24 06 00 01  08 24 07 00 14 01 48 03
			09 04 01 00 02 0a 00 00 00`,
			[]usb.ClassSpecific{usb.CDC{Release: pci.NewID(0x0110), Data: []int{1}, Calls: true, CallsOnData: true, CallsInterface: 1, ModemControl: true, ModemCapabilities: 6, Countries: []uint16{276, 840}}, nil}},
		"network adapter": {"09 04 00 00 01 02 0d 00 00  05 24 00 10 01  05 24 06 00 01  0d 24 0f 04 00 00 00 00 ea 05 00 00 00  06 24 1a 00 01 3f",
			[]usb.ClassSpecific{usb.CDC{Release: pci.NewID(0x0110), Data: []int{1}, Ethernet: usb.Ethernet{AddressIndex: 4, MaxSegment: 1514}, NCM: usb.NCM{Release: pci.NewID(0x0100), Capabilities: 0x3f}}}},
		"mobile broadband": {"09 04 0c 00 01 02 0e 00 00  05 24 00 10 01  05 24 06 0c 0d  0c 24 1b 00 01 00 10 20 80 00 10 24  08 24 1c 00 01 40 dc 05",
			[]usb.ClassSpecific{usb.CDC{Release: pci.NewID(0x0110), Control: 12, Data: []int{13}, MBIM: usb.MBIM{Release: pci.NewID(0x0100), MaxMessage: 4096,
				Filters: 32, MaxFilter: 128, MaxSegment: 4096, Capabilities: 0x24, ExtendedRelease: pci.NewID(0x0100), MaxOutstanding: 64, MaxMTU: 1500}}}},
		"headset 2.0": {`09 04 00 00 00 01 01 20 00  09 24 01 00 02 04 40 00 00
			08 24 0a 10 01 07 00 00
			11 24 02 01 02 04 02 10 01 00 00 00 00 00 00 00 07  0c 24 03 02 01 01 00 01 10 00 00 00
			11 24 02 03 01 01 00 10 02 03 00 00 00 00 00 00 00  0c 24 03 04 02 04 01 03 10 00 00 08
			09 04 01 01 01 01 02 20 00  10 24 01 04 00 01 01 00 00 00 02 03 00 00 00 00  06 24 02 01 03 18`,
			[]usb.ClassSpecific{
				usb.AudioControl{Release: pci.NewID(0x0200), Category: 4, Units: []usb.Unit{{ID: 16, Kind: "clock source"}}, Terminals: []usb.Terminal{
					{ID: 1, Input: true, Type: 0x0402, Name: "headset", Associated: 2, Channels: 1, StringIndex: 7},
					{ID: 2, Type: 0x0101, Name: "USB streaming", Source: 1},
					{ID: 3, Input: true, Type: 0x0101, Name: "USB streaming", Channels: 2},
					{ID: 4, Type: 0x0402, Name: "headset", Source: 3, Associated: 1, StringIndex: 8},
				}},
				usb.AudioStreaming{Terminal: 4, Channels: 2, Bits: 24},
			}},
		"speaker 3.0": {`09 04 00 00 00 01 01 30 00  0a 24 01 0a 3b 00 00 00 00 00
			14 24 02 01 01 01 00 09 00 00 00 00 00 00 00 00 00 00 05 40  13 24 03 02 01 03 00 01 09 00 00 00 00 00 00 00 00 06 40
			0c 24 0b 09 03 00 00 00 00 00 00 00
			09 04 01 01 01 01 02 30 00  17 24 01 01 00 00 00 00 01 00 01 00 00 00 00 00 00 00 04 18 00 00 00`,
			[]usb.ClassSpecific{
				usb.AudioControl{Release: pci.NewID(0x0300), Category: 10, Units: []usb.Unit{{ID: 9, Kind: "clock source"}}, Terminals: []usb.Terminal{
					{ID: 1, Input: true, Type: 0x0101, Name: "USB streaming", StringIndex: 0x4005},
					{ID: 2, Type: 0x0301, Name: "speaker", Source: 1, StringIndex: 0x4006},
				}},
				usb.AudioStreaming{Terminal: 1, Bits: 24},
			}},
		"camera with H.264": {`09 04 01 00 00 0e 02 01 00  0e 24 01 01 5b 00 81 00 05 00 00 00 01 00
			1c 24 10 01 01 48 32 36 34 00 00 10 00 80 00 00 aa 00 38 9b 71 10 01 00 00 00 00 01
			1e 24 11 01 00 00 05 d0 02 00 00 00 00 00 00 00 00 15 16 05 00 01 00 00 00 00 15 16 05 00
			06 24 13 02 01 01
			34 24 14 01 80 07 38 04 01 00 01 00 40 64 28 00 00 0f 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 15 16 05 00 02 15 16 05 00 2a 2c 0a 00`,
			[]usb.ClassSpecific{usb.VideoStreaming{Input: true, Endpoint: 0x81, Terminal: 5, Formats: []usb.VideoFormat{
				{Index: 1, Kind: "frame-based", FourCC: "H264", Bits: 16, Frames: []usb.VideoFrame{{Width: 1280, Height: 720, Intervals: []time.Duration{33333300}}}},
				{Index: 2, Kind: "h264", Frames: []usb.VideoFrame{{Width: 1920, Height: 1080, Intervals: []time.Duration{33333300, 66666600}}}},
			}}}},
		"another class": {"09 04 00 00 00 ff 01 02 00  05 24 00 10 01", []usb.ClassSpecific{nil}},
		"MIDI":          {"09 04 00 00 00 01 03 00 00  07 24 01 00 01 07 00", []usb.ClassSpecific{nil}},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := usb.ParseDescriptors(device(t, "00 02", configuration+test.text))
			must(t, err)
			var got []usb.ClassSpecific
			for _, in := range d.Configurations[0].Interfaces {
				got = append(got, in.Specific)
			}
			if diff := cmp.Diff(test.want, got, compareIDs); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSuperSpeed(t *testing.T) {
	text := configuration + `09 04 00 00 02 08 06 62 00
		07 05 81 02 00 04 00  06 30 0f 04 00 00  04 24 03 00
		07 05 02 01 00 04 01  06 30 0f 82 01 00  08 31 00 00 00 80 01 00`
	data := device(t, "20 03", text)
	data[7] = 9
	d, err := usb.ParseDescriptors(data)
	must(t, err)
	c := d.Configurations[0]
	in, out := c.Interfaces[0].Endpoints[0], c.Interfaces[0].Endpoints[1]
	if d.Device.MaxPacket != 512 || c.MaxPower != 400 || !c.RemoteWakeup {
		t.Errorf("%+v %+v", d.Device, c)
	}
	if !in.SuperSpeed || in.Burst != 16 || in.CompanionAttributes != 4 || in.Type.String() != "bulk" || in.Sync()+in.Usage() != "" {
		t.Errorf("%+v", in)
	}
	if out.In() || out.BytesPerInterval != 98304 || out.Sync() != "none" || out.Type != usb.Isochronous {
		t.Errorf("%+v", out)
	}
	if len(c.Interfaces[0].Extra) != 1 || c.Interfaces[0].Extra[0].Type() != 0x24 {
		t.Errorf("%+v", c.Interfaces[0].Extra)
	}
}

// A device that lies about lengths and numbers costs what it lies about.
func TestLies(t *testing.T) {
	const hid = "09 04 00 00 01 03 01 01 00 09 21 11 01 00 01 22 41 00 07 05 81 03 08 00 0a "
	const stick = "09 04 00 00 01 08 06 50 00 07 05 82 02 00 02 00 "
	config := func(total, value string) string { return "09 02 " + total + " 01 " + value + " 00 80 32 " }
	for name, test := range map[string]struct {
		text string
		set1 string
		set2 string
		says []string
	}{
		"honest":                          {config("22 00", "01") + hid + config("19 00", "02") + stick, "030101", "080650", nil},
		"total too long":                  {config("ff ff", "01") + hid + config("19 00", "02") + stick, "030101", "080650", []string{"offset 52: the configuration before should end at 65553"}},
		"last total too long":             {config("22 00", "01") + hid + config("20 00", "02") + stick, "030101", "080650", []string{"offset 77: the configuration should end at 84"}},
		"total too short":                 {config("12 00", "01") + hid + config("19 00", "02") + stick, "030101", "080650", []string{"offset 36: the configuration should have ended at 36"}},
		"total of nothing":                {config("00 00", "01") + hid + config("19 00", "02") + stick, "030101", "080650", []string{"offset 18: a configuration of 0 bytes in all"}},
		"length 0":                        {config("24 00", "01") + hid + "00 05 " + config("19 00", "02") + stick, "030101", "080650", []string{"offset 52: a descriptor of 0 bytes"}},
		"length 1":                        {config("23 00", "01") + hid + "01 " + config("19 00", "02") + stick, "030101", "080650", []string{"offset 52: a descriptor of 1 bytes"}},
		"length 1 at the end":             {config("22 00", "01") + hid + config("1a 00", "02") + stick + "01", "030101", "080650", []string{"a descriptor of 1 bytes, 1 are left"}},
		"length beyond the configuration": {config("26 00", "01") + hid + "09 04 01 00 " + config("19 00", "02") + stick, "030101", "080650", []string{"offset 52: a descriptor of 9 bytes goes beyond its configuration, which ends at 56"}},
		"length beyond all":               {config("22 00", "01") + hid + config("1d 00", "02") + stick + "09 04 01 00", "030101", "080650", []string{"offset 77: a descriptor of 9 bytes, 4 are left"}},
		"short interface":                 {config("28 00", "01") + hid + "06 04 01 00 00 03 " + config("19 00", "02") + stick, "030101", "080650", []string{"type 0x04 has 6 bytes instead of 9"}},
		"configuration within another":    {config("2b 00", "01") + hid + config("09 00", "07") + config("19 00", "02") + stick, "030101", "080650", []string{"offset 52: a configuration within a configuration"}},
		"device within a configuration":   {config("34 00", "01") + hid + "12 01 00 02 00 00 00 40 01 00 02 00 00 00 00 00 00 09 " + config("19 00", "02") + stick, "030101", "080650", []string{"offset 52: a device descriptor that is not the first"}},
		"endpoint without interface":      {config("29 00", "01") + "07 05 81 03 08 00 0a " + hid + config("19 00", "02") + stick, "030101", "080650", []string{"offset 27: a descriptor of type 0x05 before any interface"}},
		"companion without endpoint":      {config("22 00", "01") + hid + config("1f 00", "02") + "09 04 00 00 01 08 06 50 00 06 30 0f 00 00 00 07 05 82 02 00 02 00", "030101", "080650", []string{"offset 70: a companion of no endpoint"}},
		"reports that are not there":      {config("22 00", "01") + strings.Replace(hid, "00 01 22", "00 09 22", 1) + config("19 00", "02") + stick, "030101", "080650", []string{"offset 36: 9 further descriptors are named in 9 bytes"}},
		"orphan":                          {"07 05 81 03 08 00 0a " + config("22 00", "01") + hid + config("19 00", "02") + stick, "030101", "080650", []string{"offset 18: a descriptor of type 0x05 outside of a configuration"}},
		"one configuration":               {config("22 00", "01") + hid, "030101", "", []string{"2 configurations are claimed, 1 are here"}},
	} {
		t.Run(name, func(t *testing.T) {
			data := append(bin(t, "12 01 00 02 00 00 00 40 6d 04 31 c3 00 64 01 02 00 02"), bin(t, test.text)...)
			d, err := usb.ParseDescriptors(data)
			if (err == nil) != (test.says == nil) {
				t.Errorf("error: %v", err)
			}
			var wrong *usb.DescriptorError
			if err != nil && (!errors.As(err, &wrong) || wrong.Offset < 0 || wrong.Offset > len(data)) {
				t.Errorf("error: %v", err)
			}
			for _, s := range test.says {
				if err == nil || !strings.Contains(err.Error(), s) {
					t.Errorf("error %v does not say %q", err, s)
				}
			}
			if d.Device.Vendor.String() != "046d" || d.InterfaceSet(1) != test.set1 || d.InterfaceSet(2) != test.set2 {
				t.Errorf("%q %q %+v", d.InterfaceSet(1), d.InterfaceSet(2), d)
			}
		})
	}
	whole := device(t, "00 02", webcam)
	for n := range whole {
		if _, err := usb.ParseDescriptors(whole[:n]); err == nil {
			t.Errorf("the first %d bytes of %d are taken for all", n, len(whole))
		}
	}
}

// However much a device says, there is an end to it.
func TestBounded(t *testing.T) {
	much := device(t, "00 02", configuration+"09 04 00 00 00 ff 00 00 00")
	for len(much) < 2<<20 {
		much = append(much, 2, 0xfe)
	}
	d, err := usb.ParseDescriptors(much)
	if err == nil || !strings.Contains(err.Error(), "more than 16384 descriptors") || !strings.Contains(err.Error(), "at most 1048576 are looked at") {
		t.Errorf("error: %v", err)
	}
	if n := len(d.Configurations[0].Interfaces[0].Extra); n > 1<<14 || n < 1000 {
		t.Errorf("%d descriptors", n)
	}
	wrong := device(t, "00 02", configuration+strings.Repeat("03 04 00 ", 5000))
	if _, err := usb.ParseDescriptors(wrong); err == nil || strings.Count(err.Error(), "\n") > 20 {
		t.Errorf("error of %d lines", strings.Count(err.Error(), "\n"))
	}
}

func TestFunctions(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"union": {`09 04 00 00 00 02 02 01 00 05 24 06 00 01  09 04 01 00 00 0a 00 00 00  09 04 02 00 00 03 00 00 00`, "020201 united [0 1], 030000 alone [2]"},
		"sound without association": {`09 04 00 00 00 01 01 00 00 0a 24 01 00 01 0a 00 02 02 01  09 04 01 00 00 01 02 00 00
			09 04 02 00 00 01 02 00 00  09 04 03 00 00 03 00 00 00`, "010100 collected [0 1 2], 030000 alone [3]"},
		"gaps and order":                   {`09 04 05 00 00 03 00 00 00  09 04 02 01 00 ff 00 00 00  09 04 02 00 00 0e 01 00 00`, "0e0100 alone [2], 030000 alone [5]"},
		"association of what is not there": {`08 0b 00 ff 0e 03 00 00  09 04 07 00 00 0e 01 00 00`, "0e0300 associated [7]"},
		"association of nothing":           {`08 0b 05 00 0e 03 00 00  09 04 00 00 00 0e 01 00 00`, "0e0100 alone [0]"},
		"two associations of one":          {`08 0b 00 02 0e 03 00 00 08 0b 01 02 01 00 00 00  09 04 00 00 00 0e 01 00 00 09 04 01 00 00 0e 02 00 00`, "0e0300 associated [0 1]"},
		"association without a class":      {`08 0b 00 02 00 00 00 00  09 04 00 00 00 0e 01 00 00 09 04 01 00 00 0e 02 00 00`, "0e0100 associated [0 1]"},
		"union with itself":                {`09 04 00 00 00 02 02 01 00 06 24 06 00 00 09`, "020201 united [0]"},
	} {
		d, err := usb.ParseDescriptors(device(t, "00 02", configuration+test.text))
		must(t, err)
		var got []string
		for _, f := range d.Functions(1) {
			var numbers []string
			for _, n := range f.Interfaces {
				numbers = append(numbers, string(rune('0'+n)))
			}
			got = append(got, f.Class.String()+" "+f.Grouping.String()+" ["+strings.Join(numbers, " ")+"]")
		}
		if strings.Join(got, ", ") != test.want {
			t.Errorf("%s: %s", name, strings.Join(got, ", "))
		}
	}
}

func TestHash(t *testing.T) {
	a, err1 := usb.ParseDescriptors(device(t, "00 02", webcam))
	b, err2 := usb.ParseDescriptors(device(t, "00 02", webcam))
	other := device(t, "00 02", webcam)
	other[13]++
	c, err3 := usb.ParseDescriptors(other)
	if err := errors.Join(err1, err2, err3); err != nil || a.Hash != b.Hash || a.Hash == c.Hash || !a.Hash.IsValid() || len(a.Hash.String()) != 64 {
		t.Errorf("%v %v %v %v", a.Hash, b.Hash, c.Hash, err)
	}
	text, err := a.Hash.MarshalText()
	must(t, err)
	var back usb.DescriptorHash
	if err := back.UnmarshalText(text); err != nil || back != a.Hash {
		t.Errorf("%v, %v", back, err)
	}
	for _, bad := range []string{"1", strings.Repeat("g", 64), strings.Repeat("0", 66)} {
		if err := back.UnmarshalText([]byte(bad)); err == nil || back != a.Hash {
			t.Errorf("%q was taken: %v", bad, back)
		}
	}
	if err := back.UnmarshalText(nil); err != nil || back.IsValid() || back.String() != "" {
		t.Errorf("%v, %v", back, err)
	}
}

func TestReadDescriptors(t *testing.T) {
	tr := desk(t)
	must(t, tr.Put("sys/bus/usb/devices/1-2/descriptors", device(t, "00 02", webcam)))
	d, err := usb.ReadDescriptors(tr, path("1-2"))
	if err != nil || d.InterfaceSet(1) != "0e0100+0e0200+010100+010200" {
		t.Errorf("%+v, %v", d, err)
	}
	var op *usb.OpError
	if _, err := usb.ReadDescriptors(tr, path("1-5")); !errors.Is(err, fs.ErrNotExist) || !errors.As(err, &op) || op.Path != path("1-5") {
		t.Errorf("no descriptors: %v", err)
	}
	var wrong *usb.DescriptorError
	for _, content := range []string{"", "\x00", "\x12\x01"} {
		must(t, tr.Put("sys/bus/usb/devices/1-2/descriptors", []byte(content)))
		if _, err := usb.ReadDescriptors(tr, path("1-2")); !errors.As(err, &op) || !errors.As(err, &wrong) || wrong.Offset != 0 {
			t.Errorf("%q: %v", content, err)
		}
	}
	if _, err := usb.ReadDescriptors(new(hostfs.Tree), usb.PortPath{}); err == nil {
		t.Error("no path: no error")
	}
	all, _ := usb.Devices(tr)
	if got := all[0].InterfaceSet(); got != "030101+030102+ff0000" {
		t.Errorf("from uevents: %s", got)
	}
}

func BenchmarkParseDescriptors(b *testing.B) {
	data := device(b, "00 02", webcam)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := usb.ParseDescriptors(data); err != nil {
			b.Fatal(err)
		}
	}
}
