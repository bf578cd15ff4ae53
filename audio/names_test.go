package audio

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/project-independence/indy/internal/plain"
)

const asound = ` 0 [PCH            ]: HDA-Intel - HDA Intel PCH
                      HDA Intel PCH at 0x6001100000 irq 141
 1 [C930e          ]: USB-Audio - Logitech Webcam C930e
                      Logitech Webcam C930e at usb-0000:00:14.0-4, high speed
 2 [sofhdadsp      ]: sof-hda-dsp - sof-hda-dsp
                      LENOVO-20UHCTO1WW-ThinkPadT14sGen1-20UHCTO1WW
31 [Loopback       ]: Loopback - Loopback - 2
                      Loopback 1
`

func TestParseCards(t *testing.T) {
	got := parseCards(asound)
	for n, want := range map[int]cardText{
		0:  {"PCH", "HDA Intel PCH", "HDA-Intel", "HDA Intel PCH at 0x6001100000 irq 141"},
		1:  {"C930e", "Logitech Webcam C930e", "USB-Audio", "Logitech Webcam C930e at usb-0000:00:14.0-4, high speed"},
		2:  {"sofhdadsp", "sof-hda-dsp", "sof-hda-dsp", "LENOVO-20UHCTO1WW-ThinkPadT14sGen1-20UHCTO1WW"},
		31: {"Loopback", "Loopback - 2", "Loopback", "Loopback 1"},
	} {
		if got[n] != want {
			t.Errorf("card %d: %+v, want %+v", n, got[n], want)
		}
	}
	if len(got) != 4 {
		t.Errorf("%d cards: %+v", len(got), got)
	}
	for _, text := range []string{
		"", "--- no soundcards ---\n", " 0 [PCH]\n", " 0 [PCH]: HDA-Intel\n", " x [PCH]: a - b\n", "-1 [PCH]: a - b\n", " 99999 [PCH]: a - b\n", "[]: - ",
	} {
		if got := parseCards(text); len(got) != 0 {
			t.Errorf("%q gave %+v", text, got)
		}
	}
	// The second line is the device's own word, and no card of its own.
	got = parseCards(" 3 [Evil           ]: USB-Audio - Evil\n" + longNameIndent + "0 [PCH            ]: HDA-Intel - HDA Intel PCH\n")
	if len(got) != 1 || got[3].longName != "0 [PCH ]: HDA-Intel - HDA Intel PCH" {
		t.Errorf("%+v", got)
	}
	got = parseCards(" 3 [Evil           ]: USB-Audio - \x1b[2Jname\u202e " + strings.Repeat("x", 500))
	if want := "[2Jname " + strings.Repeat("x", maxText-len("[2Jname ")); got[3].name != want {
		t.Errorf("%q", got[3].name)
	}
}

func FuzzParseCards(f *testing.F) {
	f.Add(asound)
	f.Add("--- no soundcards ---\n")
	f.Add(" 0 [\xff\x00 ]: a - \u202e\n")
	f.Fuzz(func(t *testing.T, text string) {
		for n, c := range parseCards(text) {
			for _, s := range []string{c.id, c.name, c.model, c.longName} {
				if !utf8.ValidString(s) || utf8.RuneCountInString(s) > maxText || strings.ContainsAny(s, "\n\r\x1b") || plain.Line(s, maxText) != s {
					t.Errorf("card %d: %q", n, s)
				}
			}
			if n < 0 {
				t.Errorf("card %d", n)
			}
		}
	})
}
