package hostfs

import "slices"

// edid replaces the serial numbers of a monitor: the number in the base block and
// the text in descriptors of type 0xff. Extension blocks that may hold more are
// emptied, bytes after the last whole block dropped. The checksums fit again.
func (s *scrubber) edid(data []byte) []byte {
	const block, descriptor = 128, 18
	out := slices.Clone(data[:len(data)/block*block])
	for at := 0; at+block <= len(out); at += block {
		b := out[at : at+block]
		first := block // where its descriptors begin
		switch {
		case at == 0:
			first = 54
			if number := string(b[12:16]); number != "\x00\x00\x00\x00" {
				copy(b[12:16], s.hash(number, 4))
			}
		case b[0] == 0x02: // CTA-861
			if first = int(b[2]); first < 4 {
				first = block
			}
		default:
			clear(b[1 : block-1])
		}
		for d := first; d+descriptor < block; d += descriptor {
			if t := b[d : d+descriptor]; t[0] == 0 && t[1] == 0 && t[3] == 0xff {
				text := s.hash(string(t[5:]), 12) + "\n"
				copy(t[5:], text)
			}
		}
		sum := byte(0)
		for _, c := range b[:block-1] {
			sum += c
		}
		b[block-1] = -sum
	}
	return out
}
