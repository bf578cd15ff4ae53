package plain

import (
	"strings"
	"unicode"
)

// Line makes one line of s, of at most that many characters: each run of what is not
// printable, of blanks and of U+FFFD becomes one blank, and there is none at either
// end. A line of Line's is its own. It does not read on after the last character.
func Line(s string, most int) string {
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
		if n >= most {
			break
		}
		b.WriteRune(r)
		n, gap = n+1, false
	}
	return strings.TrimSuffix(b.String(), " ")
}

// Printable returns s with U+FFFD in place of each character that is not printable.
// It keeps what is there otherwise, and does not bound it.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// Short cuts s to 64 bytes, and ends what was cut in three dots. It is for values that
// an error quotes: what is not printable stays, and is to be written with %q.
func Short(s string) string {
	const most = 64
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}
