package usb_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/project-independence/indy/usb"
)

// What a class's descriptors say of lengths and counts is not believed either.
func TestClassLies(t *testing.T) {
	for name, test := range map[string]struct{ text, want, says string }{
		"rates as a range":         {"09 04 01 01 00 01 02 00 00  0e 24 02 01 02 02 10 00 40 1f 00 80 bb 00", "{0 2 16 [8000 48000] true}", ""},
		"more rates than bytes":    {"09 04 01 01 00 01 02 00 00  0b 24 02 01 02 02 10 09 40 1f 00", "{0 2 16 [8000] false}", "9 sampling rates are named in 11 bytes"},
		"half a range":             {"09 04 01 01 00 01 02 00 00  0b 24 02 01 02 02 10 00 40 1f 00", "{0 2 16 [8000] false}", "2 sampling rates"},
		"short sound header":       {"09 04 00 00 00 01 01 00 00  06 24 01 00 01 00", "{???? 0 [] [] []}", "subtype 0x01 has 6 bytes instead of 8"},
		"short terminal":           {"09 04 00 00 00 01 01 00 00  08 24 02 01 01 02 00 01", "{???? 0 [] [] []}", "subtype 0x02 has 8 bytes instead of 12"},
		"sound of a later version": {"09 04 00 00 00 01 01 40 00  0c 24 02 01 01 02 00 01 00 00 00 00  04 24 06 01", "{???? 0 [] [] []}", ""},
		"interfaces not there":     {"09 04 00 00 00 01 01 00 00  0a 24 01 00 01 0a 00 ff 01 02", "{0100 0 [1 2] [] []}", "255 interfaces are named in 10 bytes"},
		"second union":             {"09 04 00 00 00 02 02 01 00  05 24 06 00 01  05 24 06 07 08", "{???? 0 [1] false false 0 false 0 {0 0} {???? 0} {???? 0 0 0 0 0 ???? 0 0} []}", "a second union"},
		"short MBIM":               {"09 04 00 00 00 02 0e 00 00  0b 24 1b 00 01 00 10 20 80 00 10", "{???? 0 [] false false 0 false 0 {0 0} {???? 0} {???? 0 0 0 0 0 ???? 0 0} []}", "subtype 0x1b has 11 bytes instead of 12"},
		"empty functional":         {"09 04 00 00 00 02 0e 00 00  02 24", "<nil>", "a descriptor of the class 020e00 with 2 bytes instead of 3"},
		"unknown functional":       {"09 04 00 00 00 02 08 00 00  05 24 11 00 01  05 24 00 10 01", "{0110 0 [] false false 0 false 0 {0 0} {???? 0} {???? 0 0 0 0 0 ???? 0 0} []}", ""},
		"short card reader":        {"09 04 00 00 00 0b 00 00 00  06 21 10 01 00 07", "<nil>", "with 6 bytes instead of 54"},
		"size before any format":   {"09 04 01 00 00 0e 02 00 00  1a 24 07 01 00 80 02 e0 01 00 00 77 01 00 00 ca 08 00 60 09 00 15 16 05 00 00", "{false 0 0 []}", "a size of pictures before any format"},
		"intervals not there":      {"09 04 01 00 00 0e 02 00 00  0b 24 06 01 01 01 01 00 00 00 00  1e 24 07 01 00 80 02 e0 01 00 00 77 01 00 00 ca 08 00 60 09 00 15 16 05 00 09 15 16 05 00", "{false 0 0 [{1 mjpeg  0 [{640 480 [33.3333ms] false}]}]}", "9 intervals are named in 30 bytes"},
		"no letters": {"09 04 01 00 00 0e 02 00 00  1b 24 04 02 01 59 1b 59 32 00 00 10 00 80 00 00 aa 00 38 9b 71 10 01 00 00 00 00",
			"{false 0 0 [{2 uncompressed 591b593200001000800000aa00389b71 16 []}]}", ""},
		"pictures to the device": {"09 04 01 00 00 0e 02 00 00  09 24 02 01 09 00 02 04 00", "{false 2 4 []}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := usb.ParseDescriptors(device(t, "00 02", configuration+test.text))
			if (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("error: %v", err)
			}
			if got := fmt.Sprint(d.Configurations[0].Interfaces[0].Specific); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestTerminalNames(t *testing.T) {
	sound := func(code string) string { return "09 04 00 00 00 01 01 00 00  09 24 03 01 " + code + " 00 00 00" }
	video := func(code string) string { return "09 04 00 00 00 0e 01 00 00  09 24 03 01 " + code + " 00 00 00" }
	for text, want := range map[string]string{
		sound("01 02"): "microphone", sound("02 03"): "headphones", sound("01 03"): "speaker", sound("02 04"): "headset", sound("7f 03"): "output",
		sound("05 06"): "S/PDIF", sound("99 99"): "unknown", sound("00 00"): "unknown",
		video("01 02"): "camera", video("02 02"): "media player", video("01 03"): "display", video("02 03"): "media recorder", video("01 04"): "composite connector",
		video("02 04"): "S-video connector", video("03 04"): "component connector", video("01 01"): "USB streaming", video("ff 01"): "USB", video("00 02"): "input",
		video("00 03"): "output", video("00 04"): "external", video("00 99"): "unknown",
	} {
		d, err := usb.ParseDescriptors(device(t, "00 02", configuration+text))
		must(t, err)
		got := ""
		switch s := d.Configurations[0].Interfaces[0].Specific.(type) {
		case usb.AudioControl:
			got = s.Terminals[0].Name
		case usb.VideoControl:
			got = s.Terminals[0].Name
		}
		if got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// Descriptors as JSON have words and hexadecimal digits.
func TestDescriptorsJSON(t *testing.T) {
	d, err := usb.ParseDescriptors(device(t, "00 02", webcam))
	must(t, err)
	text, err := json.Marshal(d)
	must(t, err)
	functions, err := json.Marshal(d.Functions(1))
	must(t, err)
	for _, s := range []string{`"Type":"isochronous"`, `"Class":"0e0100"`, `"Hash":"` + d.Hash.String() + `"`, `"0b24050301000002`, `"Name":"microphone"`, `"Grouping":"associated"`} {
		if !strings.Contains(string(text)+string(functions), s) {
			t.Errorf("%s is not in %s", s, text)
		}
	}
	for i, want := range []string{"control", "isochronous", "bulk", "interrupt", "TransferType(4)"} {
		if got := usb.TransferType(i).String(); got != want {
			t.Errorf("%d: %s", i, got)
		}
	}
	tooLarge := device(t, "00 03", configuration)
	tooLarge[7] = 64
	if d, err := usb.ParseDescriptors(tooLarge); err == nil || d.Device.MaxPacket != 0 || !d.Device.Vendor.Known() {
		t.Errorf("packets of 2^64 bytes: %+v, %v", d.Device, err)
	}
}
