package audio

import (
	"fmt"
	"strings"
)

// A Word is a 32-bit parameter of a codec. The zero Word is unknown, which is not the
// same as 0.
type Word struct {
	v     uint32
	known bool
}

// NewWord returns the known word n.
func NewWord(n uint32) Word { return Word{n, true} }

// Known reports whether the word is known.
func (w Word) Known() bool { return w.known }

// Uint32 returns the word, 0 when it is unknown.
func (w Word) Uint32() uint32 { return w.v }

// String returns the word as 0x00000000, or "unknown".
func (w Word) String() string {
	if !w.known {
		return "unknown"
	}
	return fmt.Sprintf("0x%08x", w.v)
}

// A PinDefault is what the maker of the board wrote into a codec about what one of its
// pins leads to: the register Configuration Default, section 7.3.3.31 of the High
// Definition Audio Specification. The words are those of the kernel's
// /proc/asound/cardN/codec#M. The zero PinDefault is unknown: its parts are empty.
type PinDefault struct{ Word }

// NewPinDefault returns the known register n.
func NewPinDefault(n uint32) PinDefault { return PinDefault{NewWord(n)} }

// A Connectivity is what is at the other end of a pin.
type Connectivity string

// What a pin may lead to.
const (
	Jack    Connectivity = "Jack"
	Nothing Connectivity = "N/A"
	Fixed   Connectivity = "Fixed" // a device inside the machine
	Both    Connectivity = "Both"  // a jack, and a device inside
)

// A PinDevice is for which kind of device a pin is meant.
type PinDevice string

// The kinds of devices.
const (
	LineOut    PinDevice = "Line Out"
	Speaker    PinDevice = "Speaker"
	HPOut      PinDevice = "HP Out" // headphones
	CD         PinDevice = "CD"
	SPDIFOut   PinDevice = "SPDIF Out"
	DigitalOut PinDevice = "Digital Out" // other than S/PDIF, as HDMI
	ModemLine  PinDevice = "Modem Line"
	ModemHand  PinDevice = "Modem Hand"
	LineIn     PinDevice = "Line In"
	Aux        PinDevice = "Aux"
	Mic        PinDevice = "Mic"
	Telephony  PinDevice = "Telephony"
	SPDIFIn    PinDevice = "SPDIF In"
	DigitalIn  PinDevice = "Digital In"
	Reserved   PinDevice = "Reserved"
	Other      PinDevice = "Other"
)

// A Place is on which part of the machine a pin's device or jack is.
type Place string

// The places.
const (
	External Place = "Ext" // on the outside of the machine
	Internal Place = "Int"
	Separate Place = "Sep" // another box, as a dock
	OtherBox Place = "Oth" // as the lid
)

// reserved is the kernel's word for a number without a meaning.
const reserved = "UNKNOWN"

// field returns the bits of the register from shift on.
func (p PinDefault) field(shift, mask uint32) uint32 { return p.v >> shift & mask }

// word returns the word that words has for those bits, "UNKNOWN" when it has none.
func (p PinDefault) word(words []string, shift, mask uint32) string {
	i := p.field(shift, mask)
	switch {
	case !p.known:
		return ""
	case int(i) >= len(words) || words[i] == "":
		return reserved
	}
	return words[i]
}

// Connectivity returns what is at the other end of the pin (bits 31 and 30).
func (p PinDefault) Connectivity() Connectivity {
	return Connectivity(p.word([]string{string(Jack), string(Nothing), string(Fixed), string(Both)}, 30, 3))
}

// Device returns which kind of device the pin is meant for (bits 23 to 20).
func (p PinDefault) Device() PinDevice {
	return PinDevice(p.word([]string{
		string(LineOut), string(Speaker), string(HPOut), string(CD), string(SPDIFOut), string(DigitalOut), string(ModemLine), string(ModemHand),
		string(LineIn), string(Aux), string(Mic), string(Telephony), string(SPDIFIn), string(DigitalIn), string(Reserved), string(Other),
	}, 20, 15))
}

// Place returns on which part of the machine it is (bits 29 and 28).
func (p PinDefault) Place() Place {
	return Place(p.word([]string{string(External), string(Internal), string(Separate), string(OtherBox)}, 28, 3))
}

// Location returns where it is there: Rear, Front, Left, Right, Top, Bottom, Rear Panel,
// Drive Bar, Riser, HDMI, ATAPI, Mobile-In, Mobile-Out (inside and outside of the lid),
// or N/A (bits 29 to 24). It is UNKNOWN when the number has no meaning.
func (p PinDefault) Location() string {
	switch place := p.field(24, 0x3f); {
	case !p.known:
		return ""
	case place == 0x07:
		return "Rear Panel"
	case place == 0x08:
		return "Drive Bar"
	case place == 0x17:
		return "Riser"
	case place == 0x18:
		return "HDMI"
	case place == 0x19:
		return "ATAPI"
	case place == 0x37:
		return "Mobile-In"
	case place == 0x38:
		return "Mobile-Out"
	}
	return p.word([]string{"N/A", "Rear", "Front", "Left", "Right", "Top", "Bottom"}, 24, 15)
}

// Connector returns what a plug looks like: 1/8 and 1/4 (inches), ATAPI, RCA, Optical,
// Digital, Analog, DIN, XLR, RJ11, Comb, Other or Unknown (bits 19 to 16). It is
// UNKNOWN when the number has no meaning.
func (p PinDefault) Connector() string {
	return p.word([]string{"Unknown", "1/8", "1/4", "ATAPI", "RCA", "Optical", "Digital", "Analog", "DIN", "XLR", "RJ11", "Comb",
		"", "", "", "Other"}, 16, 15)
}

// Colour returns the colour of the jack: Black, Grey, Blue, Green, Red, Orange, Yellow,
// Purple, Pink, White, Other or Unknown (bits 15 to 12). It is UNKNOWN when the number
// has no meaning.
func (p PinDefault) Colour() string {
	return p.word([]string{"Unknown", "Black", "Grey", "Blue", "Green", "Red", "Orange", "Yellow", "Purple", "Pink",
		"", "", "", "", "White", "Other"}, 12, 15)
}

// NoPresence reports whether the board cannot tell that something is plugged in,
// though the pin could (bit 8).
func (p PinDefault) NoPresence() bool { return p.field(8, 1) != 0 }

// Association returns which pins belong together (bits 7 to 4); 15 is on its own.
func (p PinDefault) Association() int { return int(p.field(4, 15)) }

// Sequence returns the place of the pin among those (bits 3 to 0).
func (p PinDefault) Sequence() int { return int(p.field(0, 15)) }

// String returns what the kernel writes, as [Jack] HP Out at Ext Left, or "unknown".
func (p PinDefault) String() string {
	if !p.known {
		return p.Word.String()
	}
	return fmt.Sprintf("[%s] %s at %s %s", p.Connectivity(), p.Device(), p.Place(), p.Location())
}

// Describe returns what a person would call it, as Internal Speaker or Headphone jack,
// left. It is "not connected" when the pin leads nowhere, and "unknown".
func (p PinDefault) Describe() string {
	noun := p.Device().noun()
	if p.Location() == "HDMI" && (p.Device() == DigitalOut || p.Device() == SPDIFOut) {
		noun = "HDMI or DisplayPort"
	}
	switch p.Connectivity() {
	case Jack:
		return noun + " jack" + p.where()
	case Fixed:
		if p.Place() == Internal {
			return "Internal " + noun
		}
		return "Built-in " + noun + p.where()
	case Both:
		return noun + " jack" + p.where() + ", and a built-in one"
	case Nothing:
		return "not connected"
	}
	return "unknown"
}

// noun returns the singular that people use.
func (d PinDevice) noun() string {
	switch d {
	case LineOut:
		return "Line-out"
	case LineIn:
		return "Line-in"
	case HPOut:
		return "Headphone"
	case SPDIFOut:
		return "S/PDIF output"
	case SPDIFIn:
		return "S/PDIF input"
	case DigitalOut:
		return "Digital output"
	case DigitalIn:
		return "Digital input"
	case ModemLine:
		return "Modem line"
	case ModemHand:
		return "Modem handset"
	case Mic:
		return "Microphone"
	case Reserved, Other:
		return "Audio"
	}
	return string(d)
}

// where returns the location with what leads over to it, empty when it says nothing.
func (p PinDefault) where() string {
	s := ""
	switch p.Location() {
	case "Rear", "Front", "Left", "Right", "Top", "Bottom", "Rear Panel", "Riser":
		s = ", " + strings.ToLower(p.Location())
	case "Drive Bar":
		s = ", drive bay"
	case "Mobile-In":
		s = ", inside of the lid"
	case "Mobile-Out":
		s = ", outside of the lid"
	}
	switch p.Place() {
	case Separate:
		return s + ", in the dock"
	case Internal:
		if p.Location() != "HDMI" { // which is where the chip is, not the jack
			return s + ", inside"
		}
	}
	return s
}
