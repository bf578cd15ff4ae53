package laptop

import (
	"strings"
	"unicode"
)

// maxText is the most of a device's own words that is kept, in characters.
const maxText = 256

// line makes one bounded line of printable text of what a device, its firmware or a
// saved machine says: what is not printable becomes a space, and runs of spaces one.
func line(s string) string {
	var b strings.Builder
	n, gap := 0, false
	for _, r := range s {
		if !unicode.IsPrint(r) || r == ' ' || r == unicode.ReplacementChar {
			gap = n > 0
			continue
		}
		if gap {
			b.WriteByte(' ')
			n++
		}
		if n >= maxText {
			break
		}
		b.WriteRune(r)
		n, gap = n+1, false
	}
	return strings.TrimSuffix(b.String(), " ")
}
