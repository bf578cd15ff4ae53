package gpu

import "github.com/project-independence/indy/internal/plain"

// A DisplayID is an extension with a section of DisplayID 1.x or 2.x: what newer
// panels add, most of them for refresh rates above 60 Hz.
type DisplayID struct {
	Version  uint8 // 1 or 2
	Revision uint8

	// Use is the byte of the product type (1.x) or of the primary use (2.x): zero
	// says nothing but that this is an extension.
	Use      uint8
	Checksum bool // the section's own fits

	Product Product
	Panel   Panel
	Tile    Tile
	Timings int     // how many of the EDID's timings are from here
	CTA     CTA     // data blocks of CTA-861 within; its head is zero
	Other   []uint8 // tags of the data blocks that are not read here
}

// A Product names a screen better than the base block. The zero Product is not
// stated.
type Product struct {
	Vendor string // three letters of version 1.x, six hexadecimal digits of an OUI of 2.x
	Code   uint16
	Serial uint32
	Made   Made
	Name   string
}

// A Panel is the picture's size. The zero Panel is not stated.
type Panel struct {
	WidthMM, HeightMM float64
	Width, Height     int // the panel's own pixels
}

// A Tile is one part of a screen that needs several connectors. The zero Tile
// says that there are none.
type Tile struct {
	Columns, Rows int  // of tiles
	Column, Row   int  // of this one, from zero
	Width, Height int  // pixels of a tile
	Single        bool // one enclosure
}

// displayID reads extension block n: DisplayID 1.3, section 2, and 2.1, section 2.
func (e *EDID) displayID(n int, b []byte) {
	d := DisplayID{Version: b[1] >> 4, Revision: b[1] & 15, Use: b[3]}
	end := 5 + int(b[2]) // after the data blocks: the section's checksum
	if end > edidBlock-2 {
		e.problem("block %d: a section of %d bytes", n, b[2])
		end = edidBlock - 2
	}
	if d.Checksum = sum(b[1:end+1]) == 0; !d.Checksum {
		e.problem("block %d: wrong checksum of the section", n)
	}
	if d.Version != 1 && d.Version != 2 {
		e.problem("block %d: DisplayID %d.%d", n, d.Version, d.Revision)
		e.DisplayID = append(e.DisplayID, d)
		return
	}
	before := len(e.Timings)
	// Zeros fill the section up.
	for rest := b[5:end]; len(rest) >= 3 && (rest[0] != 0 || rest[1] != 0 || rest[2] != 0); {
		size := int(rest[2])
		if 3+size > len(rest) {
			e.problem("block %d: a data block of %d bytes where %d are left", n, size, len(rest)-3)
			break
		}
		e.section(n, &d, rest[0], rest[1], rest[3:3+size])
		rest = rest[3+size:]
	}
	d.Timings = len(e.Timings) - before
	e.DisplayID = append(e.DisplayID, d)
}

// section reads one data block.
func (e *EDID) section(n int, d *DisplayID, tag, revision byte, data []byte) {
	switch size := len(data); {
	case (tag == 0x00 && d.Version == 1 || tag == 0x20 && d.Version == 2) && size >= 12:
		d.Product = product(data, d.Version)
	case tag == 0x01 && d.Version == 1 && size >= 8:
		d.Panel = panel(data, 0.1)
	case tag == 0x21 && d.Version == 2 && size >= 8:
		unit := 0.1
		if revision&0x80 != 0 {
			unit = 1
		}
		d.Panel = panel(data, unit)
	case tag == 0x03 && d.Version == 1:
		for ; len(data) >= 20; data = data[20:] {
			e.Timings = append(e.Timings, longTiming(data, 10_000))
		}
	case tag == 0x22 && d.Version == 2:
		for each := 20 + int(revision>>4&7); len(data) >= each; data = data[each:] {
			e.Timings = append(e.Timings, longTiming(data, 1000))
		}
	case (tag == 0x12 && d.Version == 1 || tag == 0x28 && d.Version == 2) && size >= 8:
		d.Tile = tile(data)
	case tag == 0x81:
		e.dataBlocks(n, data, &d.CTA)
	default:
		d.Other = append(d.Other, tag)
	}
}

func product(b []byte, version uint8) Product {
	p := Product{Code: uint16(le16(b[3:])), Serial: le32(b[5:]), Made: made(b[9], b[10], 2000)}
	if version == 1 {
		p.Vendor = plain.Line(string(b[:3]), maxText)
	} else {
		p.Vendor = hex6(b[:3])
	}
	if b[9] == 0 && b[10] == 0 {
		p.Made = Made{}
	}
	p.Name = plain.Line(string(b[12:min(len(b), 12+int(b[11]))]), maxText)
	return p
}

func hex6(b []byte) string {
	const digits = "0123456789abcdef"
	s := make([]byte, 0, 6)
	for _, c := range b {
		s = append(s, digits[c>>4], digits[c&15])
	}
	return string(s)
}

func panel(b []byte, unit float64) Panel {
	return Panel{float64(le16(b)) * unit, float64(le16(b[2:])) * unit, le16(b[4:]), le16(b[6:])}
}

// tile reads the topology: DisplayID 1.3, section 4.14. The numbers are of six
// bits, four in one byte and two in another, and one less than counted.
func tile(b []byte) Tile {
	return Tile{
		Columns: int(b[1]>>4|b[3]>>2&0x30) + 1,
		Rows:    int(b[1]&15|b[3]&0x30) + 1,
		Column:  int(b[2]>>4 | b[3]&0x0c<<2),
		Row:     int(b[2]&15 | b[3]&0x03<<4),
		Width:   le16(b[4:]) + 1,
		Height:  le16(b[6:]) + 1,
		Single:  b[0]&0x80 != 0,
	}
}
