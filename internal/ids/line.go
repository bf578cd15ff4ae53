package ids

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A form is what the lines look like that have a key at one level of a list.
type form uint8

const (
	formTop       form = iota // "8086  Intel" and "C 03  Display controller"
	formDevice                // a tab, "1234  Name"
	formByte                  // a tab, "00  Name": a subclass
	formSubsystem             // two tabs, "17aa 2245  Name"
	formByte2                 // two tabs, "00  Name": a programming interface
)

// The keys of lines at the top, in the order the sections have in a file: vendors,
// classes, and whatever else a list holds.
const (
	firstClass = 1 << 16
	otherKey   = 1 << 32
)

// key returns the key of a line, and where the name begins in it. A comment, an
// empty line and a line of another level have none.
func (f form) key(line []byte) (key uint64, name int, ok bool) {
	tabs := 0
	for tabs < len(line) && tabs < 3 && line[tabs] == '\t' {
		tabs++
	}
	rest := line[tabs:]
	if len(rest) == 0 || rest[0] == '#' || rest[0] <= ' ' {
		return 0, 0, false
	}
	digits, want := 4, 1
	switch f {
	case formTop:
		if tabs > 0 {
			return 0, 0, false
		}
		if key, ok = hex(rest, 4); ok {
			return key, 4, true
		}
		if rest[0] == 'C' && len(rest) > 2 && rest[1] == ' ' {
			if key, ok = hex(rest[2:], 2); ok {
				return firstClass | key, 4, true
			}
		}
		return otherKey, len(line), true
	case formByte:
		digits = 2
	case formByte2:
		digits, want = 2, 2
	case formSubsystem:
		want = 2
	}
	if tabs != want {
		return 0, 0, false
	}
	key, ok = hex(rest, digits)
	name = tabs + digits
	if ok && f == formSubsystem {
		var low uint64
		if len(rest) < 5 {
			return 0, 0, false
		}
		low, ok = hex(rest[5:], 4)
		key, name = key<<16|low, tabs+9
	}
	return key, name, ok
}

// hex reads n digits that white space or the end follows.
func hex(b []byte, n int) (v uint64, ok bool) {
	if len(b) < n || len(b) > n && b[n] > ' ' {
		return 0, false
	}
	for _, c := range b[:n] {
		switch {
		case '0' <= c && c <= '9':
			v = v<<4 | uint64(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			v = v<<4 | uint64(c|0x20-'a'+10)
		default:
			return 0, false
		}
	}
	return v, true
}

// maxName bounds a name, in bytes; the longest there is has 150.
const maxName = 256

// clean returns a name as text: valid UTF-8 without control and formatting
// characters, with no white space around it. It may be empty.
func clean(b []byte) string {
	b = bytes.TrimSpace(b)
	if len(b) > maxName {
		b = b[:maxName]
	}
	plain := true
	for _, c := range b {
		plain = plain && ' ' <= c && c < 0x7f
	}
	if plain {
		return string(b)
	}
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.Is(unicode.C, r) {
			return -1
		}
		return r
	}, string(b)))
}
