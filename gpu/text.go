package gpu

import (
	"strings"
	"unicode"
)

const maxText = 126 // characters

// clean makes one bounded line of s, which comes from a device or a saved machine:
// what is not printable becomes a space, and runs of spaces become one.
func clean(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool {
		return r == ' ' || !unicode.IsPrint(r) || r == unicode.ReplacementChar
	}), " ")
	n := 0
	for i := range s {
		if n++; n > maxText {
			return strings.TrimRight(s[:i], " ")
		}
	}
	return s
}

// Numbers in EDID and in ROMs have their lowest byte first.

func le16(b []byte) int { return int(b[0]) | int(b[1])<<8 }

func le24(b []byte) int { return le16(b) | int(b[2])<<16 }

func le32(b []byte) uint32 { return uint32(le16(b)) | uint32(le16(b[2:]))<<16 }
