package audio

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/project-independence/indy/internal/plain"
)

// A Sink is one HDMI or DisplayPort output of a codec and what is plugged into it, as
// that describes itself in its ELD (EDID-Like Data).
type Sink struct {
	Codec int // address of the codec
	Index int // number of the output

	Present bool // something is plugged in
	Valid   bool // and it has said what it is, which is below

	// Monitor and Manufacturer are the device's own words: its name, cut to one bounded
	// line of printable text, and the three letters of its maker, as DEL.
	Monitor      string
	Manufacturer string

	Connection string   // HDMI or DisplayPort
	Speakers   []string // in the kernel's words, as FL/FR, FC, LFE
	Codings    []string // what it can play, as LPCM or AC-3, each with its Channels
	Channels   []int    // at most
}

// Sinks lists the HDMI and DisplayPort outputs of a card from
// /proc/asound/cardN/eld#C.I, in the order of the names there. A card without any has
// none, and so has a machine without these files.
//
// The error, if any, is an *[OpError] that joins what could not be read.
func Sinks(fsys fs.FS, card Card) ([]Sink, error) {
	entries, err := fs.ReadDir(fsys, card.dir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var sinks []Sink
	var errs []error
	if err != nil {
		errs = append(errs, err)
	}
	for _, e := range entries {
		numbers, ok := strings.CutPrefix(e.Name(), "eld#")
		codec, index, _ := strings.Cut(numbers, ".")
		c, err1 := strconv.ParseUint(codec, 10, 4)
		i, err2 := strconv.ParseUint(index, 10, 16)
		if !ok || err1 != nil || err2 != nil {
			continue
		}
		text, err := fs.ReadFile(fsys, card.dir()+"/"+e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue // the driver has gone meanwhile
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		s := parseELD(string(text))
		s.Codec, s.Index = int(c), int(i)
		sinks = append(sinks, s)
	}
	if len(errs) > 0 {
		return sinks, card.opError("read what is plugged into", errors.Join(errs...))
	}
	return sinks, nil
}

// parseELD reads what the kernel makes of an ELD: a key, tabs, and a value, as
//
//	speakers		[0x1] FL/FR
func parseELD(text string) Sink {
	const most = 256 // lines; an ELD has at most 15 codings of 4 lines each
	var s Sink
	var codings, channels [15]string
	lines := 0
	for line := range strings.Lines(text) {
		if lines++; lines > most {
			break
		}
		key, value, _ := strings.Cut(strings.TrimSpace(line), "\t")
		value = plain.Line(value, maxText)
		code, words := "", value
		if strings.HasPrefix(value, "[") {
			code, words, _ = strings.Cut(value[1:], "] ")
		}
		switch key {
		case "monitor_present":
			s.Present = value == "1"
		case "eld_valid":
			s.Valid = value == "1"
		case "monitor_name":
			s.Monitor = value
		case "connection_type":
			s.Connection = value
		case "manufacture_id":
			s.Manufacturer = manufacturer(value)
		case "speakers":
			if code != "" {
				s.Speakers = strings.Fields(words)
			}
		}
		if rest, ok := strings.CutPrefix(key, "sad"); ok {
			number, what, _ := strings.Cut(rest, "_")
			if n, err := strconv.ParseUint(number, 10, 8); err == nil && n < uint64(len(codings)) {
				switch what {
				case "coding_type":
					codings[n] = words
				case "channels":
					channels[n] = value
				}
			}
		}
	}
	for i, coding := range codings {
		if coding != "" {
			s.Codings, s.Channels = append(s.Codings, coding), append(s.Channels, positive(channels[i]))
		}
	}
	return s
}

// manufacturer reads the three letters of an EDID's maker, 5 bits each, whose two bytes
// the kernel shows as a number with the first byte last.
func manufacturer(s string) string {
	w, err := parseWord(s)
	if err != nil || w.v > 0xffff {
		return ""
	}
	n := w.v>>8&0xff | w.v&0xff<<8
	letters := make([]byte, 3)
	for i := range letters {
		letter := n >> (10 - 5*i) & 31
		if letter < 1 || letter > 26 {
			return ""
		}
		letters[i] = byte('A' + letter - 1)
	}
	return string(letters)
}

// String returns what a person would say of the output, as DELL U2412M on DisplayPort,
// or that nothing is plugged in.
func (s Sink) String() string {
	switch {
	case !s.Present:
		return "nothing plugged in"
	case !s.Valid || s.Monitor == "" && s.Connection == "":
		return "something that does not say what it is"
	case s.Connection == "":
		return s.Monitor
	case s.Monitor == "":
		return "something on " + s.Connection
	}
	return fmt.Sprintf("%s on %s", s.Monitor, s.Connection)
}
