package gpu

import (
	"errors"
	"fmt"

	"github.com/project-independence/indy/hostfs"
)

const (
	edidBlock  = 128
	maxBlocks  = 256
	descriptor = 18 // bytes
)

// MaxEDID is the most bytes that ParseEDID reads: the base block and 255 extensions.
const MaxEDID = maxBlocks * edidBlock

const edidHeader = "\x00\xff\xff\xff\xff\xff\xff\x00"

// An EDID is what a screen says of itself: VESA E-EDID 1.3 and 1.4 with CTA-861 and
// DisplayID 1.x and 2.x extensions. All of it is the screen's word; texts are cut
// to one bounded line of printable text, and untrusted.
type EDID struct {
	Version  uint8 // 1 of 1.4
	Revision uint8 // 4 of 1.4

	// Manufacturer is the PNP id, three capital letters; empty if the screen states
	// something else.
	Manufacturer string
	Product      uint16 // the manufacturer's own number
	Serial       uint32 // zero when not stated; see SerialText
	Made         Made

	Input    Input
	WidthCM  int     // of the picture; zero when not stated, as for projectors
	HeightCM int     // as WidthCM
	Aspect   float64 // width by height, where that is stated in place of the size, else zero
	Gamma    float64 // zero when not stated
	Features Features

	// Established and Standard are the modes the base block names, without the
	// details of their timing.
	Established []Mode
	Standard    []Mode

	// Timings are the detailed ones, of the base block, then of the extensions in
	// their order.
	Timings []Timing

	Name       string   // descriptor fc; many panels have none and say it in Texts
	SerialText string   // descriptor ff
	Texts      []string // descriptors fe; panels state maker and model here
	Range      Range    // descriptor fd; zero when not stated

	// Extensions is how many follow by the screen's word. Blocks are those that are
	// there, the base block first.
	Extensions int
	Blocks     []Block
	CTA        []CTA
	DisplayID  []DisplayID

	// Problems are what is not as the standards want it, in words, at most 32: a
	// checksum that is wrong, an extension that is missing. What could be read in
	// spite of them is above.
	Problems []string
}

// Made is when a screen was made. The zero Made is not stated.
type Made struct {
	Year  int
	Week  int  // 1 to 54, zero when not stated
	Model bool // Year is that of the model
}

// Input is how the picture gets into the screen.
type Input struct {
	Digital   bool
	Depth     int       // bits for each primary colour; zero when not stated, as before 1.4
	Interface Interface // of digital inputs since 1.4
}

// An Interface is the kind of a digital input. The zero Interface is not stated.
type Interface uint8

// The interfaces of EDID 1.4, with its numbers.
const (
	InterfaceUnknown Interface = iota
	DVI
	HDMIa
	HDMIb
	MDDI
	DisplayPort
)

// String returns unknown, DVI, HDMI-a, HDMI-b, MDDI or DisplayPort; the last is
// what built-in panels on eDP say, too.
func (i Interface) String() string {
	return name([]string{"unknown", "DVI", "HDMI-a", "HDMI-b", "MDDI", "DisplayPort"}, int(i))
}

// Features are the bits of byte 24.
type Features struct {
	Standby, Suspend, Off bool // DPMS levels
	SRGB                  bool
	PreferredNative       bool // since 1.4: the preferred timing has the panel's own pixels
	Continuous            bool // any refresh rate within Range
	YCbCr444, YCbCr422    bool // of digital inputs since 1.4
}

// A Mode is a size of the picture and how often it is drawn.
type Mode struct {
	Width, Height int // pixels
	Refresh       int // times a second, rounded
}

// Range is what the screen can follow. Rates are in Hz, kHz and MHz as the
// standard has them. The zero Range is not stated.
type Range struct {
	MinV, MaxV int // Hz
	MinH, MaxH int // kHz
	MaxClock   int // MHz; zero when not stated
}

// A Block is one of 128 bytes.
type Block struct {
	Kind BlockKind

	// Checksum is whether the bytes of the block add up to zero, which they have to.
	Checksum bool
}

// A BlockKind is the tag of an extension, and zero for the base block.
type BlockKind uint8

// The blocks that are read here. Others are counted.
const (
	BaseBlock      BlockKind = 0x00
	CTABlock       BlockKind = 0x02
	DisplayIDBlock BlockKind = 0x70
)

// String returns a short name, and the tag of what is not known by name.
func (k BlockKind) String() string {
	switch k {
	case BaseBlock:
		return "base"
	case CTABlock:
		return "CTA-861"
	case DisplayIDBlock:
		return "DisplayID"
	case 0x10:
		return "video timing"
	case 0x40:
		return "display information"
	case 0x50:
		return "localized string"
	case 0x60:
		return "DPVL"
	case 0xf0:
		return "block map"
	}
	return fmt.Sprintf("tag %02x", uint8(k))
}

// ErrNoEDID is the cause when a connector or a file has none.
var ErrNoEDID = errors.New("no EDID: no screen is connected, or it gives none")

// ParseEDID reads an EDID, which has one block of 128 bytes or more. A wrong
// checksum, a missing extension and whatever else can be read over is in Problems.
// The error is ErrNoEDID when there are no bytes, [hostfs.ErrTooLarge] above
// MaxEDID; without the header of an EDID nothing is read.
func ParseEDID(data []byte) (EDID, error) {
	var e EDID
	switch {
	case len(data) == 0:
		return e, ErrNoEDID
	case len(data) > MaxEDID:
		return e, fmt.Errorf("EDID of %d bytes: %w", len(data), hostfs.ErrTooLarge)
	case len(data) < edidBlock:
		return e, fmt.Errorf("EDID of %d bytes: expected %d at least", len(data), edidBlock)
	case string(data[:8]) != edidHeader:
		return e, fmt.Errorf("not an EDID: begins with % x", data[:8])
	}
	e.Blocks = make([]Block, 0, len(data)/edidBlock)
	e.Extensions = int(data[126])
	for n := range len(data) / edidBlock {
		b := data[n*edidBlock:][:edidBlock]
		block := Block{Kind: BlockKind(b[0]), Checksum: sum(b) == 0}
		if n > 0 && block.Kind == BaseBlock {
			e.problem("block %d: no extension begins with 00", n)
		}
		if n == 0 {
			block.Kind = BaseBlock
		}
		e.Blocks = append(e.Blocks, block)
		if !block.Checksum {
			e.problem("block %d: wrong checksum %02x, should be %02x", n, b[127], b[127]-sum(b))
		}
		switch {
		case n == 0:
			e.base(b)
		case block.Kind == CTABlock:
			e.cta(n, b)
		case block.Kind == DisplayIDBlock:
			e.displayID(n, b)
		}
	}
	if rest := len(data) % edidBlock; rest != 0 {
		e.problem("%d bytes after the last whole block", rest)
	}
	if n := len(e.Blocks) - 1; n != e.Extensions {
		e.problem("%d extensions are stated, %d are here", e.Extensions, n)
	}
	return e, nil
}

// Preferred returns the timing the screen likes best: the first that is said to be
// preferred, else the first. It reports whether there is one.
func (e EDID) Preferred() (Timing, bool) {
	for _, t := range e.Timings {
		if t.Preferred {
			return t, true
		}
	}
	if len(e.Timings) == 0 {
		return Timing{}, false
	}
	return e.Timings[0], true
}

func (e *EDID) problem(format string, args ...any) {
	if len(e.Problems) < 32 {
		e.Problems = append(e.Problems, fmt.Sprintf(format, args...))
	}
}

func sum(b []byte) byte {
	var s byte
	for _, c := range b {
		s += c
	}
	return s
}
