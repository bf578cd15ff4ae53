package audio

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/project-independence/indy/internal/plain"
)

// A USBFormat is one way in which a USB card takes or gives sound: an alternate setting
// of one of its interfaces.
type USBFormat struct {
	Device     int    // number of the PCM
	Capture    bool   // records; else plays
	Interface  int    // number of the USB interface
	AltSetting int    // of that interface
	Format     string // sample formats, as S16_LE, several separated by blanks
	Channels   int

	// Rates are samples a second. With Continuous they are the lowest and the highest.
	Rates      []int
	Continuous bool
}

const (
	maxFormats = 256 // of a card
	maxRates   = 64  // of a format
)

// USBFormats lists the formats of a USB card from /proc/asound/cardN/streamM. A card
// that is not on USB has none.
//
// The error, if any, is an *[OpError] that joins what could not be read.
func USBFormats(fsys fs.FS, card Card) ([]USBFormat, error) {
	devices, err := numbered(fsys, card.dir(), "stream")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var formats []USBFormat
	var errs []error
	if err != nil {
		errs = append(errs, err)
	}
	for _, n := range devices {
		text, err := fs.ReadFile(fsys, fmt.Sprintf("%s/stream%d", card.dir(), n))
		if harmless(err) {
			for _, f := range parseUSBStream(string(text)) {
				f.Device = n
				if len(formats) < maxFormats {
					formats = append(formats, f)
				}
			}
			continue
		}
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return formats, card.opError("read formats of", errors.Join(errs...))
	}
	return formats, nil
}

// parseUSBStream reads the file stream0: below a line Playback: or Capture:, each
// alternate setting begins with its interface,
//
//	Interface 1
//	  Altset 1
//	  Format: S16_LE
//	  Channels: 2
//	  Rates: 44100, 48000
//
// and what runs now is told in the same words, but with = and a sign.
func parseUSBStream(text string) []USBFormat {
	var formats []USBFormat
	capture, number := false, -1
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch line {
		case "Playback:":
			capture, number = false, -1
			continue
		case "Capture:":
			capture, number = true, -1
			continue
		}
		if s, ok := strings.CutPrefix(line, "Interface "); ok {
			number = -1
			if n, err := strconv.ParseUint(s, 10, 8); err == nil {
				number = int(n)
			}
			continue
		}
		if s, ok := strings.CutPrefix(line, "Altset "); ok && number >= 0 {
			if n, err := strconv.ParseUint(s, 10, 8); err == nil && len(formats) < maxFormats {
				formats = append(formats, USBFormat{Capture: capture, Interface: number, AltSetting: int(n)})
			} else {
				number = -1
			}
			continue
		}
		key, value, ok := strings.Cut(line, ": ")
		if !ok || number < 0 || len(formats) == 0 {
			continue
		}
		f := &formats[len(formats)-1]
		switch key {
		case "Format":
			f.Format = plain.Line(value, maxText)
		case "Channels":
			f.Channels = positive(value)
		case "Rates":
			f.Rates, f.Continuous = parseRates(value)
		}
	}
	return formats
}

// parseRates reads 44100, 48000 or 8000 - 48000 (continuous).
func parseRates(s string) (rates []int, continuous bool) {
	separator := ", "
	if rest, ok := strings.CutSuffix(s, " (continuous)"); ok {
		s, separator, continuous = rest, " - ", true
	}
	for word := range strings.SplitSeq(s, separator) {
		if n := positive(word); n > 0 && len(rates) < maxRates {
			rates = append(rates, n)
		}
	}
	return rates, continuous
}
