package usb

import "github.com/project-independence/indy/pci"

// AudioControl is what the descriptors of a sound device's control interface say
// (Audio 1.0, 4.3; 2.0, 4.7; 3.0, 4.5).
type AudioControl struct {
	// Release is bcdADC: 0100, 0200, or 0300, for which the interface's protocol
	// stands. Unknown without a header.
	Release  ID
	Category uint8 // bCategory, from 2.0 on: 0x02 home theatre, 0x04 headset and so on

	// Streaming are the interfaces that carry the sound, named by 1.0 alone.
	Streaming []int

	Terminals []Terminal
	Units     []Unit
}

// AudioStreaming is what the descriptors of one setting of a streaming interface
// say. A setting without sound has none.
type AudioStreaming struct {
	Terminal uint8 // the terminal it is connected to
	Channels int
	Bits     int // of one sample
	// Rates are the samples in a second that 1.0 names; with Range the lowest and
	// the highest. A later device has to be asked.
	Rates []uint32
	Range bool
}

// A Terminal is where sound or pictures enter or leave a device.
type Terminal struct {
	ID    uint8
	Input bool

	// Type is the terminal's type (wTerminalType), Name what it is called.
	Type uint16
	Name string

	Source      uint8 // the unit or terminal before it, 0 for an input
	Associated  uint8 // the terminal in the other direction, 0 for none
	Channels    int   // of an audio input; 0 from 3.0 on, where the device has to be asked
	StringIndex uint16
}

// A Unit is what works on sound or pictures between terminals.
type Unit struct {
	ID   uint8
	Kind string // mixer, selector, feature and so on
}

// Audio versions by the protocol of the interface.
const (
	audio1 = 0x00
	audio2 = 0x20
	audio3 = 0x30
)

func (p *parser) audioControl(of []RawDescriptor, protocol uint8) ClassSpecific {
	var a AudioControl
	for _, r := range of {
		switch subtype := r.u8(2); subtype {
		case 0x01:
			p.audioHeader(&a, r, protocol)
		case 0x02, 0x03:
			if t, ok := p.audioTerminal(r, protocol); ok {
				a.Terminals = append(a.Terminals, t)
			}
		default:
			if kind := audioUnit(subtype, protocol); kind != "" && p.need(r, 4) {
				a.Units = append(a.Units, Unit{r.u8(3), kind})
			}
		}
	}
	return a
}

func (p *parser) audioHeader(a *AudioControl, r RawDescriptor, protocol uint8) {
	switch {
	case protocol == audio3 && p.need(r, 10):
		a.Release, a.Category = pci.NewID(0x0300), r.u8(3)
	case protocol == audio2 && p.need(r, 9):
		a.Release, a.Category = pci.NewID(r.u16(3)), r.u8(5)
	case protocol == audio1 && p.need(r, 8):
		a.Release = pci.NewID(r.u16(3))
		a.Streaming = p.collection(r, 7)
	}
}

// collection reads the numbers of interfaces whose count is at i.
func (p *parser) collection(r RawDescriptor, i int) []int {
	n := int(r.u8(i))
	if i+1+n > len(r.Bytes) {
		p.add(r.Offset, "%d interfaces are named in %d bytes", n, len(r.Bytes))
		n = len(r.Bytes) - i - 1
	}
	var numbers []int
	for _, b := range r.Bytes[i+1 : i+1+n] {
		numbers = append(numbers, int(b))
	}
	return numbers
}

func (p *parser) audioTerminal(r RawDescriptor, protocol uint8) (Terminal, bool) {
	t := Terminal{Input: r.u8(2) == 0x02, ID: r.u8(3), Type: r.u16(4), Associated: r.u8(6), Name: audioTerminalName(r.u16(4))}
	least := 0
	switch {
	case protocol == audio1 && t.Input:
		least, t.Channels, t.StringIndex = 12, int(r.u8(7)), uint16(r.u8(11))
	case protocol == audio1:
		least, t.Source, t.StringIndex = 9, r.u8(7), uint16(r.u8(8))
	case protocol == audio2 && t.Input:
		least, t.Channels, t.StringIndex = 17, int(r.u8(8)), uint16(r.u8(16))
	case protocol == audio2:
		least, t.Source, t.StringIndex = 12, r.u8(7), uint16(r.u8(11))
	case protocol == audio3 && t.Input:
		least, t.StringIndex = 20, r.u16(18)
	case protocol == audio3:
		least, t.Source, t.StringIndex = 19, r.u8(7), r.u16(17)
	default:
		return t, false
	}
	return t, p.need(r, least)
}

// audioUnit returns what kind of unit a subtype is, "" for none that is known.
func audioUnit(subtype, protocol uint8) string {
	var kinds []string // from subtype 4 on
	switch protocol {
	case audio1:
		kinds = []string{"mixer", "selector", "feature", "processing", "extension"}
	case audio2:
		kinds = []string{"mixer", "selector", "feature", "effect", "processing", "extension",
			"clock source", "clock selector", "clock multiplier", "sample rate converter"}
	case audio3:
		kinds = []string{"", "mixer", "selector", "feature", "effect", "processing", "extension",
			"clock source", "clock selector", "clock multiplier", "sample rate converter", "", "power domain"}
	}
	if i := int(subtype) - 4; i >= 0 && i < len(kinds) {
		return kinds[i]
	}
	return ""
}

func (p *parser) audioStreaming(of []RawDescriptor, protocol uint8) ClassSpecific {
	var a AudioStreaming
	for _, r := range of {
		switch subtype := r.u8(2); {
		case subtype == 0x01:
			p.audioGeneral(&a, r, protocol)
		case subtype == 0x02 && protocol == audio2 && r.u8(3) == 1 && p.need(r, 6):
			a.Bits = int(r.u8(5))
		case subtype == 0x02 && protocol == audio1 && r.u8(3) == 1 && p.need(r, 8):
			a.Channels, a.Bits = int(r.u8(4)), int(r.u8(6))
			p.audioRates(&a, r)
		}
	}
	return a
}

func (p *parser) audioGeneral(a *AudioStreaming, r RawDescriptor, protocol uint8) {
	switch {
	case protocol == audio1 && p.need(r, 7), protocol == audio3 && p.need(r, 20):
		a.Terminal = r.u8(3)
	case protocol == audio2 && p.need(r, 16):
		a.Terminal, a.Channels = r.u8(3), int(r.u8(10))
	}
	if protocol == audio3 {
		a.Bits = int(r.u8(19))
	}
}

func (p *parser) audioRates(a *AudioStreaming, r RawDescriptor) {
	n := int(r.u8(7))
	if a.Range = n == 0; a.Range {
		n = 2
	}
	if len(r.Bytes) < 8+3*n {
		p.add(r.Offset, "%d sampling rates are named in %d bytes", n, len(r.Bytes))
		n = (len(r.Bytes) - 8) / 3
		a.Range = a.Range && n == 2
	}
	for i := range n {
		a.Rates = append(a.Rates, r.u24(8+3*i))
	}
}

// audioTerminalName returns the name of a terminal type (Audio Terminal Types 1.0 and
// 3.0), or that of its kind.
func audioTerminalName(t uint16) string {
	for _, named := range audioTerminals {
		if named.code == t {
			return named.name
		}
	}
	for _, named := range audioTerminals {
		if named.code == t&0xff00 {
			return named.name
		}
	}
	return "unknown"
}

var audioTerminals = []struct {
	code uint16
	name string
}{
	{0x0100, "USB"}, {0x0101, "USB streaming"}, {0x01ff, "vendor-specific USB"},
	{0x0200, "input"}, {0x0201, "microphone"}, {0x0202, "desktop microphone"}, {0x0203, "personal microphone"},
	{0x0204, "omnidirectional microphone"}, {0x0205, "microphone array"}, {0x0206, "processing microphone array"},
	{0x0300, "output"}, {0x0301, "speaker"}, {0x0302, "headphones"}, {0x0303, "head-mounted display"}, {0x0304, "desktop speaker"},
	{0x0305, "room speaker"}, {0x0306, "communication speaker"}, {0x0307, "low-frequency speaker"},
	{0x0400, "bidirectional"}, {0x0401, "handset"}, {0x0402, "headset"}, {0x0403, "speakerphone"},
	{0x0404, "echo-suppressing speakerphone"}, {0x0405, "echo-cancelling speakerphone"},
	{0x0500, "telephony"}, {0x0501, "phone line"}, {0x0502, "telephone"}, {0x0503, "down line phone"},
	{0x0600, "external"}, {0x0601, "analog connector"}, {0x0602, "digital audio interface"}, {0x0603, "line connector"},
	{0x0604, "legacy audio connector"}, {0x0605, "S/PDIF"}, {0x0606, "1394 audio stream"}, {0x0607, "1394 video's sound"},
	{0x0700, "embedded"}, {0x0703, "CD player"}, {0x070b, "DVD audio"}, {0x070c, "TV tuner"}, {0x0710, "radio receiver"},
	{0x0711, "radio transmitter"}, {0x0713, "synthesizer"},
}
