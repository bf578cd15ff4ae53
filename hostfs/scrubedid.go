package hostfs

import (
	"bytes"
	"encoding/binary"
	"slices"
)

const edidBlock = 128

// edid replaces the serial numbers of a monitor: the number in the base block, the
// text in descriptors of type 0xff, and what a DisplayID section says. What vendors
// say in their own data blocks and other extension blocks that may hold more is
// emptied, bytes after the last whole block dropped. The checksums fit again.
func (s *scrubber) edid(data []byte) []byte {
	const descriptor = 18
	out := slices.Clone(data[:len(data)/edidBlock*edidBlock])
	for at := 0; at+edidBlock <= len(out); at += edidBlock {
		b := out[at : at+edidBlock]
		first := edidBlock // where its descriptors begin
		switch {
		case at == 0:
			first = 54
			s.number(b[12:16])
		case b[0] == 0x02: // CTA-861
			first = cta(b)
		case b[0] == 0x70:
			s.displayID(b)
		case b[0] == 0xf0: // a list of the other blocks
		default:
			clear(b[1 : edidBlock-1])
		}
		for d := first; d+descriptor < edidBlock; d += descriptor {
			if t := b[d : d+descriptor]; t[0] == 0 && t[1] == 0 && t[3] == 0xff {
				text := s.hash(string(t[5:]), 12) + "\n"
				copy(t[5:], text)
			}
		}
		fit(b)
	}
	return out
}

// cta empties what vendors say in a CTA-861 extension (section 7) and returns where
// its descriptors begin. An extension that says this of no place in it, or none of
// data blocks, is emptied where they would be.
func cta(b []byte) int {
	const head = 4
	first := int(b[2])
	switch {
	case first < head || first >= edidBlock:
		clear(b[head : edidBlock-1])
		return edidBlock
	case b[1] < 3:
		clear(b[head:first])
	default:
		vendorBlocks(b[head:first])
	}
	return first
}

// vendorBlocks empties the data blocks of CTA-861 that vendors define but for whose
// they are. Microsoft's holds a container id, a UUID that each screen has for itself;
// those of HDMI say what the link can do.
func vendorBlocks(b []byte) {
	const (
		vendor, extended         = 3, 7       // tags
		vendorVideo, vendorAudio = 0x01, 0x11 // extended tags
		oui                      = 3          // bytes of it
		hdmi, forum              = "\x03\x0c\x00", "\xd8\x5d\xc4"
	)
	for len(b) > 0 {
		tag, size := b[0]>>5, min(int(b[0]&31), len(b)-1)
		data := b[1 : 1+size]
		b = b[1+size:]
		switch {
		case tag == extended && size > 0 && (data[0] == vendorVideo || data[0] == vendorAudio):
			data = data[1:]
		case tag != vendor, bytes.HasPrefix(data, []byte(hdmi)), bytes.HasPrefix(data, []byte(forum)):
			continue
		}
		clear(data[min(oui, len(data)):])
	}
}

// fit makes the last byte of b one with which all add up to zero.
func fit(b []byte) {
	sum := byte(0)
	for _, c := range b[:len(b)-1] {
		sum += c
	}
	b[len(b)-1] = -sum
}

// number replaces a serial number of four bytes; zero is none.
func (s *scrubber) number(b []byte) {
	if binary.LittleEndian.Uint32(b) != 0 {
		copy(b, s.hash(string(b), 4))
	}
}

// displayID replaces the serial numbers in an extension block with a section of
// DisplayID 1.3 or 2.1: in its blocks for the product and for tiled screens, which
// name the screen by it, too. Blocks that are nothing but an identity, or what the
// maker likes, are emptied. A section of another version, or damaged, is emptied as a
// whole.
func (s *scrubber) displayID(b []byte) {
	const (
		head, first = 3, 5           // of a data block; where they begin
		vesa        = "\x3a\x02\x92" // whose own blocks say how a panel is driven
	)
	version, end := b[1]>>4, first+int(b[2])
	sum := byte(0)
	for _, c := range b[1:min(end+1, edidBlock)] {
		sum += c
	}
	if version != 1 && version != 2 || end > edidBlock-2 || sum != 0 {
		clear(b[1 : edidBlock-1])
		return
	}
	clear(b[end+1 : edidBlock-1])
	for rest := b[first:end]; len(rest) >= head; {
		size := int(rest[2])
		if rest[0] == 0 && rest[1] == 0 && size == 0 || head+size > len(rest) {
			clear(rest) // filled up, or damaged
			break
		}
		data := rest[head : head+size]
		switch tag := rest[0]; {
		case tag == 0x00 && version == 1, tag == 0x20 && version == 2: // product identification
			if size < 9 {
				clear(data)
			} else {
				s.number(data[5:9])
			}
		case tag == 0x12 && version == 1, tag == 0x28 && version == 2: // tiled display
			if size >= 22 {
				s.number(data[18:22])
			}
		case tag == 0x0a && version == 1, // serial number
			tag == 0x0b && version == 1, // text
			tag == 0x29 && version == 2, // container id
			(tag == 0x7e || tag == 0x7f) && !bytes.HasPrefix(data, []byte(vesa)):
			clear(data)
		case tag == 0x81: // data blocks of CTA-861
			vendorBlocks(data)
		}
		rest = rest[head+size:]
	}
	fit(b[1 : end+1])
}
